"""Interpretations of weights with known names and shapes only, as in a plain state dict.

A name is rarely unambiguous: a "weight" of two axes is a dense kernel or an embedding, one of four axes a kernel of a
convolution or of a transposed convolution. Each possibility is an interpretation. The other net decides between them; if it
does not, the transfer is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from steelyard.core.weight import Role, Weight
from steelyard.errors import ShapeError
from steelyard.transfers.layers.groups import layer_groups
from steelyard.transfers.layers.layer_weights import LayerWeights, weights_of_layer
from steelyard.transfers.layers.norms import norm_purpose

if TYPE_CHECKING:
    Members = dict[str, Weight]

_SPACES = {3: "k", 4: "kh kw", 5: "kd kh kw"}
_NORMS = ("layer norm", "group norm", "instance norm")


class RoleAxes(NamedTuple):
    """The role and axes of one weight in an interpretation."""

    role: Role
    axes: str = ""


class Interpretation(NamedTuple):
    """A kind of layer, and the role and axes of each of its weights, by leaf name."""

    kind: str
    facts: dict[str, RoleAxes]
    settings: dict[str, bool] = {}  # noqa: RUF012 - of a tuple, never written to


class Vocabulary(NamedTuple):
    """The leaf names by which a layer is recognised, and its interpretations."""

    leaves: str
    interpretations: Callable[[Members], Iterator[Interpretation]]


def interpreted(weights: Iterable[Weight], unassigned: list[Weight]) -> list[LayerWeights]:
    """Return the layers of a list of weights, with further interpretations in `LayerWeights.alternatives`.

    Weights that no vocabulary recognises are added to `unassigned`; counters are left out.
    """
    layers: list[LayerWeights] = []
    known: dict[Hashable, list[LayerWeights]] = {}  # layers that look alike have the same interpretations
    for name, members in layer_groups(weights).items():
        look = tuple([(leaf, weight.shape, weight.role, weight.axes) for leaf, weight in members.items()])
        patterns = known.get(look)
        if patterns is None:
            patterns = known[look] = _patterns(members)
        layers += [pattern.twin(name, members) for pattern in patterns]
        if not patterns:
            unassigned += [weight for weight in members.values() if weight.role is not Role.COUNT]
    return layers


def _patterns(members: Members) -> list[LayerWeights]:
    """Return the layers of the first interpretation, without their names: each weight has the name of its leaf."""
    named = {leaf: weight.replace(name=leaf) for leaf, weight in members.items()}
    made_of = [made for interpretation in _interpretations(named) if (made := _made(interpretation, named))]
    if not made_of:
        return []
    first, *others = made_of
    if len(first) == 1:
        first[0].alternatives = [layer for layers in others if len(layers) == 1 for layer in layers]
    return first


def _made(interpretation: Interpretation, members: Members) -> list[LayerWeights]:
    """Return the layers of one interpretation; none if it does not fit the shapes."""
    named = []
    for leaf, weight in members.items():
        fact = interpretation.facts.get(leaf)
        if fact is None and weight.role is not Role.COUNT:
            return []
        if fact is not None:
            # axes with packed gates belong to the interpretation: another one packs them in another order
            axes = fact.axes if "[" in fact.axes else weight.axes or fact.axes
            named.append((leaf, weight.replace(role=fact.role, axes=axes)))
    try:
        return weights_of_layer("", interpretation.kind, named, settings=interpretation.settings)
    except ShapeError:
        return []


def _interpretations(members: Members) -> Iterator[Interpretation]:
    leaves = " ".join(sorted(leaf for leaf, weight in members.items() if weight.role is not Role.COUNT))
    for words in _vocabularies(leaves):
        yield from (interpretation for interpretation in words.interpretations(members) if _agrees(interpretation, members))


@lru_cache(maxsize=1024)
def _vocabularies(leaves: str) -> list[Vocabulary]:
    """Return the vocabularies that recognise these leaf names; cached, since the layers of a net repeat them."""
    return [words for words in VOCABULARIES if re.fullmatch(words.leaves, leaves)]


def _agrees(interpretation: Interpretation, members: Members) -> bool:
    """Whether the axes of an interpretation are those of the weights, as far as these are known."""
    return all(
        not members[leaf].axes or not fact.axes or "[" in fact.axes or len(members[leaf].axes.split()) != len(fact.axes.split())
        or _same_axes(members[leaf].axes, fact.axes)
        for leaf, fact in interpretation.facts.items()
        if fact.role in (Role.KERNEL, Role.EMBEDDING, Role.RECURRENT_KERNEL)
    )  # fmt: skip


def _same_axes(one: str, other: str) -> bool:
    plain = re.compile(r"\d+\b")
    return plain.sub("", one) == plain.sub("", other)


# The interpretations of a layer by its leaf names.


def _dense_or_more(members: Members) -> Iterator[Interpretation]:
    """A "weight" of PyTorch."""
    weight = members["weight"]
    bias = {"bias": RoleAxes(Role.BIAS, "out")} if "bias" in members else {}
    rank = len(weight.shape)
    if rank == 1 or (bias and members["bias"].shape == weight.shape):
        yield from _scaled("weight", members)
    elif rank == 2:
        axes = weight.axes if weight.axes == "in out" else "out in"
        yield Interpretation("dense", {"weight": RoleAxes(Role.KERNEL, axes), **bias})
        if not bias:
            yield Interpretation("embedding", {"weight": RoleAxes(Role.EMBEDDING, "vocab out")})
    elif rank in _SPACES:
        for kind, axes in (("conv", "out in"), ("conv transpose", "in out")):
            if not bias or members["bias"].size == weight.shape[axes.split().index("out")] or kind == "conv transpose":
                yield Interpretation(kind, {"weight": RoleAxes(Role.KERNEL, f"{axes} {_SPACES[rank]}"), **bias})


def _kernel(members: Members) -> Iterator[Interpretation]:
    """A "kernel" of Keras or Flax."""
    rank = len(members["kernel"].shape)
    bias = {"bias": RoleAxes(Role.BIAS, "out")} if "bias" in members else {}
    if rank == 2:
        yield Interpretation("dense", {"kernel": RoleAxes(Role.KERNEL, "in out"), **bias})
    elif rank in _SPACES:
        space = _SPACES[rank]
        reversed_space = " ".join(f"-{word}" for word in space.split())  # Flax, without transpose_kernel
        known = members["kernel"].axes
        for kind, axes in (
            ("conv", f"{space} in out"),
            ("conv transpose", f"{space} out in"),
            ("conv transpose", f"{reversed_space} in out"),
            ("conv", f"{space} in mult"),
        ):
            if _bias_fits(members, axes) and (not known or known == axes):
                yield Interpretation(kind, {"kernel": RoleAxes(Role.KERNEL, axes), **bias})


def _plural(members: Members) -> Iterator[Interpretation]:
    """A kernel and a bias as TensorFlow 1 named them."""
    rank = len(members["weights"].shape)
    axes = f"{_SPACES[rank]} in out" if rank in _SPACES else "in out"
    facts = {"weights": RoleAxes(Role.KERNEL, axes), "biases": RoleAxes(Role.BIAS, "out")}
    yield Interpretation("conv" if rank in _SPACES else "dense", facts)


def _bias_fits(members: Members, axes: str) -> bool:
    if "bias" not in members:
        return True
    shape = dict(zip(axes.split(), members["kernel"].shape, strict=True))
    return members["bias"].size == (shape["in"] * shape["mult"] if "mult" in shape else shape["out"])


def _scaled(leaf: str, members: Members) -> Iterator[Interpretation]:
    """A norm: one with a mean is a batch norm, one without an offset may be an RMS norm or the slope of a PReLU."""
    offset = next((word for word in ("bias", "beta") if word in members), "")
    facts = {leaf: RoleAxes(Role.SCALE)} | ({offset: RoleAxes(Role.OFFSET)} if offset else {})
    if not offset:
        yield Interpretation("rms norm", facts)
        if leaf == "weight":
            yield Interpretation("prelu", {leaf: RoleAxes(Role.OTHER)})
    for kind in _NORMS:
        yield Interpretation(kind, facts)


def _batch_norm(members: Members) -> Iterator[Interpretation]:
    roles = {"mean": Role.MEAN, "var": Role.VARIANCE, "gamma": Role.SCALE, "scale": Role.SCALE, "weight": Role.SCALE}
    leaves = [leaf for leaf, weight in members.items() if weight.role is not Role.COUNT]
    facts = {leaf: RoleAxes(roles.get(re.sub(r"running_|moving_|iance", "", leaf), Role.OFFSET)) for leaf in leaves}
    for kind in ("batch norm", "instance norm"):
        yield Interpretation(kind, facts)


def _offset(members: Members) -> Iterator[Interpretation]:
    for kind in _NORMS:
        yield Interpretation(kind, {leaf: RoleAxes(Role.OFFSET) for leaf in members})


def _gates(members: Members, recurrent: str, axis: int) -> tuple[str, str]:
    """Return the kind and the order of the gates, by the ratio of the two sides of the recurrent kernel; else empty texts."""
    shape = next((weight.shape for leaf, weight in members.items() if leaf.startswith(recurrent)), ())
    times = shape[axis] // max(shape[1 - axis], 1) if len(shape) == 2 else 0
    return {4: ("lstm", "ifgo"), 3: ("gru", "rzn"), 1: ("rnn", "")}.get(times, ("", ""))


def _torch_recurrent(members: Members) -> Iterator[Interpretation]:
    kind, gates = _gates(members, "weight_hh", 0)
    if kind:
        out = f"[{gates}]*out" if gates else "out"
        facts = {
            leaf: RoleAxes(Role.BIAS, out) if leaf.startswith("bias")
            else RoleAxes(Role.RECURRENT_KERNEL if leaf.startswith("weight_hh") else Role.KERNEL, f"{out} in")
            for leaf in members
        }  # fmt: skip
        yield Interpretation(kind, facts, {"reset_after": True} if kind == "gru" else {})


def _plain_recurrent(members: Members) -> Iterator[Interpretation]:
    """A cell of Equinox: one bias, and for a GRU perhaps a bias of the hidden state in the new gate (n).

    Without the latter it is not known whether the GRU resets before or after the product, so only an equal one is its partner.
    """
    kind, gates = _gates(members, "weight_hh", 0)
    if kind:
        out = f"[{gates}]*out" if gates else "out"
        facts = {"weight_ih": RoleAxes(Role.KERNEL, f"{out} in"), "weight_hh": RoleAxes(Role.RECURRENT_KERNEL, f"{out} in")}
        facts |= {leaf: RoleAxes(Role.BIAS, "[n]*out" if leaf == "bias_n" else out) for leaf in members if leaf not in facts}
        yield Interpretation(kind, facts, {"reset_after": "bias_n" in members} if kind == "gru" else {})


def _keras_recurrent(members: Members) -> Iterator[Interpretation]:
    kind, gates = _gates(members, "recurrent_kernel", 1)
    if kind:
        out = f"[{'zrn' if kind == 'gru' else gates}]*out" if gates else "out"
        facts = {"kernel": RoleAxes(Role.KERNEL, f"in {out}"), "recurrent_kernel": RoleAxes(Role.RECURRENT_KERNEL, f"in {out}")}
        if "bias" in members:
            facts["bias"] = RoleAxes(Role.BIAS, f"[ih] {out}" if len(members["bias"].shape) == 2 else out)
        is_known = kind == "gru" and "bias" in members
        yield Interpretation(kind, facts, {"reset_after": len(members["bias"].shape) == 2} if is_known else {})


def _packed_cell(members: Members) -> Iterator[Interpretation]:
    kind, gates = _gates(members, "dense_h/kernel", 1)
    if kind:
        out = f"[{gates}]*out" if gates else "out"
        roles = {"dense_i/kernel": Role.KERNEL, "dense_h/kernel": Role.RECURRENT_KERNEL}
        facts = {leaf: RoleAxes(roles[leaf], f"in {out}") if leaf in roles else RoleAxes(Role.BIAS, out) for leaf in members}
        yield Interpretation(kind, facts, {"reset_after": True} if kind == "gru" else {})


def _cell(members: Members) -> Iterator[Interpretation]:
    """A cell of Flax, which stores each gate separately: `ii/kernel`, `hf/bias`."""
    gates = {leaf.partition("/")[0].rstrip("_")[1:] for leaf in members}
    kind = "lstm" if gates == set("ifgo") else "gru" if gates == set("rzn") else "rnn" if gates == {""} else ""
    if kind:
        facts = {leaf: _cell_fact(*leaf.split("/")) for leaf in members}
        yield Interpretation(kind, facts, {"reset_after": True} if kind == "gru" else {})


def _cell_fact(gate: str, leaf: str) -> RoleAxes:
    letter = gate.rstrip("_")[1:]
    out = f"[{letter}]*out" if letter else "out"
    if leaf == "bias":
        return RoleAxes(Role.BIAS, out)
    return RoleAxes(Role.RECURRENT_KERNEL if gate.startswith("h") else Role.KERNEL, f"in {out}")


def _attention(members: Members) -> Iterator[Interpretation]:
    yield Interpretation("attention", {leaf: _attention_fact(leaf, weight) for leaf, weight in members.items()})


def _attention_fact(leaf: str, weight: Weight) -> RoleAxes:
    rank = len(weight.shape)
    if leaf == "in_proj_weight":
        return RoleAxes(Role.KERNEL, "[qkv]*out in")
    if leaf == "in_proj_bias":
        return RoleAxes(Role.BIAS, "[qkv]*out")
    if leaf.endswith("bias"):
        return RoleAxes(Role.BIAS, "heads dim" if rank == 2 else "out")
    if rank == 3:
        return RoleAxes(Role.KERNEL, "heads dim out" if re.match(r"out|attention_output", leaf) else "in heads dim")
    return RoleAxes(Role.KERNEL, "in out" if leaf.endswith("kernel") else "out in")


def _normed(members: Members) -> Iterator[Interpretation]:
    """Weight norm or spectral norm of PyTorch: the direction or the raw kernel has the axes of the kernel."""
    kernel = next((leaf for leaf in members if norm_purpose(leaf) in ("direction", "raw kernel") or leaf == "weight_v"), None)
    if kernel is None:
        return  # it is missing, or cannot be read
    plain = {**{leaf: weight for leaf, weight in members.items() if leaf == "bias"}, "weight": members[kernel]}
    for interpretation in _dense_or_more(plain):
        facts = {leaf: RoleAxes(Role.OTHER) for leaf in members}
        facts |= {kernel: interpretation.facts["weight"]} | {
            leaf: fact for leaf, fact in interpretation.facts.items() if leaf == "bias"
        }
        yield Interpretation(interpretation.kind, facts)


def _separable(members: Members) -> Iterator[Interpretation]:
    space = _SPACES.get(len(members["depthwise_kernel"].shape), "k")
    facts = {
        "depthwise_kernel": RoleAxes(Role.KERNEL, f"{space} in mult"),
        "pointwise_kernel": RoleAxes(Role.KERNEL, f"{space} in out"),
    }
    yield Interpretation("conv", facts | ({"bias": RoleAxes(Role.BIAS, "out")} if "bias" in members else {}))


def _depthwise(members: Members) -> Iterator[Interpretation]:
    """A depthwise convolution as Keras 1 and 2 named it."""
    facts = {"depthwise_kernel": RoleAxes(Role.KERNEL, f"{_SPACES.get(len(members['depthwise_kernel'].shape), 'k')} in mult")}
    yield Interpretation("conv", facts | ({"bias": RoleAxes(Role.BIAS, "out")} if "bias" in members else {}))


def _linear(members: Members) -> Iterator[Interpretation]:
    """scikit-learn: `coefs_` and `intercepts_` of one layer, or `coef_` and `intercept_`."""
    kernel = next(leaf for leaf in members if leaf.startswith("coef"))
    axes = {"coefs_": "in out", "coef_": "in" if len(members[kernel].shape) == 1 else "out in"}[kernel]
    yield Interpretation(
        "dense", {leaf: RoleAxes(Role.KERNEL, axes) if leaf == kernel else RoleAxes(Role.BIAS, "out") for leaf in members}
    )


def _only(kind: str, role: Role, axes: str = "") -> Callable[[Members], Iterator[Interpretation]]:
    def interpretation(members: Members) -> Iterator[Interpretation]:
        yield Interpretation(kind, dict.fromkeys(members, RoleAxes(role, axes)))

    return interpretation


_MEANS = r"(?:(?:beta|bias|gamma|scale|weight) )*(?:moving_mean moving_variance|running_mean running_var|mean var)"
VOCABULARIES: tuple[Vocabulary, ...] = (
    Vocabulary(r"(bias )?weight", _dense_or_more),
    Vocabulary(r"(bias )?(parametrizations\.weight\.original[01]? ?|parametrizations\.weight\.0\._[uv] ?)+", _normed),
    Vocabulary(r"(bias )?weight_g weight_v|(bias )?weight_orig weight_u( weight_v)?", _normed),
    Vocabulary(r"(bias )?kernel", _kernel),
    Vocabulary(r"biases weights", _plural),
    Vocabulary(r"(?:bias )?mean (?:scale )?var|(?:bias )?mean var(?: weight)?", _batch_norm),
    Vocabulary(_MEANS + r"(?: weight)?", _batch_norm),
    Vocabulary(r"(beta )?gamma", lambda members: _scaled("gamma", members)),
    Vocabulary(r"(bias )?scale", lambda members: _scaled("scale", members)),
    Vocabulary(r"beta", _offset),
    Vocabulary(r"(?: ?(?:bias|weight)_[ih]h(?:_l\d+)?(?:_reverse)?)+", _torch_recurrent),
    Vocabulary(r"(?:b |bias )?(?:bias_n )?weight_hh weight_ih", _plain_recurrent),
    Vocabulary(r"(bias )?kernel recurrent_kernel", _keras_recurrent),
    Vocabulary(r"(?: ?dense_[ih]/(?:kernel|bias))+", _packed_cell),
    Vocabulary(r"(?: ?[ih][ifgorzn]?_?/(?:kernel|bias))+", _cell),
    Vocabulary(r"(?=.*(?:query|q_proj|in_proj))(?: ?(?:in|out|[qkv]|query|key|value|output|attention_output)\S*)+", _attention),
    Vocabulary(r"(bias )?depthwise_kernel pointwise_kernel", _separable),
    Vocabulary(r"(bias )?depthwise_kernel", _depthwise),
    Vocabulary(r"coef_( intercept_)?|coefs_( intercepts_)?", _linear),
    Vocabulary(r"embeddings?", _only("embedding", Role.EMBEDDING, "vocab out")),
    Vocabulary(r"alpha|negative_slope", _only("prelu", Role.OTHER)),
)
"""Regular expressions for the leaf names of a layer in alphabetical order, with their interpretations."""
