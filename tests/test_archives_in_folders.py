"""The models in a folder's archives are rows like its other files; archives of data are passed over."""

import gzip
import hashlib
import json
import tarfile
import zipfile

import carried
import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.errors import FileMissingError
from steelyard.formats import wrapped
from steelyard.paths import expanded, models_below

FOUND = ["net.safetensors", "net.safetensors.gz", "net.tar.gz", "old.tar", "one.zip", "other.safetensors"]


@pytest.fixture
def folder(tmp_path):
    for name in ("net", "other"):
        steelyard.save({"fc.weight": np.ones((2, 3), "f4")}, tmp_path / f"{name}.safetensors")
    one = (tmp_path / "net.safetensors").read_bytes()
    zipped(tmp_path / "one.zip", {"inner/model.safetensors": one, "README.md": b"text"})
    zipped(tmp_path / "several.zip", {"a.safetensors": one, "b.safetensors": one})
    zipped(tmp_path / "data.zip", {f"{number}.npy": b"" for number in range(101)})
    zipped(tmp_path / "parts.zip", {"a.bin": one, "b.bin": one})
    zipped(tmp_path / "text.zip", {"readme.txt": b"text"})
    zipped(tmp_path / ".hidden.zip", {"model.safetensors": one})
    (tmp_path / "cut.zip").write_bytes((tmp_path / "one.zip").read_bytes()[:90])
    (tmp_path / "sub").mkdir()
    zipped(tmp_path / "sub/deep.zip", {"model.safetensors": one})
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        archive.add(tmp_path / "net.safetensors", "model.safetensors")
    (tmp_path / "net.tar.gz").write_bytes(gzip.compress((tmp_path / "old.tar").read_bytes()))
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as archive:
        for name in ("a.npy", "b.npy"):
            archive.add(tmp_path / "net.safetensors", name)
    (tmp_path / "net.safetensors.gz").write_bytes(gzip.compress(one))
    (tmp_path / "words.model").write_bytes((carried.folder("words") / "w2v.model").read_bytes())
    (tmp_path / "tokens.model").write_bytes(b"\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2")
    (tmp_path / "loop.zip").symlink_to("loop.zip")
    return tmp_path


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_each_archive_of_a_folder_is_opened_once_to_expand_it(folder, monkeypatch):
    opened = []
    whole = wrapped.models_in
    monkeypatch.setattr(wrapped, "models_in", lambda source: opened.append(source.name) or whole(source))
    below, _ = models_below([str(folder)])
    assert f"{folder}/several.zip" in opened
    assert len(opened) == len(set(opened))
    assert f"{folder}/several.zip!/a.safetensors" in below


def test_the_models_in_archives_are_among_the_files_of_a_folder(folder):
    found = [path.removeprefix(f"{folder}/") for path in expanded([str(folder)])]
    several = [f"several.zip!/{name}.safetensors" for name in "ab"]
    assert found == [*FOUND, *several, "words.model"]
    below, links = models_below([str(folder)])
    assert sorted(path.removeprefix(f"{folder}/") for path in below) == sorted([*found, "sub/deep.zip"])
    assert not links


def test_each_has_a_row_with_its_weights(folder, capsys):
    assert main(["ls", str(folder)]) == 0
    rows = {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines() if line}
    assert rows["one.zip"] == rows["old.tar"] == rows["net.tar.gz"] == ["wrapped", "1", "6"]
    assert rows["several.zip!/a.safetensors"] == ["safetensors", "1", "6"]


def test_archives_without_a_row_are_named(folder, capsys):
    (folder / "one.zip").rename(folder / "one.tar.xz.zip")
    assert main(["ls", str(folder)]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "without a row" in line)
    names = "cut.zip, data.zip, loop.zip, parts.zip, source.tar.gz and 1 more"
    assert line == f"6 archives without a row: {names}; name one to look into it"
    assert main(["ls", "-r", str(folder)]) == 0
    assert "6 archives without a row" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["gz", "bz2", "xz"])
def test_an_archive_compressed_in_any_way_is_read_in_a_folder(form, folder, capsys):
    with tarfile.open(folder / f"sub/new.tar.{form}", f"w:{form}") as archive:
        archive.add(folder / "net.safetensors", "model.safetensors")
    assert main(["ls", str(folder / "sub")]) == 0
    assert f"new.tar.{form}" in capsys.readouterr().out


