"""Verification of a saved list of digests, as by sha256sum -c."""

import json
import os

import numpy as np
import pytest

import steelyard
from steelyard.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, start in (("a.npz", 0), ("b with space.safetensors", 5)):
        steelyard.save({"w": np.arange(start, start + 6.0).reshape(2, 3), "b": np.zeros(3)}, name)
    return tmp_path


def listed(capsys, *options):
    assert main(["digest", "a.npz", "b with space.safetensors", *options]) == 0
    return capsys.readouterr().out


def verified(capsys, *options, status=0):
    assert main(["digest", "-c", "list", *options]) == status
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("options", [(), ("--total",), ("-a", "sha256"), ("-a", "xxh3", "--layout", "canonical")])
def test_printed_digests_verify(folder, capsys, options):
    (folder / "list").write_text(listed(capsys, *options))
    assert verified(capsys) == ["a.npz: OK", "b with space.safetensors: OK"]


def test_a_changed_file_fails_and_its_changed_weight_is_named(folder, capsys):
    (folder / "list").write_text(listed(capsys))
    steelyard.save({"w": np.arange(6.0).reshape(2, 3), "c": np.zeros(3)}, "a.npz")
    assert verified(capsys, status=1) == [
        "a.npz: b: FAILED (it is missing)",
        "a.npz: FAILED",
        "b with space.safetensors: OK",
    ]


def test_a_weight_s_own_line_is_verified_too(folder, capsys):
    text = listed(capsys)
    (folder / "list").write_text(text.replace(text[:8], "00000000", 1))
    assert verified(capsys, status=1)[:2] == ["a.npz: w: FAILED", "a.npz: FAILED"]


def test_missing_files_bad_lines_and_truncated_lists_are_reported(folder, capsys):
    text = listed(capsys)
    (folder / "a.npz").unlink()
    (folder / "list").write_text("# mine\n\n" + text + f"{'0' * 64}  w\n")
    lines = verified(capsys, status=1)
    assert lines[0] == "list: line 1: not a line of a digest list"
    assert lines[1].startswith("a.npz: FAILED open or read (")
    assert lines[2] == "b with space.safetensors: OK"
    assert lines[3] == "list: line 9: FAILED (the digest of the file is missing after those of its weights)"


def test_a_list_without_files_and_a_missing_list_are_errors(folder, capsys):
    (folder / "list").write_text("nothing\n")
    assert main(["digest", "-c", "list"]) == 2
    assert "no line is the digest of a file" in capsys.readouterr().err
    assert main(["digest", "-c", "none"]) == 2
    assert main(["digest", "-c", "list", "--total"]) == 2


def test_verdicts_are_json(folder, capsys):
    (folder / "list").write_text(listed(capsys, "--total"))
    assert main(["digest", "-c", "list", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["ok"] is True
    assert [verdict["verdict"] for verdict in record["verdicts"]] == ["OK", "OK"]


def test_a_list_opens_no_url_and_no_file_outside_its_folder(folder, capsys, monkeypatch):
    text = listed(capsys, "--total").replace("a.npz", "../outside.npz")
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    (folder / "a.npz").rename(folder / "outside.npz")
    (folder / "b with space.safetensors").rename("b with space.safetensors")
    digest = text.split()[0]
    (folder / "inner" / "list").write_text(text + f"{digest}  http://127.0.0.1:9/x.npz (sha256 of 2 weights)\n")
    opened = []
    monkeypatch.setattr("steelyard.storage.remote.opening.open_url", opened.append)
    url = (
        "http://127.0.0.1:9/x.npz: FAILED open or read "
        "(a list of digests may not name a URL; download the file, or digest the URL itself)"
    )
    assert verified(capsys, status=1) == [
        "../outside.npz: FAILED open or read (it is outside the folder of the list; pass --anywhere if you trust the list)",
        "b with space.safetensors: OK",
        url,
    ]
    assert verified(capsys, "--anywhere", status=1) == ["../outside.npz: OK", "b with space.safetensors: OK", url]
    assert opened == []


def test_a_link_out_of_the_folder_of_a_list_is_not_followed(folder, capsys, tmp_path_factory):
    text = listed(capsys, "--total")
    other = tmp_path_factory.mktemp("other")
    (folder / "a.npz").rename(other / "a.npz")
    (folder / "a.npz").symlink_to(other / "a.npz")
    (folder / "list").write_text(text)
    assert verified(capsys, status=1)[0].startswith("a.npz: FAILED open or read (it is outside the folder of the list")


@pytest.mark.parametrize(
    "name", ["a\nb.npz", "a\rb.npz", "a\\b.npz", "a\x1b[31m.npz", b"\xff\xfe.npz", "ä ü.npz", "\\n.npz", "a\u2028b.npz"]
)
def test_a_file_with_any_name_is_verified(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(name)
    steelyard.save({"w": np.arange(6.0)}, "plain.npz")
    os.rename("plain.npz", name)
    for options in ((), ("--total",)):
        assert main(["digest", name, *options]) == 0
        (tmp_path / "list").write_text(capsys.readouterr().out, encoding="utf-8", errors="surrogateescape")
        assert [line.rpartition(": ")[2] for line in verified(capsys)] == ["OK"]
    os.rename(name, "elsewhere.npz")
    assert "FAILED open or read" in verified(capsys, status=1)[0]
