"""A source gives the bytes that it is asked for, none outside of it, and opens only files of its own folder."""

import errno
import json
import os
import resource
import subprocess
import sys

import carried
import numpy as np
import pytest

import steelyard
from steelyard import sizes, storage
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError
from steelyard.storage.source import Source, from_bytes, open_path, open_regular

DATA = bytes(range(100))


@pytest.fixture(params=["memory", "file", "part"])
def source(request, tmp_path):
    """The same hundred bytes in memory, in a file, and as a part of a file."""
    path = tmp_path / "a.bin"
    if request.param == "memory":
        return from_bytes(DATA, "a.bin")
    path.write_bytes(DATA if request.param == "file" else b"before" + DATA + b"after")
    return open_path(path) if request.param == "file" else open_path(path).part(6, 100)


def test_any_run_of_a_source_is_read_and_none_outside_of_it(source):
    assert source.size == 100
    for offset, length in ((0, 0), (0, 1), (0, 100), (99, 1), (100, 0), (40, 13)):
        assert source.read(offset, length) == DATA[offset : offset + length]
    for offset, length in ((-1, 1), (0, -1), (0, 101), (99, 2), (101, 0), (100, 1)):
        with pytest.raises(FormatError, match=r"the file ends at byte 100, but .* \(partial download\?\)"):
            source.read(offset, length)
    assert source.head(10) == DATA[:10]
    assert source.head(1000) == DATA


def test_a_part_is_a_source_of_its_own_and_never_reaches_out_of_the_whole(source):
    part = source.part(10, 20, "inside")
    assert part.name == f"{source.name}:inside"
    assert source.part(10, 20).name == source.name
    assert part.read(5, 15) == DATA[15:30]
    assert part.part(19, 1).read(0, 1) == DATA[29:30]
    assert source.part(0, 100).read(0, 100) == DATA
    assert source.part(100, 0).size == 0
    for offset, length in ((-1, 1), (0, -1), (0, 101), (99, 2), (101, 0)):
        with pytest.raises(FormatError, match="reaches past the end of the file"):
            source.part(offset, length)


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8", "float64"])
def test_numbers_are_read_in_their_byte_order_from_any_element_on(dtype, byteorder):
    numbers = np.arange(6).astype(dtype)
    stored = numbers.astype(numbers.dtype.newbyteorder(byteorder)).tobytes()
    read = from_bytes(b"abc" + stored).numbers(3, dtype, byteorder)
    for start, stop in ((0, 6), (2, 5), (5, 6), (3, 3)):
        assert np.array_equal(read(start, stop), numbers[start:stop])
        assert read(start, stop).dtype == dtype


def test_numbers_that_end_after_the_source_are_refused_and_those_that_end_with_it_are_read():
    read = from_bytes(DATA).numbers(92, "float32")
    assert len(read(0, 2)) == 2
    assert len(read(3, 3)) == 0, "no number is past the end"
    for start, stop, end in ((0, 3, 104), (1, 3, 104), (2, 3, 104)):
        with pytest.raises(FormatError, match=f"the numbers end at byte {end}, past the end of the file, 100"):
            read(start, stop)


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error_at_the_byte_where_it_ends(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    source = open_path(path)
    os.truncate(path, 60)
    with pytest.raises(FormatError, match="it became shorter while it was read") as caught:
        source.read(50, 20)
    assert caught.value.offset == 60


def test_a_read_that_gives_less_than_it_was_asked_for_is_continued(tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_bytes(DATA)
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, buffers, offset: whole(handle, [buffers[0][:7]], offset))
    assert open_path(tmp_path / "a.bin").read(3, 50) == DATA[3:53]


def test_only_regular_files_and_folders_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileMissingError, match="a pipe, a socket or a device"):
        open_path(tmp_path / "pipe")
    with pytest.raises(FileMissingError, match="a device"):
        open_path("/dev/null")
    with pytest.raises(FileMissingError, match="No such file or directory; pass the path of a weight file"):
        open_path(tmp_path / "missing")
    with pytest.raises(FileMissingError, match="null"):
        open_path("a\0b")


def test_a_folder_has_no_bytes_and_opens_its_files(tmp_path):
    (tmp_path / "a.bin").write_bytes(DATA)
    folder = open_path(tmp_path)
    assert (folder.is_folder, folder.size) == (True, 0)
    assert folder.beside("a.bin").read(0, 3) == DATA[:3]
    assert not open_path(tmp_path / "a.bin").is_folder
    assert not from_bytes(DATA).is_folder
    assert open_path(str(tmp_path / "a.bin")).path == str(tmp_path / "a.bin")
    assert from_bytes(DATA).path is None


