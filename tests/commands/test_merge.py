"""`steelyard merge` writes what `steelyard.merge` makes, also into shards and over one of its files, and shows a plan of it."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("base", "a", "b")):
        chance = np.random.default_rng(seed)
        net = {
            "embed.weight": chance.standard_normal((40, 4)),
            "layers.0.attn.weight": chance.standard_normal((30, 5)),
            "n": np.array(3),
        }
        steelyard.save(net, f"{name}.safetensors", dtype="float32")
    return ["base.safetensors", "a.safetensors", "b.safetensors"]


def equal(one, other):
    assert [*one] == [*other]
    return all(np.array_equal(one[name].numpy(), other[name].numpy()) for name in one)


def test_a_merge_is_written_with_its_recipe(files, capsys):
    words = ["--method", "ties", "--density", "0.2,0.5", "--weights", "0.5", "--per", "*attn*=2", "--divide", "false"]
    assert main(["merge", *files, *words, "-o", "out.npz"]) == 0
    assert "out.npz: 3 weights" in capsys.readouterr().out
    chosen = {"density": [0.2, 0.5], "weights": 0.5, "per": {"*attn*": 2}, "divide": False}
    assert equal(steelyard.weights("out.npz"), steelyard.merge(*files, method="ties", **chosen))


def test_shards_in_and_shards_out_have_the_numbers_and_the_recipe(files, capsys):
    steelyard.save("a.safetensors", "a.safetensors.index.json", shard_size=500)
    sources = ["base.safetensors", "a.safetensors.index.json"]
    assert (
        main(
            [
                "merge",
                *sources,
                "--method",
                "dare",
                "--density",
                "0.5",
                "--seed",
                "7",
                "-o",
                "out.safetensors",
                "--shard-size",
                "1KB",
            ]
        )
        == 0
    )
    out = steelyard.weights("out.safetensors.index.json")
    assert equal(out, steelyard.merge(*files[:2], method="dare", density=0.5, seed=7))
    assert json.loads(out.meta["merge"])["parameters"] == {"seed": 7}


def test_a_model_of_shards_may_be_replaced_by_the_merge_but_none_of_its_shards(files, tmp_path, capsys):
    steelyard.save("a.safetensors", "sharded.safetensors", shard_size=500)
    sources, index = ["base.safetensors", "sharded.safetensors.index.json"], "sharded.safetensors.index.json"
    expected = {name: weight.numpy().copy() for name, weight in steelyard.merge(*files[:2], method="task", scale=0.5).items()}
    shard = min(path.name for path in tmp_path.glob("sharded-*"))
    assert main(["merge", *sources, "-o", shard]) == 2
    assert "is one of the files that are read" in capsys.readouterr().err
    assert main(["merge", *sources, "--method", "task", "--scale", "0.5", "-o", index, "--shard-size", "1KB"]) == 0
    assert equal(steelyard.weights(index), steelyard.weights(expected))
    assert shard not in {path.name for path in tmp_path.iterdir()}


def test_packed_models_are_dequantised_if_that_is_said(files, capsys):
    packed = {"fc.weight": np.full((2, 3), 127, "int8"), "fc.SCB": np.ones(2, "float32")}
    steelyard.save(packed, "packed.safetensors")
    sources = ["merge", "packed.safetensors", "packed.safetensors", "-o", "out.safetensors"]
    assert main(sources) == 2
    assert "dequantise it first" in capsys.readouterr().err
    assert main([*sources, "--effective"]) == 0
    assert steelyard.weights("out.safetensors")["fc.weight"].numpy().tolist() == [[1, 1, 1]] * 2


def test_a_model_may_be_replaced_by_the_merge(files, capsys):
    expected = steelyard.merge(*files, method="ties", density=0.3)
    expected = {name: weight.numpy().copy() for name, weight in expected.items()}
    assert main(["merge", *files, "--method", "ties", "--density", "0.3", "-o", "a.safetensors"]) == 0
    assert equal(steelyard.weights("a.safetensors"), steelyard.weights(expected))


def test_a_dry_run_shows_the_plan_and_writes_nothing(files, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert main(["merge", *files, "--method", "ties", "--density", "0.2,0.5", "--per", "*attn*=2", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ties of 3 files"
    assert lines[3].split() == ["layers.0.attn.weight", "30×5", "float32", "2", "2", "0.2", "0.5"]
    assert lines[-1] == "2 weights merged, 1 copied from the first; nothing was written"
    assert main(["merge", *files[:2], "--method", "slerp", "--t", "0.3", "--dry-run", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["weights"][0]["merged"]["t"] == 0.3
    assert sorted(tmp_path.iterdir()) == before


def test_a_recipe_is_an_argument(files, capsys):
    recipe = {"merge_method": "task_arithmetic", "base_model": files[0], "models": files[1:], "parameters": {"lambda": 0.5}}
    with open("recipe.json", "w") as file:
        json.dump(recipe, file)
    assert main(["merge", "recipe.json", "-o", "out.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["in"] == files
    assert equal(steelyard.weights("out.safetensors"), steelyard.merge(*files, method="task", scale=0.5))


REFUSED = [
    (["base.safetensors"], "merge needs -o OUT"),
    (["recipe.json", "--density", "0.5", "--dry-run"], "is a recipe, which has the parameters"),
    (["base.safetensors", "a.safetensors", "--density", "0.5", "--dry-run"], "linear takes no density"),
    (["base.safetensors", "a.safetensors", "--per", "0.5", "--dry-run"], "is not a pattern"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_arguments_that_do_not_fit_are_errors(files, capsys, words, message):
    assert main(["merge", *words]) == 2
    assert message in capsys.readouterr().err
