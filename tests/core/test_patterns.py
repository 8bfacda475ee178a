"""Patterns of names: any expression takes a bounded time on any name, and finds what Python's own matcher finds."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from steelyard.core.pattern_states import States, tree_of, ways_of
from steelyard.core.patterns import LONGEST, LONGEST_GLOB, Pattern, fits
from steelyard.errors import ShapeError

_LETTERS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\d", r"\W", ".", "[a-c.]", r"\.", "1", r"\b", "^", "$"])
_EXPRESSIONS = st.recursive(
    _LETTERS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda choices: f"({'|'.join(choices)})"),
        inner.map(lambda body: f"(?:{body})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?"])).map(
            lambda parts: f"({parts[0]}){parts[1]}"
        ),
        inner.map(lambda body: f"(?i:{body})"),
    ),
    max_leaves=6,
)


def has_empty_repeats(text):
    try:
        States(tree_of(text))
    except re.error as error:
        return "may be empty" in str(error)
    return False


def spans(match):
    return match and [match.span(group) for group in range(match.re.groups + 1)]


@settings(max_examples=100, deadline=None)
@given(_EXPRESSIONS, st.text("aAb.1\n", max_size=7))
def test_the_states_of_an_expression_find_the_groups_that_python_finds(text, name):
    assume(not has_empty_repeats(text))
    assert spans(States(tree_of(text)).match(name)) == spans(re.fullmatch(text, name))


NAMED = r"(?P<block>(?:\w+\.)*)x(?P<number>\d+)(z)?"


def test_groups_keep_their_names_and_numbers_in_templates():
    match = States(tree_of(NAMED)).match("a.b.x12")
    assert match.expand(r"\g<number>/\1\g<0>") == re.fullmatch(NAMED, "a.b.x12").expand(r"\g<number>/\1\g<0>")
    assert (match["block"], match[3]) == ("a.b.", None)
    assert match.groupdict().keys() == {"block", "number"}


EXPLODING = [
    r"(a+)+$",
    r"(a|aa)+b",
    r"(.*)(.*)(.*)(.*)(.*)(.*)(.*)(.*)c",
    "(ab|ab|a|b)*c",
    "(?:a?){1,500}c",
    "(a*?)*?b(a|b|ab)+c",
]


@pytest.mark.parametrize("text", EXPLODING)
@pytest.mark.parametrize("name", ["ab" * 1000, "a" * 3000], ids=["ab", "a"])
def test_no_expression_explodes(text, name):
    start = time.process_time()
    with suppress(ShapeError):
        assert Pattern(text).match(name + ".") is None
    assert time.process_time() - start < 5


def test_references_and_looking_around_are_refused_only_where_they_could_explode():
    for text in (r"(a+)+\1b", r"(?=a)(a+)+b", "(?>a+)(a+)+b", r"(a+)+(?<!b)b"):
        pattern = Pattern(text)
        assert spans(pattern.match("aa")) == spans(re.fullmatch(text, "aa"))
        with pytest.raises(ShapeError, match=r"could take hours on the name 'aaa.*, of 200 letters"):
            pattern.match("a" * 200)


def test_expressions_of_many_ways_that_are_slow_on_many_names_are_run_in_states(monkeypatch):
    monkeypatch.setattr("steelyard.core.patterns._PATIENCE", 0.0)
    pattern = Pattern(r"(.*)\.(.*)\.(.*)")
    name = "encoder.layers.4." + "a" * 30
    assert ways_of(tree_of(pattern.text), len(name)) > 10_000
    assert spans(pattern.match(name)) == spans(pattern.match(name)) == spans(re.fullmatch(pattern.text, name))


@pytest.mark.parametrize("text", ["(", "a" * (LONGEST + 1), "(" * 3000 + ")" * 3000, "a{99999999999999}"])
def test_what_is_no_expression_or_too_long_is_one_error(text):
    with pytest.raises(re.error):
        Pattern(text)


def test_long_globs_are_refused_and_long_names_fit_themselves():
    name = "[" * (LONGEST_GLOB + 1)
    assert fits(name, name)
    assert fits(name, "*")
    assert fits("a.b", "a.?")
    with pytest.raises(ShapeError, match=r"has 1,001 letters; at most 1,000 are allowed"):
        fits("a", name)
    start = time.process_time()
    assert not fits("a" * 60_000, "*a?" * 300 + "b")
    assert time.process_time() - start < 2
