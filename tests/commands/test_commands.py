"""The commands over files: convert, check, digest, parts of a weight, folders and patterns."""

import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from threading import Thread

import carried
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from waiting import has_read, until

import steelyard
from steelyard import cli
from steelyard.cli import main
from steelyard.errors import FormatError, LossyError
from steelyard.text import progress

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    step = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        step.zero_grad()
        net(torch.randn(8, 4)).square().mean().backward()
        step.step()
    return net


@pytest.fixture
def file(net, tmp_path):
    steelyard.save(net, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def said(capsys, *args, status=0):
    """Run a command in this process, and return what it printed."""
    assert main([str(arg) for arg in args]) == status
    return capsys.readouterr().out


def refused(capsys, *args):
    """Run a command that fails, and return its one line on stderr."""
    assert main([str(arg) for arg in args]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1
    return captured.err


def names_in(folder):
    return sorted(os.listdir(folder))


def test_the_commands_are_the_modules_of_the_folder():
    folder = ROOT / "src" / "steelyard" / "commands"
    assert sorted(cli.COMMANDS) == sorted(path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py"))


# paths


def test_a_folder_stands_for_its_weight_files_and_a_pattern_for_its_matches(file, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no weights")
    (tmp_path / ".hidden.npz").write_bytes(b"")
    np.savez(tmp_path / "b.npz", w=np.zeros(2))
    np.savez(tmp_path / "a.npz", w=np.zeros(3))
    assert [r["file"] for r in json.loads(said(capsys, "ls", f"{tmp_path}/*.npz", "--json"))] == [f"{tmp_path}/a.npz", f"{tmp_path}/b.npz"]  # fmt: skip
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.npz").rename(tmp_path / "sub" / "a.npz")
    (tmp_path / "b.npz").rename(tmp_path / "sub" / "b.npz")
    assert [r["file"] for r in json.loads(said(capsys, "ls", tmp_path / "sub", "--json"))] == [f"{tmp_path}/sub/a.npz", f"{tmp_path}/sub/b.npz"]  # fmt: skip
    assert [r["file"] for r in json.loads(said(capsys, "ls", f"{tmp_path}/s*", "--json"))] == [f"{tmp_path}/sub/a.npz", f"{tmp_path}/sub/b.npz"]  # fmt: skip


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(tmp_path, capsys):
    np.savez(tmp_path / "a[1].npz", w=np.zeros(2))
    assert json.loads(said(capsys, "ls", tmp_path / "a[1].npz", "--json"))["total"]["parameters"] == 2


def test_a_pattern_or_folder_without_weight_files_is_one_line(tmp_path, capsys):
    assert "No such file" in refused(capsys, "ls", f"{tmp_path}/*.pt")
    assert "folder" in refused(capsys, "ls", tmp_path)


def test_a_folder_that_is_one_model_is_listed_once_and_one_of_several_models_by_model(net, tmp_path, capsys):
    steelyard.save(net, tmp_path / "model.safetensors.index.json")
    assert json.loads(said(capsys, "ls", tmp_path, "--json"))["file"] == str(tmp_path)
    steelyard.save(net, tmp_path / "other.npz")
    assert json.loads(said(capsys, "ls", tmp_path, "--json"))["file"] == str(tmp_path)
    steelyard.save(net, tmp_path / "other.safetensors")
    files = [record["file"] for record in json.loads(said(capsys, "ls", tmp_path, "--json"))]
    assert files == [f"{tmp_path}/{name}" for name in ("model.safetensors.index.json", "other.npz", "other.safetensors")]


# show


@pytest.mark.parametrize("index", ["0", "-1", "1,2", ":2", "1:,:2", ":,1", "-2:,-1", ":", "2:1", "0:100", " 1 , : "])
def test_a_part_of_a_weight_equals_numpys(file, net, capsys, index):
    shown = json.loads(said(capsys, "show", file, f"0.weight[{index}]", "--json"))
    expected = eval(f"net[0].weight.detach().numpy()[{index}]")
    assert shown["shape"] == list(expected.shape)
    assert np.array_equal(np.array(shown["values"], "f4").reshape(expected.shape), expected)
    assert len(shown["axes"].split()) == expected.ndim


@pytest.mark.parametrize(
    ("index", "what"),
    [
        ("3", "3 is out of range for axis 0 of length 3"),
        ("-4", "-4 is out of range for axis 0"),
        ("0,0,0", "has 3 entries, the weight 2 axes"),
        ("", "'' is not an index"),
        ("a", "'a' is not an index"),
        ("::2", "'::2' is not an index"),
        ("1.0", "'1.0' is not an index"),
        ("\u0661", "is not an index"),
    ],
)
def test_an_invalid_part_is_refused_with_the_reason(file, capsys, index, what):
    assert what in refused(capsys, "show", file, f"0.weight[{index}]")


def test_a_name_that_ends_with_brackets_is_a_name_before_it_is_a_part(tmp_path, capsys):
    save_file({"w[0]": np.ones(2, "f4"), "w": np.zeros(2, "f4")}, tmp_path / "x.safetensors")
    assert json.loads(said(capsys, "show", tmp_path / "x.safetensors", "w[0]", "--json"))["values"] == [1.0, 1.0]


def test_only_the_requested_row_of_a_large_weight_is_read(tmp_path, monkeypatch, capsys):
    save_file({"w": np.arange(1 << 20, dtype="f4").reshape(1024, 1024)}, tmp_path / "x.safetensors")
    read = []
    from steelyard.storage.source import Stored

    real = Stored.fill
    monkeypatch.setattr(Stored, "fill", lambda self, start, buffer: read.append(len(buffer)) or real(self, start, buffer))
    said(capsys, "show", tmp_path / "x.safetensors", "w[3,:5]")
    assert sum(read) == 20


def test_show_stats_leaves_the_numbers_out(file, capsys):
    text = said(capsys, "show", file, "0.weight", "--stats")
    assert "histogram" in text
    assert "[" not in text.split("numbers")[1]
    assert "values" not in json.loads(said(capsys, "show", file, "0.weight", "--stats", "--json"))


# convert


def test_convert_keeps_every_number_fact_and_tie(tmp_path, capsys):
    net = nn.Sequential(nn.Embedding(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 6, bias=False))
    net[2].weight = net[0].weight
    steelyard.save(net, tmp_path / "a.safetensors")
    assert said(capsys, "convert", tmp_path / "a.safetensors", tmp_path / "b.npz").startswith(
        f"{tmp_path}/b.npz: 7 weights (1 tied"
    )
    assert said(capsys, "convert", tmp_path / "b.npz", tmp_path / "c.safetensors").count("\n") == 1
    assert steelyard.digest(str(tmp_path / "c.safetensors"), "sha256") == steelyard.digest(net, "sha256")
    back, live = steelyard.weights(tmp_path / "c.safetensors"), steelyard.weights(net)
    assert [(w.name, w.role, w.axes, w.tied, w.trainable) for w in back.values()] == [
        (w.name, w.role, w.axes, w.tied, w.trainable) for w in live.values()
    ]


def test_convert_without_a_cast_needs_no_numpy(file, tmp_path):
    code = f"import sys; from steelyard.cli import main; main(['convert', {str(file)!r}, {str(tmp_path / 'out.safetensors')!r}]); print('numpy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV, check=True)
    assert run.stdout.splitlines()[-1] == "False"


def test_a_cast_rounds_floats_and_leaves_counters(file, net, tmp_path, capsys):
    said(capsys, "convert", file, tmp_path / "half.safetensors", "--dtype", "float16")
    back = load_file(tmp_path / "half.safetensors")
    assert back["1.num_batches_tracked"].dtype == "int64"
    assert np.array_equal(back["0.weight"], net[0].weight.detach().numpy().astype("f2"))


def test_a_cast_that_overflows_names_the_number_and_leaves_the_old_file(tmp_path, capsys):
    save_file({"w": np.array([[1.0, 2.0], [3.0, 1e6]], "f4")}, tmp_path / "x.safetensors")
    (tmp_path / "out.safetensors").write_bytes(b"old")
    line = refused(capsys, "convert", tmp_path / "x.safetensors", tmp_path / "out.safetensors", "--dtype", "float16")
    assert "w: 1e+06 at [1, 1]" in line
    assert (tmp_path / "out.safetensors").read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.safetensors", "x.safetensors"]


def test_the_place_of_a_lost_number_is_right_beyond_the_first_block():

    values = np.zeros((3, 1 << 20), "f4")
    values[2, 7] = 1e6
    with pytest.raises(LossyError, match=r"at \[2, 7\]"):
        for _ in steelyard.weights({"w": values}).astype("float16").blocks():
            pass


def test_weights_are_selected_then_renamed_in_turn_then_prefixed(file, tmp_path, capsys):
    out = tmp_path / "out.safetensors"
    rules = ("--rename", r"(\d)\.weight=\1.kernel", "--rename", r"(\d)\.(\w+)=layer\1.\2")
    said(capsys, "convert", file, out, "--select", "0.*", "--select", "2.weight", *rules, "--prefix", r"net\g.")
    assert list(steelyard.weights(out)) == [r"net\g.layer0.kernel", r"net\g.layer0.bias", r"net\g.layer2.kernel"]
    assert steelyard.weights(out)[r"net\g.layer0.bias"].layer == r"net\g.layer0"


def test_removing_a_prefix_renames_the_layer_too():
    w = steelyard.weights({"module": {"weight": np.zeros(2)}})
    assert [(x.name, x.layer) for x in w.rename(r"module\.(.*)", r"\1").values()] == [("weight", "")]
    assert [(x.name, x.layer) for x in steelyard.weights({"w": np.zeros(2)}).rename("(.*)", r"net.\1").values()] == [
        ("net.w", "net")
    ]


@pytest.mark.parametrize("rule", ["no sign", "(=x", r"(.*)=\2", r"(.*)=\g<x>", ".*=same"])
def test_an_invalid_rule_is_one_line_and_nothing_is_written(file, tmp_path, capsys, rule):
    refused(capsys, "convert", file, tmp_path / "out.safetensors", "--rename", rule)
    assert names_in(tmp_path) == ["net.safetensors"]


def test_a_selection_of_nothing_is_refused(file, tmp_path, capsys):
    assert "no weight" in refused(capsys, "convert", file, tmp_path / "out.npz", "--select", "bogus*")


@pytest.mark.parametrize("way", ["same", "link", "hard link"])
def test_a_file_may_be_converted_into_itself_by_any_name(file, net, tmp_path, capsys, way):
    other = tmp_path / "other.safetensors"
    if way == "link":
        other.symlink_to(file)
    elif way == "hard link":
        os.link(file, other)
    else:
        other = file
    before = file.read_bytes()
    said(capsys, "convert", file, other, "--dtype", "float16")
    assert np.array_equal(load_file(other)["0.weight"], net[0].weight.detach().numpy().astype("f2"))
    if way == "hard link":  # the other name still has the old content
        assert file.read_bytes() == before
    assert other.is_symlink() == (way == "link")
    assert not [name for name in names_in(tmp_path) if name.endswith(".tmp")]


def test_convert_json_describes_the_written_file(file, tmp_path, capsys):
    record = json.loads(said(capsys, "convert", file, tmp_path / "out.npz", "--json"))
    assert record["out"] == f"{tmp_path}/out.npz"
    assert record["total"]["weights"] == 9


@pytest.mark.parametrize(
    "option", [["--dtype", "int8"], ["--dtype", "half"], ["--shard-size", "0"], ["--shard-size", "5 apples"]]
)
def test_an_invalid_dtype_or_size_is_misuse(file, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(file), str(tmp_path / "out.npz"), *option])
    assert ended.value.code == 2
    assert "is n" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_name_that_is_not_unicode_is_refused_in_a_line(tmp_path, suffix):
    with pytest.raises(FormatError, match=r"a\\udc80 is not valid Unicode"):
        steelyard.save({"a\udc80": np.zeros(2)}, tmp_path / f"x{suffix}")
    assert names_in(tmp_path) == []


def test_an_unknown_suffix_is_refused_before_anything_is_read(file, tmp_path, capsys):
    assert "no format writes" in refused(capsys, "convert", file, tmp_path / "out.bogus")


def big_file(path, megabytes=400):
    """A .safetensors file whose numbers take no disk space."""
    length = megabytes << 18
    text = json.dumps({"w": {"dtype": "F32", "shape": [length // 1024, 1024], "data_offsets": [0, length * 4]}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + length * 4)
    return path


INTERRUPTED = {
    "convert": "convert {big} {out}",
    "save-patch": "save-patch {small} {big} -o {out}",
    "apply-patch": "apply-patch {small} {patch} -o {out}",
}


@pytest.mark.parametrize("command", ["convert", "save-patch", "apply-patch"])
def test_ctrl_c_leaves_no_half_written_file(tmp_path, command):
    megabytes = 3000 if command == "convert" else 800  # a copy takes less time than a patch
    big, small = big_file(tmp_path / "big.safetensors", megabytes), big_file(tmp_path / "small.safetensors", 1)
    paths = {"big": big, "small": small, "out": tmp_path / "out.safetensors", "patch": tmp_path / "patch.safetensors"}
    if command == "apply-patch":
        steelyard.save_patch(small, big, paths["patch"])
    paths["out"].write_bytes(b"old")
    before = names_in(tmp_path)
    words = [word.format(**paths) for word in INTERRUPTED[command].split()]
    with subprocess.Popen([sys.executable, "-m", "steelyard", *words], stderr=subprocess.PIPE, env=ENV) as process:
        until(lambda: any(name.endswith(".tmp") and (tmp_path / name).stat().st_size for name in names_in(tmp_path)))
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == b""
    assert paths["out"].read_bytes() == b"old"
    assert names_in(tmp_path) == before


@pytest.mark.parametrize(
    "command", ["diff {big} {other}", "spectra {big}", "lineage {big} {other}", "save-patch {big} {other} -o {out}"]
)
def test_ctrl_c_while_files_are_read_ends_quietly_and_leaves_nothing(tmp_path, command):
    paths = {name: big_file(tmp_path / f"{name}.safetensors", 60_000) for name in ("big", "other")}  # holes: minutes to read
    words = [word.format(**paths, out=tmp_path / "out.safetensors") for word in command.split()]
    with subprocess.Popen([sys.executable, "-m", "steelyard", *words], stderr=subprocess.PIPE, env=ENV) as process:
        until(lambda: has_read(process, 64 << 20))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""
    assert names_in(tmp_path) == ["big.safetensors", "other.safetensors"]


@pytest.mark.parametrize(("command", "limit"), [("convert", 32), ("check", 100), ("digest", 100)])
def test_memory_stays_bounded_whatever_the_size_of_the_file(tmp_path, command, limit):
    arguments = [command, str(big_file(tmp_path / "big.safetensors"))]
    if command == "convert":
        arguments.append(str(tmp_path / "out.safetensors"))
    status = "open('/proc/self/status').read()"  # getrusage starts from the parent's size
    code = f"from steelyard.cli import main; assert main({arguments!r}) == 0; print({status}.split('VmHWM:')[1].split()[0])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV, check=True)
    assert int(run.stdout.splitlines()[-1]) < limit * 1024


# check


def test_check_reports_that_a_good_file_is_good(file, capsys):
    assert said(capsys, "check", file) == "readable, complete, finite: 9 weights\n"
    assert json.loads(said(capsys, "check", file, "--json"))["ok"] is True


def test_check_names_each_weight_that_is_not_finite_with_its_place(tmp_path, capsys):
    bad = np.zeros((2, 3), "f4")
    bad[1, 2] = np.nan
    save_file({"a": bad, "b": np.array([np.inf, -np.inf], "f8"), "c": np.zeros(2, "i4")}, tmp_path / "x.safetensors")
    text = said(capsys, "check", tmp_path / "x.safetensors", status=1)
    assert "a is not finite: 1 NaN, first at [1, 2]" in text
    assert "b is not finite: 2 Inf, first at [0]" in text
    record = json.loads(said(capsys, "check", tmp_path / "x.safetensors", "--json", status=1))
    assert {(f["name"], tuple(f["place"])) for f in record["findings"]} == {("a", (1, 2)), ("b", (0,))}


def test_check_finds_a_weight_that_cannot_be_read_to_the_end(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", good=np.arange(100.0), bad=np.arange(200))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    at = data.find(np.arange(200).tobytes())
    data[at + 80] ^= 1
    (tmp_path / "x.npz").write_bytes(data)
    text = said(capsys, "check", tmp_path / "x.npz", status=1)
    assert text.startswith("1 of 2 weights readable; bad cannot be read: ")
    assert "checksum" in text


def test_check_of_a_cut_file_is_exit_2_and_the_others_are_still_checked(file, tmp_path, capsys):
    cut = tmp_path / "a.safetensors"
    cut.write_bytes(file.read_bytes()[:-1])
    assert main(["check", str(cut), str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{file}: readable, complete, finite: 9 weights\nlooked into 2 files: 1 damaged\n"
    assert "a.safetensors" in captured.err


class Payload:
    def __reduce__(self):
        return os.system, ("touch /tmp/steelyard-canary",)


def test_check_names_the_call_that_a_pickle_would_make_and_does_not_make_it(net, tmp_path, capsys):
    canary = Path("/tmp/steelyard-canary")
    torch.save({"state_dict": net.state_dict(), "note": Payload()}, tmp_path / "evil.pt")
    text = said(capsys, "check", tmp_path / "evil.pt", status=3)
    assert "posix.system('touch /tmp/steelyard-canary')" in text
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Payload()))
    assert "posix.system('touch" in said(capsys, "check", tmp_path / "bare.pkl", status=3)
    assert "posix.system('touch" in refused(capsys, "ls", tmp_path / "bare.pkl")
    assert not canary.exists()


def test_check_of_a_live_model_reads_its_numbers(net):
    assert steelyard.check(net).ok
    assert repr(steelyard.check({"w": np.array([np.nan])})) == "w is not finite: 1 NaN, first at [0]"


# progress


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


@pytest.mark.parametrize("command", ["check", "digest", "ls --stats", "convert"])
def test_progress_shows_on_a_terminal_and_is_gone_at_the_end(file, tmp_path, monkeypatch, capsys, command):
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    name, *options = command.split()
    out = [str(tmp_path / "out.safetensors")] if name == "convert" else []
    printed = json.loads(said(capsys, name, file, *out, *options, "--json"))
    assert printed
    shown = sys.stderr.getvalue()
    assert "[##############################] 100% of" in shown
    assert shown.endswith("\r\x1b[K")


TWO_FILES = {
    "diff": ("diff {a} {b}", 1, "comparing", True),
    "diff --select": ("diff {a} {b} --select *weight", 1, "comparing", True),
    "lineage": ("lineage {a} {b} {c}", 0, "comparing", False),  # counters are not compared
    "spectra": ("spectra {a}", 0, "measuring", False),  # biases have no singular values
    "save-patch": ("save-patch {a} {b} -o {out}", 0, "comparing", True),
    "apply-patch": ("apply-patch {a} {patch} -o {out}", 0, "applying", False),  # numbers that the patch has in full
    "average": ("average {a} {b} -o {out}", 0, "averaging", True),
    "merge": ("merge {a} {b} -o {out}", 0, "merging", True),
    "transfer": ("transfer {a} --into {b} -o {out}", 0, "reading", False),  # counters are not transferred
}


@pytest.fixture
def files(file, tmp_path):
    """A net, two that went on training, and a patch from it to the first of them."""
    found = {"a": file, "b": tmp_path / "b.safetensors", "c": tmp_path / "c.safetensors", "patch": tmp_path / "p.safetensors"}
    arrays = load_file(file)
    for nth, name in enumerate("bc", 1):
        save_file({key: array if array.dtype == "int64" else array + nth for key, array in arrays.items()}, found[name])
    steelyard.save_patch(found["a"], found["b"], found["patch"])
    return {**found, "out": tmp_path / "out.safetensors"}


@pytest.mark.parametrize("case", TWO_FILES)
def test_commands_over_two_files_print_the_same_with_and_without_progress(files, monkeypatch, capsys, case):
    text, status, what, everything = TWO_FILES[case]
    args = [word.format(**files) for word in text.split()]
    quiet = said(capsys, *args, status=status)
    written = files["out"].read_bytes() if files["out"].exists() else None
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert said(capsys, *args, status=status) == quiet
    assert (files["out"].read_bytes() if files["out"].exists() else None) == written
    shown = sys.stderr.getvalue()
    assert f"\r{what} [#" in shown
    assert not everything or re.search(r"\[#+\] 100%", shown)
    assert shown.endswith("\r\x1b[K")


def test_bytes_that_are_read_again_are_reported_and_do_not_advance_the_bar(files, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    said(capsys, "diff", files["a"], files["b"], status=1)  # verdicts read again
    parts = [int(part) for part in re.findall(r"([0-9]+)% ", sys.stderr.getvalue())]
    assert parts == sorted(parts)
    assert parts[-1] == 100
    assert re.search(r"\] 100% and [0-9.]+ \w+ again, ", sys.stderr.getvalue().rpartition("[#")[2])


def test_a_bar_never_wraps_however_narrow_the_terminal_is(file, monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(progress, "PAUSE", 0)
    for columns in (20, 45, 60, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "stderr", Terminal())
        said(capsys, "check", file, "--health")
        assert max(map(len, sys.stderr.getvalue().replace("\x1b[K", "").split("\r"))) < columns


def test_the_bytes_that_several_threads_read_are_all_counted():
    bar = progress._Bar("reading", 1 << 30)
    bar.due = float("inf")
    threads = [Thread(target=lambda: [bar.add(1, 2) for _ in range(20_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (bar.done, bar.again) == (80_000, 160_000)


def test_a_quick_command_or_a_pipe_shows_no_progress(file, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    said(capsys, "digest", file)
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(progress, "PATIENCE", 0)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    said(capsys, "digest", file)
    assert sys.stderr.getvalue() == ""


def test_counting_read_bytes_changes_no_written_byte(file, tmp_path, monkeypatch, capsys):
    said(capsys, "convert", file, tmp_path / "a.safetensors")
    monkeypatch.setattr(sys, "stderr", Terminal())
    said(capsys, "convert", file, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


# files of R


def warned(capsys, *args):
    """Run a command that succeeds, and return its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main([str(arg) for arg in args]) == 0
    return capsys.readouterr().err


@pytest.fixture
def fit(tmp_path):
    path = tmp_path / "fit.rds"
    path.write_bytes((carried.folder("r") / "nnet" / "nnet_skip_softmax.rds").read_bytes())
    return path


def test_ls_and_check_report_that_a_fit_contains_training_data_too(fit, capsys):
    note = "this file also holds training data (fitted.values, residuals)"
    assert said(capsys, "ls", fit).splitlines()[-1] == note
    assert json.loads(said(capsys, "ls", fit, "--json"))["notes"] == [note]
    assert said(capsys, "check", fit).splitlines()[-1] == note
    assert json.loads(said(capsys, "check", fit, "--json"))["notes"] == [note]


def test_a_fit_gets_the_numbers_of_another_file_by_convert_like(fit, tmp_path, capsys):
    steelyard.save(dict(steelyard.weights(fit).arrays()), tmp_path / "w.safetensors")
    said(capsys, "convert", tmp_path / "w.safetensors", tmp_path / "same.rds", "--like", fit)
    assert (tmp_path / "same.rds").read_bytes() == fit.read_bytes()
    vector = steelyard.weights(fit).to_vector()
    doubled = {name: array * 2 for name, array in steelyard.weights(fit).arrays().items()}
    steelyard.save({"hidden": doubled["hidden"].astype("float32")}, tmp_path / "w.safetensors")
    assert "fitted.values" in warned(capsys, "convert", tmp_path / "w.safetensors", fit, "--like", fit)
    now = steelyard.weights(fit)
    assert np.array_equal(now["hidden"].numpy(), doubled["hidden"].astype("float32"))
    assert np.array_equal(now["output"].numpy() * 2, doubled["output"])
    assert now.to_vector().size == vector.size


def test_convert_like_names_the_weight_that_does_not_fit(fit, tmp_path, capsys):
    steelyard.save({"hiden": np.zeros((4, 2))}, tmp_path / "a.safetensors")
    assert "did you mean 'hidden'" in refused(capsys, "convert", tmp_path / "a.safetensors", tmp_path / "b.rds", "--like", fit)
    steelyard.save({"hidden": np.zeros((2, 4))}, tmp_path / "a.safetensors")
    assert "in the model [4, 2]" in refused(capsys, "convert", tmp_path / "a.safetensors", tmp_path / "b.rds", "--like", fit)
    assert names_in(tmp_path) == ["a.safetensors", "fit.rds"]


def test_the_vector_of_a_file_of_r_torch_goes_in_its_order(tmp_path, capsys):
    file = carried.folder("r") / "rtorch" / "rtorch_module_v2.pt"
    expected = json.loads(file.with_suffix(".json").read_text())["r_vector_of_parameters"]
    args = ("-o", tmp_path / "v.npy", "--order", "F", "--in-order", "r-torch")
    assert "13 float32 numbers from 4 weights" in said(capsys, "vector", file, *args)
    assert np.load(tmp_path / "v.npy").tolist() == expected
    assert json.loads(said(capsys, "vector", file, *args, "--json"))["weights"][1]["start"] == 6


@pytest.mark.parametrize("command", ["ls", "stats", "digest", "spectra", "vector -o x.npy", "convert x.npz", "diff {a} {a}"])
def test_a_pattern_that_matches_no_name_is_an_error_not_an_empty_table(files, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    words = [word.format(**files) for word in command.split()]
    paths = [] if words[0] == "diff" else [str(files["a"])]
    assert main([words[0], *paths, *words[1:], "--select", "typo*"]) == 2
    assert capsys.readouterr().err.endswith("no weight's name matches --select 'typo*'; steelyard ls lists the names\n")
    assert not list(tmp_path.glob("x.*"))
