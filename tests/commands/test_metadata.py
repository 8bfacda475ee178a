"""`show --metadata` prints what each format says of itself, and `ls` of a GGUF the general entries."""

import json

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import steelyard
from steelyard.cli import main
from steelyard.core.weights import Weights


def gguf(path):
    listed = steelyard.weights({"w": np.ones((2, 32), np.float32)})
    meta = {"metadata": {"general.name": "tiny\x1b[31m", "general.license": "mit", "llama.block_count": 2}}
    steelyard.save(Weights(listed.values(), meta=meta), path)


def hdf5(path):
    with h5py.File(path, "w") as file:
        file["w"] = np.ones(2)
        file.attrs["author"] = "Ada"
        file.attrs["tags"] = np.array(["a", "b"], dtype=h5py.string_dtype())


CASES = {
    "a.safetensors": (
        lambda path: save_file({"w": np.ones(2)}, path, metadata={"license": "mit\x1b"}), {"license": "mit\x1b"}, r"license: mit\u001b",
    ),
    "a.pt": (lambda path: torch.save({"w": torch.ones(2), "epoch": 3}, path), {"epoch": 3}, "epoch: 3"),
    "a.gguf": (gguf, {"version": 3}, r"metadata.general.name: tiny\u001b[31m"),
    "a.h5": (hdf5, {"attributes": {"author": "Ada", "tags": ["a", "b"]}}, "attributes.tags: a, b"),
    "a.npz": (lambda path: np.savez(path, w=np.ones(2)), {}, "no metadata"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_show_prints_the_metadata_of_a_file(name, tmp_path, capsys):
    make, held, line = CASES[name]
    make(tmp_path / name)
    assert main(["show", str(tmp_path / name), "--metadata"]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert main(["show", str(tmp_path / name), "--metadata", "--json"]) == 0
    metadata = json.loads(capsys.readouterr().out)["metadata"]
    assert held.items() <= metadata.items()


def test_ls_of_a_gguf_shows_its_general_entries(tmp_path, capsys):
    gguf(tmp_path / "a.gguf")
    assert main(["ls", str(tmp_path / "a.gguf")]) == 0
    general = r"general.name tiny\u001b[31m, general.license mit"
    assert capsys.readouterr().out.splitlines()[-1] == f"metadata: {general}; 3 entries in all (steelyard show FILE --metadata)"
    main(["ls", str(tmp_path / "a.gguf"), "--json"])
    assert json.loads(capsys.readouterr().out)["metadata"]["llama.block_count"] == 2
