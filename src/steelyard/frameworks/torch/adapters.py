"""The weights of a live net with adapters of PEFT: those of the base with the active adapters merged into them.

Modules are asked what they say (`base_layer`, `active_adapters`, `merged_adapters`, `disable_adapters`, `scaling`), and PEFT is
not imported. Kinds of adapters that are not known are merged by the layers themselves, on a copy. The names are those of the
plain net, as `merge_and_unload` has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.adapters.peft import is_known, kind_of, live_changes
from steelyard.codecs.peft import PREFIX, part_of
from steelyard.core.effective import Derivation, Pieces
from steelyard.core.merging import Change, merged
from steelyard.core.roles import infer_roles, layer_of
from steelyard.core.weights import Weights
from steelyard.frameworks.torch.tuners import tuners_in, with_tuners

if TYPE_CHECKING:
    from torch import nn

    from steelyard.codecs.plain import Config, Plain
    from steelyard.core.weight import Weight

_SCHEME = "the base of a net with adapters of PEFT"
_SAVED = re.compile(r"\.modules_to_save\.([^.]+)\.")
_WRAPPERS = re.compile(r"\.(?:base_layer|original_module|token_adapter)(?=\.)")
_SHARED = re.compile(r"base_model\.(vera_[AB])\.([^.]+)\Z")
_COPIED = re.compile(r".*\.(?:vera_[AB]|ranknum)\.[^.]+\Z")


class _Stored(NamedTuple):
    """The weights of a net with adapters: those of the base by plain names, and each adapter's by the names of its file."""

    base: dict[str, Weight]
    adapters: dict[str, dict[str, Weight]]
    names: dict[str, str]
    """What the model calls the weights of the base."""
    hidden: list[str]
    """Copies and counters of layers, which are no numbers of their own."""


def adapted(model: nn.Module, pieces: Pieces) -> Iterator[Weight]:
    """Yield all weights of a net with adapters under the names of the plain net; none for another net."""
    configs = next((found for module in model.modules() if isinstance(found := getattr(module, "peft_config", None), dict)), None)
    if not configs or not any(_WRAPPERS.search(f".{name}") for name in pieces):
        return  # prompts change no layer
    plain = {name: _plain(config) for name, config in configs.items()}
    modules = dict(model.named_modules(remove_duplicate=False))
    unknown = {name: config for name, config in plain.items() if not is_known(config)}
    tuners = [*tuners_in(modules, unknown, PREFIX)]
    around = {path: False for path, module in modules.items() if "base_layer" in module._modules}
    stored = _stored(pieces, around | {tuner.path: True for tuner in tuners})
    listed = Weights(infer_roles(weight.replace(tied=None, overlaps=None) for weight in stored.base.values())).effective()
    changes = [change for name, config in plain.items() for change in _changes(name, config, stored, modules, listed)]
    kinds = ", ".join(dict.fromkeys(map(kind_of, unknown.values())))
    yield from _named(with_tuners(merged(listed.values(), changes), tuners, kinds, pieces), stored)


def _stored(pieces: Pieces, around: Mapping[str, bool]) -> _Stored:
    """Sort the weights of a model; `around` has the paths of layers around those of the base, and whether these merge."""
    base: dict[str, Weight] = {}
    adapters: dict[str, dict[str, Weight]] = {}
    names: dict[str, str] = {}
    hidden: list[str] = []
    for name in pieces:
        weight, part = pieces.get(name), part_of(name)
        if weight is None:
            continue
        if _is_inner(name, part is None, around):
            hidden.append(name)
        elif part is not None and part.adapter:
            words = (f"{PREFIX}{part.layer}" if part.layer else PREFIX[:-1], part.part, part.leaf)
            adapters.setdefault(part.adapter, {})[".".join(filter(None, words))] = weight
        elif match := _SAVED.search(name) or _SHARED.match(name):
            key = f"base_model.{match[1]}" if match.re is _SHARED else name.replace(match[0], ".")
            adapters.setdefault(match[2] if match.re is _SHARED else match[1], {})[key] = weight
        elif _COPIED.match(name):
            hidden.append(name)
        else:
            plain = _WRAPPERS.sub("", f".{name.removeprefix(PREFIX)}")[1:]
            base[plain] = weight.replace(name=plain, layer=layer_of(plain))
            names[plain] = name
    return _Stored(base, adapters, names, hidden)


