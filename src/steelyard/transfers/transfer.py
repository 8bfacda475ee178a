"""`transfer` and `plan_transfer`: the weights of one net into the same architecture of another framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, permutations, product
from typing import TYPE_CHECKING, Any

from steelyard.errors import ProofError, ShapeError
from steelyard.transfers.endpoints import Endpoint
from steelyard.transfers.pairing import fitting
from steelyard.transfers.pairing.unassigned import unassigned_layers
from steelyard.transfers.plan import TransferPlan, make_plan
from steelyard.transfers.probes import inputs_of
from steelyard.transfers.proof import Proof, compared, not_run
from steelyard.transfers.rules import checked_names, given_pairs

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.transfers.pairing import Choice
    from steelyard.transfers.pairing.net import Net
    from steelyard.transfers.plan import Resize
    from steelyard.transfers.rules import Names

TOLERANCE = 1e-5
"""What the outputs may differ, over the largest: float32 nets of many layers stay well below it."""
ORDERS = 24
"""Orders of layers that are tried where nothing but the outputs can tell."""


class Transfer:
    """What a transfer did: the changed `model` (a new one where models are immutable), its `plan` and its `proof`."""

    __slots__ = ("model", "plan", "proof")

    def __init__(self, model: Any, plan: TransferPlan, proof: Proof) -> None:
        self.model = model
        self.plan = plan
        self.proof = proof

    def __repr__(self) -> str:
        return f"{self.plan}\n{self.proof}"

    def _repr_html_(self) -> str:
        from steelyard.text.results import transfer_html

        return transfer_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan and the proof as plain data."""
        return {"plan": self.plan.to_dict(), "proof": self.proof.to_dict()}


def plan_transfer(
    source: Any,
    *,
    into: Any,
    rules: Names = None,
    pairs: Names = None,
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
    resize: Resize | None = None,
    probe: Any = None,
) -> TransferPlan:
    r"""Say which weights of `source` would go where in `into`, and how they would be turned; nothing is written.

    `source` and `into` are models, files or `Weights`. Layers are paired by kind and shape, by their place in the
    flow of data, or by equal names where nothing else is known; `probe` inputs let a model be run once to see its
    flow. `pairs` names partners, layer by layer or weight by weight; `rules` does so by regular expressions
    (``{"encoder.(.*)": r"enc/\1"}``). ``**TransferPlan.load(path)`` passes the decisions of a saved plan.
    `only` and `skip` are shell patterns of layers or weights. `resize` ("pad" with zeros, "truncate") allows shapes to differ.

    Raises `AmbiguityError` for layers that nothing tells apart, `ShapeError` for those without a partner.

    Examples:
        >>> import numpy as np
        >>> torch = {"fc1.weight": np.ones((3, 2)), "fc2.weight": np.ones((1, 3))}
        >>> flax = {"a": {"kernel": np.ones((2, 3))}, "b": {"kernel": np.ones((3, 1))}}
        >>> plan_transfer(torch, into=flax).pairs
        {'fc1': 'a', 'fc2': 'b'}
    """
    one, other = Endpoint(source), Endpoint(into)
    nets, _ = _nets(one, other, probe)
    return _planned(*nets, rules, pairs, only, skip, resize, guess=False)[0]


def transfer(  # noqa: PLR0913 - each is a question that users have
    source: Any,
    *,
    into: Any,
    probe: Any = None,
    tolerance: float = TOLERANCE,
    rules: Names = None,
    pairs: Names = None,
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
    resize: Resize | None = None,
) -> Transfer:
    """Put the weights of `source` into `into`, laid out as that wants them, all or nothing.

    The arguments are those of `plan_transfer`. With `probe` (inputs as the source takes them, a dict of "source" and "into", or
    "random") both nets are run, in float64 where the framework can, and must agree within `tolerance`, the largest
    difference over the largest output; else `ProofError` names the first layer that differs, and the target is as
    it was. Layers that only the outputs can tell apart are then tried in order. Without it, or where one side
    is a file, the proof says that nothing is proven.

    Returns a `Transfer`: its `model` is `into` itself, a new one where models are immutable, or `Weights` to save
    where `into` is a file.

    Examples:
        >>> import numpy as np
        >>> torch = {"fc.weight": np.array([[1.0, 2.0]]), "fc.bias": np.zeros(1)}
        >>> flax = {"dense": {"kernel": np.zeros((2, 1)), "bias": np.ones(1)}}
        >>> transfer(torch, into=flax).model["dense"]["kernel"].tolist()
        [[1.0], [2.0]]
    """
    one, other = Endpoint(source), Endpoint(into)
    nets, inputs = _nets(one, other, probe)
    runs = inputs is not None and one.runs and other.runs
    made, choices = _planned(*nets, rules, pairs, only, skip, resize, guess=runs)
    if inputs is None or not runs:
        return Transfer(made.apply(), made, _unproven(one, other))
    return _proven(one, other, made, choices, inputs, tolerance)