def test_a_folder_that_is_one_model_names_the_archives_beside_it(tmp_path, capsys):
    steelyard.save({"fc.weight": np.zeros((2, 3), "f4")}, tmp_path / "net.safetensors")
    data = (tmp_path / "net.safetensors").read_bytes()[:-24] + np.full(6, np.nan, "f4").tobytes()
    zipped(tmp_path / "more.zip", {"a.safetensors": data, "b.safetensors": data, "notes.txt": b"text"})
    with pytest.warns(
        steelyard.errors.LeftOutWarning, match=r"the model of this folder is net\.safetensors; left out more\.zip;"
    ):
        assert [*steelyard.weights(tmp_path)] == ["fc.weight"]
    assert main(["check", str(tmp_path)]) == 1
    lines = [line.removeprefix(f"{tmp_path}/") for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("more.zip!/a.safetensors: fc.weight is not finite: 6 NaN")
    assert lines[1].startswith("more.zip!/b.safetensors: fc.weight is not finite: 6 NaN")
    assert lines[2:] == [
        "net.safetensors: readable, complete, finite: 1 weight",
        "looked into 4 files: 2 with other findings, 1 without a model",
    ]


def test_an_archive_of_several_models_is_audited_as_a_whole_too(folder, capsys):
    zipped(folder / "several.zip", {"a.npy": b"", "b.npy": b"", "c.txt": b"cposix\nsystem\n(S'ls'\ntR."})
    assert main(["check", str(folder)]) == 3
    assert "several.zip: would have run posix.system('ls') (c.txt in several.zip, byte 22)" in capsys.readouterr().out


def test_a_compressed_archive_of_several_is_named_with_its_whole_name(folder):
    with pytest.raises(steelyard.errors.FormatError, match=r"name one, such as .*/source\.tar\.gz!/a\.npy"):
        steelyard.weights(folder / "source.tar.gz")


def test_a_bill_of_materials_has_the_digest_of_each_model_in_an_archive(folder, tmp_path):
    bill = tmp_path / "bom.json"
    main(["check", str(folder), "--bom", str(bill)])
    parts = {each["name"]: each for each in json.loads(bill.read_text())["components"]}
    expected = hashlib.sha256((folder / "net.safetensors").read_bytes()).hexdigest()
    for name in ("net.safetensors", "several.zip!/a.safetensors"):
        assert parts[name]["hashes"] == [{"alg": "SHA-256", "content": expected}]


def test_models_in_an_archive_that_did_not_change_are_not_catalogued_again(folder, capsys):
    asked = ["catalog", str(folder / "several.zip!/a.safetensors"), "-o", str(folder / "catalog.parquet")]
    assert main(asked) == main(asked) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("0 files read, 1 unchanged")


def test_a_folder_with_an_archive_alone_is_that_archive(folder, capsys):
    assert main(["ls", str(folder / "sub")]) == 0
    assert "fc.weight" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["zarr/v2", "zarr/alone", "orbax/ocdbt", "dcp/zip2", "rllib/several"])
def test_a_folder_that_is_one_model_is_read_in_an_archive_too(name, tmp_path):
    outer, inner = name.split("/")
    home = carried.folder(outer) / inner
    paths = [path for path in home.rglob("*") if path.is_file()]
    files = {str(path.relative_to(home)): path.read_bytes() for path in paths}
    zipped(tmp_path / "flat.zip", files)
    zipped(tmp_path / "deep.zip", {f"a/b/{path}": data for path, data in files.items()} | {"__MACOSX/._a": b""})
    expected = steelyard.weights(home)
    for archive in ("flat.zip", "deep.zip", "deep.zip!/a/b"):
        found = steelyard.weights(tmp_path / archive)
        assert [*found] == [*expected]
        assert all(
            np.array_equal(found[key].numpy(), weight.numpy()) for key, weight in expected.items() if not weight.unreadable
        )


def test_a_folder_of_an_archive_that_is_not_there_is_said_to_be_missing(folder):
    with pytest.raises(FileMissingError, match=r"has no member inn; it has inner/model\.safetensors"):
        steelyard.weights(folder / "one.zip!/inn")


@pytest.mark.parametrize("name", ["w2v.txt", "w2v.bin", "vectors.bin"])
def test_vectors_of_words_are_read_in_a_compressed_file(name, tmp_path):
    data = (carried.folder("words") / name).read_bytes()
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    assert [*steelyard.weights(tmp_path / f"{name}.gz")] == [*steelyard.weights(carried.folder("words") / name)]