def _is_inner(name: str, is_unknown: bool, around: Mapping[str, bool]) -> bool:
    """Whether a weight is one of a layer around that of the base, and only this layer knows what it is for."""
    if name.startswith("base_model.") and not name.startswith(PREFIX):  # numbers that layers share
        return not _SHARED.match(name)
    at = -1
    while (at := name.find(".", at + 1)) >= 0:
        merges = around.get(name[:at])
        if merges is not None:
            return (merges or is_unknown) and not name.startswith("base_layer.", at + 1)
    return False


def _changes(
    adapter: str, config: Config, stored: _Stored, modules: Mapping[str, nn.Module], base: Mapping[str, Weight]
) -> Iterator[Change]:
    """Yield what one adapter does to the layers in which it is active, and not merged already."""
    parts: dict[str, Weight] = {}
    scales: dict[str, float] = {}
    tokens: dict[str, Plain] = {}
    for name, weight in stored.adapters.get(adapter, {}).items():
        part = part_of(name)
        layer = layer_of(name).removeprefix(PREFIX) if part is None else part.layer
        module = _wrapper(layer, modules)
        if name.startswith("base_model.vera_") or (module is not None and _is_active(module, adapter)):
            parts[name] = weight.replace(name=name)
            scaling = getattr(module, "scaling", None)
            if isinstance(scaling, dict) and isinstance(scaling.get(adapter), (int, float)):
                scales[layer] = float(scaling[adapter])
            indices = getattr(module, "token_indices", None)
            if isinstance(indices, dict):  # a layer tied to an embedding has its tokens, and the config names the embedding alone
                tokens[layer] = list(indices.get(adapter, ()))
    if any(not name.startswith("base_model.vera_") for name in parts):
        yield from live_changes(
            Pieces(Weights(parts.values())), base, {**config, **({"trainable_token_indices": tokens} if tokens else {})}, scales
        )


def _wrapper(layer: str, modules: Mapping[str, nn.Module]) -> nn.Module | None:
    """Return the module that wraps a layer; that of trainable tokens is one level deeper."""
    for name in (f"{PREFIX}{layer}", layer):
        module = modules.get(name)
        if module is not None:
            return getattr(module, "token_adapter", module)
    return None


def _is_active(module: nn.Module, adapter: str) -> bool:
    active = getattr(module, "active_adapters", ())
    gone = getattr(module, "merged_adapters", ())
    return adapter in active and adapter not in gone and getattr(module, "disable_adapters", False) is not True


def _plain(config: Any) -> Config:
    """Return the config as its file has it: words for members of an enumeration."""
    words = {key: getattr(value, "value", value) for key, value in vars(config).items()}
    return {key: sorted(value) if isinstance(value, set) else value for key, value in words.items()}


def _named(listed: list[Weight], stored: _Stored) -> Iterator[Weight]:
    """Yield weights with derivations that name what the model holds; parts of adapters that are not used are not shown."""
    names = dict(stored.names)
    for parts in stored.adapters.values():
        names |= {name: weight.name for name, weight in parts.items()}
    unused = {weight.name for parts in stored.adapters.values() for weight in parts.values()} | {*stored.hidden}
    facts = [weight.derivation or Derivation(_SCHEME, (weight.name,)) for weight in listed]
    unused -= {names.get(part, part) for each in facts for part in each.parts}
    for weight, each in zip(listed, facts, strict=True):
        held = tuple(names.get(part, part) for part in each.parts)
        yield weight.replace(derivation=each._replace(parts=held, activations=tuple(sorted(unused))))
        unused = set()
