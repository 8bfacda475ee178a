"""Deliberately incomplete files of PyTorch, NumPy, pickle, joblib and safetensors: `check` finds what is missing in each."""

import array
import io
import pickle
import zipfile

import joblib
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import IncompleteWarning, LeftOutWarning, SteelyardError, UnreadableError

NET = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(400)}


def tensors():
    return {name: torch.from_numpy(value.copy()) for name, value in NET.items()}


def without(path, *names, cut=None):
    """Write an archive again without some members, or with one member cut to its first bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if not name.endswith(names or ("\0",)):
                archive.writestr(name, content[:200] if cut and name.endswith(cut) else content)
    return path


def torch_file(path):
    torch.save(tensors(), path)
    return path


def lazy(path):
    torch.save(nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 1)).state_dict(), path)
    return path


def meta(path):
    torch.save({**tensors(), "m": torch.empty(2, 2, device="meta")}, path)
    return path


def one_byte_short(path):
    torch_file(path).write_bytes(path.read_bytes()[:-1])
    return path


def stream(path):
    torch.save(tensors(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def npz(path):
    np.savez(path, **NET)
    return path


def bfloat16(path):
    """What NumPy writes for a type that it does not know: two raw bytes for each number, without the type."""
    np.savez(path, w=np.zeros(3, "V2"), b=np.ones(2))
    return path


def objects(path):
    np.savez(path, w=np.array([{1}, None], object), b=np.ones(2))
    return path


def raw_member(path):
    with zipfile.ZipFile(npz(path), "a") as archive:
        archive.writestr("model.bin", bytes(100))
    return path


def safetensors(path):
    steelyard.save(NET, path)
    path.write_bytes(path.read_bytes()[:-1])
    return path


def npy(path):
    np.save(path, NET["b"])
    path.write_bytes(path.read_bytes()[:-8])
    return path


def pickled(value):
    def make(path):
        path.write_bytes(pickle.dumps({**NET, "x": value}))
        return path

    return make


def cut_joblib(path):
    joblib.dump(NET, path)
    path.write_bytes(path.read_bytes()[:-20])
    return path


class Reduced:
    """An object whose numbers are bytes in the arguments of a call that nothing describes."""

    def __reduce__(self):
        return Reduced, (np.arange(50.0).tobytes(),)

    def __init__(self, *_):
        pass


class Buffer:
    """An object with its numbers as bytes in an attribute."""

    def __init__(self):
        self.data = bytearray(np.arange(500.0).tobytes())


def side_file(path):
    """A pickle as joblib before 0.10 wrote it, whose array is in a file of its own that is missing."""
    wrapper = joblib.numpy_pickle_compat.NDArrayWrapper("net.pkl_01.npy", np.ndarray, True)
    path.write_bytes(pickle.dumps({**NET, "x": wrapper}))
    return path


INCOMPLETE = {
    "torch without a storage": ("a.pt", lambda path: without(torch_file(path), "data/0")),
    "torch with a cut storage": ("a.pt", lambda path: without(torch_file(path), cut="data/1")),
    "torch one byte short": ("a.pt", one_byte_short),
    "torch stream one byte short": ("a.pth", stream),
    "torch with lazy parameters": ("a.pt", lazy),
    "torch on the meta device": ("a.pt", meta),
    "npz with a cut member": ("a.npz", lambda path: without(npz(path), cut="b.npy")),
    "npz with bfloat16 as raw bytes": ("a.npz", bfloat16),
    "npz with objects": ("a.npz", objects),
    "npz with a member that is not an array": ("a.npz", raw_member),
    "npy cut": ("a.npy", npy),
    "safetensors one byte short": ("a.safetensors", safetensors),
    "pickle with a masked array": ("a.pkl", pickled(np.ma.array([1.0, 2.0], mask=[True, False]))),
    "pickle with bytes in a call": ("a.pkl", pickled(Reduced())),
    "pickle with bytes in an attribute": ("a.pkl", pickled(Buffer())),
    "pickle with records": ("a.pkl", pickled(np.zeros(2, [("a", "f8"), ("b", "i4")]))),
    "pickle with a set of bytes": ("a.pkl", pickled({bytes(100)})),
    "joblib cut": ("a.joblib", cut_joblib),
    "joblib without its side file": ("net.pkl", side_file),
}


@pytest.mark.parametrize("kind", INCOMPLETE)
@pytest.mark.filterwarnings("ignore::steelyard.errors.IncompleteWarning", "ignore::UserWarning")
def test_check_finds_what_is_missing_and_convert_does_not_pass_over_it(kind, tmp_path):
    name, make = INCOMPLETE[kind]
    path = make(tmp_path / name)
    try:
        found = steelyard.check(path)
    except SteelyardError:
        with pytest.raises(SteelyardError):
            steelyard.digest(path)
        return
    assert not found.ok
    assert "readable, complete" not in str(found)
    with pytest.raises(SteelyardError):
        steelyard.save(path, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(SteelyardError):
        steelyard.digest(path)


def test_what_is_left_can_be_had_and_is_named(tmp_path):
    path = pickled(np.ma.array([1.0, 2.0], mask=[True, False]))(tmp_path / "a.pkl")
    found = steelyard.weights(path)
    assert (found["x"].shape, found["x"].dtype, found["x"].encoding) == ((2,), "float64", "masked array")
    with pytest.raises(UnreadableError, match=r"'x' .*masked"):
        steelyard.digest(path)
    with pytest.warns(LeftOutWarning, match="'x'"):
        steelyard.save(path, tmp_path / "out.npz", skip_unreadable=True)
    assert set(np.load(tmp_path / "out.npz")) == {"w", "b"}


def test_a_lazy_parameter_has_no_elements_until_its_shape_is_known(tmp_path):
    net = nn.Sequential(nn.LazyLinear(2), nn.Linear(2, 1))
    torch.save(net.state_dict(), tmp_path / "a.pt")
    found = steelyard.weights(tmp_path / "a.pt")
    assert {name: weight.size for name, weight in found.items()} == {"0.weight": 0, "0.bias": 0, "1.weight": 2, "1.bias": 1}
    assert list(found.unreadable) == ["0.weight", "0.bias"]
    assert found.size == 3


def test_the_side_file_of_joblib_is_named_and_its_array_is_listed(tmp_path):
    path = side_file(tmp_path / "net.pkl")
    with pytest.warns(IncompleteWarning, match=r"net\.pkl_01\.npy"):
        found = steelyard.weights(path)
    assert "net.pkl_01.npy" in found.unreadable["x"]
    assert {finding.kind for finding in steelyard.check(path).findings} == {"incomplete", "unreadable"}
    np.save(tmp_path / "net.pkl_01.npy", np.arange(3.0))
    assert steelyard.check(path).ok
    assert steelyard.weights(path)["x"].numpy().tolist() == [0, 1, 2]


@pytest.mark.parametrize("save", [torch.save, lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False)])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_bare_storage_has_all_its_elements(save, tmp_path):
    save({"typed": torch.arange(5.0).storage(), "bytes": torch.arange(3.0).untyped_storage()}, tmp_path / "a.pt")
    found = steelyard.weights(tmp_path / "a.pt")
    assert found["typed"].numpy().tolist() == [0, 1, 2, 3, 4]
    assert found["bytes"].numpy().view("f4").tolist() == [0, 1, 2]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": torch.arange(5.0).storage()}))
    assert steelyard.weights(tmp_path / "a.pkl")["x"].numpy().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("code", "bBhHiIlLqQfd")
def test_the_arrays_of_python_are_read(code, tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": array.array(code, [1, 2, 3])}))
    found = steelyard.weights(tmp_path / "a.pkl")["x"]
    assert found.numpy().tolist() == [1, 2, 3]
    assert np.dtype(found.dtype).itemsize == array.array(code).itemsize


def test_the_lists_of_an_optimizer_s_state_are_listed_by_number(tmp_path):
    net = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=3)
    optimizer.step(lambda: torch.stack([p.square().sum() for p in net.parameters()]).sum().backward() or torch.ones(()))
    state = optimizer.state_dict()
    torch.save({"net": net.state_dict(), "optimizer": state, "pair": (torch.ones(2), [torch.zeros(3)])}, tmp_path / "a.pt")
    found = steelyard.weights(tmp_path / "a.pt", scope="all")
    held = state["state"][0]
    for key in ("old_dirs", "old_stps"):
        for nth, tensor in enumerate(held[key]):
            assert found[f"optimizer.state.0.{key}.{nth}"].numpy().tolist() == tensor.tolist()
    assert [found[name].shape for name in ("pair.0", "pair.1.0")] == [(2,), (3,)]


def test_texts_are_not_numbers_and_not_missing(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(2), format=np.array(b"csr"), names=np.array(["a", "b"]))
    found = steelyard.check(tmp_path / "a.npz")
    assert found.ok
    assert [finding.severity for finding in found.findings] == ["info", "info"]


def test_archives_that_follow_each_other_are_not_read_as_the_last_of_them(tmp_path):
    parts = []
    for n in (2, 3):
        held = io.BytesIO()
        torch.save(torch.ones(n), held)
        parts.append(held.getvalue())
    (tmp_path / "a.pt").write_bytes(b"".join(parts))
    with pytest.raises(SteelyardError):
        steelyard.weights(tmp_path / "a.pt")
