"""ONNX's operators that give images another size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.program.operators.tensors import BATCH, Call, Data
from steelyard.device.program.resampling import coordinates, cubic, linear, nearest, sampled

if TYPE_CHECKING:
    from steelyard.device.program.resampling import Axis

_MODES = {
    "half_pixel": "half_pixel",
    "pytorch_half_pixel": "half_pixel",
    "asymmetric": "asymmetric",
    "align_corners": "align_corners",
}


def resized(call: Call) -> Data:
    """Add an image in another size: Resize, and Upsample, whose first edges meet."""
    data = call.data()
    call.is_image(data)
    is_old = call.operator.word == "Upsample" or call.version < 11
    call.only(antialias=0, exclude_outside=0, keep_aspect_ratio_policy="stretch")
    mode = str(call.setting("coordinate_transformation_mode", "asymmetric" if is_old else "half_pixel"))
    if mode not in _MODES:
        call.refuse(f"places the output by {mode}, which is not known")
    held = call.shape(data)
    scales, made = _sizes(call, held, 1 if is_old else 2)
    if scales[1] != 1 or made[1] != held[1]:
        call.refuse("changes the number of channels")
    if mode == "pytorch_half_pixel" and 1 in made[2:]:
        call.refuse("makes an axis of one place by pytorch_half_pixel, which is not known")
    axes = [
        _axis(call, held[at], made[at], scales[at], _MODES[mode], "floor" if is_old else "round_prefer_floor")
        for at in range(2, len(held))
    ]
    place = data.place
    for operation in sampled(axes, held[2:], "first"):
        place = call.add(operation, place)
    return Data(place)


def _axis(call: Call, length: int, made: int, scale: float, mode: str, rounding: str) -> Axis:
    where = coordinates(length, made, scale, mode)
    word = str(call.setting("mode", "nearest"))
    if word == "nearest":
        return nearest(where, length, str(call.setting("nearest_mode", rounding)))
    if word == "linear":
        return linear(where, length)
    if word == "cubic":
        return cubic(where, length, call.real("cubic_coeff_a", -0.75))
    return call.refuse(f"interpolates by {word}, which is not known")


def _sizes(call: Call, held: tuple[int, ...], place: int) -> tuple[list[float], list[int]]:
    """Return the ratio and the new length of each axis, from `scales` or `sizes`."""
    axes = call.integers("axes") or tuple(range(len(held)))
    scales, made = [1.0] * len(held), list(held)
    if call.has(3) and call.known(3).size:
        lengths = call.lengths(3)
        for axis, length in zip(axes, lengths, strict=True):
            if held[axis] == BATCH:
                if length != BATCH and length not in call.sizes:
                    call.refuse("changes the number of examples")
                continue
            scales[axis], made[axis] = length / held[axis], length
        return scales, made
    given = call.known(place).reshape(-1).tolist() if call.has(place) else call.setting("scales")
    if not isinstance(given, (list, tuple)) or len(given) != len(axes):
        call.refuse("has scales that are not known")
    for axis, scale in zip(axes, given, strict=True):
        scales[axis] = float(scale)
        made[axis] = held[axis] if held[axis] == BATCH else int(held[axis] * scales[axis])
    if scales[0] != 1:
        call.refuse("changes the number of examples")
    return scales, made
