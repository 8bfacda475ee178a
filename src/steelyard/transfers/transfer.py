"""`transfer` and `plan_transfer`: put the weights of one net into the same architecture in another framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice, permutations, product
from typing import TYPE_CHECKING, Any

from steelyard.errors import ProofError
from steelyard.transfers.endpoints import Endpoint
from steelyard.transfers.pairing import fitting
from steelyard.transfers.planning import Options, make_plan
from steelyard.transfers.probes import inputs_of
from steelyard.transfers.proof import Proof, are_constant, compared, not_run

if TYPE_CHECKING:
    from steelyard.core.weight import Array
    from steelyard.transfers.pairing import Choice
    from steelyard.transfers.plan import Resize, TransferPlan
    from steelyard.transfers.rules import Names

TOLERANCE = 1e-5
"""Maximum difference of the outputs, divided by the largest output; deep float32 nets stay well below it."""
MAX_ORDERS = 24
"""Maximum orders of equal layers to try if only the outputs distinguish them."""


class Transfer:
    """The result of a transfer: the changed `model` (a new one if models are immutable), its `plan` and its `proof`."""

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
        """Return the plan and the proof as plain Python, for JSON."""
        return {"plan": self.plan.to_dict(), "proof": self.proof.to_dict()}


def plan_transfer(  # noqa: PLR0913 - each is a question that users have
    source: object,
    *,
    into: object,
    rules: Names = None,
    pairs: Names = None,
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
    resize: Resize | None = None,
    probe: object = None,
    skip_unreadable: bool = False,
    effective: bool = False,
) -> TransferPlan:
    r"""Plan which weights of `source` go where in `into`, and how their layout changes; nothing is written.

    `source` and `into` are models, files or `Weights`. Layers are paired by kind and shape, by their position in the
    data flow, or by equal names if nothing else is known; with `probe` inputs a model is run once to trace its data
    flow. `pairs` names partners, layer by layer or weight by weight; `rules` does so by regular expressions
    (``{"encoder.(.*)": r"enc/\1"}``). ``**TransferPlan.load(path)`` passes the decisions of a saved plan.
    With `effective` the source's weights are those of `Weights.effective`, such as dequantised ones.
    `only` and `skip` are shell patterns of layers or weights. `resize` ("pad" with zeros, "truncate") allows shapes to differ.

    Raises `AmbiguityError` for layers that no evidence distinguishes, `ShapeError` for those without a partner or of other sizes,
    and `UnreadableError` for weights that cannot be read, unless `skip_unreadable` leaves them out with a warning.

    Examples:
        >>> import numpy as np
        >>> torch = {"fc1.weight": np.ones((3, 2)), "fc2.weight": np.ones((1, 3))}
        >>> flax = {"a": {"kernel": np.ones((2, 3))}, "b": {"kernel": np.ones((3, 1))}}
        >>> plan_transfer(torch, into=flax).pairs
        {'fc1': 'a', 'fc2': 'b'}
    """
    one, other = _ends(source, into, skip_unreadable=skip_unreadable, effective=effective)
    _observed(one, other, probe)
    return _noted(make_plan(one.net, other.net, Options(rules, pairs, only, skip, resize))[0], one)


def transfer(  # noqa: PLR0913 - each is a question that users have
    source: object,
    *,
    into: object,
    probe: object = None,
    tolerance: float = TOLERANCE,
    rules: Names = None,
    pairs: Names = None,
    only: str | Iterable[str] = (),
    skip: str | Iterable[str] = (),
    resize: Resize | None = None,
    skip_unreadable: bool = False,
    effective: bool = False,
) -> Transfer:
    """Put the weights of `source` into `into`, in the layout that it expects, all or nothing.

    The arguments are those of `plan_transfer`. With `probe` (inputs in the source's layout, a dict of "source" and "into", or
    "random") both nets are run, in float64 if the framework supports it. Their outputs must agree within `tolerance`, the
    largest difference divided by the largest output; otherwise `ProofError` names the first layer that differs, and the
    target is restored. Equal layers that only the outputs distinguish are tried in every order. Without a probe, if one end is a
    file, or if the outputs do not depend on the inputs, `proof.proven` is false.

    Returns a `Transfer`, whose `model` is `into` itself, a new model if models are immutable, or `Weights` to save if `into`
    is a file. Raises `ProofError`, `LossyError` for a number that the target's dtype cannot represent, and the errors of
    `plan_transfer`.

    Examples:
        >>> import numpy as np
        >>> torch = {"fc.weight": np.array([[1.0, 2.0]]), "fc.bias": np.zeros(1)}
        >>> flax = {"dense": {"kernel": np.zeros((2, 1)), "bias": np.ones(1)}}
        >>> transfer(torch, into=flax).model["dense"]["kernel"].tolist()
        [[1.0], [2.0]]
    """
    one, other = _ends(source, into, skip_unreadable=skip_unreadable, effective=effective)
    inputs = _observed(one, other, probe)
    runs = one.runs and other.runs
    options = Options(rules, pairs, only, skip, resize)
    plan, choices = make_plan(one.net, other.net, options, guess=runs and inputs is not None)
    _noted(plan, one)
    if inputs is None or not runs:
        return Transfer(plan.apply(), plan, _unproven(one, other))
    return _proven(one, other, plan, choices, inputs, tolerance)


def _ends(source: object, into: object, *, skip_unreadable: bool, effective: bool) -> tuple[Endpoint, Endpoint]:
    one = Endpoint(source, skip_unreadable=skip_unreadable, effective=effective)
    other = Endpoint(into, skip_unreadable=skip_unreadable)
    one.learn_names(other)
    one.split_stacks(other)
    other.split_stacks(one)
    one.split_stacks(other)  # whose layers may have become a list only now
    one.learn_orders(other)
    other.learn_orders(one)
    return one, other


def _noted(plan: TransferPlan, source: Endpoint) -> TransferPlan:
    """Return the plan with what was assumed of its source."""
    plan.notes[:0] = source.notes
    return plan


def _observed(one: Endpoint, other: Endpoint, probe: object) -> tuple[list[Array], list[Array]] | None:
    """Return the inputs of both nets, None without a probe; models are run on them once to trace their data flow."""
    if probe is None:
        return None
    inputs = inputs_of(probe, one.net, other.net)
    one.observe(inputs[0])
    other.observe(inputs[1])
    return inputs


def _unproven(one: Endpoint, other: Endpoint) -> Proof:
    if one.runs and other.runs:
        return Proof("no probe was given; both nets were not run")
    return not_run(end.name for end in (one, other) if not end.runs)


def _proven(
    one: Endpoint,
    other: Endpoint,
    plan: TransferPlan,
    choices: list[Choice],
    inputs: tuple[list[Array], list[Array]],
    tolerance: float,
) -> Transfer:
    """Write the weights, run both nets, and restore the target unless the outputs agree."""
    before = one.run(inputs[0])
    constant = are_constant(before, inputs[0])
    kept = other.weights.copy()
    proofs = []
    for candidate in _candidates(plan, choices):
        try:
            model = candidate.apply()
            proof = compared(candidate, before, other.with_model(model).run(inputs[1]), tolerance)
        except BaseException:
            other.weights.assign(kept)
            raise
        if proof.proven and constant:
            proof = Proof("the outputs are constant: they do not depend on the inputs, so equal ones prove nothing")
            if not choices:
                return Transfer(model, candidate, proof)
        elif proof.proven:
            return Transfer(model, candidate, proof)
        other.weights.assign(kept)
        proofs.append(proof)
    raise ProofError(_refuted(plan, proofs))


def _candidates(plan: TransferPlan, choices: list[Choice]) -> Iterator[TransferPlan]:
    """Yield the plan, then the plans that pair equal layers in other orders."""
    yield plan
    orders = [list(_orders(choice)) for choice in choices]
    for way in islice(product(*orders), 1, MAX_ORDERS):
        swapped = {source.name: target.name for choice in way for source, target in choice}
        yield plan.with_pairs(swapped)


def _orders(choice: Choice) -> Iterator[list[Any]]:
    for order in islice(permutations(choice.targets, len(choice.sources)), MAX_ORDERS):
        pairs = list(zip(choice.sources, order, strict=False))
        if all(fitting(source, target) for source, target in pairs):
            yield pairs


def _refuted(plan: TransferPlan, proofs: list[Proof]) -> str:
    first = proofs[0]
    if first.why:
        return f"nothing was written: {first.why}"
    text = f"the outputs differ by {first.max_rel:.2g} of the largest, more than {first.tolerance:g}; the target is as it was"
    if apart := first.first_apart:
        text += f"; the first layer whose output differs is {apart.source} ({apart.target} in the target), by {apart.error:.2g}"
    if plan.notes:
        text += f"; the nets differ: {'; '.join(plan.notes[:3])}"
    return text + (f"; {len(proofs)} orders of equal layers were tried" if len(proofs) > 1 else "")
