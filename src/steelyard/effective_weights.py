"""The weights that a net computes with, of any source: `effective`, and those of a net with an adapter: `merge_adapter`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from steelyard.io import weights
from steelyard.paths import is_spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from steelyard.core.merging import Change
    from steelyard.core.weight import Weight
    from steelyard.core.weights import Weights


def effective(
    source: Any,
    adapter: Any = None,
    *,
    base_is_residual: bool = False,
    fold: Literal["norms"] | None = None,
    dtype: Literal["scales"] | None = None,
    engine: object = None,
    workers: int | None = None,
) -> Weights:
    """Return the weights that the layers of `source` multiply with, under the names of plain layers; nothing is read yet.

    `source` is whatever `steelyard.weights` takes. Packed weights are dequantised, masks and norms are applied: see
    `Weights.effective`. The config next to a file says what its names do not. With `adapter` the result is that of
    `merge_adapter`, with `fold` "norms" batch norms are folded into the layers before them. Raises what `steelyard.weights`
    and `merge_adapter` do, and `ShapeError` for an adapter without its base.

    Packed weights become float32, unless their file says what the library rounds them to. With `dtype` "scales" those whose
    scales are all float16, or all bfloat16, are rounded to that type, which most nets had before they were packed; reading a
    number that does not fit raises `LossyError`.

    With an `engine` ("threads", "dask", "ray", "joblib", or a Client of Dask) or `workers`, `source` and `adapter` are paths, and
    while `save` writes the result its numbers are computed by so many workers, to the same last bit.

    Examples:
        >>> import numpy as np
        >>> pruned = {"fc.weight_orig": np.array([1.0, 2.0]), "fc.weight_mask": np.array([0.0, 1.0])}
        >>> effective(pruned)["fc.weight"].numpy().tolist()
        [0.0, 2.0]
    """
    if is_spread(None, engine, workers):
        from steelyard.engines.numbers import by_workers

        adapters = [adapter] if not isinstance(adapter, (list, tuple)) else [*adapter]
        make = partial(_of_paths, single=len(adapters) == 1, base_is_residual=base_is_residual, fold=fold, dtype=dtype)
        return by_workers(make, [source, *(each for each in adapters if each is not None)], engine, workers)
    if dtype is not None:
        source = _in_type_of_scales(weights(source), dtype)
    if adapter is None:
        return weights(source).effective(fold)
    from steelyard.core.folding import with_folded

    merged = merge_adapter(source, adapter, base_is_residual=base_is_residual)
    return merged if fold is None else with_folded(merged, fold)


def _of_paths(paths: Sequence[str], *, single: bool, **options: Any) -> Weights:
    """Call `effective` with a path, and those of the adapters after it."""
    source, *adapters = paths
    return effective(source, (adapters[0] if single else adapters) if adapters else None, **options)


def _in_type_of_scales(stored: Weights, dtype: str) -> Weights:
    from steelyard.core.effective import in_type_of_scales
    from steelyard.errors import ShapeError, quoted

    if dtype != "scales":
        raise ShapeError(f'dtype is {quoted(dtype)}; it must be "scales", or cast the result by `astype`')
    return in_type_of_scales(stored.effective(), stored)


def merge_adapter(base: Any, adapter: Any, *, base_is_residual: bool = False) -> Weights:
    """Return the weights of a base with those of an adapter merged into them, in the types of the base; nothing is read yet.

    `base` and `adapter` are whatever `steelyard.weights` takes: a model, a file, a folder; a list is several adapters, which
    are applied together, in order. The adapter is of PEFT (LoRA, DoRA, LoHa, LoKr, IA3, AdaLoRA, VeRA, trainable tokens), with
    its adapter_config.json next to it, of LyCORIS or kohya, or of mlx-lm. A packed base is dequantised first. The sums are
    made in float64, and rounded once. An adapter that PiSSA and the like initialised belongs to the residual that they left of
    the base: `base_is_residual` says that the base is that one.

    Raises `ShapeError` for an adapter that does not belong to the base, or whose file does not say what it adds. A single
    weight that cannot be computed is listed as unreadable, with the reason.

    Examples:
        >>> import numpy as np
        >>> base = {"fc.weight": np.zeros((2, 2), "float32")}
        >>> lora = {
        ...     "lora_unet_fc.lora_down.weight": np.array([[1.0, 2.0]]),
        ...     "lora_unet_fc.lora_up.weight": np.array([[1.0], [3.0]]),
        ...     "lora_unet_fc.alpha": np.array(2.0),
        ... }
        >>> merge_adapter(base, lora)["fc.weight"].numpy().tolist()
        [[2.0, 4.0], [6.0, 12.0]]
    """
    from steelyard.core.effective import notes
    from steelyard.core.merging import merged

    listed = weights(base).effective()
    several = adapter if isinstance(adapter, (list, tuple)) else [adapter]
    made = [change for each in several for change in _changes(each, listed, residual=base_is_residual)]
    result = merged(listed.values(), made)
    meta = {**listed.meta, "notes": notes(weight for weight in result if weight.derivation is not None)}
    return listed.with_weights(result, detached=True, meta=meta)


def _changes(adapter: Any, base: Mapping[str, Weight], *, residual: bool) -> Iterable[Change]:
    """Return the changes of one adapter, by the kind that recognises it."""
    from steelyard.codecs.peft import CONFIG
    from steelyard.codecs.quantization_config import json_beside
    from steelyard.core.effective import Pieces
    from steelyard.core.plugins import load, names
    from steelyard.errors import ShapeError

    pieces = Pieces(weights(adapter))
    config = json_beside(pieces, CONFIG)
    for name in names("adapters"):
        kind = load("adapters", name)
        if kind.recognises(pieces, config):
            return list(kind.changes(pieces, base, config, residual=residual))
    raise ShapeError(
        f"the adapter has no weights named as by {', '.join(names('adapters'))}; pass the file or folder of an adapter"
    )
