"""Infer the roles and axes of weights from the names and shapes of their layers.

Live modules, configs and the operators of a graph define roles; these rules are for all other weights. They infer only what a
layer's own weights prove:

| weights of a layer | roles | axes |
|---|---|---|
| "weight" (a, b), "bias" (a), a is not b | kernel, bias | out in, out |
| "weight" (a, b), "bias" (b), a is not b | kernel, bias | in out, out |
| "weight" (a, a), "bias" (a) | kernel, bias | blank, out |
| "weight" and "bias" of one shape | scale, offset | channel, if there is one axis |
| "weight" (a), running statistics (a) | scale | channel |
| "weight" of a layer whose name or class is that of a norm | scale | channel, if there is one axis |
| "weight" (a, b) alone, named as an embedding | embedding | vocab out |

A kernel without a bias has blank axes, and a weight that matches no rule stays "other": a "weight" with one axis may be a
linear model, a slope or a norm, and one with two and neither a bias nor a name for its layer may be an embedding. Packed
numbers of a quantised layer are "other" too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain, pairwise, repeat
from operator import attrgetter

from steelyard.core.names import changes, marks, templates
from steelyard.core.weight import Role, Weight

Proof = list[tuple[int, Role, str]]
"""The weights of a layer that have other facts than before, by their places in the layer, with role and axes."""

_LEAVES: tuple[tuple[str, Role], ...] = (
    (r"num_batches_tracked|iterations?|step|counter", Role.COUNT),
    (r"(running|moving)_(mean|avg)|mean", Role.MEAN),
    (r"(running|moving)_(var|variance)|var|variance", Role.VARIANCE),
    (r"recurrent_kernel|weight_hh(_l\d+)?(_reverse)?", Role.RECURRENT_KERNEL),
    (r"(depthwise_|pointwise_)?kernel|weight_ih(_l\d+)?(_reverse)?|weight_hr(_l\d+)?(_reverse)?", Role.KERNEL),
    (r"(in|q|k|v)_proj_weight|coefs?_(\.\d+)?|weight_(v|orig)", Role.KERNEL),
    (r"intercepts?_(\.\d+)?|bias_(ih|hh)(_l\d+)?(_reverse)?|in_proj_bias|bias_[kv]", Role.BIAS),
    (r"embeddings?", Role.EMBEDDING),
    (r"gamma(_?\d+)?|lambda(_?\d*)|layer_?scale\w*|scale|weight_g", Role.SCALE),
    (r"beta|offset", Role.OFFSET),
)
_NORM_ROLES = (Role.SCALE, Role.OFFSET, Role.MEAN, Role.VARIANCE)
_KERNELS = (Role.KERNEL, Role.RECURRENT_KERNEL)
_WEIGHT = ("weight", "w", "W")
_BIAS = ("bias", "b", "B")
_NORM = r"(?i)\w*norm(?!al(?!i[sz]))\w*|(.*_)?(ln|bn|gn|rms)(_?\d+|_\w+)?"
_EMBEDDING = r"(?i)\w*embed(?!\w*proj)\w*|wte|wpe|emb|shared|relative_attention_bias"
_NO_EMBEDDING = r"(?i)(un)?embed_?out|unembed\w*"
_PACKED = ("SCB", "qweight", "absmax", "quant_map", "quant_state")
"""Weights whose presence shows that those of the same layer are packed, as by bitsandbytes and GPTQ."""
_WORDS_OF_BITS = ("uint8", "int32", "uint32")
"""Types of a "weight" in which bitsandbytes and MLX pack several numbers."""


_PARAMETRIZED = "parametrizations."


def layer_of(name: str) -> str:
    """Return the part of a name before its last dot or slash; PyTorch's parametrizations belong to the layer above them.

    >>> layer_of("encoder.0.weight"), layer_of("params/Dense_0/kernel"), layer_of("w")
    ('encoder.0', 'params/Dense_0', '')
    >>> layer_of("fc.parametrizations.weight.original0")
    'fc'
    """
    if _PARAMETRIZED in name and (above := name.partition(_PARAMETRIZED)[0])[-1:] in ("", "."):
        return above[:-1]
    return name[: max(name.rfind("."), name.rfind("/"), 0)] if "/" in name else name.rpartition(".")[0]


def layers_of(names: Sequence[str]) -> list[str]:
    """Return `layer_of` of every name, which takes a third of the time for many.

    >>> layers_of(["encoder.0.weight", "w"])
    ['encoder.0', '']
    """
    joined = "\n".join(names)
    if "/" in joined or _PARAMETRIZED in joined:
        return [layer_of(name) for name in names]
    return [name.rpartition(".")[0] for name in names]


COLLECTIONS = ("params", "batch_stats", "batch_stat", "constants")
"""The collections that Flax puts before the names of layers; the weights of one layer may be in several of them."""


def plain_layer(name: str) -> str:
    """Return the name of a layer without its Flax collection.

    >>> plain_layer("params/Dense_0"), plain_layer("encoder.params")
    ('Dense_0', 'encoder.params')
    """
    first, _, rest = name.partition("/")
    return rest if first in COLLECTIONS else name


def role_of(name: str, ndim: int) -> Role:
    """Return the role that a name implies; `ndim` is the number of axes.

    >>> role_of("encoder.0.weight", 2), role_of("bn.weight", 1), role_of("tok_embeddings.weight", 2), role_of("0.weight", 1)
    (<Role.KERNEL: 'kernel'>, <Role.SCALE: 'scale'>, <Role.EMBEDDING: 'embedding'>, <Role.OTHER: 'other'>)
    """
    leaf = leaf_of(name)
    if leaf in _WEIGHT and ndim:
        # "weight" has several meanings, which only the name of its layer distinguishes
        word = _own_word(layer_of(name))
        if ndim == 1:
            return Role.SCALE if _is_norm(word) else Role.OTHER
        return Role.EMBEDDING if ndim == 2 and _is_embedding(word) else Role.KERNEL
    if leaf in _BIAS:
        return Role.BIAS
    role = _ruled(f"{leaf_of(layer_of(name))}.0" if leaf.isdecimal() else leaf)  # every number implies the same
    if leaf == "weight_v" and ndim == 1:
        return Role.OTHER  # the vector of a spectral norm; the direction of a weight norm has the axes of its kernel
    return Role.OTHER if role is Role.SCALE and not ndim else role


def leaf_of(name: str) -> str:
    """Return the part of a name after its last dot or slash.

    >>> leaf_of("encoder.0.weight"), leaf_of("params/Dense_0/kernel"), leaf_of("w")
    ('weight', 'kernel', 'w')
    """
    return name[max(name.rfind("."), name.rfind("/")) + 1 :] if "/" in name else name.rpartition(".")[2]


def _own_word(layer: str) -> str:
    """Return the last word of a layer's name that is not a number, such as "norms" of "norms.0"."""
    word = leaf_of(layer)
    return _word_above(layer_of(layer)) if word.isdecimal() else word


