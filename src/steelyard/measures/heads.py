"""The heads of an attention layer: the parts of its kernels for queries, keys, values and the output, head by head."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steelyard import sizes
from steelyard.codecs.quantization_config import json_beside
from steelyard.core.effective import Pieces
from steelyard.core.weight import Role, Weight
from steelyard.errors import AmbiguityError, ShapeError, printable
from steelyard.io import weights
from steelyard.numerics.matrices import as_float64
from steelyard.numerics.picture import Drawing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from steelyard.core.weight import Array
    from steelyard.core.weights import Weights

ALONG, ACROSS = 32, 64
"""The most cells of a head along its own dimensions, and across them."""
LETTERS = "qkvo"
_WORDS = {
    "q": re.compile(r"(attn_)?q|q_proj|q_lin|to_q|query|query_proj|queries|wq|linear_q|w_q", re.IGNORECASE),
    "k": re.compile(r"(attn_)?k|k_proj|k_lin|to_k|key|key_proj|keys|wk|linear_k|w_k", re.IGNORECASE),
    "v": re.compile(r"(attn_)?v|v_proj|v_lin|to_v|value|value_proj|values|wv|linear_v|w_v", re.IGNORECASE),
    "o": re.compile(
        r"(attn_)?(o|output)|o_proj|out_proj|out_lin|to_out(\.0)?|out|attention_output|wo|linear_out|w_o|c_proj|proj"
        r"|dense|output\.dense",
        re.IGNORECASE,
    ),
    "qkv": re.compile(r"c_attn|in_proj|qkv|qkv_proj|wqkv|attn_qkv|to_qkv|query_key_value", re.IGNORECASE),
}
"""The last words of the names of kernels, without `weight` or `kernel`, by what they make. A fused kernel has all queries, then
all keys, then all values; a `query_key_value` has those of one head after another, as in GPT-NeoX and BLOOM."""
_PATTERNS = [(letters, re.compile(rf"(?:^|\.)(?:{words.pattern})$", re.IGNORECASE)) for letters, words in _WORDS.items()]
_ATTENTION = re.compile(r"(^|[._\d])(cross|self)?_?(attn|attention|mha|multi_?head\w*|att)([._\d]|$)", re.IGNORECASE)
_SELF = re.compile(r"(?<=attention)\.(self|attention)$", re.IGNORECASE)
"""The part of BERT's attention that is not its output."""
_KERNEL = re.compile(r"[._/](weight|kernel|w)(:0)?$")
_COUNTS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads")
"""The words for the number of heads in the configs of models."""


class Part(NamedTuple):
    """A kernel of an attention layer, or a third of a fused one, as heads.

    `values` has the axes head, dimension of the head, and input (or output, for the output's kernel); a cell is the largest of
    several numbers, by magnitude, NaN if one of them is not finite. `norms` are the l2 norms of the heads' finite numbers.
    `dim` is the number of dimensions of a head, and `side` that of inputs or outputs.
    """

    letter: str
    name: str
    values: Array
    norms: Array
    dim: int
    side: int


class Heads(NamedTuple):
    """The parts of an attention layer; `how` says where the number of heads is from, and what was assumed."""

    layer: str
    parts: list[Part]
    how: str


class _Known(NamedTuple):
    """The number of heads, that of keys and values if it is known, and where they are from."""

    heads: int
    keys: int | None
    how: str = ""


class _Kernel(NamedTuple):
    """A kernel as a matrix: the letters of its parts, the axis of its heads, their number if the axes give it, and fusion."""

    weight: Weight
    letters: str
    axis: int
    number: int | None
    woven: bool


def heads(source: Any, name: str | None = None, count: int | None = None) -> Heads:
    """Return the heads of an attention layer: of the layer or kernel that has this name, or of the first of the source.

    The kernels are found by their names, as common libraries have them, and by their axes. The number of heads is `count`, or
    else that of the axes, the net's graph, or a config.json next to the file. Each kernel is read once, in blocks.

    Raises `ShapeError` if there is no such layer or the heads do not fit, and `AmbiguityError` if their number is not known.

    Examples:
        >>> from steelyard.core.readers import from_array
        >>> from steelyard.core.weights import Weights
        >>> kernel = from_array("attn.q_proj.weight", np.ones((6, 4)), role=Role.KERNEL, axes="out in")
        >>> found = heads(Weights([kernel]), count=2)
        >>> found.parts[0].letter, found.parts[0].values.shape, found.parts[0].norms.round(2).tolist()
        ('q', (2, 3, 4), [3.46, 3.46])
    """
    listed = weights(source)
    layer, kernels = _layer(listed, name)
    known = _known(listed, layer, kernels, count)
    query = next((each for each in kernels if "q" in each.letters), kernels[0])
    dim = _dim(query, known)
    parts = [part for kernel in kernels for part in _parts(kernel, dim, known)]
    parts.sort(key=lambda part: LETTERS.index(part.letter))
    return Heads(layer, parts, "; ".join(filter(None, (known.how, _assumed(kernels)))))


