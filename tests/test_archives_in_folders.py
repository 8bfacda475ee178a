"""A folder's archives with one model are rows like its other files; those of data and those with several models are passed over."""

import gzip
import tarfile
import zipfile

import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.paths import expanded, models_below


@pytest.fixture
def folder(tmp_path):
    for name in ("net", "other"):
        steelyard.save({"fc.weight": np.ones((2, 3), "f4")}, tmp_path / f"{name}.safetensors")
    one = (tmp_path / "net.safetensors").read_bytes()
    zipped(tmp_path / "one.zip", {"inner/model.safetensors": one, "README.md": b"text"})
    zipped(tmp_path / "several.zip", {"a.safetensors": one, "b.safetensors": one})
    zipped(tmp_path / "text.zip", {"readme.txt": b"text"})
    zipped(tmp_path / ".hidden.zip", {"model.safetensors": one})
    (tmp_path / "cut.zip").write_bytes((tmp_path / "one.zip").read_bytes()[:90])
    (tmp_path / "sub").mkdir()
    zipped(tmp_path / "sub/deep.zip", {"model.safetensors": one})
    with tarfile.open(tmp_path / "old.tar", "w") as archive:
        archive.add(tmp_path / "net.safetensors", "model.safetensors")
    (tmp_path / "source.tar.gz").write_bytes(gzip.compress((tmp_path / "old.tar").read_bytes()))
    (tmp_path / "loop.zip").symlink_to("loop.zip")
    return tmp_path


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_archives_with_one_model_are_among_the_files_of_a_folder(folder):
    found = [path.removeprefix(f"{folder}/") for path in expanded([str(folder)])]
    assert found == ["net.safetensors", "old.tar", "one.zip", "other.safetensors"]
    below, links = models_below([str(folder)])
    assert [path.removeprefix(f"{folder}/") for path in below] == [*found, "sub/deep.zip"]
    assert not links


def test_each_has_a_row_with_its_weights(folder, capsys):
    assert main(["ls", str(folder)]) == 0
    rows = {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines() if line}
    assert rows["one.zip"] == rows["old.tar"] == ["wrapped", "1", "6"]
    assert "several.zip" not in rows


def test_a_folder_with_an_archive_alone_is_that_archive(folder, capsys):
    assert main(["ls", str(folder / "sub")]) == 0
    assert "fc.weight" in capsys.readouterr().out
