"""PyTorch's reparametrisations: pruning, weight norm, spectral norm, and chains of parametrizations.

| stored | the layer uses |
|---|---|
| `X_orig`, `X_mask` | X = orig * mask (`torch.nn.utils.prune`) |
| `X_g`, `X_v` | X = v * g / norm of v (`torch.nn.utils.weight_norm`) |
| `X_orig`, `X_u`, `X_v` | X = orig / (u . M v) (`torch.nn.utils.spectral_norm`) |
| `parametrizations.X.original0`, `original1` | weight norm (`torch.nn.utils.parametrizations`) |
| `parametrizations.X.original`, `0._u`, `0._v` | spectral norm, also after others |

Each stored weight may itself be made of others: a layer with weight norm is pruned by its `X_v`. A parametrization without
numbers of its own is not in a file, so one that no rule explains is refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, cast

from steelyard.core.effective import Derivation, Pieces, derived, joined, refused
from steelyard.errors import SteelyardError, printable
from steelyard.numerics.reparametrised import alignment, fits, masked, spectral_axes, spectrally_normed, weight_normed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard.core.weight import Weight

_ENDS = ("_mask", "_g", "_u", "_orig")
_INSIDE = "parametrizations."
_DEPTH = 4
"""The most hooks of one weight."""
_ALIGNED, _CLEAR = 0.9, 0.1
"""The cosine of two vectors with one direction, and the least difference to that of any others."""
_PRUNING, _WEIGHT_NORM, _SPECTRAL_NORM = "pruning", "weight norm", "spectral norm"
_UNNAMED = "a parametrization"
_USUAL = ("weight", "bias")


class _Made(NamedTuple):
    """A weight that is made of stored ones: their names, the steps in order, and what is assumed.

    `why` is the reason for which it cannot be made, blank if it can; `weight` then has its shape at most.
    """

    weight: Weight
    parts: tuple[str, ...]
    steps: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    why: str = ""

    def then(self, step: str, *, why: str, parts: tuple[str, ...] = ()) -> _Made:
        """Return what a further step would make, with the reason for which it cannot."""
        return _Made(self.weight, (*self.parts, *parts), (*self.steps, step), self.assumed, self.why or why)


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the weights that hooks and parametrizations make."""
    for name, held in _parametrized(pieces).items():
        yield _effective(pieces, name, _chain(pieces, held))
    leaves = [leaf for leaf in pieces.leaves if leaf.endswith(_ENDS)]
    words = {(stem, word) for leaf in leaves for stem in pieces.stems(leaf) for word in _words(leaf)}
    for stem, word in sorted(words, key=lambda each: (len(each[1]), each)):
        made = _hooked(pieces, stem, word)
        if made is not None:
            yield _effective(pieces, joined(stem, word), made)


def _words(leaf: str) -> Iterator[str]:
    """Yield what a hook may make of a weight, and what another one may make of that: weight_v and weight of weight_v_mask."""
    for _ in range(_DEPTH):
        if not leaf.endswith((*_ENDS, "_v")):
            return
        leaf = leaf.rpartition("_")[0]
        yield leaf


def _effective(pieces: Pieces, name: str, made: _Made) -> Weight:
    weight, facts = made.weight, Derivation(_scheme(*made.steps), made.parts, assumed=made.assumed)
    stored = (pieces.get(part) for part in made.parts)
    why = made.why or next((each.unreadable for each in stored if each is not None and each.unreadable), None)
    if why:
        return refused(name, facts, why, weight.shape)
    return derived(name, weight.shape, weight.read, facts, dtype=weight.dtype, role=weight.role, axes=weight.axes)


def _scheme(*steps: str) -> str:
    return f"{', then '.join(steps)} of PyTorch"


def _hooked(pieces: Pieces, stem: str, word: str, depth: int = 0) -> _Made | None:
    """Make the weight of a hook; None where there is none. A plain attribute of this name has old numbers."""
    if depth == _DEPTH:
        return None
    made = _pruned(pieces, stem, word, depth) or _divided(pieces, stem, word, depth) or _lengthened(pieces, stem, word, depth)
    stale = pieces.get(joined(stem, word))
    return made if made is None or stale is None else made._replace(parts=(*made.parts, stale.name))


def _operand(pieces: Pieces, stem: str, word: str, depth: int) -> _Made | None:
    """Return a stored weight, or one that a further hook makes."""
    made = _hooked(pieces, stem, word, depth + 1)
    stored = pieces.get(joined(stem, word))
    return made if made is not None or stored is None else _Made(stored, (stored.name,))


