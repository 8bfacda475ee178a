"""PyTorch: modules in the order in which they are called; without inputs in the order of definition.

A layer is a module that holds weights itself, or has no modules inside. Attention and its output projection are one
layer, as are all levels and directions of a recurrent layer. With inputs, functions such as `relu`, `+` and `cat` that run
outside of layers are layers too, named after the function (`relu`, `relu#2`), unless nothing depends on their results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from inspect import getattr_static
from types import MethodType
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from steelyard.core.dataflow import CallGraph, FirstCall, NetInput, flow_of_chain
from steelyard.core.graph import Graph, Layer, Run, argument_names, in_line, names_of_inputs
from steelyard.errors import NotFittedError, UnknownModelError, printable
from steelyard.frameworks.torch.dataflow import Output, TensorTracer
from steelyard.frameworks.torch.functions import word_of
from steelyard.frameworks.torch.runs import array_of, run_double, run_of, tensors_of, untouched, watched, without_batch
from steelyard.frameworks.torch.state import parts_of
from steelyard.frameworks.torch.steps import UsedSteps
from steelyard.layers.torch.kinds import IMAGES, kind_and_settings
from steelyard.layers.torch.shapes import set_shapes

if TYPE_CHECKING:
    from steelyard.core.weight import Array

_WRAPPERS = ("_orig_mod", "module")
"""The attributes under which `torch.compile` and parallel wrappers keep the model; they are prefixes of its weights' names."""


def graph(model: nn.Module, inputs: Sequence[Array] | None, without: Collection[str] | None = None) -> Graph:
    """Return the layers of a module.

    With inputs it is run once in inference mode, for the order and the shapes. Layers with weights that were not called
    come last, with `unused` in their settings. Without inputs the order is that of definition; for a `Sequential` of
    layers that is the order of execution too. With `without`, each part that a function such as `chunk` returns is a layer,
    and the modules that it names are not, but the functions that they call are, each time. Raises `NotFittedError` for lazy
    modules.
    """
    parts = {name: part for name, part in _parts(_checked(model)) if name not in (without or ())}
    layers = [_layer(name, part) for name, part in parts.items()]
    channels = "first" if any(layer.kind in IMAGES for layer in layers) else ""
    prefix, inner = _unwrapped(model)
    names = {part: name for name, part in parts.items()}
    if inputs is None:
        _set_activations(model, layers)
        return _unrun(inner, layers, parts, names, channels)
    _check_runs(model)
    with untouched(inner):
        given = tensors_of(inner, inputs)
        followed = _followed(inner, given, names, prefix, _reserved(model, names), keep=False, parts=without is not None)
    if not followed.functions:  # else they are layers of their own
        _set_activations(model, layers)
    layers = _in_order(layers, parts, followed)
    input_names = names_of_inputs(argument_names(inner.forward, len(given)), [layer.name for layer in layers])
    _set_inputs(layers, parts, followed.flow, input_names)
    shapes = tuple(without_batch(tensor, parts.get(prefix)) for tensor in given)
    chain = followed.gives and in_line(layers, input_names) and _unhooked(inner) and all(map(_is_known, layers))
    return Graph(
        layers,
        is_execution_order=True,
        channels=channels,
        input_names=input_names,
        input_shapes=shapes,
        output_names=(followed.gives,) if followed.gives else None,
        is_sequential=bool(chain and followed.gives == layers[-1].name),
    )


def _unrun(
    inner: nn.Module, layers: list[Layer], parts: Mapping[str, nn.Module], names: Mapping[nn.Module, str], channels: str
) -> Graph:
    """Return the graph of a module that is not run."""
    is_chain = _is_chain(inner)
    input_names = names_of_inputs(argument_names(inner.forward, 1), parts) if is_chain else ()
    chain = is_chain and _runs_once(inner)
    if is_chain:
        _set_inputs(layers, parts, flow_of_chain([names[part] for part in _links(inner)]), input_names)
    if chain:
        set_shapes([(layer, _own(parts[layer.name])) for layer in layers])
    return Graph(layers, is_execution_order=is_chain, channels=channels, input_names=input_names, is_sequential=chain)


def _own(module: nn.Module) -> nn.Module | None:
    """Return a module of a class of PyTorch; None for any other, whose method may do anything."""
    return module if type(module).__module__.startswith("torch.nn.modules.") else None


def _is_known(layer: Layer) -> bool:
    return layer.kind != "other" or layer.class_name == "Identity"