def test_the_prefix_of_a_checkpoint_opens_its_index_unless_a_file_has_that_name(tmp_path):
    (tmp_path / "model.index").write_bytes(DATA)
    assert open_path(str(tmp_path / "model")).read(0, 3) == DATA[:3]
    (tmp_path / "model").write_bytes(b"own")
    assert open_path(str(tmp_path / "model")).read(0, 3) == b"own"


def test_bytes_have_no_files_beside_them_unless_they_are_given():
    with pytest.raises(FormatError, match="needs the file 'b' of the same folder, but bytes in memory have no folder"):
        from_bytes(DATA).beside("b")
    given = from_bytes(b"given")
    assert from_bytes(DATA, beside=lambda _: given).beside("b") is given
    assert from_bytes(DATA, beside=lambda _: given).part(0, 1).beside("b") is given


@pytest.mark.parametrize("name", ["../a", "x/../../a", "..", "/etc/passwd", "a\\b", "a\0b", "c:a", "", "  "])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "index").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(UnsafeFileError, match="leads out of the folder"):
        open_path(tmp_path / "in" / "index").beside(name)


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(FormatError, match="not valid Unicode"):
        open_path(tmp_path).beside("a\ud800.bin")


def test_names_with_dots_and_folders_below_are_opened(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("index", "..a", "b..c", "sub/d"):
        (tmp_path / name).write_bytes(name.encode())
    index = open_path(tmp_path / "index")
    for name in ("..a", "b..c", "sub/d", "./sub/d"):
        assert index.beside(name).head(99) == name.removeprefix("./").encode()


def hub(folder):
    """Return the folder of a revision in a cache of the Hub, whose file a is a link to a blob."""
    blobs, revision = folder / "blobs", folder / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    revision.mkdir(parents=True)
    (blobs / "hash").write_bytes(b"blob")
    (revision / "a").symlink_to(blobs / "hash")
    (revision / "index").write_bytes(b"")
    return revision


def test_a_link_leads_to_the_blobs_of_the_cache_of_the_hub_and_nowhere_else(tmp_path):
    revision = hub(tmp_path / "models--x")
    index = open_path(revision / "index")
    assert index.beside("a").read(0, 4) == b"blob"
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "models--x" / "blobs" / "below").mkdir()
    (tmp_path / "models--x" / "blobs" / "below" / "file").write_bytes(b"")
    for name, target in (("out", tmp_path / "secret"), ("deep", tmp_path / "models--x" / "blobs" / "below" / "file")):
        (revision / name).symlink_to(target)
        with pytest.raises(UnsafeFileError, match="a link that leads out of the folder"):
            index.beside(name)
    (revision / "own").symlink_to(revision / "index")
    assert index.beside("own").size == 0


def test_a_folder_that_is_not_a_cache_has_no_blobs(tmp_path):
    revision = hub(tmp_path / "models--x")
    other = tmp_path / "models--x" / "other"
    (tmp_path / "models--x" / "snapshots").rename(other)
    with pytest.raises(UnsafeFileError, match="a link that leads out of the folder"):
        open_path(other / revision.name / "index").beside("a")


def test_a_sibling_whose_folder_only_begins_alike_is_outside(tmp_path):
    for folder in ("in", "inside"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_bytes(b"")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "inside" / "a")
    with pytest.raises(UnsafeFileError, match="a link that leads out of the folder"):
        open_path(tmp_path / "in" / "a").beside("link")


