"""The command: its output, its reading, and its errors."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from terminals import ENV, ESCAPE, in_terminal, run
from torch import nn
from waiting import has_read, until

import steelyard
from steelyard import cli
from steelyard.cli import main
from steelyard.storage import source as core_source
from steelyard.text.terminal import cells


def raw_safetensors(path, tensors):
    """Write float32 tensors by hand: a list of names and shapes, all numbers zero, without facts."""
    header, end = {}, 0
    for name, shape in tensors:
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    return 8 + len(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def net():
    """A small classifier with a norm, trained for a few steps."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    inputs, targets = torch.randn(32, 6), torch.randint(3, (32,))
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def net_file(folder, net):
    path = folder / "net.safetensors"
    steelyard.save(net, path)
    return path


@pytest.fixture(scope="module")
def transformer_file(folder):
    """A transformer of 12 blocks whose head shares its embedding: 146 weights."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.ModuleDict({"embed": nn.Embedding(50, 16), "encoder": nn.TransformerEncoder(layer, 12)})
    model["head"] = nn.Linear(16, 50, bias=False)
    model["head"].weight = model["embed"].weight
    path = folder / "transformer.safetensors"
    steelyard.save(model, path)
    return path


@pytest.fixture(scope="module")
def broken_file(folder):
    """A file in which one weight has a NaN and an infinity."""
    kernel = np.ones((3, 4), "float32")
    kernel[1, 2], kernel[2, 0] = np.nan, np.inf
    path = folder / "broken.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", steelyard.errors.NonFiniteWarning)
        steelyard.save({"fc.kernel": kernel, "fc.bias": np.zeros(4)}, path)
    return path


@pytest.fixture(scope="module")
def hostile_file(folder):
    """A file whose names would clear the screen, set the title, and write from right to left."""
    path = folder / "hostile.safetensors"
    raw_safetensors(path, [("a\x1b[2J\x1b]0;title\x07.weight", (2, 3)), ("b\r\n\u202etxt.bias", (3,))])
    return path


# ls


def test_ls_lists_every_weight_with_its_facts_and_the_totals(net_file, net):
    result = run("ls", net_file)
    assert result.returncode == 0
    assert not result.stderr
    lines = [line.split() for line in result.stdout.splitlines()[2:]]
    assert lines[0] == ["layer", "name", "shape", "dtype", "role", "size"]
    assert lines[1] == ["0", "0.weight", "5×6", "float32", "kernel", "30"]
    assert lines[7] == ["1", "1.num_batches_tracked", "scalar", "int64", "count", "1"]
    assert [line[1] for line in lines[1:-2]] == list(net.state_dict())
    size, buffers = (sum(each.numel() for each in own()) for own in (net.parameters, net.buffers))
    totals = f"{len(net.state_dict())} weights, {size} parameters, {buffers} in buffers, "
    assert result.stdout.splitlines()[-1].startswith(totals)


def test_ls_folds_repeated_blocks_and_all_unfolds_them(transformer_file):
    folded = run("ls", transformer_file).stdout
    assert re.search(r"encoder\.layers\.\[0-11\]\.linear1\.weight +32×16 +float32 +kernel +12 × +6,144\n", folded)
    assert "encoder.layers.3." not in folded
    unfolded = run("ls", "--all", transformer_file).stdout
    assert "encoder.layers.3.linear1.weight" in unfolded
    assert "[0-11]" not in unfolded
    assert len(unfolded.splitlines()) == 146 + 5
    assert folded.splitlines()[-1] == unfolded.splitlines()[-1]


def test_ls_counts_tied_weights_once_and_names_their_owners(transformer_file):
    lines = run("ls", transformer_file).stdout.splitlines()[2:]
    assert re.search(r"^head +head\.weight .* tied +embed\.weight$", "\n".join(lines), re.MULTILINE)
    total = steelyard.weights(transformer_file)
    assert lines[-1].startswith(f"146 weights (1 tied, counted once), {total.size:,} parameters, ")


def test_ls_of_the_weights_of_several_files_puts_each_table_under_its_name(net_file, broken_file):
    lines = run("ls", net_file, broken_file, "--weights").stdout.splitlines()
    assert lines[0] == str(net_file)
    assert lines[lines.index(str(broken_file)) - 1] == ""


def test_ls_selects_by_name_and_role(net_file):
    names = [line.split()[1] for line in run("ls", net_file, "--role", "kernel").stdout.splitlines()[3:-2]]
    assert names == ["0.weight", "3.weight"]
    assert "0.bias" in run("ls", net_file, "--select", "0.*").stdout
    assert "3.bias" not in run("ls", net_file, "--select", "0.*").stdout


def test_ls_stats_draws_histograms_on_one_axis_with_min_mean_and_max(net_file, net):
    lines = run("ls", "--stats", net_file).stdout.splitlines()[2:]
    assert re.search(r"size +-\S+ +0 +\S+ +min +mean +max$", lines[0])
    kernel = net[0].weight.detach().double()
    *_, low, mean, high = lines[1].split()
    assert (low, mean, high) == tuple(f"{x:.4g}" for x in (kernel.min(), kernel.mean(), kernel.max()))
    assert re.search(r"[▁▂▃▄▅▆▇█]{17}", lines[1])


def test_ls_stats_and_show_name_the_weight_that_is_not_finite(broken_file):
    last = run("ls", "--stats", broken_file).stdout.splitlines()[-1]
    assert last == "1 of 2 weights is not finite: fc.kernel[1, 2] (1 NaN and 1 Inf)"
    shown = run("show", broken_file, "fc.kernel").stdout.splitlines()[-1]
    assert shown == "fc.kernel is not finite: 1 NaN and 1 Inf, first at [1, 2]"
    assert "not finite" not in run("ls", broken_file).stdout


def broken_npz(path, net, damaged):
    """Save a net, and damage the compressed bytes of some of its weights."""
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    np.savez_compressed(path, **arrays)
    data = bytearray(path.read_bytes())
    for name in damaged:
        at = data.index(f"{name}.npy".encode()) + len(name) + 4
        data[at + 2000 : at + 2020] = bytes(20)  # after the header
    path.write_bytes(data)
    return arrays


@pytest.fixture
def blocks():
    """Three blocks that fold into one row, and a head."""
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {"blocks": torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(3)), "head": torch.nn.Linear(32, 20)}
    )


def test_ls_stats_shows_the_others_if_one_weight_cannot_be_read(folder, blocks):
    arrays = broken_npz(folder / "damaged.npz", blocks, ["blocks.1.weight"])
    result = run("ls", "--stats", folder / "damaged.npz")
    assert result.returncode == 2
    assert result.stderr == f"error: {folder}/damaged.npz: 1 of 8 weights cannot be read\n"
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith(("blocks", "head"))}
    assert "cannot be read" in lines["blocks.1.weight"]
    for name in ("blocks.0.weight", "blocks.2.weight", "head.weight"):  # the row of the three is split
        assert lines[name].split()[-3:] == [
            f"{value:.4g}" for value in (arrays[name].min(), arrays[name].astype("f8").mean(), arrays[name].max())
        ]
    assert "blocks.[0-2].bias" in lines
    (reason,) = [line for line in result.stdout.splitlines() if line.startswith("blocks.1.weight cannot be read: ")]
    assert "damaged.npz" in reason


def test_ls_stats_as_json_has_the_error_of_each_weight_that_cannot_be_read(folder, blocks):
    broken_npz(folder / "damaged.npz", blocks, ["blocks.1.weight", "head.weight"])
    result = run("ls", "--stats", "--json", folder / "damaged.npz")
    assert result.returncode == 2
    assert "2 of 8 weights cannot be read" in result.stderr
    weights = {weight["name"]: weight for weight in json.loads(result.stdout)["weights"]}
    assert [name for name, weight in weights.items() if "error" in weight] == ["blocks.1.weight", "head.weight"]
    assert all((weight["stats"] is None) == ("error" in weight) for weight in weights.values())
    assert run("ls", "--json", folder / "damaged.npz").returncode == 0  # without --stats no number is read


def test_ls_stats_of_packed_numbers_and_of_many_that_cannot_be_read(folder):
    path = folder / "packed.safetensors"
    header = {f"w{n}": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [3 * n, 3 * n + 3]} for n in range(7)}
    header["good"] = {"dtype": "F32", "shape": [1], "data_offsets": [21, 25]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(21) + np.float32(2.5).tobytes())
    result = run("ls", "--stats", path, folder / "none.pt")
    assert result.returncode == 2
    assert "7 of 8 weights cannot be read" in result.stderr
    lines = result.stdout.splitlines()
    assert sum("is stored as F6_E2M3" in line for line in lines) == 5
    assert "... and 2 more weights that cannot be read" in lines
    assert next(line for line in lines if line.startswith("good")).split()[-3:] == ["2.5"] * 3


def test_ls_json_is_one_document_with_stable_keys(net_file, net):
    record = json.loads(run("ls", "--json", net_file).stdout)
    assert list(record) == ["file", "weights", "total", "would_run"]
    assert list(record["total"]) == ["weights", "tied", "parameters", "buffers", "other", "unreadable", "bytes"]
    keys = [
        "name",
        "layer",
        "shape",
        "dtype",
        "role",
        "axes",
        "trainable",
        "tied",
        "encoding",
        "overlaps",
        "unreadable",
        "size",
        "bytes",
    ]
    assert all(list(weight) == keys for weight in record["weights"])
    assert {w["name"]: w["shape"] for w in record["weights"]} == {k: list(t.shape) for k, t in net.state_dict().items()}


def test_ls_json_with_stats_has_numbers_and_names_the_first_nan(broken_file):
    weights = json.loads(run("ls", "--json", "--stats", broken_file).stdout)["weights"]
    assert weights[0]["stats"] == {"min": 1.0, "max": 1.0, "mean": 1.0, "nan": 1, "inf": 1, "first_nonfinite": [1, 2]}
    assert weights[1]["stats"]["first_nonfinite"] is None


def test_ls_json_of_several_files_is_a_list_that_has_the_errors_too(net_file, folder):
    result = run("ls", "--json", net_file, folder / "none.pt")
    good, bad = json.loads(result.stdout)
    assert result.returncode == 2
    assert good["total"]["weights"] == 9
    assert "none.pt" in bad["error"]


def test_ls_goes_on_after_a_file_that_cannot_be_read(net_file, folder):
    result = run("ls", folder / "none.pt", net_file, "--weights")
    assert result.returncode == 2
    assert "0.weight" in result.stdout
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_an_empty_weight_file_is_reported_and_is_not_an_error(folder):
    path = folder / "empty.safetensors"
    raw_safetensors(path, [])
    result = run("ls", path)
    assert (result.returncode, result.stdout) == (0, "no weights\n")
    assert json.loads(run("ls", "--json", path).stdout)["weights"] == []
    assert run("ls", "--stats", path).stdout == "no weights\n"


# the cost of listing


def modules_after(*args):
    code = "import sys; from steelyard.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    result = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, env=ENV, check=True)
    return set(result.stderr.split())


SLOW = {"numpy", "rich", "pathlib", "dataclasses", "inspect", "shutil", "zipfile", "importlib.metadata", "torch"}


@pytest.mark.parametrize("option", [[], ["--all"], ["--json"]])
def test_listing_a_safetensors_file_imports_nothing_slow(net_file, option):
    assert not modules_after("ls", net_file, *option) & SLOW


def test_the_test_of_imports_can_fail(net_file):
    assert "numpy" in modules_after("ls", "--stats", net_file)


def test_listing_reads_no_numbers_and_stats_do(folder, monkeypatch, capsys):
    path = folder / "far.safetensors"
    begin = raw_safetensors(path, [("w", (1000, 1000))])
    read = []
    fill = core_source._File.fill
    monkeypatch.setattr(
        core_source._File, "fill", lambda self, at, buffer: (read.append(at + len(buffer)), fill(self, at, buffer))[1]
    )
    for option in ([], ["--all"], ["--json"]):
        assert main(["ls", str(path), *option]) == 0
    assert read
    assert max(read) <= max(begin, 256)
    assert main(["ls", "--stats", str(path)]) == 0
    assert max(read) == begin + 4_000_000


# show


def test_show_prints_the_facts_the_range_and_every_number_of_a_small_weight(net_file, net):
    result = run("show", net_file, "3.weight")
    assert result.returncode == 0
    assert re.search(r"shape +3×5  out in\n +dtype +float32\n +role +kernel\n", result.stdout)
    values = result.stdout[result.stdout.index("[[") :].replace("[", "").replace("]", "").split()
    assert np.allclose(np.array(values, float), net[3].weight.detach().numpy().ravel(), atol=1e-5)


@pytest.mark.parametrize("shape", [(2000,), (50, 60), (7, 300), (12, 13, 14), (3, 2, 9, 40), (2, 3, 4, 5, 20)])
def test_show_leaves_out_the_middle_as_numpy_does_though_it_reads_only_the_edges(tmp_path, shape):
    array = np.random.default_rng(0).standard_normal(shape).astype("float32")
    array.flat[array.size // 2] = 1e9  # in the middle: it must not affect the width of the shown numbers
    steelyard.save({"w": array}, tmp_path / "w.safetensors")
    ends = {1: 4, 2: 3, 3: 2, 4: 2}.get(len(shape), 1)
    expected = np.array2string(array, max_line_width=100, threshold=0, edgeitems=ends, precision=5, separator=" ")
    assert run("show", tmp_path / "w.safetensors", "w").stdout.endswith(f"\n\n{expected}\n")


def test_show_needs_no_name_for_the_only_weight_but_one_of_several(tmp_path, net_file):
    np.save(tmp_path / "v.npy", np.arange(4.0))
    assert run("show", tmp_path / "v.npy").stdout.endswith("[0. 1. 2. 3.]\n")
    result = run("show", net_file)
    assert result.returncode == 2
    assert "has 9 weights; name one, its layer or its position" in result.stderr


def test_show_json_gives_every_number_with_words_for_nan_and_infinity(broken_file):
    record = json.loads(run("show", "--json", broken_file, "fc.kernel").stdout)
    assert record["values"] == [[1.0] * 4, [1.0, 1.0, "NaN", 1.0], ["Infinity", 1.0, 1.0, 1.0]]
    assert (record["name"], record["shape"], record["stats"]["nan"]) == ("fc.kernel", [3, 4], 1)


def test_show_reads_types_that_numpy_lacks_and_complex_ones(tmp_path, capsys):
    steelyard.save({"b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, tmp_path / "b.safetensors")
    assert main(["show", "--json", str(tmp_path / "b.safetensors")]) == 0
    assert json.loads(capsys.readouterr().out)["values"] == [1.5, -2.0]
    np.save(tmp_path / "c.npy", np.array([1 + 2j]))
    assert main(["show", "--json", str(tmp_path / "c.npy")]) == 0
    assert json.loads(capsys.readouterr().out)["values"] == [[1.0, 2.0]]
    assert main(["show", str(tmp_path / "c.npy")]) == 0
    assert "max 2.236" in capsys.readouterr().out


# vector


@pytest.mark.parametrize("order", ["C", "F"])
def test_vector_writes_what_numpy_concatenates(net_file, net, tmp_path, order):
    result = run("vector", net_file, "-o", tmp_path / "v.npy", "--order", order)
    arrays = [tensor.numpy() for tensor in net.state_dict().values()]
    vector = np.load(tmp_path / "v.npy")
    assert np.array_equal(vector, np.concatenate([a.ravel(order=order) for a in arrays]))
    assert vector.dtype == np.float64  # the counter is int64
    assert result.stdout == f"{tmp_path / 'v.npy'}: {vector.size} float64 numbers from 9 weights\n"


def test_vector_selects_and_prints_the_position_of_each_weight(net_file, net, tmp_path):
    result = run("vector", net_file, "-o", tmp_path / "v.npy", "--role", "kernel", "--json")
    record, vector = json.loads(result.stdout), np.load(tmp_path / "v.npy")
    assert [w["name"] for w in record["weights"]] == ["0.weight", "3.weight"]
    assert (record["length"], record["dtype"], record["order"]) == (len(vector), "float32", "C")
    place = record["weights"][1]
    assert np.array_equal(vector[place["start"] : place["stop"]].reshape(place["shape"]), net[3].weight.detach().numpy())


def test_vector_counts_tied_weights_once(transformer_file, tmp_path):
    run("vector", transformer_file, "-o", tmp_path / "v.npy")
    assert np.array_equal(np.load(tmp_path / "v.npy"), steelyard.weights(transformer_file).to_vector())


def test_vector_of_bfloat16_is_float32_which_every_numpy_reads(tmp_path):
    numbers = torch.randn(300, dtype=torch.bfloat16)
    steelyard.save({"b": numbers}, tmp_path / "b.safetensors")
    assert run("vector", tmp_path / "b.safetensors", "-o", tmp_path / "v.npy").returncode == 0
    assert np.array_equal(np.load(tmp_path / "v.npy"), numbers.float().numpy())


def test_vector_warns_of_nan_in_one_line_on_stderr(broken_file, tmp_path):
    result = run("vector", broken_file, "-o", tmp_path / "v.npy")
    assert result.returncode == 0
    assert result.stderr == "warning: 1 of 2 weights is not finite: fc.kernel[1, 2] (1 NaN and 1 Inf)\n"


def test_vector_of_mixed_types_keeps_large_numbers(tmp_path):
    """A float32 above 127 was once rejected as too large for a float64."""
    steelyard.save({"a": np.array([1000.5, -3e30], "float32"), "n": np.array([7])}, tmp_path / "a.safetensors")
    said = run("vector", tmp_path / "a.safetensors", "-o", tmp_path / "v.npy").stderr
    assert said.startswith("warning: the vector is float64, though the floats are float32, since it holds the integers of 'n'")
    assert sorted(np.load(tmp_path / "v.npy")) == [np.float32(-3e30), 7, 1000.5]


def test_vector_that_cannot_be_written_leaves_the_old_file_and_nothing_else(net_file, tmp_path):
    (tmp_path / "v.npy").write_bytes(b"old")
    np.savez(tmp_path / "object.npz", a=np.zeros(3), b=np.array([None]))
    result = run("vector", tmp_path / "object.npz", "-o", tmp_path / "v.npy")
    assert result.returncode == 2
    assert (tmp_path / "v.npy").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["object.npz", "v.npy"]


# terminals and pipes


@pytest.mark.parametrize("columns", [200, 120, 80, 60, 40, 20])
@pytest.mark.parametrize("args", [["ls"], ["ls", "--stats"], ["ls", "--all"]])
def test_no_line_is_wider_than_the_terminal(transformer_file, columns, args):
    text = ESCAPE.sub("", in_terminal(columns, *args, transformer_file))
    assert "weight" in text
    assert max(cells(line) for line in text.splitlines()) <= columns


def test_a_wide_terminal_shows_everything_and_a_narrow_one_the_end_of_each_name(transformer_file):
    wide = ESCAPE.sub("", in_terminal(200, "ls", transformer_file))
    assert "…" not in wide
    assert wide[wide.index("layer ") :].split()[:7] == ["layer", "name", "shape", "dtype", "role", "size", "tied"]
    narrow = ESCAPE.sub("", in_terminal(60, "ls", transformer_file))
    assert re.search(r"^encoder\S*….*in_proj_weight  48×16", narrow, re.MULTILINE)


def test_colours_are_shown_on_a_terminal_only_and_not_with_no_color(net_file):
    assert ESCAPE.search(in_terminal(80, "ls", net_file))
    assert not ESCAPE.search(in_terminal(80, "ls", net_file, env={"NO_COLOR": "1"}))
    assert not ESCAPE.search(in_terminal(80, "ls", net_file, env={"TERM": "dumb"}))
    assert not ESCAPE.search(run("ls", "--stats", net_file).stdout)


def test_columns_overrides_the_width_of_a_terminal_but_a_pipe_is_never_cut(transformer_file):
    text = ESCAPE.sub("", in_terminal(200, "ls", transformer_file, env={"COLUMNS": "50"}))
    assert max(map(cells, text.splitlines())) <= 50
    assert "…" not in run("ls", transformer_file, env={"COLUMNS": "50"}).stdout


def test_a_pipe_has_the_layer_on_every_line(net_file):
    lines = run("ls", net_file).stdout.splitlines()[3:-2]
    assert [line.split()[0] for line in lines] == ["0"] * 2 + ["1"] * 5 + ["3"] * 2


def test_a_terminal_without_unicode_gets_escapes_instead_of_an_error(net_file):
    result = run("ls", "--stats", net_file, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert result.returncode == 0
    assert r"5\xd76" in result.stdout


def test_control_characters_in_names_are_escaped_on_every_way_out_but_json(hostile_file):
    name = "a\x1b[2J\x1b]0;title\x07.weight"
    for args in (["ls"], ["ls", "--stats"], ["ls", "--all"]):
        text = run(*args, hostile_file).stdout
        assert r"a\u001b[2J\u001b]0;title\u0007.weight" in text
        assert r"b\u000d\u000a\u202etxt.bias" in text
        assert not set("\x1b\x07\r\u202e") & set(text)
    shown = run("show", hostile_file, name)
    assert shown.returncode == 0
    assert "\x1b" not in shown.stdout + run("show", hostile_file, "\x1b[2J").stderr
    raw = run("ls", "--json", hostile_file).stdout
    assert raw.isascii()
    assert "\x1b" not in raw
    assert json.loads(raw)["weights"][0]["name"] == name


def test_a_closed_pipe_ends_the_command_quietly(tmp_path):
    path = tmp_path / "many.safetensors"
    raw_safetensors(path, [(f"layer{chr(97 + i % 26)}{i}x.w", (1,)) for i in range(20_000)])
    process = subprocess.Popen(
        [sys.executable, "-m", "steelyard", "ls", "--all", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_ctrl_c_ends_the_command_without_a_traceback(tmp_path):
    path = tmp_path / "huge.safetensors"
    raw_safetensors(path, [("w", (1 << 34,))])  # 64 GiB of holes: minutes to read
    process = subprocess.Popen(
        [sys.executable, "-m", "steelyard", "ls", "--stats", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV
    )
    until(lambda: has_read(process, 64 << 20))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in err


def test_ctrl_c_while_the_modules_are_imported_leaves_no_traceback(net_file):
    code = """