@lru_cache(maxsize=4096)
def _word_above(layer: str) -> str:
    """Return the own word of a layer, which may be above thousands of numbered ones."""
    word = leaf_of(layer)
    while word.isdecimal() and layer:
        layer = layer_of(layer)
        word = leaf_of(layer)
    return word


@lru_cache(maxsize=4096)
def _is_norm(word: str) -> bool:
    """Whether the name or the class of a layer is that of a norm."""
    return re.fullmatch(_NORM, word) is not None


@lru_cache(maxsize=4096)
def _is_embedding(word: str) -> bool:
    return re.fullmatch(_EMBEDDING, word) is not None and re.fullmatch(_NO_EMBEDDING, word) is None


@lru_cache(maxsize=4096)
def _ruled(words: str) -> Role:
    """Return the role that the last word of a name implies, or the last two words if the last is a number.

    Results are cached, since models repeat their words; the rules are compiled on first use.
    """
    return next((role for pattern, role in _LEAVES if re.fullmatch(pattern, words)), Role.OTHER)


_layer, _name, _look = attrgetter("layer"), attrgetter("name"), attrgetter("shape", "dtype", "role", "axes")
_MANY = 100  # a layer of more weights may be a list of parameters, which proves nothing


def infer_roles(weights: Iterable[Weight], classes: Mapping[str, str] | None = None, *, in_place: bool = False) -> list[Weight]:
    """Return the weights with what their layers prove: a role for those without one, and axes for these.

    `classes` has the name of a layer's class by the name of the layer, where it is known. `in_place` changes the weights
    themselves, which were just made: a copy of each would take as long as listing it.
    """
    listed = list(weights)
    layers = [*map(_layer, listed)]
    numberless = templates(layers)
    words = _words([*zip(templates([*map(_name, listed)]), numberless, strict=True)])
    kinds = [classes.get(plain_layer(layer), "") for layer in layers] if classes else repeat("", len(layers))
    looks = marks([*zip(words, kinds, map(_look, listed), strict=True)])
    order, cuts = _by_layer(layers, numberless)
    gathered = [looks[place] for place in order]
    alike = marks([tuple(gathered[begin:end]) for begin, end in pairwise(cuts)])
    # layers that look alike prove the same
    proofs = {nth: _proof([listed[place] for place in order[cuts[nth] : cuts[nth + 1]]], classes or {}) for nth in {*alike}}
    for nth, like in enumerate(alike) if any(proofs.values()) else ():
        for member, role, axes in proofs[like]:
            place = order[cuts[nth] + member]
            if in_place:
                listed[place].role, listed[place].axes = role, axes
            else:
                listed[place] = listed[place].replace(role=role, axes=axes)
    return listed


