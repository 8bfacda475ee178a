"""Flax: weight norm and spectral norm of linen and NNX, LoRA of NNX.

params/<above>/WeightNorm_0/<layer>/kernel/scale    linen: the scale next to the kernel params/<above>/<layer>/kernel
params/<above>/layer_instance/kernel/scale          of a wrapper made in `setup`: below the kernel's own path
batch_stats/<above>/SpectralNorm_0/<layer>/kernel/u, sigma
<above>/layer_instance/kernel, <above>/scales/('kernel',)    NNX: the scales of `nnx.WeightNorm` by the paths in its layer
<above>/layer_instance/kernel, <above>/batch_stats/('kernel', 'u')    and what `nnx.SpectralNorm` keeps by them
<above>/kernel, <above>/lora/lora_a, <above>/lora/lora_b    `nnx.LoRALinear`: kernel + a b, without a scale
<above>/base_module/kernel, <above>/lora_a, <above>/lora_b    `nnx.LoRA` around a module

A kernel is divided by its norm over all axes but those of the scale, which are its last ones, or over all of them where the
scale is one number. A spectral norm runs more power iterations in each call, whose number is not among the numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from steelyard.core.effective import Derivation, derived, refused
from steelyard.core.merging import applying
from steelyard.errors import ShapeError
from steelyard.numerics import low_rank
from steelyard.numerics.row_changes import numbers, plus, with_column_norms

if TYPE_CHECKING:
    from steelyard.core.effective import Pieces
    from steelyard.core.weight import Reader, Weight

_COLLECTION = "batch_stats/"
_EPSILON = 1e-12
"""What Flax adds to the square of a norm; zeros stay zeros."""
_PATH = re.compile(r"(?:(.*)/)?(scales|batch_stats)/\((.+)\)\Z")
_WORD = re.compile(r"'([^']*)'|(\d+)")


def derive(pieces: Pieces) -> Iterator[Weight]:
    """Yield the kernels that layers multiply with."""
    kept: dict[str, dict[str, str]] = {}  # of each wrapper of NNX, the names of its norms by the paths in its layer
    for name in [*pieces]:
        if name.endswith("/scale"):
            yield from _linen_weight_norm(pieces, name)
        elif name.endswith("/u") and name.startswith(_COLLECTION):
            yield from _spectral_norm(pieces, name)
        elif match := _PATH.match(name):
            words = [first or second for first, second in _WORD.findall(match[3])]
            if match[2] == "scales" or words[-1:] == ["u"]:
                path = "/".join(words if match[2] == "scales" else words[:-1])
                kept.setdefault(f"{match[1]}/" if match[1] else "", {})[path] = name
        elif name == "lora_a" or name.endswith("/lora_a"):
            yield from _lora(pieces, name)
    for above, norms in kept.items():
        yield from _normed_by_nnx(pieces, above, norms)


def _owners(path: str) -> Iterator[str]:
    """Yield a path, then those without one of its words, the last first: a wrapper's name may not be in that of its layer."""
    yield path
    words = path.split("/")
    for place in range(len(words) - 2, -1, -1):
        yield "/".join(words[:place] + words[place + 1 :])


def _linen_weight_norm(pieces: Pieces, name: str) -> Iterator[Weight]:
    scale = pieces.get(name)
    kernel = next((found for path in _owners(name.removesuffix("/scale")) if (found := pieces.get(path)) is not None), None)
    if scale is not None and kernel is not None:
        yield _normed(kernel, scale, kernel.name, "weight norm of Flax linen")


def _spectral_norm(pieces: Pieces, name: str) -> Iterator[Weight]:
    path = name.removesuffix("/u").removeprefix(_COLLECTION)
    kernel = next((found for each in _owners(path) if (found := pieces.get(f"params/{each}")) is not None), None)
    if kernel is None:
        return
    about = tuple(each for each in (name, f"{name.removesuffix('/u')}/sigma") if pieces.get(each) is not None)
    yield _refused(kernel, kernel.name, "spectral norm of Flax linen", about)


def _refused(kernel: Weight, name: str, scheme: str, about: tuple[str, ...]) -> Weight:
    reason = "each call runs more power iterations, and their number n_steps is in the code alone"
    return refused(name, Derivation(scheme, (kernel.name, *about)), reason, kernel.shape)


