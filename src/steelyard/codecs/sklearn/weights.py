"""The weights of pickled scikit-learn estimators and skorch nets, by the names that the live objects have.

Nothing is known of a class but its name and what its objects keep: `coefs_`, `steps`, `best_estimator_`. A
wrapper of one estimator adds nothing to the names, a container puts its members' names before theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from steelyard.codecs import limits
from steelyard.codecs.pickle.arrays import Found, objects_of
from steelyard.codecs.pickle.values import Record, class_of
from steelyard.codecs.pickle.walk import Entry, Walk, holding, is_module, of_model
from steelyard.codecs.torch.sparse import compressed
from steelyard.errors import FormatError, printable
from steelyard.layers.sklearn.roles import role_and_axes

if TYPE_CHECKING:
    from steelyard.storage.source import Source

    Look = Callable[[Any], Found | None]
    Members = list[tuple[str, Any]]

_WRAPPED = ("FrozenEstimator", "_CalibratedClassifier")
_FAMILIES = ("sklearn", "skorch", "scikeras", "imblearn", "xgboost", "lightgbm", "catboost")


def is_estimator(value: Any) -> bool:
    """Tell whether a value is an object of scikit-learn's family, or keeps what such objects keep."""
    if not isinstance(value, Record):
        return False
    kind = class_of(value)
    known = kind is not None and kind.module.partition(".")[0] in _FAMILIES
    return bool(value.attributes) and (
        known or not {"coefs_", "coef_", "best_estimator_", "module_"}.isdisjoint(value.attributes)
    )


def estimator_entries(root: Any, look: Look, source: Source) -> list[Entry] | None:
    """Return the weights of the estimators in `root`: one, or a dict or list of them and of arrays.

    None when there is no estimator in it. Raises `FormatError` for estimators that have no weights.
    """
    met: list[Record] = []
    ends = list(_ends((), root, met, 0, source))
    if not met:
        return None
    entries = [entry for path, part in ends for entry in _entries(path, part, look, source)]
    if not entries and isinstance(root, Record):
        parts = {holding(part).partition(" ")[2] for _, part in ends if isinstance(part, Record)} - {
            holding(root).partition(" ")[2]
        }
        inside = f" of {', '.join(sorted(parts)[:5])}" if parts else ""
        raise FormatError(
            source.name,
            f"{holding(root)}{inside} has no network weights{_instead(root)}; known are multilayer perceptrons, linear models, "
            "RBMs, skorch nets, and searches, pipelines and ensembles of them",
        )
    return entries


def ends_of(root: Any, source: Source) -> list[tuple[tuple[str, ...], Any]]:
    """Return every estimator, module and array in `root` that wraps and contains no other, with its path."""
    return list(_ends((), root, [], 0, source))


def _instead(root: Record) -> str:
    held = root.attributes
    if "vocabulary_" in held:
        return ": it holds a vocabulary"
    if "module" in held and "module_" not in held:
        return ": it is a net that is not initialised"
    return ": it holds trees" if "tree_" in held or "estimators_" in held else ""


