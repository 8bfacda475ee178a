"""Recipes of merges: YAML or JSON in the words of mergekit, and those that a result keeps in its metadata.

    merge_method: ties
    base_model: base.safetensors
    models:
      - model: a.safetensors
        parameters: {weight: 0.5, density: [0.2, 0.8]}       a list is a gradient from the first layer to the last
      - model: b.safetensors
        parameters:
          weight: [{filter: attn, value: 0.3}, {value: 0.7}]  the first filter that is a part of the name
    parameters: {normalize: true, lambda: 1.0}
    dtype: float32

Words of this module's own, where mergekit has none: `pattern` of names in place of `filter`; in `parameters` `divide`, `rescale`,
`majority`, `scope`, `along` and `seed`; `per`, `missing` and `rows`. Paths are relative to the working directory;
a recipe in a file may not name URLs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steelyard.errors import MissingExtraError, ShapeError, meant, printable, quoted

if TYPE_CHECKING:
    from steelyard.core.weights import Weights
    from steelyard.editing.merging.plan import Plan

SUFFIXES = (".yml", ".yaml", ".json")
_LONGEST = 1 << 16
"""Characters of a recipe in YAML, of which PyYAML reads 40,000 in a second; one of a hundred models has 10,000."""
_ALIASES = 16
_TOP = ("merge_method", "base_model", "models", "slices", "parameters", "dtype", "out_dtype", "per", "missing", "rows")
_IGNORED = ("tokenizer_source", "tokenizer", "chat_template", "name")
"""What mergekit does to other files than those of weights."""
_NAMES = {"weight": "weights", "lambda": "scale", "filter_wise": "along", "normalize": "divide"}
"""The names of parameters here by those of mergekit, where they differ."""
_OF_MODELS = ("weights", "density")
_OWN = ("divide", "rescale", "majority", "scope", "along", "seed")
_PARAMETERS = (*_OF_MODELS, "t", "scale", "gamma", *_OWN)
_FLAGS = ("int8_mask",)
"""Parameters of mergekit that change no number."""


def is_recipe(source: object) -> bool:
    """Whether a source is a recipe: a dict with "merge_method", or the path of a YAML or JSON file, but not of an index."""
    if isinstance(source, Mapping):
        return "merge_method" in source
    if not isinstance(source, (str, os.PathLike)):
        return False
    name = os.fspath(source)
    return (
        isinstance(name, str) and name.lower().endswith(SUFFIXES) and not name.lower().endswith((".index.json", ".weights.json"))
    )


def read_recipe(source: Any) -> Plan:
    """Return the plan of a recipe. Raises `ShapeError` for a word that is not known, and `MissingExtraError` without PyYAML."""
    from steelyard.io import weights

    return planned(source, weights)


def planned(source: Any, read: Callable[[str], Weights]) -> Plan:
    """Return the plan of a recipe whose models are read by `read`."""
    from steelyard.editing.merging.methods import ALIASES, method_of
    from steelyard.editing.merging.plan import plan

    recipe = source if isinstance(source, Mapping) else _loaded(os.fspath(source))
    _check_words(recipe, (*_TOP, *_IGNORED), "recipe")
    method = str(recipe["merge_method"])
    base, models, span = recipe.get("base_model"), *_models(recipe)
    if base is not None and method_of(method).base == "model" and method in ("linear", "passthrough"):
        base = None  # in these mergekit takes nothing from it but the tokenizer
    given, models = _given(recipe, [*models], base, ALIASES.get(method, method))
    paths = [str(path) for path in ([base, *models] if base is not None else models)]
    if not isinstance(source, Mapping):
        _check_local(paths)
    opened = [read(path) for path in paths]
    if span is not None:
        _check_span(span, opened[0])
    is_first = base is not None or method_of(method).base == "model"
    ways = {"per": recipe.get("per"), "missing": recipe.get("missing", "error"), "rows": recipe.get("rows", "error")}
    dtype = recipe.get("out_dtype") or recipe.get("dtype")
    return plan(opened, paths, method, given, has_first=is_first, dtype=dtype, **ways)


def _check_local(paths: Sequence[str]) -> None:
    """Raise `ShapeError` for a URL in a recipe's file, which may be from elsewhere: reading it would make requests."""
    for path in paths:
        if "://" in path:
            what = f"the recipe names the URL {quoted(path)}, which a recipe in a file does not open"
            raise ShapeError(f"{what}; download the model, or pass the recipe as a dict")


def _loaded(path: str) -> Mapping[str, Any]:
    from steelyard.transfers.rules import read_json

    found: Any = read_json(path, "the recipe") if path.lower().endswith(".json") else _loaded_yaml(path)
    if not isinstance(found, Mapping) or not isinstance(found.get("merge_method"), str):
        raise ShapeError(f"{printable(path)} is not a recipe: it has no merge_method")
    return found


