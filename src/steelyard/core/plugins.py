"""The registry of frameworks and formats: their folders, and entry points.

A plug-in is a module with a few functions. Steelyard's own are in `steelyard/frameworks` and `steelyard/formats`; other
packages register theirs in the entry-point groups `steelyard.frameworks` and `steelyard.formats`. A framework is
registered under its import name.
"""

from __future__ import annotations

import importlib
import importlib.util
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from steelyard.errors import UnknownModelError, printable

if TYPE_CHECKING:
    from collections.abc import Hashable
    from importlib.metadata import EntryPoint

    from steelyard.core.protocols import Framework


_MADE_AT_RUN_TIME = 1 << 9
"""The flag of a class that is not a part of the interpreter."""


def names(group: str) -> list[str]:
    """Return the names of all plug-ins of a group ("frameworks", "formats"), without importing one.

    >>> "torch" in names("frameworks")
    True
    """
    import pkgutil

    folder = importlib.import_module(f"steelyard.{group}")
    own = [module.name for module in pkgutil.iter_modules(folder.__path__)]
    return sorted({*own, *_entry_points(group)})


def table(group: str, name: str) -> Any:
    """Return a table of the folder of a group, such as the suffixes of the formats."""
    return getattr(importlib.import_module(f"steelyard.{group}"), name)


def weights_in_file(path: object) -> Any:
    """Return the weights of a file; `io` knows the formats, and this does not."""
    return importlib.import_module("steelyard.io").weights(path)


def couples(one: object, other: object) -> Any:
    """Return the pairs that `steelyard.diff` finds, `one` in the layout of `other`."""
    return importlib.import_module("steelyard.measures.diff.pairing").couple(one, other).couples


@lru_cache
def load(group: str, name: str) -> Any:
    """Return the plug-in module `name` of a group, or None if there is none; the folder takes precedence."""
    path = f"steelyard.{group}.{name}"
    if name.isidentifier() and importlib.util.find_spec(path):
        return importlib.import_module(path)
    entry = _entry_points(group).get(name)
    return entry.load() if entry else None


def builders() -> list[str]:
    """Return the names of the frameworks that can build a model; a plug-in's is imported to find out, and none of our own.

    >>> {"keras", "sklearn", "torch"} <= {*builders()}
    True
    """
    import os

    (folder,) = importlib.import_module("steelyard.frameworks").__path__
    own = [name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, "build.py"))]
    return sorted({*own, *filter(_builds, _entry_points("frameworks"))})


def _builds(name: str) -> bool:
    """Return whether a plug-in can build a model; one that cannot be imported here cannot."""
    try:
        return hasattr(load("frameworks", name), "build")
    except ImportError:
        return False


@lru_cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=f"steelyard.{group}")}


def framework_of(model: object) -> Framework:
    """Return the framework of the most specific base class of `model` that belongs to a known framework.

    The first word of a class's module names its framework. A framework is asked only if it is imported already, since an
    object of it needs it; a class that only claims to belong to it does not cause an import. An object of any other class
    belongs to the framework that claims it, as JAX claims the classes that are registered as trees.
    Raises `UnknownModelError`, which lists the known frameworks, if no class belongs to one.
    """
    framework = _framework_of_type(cast("Hashable", type(model))) or _claimant(model)
    if framework is None:
        module, name = printable(type(model).__module__), printable(type(model).__qualname__)
        if hasattr(type(model), "read") and hasattr(type(model), "seek"):
            raise UnknownModelError(f"a {module}.{name} is an open file or a stream; pass the path of a file")
        if hasattr(type(model), "to_numpy"):
            raise UnknownModelError(f"a {module}.{name} cannot be listed; pass what its to_numpy() returns")
        raise UnknownModelError(
            f"a {module}.{name} is of a framework that Steelyard does not know; known are {', '.join(names('frameworks'))}; "
            "others can be added under the entry point steelyard.frameworks"
        )
    return framework


@lru_cache(maxsize=4096)
def _framework_of_type(kind: type) -> Framework | None:
    for word in dict.fromkeys(_word(base) for base in kind.__mro__ if base is not object):
        framework = load("frameworks", word) if word else None
        if framework is not None:
            return cast("Framework", framework)
    return None


def _claimant(model: object) -> Framework | None:
    """Return the framework that claims an object of a class that is not named after one."""
    import sys

    for word in _framework_words():
        claims = getattr(load("frameworks", word), "claims", None) if word in sys.modules else None
        if claims is not None and claims(model):
            return cast("Framework", load("frameworks", word))
    return None


@lru_cache
def _framework_words() -> tuple[str, ...]:
    return tuple(names("frameworks"))


def _word(base: type) -> str:
    """Return the import name of the framework of a class; blank where its module is not true."""
    import builtins
    import sys

    module = base.__module__
    word = module.partition(".")[0] if isinstance(module, str) else ""
    if word == "builtins" and base.__flags__ & _MADE_AT_RUN_TIME and getattr(builtins, base.__name__, None) is not base:
        return ""  # a class that `exec` made
    loaded = sys.modules.get(word)
    if loaded is None:
        return ""
    old = word == "keras" and str(getattr(loaded, "__version__", "")).startswith(("1.", "2."))
    return "tf_keras" if old or module.startswith("tensorflow.python.keras.") else word
