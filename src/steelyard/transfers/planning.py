"""Make a plan: pair the layers of two nets, apply the user's options, and refuse ambiguous or unpaired layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.patterns import fits
from steelyard.errors import AmbiguityError, ShapeError, printable, quoted
from steelyard.layers.keras.cudnn import CUDNN
from steelyard.text.units import counted
from steelyard.transfers.pairing import Choice, Pair, pair, untied_copies
from steelyard.transfers.pairing.net import missing_graphs
from steelyard.transfers.pairing.unassigned import unassigned_layers, unassigned_pairs
from steelyard.transfers.plan import Resize, TransferPlan
from steelyard.transfers.rules import checked_names, given_pairs

if TYPE_CHECKING:
    from steelyard.transfers.layers.layer_weights import LayerWeights
    from steelyard.transfers.pairing.net import Net
    from steelyard.transfers.rules import Names


class Options(NamedTuple):
    """The user's options of a plan; see `steelyard.plan_transfer`."""

    rules: Names = None
    pairs: Names = None
    only: str | Iterable[str] = ()
    skip: str | Iterable[str] = ()
    resize: Resize | None = None


def make_plan(source: Net, target: Net, options: Options, *, guess: bool = False) -> tuple[TransferPlan, list[Choice]]:
    """Pair two nets, and return the plan and the choices that were guessed, if `guess` allows it.

    Raises `AmbiguityError` for layers that no evidence distinguishes, `ShapeError` for layers without a partner.
    """
    resize = options.resize
    if resize not in (None, "pad", "truncate"):
        raise ShapeError(f'resize is {resize!r}; it must be "pad", "truncate" or None')
    only, skip = _patterns(options.only), _patterns(options.skip)
    everything = ([*net.layers, *unassigned_layers(net)] for net in (source, target))
    given = given_pairs(checked_names(options.rules, "rules"), checked_names(options.pairs, "pairs"), *everything)
    sources = [layer for layer in source.layers if not layer.tied and not _is_left_out(layer, only, skip)]
    targets = [layer for layer in target.layers if not layer.tied and not _is_left_out(layer, only, skip)]
    copies = {id(layer) for layer in untied_copies(sources, targets) if layer.name not in given}
    sources = [layer for layer in sources if id(layer) not in copies]
    _refuse_cudnn(targets)
    pairing = pair(source, target, given, sources, targets)
    made = list(pairing.pairs)
    if resize:
        made += _of_other_sizes(pairing.sources, pairing.targets)
    unclear = f"; {pairing.wrapped.note}" if pairing.wrapped.note and not pairing.wrapped.is_found else ""
    reasons = unclear + missing_graphs(source, target)
    equal = [choice for choice in pairing.choices if len(choice.sources) == len(choice.targets)]
    if equal and not guess:
        raise AmbiguityError(_ambiguous(equal) + reasons)
    made += [each for choice in equal for each in choice.suggested]
    _refuse_unpaired(made, sources, targets, reasons)
    made += unassigned_pairs(source, target, given, lambda weight: not _any_left_out([weight.name], only, skip))
    wrapped = pairing.wrapped if pairing.wrapped.is_found else None
    return TransferPlan(source, target, made, {"only": only, "skip": skip, "resize": resize}, wrapped), equal


def _refuse_cudnn(targets: list[LayerWeights]) -> None:
    for layer in targets:
        if any(weight.encoding == CUDNN for weight in layer.weights.values()):
            raise ShapeError(
                f"{printable(layer.name)} of the target has the layout of cuDNN, which transfers read but do not write; "
                "use a model with the layer LSTM or GRU as the target"
            )


def _patterns(given: str | Iterable[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _is_left_out(layer: LayerWeights, only: Sequence[str], skip: Sequence[str]) -> bool:
    in_graph = [layer.graph_layer.name] if layer.graph_layer else []
    return _any_left_out([layer.name, *in_graph, *layer.weights], only, skip)


def _any_left_out(names: list[str], only: Sequence[str], skip: Sequence[str]) -> bool:
    return bool(only and not _any_match(names, only)) or _any_match(names, skip)


def _any_match(names: Iterable[str], patterns: Sequence[str]) -> bool:
    return any(fits(name, pattern) or fits(name, f"{pattern}[./]*") for name in names for pattern in patterns)


def _of_other_sizes(sources: list[LayerWeights], targets: list[LayerWeights]) -> Iterator[Pair]:
    """Pair layers of different sizes, which only `resize` allows: layers of one name, or the only ones of a kind."""
    alike: dict[str, list[LayerWeights]] = {}
    named_alike: dict[tuple[str, str], list[LayerWeights]] = {}
    for each in (each for layer in sources for each in layer.interpretations):
        alike.setdefault(each.kind, []).append(each)
        named_alike.setdefault((each.kind, each.name), []).append(each)
    for target in targets:
        named = named_alike.get((target.kind, target.name)) or alike.get(target.kind, [])
        if len(named) == 1:
            yield Pair(named[0], target, "the only one of its kind and name")


def _refuse_unpaired(made: list[Pair], sources: list[LayerWeights], targets: list[LayerWeights], graphs: str) -> None:
    mine = _without([each.source for each in made], sources)
    theirs = _without([each.target for each in made], targets)
    if not mine and not theirs:
        return
    first = (theirs or mine)[0]
    side, other = ("target", "source") if theirs else ("source", "target")
    others = ", ".join(_described(layer) for layer in (mine if theirs else theirs)[:3]) or "none"
    raise ShapeError(
        f"{_described(first)} of the {side} has no partner in the {other}; unmatched there: {others} "
        f"({counted(len(theirs), 'layer')} of the target and {len(mine)} of the source in all); "
        f"leave it out with skip=, or name its partner with pairs={graphs}"
    )


def _without(paired: Iterable[LayerWeights], layers: list[LayerWeights]) -> list[LayerWeights]:
    names = {layer.name for layer in paired}
    return [layer for layer in layers if layer.name not in names]


def _described(layer: LayerWeights) -> str:
    shapes = ", ".join(f"{purpose} {list(part.shape)}" for (purpose, _), part in list(layer.parts.items())[:2])
    return f"{quoted(layer.name)} ({layer.kind}: {shapes})"


def _ambiguous(choices: list[Choice]) -> str:
    first = choices[0]
    mine = ", ".join(printable(layer.name) for layer in first.sources[:6])
    theirs = ", ".join(printable(layer.name) for layer in first.targets[:6])
    more = f" (and {len(choices) - 1} more groups)" if len(choices) > 1 else ""
    return (
        f"it is not known which of {mine} is which of {theirs}: they are of one kind and shape{more}; "
        "name the partners with pairs= or rules=, or pass probe= inputs, so that the outputs decide"
    )
