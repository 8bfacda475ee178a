"""The natural order of views: blocks by number across the order of the file, everything else as it is listed."""

import itertools
import random

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import steelyard
from steelyard.text.order import natural, order_note
from steelyard.text.rows import rows_of
from steelyard.text.statistics import stats_lines
from steelyard.text.table import listing
from steelyard.text.terminal import Screen


def ordered(*names):
    """Return the names in natural order."""
    return [names[place] for place in natural(names)]


def rows(names):
    """Return the name and the count of each row of weights with these names."""
    return [(row.name, row.times) for row in rows_of(steelyard.weights({name: np.zeros(2) for name in names}))]


@pytest.fixture(scope="module")
def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)


def test_all_blocks_of_a_file_with_names_in_alphabetical_order_are_folded_as_those_of_the_model(encoder, tmp_path):
    file = str(tmp_path / "model.safetensors")
    safetensors.torch.save_file(encoder.state_dict(), file)
    listed = steelyard.weights(file)
    assert list(listed)[12].startswith("layers.1."), "the file is in the order of the model, and proves nothing"
    found, own = ({row.name: row.times for row in rows_of(each)} for each in (listed, steelyard.weights(encoder)))
    assert found == own
    assert all(name.startswith("layers.[0-11].") for name in found)


def test_names_and_vector_keep_the_order_of_the_file_and_a_line_says_so(encoder, tmp_path):
    file = str(tmp_path / "model.safetensors")
    safetensors.torch.save_file(encoder.state_dict(), file)
    listed = steelyard.weights(file)
    assert list(listed) == list(safetensors.safe_open(file, "np").keys())
    own = [encoder.state_dict()[name].flatten() for name in listed]
    assert np.array_equal(listed.to_vector(), torch.cat(own).numpy())
    line = "blocks are shown by number; the source, and so the vector, has layers.10 before layers.2"
    assert line in repr(listed).splitlines()
    assert line in steelyard.stats(listed)._repr_html_()
    assert line in listed._repr_html_()
    assert line in list(stats_lines(steelyard.stats(listed), Screen()))
    assert line not in repr(steelyard.weights(encoder))


def test_all_rows_are_in_natural_order_too(encoder):
    alphabetical = {name: encoder.state_dict()[name] for name in sorted(encoder.state_dict())}
    names = [row.name for row in rows_of(steelyard.weights(alphabetical), unfolded=True)]
    assert [name.split(".")[1] for name in names[::12]] == [str(nth) for nth in range(12)]
    lines = list(listing(steelyard.weights(alphabetical), Screen(), unfolded=True))
    assert lines[-1].endswith("has layers.10 before layers.2")


def test_experts_within_layers_fold_across_an_alphabetical_order():
    """The names of Mixtral, as its files list them."""
    experts = sorted(f"model.layers.{i}.experts.{j}.w{k}" for i in range(32) for j in range(16) for k in (1, 2, 3))
    assert rows(experts) == [("model.layers.[0-31].experts.[0-15].w[1-3]", 32 * 16 * 3)]


def test_stages_of_blocks_are_sorted_within_each_stage():
    names = sorted(f"layer{i}.{j}.conv{k}.weight" for i in range(1, 5) for j in range(12) for k in (1, 2))
    assert ordered(*names) == [f"layer{i}.{j}.conv{k}.weight" for i in range(1, 5) for j in range(12) for k in (1, 2)]


def test_names_of_keras_that_count_are_sorted():
    names = sorted(["conv2d", "dense", *(f"dense_{nth}" for nth in range(1, 12))])
    assert ordered(*names) == ["conv2d", "dense", *(f"dense_{nth}" for nth in range(1, 12))]


def test_numbered_layers_without_a_name_are_sorted():
    assert ordered("0.weight", "10.weight", "2.bias", "2.weight") == ["0.weight", "2.bias", "2.weight", "10.weight"]


@pytest.mark.parametrize(
    "names",
    [
        ["conv1.w", "bn1.w", "bn1.b", "conv2.w", "bn2.w", "fc.w"],  # as a ResNet computes them
        ["conv10.w", "bn10.w", "conv2.w", "bn2.w"],  # words that alternate
        ["up3.w", "up2.w", "up1.w"],  # a decoder counts down
        ["b", "a", "c.w"],  # no numbers
        ["convs.0.w", "norms.0.w", "convs.1.w", "norms.1.w"],
    ],
)
def test_an_order_on_purpose_is_kept(names):
    assert ordered(*names) == names


def test_names_that_alternate_between_containers_are_sorted_in_each():
    assert ordered("a.0", "b.0", "a.10", "b.10", "a.2", "b.2") == ["a.0", "b.0", "a.2", "b.2", "a.10", "b.10"]


def test_blocks_in_several_shards_are_joined():
    first = ["embed.w", "h.0.b", "h.0.w", "h.1.b", "h.1.w", "h.10.b"]
    second = ["head.w", "h.10.w", "h.11.w", "h.11.b", "h.2.b", "h.2.w"]
    blocks = [f"h.{nth}.{part}" for nth in (0, 1, 2, 10, 11) for part in "bw"]
    assert ordered(*first, *second) == ["embed.w", *blocks, "head.w"]


def test_a_shuffled_file_folds_when_its_blocks_are_whole():
    blocks = [[f"h.{nth}.{part}" for part in ("ln.w", "fc.w", "fc.b")] for nth in range(20)]
    random.Random(0).shuffle(blocks)
    assert [times for _, times in rows(itertools.chain.from_iterable(blocks))] == [20] * 3


def test_findings_are_listed_by_the_number_of_their_block():
    net = {f"h.{nth}.w": np.full(2, np.nan) for nth in (0, 1, 10, 2)}
    places = [line.split(" ")[0] for line in repr(steelyard.check(net)).splitlines()[:4]]
    assert [place.split("[")[0] for place in places] == ["h.0.w", "h.1.w", "h.2.w", "h.10.w"]


def test_a_name_of_thousands_of_digits_or_numbers_has_its_place():
    long, deep = f"h.{'9' * 6000}.w", "h." + ".".join(map(str, range(3000)))
    assert ordered(long, "h.2.w", deep) == [deep, "h.2.w", long]
    assert ordered("h.010.w", "h.9.w", "\u0660.w", "h.\n2.w", "") == ["h.9.w", "h.010.w", "\u0660.w", "h.\n2.w", ""]


@given(
    st.lists(st.lists(st.sampled_from(["h", "w", "0", "1", "2", "10", "x3"]), min_size=1, max_size=5).map(".".join), unique=True)
)
def test_every_name_has_one_place_and_numbers_of_a_container_count_up(names):
    sorted_names = ordered(*names)
    assert sorted(sorted_names) == sorted(names)
    numbers = [int(name.split(".")[1]) for name in sorted_names if name.startswith("h.") and name.split(".")[1].isdecimal()]
    assert numbers == sorted(numbers)


def test_the_note_names_two_blocks_or_whole_names():
    assert order_note(["h.0.x", "h.1.x", "h.10.x", "h.2.x"]).endswith("has h.10 before h.2")
    assert order_note(["h.0.a", "h.0.b", "h.1.b", "h.1.a"]).endswith("has h.1.b before h.1.a")
    assert not order_note(["h.0.a", "h.0.b", "h.1.a", "h.1.b"])


def test_blocks_within_blocks_in_order_have_no_note():
    assert not order_note([f"h.{i}.norm{j}.{leaf}" for i in range(12) for j in (1, 2) for leaf in ("weight", "bias")])