def run(model: nn.Module, inputs: Sequence[Array], without: Collection[str] | None = None) -> Run:
    """Run a copy in float64; a module that cannot be copied or requires its own dtype runs unchanged.

    The dtype of the arrays shows which of them ran. Integers stay integers. The outputs of layers have the batch
    axis first, even if a recurrent layer or an attention has it second. The functions that `graph` lists as layers are among
    them, unless the module does not run while its functions are watched. `without` is that of `graph`.
    """
    parts = {part: name for name, part in _parts(_checked(model)) if name not in (without or ())}
    _check_runs(model)
    prefix, inner = _unwrapped(model)
    reserved = _reserved(model, parts)

    def once(module: nn.Module, names: Mapping[nn.Module, str], given: Sequence[torch.Tensor]) -> Run:
        followed = _followed(module, given, names, prefix, reserved, keep=True, parts=without is not None)
        return run_of(followed.output, followed.calls)

    with suppress(Exception):  # a module may not allow a copy or another dtype; then it runs unchanged
        return run_double(inner, parts, inputs, once)
    with untouched(inner):
        return once(inner, parts, tensors_of(inner, inputs))


def _reserved(model: nn.Module, names: Mapping[nn.Module, str]) -> set[str]:
    """Return the names that no function may have."""
    return {name.rpartition(".")[2] for name, _ in model.named_modules()} | set(names.values())


def _checked(model: object) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise UnknownModelError(f"a torch {printable(type(model).__name__)} has no layers; pass a module")
    for part in parts_of(model):
        if type(part.module).__hash__ is None:
            raise UnknownModelError(f"a {printable(type(part.module).__name__)} cannot be hashed, so its layers are not known")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if type(tensor) in (nn.UninitializedParameter, nn.UninitializedBuffer):
            raise NotFittedError(f"{printable(name)} is lazy and has no shape yet; run one batch through the model first")
    return model


def _check_runs(model: nn.Module) -> None:
    if any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        raise UnknownModelError(
            "a scripted or traced module cannot be watched while it runs; pass the module that it was made of"
        )