def _pruned(pieces: Pieces, stem: str, word: str, depth: int) -> _Made | None:
    stored = _operand(pieces, stem, f"{word}_orig", depth)
    mask, plain, left, right = pieces.of(stem, *(f"{word}{end}" for end in ("_mask", "", "_u", "_v")))
    if stored is None:
        return None
    if mask is None:
        if plain or left or right or not word.startswith(_USUAL):
            return None
        what = f"the mask {printable(word)}_mask is missing, or {printable(word)}_u and {printable(word)}_v of spectral norm"
        return stored.then(_PRUNING, why=what)
    if stored.weight.shape != mask.shape:
        what = f"its mask has shape {mask.shape}, the weight {stored.weight.shape}"
        return stored.then(_PRUNING, why=what, parts=(mask.name,))
    weight = stored.weight.replace(read=masked(stored.weight.read, mask.read))
    return stored._replace(weight=weight, parts=(*stored.parts, mask.name), steps=(*stored.steps, _PRUNING))


def _lengthened(pieces: Pieces, stem: str, word: str, depth: int) -> _Made | None:
    """Apply weight norm, where lengths and directions have such shapes. Vectors of one length may be anything but biases."""
    length, direction = (_operand(pieces, stem, f"{word}_{end}", depth) for end in "gv")
    if length is None or direction is None or not direction.weight.dtype.startswith(("float", "bfloat")):
        return None
    lengths, shape = length.weight.shape, direction.weight.shape
    hook = direction.weight.encoding == _WEIGHT_NORM  # a module that was pickled whole names its hooks
    usual = word.startswith(_USUAL)
    if not hook and (pieces.get(joined(stem, word)) is not None or (len(shape) < 2 and not usual)):
        return None
    if not fits(lengths, shape):
        alike = usual and sum(size != 1 for size in lengths) < 2 and len(lengths) == len(shape)
        what = f"lengths of shape {lengths} do not fit directions of shape {shape}"
        return direction.then(_WEIGHT_NORM, why=what, parts=length.parts) if hook or alike else None
    assumed = () if hook or usual else (f"{printable(word)}_g and {printable(word)}_v are those of weight norm",)
    return _with_length(pieces, length, direction, assumed)


def _with_length(pieces: Pieces, length: _Made, direction: _Made, assumed: tuple[str, ...]) -> _Made:
    read = weight_normed(length.weight, direction.weight, keep=not pieces.live)
    return _Made(
        direction.weight.replace(read=read),
        (*length.parts, *direction.parts),
        (*dict.fromkeys((*length.steps, *direction.steps)), _WEIGHT_NORM),
        (*length.assumed, *direction.assumed, *assumed),
        length.why or direction.why,
    )


def _divided(pieces: Pieces, stem: str, word: str, depth: int) -> _Made | None:
    """Apply spectral norm."""
    stored = _operand(pieces, stem, f"{word}_orig", depth)
    left, right = pieces.of(stem, f"{word}_u", f"{word}_v")
    if stored is None or left is None:
        return None
    if right is None:
        what = f"{printable(word)}_v is missing, as in files of PyTorch before 1.0"
        return stored.then(_SPECTRAL_NORM, why=what, parts=(left.name,))
    return _by_sigma(pieces, stored, left, right)


def _by_sigma(pieces: Pieces, stored: _Made, left: Weight, right: Weight) -> _Made:
    names = left.name, right.name
    axis = "" if stored.why else _spectral_axis(stored.weight, left, right)
    if isinstance(axis, str):
        return stored.then(_SPECTRAL_NORM, why=axis, parts=names)
    read = spectrally_normed(stored.weight, left, right, axis.place, keep=not pieces.live)
    return _Made(
        stored.weight.replace(read=read),
        (*stored.parts, *names),
        (*stored.steps, _SPECTRAL_NORM),
        (*stored.assumed, *axis.assumed),
    )


class _Axis(NamedTuple):
    place: int
    assumed: tuple[str, ...] = ()