import builtins, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
real = builtins.__import__
def interrupted(name, *rest):
    if name == "steelyard.cli":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest)
from steelyard.__main__ import start
builtins.__import__ = interrupted
sys.exit(start())
"""
    done = subprocess.run([sys.executable, "-c", code, "ls", str(net_file)], capture_output=True, text=True, env=ENV, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""


@pytest.mark.parametrize(("interrupted", "status"), [("before", 130), ("after", -signal.SIGINT)])
def test_ctrl_c_around_a_command_leaves_no_traceback(interrupted, status):
    code = """
import os, signal, sys
from steelyard import cli
from steelyard.__main__ import start
def run():
    os.kill(os.getpid(), signal.SIGINT) if sys.argv[1] == "before" else None
    return 0
cli.main = run
status = start()
os.kill(os.getpid(), signal.SIGINT) if sys.argv[1] == "after" else sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-c", code, interrupted], capture_output=True, text=True, env=ENV, check=False)
    assert (done.returncode, done.stderr) == (status, "")


def test_a_closed_stdout_is_one_line_and_exit_2(net_file):
    command = [sys.executable, "-m", "steelyard", "ls", str(net_file)]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True, env=ENV, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: standard output is closed; open it, or send it to /dev/null\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("args", [["ls"], ["ls", "--json"], ["show", "0.weight"]])
