"""Files that an index names are replaced as a set, and what is removed is only what this library wrote and nothing names."""

import json
import os
from pathlib import Path

import pytest

from steelyard.storage import atomic_set
from steelyard.storage.atomic import RANDOM, alone_in, remove_abandoned, replacing
from steelyard.storage.atomic_set import replace_set

MARK = "0123456789abcdef" * (RANDOM // 8)


def write(target, new, old=(), *, named="new"):
    """Write a set of files and their index; `named` are the names that the index holds afterwards, None if they are unknown."""

    def fill(folder, names):
        for name in names:
            (folder / name).write_text(f"new {name}")

    def finish():
        target.write_text(json.dumps(list(new)))

    in_use = set(new) if named == "new" else named
    replace_set(target, lambda: (list(new), list(old)), fill, finish, lambda: in_use)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_files_take_their_names_and_the_old_ones_go(tmp_path):
    write(tmp_path / "index", ["a1", "a2"])
    assert files(tmp_path) == ["a1", "a2", "index"]
    assert (tmp_path / "a1").read_text() == "new a1"
    write(tmp_path / "index", ["b1"], ["a1", "a2"])
    assert files(tmp_path) == ["b1", "index"]


def test_old_files_that_the_index_still_names_stay(tmp_path):
    write(tmp_path / "index", ["a1", "a2"])
    write(tmp_path / "index", ["b1"], ["a1", "a2"], named={"b1", "a2"})
    assert files(tmp_path) == ["a2", "b1", "index"]


def test_nothing_is_removed_where_it_is_not_known_what_is_named(tmp_path):
    write(tmp_path / "index", ["a1"])
    write(tmp_path / "index", ["b1"], ["a1"], named=None)
    assert files(tmp_path) == ["a1", "b1", "index"]


def test_new_files_are_removed_where_the_index_could_not_be_written(tmp_path):
    write(tmp_path / "index", ["a1"])

    def fail():
        raise OSError("full")

    def fill(folder, names):
        for name in names:
            (folder / name).write_text("new")

    with pytest.raises(OSError, match="full"):
        replace_set(tmp_path / "index", lambda: (["b1"], ["a1"]), fill, fail, lambda: {"a1"})
    assert files(tmp_path) == ["a1", "index"]


def test_a_file_that_is_there_is_never_replaced(tmp_path):
    (tmp_path / "a1").write_text("of another")
    with pytest.raises(FileExistsError):
        write(tmp_path / "index", ["a1"], named=set())
    assert (tmp_path / "a1").read_text() == "of another"
    assert files(tmp_path) == ["a1"]


def test_a_file_system_without_links_has_its_files_renamed(tmp_path, monkeypatch):
    def link(source, target):
        raise PermissionError("no links")

    monkeypatch.setattr(os, "link", link)
    write(tmp_path / "index", ["a1"])
    assert files(tmp_path) == ["a1", "index"]
    assert (tmp_path / "a1").read_text() == "new a1"


def abandoned(folder, journal, name="index"):
    """Leave what a killed process leaves: a hidden folder with a journal."""
    aside = folder / f".{name}-{MARK}.tmp"
    aside.mkdir()
    (aside / "journal.json").write_text(journal)
    return aside


def stamp(path):
    found = path.lstat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    for name in ("left", "changed", "used", "unlisted"):
        (tmp_path / name).write_text(name)
    stamps = {name: stamp(tmp_path / name) for name in ("left", "changed", "used")} | {"gone": [1, 2, 3], "new": None}
    (tmp_path / "changed").write_text("longer now")
    aside = abandoned(tmp_path, json.dumps(stamps))
    other = abandoned(tmp_path, json.dumps(stamps), "other")
    write(tmp_path / "index", ["a1"], named={"a1", "used"})
    assert not aside.exists()
    assert other.exists(), "it belongs to another index"
    assert [name for name in files(tmp_path) if not name.startswith(".")] == ["a1", "changed", "index", "unlisted", "used"]


@pytest.mark.parametrize("part", range(3))
def test_a_file_whose_inode_size_or_time_is_another_is_not_the_one_that_was_written(tmp_path, part):
    (tmp_path / "left").write_text("left")
    wrong = stamp(tmp_path / "left")
    wrong[part] += 1
    abandoned(tmp_path, json.dumps({"left": wrong}))
    write(tmp_path / "index", ["a1"])
    assert (tmp_path / "left").exists()


@pytest.mark.parametrize("journal", ["", "[1]", "{", '{"left": 5}', '{"left": [1, 2]}', "nan", '"left"', "[" * 100_000])
def test_a_journal_that_makes_no_sense_removes_nothing_but_its_folder(tmp_path, journal):
    (tmp_path / "left").write_text("left")
    aside = abandoned(tmp_path, journal)
    write(tmp_path / "index", ["a1"])
    assert (tmp_path / "left").exists()
    assert not aside.exists()


def test_a_journal_never_removes_a_file_of_another_folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "left").write_text("left")
    abandoned(folder, json.dumps({"../left": stamp(tmp_path / "left"), str(tmp_path / "left"): stamp(tmp_path / "left")}))
    write(folder / "index", ["a1"])
    assert (tmp_path / "left").exists()


