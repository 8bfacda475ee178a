"""What a caller of `quantize` asks for: the kind of number, the library whose layout and range it gets, and the cells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from steelyard.errors import ShapeError, meant, printable, quoted
from steelyard.numerics.grids import PERCENTILE, range_of

if TYPE_CHECKING:
    from steelyard.numerics.grids import Range

GGUF = ("q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "tq1_0", "tq2_0", "mxfp4")
_LAYOUTS: dict[str, tuple[str, ...]] = {
    "int8": ("", "compressed-tensors", "bitsandbytes", "torchao", "onnx"),
    "int4": ("", "compressed-tensors", "torchao", "onnx"),
    "float8_e4m3fn": ("", "compressed-tensors", "torchao"),
    "nf4": ("bitsandbytes",),
    "fp4": ("bitsandbytes",),
    "mxfp4": ("", "compressed-tensors", "gguf"),
    **{kind: ("gguf",) for kind in GGUF if kind != "mxfp4"},
}
"""The kinds of numbers, and the libraries whose layout each can have; blank for Steelyard's own. The first is the default."""
_FULL = ("compressed-tensors", "torchao")
"""Libraries whose symmetric codes use the lowest code, -128 or -8, too."""
_FIXED = {"nf4": 64, "fp4": 64, "mxfp4": 32}
_CALIBRATIONS = ("max", "mse", "percentile")
_SEARCHED = re.compile(r"(q[2-8]_k(_[a-z]+)?|i?q\d_\w+|nvfp4|q8_1|q1_0)")


class Request(NamedTuple):
    """The checked arguments of `quantize`; `like` is blank for Steelyard's own layout, `axis` None for one scale a weight."""

    kind: str
    like: str
    axis: str | int | None
    group: int | None
    affine: bool
    calibrate: str
    skip: tuple[str, ...]
    double: bool

    @property
    def bits(self) -> int:
        """The bits of a code."""
        return 8 if self.kind in ("int8", "float8_e4m3fn") else 4

    @property
    def range(self) -> Range:
        """The range of integer codes."""
        return range_of(self.bits, full=self.like in _FULL, affine=self.affine)

    @property
    def shown(self) -> str:
        """The kind with what distinguishes it from another, as a table has it: "int4 group 32 like torchao"."""
        words = [self.kind, "double" * self.double, "affine" * self.affine, "per weight" * (self.axis is None)]
        words += [f"group {self.group}"] if self.group and self.kind not in _FIXED else []
        words += [self.calibrate] if self.calibrate != "max" else []
        return " ".join(
            [word for word in words if word] + [f"like {self.like}"] * bool(self.like and len(_LAYOUTS[self.kind]) > 1)
        )

    def facts(self) -> dict[str, object]:
        """Return what a quantised net records about itself."""
        made: dict[str, object] = {"kind": self.kind, "like": self.like or None, "range": self._range_text()}
        if "gguf" not in _LAYOUTS[self.kind] or self.like != "gguf":
            made |= {"axis": self.axis, "group": self.group, "scheme": "affine" if self.affine else "symmetric"}
            made |= {"calibrate": self.calibrate} | ({"percentile": PERCENTILE} if self.calibrate == "percentile" else {})
        return made | ({"double_quant": True} if self.double else {}) | ({"skip": list(self.skip)} if self.skip else {})

    def _range_text(self) -> str:
        if self.like == "gguf":
            return f"that of GGML's {self.kind.upper()}"
        known = {"float8_e4m3fn": "scale absmax / 448", "nf4": "scale absmax, 16 codes", "fp4": "scale absmax, 16 codes"}
        known["mxfp4"] = "scale 2^(floor(log2(absmax)) - 2)"
        return known.get(self.kind) or self.range.text


