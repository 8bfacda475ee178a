"""The functions of JAX, NumPy's and Flax's that a trace shows outside of layers, as layers: a name, a kind and settings.

JAX traces a function into its operations. Those of one call, such as `jax.nn.gelu(x)`, follow one another and have the same
callers; the same operation at the same place a second time belongs to the next call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from steelyard.core.graph import Layer
from steelyard.layers.jax.kinds import WORDS

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn

    from steelyard.core.graph import Settings, Shape

_FILES = ("/jax/_src/nn/functions.py", "/jax/_src/numpy/", "/flax/linen/pooling.py")
"""The files of functions that are layers; their other functions, such as operators, begin with an underscore."""
_TRACED = frozenset({"jit", "pjit", "custom_jvp_call", "custom_vjp_call", "closed_call", "core_call", "remat", "checkpoint"})
"""Operations that run another trace once, on their own operands."""
PASSING = frozenset(
    {"convert_element_type", "copy", "copy_p", "stop_gradient", "sharding_constraint", "broadcast_in_dim", "device_put"}
)
"""Operations that change neither the numbers nor their order."""
_OWN_WORDS = {
    "rewriting_take": "getitem",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "max": "maximum",
}
_MERGES = frozenset({"add", "sub", "mul", "div", "maximum", "minimum"})
_POOLS = frozenset({"max_pool", "avg_pool"})
_JOINS = frozenset({"concatenate", "stack", "hstack", "vstack", "append"})
_RESHAPES = frozenset({"reshape", "ravel", "squeeze", "expand_dims", "atleast_2d"})
_ACTIVATIONS = frozenset(
    {
        *("relu", "relu6", "sigmoid", "softplus", "soft_sign", "silu", "gelu", "elu", "selu", "celu", "leaky_relu", "hard_tanh"),
        *("hard_sigmoid", "hard_silu", "mish", "log_sigmoid", "tanh", "exp", "swish", "hard_swish", "logistic", "identity"),
    }
)


Frames = tuple[tuple[object, int], ...]
"""The code and the instruction of each frame."""


class CallSite(NamedTuple):
    """The function that made an operation, the operation and its place in it, and the function's callers."""

    word: str
    place: tuple[str, Frames]
    callers: Frames


def call_site(equation: JaxprEqn) -> CallSite | None:
    """Return the outermost function of a library that made an operation; None if it is not one of those that are layers."""
    traceback = getattr(getattr(equation, "source_info", None), "traceback", None)
    if traceback is None:
        return None
    frames, (codes, places) = traceback.frames, traceback.raw_frames()
    listed = [
        nth
        for nth, frame in enumerate(frames)
        if any(each in frame.file_name.replace("\\", "/") for each in _FILES) and frame.function_name.isidentifier()
    ]
    public = [nth for nth in listed if not frames[nth].function_name.startswith("_")]
    if not public:
        return None
    every = tuple(zip(codes, places, strict=True))
    last = public[-1] + 1
    return CallSite(frames[last - 1].function_name, (equation.primitive.name, every[:last]), every[last:])


def traced_inside(equation: JaxprEqn) -> Jaxpr | None:
    """Return the trace that an operation runs, if their inputs and outputs are the same."""
    for held in equation.params.values():
        jaxpr = getattr(held, "jaxpr", held)
        if hasattr(jaxpr, "eqns") and len(jaxpr.invars) == len(equation.invars) and len(jaxpr.outvars) == len(equation.outvars):
            return jaxpr
    return None


def is_plain_call(equation: JaxprEqn) -> bool:
    """Whether an operation runs its trace once, unlike a loop or a branch."""
    return equation.primitive.name in _TRACED


def library_call(equation: JaxprEqn) -> str:
    """Return the name of a compiled function of a library, such as `relu`; blank for a user's."""
    for inner in _all_equations(equation):
        site = call_site(inner)
        if site is not None:
            return site.word
    return ""


def _all_equations(equation: JaxprEqn) -> Iterator[JaxprEqn]:
    inner = traced_inside(equation)
    for each in inner.eqns if inner is not None else ():
        yield each
        yield from _all_equations(each)


def as_layer(name: str, word: str, equation: JaxprEqn, data: Sequence[Any], batched: int) -> Layer:
    """Return a function as a layer. `data` are its operands that come from the inputs of the net."""
    word = _OWN_WORDS.get(word, word)
    before, after = (tuple(each.aval.shape) for each in (data[0], equation.outvars[0]))
    kind, settings = _described(word, equation, data, (before, after), batched)
    return Layer(name, kind, word, settings, _own(before, batched), _own(after, batched))


