"""The weights of pickled scikit-learn estimators and skorch nets, by the names of the live objects.

A class is known by its name and by the attributes of its objects: `coefs_`, `steps`, `best_estimator_`. A wrapper of
one estimator adds nothing to the names; a container prefixes them with the names of its members.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.pickle.arrays import PickledTensor, objects_of, plain_number
from steelyard.codecs.pickle.model_weights import holding, model_tensors
from steelyard.codecs.pickle.values import Record, class_of, is_args
from steelyard.codecs.pickle.walk import TensorWalk, is_module
from steelyard.codecs.sklearn.machines import coefficients, is_linear_machine
from steelyard.codecs.torch.sparse import densified
from steelyard.errors import FormatError, printable
from steelyard.layers.sklearn.roles import role_and_axes

if TYPE_CHECKING:
    from typing import TypeGuard

    from steelyard.codecs.pickle.values import Key, Pickled
    from steelyard.codecs.pickle.walk import Decode, Path
    from steelyard.storage.source import Source

    Attributes = Mapping[Key, Pickled]
    Members = list[tuple[str, Pickled]]

_WRAPPED = ("FrozenEstimator", "_CalibratedClassifier")
_FAMILIES = ("sklearn", "skorch", "scikeras", "imblearn", "xgboost", "lightgbm", "catboost")


def is_estimator(value: Pickled) -> TypeGuard[Record]:
    """Whether a value is an object of scikit-learn's family, or has the attributes of one."""
    if not isinstance(value, Record):
        return False
    kind = class_of(value)
    known = kind is not None and kind.module.partition(".")[0] in _FAMILIES
    return bool(value.attributes) and (
        known or not {"coefs_", "coef_", "best_estimator_", "module_"}.isdisjoint(value.attributes)
    )


def estimator_tensors(root: Pickled, decode: Decode, source: Source, *, may_lack: bool = False) -> list[PickledTensor] | None:
    """Return the weights of the estimators in `root`: one, or a dict or list of them and of arrays.

    None if it holds no estimator. Raises `FormatError` for estimators that have no weights, unless they `may_lack` them.
    """
    met: list[Record] = []
    ends = list(_ends((), root, met, 0, source))
    if not met:
        return None
    tensors = [tensor for path, part in ends for tensor in _tensors(path, part, decode, source)]
    if not tensors and isinstance(root, Record) and not may_lack:
        parts = {holding(part).partition(" ")[2] for _, part in ends if isinstance(part, Record)} - {
            holding(root).partition(" ")[2]
        }
        inside = f" of {', '.join(sorted(parts)[:5])}" if parts else ""
        raise FormatError(
            source.name,
            f"{holding(root)}{inside} has no network weights{_instead(root)}; known are multilayer perceptrons, linear models, "
            "RBMs, skorch nets, and searches, pipelines and ensembles of them",
        )
    return tensors


def ends_of(root: Pickled, source: Source) -> list[tuple[Path, Pickled]]:
    """Return every estimator, module and array in `root` that wraps and contains no other, with its path."""
    return list(_ends((), root, [], 0, source))


def _instead(root: Record) -> str:
    held = root.attributes
    if "vocabulary_" in held:
        return ": it holds a vocabulary"
    if "module" in held and "module_" not in held:
        return ": it is an uninitialised net"
    return ": it holds trees" if "tree_" in held or "estimators_" in held else ""


def _ends(path: Path, value: Pickled, met: list[Record], depth: int, source: Source) -> Iterator[tuple[Path, Pickled]]:
    """Yield every estimator, module and array that wraps and contains no other, with its path; `met` are the estimators."""
    if depth > limits.RECURSION:
        raise FormatError(source.name, f"estimators are nested more than {limits.RECURSION} levels deep")
    members: Members | None = None
    if isinstance(value, (dict, list, tuple)):
        named = value.items() if isinstance(value, dict) else enumerate(value)
        members = [(str(key), member) for key, member in named if isinstance(member, (Record, dict, list, tuple))]
    elif is_estimator(value):
        members = None if _names(value) else _members(value, source)
        met.append(value)
    if members is None:
        if isinstance(value, Record):
            yield path, value
        return
    for name, member in members:
        yield from _ends((*path, name) if name else path, member, met, depth + 1, source)


def _members(model: Record, source: Source) -> Members | None:
    """Return the member of a wrapper, unnamed, or the members of a container, by name; None for any other estimator."""
    held = model.attributes
    if "best_estimator_" in held:
        return [("", held["best_estimator_"])]
    if "cv_results_" in held:
        raise FormatError(source.name, f"{holding(model)} was fitted with refit=False and kept no estimator")
    if "module_" in held:
        return _net_members(held)
    return _named_members(held) or _numbered_members(held) or _wrapped(model)