def _unwrapped(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the model inside wrappers, and the prefix of its names."""
    names = []
    while (
        name := next((key for key in _WRAPPERS if [*model._modules.keys()] == [key] and _is_wrapper(model)), None)
    ) is not None:
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
    in_turn = getattr_static(type(module), "forward", None) is nn.Sequential.forward and not _weighs(module)
    return not inside or (in_turn and all(_is_chain(child) for _, child in inside))


def _links(chain: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of a chain as they run; one that is in it twice runs twice."""
    inside = _inside(chain)
    for _, child in inside:
        yield from _links(child)
    if not inside:
        yield chain


def _set_inputs(layers: list[Layer], parts: Mapping[str, nn.Module], flow: CallGraph, input_names: Sequence[str]) -> None:
    weightless = [name for name, part in parts.items() if not _weighs(part)]
    flow.set_inputs({layer.name: layer for layer in layers}, weightless, input_names)


def _runs_once(module: nn.Module) -> bool:
    """Whether a chain only runs its modules: each runs once, and no hook changes an output."""
    every = [part for _, part in module.named_modules(remove_duplicate=False)]
    return len(every) == len(set(every)) and _unhooked(module)


def _unhooked(module: nn.Module) -> bool:
    return not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def _layer(name: str, module: nn.Module) -> Layer:
    bases = [base for base in type(module).__mro__ if not base.__name__.startswith("Parametrized")]
    kind, settings = kind_and_settings(module, [base.__name__ for base in bases if base.__module__.startswith("torch.nn.")])
    own = module.original_name if isinstance(module, torch.jit.ScriptModule) else bases[0].__name__
    return Layer(name, kind, own, {**settings, **_normed(module)})


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


class _Followed(NamedTuple):
    """One run: the first calls of layers in order, the layers that feed each, and the functions among them.

    `output` is that of the net. `applied` are the functions that apply the weights of layers outside their calls, `gives` is the
    layer whose output is the only one of the net, blank if it is not known. `returns` are the steps that the net uses of
    recurrent layers.
    """

    output: object
    calls: dict[str, FirstCall]
    flow: CallGraph
    functions: Mapping[str, Layer]
    applied: Mapping[str, list[Layer]]
    gives: str
    returns: Mapping[str, str]


def _in_order(layers: list[Layer], parts: Mapping[str, nn.Module], followed: _Followed) -> list[Layer]:
    """Return the called layers in order, then those that were not called but have weights."""
    by_name = {layer.name: layer for layer in layers}
    calls = followed.calls
    for name, call in calls.items():
        if name in by_name:
            by_name[name].input_shape, by_name[name].output_shape = call.input_shape, call.output_shape
    for name, functions in followed.applied.items():
        if len(functions) == 1 and calls[name].output_shape is None:
            _set_applied(by_name[name], functions[0])
    for name, word in followed.returns.items():
        by_name[name].settings["returns"] = word
    unused = [layer for layer in layers if layer.name not in calls and _weighs(parts[layer.name])]
    for layer in unused:
        layer.settings["unused"] = True
    by_name |= followed.functions
    return [by_name[name] for name in calls] + unused


def _set_applied(layer: Layer, function: Layer) -> None:
    """Describe a layer that is not called by the only function that applies its weights."""
    layer.input_shape, layer.output_shape = function.input_shape, function.output_shape
    if layer.kind == "other" and function.kind != "other":
        layer.kind, layer.class_name = function.kind, function.class_name
        layer.settings |= function.settings


def _followed(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    names: Mapping[nn.Module, str],
    prefix: str,
    reserved: Iterable[str],
    *,
    keep: bool,
    parts: bool = False,
) -> _Followed:
    """Call the module, and return what was seen; no data flow if it cannot be followed.

    With `keep`, layers keep their output; with `parts`, each part that a function splits off is listed.
    """
    calls: dict[str, FirstCall] = {}

    def on_called(name: str, made: torch.Tensor | None) -> None:
        call = calls.setdefault(name, FirstCall(None))
        call.output = array_of(made) if keep and made is not None else call.output

    flow, steps = TensorTracer(_is_tensor, prefix, reserved, on_called, lists_parts=parts), UsedSteps()
    flow.given(inputs)
    # a layer with weights of its own may contain other layers: only the innermost are followed as a whole
    inner = [part for part in names if not any(child in names for child in part.modules() if child is not part)]
    for part, name in names.items():
        whole = part in inner
        flow.held((*part.parameters(recurse=whole), *part.buffers(recurse=whole)), name)
    for name, tensor in (*module.named_parameters(), *module.named_buffers()) if parts else ():
        flow.constant(f"{prefix}.{name}".lstrip("."), tensor)
    # tensors that are plain attributes are constants of the net, not inputs
    flow.held(item for part in module.modules() for item in vars(part).values() if isinstance(item, torch.Tensor))
    with suppress(Exception):  # some functions do not run under another mode
        with _seen(flow, steps, {part: names[part] for part in inner}):
            output, _ = watched(module, inputs, names, keep=keep, calls=calls)
        steps.taken(output)
        ends = flow.sources_of(output)
        needed = flow.calls.needed(ends, flow.functions)
        kept = {name: call for name, call in calls.items() if name not in flow.functions or name in needed}
        only = ends[0] if isinstance(output, torch.Tensor) and len(ends) == 1 else None
        gives = str(only[0]) if isinstance(only, tuple) and not isinstance(only, NetInput) else ""
        return _Followed(output, kept, flow.calls, flow.functions, flow.applied, gives, steps.known())
    return _Followed(*watched(module, inputs, names, keep=keep), CallGraph(), {}, {}, "", {})


def _is_tensor(item: object) -> bool:
    return isinstance(item, torch.Tensor)


@contextmanager
def _seen(flow: TensorTracer, steps: UsedSteps, names: Mapping[nn.Module, str]) -> Iterator[None]:
    """Pass every function that runs to both; the layers in `names` contain no other layers."""

    def before(part: nn.Module, args: object, kwargs: object) -> None:
        steps.taken((args, kwargs))
        flow.entered(names[part], (args, kwargs))

    def after(part: nn.Module, args: object, output: object) -> object:
        steps.returned(names[part], part, output)
        return flow.left(output)

    def called(
        _: object,
        function: Callable[..., Output],
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> Output:
        output = flow.called(function, args, kwargs or {})
        if not flow.is_inside:
            steps.called(word_of(function), args, kwargs or {}, output)
        return output

    mode = TorchFunctionMode()
    mode.__torch_function__ = MethodType(called, mode)  # PyTorch requires a method of the mode itself
    with ExitStack() as hooks:
        for part in names:
            hooks.callback(part.register_forward_pre_hook(before, with_kwargs=True).remove)
            hooks.callback(part.register_forward_hook(after).remove)
        with mode:
            yield