def test_a_full_disk_behind_stdout_is_one_line_and_exit_2(net_file, args):
    command = [args[0], str(net_file), *args[1:]]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "steelyard", *command], stdout=full, stderr=subprocess.PIPE, text=True, env=ENV, check=False
        )
    assert result.returncode == 2
    assert result.stderr == "error: No space left on device\n"


# errors


def _garbage(folder):
    (folder / "x.safetensors").write_bytes(b"\x10" + bytes(7) + b"{not json at all")
    return ["ls", folder / "x.safetensors"]


def _unknown(folder):
    (folder / "x.bin").write_bytes(b"what is this")
    return ["ls", folder / "x.bin"]


def _object(folder):
    np.save(folder / "o.npy", np.array([None, 1]), allow_pickle=True)
    return ["show", folder / "o.npy"]


BAD = {
    "no such file": (lambda folder: ["ls", folder / "none\x1b[2J.pt"], "none"),
    "garbage": (_garbage, "not JSON"),
    "unknown format": (_unknown, "not a weight file"),
    "objects": (_object, "never unpickled"),
    "a device": (lambda folder: ["ls", "/dev/null"], "not a regular file"),
    "no such weight": (lambda folder: ["show", folder / "net.safetensors", "0.wieght"], "did you mean '0.weight'"),
    "another suffix": (lambda folder: ["vector", folder / "net.safetensors", "-o", folder / "v.txt"], "written as .npy"),
    "no such folder": (lambda folder: ["vector", folder / "net.safetensors", "-o", folder / "no" / "v.npy"], "no such folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_every_error_is_one_line_on_stderr_with_exit_2_and_no_traceback(case, net_file, folder):
    args, said = BAD[case]
    result = run(*args(folder))
    assert result.returncode == 2
    assert not result.stdout
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "\x1b" not in result.stderr


def stand_in(monkeypatch, **commands):
    """Make these functions the only commands of the command line."""
    monkeypatch.setattr(cli, "COMMANDS", tuple(commands))
    modules = {name: types.SimpleNamespace(run=run, arguments=lambda parser: None) for name, run in commands.items()}
    monkeypatch.setattr(cli, "command", modules.__getitem__)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, ""),
        (MemoryError(), 2, "error: not enough memory\n"),
        (PermissionError(errno.EACCES, "Permission denied", "a\x1bb"), 2, "error: a\\u001bb: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device\n"),
        (steelyard.errors.ShapeError("one\ntwo"), 2, "error: one\\u000atwo\n"),
    ],
)
def test_the_exception_of_a_command_decides_the_exit_status(monkeypatch, capsys, error, status, said):
    def fail(args):
        """Fail.

        steelyard fail
        """
        raise error

    stand_in(monkeypatch, fail=fail)
    assert main(["fail"]) == status
    assert capsys.readouterr().err == said