def update(layer: Layer, equation: JaxprEqn, batched: int) -> None:
    """Take a further operation of the same call into account: the last one makes the output."""
    layer.output_shape = _own(tuple(equation.outvars[0].aval.shape), batched)
    if layer.class_name == "gelu" and equation.primitive.name in ("erf", "erfc"):
        layer.settings["activation"] = "gelu"
    if layer.class_name in _RESHAPES:
        layer.kind, layer.settings = "reshape", {"shape": layer.output_shape}
    if layer.kind == "other" and not layer.settings:
        layer.settings = _axes(equation.params)


def _own(shape: tuple[int, ...], batched: int) -> Shape:
    return shape[batched:]


def _described(
    word: str, equation: JaxprEqn, data: Sequence[Any], shapes: tuple[tuple[int, ...], tuple[int, ...]], batched: int
) -> tuple[str, Settings]:
    """Return the kind and the settings of a function by its word and its first operation."""
    params = equation.params
    if word in _MERGES:
        return ("merge", {}) if len(data) > 1 else ("other", _value(equation))
    if word in _JOINS:
        return "merge", {"axis": int(params["dimension"])} if "dimension" in params else {}
    if word in _RESHAPES:
        return _reshaped(*shapes, batched)
    if "permutation" in params:
        return "reshape", _transposed(params["permutation"], batched)
    if word in _POOLS and "window_dimensions" in params:
        return "pool", _pool(word, params)
    return _activation(word, equation) or ("other", _axes(params))


def _activation(word: str, equation: JaxprEqn) -> tuple[str, Settings] | None:
    """Return the kind and the settings of an activation; None for any other function."""
    if word in ("softmax", "log_softmax"):
        return "softmax", {"activation": word}
    if word not in _ACTIVATIONS:
        return None
    activation = {"gelu": "gelu_tanh", "exp": "exponential", "logistic": "sigmoid"}.get(word, WORDS.get(word, word))
    return "activation", {"activation": activation, **_factor(word, equation)}


def _axes(params: Any) -> Settings:
    return {"axis": tuple(int(axis) for axis in params["axes"])} if "axes" in params else {}


def _transposed(permutation: Sequence[int], batched: int) -> Settings:
    """Return the new order of the axes, counted from 1, the first after the batch."""
    order = tuple(int(axis) + 1 - batched for axis in permutation)
    kept = order[:batched] == tuple(range(1 - batched, 1))
    return {"axes": order[batched:]} if kept else {"axes": order, "mixes_batch": True}


def _factor(word: str, equation: JaxprEqn) -> Settings:
    """Return the factor of an activation that has one: a number among its operands, or by which it multiplies inside."""
    setting = {"leaky_relu": "negative_slope", "elu": "alpha", "celu": "alpha"}.get(word)
    products = (each for each in _all_equations(equation) if each.primitive.name == "mul")
    factor = next((value for each in (equation, *products) if (value := _value(each))), {})
    return {setting: float(f"{factor['value']:.7g}")} if setting and factor else {}


def _value(equation: JaxprEqn) -> Settings:
    """Return the number with which an operation combines data, if it is written in the code."""
    held = [each.val for each in equation.invars if hasattr(each, "val")]
    return {"value": float(held[0])} if held and getattr(held[0], "ndim", 0) == 0 else {}


def _reshaped(before: tuple[int, ...], after: tuple[int, ...], batched: int) -> tuple[str, Settings]:
    own, made = before[batched:], after[batched:]
    if before[:batched] != after[:batched]:
        return "reshape", {"shape": after, "mixes_batch": True}
    return ("flatten", {}) if made == (prod(own),) else ("reshape", {"shape": made})


def _pool(word: str, params: Any) -> Settings:
    """Return the settings of a pool, whose window has an axis for the batch and the channels too."""
    size, steps = tuple(params["window_dimensions"][1:-1]), tuple(params["window_strides"][1:-1])
    pads = tuple(tuple(map(int, each)) for each in params["padding"][1:-1])
    settings: Settings = {"pool": "max" if word == "max_pool" else "average", "size": size, "strides": steps}
    return {**settings, "padding": pads if any(map(any, pads)) else "valid"}
