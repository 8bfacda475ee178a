"""PyTorch: modules in the order in which they are called; without inputs in the order of definition.

A layer is a module that holds weights itself, or has no modules inside. Attention and its output projection are one
layer, as are all levels and directions of a recurrent layer. Functions such as `relu` and `flatten`,
which are not modules, are not listed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from steelyard.core.dataflow import INPUT, CallGraph, FirstCall
from steelyard.core.graph import Graph, Layer, Run, Shape
from steelyard.errors import NotFittedError, UnknownModelError, printable
from steelyard.frameworks.torch.dataflow import Output, TensorTracer
from steelyard.layers.torch.kinds import kind_and_settings

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_IMAGES = ("conv", "conv transpose", "pool", "global pool", "upsample")
_WRAPPERS = ("_orig_mod", "module")
"""The attributes under which `torch.compile` and parallel wrappers keep the model; they are prefixes of its weights' names."""


def graph(model: nn.Module, inputs: Sequence[Array] | None) -> Graph:
    """Return the layers of a module.

    With inputs it is run once in inference mode, for the order and the shapes. Layers with weights that were not called
    come last, with `unused` in their settings. Without inputs the order is that of definition; for a `Sequential` of
    layers that is the order of execution too. Raises `NotFittedError` for lazy modules.
    """
    parts = dict(_parts(_checked(model)))
    layers = [_layer(name, part) for name, part in parts.items()]
    _set_activations(model, layers)
    channels = "first" if any(layer.kind in _IMAGES for layer in layers) else ""
    prefix, inner = _unwrapped(model)
    names = {part: name for name, part in parts.items()}
    if inputs is None:
        is_chain = _is_chain(inner)
        if is_chain:
            _set_inputs(layers, parts, _flow_of_chain([names[part] for part in _links(inner)]))
        return Graph(layers, is_execution_order=is_chain, channels=channels, is_sequential=is_chain and _runs_once(inner))
    with _untouched(inner):
        given = _tensors(inner, inputs)
        calls, flow = _followed(inner, given, names)
    layers = _in_order(layers, parts, calls)
    _set_inputs(layers, parts, flow)
    shapes = tuple(_without_batch(tensor, parts.get(prefix)) for tensor in given)
    return Graph(layers, is_execution_order=True, channels=channels, input_shapes=shapes)


def run(model: nn.Module, inputs: Sequence[Array]) -> Run:
    """Run a copy in float64; a module that cannot be copied or requires its own dtype runs unchanged.

    The dtype of the arrays shows which of them ran. Integers stay integers. The outputs of layers have the batch
    axis first, even if a recurrent layer or an attention has it second.
    """
    parts = {part: name for name, part in _parts(_checked(model))}
    _, inner = _unwrapped(model)
    with suppress(Exception):  # a module may not allow a copy or another dtype; then it runs unchanged
        return _run_double(inner, parts, inputs)
    with _untouched(inner):
        return _run_once(inner, parts, _tensors(inner, inputs))


def _checked(model: object) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise UnknownModelError(f"a torch {printable(type(model).__name__)} has no layers; pass a module")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if type(tensor) in (nn.UninitializedParameter, nn.UninitializedBuffer):
            raise NotFittedError(f"{printable(name)} is lazy and has no shape yet; run one batch through the model first")
    return model