def test_a_source_of_a_fill_function_reads_by_it():
    calls = []

    def fill(offset, buffer):
        calls.append((offset, len(buffer)))
        buffer[:] = DATA[offset : offset + len(buffer)]

    source = Source("x", 100, fill, from_bytes)
    source.part(10, 20).numbers(2, "uint8")(3, 7)
    assert calls == [(15, 4)]


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".gguf", ".msgpack", ".npz", ".pt", ".npy", ".onnx"])
def test_a_file_that_is_written_in_place_while_it_is_held_is_not_read_on(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    if suffix == ".onnx":
        golden = carried.folder("golden")
        path.write_bytes(next(iter(sorted(golden.rglob("*.onnx")))).read_bytes())
    else:
        steelyard.save({"w": np.arange(32.0, dtype="f4").reshape(4, 8)}, path)
    held = steelyard.weights(path)
    held.to_vector()
    data = bytearray(path.read_bytes())
    os.utime(path, ns=(0, 0))
    with path.open("r+b") as file:
        file.write(data)
    with pytest.raises(FormatError, match=r"a\.\w+: has changed since it was opened"):
        held.to_vector()


def test_a_file_that_is_replaced_while_it_is_held_keeps_its_numbers(tmp_path):
    path = tmp_path / "a.safetensors"
    steelyard.save({"w": np.arange(6.0)}, path)
    held = steelyard.weights(path)
    steelyard.save({"w": np.zeros(6)}, path)
    assert held.to_vector().tolist() == list(range(6))


def a_set_of_shards(folder, count):
    """Write a model whose every tensor is in a file of its own, and the index of these."""
    names = {f"layers.{nth}.weight": f"model-{nth + 1:05}-of-{count:05}.safetensors" for nth in range(count)}
    for nth, (name, shard) in enumerate(names.items()):
        steelyard.save({name: np.full((2, 3), nth, "f4")}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder


def test_a_model_in_more_shards_than_a_process_may_open_is_listed_digested_checked_and_converted(tmp_path, monkeypatch):
    folder = a_set_of_shards(tmp_path, 40)
    whole = steelyard.digest(folder)
    monkeypatch.setattr(sizes, "OPEN_FILES", 8)
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 16, most))
    try:
        held = steelyard.weights(folder)
        assert len(held) == 40
        assert steelyard.digest(held) == steelyard.digest(folder) == whole
        assert steelyard.check(folder).ok
        steelyard.save(held, tmp_path / "one.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
    assert steelyard.digest(tmp_path / "one.safetensors") == whole


@pytest.mark.parametrize("command", ["ls", "digest"])
def test_under_a_low_limit_of_open_files_shards_do_not_take_those_of_the_modules(tmp_path, command):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); from steelyard.cli import main; import sys"
    made = subprocess.run(
        [sys.executable, "-c", f"{limited}; sys.exit(main(sys.argv[1:]))", command, a_set_of_shards(tmp_path, 90)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.returncode, made.stderr) == (0, "")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_shard_that_cannot_be_opened_is_not_called_missing(tmp_path, monkeypatch, number):
    folder = a_set_of_shards(tmp_path, 3)
    opened = storage.source._opened

    def refusing(path):
        if "00002-of" in str(path):
            raise OSError(number, os.strerror(number))
        return opened(path)

    monkeypatch.setattr(storage.source, "_opened", refusing)
    with pytest.raises(FormatError, match=f"00002-of.*: cannot be opened: {os.strerror(number)}"):
        steelyard.weights(folder)


@pytest.mark.parametrize("change", ["written in place", "replaced"])
def test_a_file_that_is_opened_for_each_read_is_read_in_one_version_only(change, tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "OPEN_FILES", 0)
    path = tmp_path / "a.safetensors"
    steelyard.save({"w": np.arange(6.0)}, path)
    held = steelyard.weights(path)
    assert held.to_vector().tolist() == list(range(6))
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    if change == "replaced":
        steelyard.save({"w": np.zeros(6)}, path)
        os.utime(path, ns=times)
    else:
        with path.open("r+b") as file:
            file.seek(-8, os.SEEK_END)
            file.write(bytes(8))
        os.utime(path, ns=(0, 0))
    with pytest.raises(FormatError, match="has changed since it was opened"):
        held.to_vector()


def test_a_file_that_is_opened_for_each_read_is_found_from_another_folder_and_named_when_it_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "OPEN_FILES", 0)
    monkeypatch.chdir(tmp_path)
    steelyard.save({"w": np.arange(6.0)}, "a.safetensors")
    held = steelyard.weights("a.safetensors")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert held.to_vector().tolist() == list(range(6))
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(FormatError, match=r"a\.safetensors: cannot be opened again: No such file or directory"):
        held.to_vector()


@pytest.mark.parametrize("suffix", [".pt", ".h5", ".safetensors", ".npz"])
def test_weights_that_live_until_the_interpreter_exits_end_without_a_word(suffix, tmp_path):
    """At exit the names of a module may be gone before the files that it opened, as where another library still holds them."""
    path = tmp_path / f"a{suffix}"
    steelyard.save({"a": np.ones(3)}, path)
    script = f"import steelyard; held = steelyard.weights({str(path)!r}); held.to_vector()\n"
    script += "from steelyard.storage import source; vars(source).update(_HELD=None, os=None)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_device_in_a_folder_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "README.md")
    for path in (str(tmp_path / "README.md"), "/dev/zero"):
        with pytest.raises(OSError, match="is a pipe, a socket or a device, not a regular file"):
            open_regular(path)
    (tmp_path / "plain").write_bytes(b"ab")
    with open_regular(str(tmp_path / "plain")) as file:
        assert file.read() == b"ab"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_bill_of_materials_of_a_folder_with_a_pipe_for_a_card_is_written(tmp_path):
    (tmp_path / "net").mkdir()
    steelyard.save({"w": np.ones(2, "f4")}, tmp_path / "net" / "model.safetensors")
    os.mkfifo(tmp_path / "net" / "README.md")
    command = [sys.executable, "-m", "steelyard", "check", "--bom", str(tmp_path / "bom.json"), str(tmp_path / "net")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "bom.json").exists()