def may_have_heads(name: str) -> bool:
    """Whether a weight may be a kernel of attention, by its own name alone.

    >>> may_have_heads("h.0.attn.c_attn.weight"), may_have_heads("h.0.mlp.c_fc.weight")
    (True, False)
    """
    stem = _KERNEL.sub("", name).replace("/", ".")
    return stem != name and any(pattern.search(stem) for _, pattern in _PATTERNS)


def _dim(kernel: _Kernel, known: _Known) -> int:
    """Return the number of dimensions of a head, by a kernel that has all of them."""
    length, side = kernel.weight.shape[kernel.axis], kernel.weight.shape[1 - kernel.axis]
    fused = kernel.letters == "qkv"
    if fused and known.keys is None and length != 3 * side:
        raise AmbiguityError(f"{_described(kernel.weight)} is fused, and the number of its heads of keys is not known")
    keys = known.heads if known.keys is None else known.keys
    count = known.heads + 2 * keys if fused else known.heads
    if not length or length % count:
        raise ShapeError(f"{_described(kernel.weight)} cannot be split into {known.heads:,} heads")
    return length // count


def _described(weight: Weight) -> str:
    return f"{printable(weight.name)} of shape {list(weight.shape)}"


def _assumed(kernels: list[_Kernel]) -> str:
    """Return what the source does not say."""
    if all(kernel.weight.axes for kernel in kernels):
        return ""
    return f"the file does not specify axes; assumed to be {'in out' if kernels[0].axis else 'out in'}"


def _layer(listed: Weights, name: str | None) -> tuple[str, list[_Kernel]]:
    """Return the name of a layer and its kernels: the layer of this name, that of this weight, or the first one."""
    leaves: dict[str, set[str]] = {}
    for each in listed:
        outer, _, leaf = _split(each)
        leaves.setdefault(outer, set()).add(leaf)
    found: dict[str, list[_Kernel]] = {}
    for weight in listed.distinct().values():
        if name is None or weight.name == name or _is_in(weight.name, name):
            layer, kernel = _kernel(weight, listed, leaves)
            if kernel:
                found.setdefault(layer, []).append(kernel)
    layers = {layer: kernels for layer, kernels in found.items() if name or any("q" in each.letters for each in kernels)}
    if not layers:
        what = "the source has no" if name is None else f"{printable(name)} is no"
        raise ShapeError(
            f"there is nothing to draw: {what} attention layer whose kernels have known names, such as q_proj or qkv"
        )
    return next(iter(layers.items()))


def _split(name: str) -> tuple[str, str, str]:
    """Return the name of a kernel without its last word, which is weight or kernel, cut before the word that is last then."""
    outer, point, leaf = _KERNEL.sub("", name).replace("/", ".").rpartition(".")
    return outer, point, leaf


def _is_in(weight: str, layer: str) -> bool:
    return weight.startswith(layer) and weight[len(layer) : len(layer) + 1] in (".", "/", "_")


def _kernel(weight: Weight, listed: Weights, leaves: Mapping[str, set[str]]) -> tuple[str, _Kernel | None]:
    """Return the layer of a kernel of attention and the kernel; None for any other weight."""
    if len(weight.shape) not in (2, 3) or not weight.size or weight.role not in (Role.KERNEL, Role.OTHER):
        return "", None
    stem = _KERNEL.sub("", weight.name).replace("/", ".")
    for letters, pattern in _PATTERNS:
        match = pattern.search(stem)
        if not match:
            continue
        outer = stem[: match.start()]
        siblings = [any(_WORDS[letter].fullmatch(leaf) for leaf in leaves.get(outer, ())) for letter in "qkv"]
        if len(letters) == 3 or _ATTENTION.search(outer) or all(siblings):
            layer = _SELF.sub("", outer)
            return layer, _as_matrix(weight, letters, woven="query_key_value" in stem, listed=listed)
    return "", None


def _as_matrix(weight: Weight, letters: str, *, woven: bool, listed: Weights) -> _Kernel | None:
    """Return a kernel whose heads are on one axis of a matrix; None where its axes say otherwise."""
    words = weight.axes.split()
    if "heads" in words and "dim" in words and len(words) == 3:  # in heads dim, or heads dim out
        at = words.index("heads")
        count = weight.shape[at]
        shape = (weight.shape[0], prod(weight.shape[1:])) if at else (prod(weight.shape[:2]), weight.shape[2])
        return _Kernel(weight.replace(shape=shape, read=weight.read), letters, int(at > 0), count, woven)
    if len(weight.shape) != 2:
        return None
    inward = "in" in words and words.index("in")
    if not words:
        inward = 0 if _inputs_first(weight, letters, listed) else 1
    if inward is False:
        return None
    return _Kernel(weight, letters, int(inward) if letters == "o" else 1 - int(inward), None, woven)


