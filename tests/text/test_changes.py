"""One sentence on what changed between two nets."""

import numpy as np

import steelyard
from steelyard.text.changes import changed

RNG = np.random.default_rng(0)
BEFORE = {
    **{f"h.{nth}.{part}.w": RNG.normal(size=(80, 60)) for nth in range(12) for part in ("attn", "mlp")},
    "embed": RNG.normal(size=(50, 60)),
    "out": RNG.normal(size=30),
}


def low_rank(rank):
    return 0.1 * RNG.normal(size=(80, rank)) @ RNG.normal(size=(rank, 60))


def said(**more):
    after = BEFORE | {name.replace("__", "."): value for name, value in more.items()}
    return changed(steelyard.diff(BEFORE, {name: value for name, value in after.items() if value is not None}).rows)


def moved(*numbers, rank=4):
    return {f"h__{nth}__{part}__w": BEFORE[f"h.{nth}.{part}.w"] + low_rank(rank) for nth in numbers for part in ("attn", "mlp")}


def test_low_ranks_are_named_with_their_blocks():
    assert said(**moved(8, 9, 10, 11)) == "8 of 26 weights changed, low rank 4, in blocks 8-11"


def test_weights_outside_of_blocks_and_several_runs_are_named_too():
    found = said(**moved(0, 2, 3), out=BEFORE["out"] + 1e-3)
    assert found == "7 of 26 weights changed, low rank 4 (6 of them), in blocks 0, 2-3 and out"


def test_ranks_that_differ_are_a_range():
    assert said(**moved(1, rank=2), **moved(5, rank=4)) == "4 of 26 weights changed, low rank 2-4, in blocks 1, 5"


def test_blocks_are_not_named_where_all_changed():
    assert said(**moved(*range(12))) == "24 of 26 weights changed, low rank 4"


def test_added_removed_and_reshaped_weights_are_counted():
    found = said(embed=np.zeros(3), out=None, new=np.zeros(2))
    assert found == "24 of 27 weights equal, 1 added, 1 removed, 1 of another shape"


def test_nets_without_a_common_weight_do_not_sound_equal():
    one, other = {"a": np.zeros(2), "b": np.zeros((3, 4))}, {"c": np.zeros((5, 6)), "d": np.zeros((7, 8))}
    found = steelyard.diff(one, other)
    assert changed(found.rows) == "no weight can be compared: 2 added, 2 removed"
    assert "paired" not in " ".join(found.notes)
    assert changed(steelyard.diff({"a": np.zeros(2)}, {"a": np.zeros(3)}).rows) == "no weight can be compared: 1 of another shape"


def test_equal_nets_have_no_change():
    assert said() == "no change: all 26 weights have the same bits"
    assert changed([]) == ""


def test_the_sentence_is_on_top_of_a_difference():
    found = steelyard.diff({"a": [1.0, 2.0]}, {"a": [1.0, 3.0]})
    assert repr(found).startswith("1 of 1 weight changed\n")
    assert found._repr_html_().startswith("<div><p><strong>1 of 1 weight changed</strong></p>")
