"""Settings that two layers must have in common besides their weights, compared if both nets have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.errors import ShapeError, printable

if TYPE_CHECKING:
    from steelyard.transfers.pairing import Pair
    from steelyard.transfers.pairing.net import Net

OTHER_FUNCTION = ("heads", "key_heads", "groups", "reset_after", "statistics")
"""Settings that change the function of a layer with the same weights."""
USUAL = {("batch norm", "statistics"): "running", ("instance norm", "statistics"): "batch"}
"""What a setting of a kind of layer is where the layer does not say it."""
COMPARED = ("epsilon", "activation", "recurrent_activation", "strides", "padding", "dilation", "negative_slope")
FOR_TRAINING = ("momentum",)
"""Settings that change training, not the outputs."""


def check_settings(pairs: list[Pair]) -> None:
    """Raise `ShapeError` if two layers are different functions whatever their weights."""
    for source, target, _ in pairs:
        if not source.settings or not target.settings:
            continue
        for name in OTHER_FUNCTION:
            mine, theirs = (each.settings.get(name, USUAL.get((each.kind, name))) for each in (source, target))
            if mine is not None and theirs is not None and mine != theirs:
                raise ShapeError(
                    f"{printable(source.name)} has {name}={mine}, {printable(target.name)} {name}={theirs}: with the same "
                    "weights these are different functions; build the target with the same setting"
                )


def differences(source: Net, target: Net, pairs: list[Pair]) -> list[str]:
    """Return a line for each setting in which both nets differ, and for each graph that cannot be listed."""
    differing = [line for each in pairs for line in _differing(each)]
    ends = ("source", source.why_no_graph), ("target", target.why_no_graph)
    unknown = [f"the {end} has no graph, so its settings were not compared: {why}" for end, why in ends if why]
    return [*differing, *_activations(source, target), *unknown]


def _differing(each: Pair) -> Iterator[str]:
    mine, theirs = each.source.settings, each.target.settings
    if not mine and not theirs:
        return
    for name in (*COMPARED, *FOR_TRAINING):
        if name == "padding" and _pads_alike(each):
            continue
        if name in mine and name in theirs and not _same(mine[name], theirs[name]):
            names = f"{printable(each.source.name)} has {name}={mine[name]}, {printable(each.target.name)} {name}={theirs[name]}"
            yield names + (" (training only)" if name in FOR_TRAINING else "")
    if "nnet_sigmoid" in (mine.get("activation"), theirs.get("activation")):
        yield f"{printable(each.source.name)}: R's nnet rounds its sigmoid to 0 or 1 beyond +-15, by up to 3.06e-7"


def _pads_alike(each: Pair) -> bool:
    """Whether "same" and explicit padding are equal: half of an odd kernel, with strides and dilation of one."""
    words = [layer.settings.get("padding") for layer in each[:2]]
    space = each.target.shape("kernel")[2:]
    steps = [step for layer in each[:2] for name in ("strides", "dilation") for step in _listed(layer.settings.get(name))]
    half = tuple((length - 1) // 2 for length in space)
    return "same" in words and half in words and all(length % 2 for length in space) and set(steps) <= {1}


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (tuple, list)) else [] if value is None else [value]


def _same(mine: object, theirs: object) -> bool:
    if isinstance(mine, (tuple, list)) and isinstance(theirs, (tuple, list)):
        return tuple(mine) == tuple(theirs)
    if {"nnet_sigmoid", "sigmoid"} == {mine, theirs}:
        return True
    return bool(mine == theirs)


def _activations(source: Net, target: Net) -> Iterator[str]:
    """Compare the activations of both nets in the order of execution, as layers or as settings of layers."""
    mine, theirs = _sequence(source), _sequence(target)
    if mine is None or theirs is None or mine == theirs:
        return
    if len(mine) == len(theirs):
        for nth, (one, other) in enumerate(zip(mine, theirs, strict=True), start=1):
            if one != other and not {one, other} <= {"sigmoid", "nnet_sigmoid"}:
                yield f"activation {nth} is {one} in the source, {other} in the target"


def _sequence(net: Net) -> list[str] | None:
    """Return the activations in order, or None if the order is not known."""
    if net.graph is None or not net.graph.is_execution_order:
        return None
    words = []
    for node in net.graph.layers:
        if node.kind in ("rnn", "lstm", "gru"):
            continue
        word = str(node.settings.get("activation") or ("softmax" if node.kind == "softmax" else ""))
        words += [word] if word and word not in ("linear", "identity") else []
    return words
