"""A row for each of several files: ls of a folder, of patterns, of folders in folders."""

import json
import os

import numpy as np
import pytest
from terminals import ESCAPE, in_terminal

import steelyard
from steelyard.cli import main
from steelyard.text.files import FileRow, files_lines
from steelyard.text.terminal import Screen


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder of models, one of them damaged, with folders in it and links in and out."""
    folder = tmp_path_factory.mktemp("zoo")
    for nth in (2, 10):
        net = {"fc.weight": np.ones((nth, 3), "f4"), "fc.bias": np.zeros(nth, "f2"), "step": np.array(nth)}
        steelyard.save(net, folder / f"run{nth}.safetensors")
    (folder / "bad\x1b[31m.pt").write_text("no model")
    (folder / "notes.txt").write_text("no weights")
    (folder / "a" / "b").mkdir(parents=True)
    np.savez(folder / "a" / "b" / "deep.npz", w=np.ones(5))
    np.savez(folder / "a" / "one.npz", w=np.ones(5))
    outside = tmp_path_factory.mktemp("outside")
    np.savez(outside / "secret.npz", w=np.ones(5))
    os.symlink(outside / "secret.npz", folder / "a" / "out.npz")
    os.symlink("one.npz", folder / "a" / "in.npz")
    os.symlink(outside, folder / "a" / "elsewhere")
    return folder


def listed(capsys, *args, status=0):
    """Run ls; return the rows by the file's name, the other lines, and stderr."""
    assert main(["ls", *map(str, args)]) == status
    out, err = capsys.readouterr()
    table, _, rest = out.partition("\n\n")
    return {row.split("  ")[0]: row.split() for row in table.splitlines()[1:]}, rest.splitlines(), err


def test_a_folder_has_a_row_for_each_file_also_for_one_that_cannot_be_listed(zoo, capsys):
    rows, rest, err = listed(capsys, zoo, status=2)
    assert [*rows] == ["bad\\u001b[31m.pt", "run2.safetensors", "run10.safetensors"]
    assert rows["run10.safetensors"][1:] == ["safetensors", "3", "40", "float32,", "float16", "+1", "148", "bytes"]
    assert "not a weight file" in " ".join(rows["bad\\u001b[31m.pt"])
    assert rest[0].startswith("3 files: 6 weights, 48 parameters, ")
    assert rest[1] == "1 folder not looked into; -r does"
    assert err == "error: 1 of 3 files cannot be listed\n"


def test_several_files_have_rows_in_the_order_of_their_numbers_and_weights_lists_each(zoo, capsys):
    files = [zoo / "run10.safetensors", zoo / "run2.safetensors"]
    rows, rest, err = listed(capsys, *files)
    assert ([*rows], err) == ([str(files[1]), str(files[0])], "")
    assert len(rest) == 1
    for option in (["--weights"], ["--all"], ["--select", "fc*"], ["--role", "bias"], ["--stats"]):
        assert main(["ls", *map(str, files), *option]) == 0
        assert "fc.bias" in capsys.readouterr().out


def test_recursive_goes_into_folders_and_never_out_of_them(zoo, capsys):
    rows, _, err = listed(capsys, "-r", zoo, status=2)
    assert {*rows} == {"bad\\u001b[31m.pt", "run2.safetensors", "run10.safetensors", "a/one.npz", "a/in.npz", "a/b/deep.npz"}
    assert "warning: 1 link out of the folder left out; name the files that they lead to\n" in err
    assert main(["ls", "-r", "--json", str(zoo / "a" / "b")]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(zoo / "a" / "b" / "deep.npz")


def test_a_link_to_itself_and_a_folder_that_cannot_be_opened_are_errors_of_their_own(tmp_path, monkeypatch, capsys):
    real = os.scandir
    np.savez(tmp_path / "good.npz", w=np.ones(5))
    os.symlink("loop.npz", tmp_path / "loop.npz")
    (tmp_path / "locked").mkdir()

    def scandir(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)  # the superuser may read everything
    rows, _, err = listed(capsys, "-r", tmp_path, status=2)
    assert sorted(rows) == ["good.npz", "locked", "loop.npz"]
    assert err == "error: 2 of 3 files cannot be listed\n"
    assert main(["check", str(tmp_path)]) == 2
    assert "loop.npz: Too many levels of symbolic links" in capsys.readouterr().err
    assert main(["completion", "--line", "ls", f"{tmp_path}/"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/{name}" for name in ("good.npz", "locked/", "loop.npz")]


def test_a_folder_without_weight_files_is_one_line(tmp_path, capsys):
    (tmp_path / "x.txt").write_text("")
    assert main(["ls", "-r", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: there is no weight file in it or in its folders\n"


def test_the_row_of_a_file_that_would_run_code_says_so(tmp_path, capsys):
    import torch

    class Payload:
        def __reduce__(self):
            return os.system, ("true",)

    torch.save({"w": torch.ones(3), "x": Payload()}, tmp_path / "evil.pt")
    torch.save({"w": torch.ones(3)}, tmp_path / "good.pt")
    rows, _, err = listed(capsys, tmp_path)
    assert " ".join(rows["evil.pt"]).endswith("loading it would run code")
    assert rows["good.pt"][-1] == "bytes"
    assert err.startswith("warning: loading ")


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_the_rows_fit_the_terminal(zoo, columns):
    text = ESCAPE.sub("", in_terminal(columns, "ls", zoo, status=2))
    assert max(map(len, text.splitlines())) <= columns
    assert "run10" in text


def test_numbers_of_thousands_of_digits_and_findings_of_thousands_of_letters_are_no_trouble():
    rows = [FileRow(f"a{'1' * 9000}"), FileRow("a2"), FileRow("a" + "1" * 8999 + "2", finding="x" * 9000), FileRow("b")]
    lines = list(files_lines(rows, Screen(80)))
    assert lines[1].startswith("a2")
    assert max(map(len, lines)) <= 80


def test_an_index_of_something_else_is_no_file_of_weights(tmp_path, capsys):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/index.json").write_text('{"pages": ["a.html"]}')
    for name in ("a", "b"):
        steelyard.save({"fc.weight": np.ones((2, 3), "f4")}, tmp_path / f"{name}.safetensors")
    assert main(["ls", "-r", str(tmp_path)]) == 0
    assert "index.json" not in capsys.readouterr().out
    (tmp_path / "b.safetensors").unlink()
    (tmp_path / "index.json").write_text('{"pages": ["a.html"]}')
    assert [*steelyard.weights(tmp_path)] == ["fc.weight"]
