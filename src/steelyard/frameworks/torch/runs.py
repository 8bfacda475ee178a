"""Runs of a PyTorch module that leave it as it was: the first call of each layer, and its output."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from steelyard.core.dataflow import FirstCall
from steelyard.core.graph import Run, Shape
from steelyard.frameworks.torch.packed_for_cpu import as_packed_before
from steelyard.layers.torch.kinds import kind_and_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard.core.weight import Array

    Once = Callable[[nn.Module, Mapping[nn.Module, str], Sequence[torch.Tensor]], Run]
    """Runs a module with named layers on some inputs."""


def watched(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    names: Mapping[nn.Module, str],
    *,
    keep: bool,
    calls: dict[str, FirstCall] | None = None,
) -> tuple[Any, dict[str, FirstCall]]:
    """Call the module, and return its output and the first call of each layer, in the order of their beginnings."""
    calls = {} if calls is None else calls
    done = set()

    def before(part: nn.Module, args: object, kwargs: object) -> None:
        shape = _shape(_first((args, kwargs)), part)
        call = calls.setdefault(names[part], FirstCall(shape))
        call.input_shape = shape if call.input_shape is None else call.input_shape

    def after(part: nn.Module, args: object, kwargs: object, output: object) -> None:
        if part not in done:
            done.add(part)
            call, first = calls[names[part]], _first(output)
            call.output_shape = _shape(first, part)
            if keep and isinstance(first, torch.Tensor):
                call.output = array_of(first.movedim(_batch_axis(part, first), 0))

    with ExitStack() as hooks:
        for part in names:
            hooks.callback(part.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(part.register_forward_hook(after, with_kwargs=True).remove)
        return module(*inputs), calls


def run_double(module: nn.Module, names: Mapping[nn.Module, str], inputs: Sequence[Array], once: Once) -> Run:
    """Run a copy `once` in float64, also for the tensors that the module creates during the run."""
    twin, parts = copy.deepcopy((module, list(names)))
    for part in parts:
        if isinstance(part, nn.RMSNorm) and part.eps is None:  # the default is that of the dtype, which the copy changes
            part.eps = kind_and_settings(part, ["RMSNorm"])[1]["epsilon"]
    twin.double()
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with untouched(twin):
            return once(twin, dict(zip(parts, names.values(), strict=True)), tensors_of(twin, inputs, torch.float64))
    finally:
        torch.set_default_dtype(before)


def run_of(output: object, calls: Mapping[str, FirstCall]) -> Run:
    """Return copies of the outputs of a module, and of those of its layers that were kept in their calls."""
    given = {name: call.output for name, call in calls.items() if call.output is not None}
    tensors = [leaf.data if isinstance(leaf, PackedSequence) else leaf for leaf in _leaves(output)]
    return Run([array_of(tensor) for tensor in tensors], given)


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Run in inference mode and restore all state on exit: attributes, buffers, modes, random state."""
    before = [(part, dict(vars(part)), dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    buffers = [(buffer, buffer.clone(), buffer._version) for buffer in module.buffers()]
    devices = sorted({tensor.get_device() for tensor in (*module.parameters(), *module.buffers()) if tensor.is_cuda})
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # the fused path of transformers calls no modules
        for part in module.modules():
            part._compiled_call_impl = None
        with torch.no_grad(), torch.random.fork_rng(devices=devices), as_packed_before(module.modules()):
            module.eval()
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, attributes, parameters, held in before:
            for now, then in ((part._parameters, parameters), (part._buffers, held), (vars(part), attributes)):
                now.clear()
                now.update(then)
        for buffer, kept, version in buffers:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(kept)


def tensors_of(module: nn.Module, inputs: Sequence[Array], dtype: torch.dtype | None = None) -> list[torch.Tensor]:
    """Make tensors of copies of arrays, on the module's device; floats in its dtype."""
    import numpy as np

    held = [*module.parameters(), *module.buffers()]
    dtype = dtype or next((tensor.dtype for tensor in held if tensor.is_floating_point()), None)
    device = held[0].device if held else "cpu"
    made = [torch.from_numpy(np.array(array, order="C")).to(device) for array in inputs]
    return [tensor.to(dtype) if tensor.is_floating_point() else tensor for tensor in made]


def _leaves(output: object) -> Iterator[torch.Tensor | PackedSequence]:
    """Yield the tensors of an output, through tuples, lists and mappings."""
    if isinstance(output, (torch.Tensor, PackedSequence)):
        yield output
    elif isinstance(output, (Mapping, list, tuple)):
        for item in output.values() if isinstance(output, Mapping) else output:
            yield from _leaves(item)


def _first(output: object) -> torch.Tensor | None:
    """Return the first tensor; None for packed sequences, which lack an axis of time."""
    first = next(_leaves(output), None)
    return None if isinstance(first, PackedSequence) else first


def _shape(tensor: torch.Tensor | None, part: nn.Module) -> Shape | None:
    return None if tensor is None else without_batch(tensor, part)


def without_batch(tensor: torch.Tensor, part: nn.Module | None) -> Shape:
    """Return the shape of an input or output of a module without the batch axis, which is the second for some modules."""
    batch = _batch_axis(part, tensor)
    return tuple(length for axis, length in enumerate(tensor.shape) if axis != batch)


def _batch_axis(part: nn.Module | None, tensor: torch.Tensor) -> int:
    second = isinstance(part, (nn.RNNBase, nn.MultiheadAttention)) and not part.batch_first and tensor.ndim > 2
    return 1 if second else 0


def array_of(tensor: torch.Tensor) -> Array:
    """Copy a tensor into an array; short floats, which NumPy lacks, become float32."""
    tensor = (
        tensor.detach().to("cpu", copy=True).to_dense() if tensor.layout is not torch.strided else tensor.detach().cpu().clone()
    )
    array: Array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).resolve_conj().resolve_neg().numpy()
    return array
