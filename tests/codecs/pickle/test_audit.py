"""Files that try to run code when they are read, in every container of pickles: nothing runs, and the audit lists the calls."""

import contextlib
import io
import pickle
import struct

import joblib
import numpy as np
import pytest
import torch

import steelyard
from steelyard.errors import SteelyardError


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return open, (self.canary, "w")


def zipped(canary):
    file = io.BytesIO()
    torch.save({"w": torch.ones(2), "x": Payload(canary)}, file)
    return "a.pt", file.getvalue()


def stream(canary):
    file = io.BytesIO()
    torch.save({"w": torch.ones(2), "x": Payload(canary)}, file, _use_new_zipfile_serialization=False)
    return "a.pth", file.getvalue()


def header_of_stream(canary):
    """The payload is in the pickle of the system that wrote the file."""
    name, data = stream(canary)
    at = data.index(b"\x80\x02}q\x00(X\x10\0\0\0protocol_version")
    return name, data[:at] + pickle.dumps(Payload(canary), protocol=2) + data[data.index(b".", data.index(b"type_sizes")) + 1 :]


def plain(canary):
    return "a.pkl", pickle.dumps({"w": np.ones(2), "x": Payload(canary)})


def joblib_file(canary):
    file = io.BytesIO()
    joblib.dump({"w": np.ones(2), "x": Payload(canary)}, file)
    return "a.joblib", file.getvalue()


def joblib_object_array(canary):
    file = io.BytesIO()
    joblib.dump({"w": np.ones(2), "x": np.array([Payload(canary), np.ones(3)], dtype=object)}, file)
    return "a.joblib", file.getvalue()


def npz(canary):
    file = io.BytesIO()
    np.savez(file, w=np.ones(2), x=np.array([Payload(canary)], dtype=object))
    return "a.npz", file.getvalue()


def npy(canary):
    file = io.BytesIO()
    np.save(file, np.array({"w": np.ones(2), "x": Payload(canary)}, dtype=object))
    return "a.npy", file.getvalue()


def tensor_in_pickle(canary):
    """A tensor whose storage is a file of torch in the pickle, with the payload inside."""
    inner = stream(canary)[1]
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n(B" + struct.pack("<L", len(inner)) + inner
    return "a.pkl", b"\x80\x03}(X\1\0\0\0w" + call + b"tRK\0K\2\x85K\1\x85\x89}tRu."


ATTACKS = [zipped, stream, header_of_stream, plain, joblib_file, joblib_object_array, npz, npy, tensor_in_pickle]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
@pytest.mark.parametrize("part", ["model", "all"])
def test_no_file_runs_code(tmp_path, attack, part):
    canary = tmp_path / "canary"
    name, data = attack(canary)
    (tmp_path / name).write_bytes(data)
    with contextlib.suppress(SteelyardError):
        for weight in steelyard.weights(tmp_path / name, scope=part).values():
            weight.numpy()
    assert not canary.exists()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_each_call_is_listed_with_its_arguments(tmp_path, attack):
    name, data = attack(tmp_path / "canary")
    (tmp_path / name).write_bytes(data)
    told = [finding.what for finding in steelyard.weights(tmp_path / name).audit.findings if finding.runs]
    assert any("open(" in what and "canary" in what for what in told)


def test_the_payload_is_a_real_one(tmp_path):
    pickle.loads(plain(tmp_path / "canary")[1])["x"].close()
    assert (tmp_path / "canary").exists()
