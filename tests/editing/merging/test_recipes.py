"""Recipes in mergekit's words give the same merges as their parameters; other words are refused."""

import json

import numpy as np
import pytest
import yaml

import steelyard
from steelyard.errors import MissingExtraError, ShapeError

TIES = """
merge_method: ties
base_model: base.safetensors
models:
  - model: base.safetensors
  - model: a.safetensors
    parameters: {weight: 0.5, density: [0.2, 0.8]}
  - model: b.safetensors
    parameters:
      density: 0.5
      weight:
        - filter: attn
          value: 0.25
        - value: 0.75
parameters: {normalize: false, int8_mask: true, lambda: 0.5}
dtype: float32
tokenizer_source: base
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("base", "a", "b")):
        chance = np.random.default_rng(seed)
        names = ("layers.0.attn", "layers.1.mlp", "layers.2.attn")
        steelyard.save({each: chance.standard_normal((5, 4)).astype("float32") for each in names}, f"{name}.safetensors")
    return ["base.safetensors", "a.safetensors", "b.safetensors"]


def equal(one, other):
    assert [*one] == [*other]
    return all(np.array_equal(one[name].numpy(), other[name].numpy()) for name in one)


def test_a_recipe_is_the_merge_of_its_parameters(files):
    with open("recipe.yml", "w") as file:
        file.write(TIES)
    weights = [0.5, {"*attn*": 0.25, "*": 0.75}]
    chosen = {"weights": weights, "density": [[0.2, 0.8], 0.5], "divide": False, "scale": 0.5}
    assert equal(steelyard.merge("recipe.yml"), steelyard.merge(*files, method="ties", **chosen))
    with open("recipe.json", "w") as file:
        json.dump(yaml.safe_load(TIES), file)
    assert equal(steelyard.merge("recipe.json"), steelyard.merge("recipe.yml"))


CHOSEN = [
    {"method": "ties", "density": [0.3, {"*attn": 0.9}], "divide": "count", "majority": "frequency"},
    {"method": "dare", "density": 0.5, "seed": 7, "rescale": "density", "weights": [[0, 1], 2]},
    {"method": "task", "scale": 0.3, "per": {"*mlp": 0.1}, "dtype": "float16", "missing": "base", "rows": "base"},
    {"method": "breadcrumbs_ties", "gamma": 0.1, "density": 0.5},
    {"method": "linear", "weights": [1, 2, 3], "divide": False},
    {"method": "nuslerp", "along": "column", "weights": [1, 2]},
    {"method": "model_stock", "along": "row"},
]


@pytest.mark.parametrize("chosen", CHOSEN, ids=lambda chosen: chosen["method"])
def test_the_recipe_of_a_result_makes_it_again(files, chosen):
    merged = steelyard.merge(*files, **chosen)
    again = steelyard.merge(json.loads(merged.meta["merge"]))
    assert equal(again, merged)
    assert again.meta["merge"] == merged.meta["merge"]


def test_the_recipe_of_slerp_makes_it_again(files):
    merged = steelyard.merge(*files[:2], method="slerp", t=[0, 1])
    assert equal(steelyard.merge(json.loads(merged.meta["merge"])), merged)


def test_one_slice_of_whole_models_is_a_merge(files):
    sources = [{"model": name, "layer_range": [0, 3]} for name in files[:2]]
    recipe = {"merge_method": "slerp", "base_model": files[0], "slices": [{"sources": sources}], "parameters": {"t": 0.3}}
    assert equal(steelyard.merge(recipe), steelyard.merge(*files[:2], method="slerp", t=0.3))
    recipe["slices"] = [{"sources": [{**source, "layer_range": [0, 2]} for source in sources]}]
    with pytest.raises(ShapeError, match="layers 0 to 2, and the first model has 3"):
        steelyard.merge(recipe)


def test_the_base_of_a_linear_merge_is_none_of_its_models(files):
    recipe = {"merge_method": "linear", "base_model": files[0], "models": files[1:], "parameters": {"normalize": True}}
    assert equal(steelyard.merge(recipe), steelyard.merge(*files[1:]))


REFUSED = [
    ({"models": []}, "no list of models"),
    ({"modles": []}, "the recipe has 'modles'"),
    ({"parameters": {"epsilon": 1}}, "'parameters' has 'epsilon'"),
    ({"models": [{"model": 3}]}, "must be a path"),
    ({"slices": [{}, {}]}, "stacks several slices"),
    *(({"slices": slices}, "no list of models") for slices in (["int8"], [5], "x", [{"sources": 5}])),
    ({"slices": [{"sources": [{"model": "base.safetensors", "layer_range": [0, "x"]}]}]}, "one slice of whole models"),
    ({"merge_method": "della"}, "method is 'della'"),
    ({"parameters": [1]}, "must be a mapping"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_words_of_a_recipe_that_are_not_known_are_refused(files, change, message):
    with pytest.raises(ShapeError, match=message):
        steelyard.merge({"merge_method": "linear", "models": files, **change})


def test_a_file_that_is_not_a_recipe_is_refused(tmp_path):
    for text in ("a: [", "- 1", "a: 1", "!!python/object/apply:os.system ['true']"):
        (tmp_path / "recipe.yaml").write_text(text)
        with pytest.raises(ShapeError, match=r"recipe"):
            steelyard.merge(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("place", ["base_model", "models"])
def test_a_recipe_in_a_file_makes_no_request(tmp_path, place):
    recipe = {"merge_method": "linear", "models": ["a.safetensors"], place: "http://127.0.0.1:9/w.npz"}
    recipe["models"] = [recipe["models"]] if isinstance(recipe["models"], str) else recipe["models"]
    (tmp_path / "recipe.json").write_text(json.dumps({**recipe, "merge_method": "task_arithmetic"}))
    with pytest.raises(ShapeError, match=r"names the URL 'http://127\.0\.0\.1:9/w\.npz', which a recipe in a file does not open"):
        steelyard.merge(tmp_path / "recipe.json")


def test_a_recipe_in_yaml_that_would_take_minutes_to_read_is_refused(tmp_path):
    (tmp_path / "recipe.yml").write_text("merge_method: " + "1:" * 40_000 + "1")
    with pytest.raises(ShapeError, match=r"more than 65,536 characters; JSON may have more"):
        steelyard.merge(tmp_path / "recipe.yml")


def test_references_that_stand_for_more_and_more_values_are_refused(tmp_path):
    levels = [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 9)]
    (tmp_path / "recipe.yml").write_text("\n".join(["merge_method: linear", "a0: &a0 [x]", *levels]))
    with pytest.raises(ShapeError, match="more than 16 references"):
        steelyard.merge(tmp_path / "recipe.yml")


def test_yaml_without_its_library_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "recipe.yml").write_text(TIES)
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"steelyard\[recipes\]"):
        steelyard.merge(tmp_path / "recipe.yml")
