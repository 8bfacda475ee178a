"""Views in a real terminal: heat maps, colours and closing lines at every width, and none of these in a pipe."""

import json
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
from terminals import ENV, ESCAPE, in_terminal, run

import steelyard
from steelyard.text.terminal import cells, cut, cut_alike

WIDTHS = [60, 80, 120]
HOSTILE = "h\x1b[2J\x1b]0;title\x07.0.w"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A net of six blocks, the same after training the last three, one with NaN, and one with hostile names."""
    folder, chance = tmp_path_factory.mktemp("terminal"), np.random.default_rng(0)
    net = {f"encoder.layers.{n}.attention.projection.weight": chance.normal(0, 0.1, (48, 64)).astype("f4") for n in range(6)}
    net |= {"conv.kernel": chance.normal(0, 0.1, (16, 8, 3, 3)).astype("f4"), "head.weight": np.eye(3, dtype="f4") - 0.5}
    net["head.bias"] = np.array([-0.5, 0.0, 0.25], "f4")
    tuned = {name: array + (chance.normal(0, 0.01, array.shape) * ("layers" in name)).astype("f4") for name, array in net.items()}
    for n in range(3):
        name = f"encoder.layers.{n}.attention.projection.weight"
        tuned[name] = net[name]
    broken = {name: array.copy() for name, array in net.items()}
    broken["head.bias"][1], broken["head.weight"][2, 0] = np.nan, -np.inf
    hostile = {HOSTILE: net["head.weight"], HOSTILE.replace(".0.", ".1."): net["head.weight"] + 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", steelyard.errors.NonFiniteWarning)
        for name, arrays in {"net": net, "tuned": tuned, "broken": broken, "hostile": hostile}.items():
            steelyard.save(arrays, folder / f"{name}.safetensors")
    return folder


COMMANDS = {
    "ls": ("ls --stats {net}", 0),
    "stats": ("stats {net}", 0),
    "layers": ("layers {net}", 0),
    "size": ("size {net} --fits 8GB", 0),
    "stats of NaN": ("stats {broken}", 0),
    "show": ("show {net} conv.kernel", 0),
    "show a part": ("show {net} encoder.layers.0.attention.projection.weight[:20,5:40]", 0),
    "show NaN": ("show {broken} head.weight", 0),
    "diff": ("diff {net} {tuned}", 1),
    "diff of NaN": ("diff {net} {broken}", 1),
    "diff --atol": ("diff {net} {tuned} --atol 0.03 --all", 1),
    "check": ("check {broken}", 1),
}


def words(text, folder):
    return [word.format(**{path.stem: path for path in folder.iterdir()}) for word in text.split()]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("case", COMMANDS)
@pytest.mark.parametrize("colours", [{"COLORTERM": "truecolor"}, {}, {"NO_COLOR": "1"}], ids=["all", "256", "none"])
def test_every_view_fits_into_the_terminal_and_differs_in_colours_only(folder, case, columns, colours):
    text, status = COMMANDS[case]
    written = in_terminal(columns, *words(text, folder), env=colours, status=status)
    plain = ESCAPE.sub("", written)
    assert not set(plain) & set(map(chr, (*range(10), *range(11, 32))))
    if case != "check":  # a finding is one line, whatever its length
        assert max(map(cells, plain.splitlines())) <= columns
    assert bool(ESCAPE.search(written)) == ("NO_COLOR" not in colours)
    assert bool(re.search(r"[34]8;2;", written)) == ("COLORTERM" in colours and case.startswith("show"))


@pytest.mark.parametrize("case", COMMANDS)
def test_a_pipe_is_never_cut_and_has_no_escape_code_nor_a_picture(folder, case):
    text, status = COMMANDS[case]
    result = run(*words(text, folder), env={"COLORTERM": "truecolor", "COLUMNS": "40"})
    assert result.returncode == status
    assert "\x1b" not in result.stdout
    assert "▀" not in result.stdout
    assert "…" not in result.stdout


@pytest.mark.parametrize("command", ["ls --stats {hostile}", "stats {hostile}", "diff {hostile} {hostile2}", "check {hostile}"])
def test_hostile_names_never_reach_the_terminal(folder, command, tmp_path):
    other = tmp_path / "other.safetensors"
    steelyard.save({HOSTILE: np.ones((3, 3), "f4"), HOSTILE.replace(".0.", ".1."): np.ones((3, 3), "f4")}, other)
    args = [word.format(hostile=folder / "hostile.safetensors", hostile2=other) for word in command.split()]
    written = in_terminal(250, *args, status=int("diff" in command))
    assert not set(ESCAPE.sub("", written)) & set("\x1b\x07\r")
    assert "check" in command or r"h\u001b[2J\u001b]0;title\u0007.[0-1].w" in ESCAPE.sub("", written)


def test_show_escapes_a_hostile_name(folder):
    written = in_terminal(80, "show", folder / "hostile.safetensors", HOSTILE)
    assert not set(ESCAPE.sub("", written)) & set("\x1b\x07\r")
    assert r"h\u001b[2J\u001b]0;title\u0007.0.w" in ESCAPE.sub("", written)


# show


def shown(folder, *args, env=None, columns=80):
    return in_terminal(columns, "show", folder / "net.safetensors", *args, env=env)


def test_a_large_matrix_is_drawn_in_place_of_its_numbers_and_a_small_one_above_them(folder):
    large, small = shown(folder, "conv.kernel"), ESCAPE.sub("", shown(folder, "head.weight"))
    assert "▀" in large
    assert "[[" not in large
    assert "16 rows, 72 columns" in ESCAPE.sub("", large)
    assert "▀" in small
    assert "[[ 0.5 -0.5 -0.5]" in small
    assert small.index("▀") < small.index("[[")


def test_a_vector_and_a_weight_with_no_heatmap_are_printed_as_numbers(folder):
    for args in (["head.bias"], ["conv.kernel", "--no-heatmap"], ["conv.kernel[0,0,0]"]):
        written = shown(folder, *args)
        assert "▀" not in written
        assert "[" in ESCAPE.sub("", written).splitlines()[-1]
    assert "▀" not in shown(folder, "conv.kernel", "--stats")
    assert "▀" in shown(folder, "conv.kernel", "--stats", "--heatmap")
    assert "▀" in shown(folder, "head.bias", "--heatmap")


def test_a_heat_map_without_colours_is_drawn_on_request(folder):
    assert "+█" not in shown(folder, "head.weight", env={"NO_COLOR": "1"})
    for written in (
        shown(folder, "head.weight", "--heatmap", env={"NO_COLOR": "1"}),
        run("show", folder / "net.safetensors", "head.weight", "--heatmap").stdout,
    ):
        assert "\n+█-█-█\n-█+█-█\n-█-█+█\n" in written
        assert "\x1b" not in written


def test_numbers_are_coloured_by_their_sign_and_zero_is_not(folder):
    written = shown(folder, "head.bias")
    assert re.search(r"\[\x1b\[38;5;32m-0\.5\x1b\[0m +0\. +\x1b\[38;5;166m0\.25\x1b\[0m\]$", written.strip())
    assert "min \x1b[38;5;32m-0.5\x1b[0m" in written
    assert "max \x1b[38;5;166m0.25\x1b[0m" in written


def test_only_the_selected_part_is_drawn(folder):
    written = ESCAPE.sub("", shown(folder, "encoder.layers.0.attention.projection.weight[:20,5:40]"))
    assert "20 rows, 35 columns: each cell is one number" in written


def test_show_ends_with_a_line_on_numbers_that_are_not_finite_if_there_are_any(folder):
    assert ESCAPE.sub("", in_terminal(80, "show", folder / "broken.safetensors", "head.weight")).splitlines()[-1] == (
        "head.weight is not finite: 1 Inf, first at [2, 0]"
    )
    assert "finite" not in shown(folder, "head.weight")


def test_the_json_of_show_does_not_depend_on_the_heat_map(folder):
    record = json.loads(ESCAPE.sub("", shown(folder, "head.weight", "--json", "--heatmap")))
    assert record["values"][0] == [0.5, -0.5, -0.5]


# closing lines and folding


def test_the_last_line_names_the_weights_that_are_not_finite_if_there_are_any(folder):
    last = "2 of 9 weights are not finite: head.weight[2, 0] (1 Inf), head.bias[1] (1 NaN)"
    for command in (["ls", "--stats"], ["stats"], ["stats", "--fast"]):
        assert run(*command, folder / "broken.safetensors").stdout.splitlines()[-1] == last
        assert ESCAPE.sub("", in_terminal(120, *command, folder / "broken.safetensors")).splitlines()[-1] == last
        assert "finite" not in run(*command, folder / "net.safetensors").stdout


def test_check_counts_its_findings_on_a_terminal_and_leaves_a_pipe_one_line_for_each(folder):
    written = ESCAPE.sub("", in_terminal(80, "check", folder / "broken.safetensors", status=1)).splitlines()
    assert written[-1] == "2 findings in 2 of 9 weights: 2 not finite"
    assert run("check", folder / "broken.safetensors").stdout.splitlines() == written[:-1]
    assert in_terminal(80, "check", folder / "net.safetensors") == "readable, complete, finite: 9 weights\n"


def test_stats_folds_blocks_into_the_statistics_of_all_their_numbers_and_all_unfolds_them(folder):
    layers = [w.numpy() for name, w in steelyard.weights(folder / "net.safetensors").items() if "layers" in name]
    (row,) = [line for line in run("stats", folder / "net.safetensors").stdout.splitlines() if "layers" in line]
    assert row.startswith("encoder.layers.[0-5].attention.projection.weight  48×64     6 ×  18,432")
    together = np.stack(layers).astype("f8")
    for value in (together.min(), together.max(), together.mean(), together.std(), np.abs(together).sum()):
        assert f"{value:.4g}" in row.split()
    unfolded = run("stats", folder / "net.safetensors", "--all").stdout
    assert unfolded.count("encoder.layers.") == 6
    assert run("stats", folder / "net.safetensors", "--csv").stdout.count("encoder.layers.") == 12  # name and layer
    assert run("stats", folder / "net.safetensors", "--by", "layer").stdout.count("encoder.layers.") == 6


def test_diff_shows_histograms_in_a_terminal_and_on_request_in_a_pipe(folder):
    paths = folder / "net.safetensors", folder / "tuned.safetensors"
    written = ESCAPE.sub("", in_terminal(140, "diff", *paths, status=1))
    assert re.search(r"layers\S*\[3-5\]\S+ .*[▁▂▃▄▅▆▇█]{17}", written)
    assert not re.search("[▁▂▃▄▅▆▇█]", run("diff", *paths).stdout)
    assert re.search("[▁▂▃▄▅▆▇█]{17}", run("diff", *paths, "--histograms").stdout)
    assert not re.search("[▁▂▃▄▅▆▇█]", in_terminal(120, "diff", *paths, "--no-histograms", status=1))


# start-up


@pytest.mark.parametrize(
    "command", ["ls {net}", "ls --stats {net}", "show {net} conv.kernel", "stats {net}", "diff {net} {tuned}"]
)
def test_no_view_imports_a_library_for_terminals_and_a_listing_not_even_numpy(folder, command):
    code = f"import sys; from steelyard.cli import main; main({words(command, folder)!r}); print('\\n', *sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV, check=True).stdout
    loaded = loaded.splitlines()[-1].split()
    assert not {"rich", "curses", "matplotlib"} & set(loaded)
    assert ("numpy" in loaded) == (command != "ls {net}")


def test_names_that_do_not_fit_lose_the_words_with_which_all_begin_but_not_their_blocks():
    names = [f"transformer.h.[8-11].{leaf}.weight" for leaf in ("mlp.c_fc", "attn.c_attn")]
    assert [cut_alike(names, 30)[name] for name in names] == ["…[8-11].mlp.c_fc.weight", "…[8-11].attn.c_attn.weight"]
    assert cut_alike([names[0]], 20) == {names[0]: cut(names[0], 20)}