def parsed(
    kind: object,
    *,
    axis: object = "out",
    group: object = None,
    scheme: object = None,
    like: object = None,
    calibrate: object = "max",
    skip: object = (),
    double_quant: bool = False,
) -> Request:
    """Return checked arguments. Raises `ShapeError`, with the reason and what is possible instead."""
    word = _kind(kind)
    library = _library(word, like)
    if axis is not None and (isinstance(axis, bool) or not isinstance(axis, (str, int))):
        raise ShapeError(f"axis is {quoted(axis)}; it must be a word such as 'out', a number, or None for one scale a weight")
    if scheme not in (None, "symmetric", "affine"):
        raise ShapeError(f"scheme is {quoted(scheme)}; it must be 'symmetric' or 'affine'")
    affine = scheme == "affine"
    if affine and (word not in ("int8", "int4") or library in ("bitsandbytes", "torchao")):
        raise ShapeError(f"{_shown(word, library)} has no zero points; scheme must be 'symmetric'")
    if calibrate not in _CALIBRATIONS:
        words = f"{', '.join(_CALIBRATIONS)}{meant(calibrate, _CALIBRATIONS)}"
        raise ShapeError(f"calibrate is {quoted(calibrate)}; it must be one of {words}")
    if calibrate != "max" and word not in ("int8", "int4", "float8_e4m3fn"):
        raise ShapeError(f"the scales of {word} follow from its format; calibrate must be 'max'")
    if double_quant and word not in ("nf4", "fp4"):
        raise ShapeError(f"double_quant quantises the scales of nf4 and fp4, not those of {word}")
    patterns = (skip,) if isinstance(skip, str) else tuple(skip) if isinstance(skip, Iterable) else (skip,)
    if not all(isinstance(each, str) for each in patterns):
        raise ShapeError("skip must be names or patterns such as '*lm_head*'")
    size = _group(word, library, group)
    return Request(word, library, axis, size, affine, str(calibrate), tuple(map(str, patterns)), bool(double_quant))


def _kind(kind: object) -> str:
    word = str(kind).lower()
    if isinstance(kind, str) and word in _LAYOUTS:
        return word
    if word == "float8":
        return "float8_e4m3fn"
    choice = ", ".join(_LAYOUTS)
    if word in ("naive-quantized", "naive_quantized"):
        raise ShapeError(
            "naive-quantized is not written, since transformers cannot load it; use int8 with like='compressed-tensors'"
        )
    if _SEARCHED.fullmatch(word):
        reason = "llama.cpp searches its scales with code of its own, and the gguf package cannot write it either"
        raise ShapeError(f"{printable(word)} is not written: {reason}; use {', '.join(GGUF)}, or llama-quantize")
    raise ShapeError(f"{quoted(kind)} is not a kind of number; the kinds are {choice}{meant(word, _LAYOUTS)}")


def _library(kind: str, like: object) -> str:
    if like is None:
        return _LAYOUTS[kind][0]
    if like == "naive-quantized":
        raise ShapeError("naive-quantized is not written, since transformers cannot load it; use like='compressed-tensors'")
    known = [each for each in _LAYOUTS[kind] if each]
    if not isinstance(like, str) or like not in known:
        every = ", ".join(dict.fromkeys(each for names in _LAYOUTS.values() for each in names if each))
        can = f"{kind} can be like {', '.join(known)}" if like in every.split(", ") else f"it must be one of {every}"
        raise ShapeError(f"like is {quoted(like)}; {can}{meant(like, known)}")
    return like


def _shown(kind: str, library: str) -> str:
    return f"{kind} like {library}" if library else kind


def _group(kind: str, library: str, group: object) -> int | None:
    if group is None:
        return _FIXED.get(kind)
    if isinstance(group, bool) or not isinstance(group, int) or group < 1:
        raise ShapeError(
            f"group is {quoted(group)}; it must be a number of inputs such as 32 or 128, or None for one scale an output"
        )
    if kind in ("nf4", "fp4"):
        if group & (group - 1) or not 64 <= group <= 4096:
            raise ShapeError(f"bitsandbytes has blocks of 64, 128, 256, 512, 1024, 2048 or 4096 numbers, not {group}")
        return group
    if library == "gguf" or kind == "mxfp4":
        size = {"tq1_0": 256, "tq2_0": 256}.get(kind, 32)
        if group != size:
            raise ShapeError(f"{kind} has blocks of {size} numbers; leave group out")
        return _FIXED.get(kind)
    if library == "bitsandbytes" or (library == "torchao" and kind == "float8_e4m3fn"):
        raise ShapeError(f"{_shown(kind, library)} has one scale an output; leave group out")
    return group