def _loaded_yaml(path: str) -> Any:
    """Return what a file of YAML holds: plain values only, and few references, which may stand for any number of values."""
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("a recipe in YAML (one in JSON does not)", "recipes") from None
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ShapeError(f"{printable(path)} is not a recipe: it has more than {_LONGEST:,} characters; JSON may have more")
        if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)) > _ALIASES:
            raise ShapeError(f"{printable(path)} is not a recipe: it has more than {_ALIASES} references (*name)")
        return yaml.safe_load(text)
    except ShapeError:
        raise
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ShapeError(f"the recipe cannot be read from {printable(path)}: {printable(error, 300)}") from None


def _check_words(found: object, known: Sequence[str], what: str) -> None:
    if not isinstance(found, Mapping):
        raise ShapeError(f"the {what} is {quoted(found)}; it must be a mapping")
    for word in found:
        if word not in known:
            words = f"{', '.join(known)}{meant(word, known)}"
            raise ShapeError(f"the {what} has {quoted(word)}, which Steelyard does not know; it knows {words}")


def _models(recipe: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], int | None]:
    """Return the entries of the models, and the number of layers that they must have, if the recipe names them."""
    slices = recipe.get("slices")
    if slices is None:
        return _entries(recipe.get("models")), None
    only = slices[0] if isinstance(slices, Sequence) and len(slices) == 1 else None
    entries = _entries(only.get("sources") if isinstance(only, Mapping) else None)
    span = entries[0].get("layer_range")
    is_whole = isinstance(span, Sequence) and len(span) == 2 and span[0] == 0 and type(span[1]) is int
    if not isinstance(span, Sequence) or not is_whole or any(entry.get("layer_range") != span for entry in entries):
        raise ShapeError("the recipe stacks slices of layers, which Steelyard does not do; it takes one slice of whole models")
    return entries, int(span[1])


def _entries(listed: object) -> list[Mapping[str, Any]]:
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not listed:
        raise ShapeError("the recipe has no list of models, or stacks several slices of layers, which Steelyard does not do")
    entries = [entry if isinstance(entry, Mapping) else {"model": entry} for entry in listed]
    for entry in entries:
        _check_words(entry, ("model", "parameters", "layer_range"), "entry of a model")
        if not isinstance(entry.get("model"), str):
            raise ShapeError(f"the recipe has a model {quoted(entry.get('model'))}; it must be a path")
    return entries


def _check_span(span: int, first: Weights) -> None:
    from steelyard.editing.merging.settings import count_of_layers

    count = count_of_layers(first)
    if count != span:
        raise ShapeError(f"the recipe takes layers 0 to {span}, and the first model has {count}; slices must be of whole models")


def _given(
    recipe: Mapping[str, Any], entries: list[Mapping[str, Any]], base: object, method: str
) -> tuple[dict[str, Any], list[Any]]:
    """Return the parameters of a merge, and the models beside the base."""
    common = _renamed(recipe.get("parameters") or {})
    others = [entry for entry in entries if base is None or entry["model"] != base]
    own = [_renamed(entry.get("parameters") or {}) for entry in others]
    given = {key: value for key, value in common.items() if key not in _OF_MODELS}
    for parameters in own:
        given |= {key: value for key, value in parameters.items() if key not in _OF_MODELS}
    for key in _OF_MODELS:
        if key in common or any(key in parameters for parameters in own):
            given[key] = [parameters.get(key, common.get(key, 1.0)) for parameters in own]
    if "divide" in given and method in ("slerp", "nuslerp", "model_stock", "passthrough"):
        del given["divide"]  # mergekit ignores it there
    return given, [entry["model"] for entry in others]


def _renamed(parameters: object) -> dict[str, Any]:
    """Return parameters by their names here, with their values."""
    known = (*_NAMES, *_PARAMETERS, "nuslerp_flatten", "nuslerp_row_wise", *_FLAGS)
    _check_words(parameters, known, "part 'parameters'")
    made: dict[str, Any] = {}
    for word, value in parameters.items():  # type: ignore[attr-defined]
        if word == "nuslerp_flatten":
            made.update({} if value else {"along": made.get("along", "row")})
        elif word == "nuslerp_row_wise":
            made.update({"along": "column"} if value else {})
        elif word == "filter_wise":
            made.update({"along": "row"} if value else {})
        elif word == "normalize":
            made["divide"] = "weights" if value is True else value
        elif word == "rescale":
            made["rescale"] = "norm" if value is True else value
        elif word not in _FLAGS:
            key = _NAMES.get(word, word)
            made[key] = value if key in _OWN else _setting(value)
    return made


def _setting(value: object) -> Any:
    """Return a number, a gradient, or numbers by patterns for a list of filters."""
    if not (isinstance(value, Sequence) and value and isinstance(value[0], Mapping)):
        return value
    made: dict[str, Any] = {}
    for entry in value:
        _check_words(entry, ("filter", "pattern", "value"), "filter")
        word = entry.get("filter")
        pattern = entry.get("pattern", "*") if word is None or word == "*" else f"*{_literal(str(word))}*"
        made.setdefault(str(pattern), _setting(entry.get("value")))
    return made


def _literal(word: str) -> str:
    """Return a pattern that matches nothing but this word."""
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in word)
