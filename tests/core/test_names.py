"""Functions of many names at once say of each what is said of it alone, whatever characters it has."""

import itertools

import pytest

from steelyard.core import names
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weight import Role, Weight

PARTS = ("h", ".", "0", "12", "٣", "\n", "\r", "\u2028", "9" * 30, "")
NAMES = ["".join(parts) for parts in itertools.product(PARTS, repeat=3)]
PLAIN = [name for name in NAMES if "\n" not in name]


def one_by_one(function, listed):
    return [each for name in listed for each in function([name])]


@pytest.mark.parametrize("function", [names.templates, names.heads])
@pytest.mark.parametrize("listed", [NAMES, PLAIN, []], ids=["with line breaks", "without", "none"])
def test_many_names_have_what_each_has_alone(function, listed):
    assert function(listed) == one_by_one(function, listed)


def test_the_words_and_the_digits_of_a_head_begin_the_name():
    for name, (words, digits) in zip(NAMES, names.heads(NAMES), strict=True):
        assert name.startswith(words + digits)
        assert not any(letter in "0123456789" for letter in words)
        assert not name[len(words) + len(digits) :].startswith(tuple("0123456789"))
        assert bool(digits) == any(letter in "0123456789" for letter in name)


def test_a_role_does_not_depend_on_the_other_layers_of_a_file():
    # layers that differ in numbers only are looked at once; alone, each of them proves the same
    def made(layer, number):
        shapes = {f"w{number}.weight": (4, 3), f"w{number}.bias": (4,), "norm.weight": (4,), "weight": (3, 3), "0": (2,)}
        listed = [(f"{layer}.{name}" if layer else name, shape) for name, shape in shapes.items()]
        return [Weight(name=name, shape=shape, dtype="float32", read=None, layer=layer_of(name)) for name, shape in listed]

    nets = [made(layer, number) for number, layer in enumerate(("", "h.0", "h.11", "params/h_2", "norms.3", "embed.4", "a\n1"))]
    alone = [(weight.name, weight.role, weight.axes) for net in nets for weight in infer_roles(net)]
    assert [(weight.name, weight.role, weight.axes) for weight in infer_roles(itertools.chain(*nets))] == alone
    assert {Role.KERNEL, Role.BIAS, Role.SCALE} < {role for _, role, _ in alone}
