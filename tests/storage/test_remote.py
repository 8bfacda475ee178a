"""Files at a URL are read by ranges; here over fsspec's own file system in memory."""

import subprocess
import sys

import fsspec
import numpy as np
import pytest

import steelyard
from steelyard.errors import FileMissingError


@pytest.fixture
def url(tmp_path):
    steelyard.save({"w": np.arange(100_000.0), "b": np.ones(3)}, tmp_path / "net.safetensors")
    files = fsspec.filesystem("memory")
    files.pipe("/folder/net.safetensors", (tmp_path / "net.safetensors").read_bytes())
    yield "memory://folder/net.safetensors"
    files.rm("/folder", recursive=True)


def test_weights_at_a_url_are_those_of_the_file(url):
    w = steelyard.weights(url)
    assert list(w) == ["w", "b"]
    assert w["w"].numpy().tolist() == list(range(100_000))


def test_listing_and_a_run_fetch_little(url, monkeypatch):
    fetched = []
    kind = type(fsspec.filesystem("memory"))
    cat = kind.cat_file

    def counted(self, path, start=None, end=None, **settings):
        fetched.append(end - start)
        return cat(self, path, start=start, end=end, **settings)

    monkeypatch.setattr(kind, "cat_file", counted)
    w = steelyard.weights(url)
    assert fetched == [1 << 16]
    assert w["w"].read(50_000, 50_002).tolist() == [50_000, 50_001]
    assert fetched == [1 << 16, 16]


def test_a_missing_file_is_reported():
    with pytest.raises(FileMissingError, match=r"memory://nowhere/x\.pt: .*is the address right"):
        steelyard.weights("memory://nowhere/x.pt")


def test_without_fsspec_one_line_names_the_extra():
    code = "import sys; sys.modules['fsspec'] = None; import steelyard; steelyard.weights('https://example.org/x.pt')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1].endswith('a URL needs an extra: pip install "steelyard[remote]"')