def _spectral_axis(stored: Weight, left: Weight, right: Weight) -> _Axis | str:
    """Return the axis that is first in the matrix, or the reason for which it is not known.

    Of several axes with one length, the one on which the two vectors agree is taken; torch's own default is 0.
    """
    axes = spectral_axes(stored.shape, left.size, right.size)
    told = re.fullmatch(rf"{_SPECTRAL_NORM} along axis (\d+)", left.encoding)
    if told is not None:
        axes = [axis for axis in axes if axis == int(told[1])]
    if not axes or len(left.shape) != 1 or len(right.shape) != 1:
        return f"vectors of shapes {left.shape} and {right.shape} do not fit a weight of shape {stored.shape}"
    if len(axes) == 1:
        return _Axis(axes[0])
    try:
        cosines = {axis: alignment(stored, left, right, axis) for axis in axes}
    except SteelyardError as error:
        return str(error)
    best, other, *_ = sorted(axes, key=cosines.__getitem__, reverse=True)
    if cosines[best] >= _ALIGNED and cosines[best] - cosines[other] >= _CLEAR:
        return _Axis(best, (f"the norm is that of the matrix with axis {best} first, to which its two vectors fit",))
    if len(stored.shape) == 2:
        return _Axis(0, ("the norm is that of the matrix with axis 0 first, as PyTorch has it for a linear layer",))
    return f"its matrix may have axis {' or '.join(map(str, axes))} first, and only the class of the layer says which"


def _parametrized(pieces: Pieces) -> dict[str, dict[str, str]]:
    """Return for each parametrized weight the stored names by what follows its own name: "original", "0._u"."""
    found: dict[str, dict[str, str]] = {}
    if any(re.match(r"original\d*(_|$)", leaf) for leaf in pieces.leaves):
        for name in pieces:
            above, _, below = name.partition(_INSIDE)
            if below and above[-1:] in ("", "."):
                word, _, rest = below.partition(".")
                found.setdefault(above + word, {})[rest] = name
    return {name: held for name, held in found.items() if any(rest.startswith("original") for rest in held)}


def _chain(pieces: Pieces, held: dict[str, str]) -> _Made:
    """Apply the parametrizations of a weight in order."""
    made, steps = _begun(pieces, held), _by_step(held)
    begin = 1 if made.steps[-1:] == (_WEIGHT_NORM,) else 0
    if not steps and not begin:
        made = made.then(_UNNAMED, why="the file does not name its function, and nothing in it is run")
    for number in range(begin, max(steps, default=0) + 1):
        if made.why:
            break
        made = _next(pieces, made, number, steps.get(number, {}))
    parts = tuple(held.values())
    return made._replace(parts=parts, assumed=(*made.assumed, "no function without numbers of its own comes after these"))


def _next(pieces: Pieces, made: _Made, number: int, words: dict[str, str]) -> _Made:
    """Apply one parametrization, whose numbers are these."""
    left, right = (pieces.get(words.get(word, "")) for word in ("_u", "_v"))
    if len(words) == 2 and left is not None and right is not None:
        return _by_sigma(pieces, made, left, right)
    if words.keys() == {"base"}:
        return made.then("an orthogonal parametrization", why="the file does not say which of its three maps it uses")
    known = f"has the numbers {', '.join(map(printable, sorted(words)))}" if words else "has no numbers in the file"
    return made.then(_UNNAMED, why=f"its step {number} {known}, and the file does not name it")


def _begun(pieces: Pieces, held: dict[str, str]) -> _Made:
    """Return the original, or what weight norm makes of two."""
    rest, name = next(iter(held.items()))
    stem = name[: len(name) - len(rest) - 1]
    only, length, direction, more = (_operand(pieces, stem, f"original{end}", 0) for end in ("", "0", "1", "2"))
    if only is not None and length is None:
        return only
    first = only or length or direction or more
    if first is None:
        (stored,) = pieces.of(stem, rest)
        first = _Made(cast("Weight", stored), ())
    if only is not None or length is None or direction is None or more is not None:
        return first.then(_UNNAMED, why="the file does not name the function of its originals")
    if not fits(length.weight.shape, direction.weight.shape):
        what = (
            f"its two originals have shapes {length.weight.shape} and {direction.weight.shape}, which weight norm does not make"
        )
        return direction.then(_UNNAMED, why=f"{what}, and the file does not name their function")
    return _with_length(pieces, length, direction, ("its two originals are those of weight norm, as their shapes show",))


def _by_step(held: dict[str, str]) -> dict[int, dict[str, str]]:
    """Return the numbers of each parametrization by its place: {0: {"_u": ..., "_v": ...}}."""
    steps: dict[int, dict[str, str]] = {}
    for rest, name in held.items():
        place, _, word = rest.partition(".")
        if word and place.isascii() and place.isdecimal() and len(place) < 4:
            steps.setdefault(int(place), {})[word] = name
    return steps