def _nets(one: Endpoint, other: Endpoint, probe: Any) -> tuple[tuple[Net, Net], tuple[list[Array], list[Array]] | None]:
    """Return both nets, and their inputs where there is a probe; those that can be run are, to see their flow."""
    nets = one.net(), other.net()
    if probe is None:
        return nets, None
    inputs = inputs_of(probe, *nets)
    mine = one.net(inputs[0]) if one.runs else nets[0]
    theirs = other.net(inputs[1]) if other.runs else nets[1]
    return (mine, theirs), inputs


def _planned(
    source: Net,
    target: Net,
    rules: Names,
    pairs: Names,
    only: str | Iterable[str],
    skip: str | Iterable[str],
    resize: Resize | None,
    *,
    guess: bool,
) -> tuple[TransferPlan, list[Choice]]:
    if resize not in (None, "pad", "truncate"):
        raise ShapeError(f'resize is {resize!r}; it must be "pad", "truncate" or None')
    everything = ([*net.layers, *unassigned_layers(net)] for net in (source, target))
    given = given_pairs(checked_names(rules, "rules"), checked_names(pairs, "pairs"), *everything)
    return make_plan(
        source, target, pairs=given, only=_patterns(only), skip=_patterns(skip), resize=resize, guess=guess
    )  # fmt: skip


def _patterns(found: str | Iterable[str]) -> Sequence[str]:
    return [found] if isinstance(found, str) else list(found)


def _unproven(one: Endpoint, other: Endpoint) -> Proof:
    if one.runs and other.runs:
        return Proof("no probe was given; both nets were not run")
    return not_run(side.name for side in (one, other) if not side.runs)


def _proven(
    one: Endpoint,
    other: Endpoint,
    made: TransferPlan,
    choices: list[Choice],
    inputs: tuple[list[Array], list[Array]],
    tolerance: float,
) -> Transfer:
    """Write, run both nets, and take it back unless they agree."""
    before = one.run(inputs[0])
    kept = other.weights.copy()
    proofs = []
    for candidate in _candidates(made, choices):
        try:
            model = candidate.apply()
            side = other if model is other.model else Endpoint(model)
            proof = compared(candidate, before, side.run(inputs[1]), tolerance)
        except BaseException:
            other.weights.assign(kept)
            raise
        if proof.proven:
            return Transfer(model, candidate, proof)
        other.weights.assign(kept)
        proofs.append(proof)
    raise ProofError(_refuted(made, proofs))


def _candidates(made: TransferPlan, choices: list[Choice]) -> Iterator[TransferPlan]:
    """Yield the plan, and then those in which the layers that nothing tells apart stand in another order."""
    yield made
    orders = [list(_orders(choice)) for choice in choices]
    for way in islice(product(*orders), 1, ORDERS):
        swapped = {source.name: target.name for choice in way for source, target in choice}
        yield made.with_pairs(swapped)


def _orders(choice: Choice) -> Iterator[list[Any]]:
    for order in islice(permutations(choice.targets, len(choice.sources)), ORDERS):
        pairs = list(zip(choice.sources, order, strict=False))
        if all(fitting(source, target) for source, target in pairs):
            yield pairs


def _refuted(made: TransferPlan, proofs: list[Proof]) -> str:
    first = proofs[0]
    if first.why:
        return f"nothing was written: {first.why}"
    text = f"the outputs differ by {first.max_rel:.2g} of the largest, more than {first.tolerance:g}; the target is as it was"
    if apart := first.first_apart:
        text += f"; the first layer whose output differs is {apart.source} ({apart.target} in the target), by {apart.error:.2g}"
    if made.notes:
        text += f"; the nets differ: {'; '.join(made.notes[:3])}"
    return text + (f"; {len(proofs)} orders of equal layers were tried" if len(proofs) > 1 else "")
