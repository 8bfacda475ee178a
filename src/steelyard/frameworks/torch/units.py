"""The units of a module that must go together, found in one run: every number carries the label of the unit that it belongs to.

Beside each tensor go labels of the same shape: an activation has one label for each number, a parameter one for each of its axes
(its parts). Functions that move numbers move the labels in the same way; functions that combine numbers join their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from steelyard.core.coupling import INPUT, OUTPUT, Axis, Couplings, narrowed
from steelyard.errors import printable
from steelyard.frameworks.torch.graph import _checked, _unwrapped
from steelyard.frameworks.torch.runs import tensors_of, untouched
from steelyard.frameworks.torch.unit_labels import moved
from steelyard.frameworks.torch.unit_rules import RULES
from steelyard.frameworks.torch.weights import named_tensors

if TYPE_CHECKING:
    from steelyard.core.weight import Array

Parts = list[torch.Tensor]


def units(model: nn.Module, inputs: Sequence[Array]) -> Couplings:
    """Return the units of a module that must go together, from one run with these inputs, which does not change it.

    `layers` has the units of each module that gives them along one axis. Raises as `graph` does.
    """
    _, inner = _unwrapped(_checked(model))
    tracer = UnitTracer(named_tensors(model))
    with untouched(inner), _unfused(), _watched(inner, model, tracer):
        given = tensors_of(inner, [array[:2] if array.ndim else array for array in inputs])
        for tensor in given:
            tracer.set(tensor, tracer.fixed_like(tensor, INPUT))
        with tracer.watching():
            output = inner(*given)
    for tensor in tree_leaves(output):
        for part in tracer.parts(tensor) if isinstance(tensor, torch.Tensor) else ():
            tracer.couplings.fix(narrowed(part.numpy()), OUTPUT)
    return tracer.couplings


@contextmanager
def _unfused() -> Iterator[None]:
    """Let recurrent layers run as the functions that they consist of."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def _watched(inner: nn.Module, model: nn.Module, tracer: UnitTracer) -> Iterator[None]:
    """Record the units that each module gives, at its first call."""
    named = [(name, part) for name, part in model.named_modules() if name or not part._modules]
    hooks = [
        part.register_forward_pre_hook(lambda *_, name=name: tracer.begun(name)) for name, part in named if not part._modules
    ]
    hooks += [
        part.register_forward_hook(lambda own, _, output, name=name: tracer.gave(name, own, output)) for name, part in named
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class UnitTracer:
    """Follows labels through the functions of a run; `couplings` is what they showed, `names` has the weights' tensors."""

    __slots__ = ("_parts", "_within", "couplings", "names")

    def __init__(self, names: Mapping[torch.Tensor, str]) -> None:
        self.couplings = Couplings()
        self.names = names
        self._within: list[str] = []
        self._parts: Any = WeakTensorKeyDictionary()
        for tensor, name in names.items():
            made = [self._axis(tensor, name, axis) for axis, length in enumerate(tensor.shape) if length > 1]
            self._parts[tensor] = made

    def _axis(self, tensor: torch.Tensor, name: str, axis: int) -> torch.Tensor:
        ids = torch.from_numpy(self.couplings.axis(Axis(name, axis), tensor.shape[axis]))
        return ids.view([-1 if at == axis else 1 for at in range(tensor.ndim)]).expand(tensor.shape)

    def watching(self) -> Any:
        """Return a mode of PyTorch under which the functions of a run are followed."""
        mode: Any = TorchDispatchMode()
        # PyTorch requires a method of the mode itself
        mode.__torch_dispatch__ = MethodType(lambda _, func, _types, args=(), kwargs=None: self._called(func, args, kwargs), mode)
        return mode

    def _called(self, func: Any, args: Any, kwargs: Any) -> Any:
        output = func(*args, **(kwargs or {}))
        word = func.overloadpacket.__name__.strip("_")
        if not any(self.parts(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)):
            return output
        rule = self._rule(word, func)
        made = rule(self, word, args, kwargs or {}, output) if rule else self.unknown(word, args, kwargs or {}, output)
        for tensor, parts in zip(_tensors(output), made, strict=False):
            self._set_output(func, tensor, parts)
        return output

    def _rule(self, word: str, func: Any) -> Callable[..., Sequence[Parts]] | None:
        found: Callable[..., Sequence[Parts]] | None = RULES.get(word)
        if found is None and torch.Tag.pointwise in func.tags:
            found = RULES["pointwise"]
        return found

    def _set_output(self, func: Any, tensor: torch.Tensor, parts: Parts) -> None:
        written = func._schema.is_mutable and tensor._is_view()
        if written and not self.parts(tensor):
            for part in parts:
                self.fix(part, "they are written into a part of another tensor")
        self._parts[tensor] = parts

    def parts(self, tensor: object) -> Parts:
        """Return the labels of a tensor; none for a constant."""
        return self._parts.get(tensor, []) if isinstance(tensor, torch.Tensor) else []

    def set(self, tensor: torch.Tensor, labels: torch.Tensor) -> None:
        """Set the labels of an activation."""
        self._parts[tensor] = [labels]

    def fixed_like(self, tensor: torch.Tensor, reason: str) -> torch.Tensor:
        """Return one label, which is fixed, for all numbers of a tensor."""
        ids = self.couplings.new(1)
        self.couplings.fix(ids, reason)
        return torch.full((), int(ids[0])).expand(tensor.shape)

    def fix(self, labels: torch.Tensor, reason: str) -> None:
        """Keep all units among some labels."""
        self.couplings.fix(narrowed(labels.numpy()), reason)

    def unknown(self, word: str, args: Any, kwargs: Any, output: Any) -> list[Parts]:
        """Keep the units that reach a function without a rule."""
        reason = f"{self.where(word)} takes them"
        for leaf in tree_leaves((args, kwargs)):
            for part in self.parts(leaf):
                self.fix(part, reason)
        return [[self.fixed_like(tensor, reason)] for tensor in _tensors(output)]

    def where(self, word: str) -> str:
        """Return what takes units: the layer that is running, or a function outside of layers."""
        return printable(self._within[-1]) if self._within and self._within[-1] else f"the function {word}"

    def begun(self, name: str) -> None:
        """Record that a module without others inside begins to run."""
        self._within.append(name)

    def gave(self, name: str, module: nn.Module, output: object) -> None:
        """Record the units of a module that has run: the labels of its output along the only axis along which they vary."""
        if not module._modules:
            self._within.pop()
        tensor = next(iter(_tensors(output)), None)
        parts = self.parts(tensor)
        if name in self.couplings.layers or len(parts) != 1:
            return
        labels = moved(parts[0])
        wide = [axis for axis, length in enumerate(labels.shape) if length > 1]
        if len(wide) == 1 and bool((labels >= 0).all()):
            ids = labels.reshape(-1).numpy()
            self.couplings.layers[name] = ids
            if isinstance(module, nn.RNNBase):
                self._recurrent(module, name, ids)

    def _recurrent(self, module: nn.RNNBase, name: str, ids: Array) -> None:
        """Keep what one hidden size of all levels and directions cannot express."""
        if module.num_layers > 1 or module.proj_size:
            self.couplings.fix(ids, f"all levels of {name} have one hidden size")
        if module.bidirectional:
            self.couplings.even.append(ids.reshape(2, -1))


def _tensors(output: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
