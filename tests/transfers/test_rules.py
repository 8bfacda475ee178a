"""Names that the user gives: pairs of names, and rules that work in both directions."""

import re

import numpy as np
import pytest

from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.errors import ShapeError
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.pairing.unassigned import unassigned_layers
from steelyard.transfers.rules import checked_names, given_pairs, read_json, reversed_rule


def layers(*names, **arrays):
    """Return dense layers of these names, and weights of no known layer."""
    every = {f"{name}.weight": np.zeros((2, 3)) for name in names} | arrays
    net = Net(Weights(from_array(name, array) for name, array in every.items()), None)
    return [*net.layers, *unassigned_layers(net)]


def levels():
    """Return the two levels of a recurrent layer, which its graph has as one layer."""
    weights = [
        from_array(f"rnn.{leaf}_l{level}", np.zeros((3, 3)), role=role, axes="out in")
        for level in (0, 1)
        for leaf, role in (("weight_ih", Role.KERNEL), ("weight_hh", Role.RECURRENT_KERNEL))
    ]
    return Net(Weights(weights), Graph([Layer("rnn", "rnn", "RNN")])).layers


@pytest.mark.parametrize(
    ("pattern", "template", "name"),
    [
        (r"encoder\.(.*)", r"enc/\1", "encoder.fc.0"),
        (r"a\.(\d+)\.b\.(.*)", r"x/\1/\2", "a.12.b.fc.weight"),
        (r"(\d)-(\w)-(x+)", r"\3.\1.\2", "1-b-xx"),  # a cycle, which differs from its reverse
        (r"(\d)-(\w)-(x+)", r"\2.\3.\1", "1-b-xx"),
        (r"net\.(.*)", r"a+b.(c)/\1", "net.fc"),  # what is special in a regular expression is plain text in a template
        (r"fc\.weight", r"dense/kernel", "fc.weight"),
    ],
)
def test_a_reversed_rule_leads_back_to_the_name_that_the_rule_changed(pattern, template, name):
    there = re.fullmatch(pattern, name).expand(template)
    back = reversed_rule(pattern, template)
    assert back is not None
    assert re.fullmatch(back[0], there).expand(back[1]) == name
    if "+b" not in template:
        assert re.fullmatch(back[0], there.replace("/", "|").replace(".", "|")) is None


@pytest.mark.parametrize(
    ("pattern", "template"),
    [
        (r"a.*", "b"),  # what the star matched is lost
        (r"(a|b)", "c"),
        (r"(\w)(\d)", r"\1"),
        (r"(\w)(\d)", r"\1\1"),
        (r"(\w)", r"\1\2"),
        (r"a+(\w)", r"\1"),
        (r"[ab](\w)", r"\1"),
        (r"a?(\w)", r"\1"),
        (r"a{2}(\w)", r"\1"),
        (r"(\w)$", r"\1"),
        (r"^(\w)", r"\1"),
        (r"a|(\w)", r"\1"),
        (r"(?:ab)+", "c"),
    ],
)
def test_a_rule_that_loses_what_it_matched_is_not_reversed(pattern, template):
    assert reversed_rule(pattern, template) is None


def test_a_rule_that_matches_a_name_of_the_source_is_not_reversed():
    rules = {r"(\w)\.(\w)": r"\2.\1"}
    assert given_pairs(rules, {}, layers("a.b"), layers("b.a", "a.b")) == {"a.b": "b.a"}
    swapped = {r"x\.(\w)": r"y.\1"}
    assert given_pairs(swapped, {}, layers("y.1"), layers("x.1")) == {"y.1": "x.1"}
    assert given_pairs(swapped, {}, layers("x.1"), layers("y.1")) == {"x.1": "y.1"}
    assert given_pairs(swapped, {}, layers("z"), layers("z")) == {}


def test_a_rule_names_a_layer_or_a_weight_and_the_first_name_that_exists_counts():
    assert given_pairs({r"a\.weight": "x.weight"}, {}, layers("a"), layers("x")) == {"a": "x"}
    assert given_pairs({"a": "nothing", r"a\.weight": "x.weight"}, {}, layers("a"), layers("x")) == {"a": "x"}
    assert given_pairs({"a": "y"}, {"a": "x"}, layers("a"), layers("x", "y")) == {"a": "x"}, "pairs win over rules"


def test_the_parts_of_a_split_layer_go_to_the_parts_at_the_same_place():
    first, second = (layer.name for layer in levels())
    assert given_pairs({}, {"rnn": "rnn"}, levels(), levels()) == {first: first, second: second}
    assert given_pairs({}, {second: first}, levels(), levels()) == {second: first}
    assert given_pairs({}, {"rnn.weight_ih_l1": "rnn.weight_hh_l0"}, levels(), levels()) == {second: first}
    assert given_pairs({}, {"rnn": "a"}, levels(), layers("a")) == {first: "a", second: "a"}


def test_a_weight_of_no_known_layer_goes_to_one_of_no_known_layer_only():
    token = {"token": np.zeros((1, 4))}
    assert given_pairs({}, {"token": "cls"}, layers(**token), layers(cls=np.zeros((1, 4)))) == {"token": "cls"}
    with pytest.raises(ShapeError, match="'token' was named for 'x', but only one of them belongs to a layer"):
        given_pairs({}, {"token": "x"}, layers(**token), layers("x"))
    with pytest.raises(ShapeError, match="'a' was named for 'cls', but only one of them"):
        given_pairs({}, {"a": "cls"}, layers("a"), layers(cls=np.zeros((1, 4))))
    with pytest.raises(ShapeError, match="token is paired with 'cls', which the target does not have"):
        given_pairs({}, {"token": "cls"}, layers(**token), layers("x"))
    assert given_pairs({".*": "x"}, {}, layers(**token), layers("x")) == {}, "a rule may match it by chance"
    with pytest.raises(ShapeError, match="a is paired with 'y'"):
        given_pairs({"a": "y"}, {}, layers("a"), layers("x"))


def test_a_name_that_is_not_in_the_source_is_refused():
    with pytest.raises(ShapeError, match="'b', which is not a layer or weight of the source"):
        given_pairs({}, {"a": "x", "b": "x"}, layers("a"), layers("x"))


def test_names_are_a_mapping_of_texts():
    assert checked_names(None, "pairs") == {}
    assert checked_names({"a": "b"}, "pairs") == {"a": "b"}
    for wrong in ({"a": 1}, {1: "a"}, [("a", "b")], "a"):
        with pytest.raises(ShapeError, match="pairs must be a mapping of names to names"):
            checked_names(wrong, "pairs")


def test_an_object_is_read_from_a_file_of_json_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": "b"}')
    assert read_json(path, "rules") == {"a": "b"}
    for content, why in (("[1]", "it contains a list, not an object"), ("{", "cannot be read from")):
        path.write_text(content)
        with pytest.raises(ShapeError, match=f"rules cannot be read.*{why}|rules {why}"):
            read_json(path, "rules")
    with pytest.raises(ShapeError, match="No such file"):
        read_json(tmp_path / "missing", "rules")
