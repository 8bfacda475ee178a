"""Calls that make plain data are evaluated without the function that they name; any other call is not."""

import pytest

from steelyard.codecs.pickle.values import ITEM_COST, Global, copy_cost, plain_data


def call(name, *args):
    module, _, own = name.rpartition(".")
    return plain_data(Global(module, own), args)


@pytest.mark.parametrize(
    ("name", "args", "data"),
    [
        ("collections.OrderedDict", (), {}),
        ("collections.OrderedDict", ([["a", 1], ("b", 2)],), {"a": 1, "b": 2}),
        ("collections.OrderedDict", ({"a": 1},), {"a": 1}),
        ("builtins.dict", ((("a", 1),),), {"a": 1}),
        ("builtins.dict", ([("a", 1, 2)],), None),
        ("builtins.dict", ([("a",)],), None),
        ("builtins.dict", ([("a", 1), 5],), None),
        ("builtins.dict", (5,), None),
        ("builtins.dict", ([], []), None),
        ("collections.Counter", ({"a": 2},), {"a": 2}),
        ("collections.defaultdict", (), {}),
        ("collections.defaultdict", (None,), {}),
        ("collections.defaultdict", (None, {"a": 1}), {"a": 1}),
        ("builtins.set", ([1, 2],), [1, 2]),
        ("builtins.frozenset", ((1,),), (1,)),
        ("builtins.list", (), []),
        ("builtins.list", (5,), None),
        ("builtins.list", ([1], [2]), None),
        ("builtins.bytes", (), b""),
        ("builtins.bytearray", (b"ab",), b"ab"),
        ("builtins.bytearray", ("\xe9", "latin-1"), b"\xe9"),
        ("_codecs.encode", ("\xe9", "latin1"), b"\xe9"),
        ("_codecs.encode", ("\u20ac", "latin1"), None),
        ("_codecs.encode", ("a", "utf-8"), None),
        ("_codecs.encode", ("a",), None),
        ("_codecs.encode", (5, "latin1"), None),
    ],
)
def test_a_harmless_call_is_the_data_that_it_makes(name, args, data):
    assert call(name, *args) == data
    assert type(call(name, *args)) is type(data)


def test_arguments_that_are_no_tuple_make_nothing():
    assert plain_data(Global("builtins", "list"), [1]) is None


def test_a_copy_costs_as_much_as_the_arguments_are_long():
    assert copy_cost(("abc", [1, 2], (1,), 5, b"abc", {"a": 1})) == 3 + 3 * ITEM_COST
    assert copy_cost([1, 2]) == 0
