"""Checkpoints of Orbax, against the arrays that Orbax itself restores from them."""

import json
import shutil

import carried
import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.core.weight import Role
from steelyard.errors import FormatError
from steelyard.formats import format_name
from steelyard.storage import source as sources

KINDS = ("ocdbt", "plain", "zarr3", "plain3")


@pytest.fixture(scope="module")
def made():
    return carried.folder("orbax")


@pytest.fixture
def copy(made, tmp_path):
    """Copy a checkpoint, which may then be changed."""
    return lambda name: shutil.copytree(made / name, tmp_path / name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_has_the_names_and_numbers_that_orbax_restores(made, kind):
    restored = np.load(made / "restored.npz")
    found = dict(steelyard.weights(made / kind, scope="all"))
    expected = [name for name in restored if kind in ("ocdbt", "zarr3") or "a.b" not in name]
    assert [*found] == expected
    assert found.pop("params/parts/1").numpy() == restored["params/parts/1"].view("f8")  # restored as a number of Python
    assert {name: weight.numpy().tobytes() for name, weight in found.items()} == {
        name: restored[name].tobytes() for name in found
    }
    assert format_name(str(made / kind)) == "orbax"


def test_types_shapes_and_roles_are_those_of_the_layers(made):
    found = steelyard.weights(made / "ocdbt")
    assert [*found] == [name for name in np.load(made / "restored.npz") if name.startswith("params") and name != "params/parts/1"]
    kernel, bias = found["params/Dense_0/kernel"], found["params/Dense_0/bias"]
    assert (kernel.shape, kernel.dtype, kernel.role, kernel.axes) == ((8, 6), "float32", Role.KERNEL, "in out")
    assert (bias.shape, bias.dtype, bias.role) == ((6,), "bfloat16", Role.BIAS)
    assert found["params/a.b/c/d"].dtype == "float8_e4m3fn"


def test_a_part_of_a_weight_reads_only_the_chunks_that_it_touches(made, monkeypatch):
    weight = steelyard.weights(made / "plain")["params/Dense_0/kernel"]
    files, fill = [], sources._File.fill

    def noted(file, offset, buffer):
        files.append(file.name.rpartition("/")[2])
        fill(file, offset, buffer)

    monkeypatch.setattr(sources._File, "fill", noted)
    assert weight[5].tolist() == [30, 31, 32, 33, 34, 35]
    assert {*files} == {"1.0", "1.1"}


def test_the_values_of_variables_of_nnx_have_the_names_of_the_variables(made):
    found = steelyard.weights(made / "nnx")
    assert {name: (weight.shape, weight.role) for name, weight in found.items()} == {
        "bias": ((3,), Role.BIAS),
        "kernel": ((2, 3), Role.KERNEL),
    }


def test_a_step_is_its_only_item_and_several_items_begin_with_their_names(made):
    assert np.array_equal(steelyard.weights(made / "manager" / "10")["w"], np.full((2, 3), 10.0))
    for path in (made / "items", made / "items" / "3"):
        found = steelyard.weights(path)
        assert {name: weight.numpy().tolist() for name, weight in found.items()} == {"net/w": [1, 1], "other/w": [2, 2]}


def test_a_manager_with_several_steps_is_refused_with_the_last_one(made):
    with pytest.raises(FormatError, match="has 2 steps of a training, each one model; choose one, such as the last, '10'"):
        steelyard.weights(made / "manager")


def test_the_steps_of_a_manager_are_a_history(made):
    history = steelyard.history(str(made / "manager"))
    assert [history.at(step)["w"].numpy()[0, 0] for step in history.steps] == [9, 10]


def test_an_unfinished_save_is_named(made, copy):
    with pytest.raises(FormatError, match=r"the save '7\.orbax-checkpoint-tmp' was not finished"):
        steelyard.weights(made / "begun")
    with pytest.raises(FormatError, match="is what an unfinished save left; open a finished one, such as '7'"):
        steelyard.weights(made / "begun" / "7.orbax-checkpoint-tmp")
    folder = copy("ocdbt")
    times = folder / "_CHECKPOINT_METADATA"
    times.write_text(json.dumps({**json.loads(times.read_text()), "commit_timestamp_nsecs": None}))
    assert "may not have been finished" in steelyard.weights(folder).meta["notes"][0]
    for name in ("manifest.ocdbt", "_METADATA"):
        (folder / name).unlink()
    with pytest.raises(
        FormatError, match=r"lacks manifest\.ocdbt, which is written last: the parts of the processes were not merged"
    ):
        steelyard.weights(folder)


def test_without_the_file_of_keys_the_arrays_have_the_names_that_they_are_stored_under(copy):
    for kind in ("plain", "ocdbt", "plain3"):
        folder = copy(kind)
        (folder / "_METADATA").unlink()
        found = steelyard.weights(folder)
        assert found["params.Dense_0.kernel"].numpy()[7, 5] == 47


@pytest.mark.parametrize(("kind", "lost"), [("plain", "params.Dense_0.kernel/1.0"), ("plain3", "params.Dense_0.kernel/c/1/0")])
def test_a_missing_chunk_is_not_taken_for_zeros(copy, capsys, kind, lost):
    folder = copy(kind)
    (folder / lost).unlink()
    found = steelyard.weights(folder)
    assert found["params/Dense_0/kernel"][0].tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(FormatError, match=f"its chunk {lost} is missing"):
        found["params/Dense_0/kernel"].numpy()
    assert main(["check", str(folder)]) == 1
    assert f"its chunk {lost} is missing" in capsys.readouterr().out


def test_a_missing_file_of_ocdbt_and_a_missing_array_are_refused_by_name(copy):
    folder = copy("ocdbt")
    for path in (folder / "d").iterdir():
        path.unlink()
    with pytest.raises(FormatError, match=r"refers to the file 'd/\w+', which is missing \(partial copy\?\)"):
        steelyard.weights(folder)
    folder = copy("plain")
    shutil.rmtree(folder / "params.Dense_0.bias")
    with pytest.raises(FormatError, match="'params/Dense_0/bias' is missing"):
        steelyard.weights(folder)["params/Dense_0/bias"].numpy()


def test_a_file_of_a_checkpoint_is_named(made):
    for name in ("_METADATA", "manifest.ocdbt", "_CHECKPOINT_METADATA"):
        with pytest.raises(FormatError, match="a file of a checkpoint of Orbax; pass its folder"):
            steelyard.weights(made / "ocdbt" / name)


def test_it_is_converted_into_another_format(made, tmp_path):
    assert main(["convert", str(made / "zarr3"), str(tmp_path / "net.safetensors")]) == 0
    back = steelyard.weights(tmp_path / "net.safetensors")
    assert np.array_equal(back["params/Dense_0/kernel"], np.arange(48).reshape(8, 6))