def test_a_command_gives_its_own_exit_status_and_a_mistake_in_ours_is_not_hidden(monkeypatch):
    stand_in(monkeypatch, find=lambda args: 1, bug=lambda args: 1 / 0)
    assert main(["find"]) == 1
    with pytest.raises(ZeroDivisionError):
        main(["bug"])


def test_running_a_command_leaves_the_callers_warnings_as_they_were(broken_file, tmp_path, capsys):
    before = warnings.showwarning, warnings.filters[:]
    assert main(["vector", str(broken_file), "-o", str(tmp_path / "v.npy")]) == 0
    assert (warnings.showwarning, warnings.filters[:]) == before
    assert capsys.readouterr().err.startswith("warning: 1 of 2 weights is not finite: fc.kernel")


def test_main_writes_to_the_current_stdout(net_file, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["ls", str(net_file)]) == 0
    assert "0.weight" in out.getvalue()


def test_limits_are_raised_for_one_command_by_name_or_all_at_once(tmp_path, capsys):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, w=np.zeros(1 << 20, np.uint8))
    with steelyard.limits.allow(INFLATED_FLOOR=1000):
        assert main(["stats", str(path)]) == 2
        assert "would inflate from" in capsys.readouterr().err
        for given in (["INFLATED_RATIO=5", "INFLATED_RATIO=2000"], ["none"]):
            options = [word for limit in given for word in ("--limits", limit)]
            assert main(["stats", str(path), *options]) == 0
            assert "1,048,576" in capsys.readouterr().out
        assert main(["stats", str(path)]) == 2
    assert (steelyard.limits.INFLATED_RATIO, steelyard.limits.SHARDS) == (200, 100_000)


@pytest.mark.parametrize("word", ["INFLATE=3", "SHARDS", "SHARDS=", "SHARDS=x", "SHARDS=-1", "__name__=3", "all"])
def test_a_word_that_gives_no_limit_is_a_usage_error_that_shows_the_form(word, capsys):
    with pytest.raises(SystemExit):
        main(["ls", "x", "--limits", word])
    assert f"'{word}' does not set a limit; use NAME=N with a name of docs/formats.md, or none" in capsys.readouterr().err
