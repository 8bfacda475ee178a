"""Trees of Haiku and Flax in dicts that do not change have in a pickle the names of the tree."""

import pickle

import flax.core
import numpy as np
import pytest
from haiku import data_structures

import steelyard
from steelyard.core.weight import Role

TREE = {
    "linear": {"w": np.ones((2, 3), "f4"), "b": np.zeros(3, "f4")},
    "mlp/~/linear_0": {"w": np.ones((3, 4), "f4"), "b": np.zeros(4, "f4")},
}
WRAPS = {
    "alone": lambda tree: tree,
    "params": lambda tree: {"params": tree},
    "pair": lambda tree: (tree, tree),
    "list": lambda tree: [tree],
}
FROZEN = {"Haiku": data_structures.to_immutable_dict, "Flax": flax.core.freeze}


def names(tree, path):
    path.write_bytes(pickle.dumps(tree))
    return {name: (weight.shape, weight.role) for name, weight in steelyard.weights(path).items()}


@pytest.mark.parametrize("kind", FROZEN)
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_frozen_tree_has_the_names_of_a_plain_one(kind, wrap, tmp_path):
    frozen = FROZEN[kind](TREE)
    assert type(frozen) is not dict
    found = names(WRAPS[wrap](frozen), tmp_path / "frozen.pkl")
    assert found == names(WRAPS[wrap](TREE), tmp_path / "plain.pkl")
    assert Role.KERNEL in {role for _, role in found.values()}


@pytest.mark.parametrize("kind", FROZEN)
def test_with_scope_all_each_array_has_its_path_in_the_pickle(kind, tmp_path):
    (tmp_path / "frozen.pkl").write_bytes(pickle.dumps({"branch": FROZEN[kind]({"fc": TREE["linear"]})}))
    assert sorted(steelyard.weights(tmp_path / "frozen.pkl")) == ["branch.fc.b", "branch.fc.w"]
    paths = sorted(steelyard.weights(tmp_path / "frozen.pkl", scope="all"))
    assert [path.startswith("branch._args.0.fc") for path in paths] == [True, True]


def test_a_frozen_tree_in_a_frozen_one_has_the_names_of_both(tmp_path):
    inner = flax.core.freeze({"params": TREE})
    assert names(data_structures.to_immutable_dict({"net": inner["params"]}), tmp_path / "a.pkl") == names(
        {"net": TREE}, tmp_path / "b.pkl"
    )