def _normed_by_nnx(pieces: Pieces, above: str, norms: dict[str, str]) -> Iterator[Weight]:
    """Yield the weights of a wrapped layer under the names of a plain one."""
    inner = f"{above}layer_instance/"
    if not any(pieces.get(inner + path) for path in norms):
        return
    for path, weight in _below(pieces, inner):
        stored = pieces.get(norms[path]) if path in norms else None
        if stored is None:
            yield _renamed(weight, above + path, "a norm of Flax NNX")
        elif stored.name.endswith("'u')"):
            sigma = pieces.get(stored.name.replace("'u')", "'sigma')"))
            about = tuple(each.name for each in (stored, sigma) if each is not None)
            yield _refused(weight, above + path, "spectral norm of Flax NNX", about)
        else:
            yield _normed(weight, stored, above + path, "weight norm of Flax NNX")


def _below(pieces: Pieces, inner: str) -> Iterator[tuple[str, Weight]]:
    """Yield each weight below a path, and the rest of its name."""
    for name in [each for each in pieces if each.startswith(inner)]:
        weight = pieces.get(name)
        if weight is not None:
            yield name.removeprefix(inner), weight


def _renamed(weight: Weight, name: str, scheme: str) -> Weight:
    facts = Derivation(scheme, (weight.name,))
    return derived(name, weight.shape, weight.read, facts, dtype=weight.dtype, role=weight.role, axes=weight.axes)


def _normed(kernel: Weight, scale: Weight, name: str, scheme: str) -> Weight:
    last = len(scale.shape)
    is_one = scale.shape == ()
    facts = Derivation(scheme, (kernel.name, scale.name), assumed=() if is_one or _is_sure(kernel, scale) else (_LAST,))
    if not is_one and kernel.shape[len(kernel.shape) - last :] != scale.shape:
        reason = f"its scale has shape {list(scale.shape)}, and the kernel {list(kernel.shape)}: only the last axes are read"
        return refused(name, facts, reason, kernel.shape)
    flat = (max(kernel.size, 1), 1) if is_one else (prod(kernel.shape[: len(kernel.shape) - last]), scale.size)
    change = with_column_norms(numbers(scale, (scale.size,)), _EPSILON)
    read = applying(kernel.replace(shape=flat), [change])
    return derived(name, kernel.shape, read, facts, dtype=kernel.dtype, role=kernel.role, axes=kernel.axes)


_LAST = "the scale belongs to the last axis, as by default; another axis has the same length"


def _is_sure(kernel: Weight, scale: Weight) -> bool:
    """Whether only the last axes have the lengths of the scale."""
    return len(scale.shape) != 1 or kernel.shape.count(scale.shape[0]) == 1


def _lora(pieces: Pieces, name: str) -> Iterator[Weight]:
    above = name[: -len("lora_a")]
    down, up = pieces.get(name), pieces.get(f"{above}lora_b")
    outer = above[: -len("lora/")] if above.endswith("lora/") else None
    around = pieces.get(f"{above}base_module/kernel")
    plain = pieces.get(f"{outer}kernel") if outer is not None else None
    stored, target = (around, above) if around is not None else (plain, outer or "")
    if down is None or stored is None:
        return
    facts = Derivation("LoRA of Flax NNX", (stored.name, name, *([up.name] if up is not None else [])))
    try:
        read = _with_product(stored, down, up)
        yield derived(f"{target}kernel", stored.shape, read, facts, dtype=stored.dtype, role=stored.role, axes=stored.axes)
    except ShapeError as error:
        yield refused(f"{target}kernel", facts, str(error), stored.shape)
    if around is not None:
        for path, weight in _below(pieces, f"{above}base_module/"):
            if path != "kernel":
                yield _renamed(weight, above + path, "LoRA of Flax NNX")


def _with_product(stored: Weight, down: Weight, up: Weight | None) -> Reader:
    if up is None or len(down.shape) != 2 or len(up.shape) != 2:
        raise ShapeError("it has no lora_b" if up is None else f"its factors have shapes {list(down.shape)} and {list(up.shape)}")
    rows = low_rank.fitting(low_rank.lora(up, down), stored.shape)
    return applying(stored, [plus(rows)])