def _words(named: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the words that the role of a weight depends on, by its name and that of its layer: the layer's and its own."""
    words = {(name, layer): (_own_word(plain_layer(layer)), _tail(name, layer)) for name, layer in {*named}}
    return [words[pair] for pair in named]


def _by_layer(layers: Sequence[str], numberless: Sequence[str]) -> tuple[Sequence[int], list[int]]:
    """Return the places of weights in the order of their layers, and where in this order each layer begins, and the end."""
    cuts = changes(layers)
    names = [layers[cut] for cut in cuts[:-1]]
    if len({*names}) == len(names) and not any(name.startswith(COLLECTIONS) for name in {*numberless}):
        return range(len(layers)), cuts
    together: dict[str, list[int]] = {}  # the weights of a layer may be in several collections
    for name, (begin, end) in zip(names, pairwise(cuts), strict=True):
        together.setdefault(plain_layer(name), []).extend(range(begin, end))
    return [*chain.from_iterable(together.values())], [0, *accumulate(map(len, together.values()))]


def _proof(members: Sequence[Weight], classes: Mapping[str, str]) -> Proof:
    """Return what the weights of a layer prove of those without a role."""
    if Role.OTHER not in [weight.role for weight in members] or (len(members) > _MANY and _are_numbered(members)):
        return []
    layer = plain_layer(members[0].layer)
    evidence = LayerEvidence(_own_word(layer), members, classes.get(layer, ""))
    facts = [(nth, *evidence.facts_of(weight)) for nth, weight in enumerate(members) if weight.role is Role.OTHER]
    return [(nth, role, axes) for nth, role, axes in facts if role is not Role.OTHER or axes != members[nth].axes]


def _are_numbered(members: Sequence[Weight]) -> bool:
    """Whether all weights of a layer have numbers for names, which imply nothing, as in a list of parameters."""
    if not all(leaf_of(weight.name).isdecimal() for weight in members):
        return False
    ranks = {len(weight.shape) for weight in members}  # every number implies the same
    return all(role_of(members[0].name, rank) is Role.OTHER for rank in ranks)


def _tail(name: str, layer: str) -> str:
    if layer_of(name) != layer:
        return name
    leaf = leaf_of(name)
    return f"{leaf_of(layer)}.0" if leaf.isdecimal() else leaf


class LayerEvidence:
    """What the weights of one layer prove about one another.

    `word` is the last word of its name that is not a number, `kind` the name of its class, blank if not known.
    """

    __slots__ = ("_bias", "_is_norm", "_is_packed", "_is_rounded", "_kernels", "_norms", "_roles", "_statistics")

    def __init__(self, word: str, members: Sequence[Weight], kind: str = "") -> None:
        leaf_by_name = {weight.name: leaf_of(weight.name) for weight in members}
        leaves = {leaf_by_name[weight.name]: weight for weight in members}
        self._is_norm = _is_norm(word) or _is_norm(kind)
        self._is_packed = any(leaf in leaves for leaf in _PACKED)
        self._is_rounded = "zero_point" in leaves
        self._bias = next((leaves[leaf] for leaf in _BIAS if leaf in leaves), None)
        named = {w.name: w.role if w.role is not Role.OTHER else role_of(w.name, len(w.shape)) for w in members}
        self._statistics = {w.shape for w in members if named[w.name] is Role.MEAN}
        self._roles = {w.name: self._role(w, leaf_by_name[w.name], named[w.name]) for w in members}
        self._kernels = [w for w in members if self._roles[w.name] in _KERNELS]
        # a layer with a kernel is not a norm, even if it has a scale too, as with weight norm
        self._norms = set() if self._kernels else {w.shape for w in members if self._roles[w.name] in (Role.SCALE, Role.MEAN)}

    def _role(self, weight: Weight, leaf: str, named: Role) -> Role:
        """Return the role of a weight whose name implies `named`."""
        bias, shape = self._bias, weight.shape
        if leaf == "scale" and self._is_rounded:
            return Role.OTHER  # the step of rounded numbers, next to their zero
        if weight.role is not Role.OTHER or leaf not in _WEIGHT or not shape:
            return named
        if self._is_packed or weight.dtype in _WORDS_OF_BITS:
            return Role.OTHER
        # a kernel has more numbers than its bias; a scale has as many as its offset
        if bias is not None and bias.shape == shape:
            return Role.SCALE
        if len(shape) == 1:
            return Role.SCALE if self._is_norm or shape in self._statistics else Role.OTHER
        return Role.KERNEL if bias is not None else self._role_alone(weight, named)

    def _role_alone(self, weight: Weight, named: Role) -> Role:
        """Return the role of a "weight" with several axes and no bias; in a layer without a name it may be an embedding's."""
        if self._is_norm:
            return Role.SCALE
        return Role.OTHER if len(weight.shape) == 2 and not _own_word(layer_of(weight.name)) else named

    def facts_of(self, weight: Weight) -> tuple[Role, str]:
        """Return the role and axes of a weight that the layer proves."""
        role = self._roles[weight.name]
        if role is Role.BIAS and weight.shape in self._norms and weight.shape:
            role = Role.OFFSET
        return role, weight.axes or self._axes(weight, role)

    def _axes(self, weight: Weight, role: Role) -> str:
        ndim = len(weight.shape)
        if role in _NORM_ROLES:
            return "channel" if ndim == 1 and weight.shape in self._norms else ""
        if role is Role.EMBEDDING:
            return "vocab out" if ndim == 2 else ""
        if len(self._kernels) != 1 or role not in (Role.KERNEL, Role.BIAS):
            return ""
        return self._kernel_axes() if role is Role.KERNEL else self._bias_axes(weight)

    def _kernel_axes(self) -> str:
        """Return the axes of a matrix whose outputs are as many as the numbers in the bias, if its inputs are not."""
        (kernel,) = self._kernels
        if len(kernel.shape) != 2:
            return ""
        if kernel.name.endswith("in_proj_weight"):
            return "[qkv]*out in" if kernel.shape[0] == 3 * kernel.shape[1] else ""
        # of a square matrix either axis may be that of the outputs
        if self._bias is None or len(self._bias.shape) != 1 or kernel.shape[0] == kernel.shape[1]:
            return ""
        return {kernel.shape[0]: "out in", kernel.shape[1]: "in out"}.get(self._bias.shape[0], "")

    def _bias_axes(self, bias: Weight) -> str:
        (kernel,) = self._kernels
        if len(bias.shape) != 1 or len(kernel.shape) < 2:
            return ""
        if bias.name.endswith("in_proj_bias"):
            return "[qkv]*out" if bias.shape[0] == kernel.shape[0] else ""
        return "out" if bias.shape[0] in kernel.shape and bias is self._bias else ""
