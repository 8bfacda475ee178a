"""The steps of layers without weights: activations, pools, merges, and changes of shape."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from steelyard.device.program.activations import CURVES, SETTINGS, Activation
from steelyard.device.program.building import Node, integers, refuse
from steelyard.device.program.elementary import ELEMENTARY, with_number
from steelyard.device.program.norms import Softmax
from steelyard.device.program.operators.layers import Windows, rounded_up
from steelyard.device.program.resampling import coordinates, cubic, linear, means, nearest, sampled
from steelyard.device.program.sequences import dot_product_attention, masked, product
from steelyard.device.program.shaping import Combine, Concatenate, Permute, Reshape, Select
from steelyard.device.program.weighted import around, known_channels
from steelyard.device.program.windows import GlobalPool, Pad, Pool

if TYPE_CHECKING:
    from steelyard.core.graph import Setting
    from steelyard.device.program.resampling import Axis

_COMBINED = {
    "add": "add",
    **dict.fromkeys(("subtract", "sub", "rsub"), "subtract"),
    **dict.fromkeys(("multiply", "mul"), "multiply"),
    **dict.fromkeys(("divide", "div", "rdiv", "rtruediv"), "divide"),
    **dict.fromkeys(("maximum", "max"), "maximum"),
    **dict.fromkeys(("minimum", "min"), "minimum"),
    "average": "average",
}
SPLITTING = ("split", "chunk", "tensor_split", "unbind")
"""Functions of PyTorch that return several parts of a tensor."""
_PAD_MODES = {"Reflection": "reflect", "Replication": "edge", "Circular": "wrap"}
"""The beginnings of the names of PyTorch's modules that pad with numbers of their input, and the modes of `Pad`."""
_OF_SEQUENCES = {
    "scaled_dot_product_attention": dot_product_attention,
    "matmul": product,
    "bmm": product,
    "masked_fill": masked,
}
_JOINED = ("concatenate", "cat", "concat")


def activation(node: Node) -> int:
    """Add an activation."""
    word = str(node.layer.settings.get("activation") or "linear")
    if word == "glu":
        return _gated(node)
    known = SETTINGS.get(word, {}) if word in CURVES else {}
    node.only("activation", *known, *(("highest",) if word == "relu" else ()))
    return node.building.activate(node.layer, node.input)


def _gated(node: Node) -> int:
    """Add a gated linear unit: the first half along an axis times the sigmoid of the second."""
    node.only("activation", "axis")
    axis, shape = node.building.axis(node.layer, node.layer.settings.get("axis", -1), node.input), node.shape
    half = shape[axis - 1] // 2
    node.fits(2 * half, shape[axis - 1], "places along its axis")
    before = [slice(0, length, 1) for length in shape[: axis - 1]]
    after = [slice(0, length, 1) for length in shape[axis:]]
    halves = (slice(0, half, 1), slice(half, 2 * half, 1))
    first, second = (node.add(Select((*before, each, *after)), node.input) for each in halves)
    return node.add(Combine("multiply"), first, node.add(Activation("sigmoid", {}), second))


def softmax(node: Node) -> int:
    """Add a softmax along an axis."""
    node.only("activation", "axis")
    word = str(node.layer.settings.get("activation") or "softmax")
    if word not in ("softmax", "log_softmax") or "axis" not in node.layer.settings:
        refuse(node.layer, "has a softmax whose axis is not known" if word != "softmin" else "is a softmin, which is not known")
    axis = node.building.axis(node.layer, node.layer.settings["axis"], node.input)
    return node.add(Softmax(word, axis), node.input)


def passed(node: Node) -> int:
    """Return the input: the layer does nothing at inference."""
    return node.input


def flatten(node: Node) -> int:
    """Add a reshape to one axis, or of some axes to one."""
    node.only("axes", "data_format")
    shape, settings = node.shape, node.layer.settings
    if settings.get("data_format") == "channels_first" and len(shape) > 1:
        refuse(node.layer, "flattens with the channels moved to the end, which is not known")
    start, end = integers(node.layer, settings.get("axes"), 2) if "axes" in settings else (1, -1)
    start, end = (node.building.axis(node.layer, axis, node.input) for axis in (start, end))
    merged = (*shape[: start - 1], prod(shape[start - 1 : end]), *shape[end:])
    return node.input if merged == shape else node.add(Reshape(merged), node.input)


