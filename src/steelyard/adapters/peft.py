"""Adapters of PEFT: LoRA with its variants, LoHa, LoKr, IA3, AdaLoRA, VeRA and trainable tokens.

The names are those of the layers of the base, the config next to the file has the scale: `codecs.peft`. A weight of the
adapter that is not a part of these takes the place of the base's, as that of a layer in "modules_to_save".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from steelyard.codecs.peft import CONFIG, PREFIX, number, of_layer, part_of, scale_of
from steelyard.core.merging import Change, Names
from steelyard.core.roles import layer_of
from steelyard.core.weight import Role
from steelyard.errors import ShapeError, printable
from steelyard.numerics import low_rank
from steelyard.numerics.row_changes import (
    kept,
    normed,
    numbers,
    plus,
    product,
    stacked,
    times_columns,
    times_rows,
    with_rows,
)

if TYPE_CHECKING:
    from typing import TypeGuard

    from steelyard.codecs.plain import Config, Plain
    from steelyard.core.effective import Pieces, Setting
    from steelyard.core.merging import Apply, Rows
    from steelyard.core.weight import Weight

_KINDS = {
    "LORA": "LoRA",
    "ADALORA": "AdaLoRA",
    "LOHA": "LoHa",
    "LOKR": "LoKr",
    "IA3": "IA3",
    "VERA": "VeRA",
    "TRAINABLE_TOKENS": "trainable tokens",
}
_INERT_STARTS = (True, False, None, "gaussian", "orthogonal", "mica")
"""Initialisations that leave the base as it is; the others may move a part of it into the adapter."""
_OTHER_SUMS = ("use_qalora", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config", "use_bdlora")
"""Variants of LoRA that compute something else than the sum of two weights."""
_SETTINGS = ("r", "lora_alpha", "alpha", "use_rslora", "use_dora", "fan_in_fan_out", "peft_version")
_TWICE = "0.21.2"
"""The version of PEFT that is known to add the change of the output projection of MultiheadAttention twice."""
_EPSILON = 1e-5


class _Layer(NamedTuple):
    """The parts of one layer: its name in the adapter, that in the base, the config, and the scale of a live net."""

    key: str
    name: str
    parts: Mapping[str, Weight]
    config: Config
    live_scale: float | None = None

    @property
    def is_transposed(self) -> bool:
        """Whether the config has kernels with their inputs first."""
        return self.config.get("fan_in_fan_out") is True

    def scale(self, rank: int | None) -> float:
        """Return the factor of what is added; raises as `scale_of` does."""
        return scale_of(self.config, self.key, rank) if self.live_scale is None else self.live_scale


def recognises(adapter: Pieces, config: Config) -> bool:
    """Whether there is a config of PEFT, or a weight with a name of PEFT."""
    return isinstance(config.get("peft_type"), str) or any(part_of(name) for name in adapter)


def changes(adapter: Pieces, base: Mapping[str, Weight], config: Config, *, residual: bool) -> Iterator[Change]:
    """Yield what the adapter does to the weights of its base."""
    scheme = _scheme(config, residual=residual)
    layers, others = _layers(adapter)
    names = Names(base, [key.replace(".base_layer", "") for key in layers] or [layer_of(_bare(others[0]))])
    found = [_Layer(key, names.of(key.replace(".base_layer", "")), parts, config) for key, parts in layers.items()]
    for layer in found:
        yield from _changes(layer, base, scheme, names.assumed, adapter)
    for name in others:
        yield from _whole(name, names.of(_bare(name)), adapter, base, config, scheme)


def live_changes(adapter: Pieces, base: Mapping[str, Weight], config: Config, scales: Mapping[str, float]) -> Iterator[Change]:
    """Yield what an active adapter of a live net does; its names are those of a file, and the layers have their own scales."""
    layers, others = _layers(adapter)
    scheme = _scheme(config, residual=True) if layers else f"{kind_of(config)} of PEFT"
    for key, parts in layers.items():
        yield from _changes(_Layer(key, _bare(key), parts, config, scales.get(key)), base, scheme, (), adapter)
    for name in others:
        yield from _whole(name, _bare(name), adapter, base, config, scheme)


def is_known(config: Config) -> bool:
    """Whether what adapters with this config add is computed here."""
    return config.get("peft_type") in _KINDS and not any(config.get(key) for key in (*_OTHER_SUMS, "layer_replication"))


def kind_of(config: Config) -> str:
    """Return the name of the kind of an adapter, as a reader is shown it."""
    kind = config.get("peft_type")
    return _KINDS.get(str(kind), printable(kind))


def _bare(name: str) -> str:
    return name.removeprefix(PREFIX).replace(".base_layer", "")


def _scheme(config: Config, *, residual: bool) -> str:
    """Return the name of the kind; raises `ShapeError` for a config that does not say what the adapter adds."""
    kind = config.get("peft_type")
    if kind is None:
        raise ShapeError(f"the adapter has no {CONFIG} next to it, which has its scale; pass its folder")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ShapeError(f"the adapter is of the kind {printable(kind)} of PEFT, which Steelyard does not merge")
    start = config.get("init_lora_weights", config.get("init_weights"))
    if kind == "LORA" and not residual and not (isinstance(start, (bool, type(None))) or start in _INERT_STARTS):
        raise ShapeError(
            f"the adapter was initialised by {printable(start)}, which may change the base, and belongs to what was left of it; "
            "if the base is that residual, say so by base_is_residual=True"
        )
    other = next((key for key in _OTHER_SUMS if config.get(key)), None)
    if other or config.get("layer_replication"):
        raise ShapeError(f"the config of the adapter has {other or 'layer_replication'}, which Steelyard does not merge")
    return f"{_KINDS[kind]} of PEFT"


def _layers(adapter: Pieces) -> tuple[dict[str, dict[str, Weight]], list[str]]:
    """Return the parts of each layer by their words, and the names of the other weights."""
    layers: dict[str, dict[str, Weight]] = {}
    others = []
    for name in adapter:
        part = part_of(name)
        weight = adapter.get(name)
        if part is None or weight is None:
            others.append(name)
        elif part.adapter:
            raise ShapeError(
                f"the adapter is the state of a live net ({printable(name)}), which has no scale; pass what save_pretrained wrote"
            )
        else:
            layers.setdefault(part.layer, {})[f"{part.part}.bias" if part.leaf == "bias" else part.part] = weight
    if not layers and not others:
        raise ShapeError("the adapter has no weights")
    return layers, others


def _changes(
    layer: _Layer, base: Mapping[str, Weight], scheme: str, assumed: tuple[str, ...], adapter: Pieces
) -> Iterator[Change]:
    """Yield the changes of one layer; one that cannot be computed is refused by name."""
    parts = tuple(weight.name for weight in layer.parts.values())
    known: dict[str, Setting] = {key: value for key in _SETTINGS if _is_plain(value := layer.config.get(key))}
    targets = _targets(layer, base)
    try:
        if len(targets) != 1:
            raise ShapeError("its parts may belong to several weights" if targets else "no weight of the base fits its parts")
        made, bias = _applied(layer, base[targets[0]], adapter)
        yield Change(targets[0], scheme, parts, made, settings=known, assumed=assumed)
        if bias is not None and not ("ia3_l" in layer.parts and f"{layer.name}.bias" not in base):  # IA3 adds none
            yield Change(_bias(layer, base), scheme, parts, bias, settings=known, assumed=assumed)
    except ShapeError as error:
        if not targets:
            raise ShapeError(f"the layer {printable(layer.key)} of the adapter: {error}") from None
        for target in targets:
            yield Change(target, scheme, parts, refusal=str(error), settings=known, assumed=assumed)


def _is_plain(value: Plain) -> TypeGuard[Setting]:
    return isinstance(value, (str, int, float))


def _targets(layer: _Layer, base: Mapping[str, Weight]) -> list[str]:
    """Return the names of the weights of the base that a layer of the adapter may change."""
    listed = layer.config.get("target_parameters")
    if isinstance(listed, list) and listed:
        own = [name for name in base if name.startswith(f"{layer.name}.") or name == layer.name]
        ends = [each for each in listed if isinstance(each, str)]
        own = [name for name in own if any(name == end or name.endswith(f".{end}") for end in ends)]
        fitting = [name for name in own if _fits(layer, base[name])]
        if own:
            return fitting if len(fitting) == 1 else own
    names = (f"{layer.name}.weight", f"{layer.name}.in_proj_weight", layer.name)
    return [next(name for name in names if name in base)] if any(name in base for name in names) else []


def _fits(layer: _Layer, weight: Weight) -> bool:
    try:
        _applied(layer, weight, None)
    except ShapeError:
        return False
    return True


def _bias(layer: _Layer, base: Mapping[str, Weight]) -> str:
    name = f"{layer.name}.bias"
    if name not in base:
        raise ShapeError("it has a bias, and the layer of the base has none")
    return name


def _applied(layer: _Layer, weight: Weight, adapter: Pieces | None) -> tuple[Apply, Apply | None]:
    """Return how the rows of the kernel of a layer change, and those of its bias, if they do."""
    parts = layer.parts
    if "trainable_tokens_delta" in parts:
        return _tokens(layer, weight), None
    if "ia3_l" in parts:
        return _ia3(layer, weight)
    if "lora_A" in parts or "lora_embedding_A" in parts:
        return _lora(layer, weight)
    if "vera_lambda_d" in parts:
        return _vera(layer, weight, adapter), None
    if not any(word.startswith(("hada_", "lokr_")) for word in parts):
        raise ShapeError(f"its parts are {', '.join(map(printable, parts))}, which Steelyard does not merge")
    delta = low_rank.loha(parts) if "hada_w1_a" in parts else low_rank.lokr(parts)
    return plus(low_rank.fitting(delta, weight.shape), layer.scale(delta.rank)), None


def _lora(layer: _Layer, weight: Weight) -> tuple[Apply, Apply | None]:
    parts, shape = layer.parts, weight.shape
    is_embedding = "lora_embedding_A" in parts
    word = "lora_embedding_" if is_embedding else "lora_"
    down, up = parts.get(f"{word}A"), parts.get(f"{word}B")
    if down is None or up is None:
        raise ShapeError(f"it has no {word}{'B' if up is None else 'A'}")
    if len(down.shape) != len(up.shape) or len(up.shape) < 2 or up.shape[1] != down.shape[0]:
        raise ShapeError(f"its factors have shapes {list(down.shape)} and {list(up.shape)}: a layer in groups is not merged")
    if "lora_E" in parts:
        return _adalora(layer, weight, down, up), None
    experts = shape[0] if len(shape) == 3 and layer.config.get("target_parameters") and len(down.shape) == 2 else 1
    if experts > 1:
        return _experts(layer, weight, down, up), None
    scale = layer.scale(down.shape[0]) * _times(layer)
    transposed = is_embedding or _has_inputs_first(layer, weight, down, up)
    change = plus(low_rank.fitting(low_rank.lora(down, up, transposed=transposed), shape), scale)
    magnitude, bias = parts.get("lora_magnitude_vector"), parts.get("lora_B.bias")
    if magnitude is not None:
        if bias is not None:
            raise ShapeError("it has magnitudes and a bias, which are not merged together")
        change = normed(change, magnitude, shape, int(transposed))
    return change, None if bias is None else plus(_column(bias), scale)


def _column(bias: Weight) -> Rows:
    whole = numbers(bias, (bias.size, 1))
    return lambda first, last, columns: whole()[first:last, columns]


def _times(layer: _Layer) -> int:
    """Return 2 for the output projection of MultiheadAttention, whose change PEFT adds twice, and 1 for all other layers."""
    if not layer.key.endswith(".base_layer.out_proj"):
        return 1
    version = layer.config.get("peft_version")
    if version != _TWICE:
        raise ShapeError(
            f"PEFT {_TWICE} adds the change of this projection twice; whether {printable(version or 'the unknown version')} does "
            "is not known"
        )
    return 2


def _has_inputs_first(layer: _Layer, weight: Weight, down: Weight, up: Weight) -> bool:
    """Whether a kernel has its inputs first, as that of Conv1D: by its axes, else by its shape, else by the config."""
    if len(weight.shape) != 2 or up.shape[0] == down.shape[1] == weight.shape[0] == weight.shape[1]:
        known = weight.axes if len(weight.shape) == 2 else "out in"
        return known == "in out" or (not known and layer.is_transposed)
    return weight.shape == (down.shape[1], up.shape[0])


def _experts(layer: _Layer, weight: Weight, down: Weight, up: Weight) -> Apply:
    """Return the change of experts in one weight; A is (experts times r, inputs), B (outputs, r times experts)."""
    experts, rows, columns = weight.shape
    sizes = down.shape[1], up.shape[0]
    if down.shape[0] % experts or sizes not in ((rows, columns), (columns, rows)):
        raise ShapeError(f"its factors have shapes {list(down.shape)} and {list(up.shape)}, and the weight {list(weight.shape)}")
    if rows == columns:
        raise ShapeError("the experts are square, and whether their inputs come first is not in the files")
    rank = down.shape[0] // experts
    scale = layer.scale(rank)
    a, b = numbers(down, (experts, rank, sizes[0])), numbers(up, (sizes[1], rank, experts))
    if sizes == (columns, rows):  # each expert is B A, outputs first
        made = stacked(kept(lambda: b().transpose(2, 0, 1)), a, rows)
    else:
        made = stacked(kept(lambda: a().transpose(0, 2, 1)), kept(lambda: b().transpose(2, 1, 0)), rows)
    whole = slice(None)
    return plus(lambda first, last, at: made(first * rows, last * rows, whole).reshape(last - first, -1)[:, at], scale)


def _adalora(layer: _Layer, weight: Weight, down: Weight, up: Weight) -> Apply:
    """Return the change of AdaLoRA: B (A E) alpha / (rank + 1e-5), where E is a column of singular values."""
    values = layer.parts["lora_E"]
    alpha = number(layer.config.get("lora_alpha")) if layer.live_scale is None else layer.live_scale
    if values.size != down.shape[0] or alpha is None:
        raise ShapeError(f"its singular values have shape {list(values.shape)}, and its rank is {down.shape[0]}")
    scale = (alpha if alpha > 0 else number(layer.config.get("r")) or 0) / (down.shape[0] + _EPSILON)
    a, e, b = numbers(down, (down.shape[0], down.size // down.shape[0])), numbers(values, (values.size, 1)), numbers(up)
    shape = (up.shape[0], down.size // down.shape[0])
    rows = product(b, kept(lambda: a() * e()))
    if _has_inputs_first(layer, weight, down, up):
        shape, rows = shape[::-1], product(kept(lambda: (a() * e()).T), kept(lambda: b().T))
    return plus(low_rank.fitting(low_rank.Delta(rows, *shape, None), weight.shape), scale)


def _ia3(layer: _Layer, weight: Weight) -> tuple[Apply, Apply | None]:
    """Return the factors of IA3: of the inputs in "feedforward_modules", elsewhere of the outputs and the bias."""
    factors, shape = layer.parts["ia3_l"], weight.shape
    listed = layer.config.get("feedforward_modules")
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise ShapeError(f"its {CONFIG} does not list feedforward_modules, whose inputs are scaled")
    is_input = of_layer({"modules": dict.fromkeys(map(str, listed), True)}, "modules", layer.key, "") is True
    transposed = layer.is_transposed and len(shape) == 2
    is_second = is_input != transposed
    if len(shape) < 2 or factors.size != shape[1 if is_second else 0] or max(factors.shape, default=0) != factors.size:
        raise ShapeError(f"its factors have shape {list(factors.shape)}, and the weight {list(shape)}")
    whole = numbers(factors, (factors.size,))
    change = times_columns(whole) if is_second else times_rows(whole)
    return change, None if is_input else times_rows(whole)


def _vera(layer: _Layer, weight: Weight, adapter: Pieces | None) -> Apply:
    """Return the change of VeRA: b (B (d A)), where A and B are random, and shared by all layers."""
    shared = {word: adapter.get(f"base_model.{word}") for word in ("vera_A", "vera_B")} if adapter else {}
    a, b = shared.get("vera_A"), shared.get("vera_B")
    if a is None or b is None:
        raise ShapeError("its file has no projections, which save_projection=True writes, and a generator of random numbers made")
    d, outputs = layer.parts["vera_lambda_d"], layer.parts.get("vera_lambda_b")
    transposed = layer.is_transposed
    height, width = weight.shape[::-1] if transposed and len(weight.shape) == 2 else (weight.shape[0], weight.shape[-1])
    fits = (
        len(weight.shape) == len(a.shape) == len(b.shape) == 2
        and outputs is not None
        and (d.size, outputs.size) == (a.shape[0], height)
        and b.shape[1] == a.shape[0]
        and b.shape[0] >= height
        and a.shape[1] >= width
    )
    if not fits or outputs is None:
        raise ShapeError(f"its projections have shapes {list(a.shape)} and {list(b.shape)}, and the weight {list(weight.shape)}")
    whole_a, whole_b, scales, rows = numbers(a), numbers(b), numbers(d, (d.size, 1)), numbers(outputs, (outputs.size, 1))
    left, right = kept(lambda: rows() * whole_b()[:height]), kept(lambda: scales() * whole_a()[:, :width])
    return plus(product(kept(lambda: right().T), kept(lambda: left().T)) if transposed else product(left, right))


def _tokens(layer: _Layer, weight: Weight) -> Apply:
    """Return the replacement of the rows of some tokens, whose indices the config has."""
    rows = layer.parts["trainable_tokens_delta"]
    listed = layer.config.get("trainable_token_indices", layer.config.get("token_indices"))
    if isinstance(listed, dict):
        listed = of_layer({"layers": listed}, "layers", layer.key, "")
    places = [each for each in listed if type(each) is int] if isinstance(listed, list) else []
    fits = len(weight.shape) == 2 and rows.shape == (len(places), weight.shape[1]) and len({*places}) == len(places)
    if not fits or not all(0 <= place < weight.shape[0] for place in places):
        what = f"its rows have shape {list(rows.shape)}, and the weight {list(weight.shape)}"
        raise ShapeError(f"{what}; its config has {len(places)} tokens")
    return with_rows(places, numbers(rows))


def _whole(name: str, own: str, adapter: Pieces, base: Mapping[str, Weight], config: Config, scheme: str) -> Iterator[Change]:
    """Yield the weight that takes the place of the base's; one that the base does not have must be in "modules_to_save"."""
    weight = adapter.get(name)
    if weight is None or name in ("base_model.vera_A", "base_model.vera_B"):
        return
    saved = config.get("modules_to_save")
    words = own.split(".")
    if own not in base and not (isinstance(saved, list) and any(word in words for word in saved)):
        raise ShapeError(
            f"the adapter has {printable(name)}, which is neither a part that Steelyard knows nor a weight of the base"
        )
    before = base.get(own)
    facts = {} if before is None else {"role": before.role, "axes": before.axes}
    role = facts.get("role", Role.OTHER)
    whole = weight.replace(name=own, layer=layer_of(own), **(facts if role is not Role.OTHER else {}))
    yield Change(own, f"{scheme}, saved whole", (name,), whole=whole)