def test_a_journal_that_is_a_link_or_too_large_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "left").write_text("left")
    (tmp_path / "elsewhere.json").write_text(json.dumps({"left": stamp(tmp_path / "left")}))
    aside = abandoned(tmp_path, "")
    (aside / "journal.json").unlink()
    (aside / "journal.json").symlink_to(tmp_path / "elsewhere.json")
    write(tmp_path / "index", ["a1"])
    assert (tmp_path / "left").exists()
    text = json.dumps({"left": stamp(tmp_path / "left")})
    monkeypatch.setattr(atomic_set, "LIMIT", len(text) - 1)
    abandoned(tmp_path, text)
    write(tmp_path / "index", ["b1"])
    assert (tmp_path / "left").exists()
    monkeypatch.setattr(atomic_set, "LIMIT", len(text))
    abandoned(tmp_path, text)
    write(tmp_path / "index", ["c1"])
    assert not (tmp_path / "left").exists()


@pytest.mark.parametrize("mark", ["", MARK[:-1], MARK + "0", MARK[:-1] + "g", "model"])
def test_a_hidden_folder_with_another_name_is_not_ours(tmp_path, mark):
    folder = tmp_path / f".index-{mark}.tmp"
    folder.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f".index-{MARK}.tmp").symlink_to(elsewhere)
    write(tmp_path / "index", ["a1"])
    assert folder.exists()
    assert elsewhere.exists()


def test_the_hidden_folders_are_left_alone_where_the_folder_cannot_be_locked(tmp_path, monkeypatch):
    import fcntl

    def flock(handle, how):
        raise OSError("no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    aside = abandoned(tmp_path, "{}")
    with alone_in(str(tmp_path)) as alone:
        assert not alone
    write(tmp_path / "index", ["a1"])
    assert aside.exists()
    assert (tmp_path / "a1").exists()


def test_a_folder_is_locked_while_a_set_is_written_and_free_afterwards(tmp_path):
    import fcntl

    handle = os.open(tmp_path, os.O_RDONLY)
    with alone_in(str(tmp_path)) as alone:
        assert alone
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o751])
def test_the_mode_of_the_replaced_file_is_kept(tmp_path, mode):
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(mode)
    with replacing(path) as file:
        file.write(b"new")
    assert path.stat().st_mode & 0o7777 == mode
    assert path.read_text() == "new"


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def fail():
        with replacing(path) as file:
            file.write(b"new")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert files(tmp_path) == ["a"]


def test_temporary_files_of_nobody_are_removed_and_those_in_use_are_not(tmp_path):
    import fcntl

    names = {mark: f".a.{mark}.tmp" for mark in (MARK, MARK[::-1], MARK[:-1], MARK[:-1] + "g", MARK + "0")}
    names["another"] = f".b.{MARK}.tmp"
    for name in names.values():
        (tmp_path / name).write_text("")
    with open(tmp_path / names[MARK[::-1]], "w") as used:
        fcntl.flock(used, fcntl.LOCK_EX)
        remove_abandoned(str(tmp_path), ".a.")
    assert files(tmp_path) == sorted(set(names.values()) - {names[MARK]})


def test_without_locks_a_file_is_written_and_no_temporary_one_is_removed(tmp_path, monkeypatch):
    import fcntl

    def flock(handle, how):
        raise OSError("no locks")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / f".a.{MARK}.tmp").write_text("")
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
    assert files(tmp_path) == [f".a.{MARK}.tmp", "a"]


def test_a_temporary_file_that_another_process_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    opened = []
    real = os.open

    def race(path, flags, *mode):
        handle = real(path, flags, *mode)
        if str(path).endswith(".tmp"):
            opened.append(path)
            if len(opened) == 1:
                os.unlink(path)
        return handle

    monkeypatch.setattr(os, "open", race)
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
    assert len(opened) == 2
    assert Path(tmp_path / "a").read_bytes() == b"new"