def _inputs_first(weight: Weight, letters: str, listed: Weights) -> bool:
    """Whether the inputs are the rows, as in GPT-2's layers: the fused kernel next to it is three times as wide as high."""
    if letters == "qkv":
        return weight.shape[1] == 3 * weight.shape[0]
    if "c_proj" not in weight.name:
        return False
    fused = weight.name.replace("c_proj", "c_attn")
    return fused in listed and listed[fused].shape[1:] == (3 * weight.shape[1],)


def _known(listed: Weights, layer: str, kernels: list[_Kernel], given: int | None) -> _Known:
    """Return what is known of the number of heads."""
    said = _in_graph(listed, layer) or _in_config(listed)
    if given is not None:
        if given < 1:
            raise ShapeError(f"heads is {given}; it must be positive")
        return said._replace(how="") if said and said.heads == given else _Known(given, None)
    if own := next((kernel.number for kernel in kernels if kernel.number), None):
        return _Known(own, own)
    if said:
        return said
    raise AmbiguityError(f"the number of heads of {printable(layer) or 'the net'} is not known; pass heads, such as heads=12")


def _in_graph(listed: Weights, layer: str) -> _Known | None:
    for each in listed.graph.layers if listed.graph else ():
        number, keys = (each.settings.get(word) for word in ("heads", "key_heads"))
        if isinstance(number, int) and number > 0 and (each.name == layer or _is_in(each.name, layer)):
            return _Known(number, keys if isinstance(keys, int) and keys > 0 else None)
    return None


def _in_config(listed: Weights) -> _Known | None:
    """Return what a config.json next to the file says, itself or of its text or vision part."""
    config = json_beside(Pieces(listed), "config.json")
    for section in (config, config.get("text_config"), config.get("vision_config")):
        found = section if isinstance(section, dict) else {}
        key, number = next(((key, found[key]) for key in _COUNTS if _is_count(found.get(key))), ("", 0))
        if number:
            keys = found.get("num_key_value_heads")
            return _Known(number, keys if _is_count(keys) else None, f"{number:,} heads, by {key} of config.json")
    return None


def _is_count(number: object) -> bool:
    return type(number) is int and number > 0


def _parts(kernel: _Kernel, dim: int, known: _Known) -> Iterator[Part]:
    """Yield the parts of a kernel, which is read once."""
    weight, axis = kernel.weight, kernel.axis
    length, side = weight.shape[axis], weight.shape[1 - axis]
    if length % dim:
        raise ShapeError(f"{_described(weight)} cannot be split into heads of {dim:,}, as those of the queries")
    values, squares = _read(weight, axis, dim)
    count = length // dim
    split = values.reshape(count, values.shape[0] // count, values.shape[1])
    norms = np.sqrt(squares.reshape(count, dim).sum(axis=-1))
    if len(kernel.letters) == 1:
        yield Part(kernel.letters, weight.name, split, norms, dim, side)
        return
    keys = known.heads if known.keys is None else known.keys
    cuts = [0, known.heads, known.heads + keys, count]
    for nth, letter in enumerate(kernel.letters):
        at = slice(nth, None, 3) if kernel.woven else slice(cuts[nth], cuts[nth + 1])
        yield Part(letter, weight.name, split[at], norms[at], dim, side)


def _read(weight: Weight, axis: int, dim: int) -> tuple[Array, Array]:
    """Return a kernel as cells, with the axis of its heads first, and the sum of squares of each of their dimensions."""
    along = next(cells for cells in range(min(dim, ALONG), 0, -1) if dim % cells == 0)
    cells = weight.shape[axis] // dim * along
    rows, columns = weight.shape
    drawing = Drawing(weight, *((ACROSS, cells) if axis else (cells, ACROSS)))
    squares = np.zeros(weight.shape[axis])
    step = max(sizes.PICTURE_BLOCK // columns, 1)
    for first in range(0, rows, step):
        last = min(first + step, rows)
        block = weight.read(first * columns, last * columns).reshape(-1, columns)
        drawing.take(block, first, 0)
        numbers = np.abs(as_float64(block))
        summed = np.square(np.where(np.isfinite(numbers), numbers, 0.0)).sum(axis=1 - axis)
        if axis:
            squares += summed
        else:
            squares[first:last] = summed
    values = drawing.picture().values
    return values.T if axis else values, squares