def reshape(node: Node) -> int:
    """Add a reshape, or another order of the axes."""
    node.only("shape", "newshape", "axes", "axis")
    settings, shape = node.layer.settings, node.shape
    if "axes" in settings:
        axes = integers(node.layer, settings["axes"], len(shape))
        if sorted(axes) != list(range(1, len(shape) + 1)):
            refuse(node.layer, f"has the order of axes {axes} for an input of shape {shape}")
        return node.add(Permute(axes), node.input)
    target = settings.get("shape")
    if not isinstance(target, tuple) or not all(isinstance(length, int) for length in target):
        refuse(node.layer, "has a shape that is not known")
    if "axis" in settings:  # one axis becomes several
        axis = node.building.axis(node.layer, settings["axis"], node.input)
        target = (*shape[: axis - 1], *_completed(target, shape[axis - 1]), *shape[axis:])
    return node.add(Reshape(_completed(target, prod(shape))), node.input)


def _completed(shape: tuple[Setting, ...], count: int) -> tuple[int, ...]:
    """Return a shape with the length that is -1 computed."""
    lengths = [length for length in shape if isinstance(length, int)]
    rest = prod(length for length in lengths if length != -1)
    return tuple(count // max(rest, 1) if length == -1 else length for length in lengths)


def pool(node: Node) -> int:
    """Add a pool over windows."""
    node.only("pool", "size", "strides", "padding", "count_padding", "dilation", "output_size", "data_format", "round_up")
    settings, rank, channels = node.layer.settings, node.rank, known_channels(node)
    word = str(settings.get("pool"))
    if word not in ("max", "average"):
        refuse(node.layer, f"is a pool of the kind {printable_word(word)}, which is not known")
    space = node.shape[1:] if channels == "first" else node.shape[:-1]
    if "output_size" in settings:
        sizes = _exact(node, space)
        if sizes is None:
            return _means(node, space)
        return node.add(Pool(word, sizes, sizes, ((0, 0),) * rank, (1,) * rank, True, channels), node.input)
    size = integers(node.layer, settings.get("size"), rank)
    strides = integers(node.layer, settings.get("strides"), rank) if settings.get("strides") is not None else size
    dilation = integers(node.layer, settings.get("dilation"), rank, 1)
    windows = zip(space, size, strides, dilation, strict=True)
    padding = tuple(around(node, settings.get("padding"), axis, *each) for axis, each in enumerate(windows))
    counts = bool(settings.get("count_padding", word == "max"))
    if word == "average" and "count_padding" not in settings and any(map(any, padding)):
        refuse(node.layer, "averages over padding, of which it is not known whether it counts")
    place = node.input
    if settings.get("round_up"):
        beyond = rounded_up(space, Windows(size, strides, padding, dilation))
        if any(beyond) and word == "average" and counts and any(map(any, padding)):  # the padding counts as the image does
            place, padding = node.add(Pad(_around_space(padding, channels), 0.0), place), ((0, 0),) * rank
        counts = counts and not (any(beyond) and word == "average")
        padding = tuple((before, after + more) for (before, after), more in zip(padding, beyond, strict=True))
    return node.add(Pool(word, size, strides, padding, dilation, counts, channels), place)


def _around_space(padding: tuple[tuple[int, int], ...], channels: str) -> tuple[tuple[int, int], ...]:
    return ((0, 0), *padding) if channels == "first" else (*padding, (0, 0))


def _means(node: Node, space: tuple[int, ...]) -> int:
    """Add an adaptive average pool whose windows differ in size."""
    lengths = _lengths(node, space)
    return _resampled(node, [means(length, made) for length, made in zip(space, lengths, strict=True)], space)


def _resampled(node: Node, axes: list[Axis], space: tuple[int, ...]) -> int:
    place = node.input
    for operation in sampled(axes, space, known_channels(node)):
        place = node.add(operation, place)
    return place


def _lengths(node: Node, space: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths that an adaptive pool makes."""
    given = node.layer.settings["output_size"]
    wanted = given if isinstance(given, tuple) and len(given) == len(space) else (given,) * len(space)
    lengths = [length if want is None else want for want, length in zip(wanted, space, strict=True)]
    if not all(isinstance(want, int) and want > 0 for want in lengths):
        refuse(node.layer, f"pools {space} places into {given}")
    return tuple(want for want in lengths if isinstance(want, int))


def _exact(node: Node, space: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the windows of an adaptive pool where all have one size; None for an average over others."""
    lengths = _lengths(node, space)
    if any(length % want for want, length in zip(lengths, space, strict=True)):
        if node.layer.settings["pool"] == "average":
            return None
        refuse(node.layer, f"pools {space} places into {lengths}, whose windows differ in size")
    return tuple(length // want for want, length in zip(lengths, space, strict=True))


def global_pool(node: Node) -> int:
    """Add a pool over all places of each channel."""
    node.only("pool", "output_size", "data_format")
    word, channels = str(node.layer.settings.get("pool")), known_channels(node)
    if word not in ("max", "average"):
        refuse(node.layer, f"is a pool of the kind {printable_word(word)}, which is not known")
    made, keeps = node.layer.output_shape, node.layer.class_name.startswith("Adaptive")
    if made is None and not keeps:
        refuse(node.layer, "has an output of which it is not known whether it keeps its spatial axes")
    return node.add(GlobalPool(word, keeps if made is None else len(made) > 1, channels), node.input)


def pad(node: Node) -> int:
    """Add places around an image, as PyTorch (the last axis first) or Keras (each axis in turn) states them."""
    node.only("padding", "value", "mode")
    settings, name = node.layer.settings, node.layer.class_name
    word = str(settings.get("mode") or next((word for word in _PAD_MODES if name.startswith(word)), "constant"))
    if word not in (*_PAD_MODES, *_PAD_MODES.values(), "constant", "replicate", "circular"):
        refuse(node.layer, f"pads by {printable_word(word)}, which is not known")
    mode = _PAD_MODES.get(word, {"replicate": "edge", "circular": "wrap"}.get(word, word))
    given, value = settings.get("padding"), settings.get("value", 0)
    flat = [each for part in given for each in (part if isinstance(part, tuple) else (part,))] if isinstance(given, tuple) else []
    if len(flat) % 2 or not flat or not all(isinstance(each, int) and each >= 0 for each in flat):
        refuse(node.layer, f"has the padding {given}, which is not known")
    pairs = [(int(flat[at]), int(flat[at + 1])) for at in range(0, len(flat), 2)]  # type: ignore[arg-type]
    rest = len(node.shape) - len(pairs)
    if name.startswith("ZeroPadding"):
        channels = known_channels(node)
        padding = [(0, 0), *pairs] if channels == "first" else [*pairs, (0, 0)]
    else:
        padding = [*[(0, 0)] * rest, *reversed(pairs)]
    if rest < 0 or len(padding) != len(node.shape) or not isinstance(value, (int, float)):
        refuse(node.layer, f"has the padding {given} for an input of shape {node.shape}")
    return node.add(Pad(tuple(padding), float(value), mode), node.input)


def upsample(node: Node) -> int:
    """Add an image in another size."""
    node.only("scale", "size", "interpolation", "align_corners", "data_format")
    settings, channels = node.layer.settings, known_channels(node)
    space = node.shape[1:] if channels == "first" else node.shape[:-1]
    word = str(settings.get("interpolation") or "nearest")
    given = settings.get("scale") if settings.get("scale") is not None else settings.get("size")
    each = given if isinstance(given, tuple) else (given,) * node.rank
    numbers = [float(number) for number in each if isinstance(number, (int, float)) and number > 0]
    if len(numbers) != node.rank:
        refuse(node.layer, f"scales by {given}, which is not a number for each axis")
    is_scale = settings.get("scale") is not None
    sizes = [int(length * number) if is_scale else int(number) for length, number in zip(space, numbers, strict=True)]
    scales = numbers if is_scale else [made / length for made, length in zip(sizes, space, strict=True)]
    mode = "align_corners" if settings.get("align_corners") else "asymmetric" if word == "nearest" else "half_pixel"
    axes = []
    for length, made, scale in zip(space, sizes, scales, strict=True):
        where = coordinates(length, made, scale, mode)
        if word == "nearest":
            axes.append(nearest(where, length, "floor"))
        elif word in ("linear", "bilinear", "trilinear"):
            axes.append(linear(where, length))
        elif word == "bicubic" and channels == "first":  # that of Keras has another curve, and other ends
            axes.append(cubic(where, length, -0.75))
        else:
            refuse(node.layer, f"interpolates by {printable_word(word)}, which is not known")
    return _resampled(node, axes, space)


def merge(node: Node) -> int:
    """Add a combination of several inputs in their order."""
    word = str(node.layer.settings.get("merge") or node.layer.class_name).lower()
    if len(node.inputs) == 1 and "value" in node.layer.settings and word in _COMBINED:
        return with_number(node, _COMBINED[word])
    node.only("merge", "axis")
    if len(node.inputs) < 2:
        refuse(node.layer, "combines its input with numbers that are not layers' outputs")
    inputs = _aligned(node)
    if word in _JOINED:
        axis = node.building.axis(node.layer, node.layer.settings.get("axis", -1), inputs[0])
        return node.add(Concatenate(axis), *inputs)
    if word not in _COMBINED or "axis" in node.layer.settings:
        refuse(node.layer, f"combines its inputs by {printable_word(word)}, which is not known")
    return node.add(Combine(_COMBINED[word]), *inputs)


def _aligned(node: Node) -> list[int]:
    """Return the inputs of a merge with the same number of axes; a constant may lack the first ones."""
    shapes = node.building.shapes
    constant = {place for place in node.inputs if node.building.is_constant(place)}
    ranks = {len(shapes[place]) for place in node.inputs if place not in constant}
    rank = max(ranks, default=0)
    if len(ranks) != 1 or any(len(shapes[place]) > rank for place in constant):
        refuse(node.layer, "combines inputs with different numbers of axes")
    whole = [(1,) * (rank - len(shapes[place])) + shapes[place] for place in node.inputs]
    pairs = zip(node.inputs, whole, strict=True)
    return [place if shapes[place] == shape else node.add(Reshape(shape), place) for place, shape in pairs]


def other(node: Node) -> int:
    """Add a function that is known by its name: a selection, or an operation with one number."""
    word, settings = node.layer.class_name, node.layer.settings
    if word in ("Identity", "identity", "linear"):
        return node.input
    if word in _OF_SEQUENCES:
        return _OF_SEQUENCES[word](node)
    if word in ELEMENTARY:
        return ELEMENTARY[word](node)
    if word == "getitem" or (word in SPLITTING and "index" in settings):
        node.only("index")
        return _selected(node)
    value = settings.get("value")
    if _COMBINED.get(word) in ("add", "subtract", "multiply", "divide") and isinstance(value, (int, float)):
        if "value_first" not in settings:
            node.assume("the number comes after the input")
        return with_number(node, _COMBINED[word])
    return refuse(node.layer, "is not known")


def _selected(node: Node) -> int:
    """Add a selection, whose index has a part for each axis: a number, a range, or an ellipsis for several whole axes."""
    given = node.layer.settings.get("index")
    parts = list(given) if isinstance(given, tuple) else [given]
    count = len(node.shape) + 1
    at = parts.index("...") if "..." in parts else len(parts)
    rest = parts[at + 1 :]
    parts = [*parts[:at], *[":"] * (count - at - len(rest)), *rest]
    if len(parts) != count or parts[0] != ":":
        refuse(node.layer, f"selects {given} of {count} axes, the examples first; only whole examples are known")
    index = tuple(_part(node, part, length) for part, length in zip(parts[1:], node.shape, strict=True))
    node.assume("it selects from the first output of the layer before")
    return node.add(Select(index), node.input)


def _part(node: Node, part: Setting, length: int) -> int | slice:
    if isinstance(part, int) and not isinstance(part, bool) and -length <= part < length:
        return part % length
    numbers = part.split(":") if isinstance(part, str) else []
    if len(numbers) not in (2, 3) or not all(not each or each.lstrip("-").isdecimal() for each in numbers):
        refuse(node.layer, f"selects {part} of an axis of length {length}, which is not known")
    start, stop, step = slice(*(int(each) if each else None for each in numbers)).indices(length)
    if step < 1:
        refuse(node.layer, "selects backwards, which is not known")
    return slice(start, stop, step)


def printable_word(word: object) -> str:
    """Return a word of a file for a message."""
    from steelyard.errors import quoted

    return quoted(word)
