"""Only the selected part of a weight is read, and weights are exported to other libraries unchanged."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import steelyard
from steelyard import sizes
from steelyard.core.readers import ByColumns, from_array
from steelyard.errors import MissingExtraError, ShapeError

ARRAY = np.arange(5 * 6 * 7, dtype="f4").reshape(5, 6, 7)


def counting(array):
    """A weight over an array, and a list of the runs that are read."""
    runs = []

    def read(start, stop):
        runs.append((start, stop))
        return array.reshape(-1)[start:stop]

    return from_array("w", array).replace(read=read), runs


@settings(deadline=None)
@given(hnp.basic_indices(ARRAY.shape, allow_newaxis=False))
def test_a_part_equals_numpys_for_the_same_index(index):
    part = from_array("w", ARRAY)[index]
    assert part.shape == ARRAY[index].shape
    assert np.array_equal(part, ARRAY[index])


@settings(deadline=None)
@given(hnp.basic_indices(ARRAY.shape, allow_newaxis=False))
def test_runs_that_are_far_apart_are_read_one_by_one_and_give_the_same(index):
    weight, _ = counting(ARRAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "READ_GAP", 2)
        patch.setattr(sizes, "READ_BLOCK", 16)
        assert np.array_equal(weight[index], ARRAY[index])


def test_only_the_runs_of_the_part_are_read(monkeypatch):
    weight, runs = counting(np.arange(24).reshape(4, 6))
    assert weight[2].tolist() == [12, 13, 14, 15, 16, 17]
    assert weight[1:3, :].size == 12
    assert weight[3, 1:3].tolist() == [19, 20]
    assert int(weight[0, -1]) == 5
    assert runs == [(12, 18), (6, 18), (19, 21), (5, 6)]
    runs.clear()
    monkeypatch.setattr(sizes, "READ_GAP", 3)
    assert weight[:3, :2].tolist() == [[0, 1], [6, 7], [12, 13]]
    assert runs == [(0, 2), (6, 8), (12, 14)]
    runs.clear()
    assert weight[:2, :4].tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert runs == [(0, 10)], "a gap of two numbers is read over"


def test_a_few_columns_of_a_file_are_read_without_the_rest_of_their_rows(tmp_path):
    numbers = np.arange(50 * 4000, dtype="f4").reshape(50, 4000)
    steelyard.save({"w": numbers}, tmp_path / "wide.safetensors")
    weight = steelyard.weights(tmp_path / "wide.safetensors")["w"]
    source, read = weight.read.source, []
    fill, source.fill = source.fill, lambda offset, buffer: read.append(len(buffer)) or fill(offset, buffer)
    assert np.array_equal(weight[:, 5:15], numbers[:, 5:15])
    assert read == [40] * 50  # bytes
    read.clear()
    assert np.array_equal(weight[:, ::2], numbers[:, ::2])
    assert len(read) == 1, "short gaps are read over"


def test_a_column_major_matrix_gives_its_parts():
    array = np.arange(12).reshape(3, 4)
    flat = array.ravel(order="F")
    weight = from_array("w", array).replace(read=ByColumns(lambda start, stop: flat[start:stop], (3, 4)))
    assert weight[1:, ::-2].tolist() == array[1:, ::-2].tolist()


def test_iteration_yields_rows_and_an_empty_index_reads_a_scalar():
    assert [row.tolist() for row in from_array("w", np.eye(2))] == [[1.0, 0.0], [0.0, 1.0]]
    assert float(from_array("w", np.array(3.0))[()]) == 3.0


@pytest.mark.parametrize(
    ("index", "what"),
    [
        ((5, 0, 0), r"has no part \[5, 0, 0\]: 5 is out of range for axis 0 of length 5"),
        ((0, 0, 0, 0), "has 4 entries, the weight 3 axes"),
        ((..., 0, ...), "has 3 entries"),
        (None, "None is not an index: use integers, slices or an ellipsis"),
        (True, "True is not an index"),
        ([0, 1], r"\[0, 1\] is not an index"),
        ("a", "'a' is not an index"),
    ],
)
def test_an_invalid_index_is_refused_in_one_line(index, what):
    with pytest.raises(ShapeError, match=what) as refused:
        from_array("w", ARRAY)[index]
    assert "\n" not in str(refused.value)


def test_an_index_outside_is_an_index_error_too():
    with pytest.raises(IndexError):
        from_array("w", ARRAY)[-6]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool", "complex64", "bfloat16", "float8_e4m3fn"])
def test_a_weight_becomes_a_tensor_of_torch_bit_for_bit_with_memory_of_its_own(dtype):
    import ml_dtypes
    import torch

    array = np.array([[0, 1], [2, 3]], getattr(ml_dtypes, dtype, dtype))
    weight = from_array("w", array)
    for tensor in (weight.to_torch(), torch.as_tensor(weight)):
        assert tensor.dtype is getattr(torch, dtype)
        assert tensor.tolist() == array.astype("c8" if dtype == "complex64" else "f8").tolist()
        tensor.view(torch.uint8).fill_(0)
        assert np.array_equal(weight.numpy(), array)
        assert array.any()


def test_a_weight_of_bfloat16_comes_back_from_torch_as_it_was():
    import torch

    layer = torch.nn.Linear(3, 2).bfloat16()
    assert torch.equal(steelyard.weights(layer)["weight"].to_torch(), layer.weight)
    assert torch.equal(torch.as_tensor(steelyard.weights(layer)["weight"]), layer.weight)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
def test_a_weight_becomes_an_array_of_jax_and_of_numpy(dtype):
    import jax.numpy as jnp

    array = np.arange(6).reshape(2, 3).astype(jnp.dtype(dtype))
    weight = from_array("w", array)
    assert np.asarray(weight).dtype == array.dtype
    assert np.array_equal(np.asarray(weight), array)
    made = jnp.asarray(weight)
    assert made.dtype == array.dtype
    assert np.array_equal(np.asarray(made), array)


def test_without_torch_the_error_names_the_extra(monkeypatch):
    from steelyard.core import plugins

    def load(group, name):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(plugins, "load", load)
    with pytest.raises(MissingExtraError, match=r'a PyTorch tensor needs an extra: pip install "steelyard\[torch\]"'):
        from_array("w", ARRAY).to_torch()


def test_the_repr_of_a_weight_is_one_short_line():
    weight = steelyard.Weights.from_arrays({"fc\n.weight": np.ones((3, 2), "f4")}, axes={"fc\n.weight": "out in"})
    assert [repr(each) for each in weight.values()] == [r"Weight('fc\u000a.weight', (3, 2), float32, kernel, axes='out in')"]