def _net_members(held: Attributes) -> Members:
    """Return the modules of a skorch net by name; a single one adds nothing to the names."""
    listed = [held.get(key) for key in ("_modules", "_criteria")]
    names = [f"{name}_" for group in listed if isinstance(group, list) for name in group if type(name) is str] or ["module_"]
    modules: Members = [(name, held[name]) for name in dict.fromkeys(names) if is_module(held.get(name))]
    with_weights = [(name, module) for name, module in modules if name.startswith("module") or _has_parameters(module)]
    return [("", with_weights[0][1])] if len(with_weights) == 1 else with_weights


def _has_parameters(module: Pickled) -> bool:
    parameters = module.attributes.get("_parameters") if isinstance(module, Record) else None
    return isinstance(parameters, dict) and any(value is not None for value in parameters.values())


def _pairs(value: Pickled) -> Members:
    """Return name and member of a list of tuples, such as the steps of a pipeline."""
    steps = [step for step in value if is_args(step, 2)] if isinstance(value, list) else []
    return [(step[0], step[1]) for step in steps if isinstance(step[0], str)]


def _named_members(held: Attributes) -> Members | None:
    for attribute in ("steps", "transformer_list", "transformers_"):
        if attribute in held:
            return _pairs(held[attribute])
    if "named_estimators_" in held:
        named = held["named_estimators_"]
        # a Bunch is a dict with its items as attributes too; a pickle sets its items, its state, or both
        named = (named.entries if named.added else named.attributes) if isinstance(named, Record) else named
        last: Members = [("final_estimator_", held["final_estimator_"])] if "final_estimator_" in held else []
        return [*((str(key), member) for key, member in named.items()), *last] if isinstance(named, dict) else last
    return None


def _numbered_members(held: Attributes) -> Members | None:
    for attribute in ("estimators_", "calibrated_classifiers_"):
        if attribute in held:
            # gradient boosting keeps an array of objects, other ensembles a list
            objects = objects_of(held[attribute])
            members = objects[1] if objects else held[attribute]
            if isinstance(members, (list, tuple)):
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
    if is_linear_machine(model):
        return ["coef_", "intercept_"]
    if held.get("coef_") is None:
        return []
    return [name for name in ("coef_", "intercept_", "offset_") if held.get(name) is not None]


def _tensors(path: Path, part: Pickled, decode: Decode, source: Source) -> Iterator[PickledTensor]:
    """Yield the weights of one estimator without its members, those of a module, or an array itself."""
    tensor = decode(part)
    if tensor is not None:
        tensor.path = path
        yield from tensor.with_companions()
        return
    if is_module(part):
        for tensor in model_tensors(TensorWalk(source, decode).through(part)):
            tensor.path = (*path, *tensor.path)
            yield tensor
        return
    if not is_estimator(part):
        return
    for name in _names(part):
        attribute, _, place = name.partition(".")
        value = part.attributes.get(attribute)
        value = value[int(place)] if place and isinstance(value, list) and int(place) < len(value) else value
        if attribute == "coef_" and is_linear_machine(part):
            tensor = coefficients(part, lambda held: _numbers(held, decode, source), source)
        else:
            tensor = _numbers(value, decode, source)
        if tensor is None:
            raise FormatError(source.name, f"{printable('.'.join((*path, name)))} is not an array of numbers")
        tensor.path = (*path, name)
        tensor.role, tensor.axes = role_and_axes(attribute, len(tensor.shape))
        tensor.trainable = attribute != "intercept_" or part.attributes.get("fit_intercept", True) is not False
        tensor.layer = ".".join((*path, place) if place else path)
        yield tensor


def _numbers(value: Pickled, decode: Decode, source: Source) -> PickledTensor | None:
    """Return an array, a sparse matrix as a dense one, or a plain number as an array without axes."""
    if type(value) is int or type(value) is float:
        return plain_number(value)
    tensor = decode(value)
    if tensor is not None or not isinstance(value, Record):
        return tensor
    kind = class_of(value)
    held = value.attributes
    layout = kind.name.partition("_")[0] if kind is not None and kind.module.startswith("scipy.sparse") else ""
    if layout not in ("csr", "csc"):
        return None
    parts = [decode(held.get(key)) for key in ("indptr", "indices", "data")]
    known = [part for part in parts if part is not None]
    shape = held.get("_shape")
    lengths = decode(shape)
    if lengths is not None and lengths.shape == (2,):
        shape = tuple(int(length) for length in lengths.read(0, 2))
    return densified(source, f"sparse_{layout}", known, shape) if len(known) == 3 else None
