"""Exported programs of PyTorch: of torch.export.save, and in the layouts of older versions, which have files of torch.save."""

import io
import json
import warnings
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format


class Net(nn.Module):
    """A net with tied and transposed parameters, a frozen one, buffers, and a constant."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.tied = self.fc
        self.turned = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())
        self.frozen = nn.Parameter(torch.ones(4).bfloat16(), requires_grad=False)
        self.register_buffer("scale", torch.full((4,), 2.0).half())
        self.register_buffer("offset", torch.arange(3.0), persistent=False)
        self.table = torch.arange(12.0).reshape(4, 3)

    def forward(self, x):
        return self.fc(x) * self.scale + self.offset.sum() + self.table.sum() + self.turned.sum() + self.frozen


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Return the path of a program, and the program."""
    torch.manual_seed(0)
    made = torch.export.export(Net(), (torch.rand(2, 3),))
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about tensors that it stores as parts of others
        torch.export.save(made, path)
    return path, made


def saved(value):
    """Return a file of torch.save."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def rewritten(path, into, changes):
    """Copy an archive with other members in place of some, or without those that are None."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(into, "w") as new:
        for name in old.namelist():
            content = changes.get(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return into


def test_the_state_dict_is_that_of_the_program_in_its_order_with_ties(program):
    path, made = program
    found = steelyard.weights(path)
    assert list(found) == list(torch.export.load(path).state_dict)
    for name, tensor in made.state_dict.items():
        assert found[name].shape == tuple(tensor.shape)
        assert np.array_equal(found[name].numpy().astype("f4"), tensor.detach().float().numpy()), name
    assert found["tied.weight"].tied == "fc.weight"
    assert found["frozen"].dtype == "bfloat16"
    assert [found[name].trainable for name in ("fc.weight", "frozen", "scale")] == [True, False, False]
    check_format(open_path(path))


def test_constants_are_listed_with_scope_all_and_classes_give_roles(program):
    path, made = program
    found = steelyard.weights(path, scope="all")
    for name, tensor in made.constants.items():
        assert np.array_equal(found[name].numpy(), tensor.numpy()), name
    assert (found["tied.weight"].role, found["tied.weight"].axes) == ("kernel", "out in")


@pytest.mark.parametrize(
    "names",
    [
        ("net/data/weights/model.pt", "net/data/constants/model.pt", "net/archive_format"),
        ("serialized_state_dict.pt", "serialized_constants.pt", "serialized_exported_program.json"),
        ("serialized_state_dict.json", "serialized_constants.json", "serialized_exported_program.json"),
    ],
    ids=["2.8", "2.2", "2.1"],
)
def test_the_layouts_of_older_versions_are_read(program, tmp_path, names):
    made = program[1]
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr(names[0], saved(made.state_dict))
        archive.writestr(names[1], saved(made.constants))
        archive.writestr(names[2], "pt2" if names[2].endswith("format") else "{}")
    found = steelyard.weights(tmp_path / "old.pt2")
    assert list(found) == list(made.state_dict)
    assert np.array_equal(found["turned"].numpy(), made.state_dict["turned"].detach().numpy())
    assert set(steelyard.weights(tmp_path / "old.pt2", scope="all")) == {*made.state_dict, *made.constants}


def entry(path="weight_0", **changes):
    """Return what a config says of a matrix of 4 by 3."""
    facts = {"dtype": 7, "sizes": [{"as_int": 4}, {"as_int": 3}], "strides": [{"as_int": 3}, {"as_int": 1}]}
    facts |= {"storage_offset": {"as_int": 0}, "layout": 7, "requires_grad": True}
    return {"path_name": path, "is_param": True, "use_pickle": False, "tensor_meta": facts | changes}


CONFIG = "data/weights/model_weights_config.json"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (entry("weight_9"), "lacks the member 'net/data/weights/weight_9'"),
        (entry("../../secret"), "lacks the member"),
        (entry(sizes=[{"as_int": 400}, {"as_int": 3}]), "ends at element 1,200 of a storage that has 12"),
        (entry(sizes=[{"as_expr": {}}, {"as_int": 3}]), "are invalid"),
        (entry(dtype=99), "is of the type 99"),
        (entry(layout=1), "has no strided layout"),
        (7, "has no strided layout"),
    ],
    ids=["missing", "outside", "long", "expression", "type", "sparse", "number"],
)
def test_a_tensor_that_cannot_be_read_is_listed_and_refused(program, tmp_path, told, reason):
    path = rewritten(program[0], tmp_path / "bad.pt2", {CONFIG: json.dumps({"config": {"w": told}})})
    assert reason in steelyard.weights(path).unreadable["w"]


def test_a_pickled_tensor_is_read_and_objects_are_left_out(program, tmp_path):
    config = {
        "w": entry() | {"use_pickle": True},
        "thing": {"path_name": "custom_obj_0", "use_pickle": True, "tensor_meta": None},
    }
    changes = {CONFIG: json.dumps({"config": config}), "data/weights/weight_0": saved(torch.ones(4, 3))}
    found = steelyard.weights(rewritten(program[0], tmp_path / "pickled.pt2", changes))
    assert list(found) == ["w"]
    assert found["w"].numpy().tolist() == [[1] * 3] * 4


def test_a_compiled_package_and_a_config_of_no_tensors_are_refused(program, tmp_path):
    with pytest.raises(FormatError, match="which lists no tensors"):
        steelyard.weights(rewritten(program[0], tmp_path / "none.pt2", {CONFIG: "[]"}))
    with zipfile.ZipFile(tmp_path / "compiled.pt2", "w") as archive:
        archive.writestr("net/archive_format", "pt2")
        archive.writestr("net/data/aotinductor/model/abc.so", b"\x7fELF")
    with pytest.raises(FormatError, match="is a package of AOTInductor"):
        steelyard.weights(tmp_path / "compiled.pt2")