def _ends(
    path: tuple[str, ...], value: Any, met: list[Record], depth: int, source: Source
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every estimator, module and array that wraps and contains no other, with its path; `met` are the estimators."""
    if depth > limits.RECURSION:
        raise FormatError(source.name, f"more than {limits.RECURSION} estimators lie in one another")
    if type(value) in (dict, list, tuple):
        named = value.items() if isinstance(value, dict) else enumerate(value)
        members: Members | None = [(str(key), member) for key, member in named if isinstance(member, (Record, dict, list, tuple))]
    else:
        members = _members(value, source) if is_estimator(value) and not _names(value) else None
        met += [value] if is_estimator(value) else []
    if members is None:
        if isinstance(value, Record):
            yield path, value
        return
    for name, member in members:
        yield from _ends((*path, name) if name else path, member, met, depth + 1, source)


def _members(model: Record, source: Source) -> Members | None:
    """Return what a wrapper wraps, under no name, or what a container contains, by name; None for neither."""
    held = model.attributes
    if "best_estimator_" in held:
        return [("", held["best_estimator_"])]
    if "cv_results_" in held:
        raise FormatError(source.name, f"{holding(model)} was fitted with refit=False and kept no estimator")
    if "module_" in held:
        return _net_members(held)
    return _named_members(held) or _numbered_members(held) or _wrapped(model)


def _net_members(held: dict[Any, Any]) -> Members:
    """The modules of a skorch net; a single one adds nothing to the names."""
    listed = [key for key in ("_modules", "_criteria") if type(held.get(key)) is list]
    names = [f"{name}_" for key in listed for name in held[key] if type(name) is str] or ["module_"]
    modules = [(name, held[name]) for name in dict.fromkeys(names) if is_module(held.get(name))]
    with_weights = [(name, module) for name, module in modules if name.startswith("module") or _has_parameters(module)]
    return [("", with_weights[0][1])] if len(with_weights) == 1 else with_weights


def _has_parameters(module: Record) -> bool:
    return any(value is not None for value in (module.attributes.get("_parameters") or {}).values())


def _pairs(value: Any) -> Members:
    """Return name and member of a list of tuples, such as the steps of a pipeline."""
    parts = value if type(value) is list else []
    return [(part[0], part[1]) for part in parts if type(part) is tuple and len(part) >= 2 and type(part[0]) is str]


def _named_members(held: dict[Any, Any]) -> Members | None:
    for attribute in ("steps", "transformer_list", "transformers_"):
        if attribute in held:
            return _pairs(held[attribute])
    if "named_estimators_" in held:
        named = held["named_estimators_"]
        named = (named.entries if named.added else named.attributes) if isinstance(named, Record) else named
        last = [(name, held[name]) for name in ("final_estimator_",) if name in held]
        return [*((str(key), member) for key, member in named.items()), *last] if isinstance(named, dict) else last
    return None


def _numbered_members(held: dict[Any, Any]) -> Members | None:
    for attribute in ("estimators_", "calibrated_classifiers_"):
        if attribute in held:
            objects = objects_of(held[attribute])
            members = objects[1] if objects else held[attribute]
            if type(members) in (list, tuple):
                return [(f"{attribute}.{place}", member) for place, member in enumerate(members)]
    return None


def _wrapped(model: Record) -> Members | None:
    held = model.attributes
    if "regressor_" in held:
        return [("", held["regressor_"]), ("transformer_", held.get("transformer_"))]
    if "estimator_" in held:
        return [("", held["estimator_"])]
    kind = class_of(model)
    return [("", held.get("estimator"))] if kind is not None and kind.name in _WRAPPED else None


def _names(model: Record) -> list[str]:
    held = model.attributes
    coefs = held.get("coefs_")
    if type(coefs) is list:
        return [f"{attribute}.{layer}" for layer in range(len(coefs)) for attribute in ("coefs_", "intercepts_")]
    if "intercept_hidden_" in held:
        return ["components_", "intercept_hidden_", "intercept_visible_"]
    if held.get("coef_") is None:
        return []
    return [name for name in ("coef_", "intercept_", "offset_") if held.get(name) is not None]


def _entries(path: tuple[str, ...], part: Any, look: Look, source: Source) -> Iterator[Entry]:
    """List the weights that one estimator holds itself, a module has, or an array is."""
    found = look(part)
    if found is not None:
        yield Entry(path, found, None, True, None)
        return
    if is_module(part):
        for entry in of_model(Walk(source, look).through(part)):
            entry.path = (*path, *entry.path)
            yield entry
        return
    if not is_estimator(part):
        return
    for name in _names(part):
        attribute, _, place = name.partition(".")
        value = part.attributes.get(attribute)
        numbers = _numbers(
            value[int(place)] if place and type(value) is list and int(place) < len(value) else value, look, source
        )
        if numbers is None:
            raise FormatError(source.name, f"{printable('.'.join((*path, name)))} is no array of numbers")
        trained = attribute != "intercept_" or part.attributes.get("fit_intercept", True) is not False
        entry = Entry((*path, name), numbers, role_and_axes(attribute, len(numbers.shape)), True, trained)
        entry.layer = ".".join((*path, place) if place else path)
        yield entry


def _numbers(value: Any, look: Look, source: Source) -> Found | None:
    """Return an array, a sparse matrix as a dense one, or a plain number as an array without axes."""
    if type(value) in (int, float):
        return _number(value)
    found = look(value)
    if found is not None or not isinstance(value, Record):
        return found
    kind = class_of(value)
    held = value.attributes
    layout = kind.name.partition("_")[0] if kind is not None and kind.module.startswith("scipy.sparse") else ""
    if layout not in ("csr", "csc"):
        return None
    parts = [look(held.get(key)) for key in ("indptr", "indices", "data")]
    known = [part for part in parts if part is not None]
    shape = held.get("_shape")
    kept = look(shape)
    if kept is not None and kept.shape == (2,):
        shape = tuple(int(length) for length in kept.read(0, 2))
    return compressed(source, f"sparse_{layout}", known, shape) if len(known) == 3 else None


def _number(value: float) -> Found:
    def read(start: int, stop: int) -> Any:
        import numpy as np

        return np.array([value])[start:stop]

    return Found((), "float64" if type(value) is float else "int64", read)
