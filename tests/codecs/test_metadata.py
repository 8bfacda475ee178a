"""The facts of weights in the files of Steelyard: a file pays for them, however long they are."""

import io
import zipfile

import numpy as np
import pytest

import steelyard
from steelyard.codecs import limits, metadata
from steelyard.core.readers import from_array
from steelyard.core.weights import Weights
from steelyard.errors import FormatError

SUFFIXES = ("gguf", "h5", "pt", "rds", "npz", "safetensors")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_facts_of_more_than_a_megabyte_come_back(suffix, tmp_path):
    listed = Weights([from_array(f"w{nth}", np.ones(3), layer="layer" * 900) for nth in range(300)])
    steelyard.save(listed, tmp_path / f"m.{suffix}")
    assert steelyard.weights(tmp_path / f"m.{suffix}")["w7"].layer == "layer" * 900


@pytest.mark.parametrize("suffix", ["gguf", "h5", "pt", "rds", "safetensors"])
def test_facts_of_many_values_are_refused(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "_facts", lambda *_: [f'"w":[{",".join(["[]"] * 40_000)}]'])
    listed = Weights([from_array("w", np.ones(3))])
    steelyard.save(listed, tmp_path / f"m.{suffix}")
    monkeypatch.undo()
    with limits.allow(MEMORY=1 << 20, MEMORY_PER_BYTE=8), pytest.raises(FormatError, match="bytes of memory"):
        steelyard.weights(tmp_path / f"m.{suffix}")


def test_facts_of_many_values_in_the_comments_of_an_archive_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        for nth in range(20):
            member = io.BytesIO()
            np.save(member, np.ones(3))
            entry = zipfile.ZipInfo(f"w{nth}.npy")
            entry.comment = b'{"steelyard":{"w":[%b[]]}}' % (b"[]," * 20_000)
            archive.writestr(entry, member.getvalue())
    with limits.allow(MEMORY=1 << 20, MEMORY_PER_BYTE=8), pytest.raises(FormatError, match="bytes of memory"):
        steelyard.weights(tmp_path / "m.npz")
