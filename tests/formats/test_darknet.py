"""Darknet: files written byte by byte, in the order in which `parser.c` of Darknet reads them."""

import struct

import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError
from steelyard.storage.source import open_path
from steelyard.testing import check_format

CFG = """[net]  # a comment
width=8
height=8
channels=3
; another
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
stride=2

[maxpool]
size=2
stride=2
[upsample]
stride=2
[route]
layers=-1,0
[convolutional]
filters=2
groups=2
size=1
[shortcut]
from=-1
[connected]
output=5
[yolo]
"""
SIZES = {
    "0.convolutional.biases": (4,),
    "0.convolutional.scales": (4,),
    "0.convolutional.rolling_mean": (4,),
    "0.convolutional.rolling_variance": (4,),
    "0.convolutional.weights": (4, 3, 3, 3),
    "4.convolutional.biases": (2,),
    "4.convolutional.weights": (2, 4, 1, 1),
    "6.connected.biases": (5,),
    "6.connected.weights": (5, 32),
}
COUNT = sum(int(np.prod(shape)) for shape in SIZES.values())
NUMBERS = np.arange(COUNT, dtype="f4")
HEAD = struct.pack("<3iq", 0, 2, 0, 32)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "net.cfg").write_text(CFG)
    (tmp_path / "net.weights").write_bytes(HEAD + NUMBERS.tobytes())
    return tmp_path / "net.weights"


@pytest.mark.parametrize("is_folder", [False, True])
def test_the_layers_of_the_cfg_give_names_shapes_roles_and_axes_in_the_order_of_the_file(path, is_folder):
    found = steelyard.weights(path.parent if is_folder else path)
    assert {name: weight.shape for name, weight in found.items()} == SIZES
    assert list(found) == list(SIZES)
    assert np.array_equal(np.concatenate([weight.numpy().reshape(-1) for weight in found.values()]), NUMBERS)
    facts = [(weight.role, weight.axes) for weight in found.values()]
    assert facts[:5] == [
        ("offset", "channel"),
        ("scale", "channel"),
        ("mean", "channel"),
        ("variance", "channel"),
        ("kernel", "out in kh kw"),
    ]
    assert facts[5:] == [("bias", "out"), ("kernel", "out in kh kw"), ("bias", "out"), ("kernel", "out in")]


def test_the_first_version_counts_images_in_four_bytes_and_the_only_cfg_of_a_folder_is_taken(path):
    path.rename(path.with_name("net_final.weights"))
    path.with_name("net_final.weights").write_bytes(struct.pack("<3ii", 0, 1, 0, 32) + NUMBERS.tobytes())
    assert steelyard.weights(path.with_name("net_final.weights"))["6.connected.weights"].numpy()[-1, -1] == COUNT - 1


@pytest.mark.parametrize(
    ("count", "reason"),
    [(COUNT - 1, "cut off, or another net"), (COUNT + 9, "fewer layers, or another net")],
    ids=["few", "many"],
)
def test_a_file_that_its_layers_do_not_fit_is_refused(path, count, reason):
    path.write_bytes(HEAD + bytes(4 * count))
    with pytest.raises(FormatError, match=f"has {count} numbers, but the layers of .* have {COUNT}.*{reason}|ends at byte"):
        steelyard.weights(path)


def test_a_file_without_its_cfg_is_refused_with_the_name_that_it_needs(path):
    path.with_suffix(".cfg").unlink()
    with pytest.raises(FormatError, match=r"put the \.cfg of its net next to it, as 'net\.cfg'"):
        steelyard.weights(path)


@pytest.mark.parametrize(
    ("cfg", "reason"),
    [
        (b"[lstm]", "does not begin with the section"),
        (b"[net]\n[lstm]\noutput=3", "a layer 'lstm', whose weights are not known"),
        (b"[net]\n[convolutional]\nfilters=x", "'filters' of a layer 'convolutional' is 'x', not a number"),
        (b"[net]\n[route]\nlayers=-1", "names layers that are not before it"),
        (b"[net]\nchannels=999999999\n[convolutional]\nfilters=999999999\nsize=999999", "impossible size"),
        (b"[net]\n[convolutional]\ngroups=3", "groups that do not fit"),
        (b"[net]\n[shortcut]\nweights_type=per_channel", "whose weights are not known"),
    ],
    ids=["none", "lstm", "word", "route", "huge", "groups", "shortcut"],
)
def test_a_cfg_that_does_not_tell_the_layers_is_refused(path, cfg, reason):
    path.with_suffix(".cfg").write_bytes(cfg)
    with pytest.raises(FormatError, match=reason):
        steelyard.weights(path)


def test_it_keeps_the_rules_of_a_format(path):
    check_format(open_path(path))