def _unwrapped(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the model inside wrappers, and the prefix of its names."""
    names = []
    while (name := next((key for key in _WRAPPERS if list(model._modules) == [key] and _is_wrapper(model)), None)) is not None:
        names.append(name)
        model = model._modules[name]
    return ".".join(names), model


def _is_wrapper(model: nn.Module) -> bool:
    return type(model).__name__ in ("OptimizedModule", "DataParallel", "DistributedDataParallel")


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers by name, in the order of definition; a module with two names has its first."""
    seen = set()
    stack = [("", model)]
    while stack:
        name, module = stack.pop()
        if module in seen:
            continue
        seen.add(module)
        inside = _inside(module)
        if _weighs(module) or not (inside or isinstance(module, (nn.ModuleList, nn.ModuleDict))):
            yield name, module
        stack += [(f"{name}.{key}" if name else key, child) for key, child in reversed(inside)]


def _inside(module: nn.Module) -> list[tuple[str, nn.Module]]:
    own = ("parametrizations", "out_proj") if isinstance(module, nn.MultiheadAttention) else ("parametrizations",)
    return [(key, child) for key, child in module._modules.items() if child is not None and key not in own]


def _weighs(module: nn.Module) -> bool:
    """Whether a module itself holds tensors of its `state_dict`."""
    held = [*module._parameters.values(), *(b for k, b in module._buffers.items() if k not in module._non_persistent_buffers_set)]
    return "parametrizations" in module._modules or any(tensor is not None for tensor in held)


def _is_chain(module: nn.Module) -> bool:
    inside = _inside(module)
    in_turn = type(module).forward is nn.Sequential.forward and not _weighs(module)
    return not inside or (in_turn and all(_is_chain(child) for _, child in inside))


def _links(chain: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of a chain as they run; one that is in it twice runs twice."""
    inside = _inside(chain)
    for _, child in inside:
        yield from _links(child)
    if not inside:
        yield chain


def _flow_of_chain(links: list[str]) -> CallGraph:
    calls, sources = CallGraph(), frozenset({INPUT})
    for name in links:
        sources = calls.call(name, sources)
    return calls


def _set_inputs(layers: list[Layer], parts: Mapping[str, nn.Module], flow: CallGraph) -> None:
    flow.set_inputs({layer.name: layer for layer in layers}, [name for name, part in parts.items() if not _weighs(part)])


def _runs_once(module: nn.Module) -> bool:
    """Whether a chain only runs its modules: each runs once, and no hook changes an output."""
    every = [part for _, part in module.named_modules(remove_duplicate=False)]
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in every)
    return len(every) == len(set(every)) and not hooked


def _layer(name: str, module: nn.Module) -> Layer:
    bases = [base for base in type(module).__mro__ if not base.__name__.startswith("Parametrized")]
    kind, settings = kind_and_settings(module, [base.__name__ for base in bases if base.__module__.startswith("torch.nn.")])
    return Layer(name, kind, bases[0].__name__, {**settings, **_normed(module)})


def _normed(module: nn.Module) -> dict[str, bool]:
    """Return the norm that computes the kernel from the stored tensors, by a parametrisation or, in old modules, by a hook."""
    makers = [type(held[0]).__name__ for held in getattr(module, "parametrizations", {}).values()]
    makers += [type(hook).__name__ for hook in module._forward_pre_hooks.values()]
    words = {"WeightNorm": "weight_norm", "SpectralNorm": "spectral_norm"}
    return {words[maker.lstrip("_")]: True for maker in makers if maker.lstrip("_") in words}


def _set_activations(model: nn.Module, layers: list[Layer]) -> None:
    """Set the activation of the first dense layer of each transformer layer, which applies it as a function."""
    by_name = {layer.name: layer for layer in layers}
    for name, part in model.named_modules():
        function = getattr(part, "activation", None)
        first = by_name.get(f"{name}.linear1".lstrip("."))
        named = getattr(function, "__name__", "")  # a module has none: it is a layer itself
        if isinstance(part, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)) and first and named in ("relu", "gelu"):
            first.settings["activation"] = named


def _in_order(layers: list[Layer], parts: Mapping[str, nn.Module], calls: Mapping[str, FirstCall]) -> list[Layer]:
    """Return the called layers in order, then those that were not called but have weights."""
    by_name = {layer.name: layer for layer in layers}
    for name, call in calls.items():
        by_name[name].input_shape, by_name[name].output_shape = call.input_shape, call.output_shape
    unused = [layer for layer in layers if layer.name not in calls and _weighs(parts[layer.name])]
    for layer in unused:
        layer.settings["unused"] = True
    return [by_name[name] for name in calls] + unused


def _followed(
    module: nn.Module, inputs: Sequence[torch.Tensor], names: Mapping[nn.Module, str]
) -> tuple[dict[str, FirstCall], CallGraph]:
    """Call the module, and return the first calls of its layers and the layers that feed each; none if it cannot be followed."""
    flow = TensorTracer(lambda item: isinstance(item, torch.Tensor))
    flow.given(inputs)
    inner = [part for part in names if not any(child in names for child in part.modules() if child is not part)]
    for part, name in names.items():
        whole = part in inner
        flow.held((*part.parameters(recurse=whole), *part.buffers(recurse=whole)), name)
    flow.held(item for part in module.modules() for item in vars(part).values() if isinstance(item, torch.Tensor))
    with suppress(Exception), _seen(flow, {part: names[part] for part in inner}):  # some functions do not run under another mode
        return _watched(module, inputs, names, keep=False)[1], flow.calls
    return _watched(module, inputs, names, keep=False)[1], CallGraph()


@contextmanager
def _seen(flow: TensorTracer, names: Mapping[nn.Module, str]) -> Iterator[None]:
    """Pass every function that runs to a tracer; the layers in `names` contain no other layers."""

    def before(part: nn.Module, args: object, kwargs: object) -> None:
        flow.entered(names[part], (args, kwargs))

    def after(part: nn.Module, args: object, output: object) -> object:
        return flow.left(output)

    def called(
        _: object,
        function: Callable[..., Output],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Output:
        return flow.called(function, args, kwargs or {})

    mode = TorchFunctionMode()
    mode.__torch_function__ = MethodType(called, mode)  # PyTorch requires a method of the mode itself
    with ExitStack() as hooks:
        for part in names:
            hooks.callback(part.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(part.register_forward_hook(after).remove)
        with mode:
            yield


def _watched(
    module: nn.Module, inputs: Sequence[torch.Tensor], names: Mapping[nn.Module, str], *, keep: bool
) -> tuple[Any, dict[str, FirstCall]]:
    """Call the module, and return its output and the first call of each layer, in the order of their beginnings."""
    calls: dict[str, FirstCall] = {}
    done = set()

    def before(part: nn.Module, args: object, kwargs: object) -> None:
        calls.setdefault(names[part], FirstCall(_shape(_first((args, kwargs)), part)))

    def after(part: nn.Module, args: object, kwargs: object, output: object) -> None:
        if part not in done:
            done.add(part)
            call, first = calls[names[part]], _first(output)
            call.output_shape = _shape(first, part)
            if keep and isinstance(first, torch.Tensor):
                call.output = _numpy(first.movedim(_batch_axis(part, first), 0))

    with ExitStack() as hooks:
        for part in names:
            hooks.callback(part.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(part.register_forward_hook(after, with_kwargs=True).remove)
        return module(*inputs), calls


def _run_double(module: nn.Module, names: Mapping[nn.Module, str], inputs: Sequence[Array]) -> Run:
    """Run a copy in float64, also for the tensors that the module creates during the run."""
    twin, parts = copy.deepcopy((module, list(names)))
    for part in parts:
        if isinstance(part, nn.RMSNorm) and part.eps is None:  # the default is that of the dtype, which the copy changes
            part.eps = kind_and_settings(part, ["RMSNorm"])[1]["epsilon"]
    twin.double()
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64)
        with _untouched(twin):
            return _run_once(twin, dict(zip(parts, names.values(), strict=True)), _tensors(twin, inputs, torch.float64))
    finally:
        torch.set_default_dtype(before)


def _run_once(module: nn.Module, names: Mapping[nn.Module, str], inputs: Sequence[torch.Tensor]) -> Run:
    output, calls = _watched(module, inputs, names, keep=True)
    given = {name: call.output for name, call in calls.items() if call.output is not None}
    tensors = [leaf.data if isinstance(leaf, PackedSequence) else leaf for leaf in _leaves(output)]
    return Run([_numpy(tensor) for tensor in tensors], given)


@contextmanager
def _untouched(module: nn.Module) -> Iterator[None]:
    """Run in inference mode and restore all state on exit: attributes, buffers, modes, random state."""
    before = [(part, dict(vars(part)), dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    buffers = [(buffer, buffer.clone(), buffer._version) for buffer in module.buffers()]
    devices = sorted({tensor.get_device() for tensor in (*module.parameters(), *module.buffers()) if tensor.is_cuda})
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # the fused path of transformers calls no modules
        for part in module.modules():
            part._compiled_call_impl = None
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
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


def _tensors(module: nn.Module, inputs: Sequence[Array], dtype: torch.dtype | None = None) -> list[torch.Tensor]:
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
    return None if tensor is None else _without_batch(tensor, part)


def _without_batch(tensor: torch.Tensor, part: nn.Module | None) -> Shape:
    batch = _batch_axis(part, tensor)
    return tuple(length for axis, length in enumerate(tensor.shape) if axis != batch)


def _batch_axis(part: nn.Module | None, tensor: torch.Tensor) -> int:
    second = isinstance(part, (nn.RNNBase, nn.MultiheadAttention)) and not part.batch_first and tensor.ndim > 2
    return 1 if second else 0


def _numpy(tensor: torch.Tensor) -> Array:
    """Copy a tensor into an array; short floats, which NumPy lacks, become float32."""
    tensor = (
        tensor.detach().to("cpu", copy=True).to_dense() if tensor.layout is not torch.strided else tensor.detach().cpu().clone()
    )
    array: Array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).resolve_conj().resolve_neg().numpy()
    return array
