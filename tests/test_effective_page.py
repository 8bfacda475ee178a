"""The docs page of effective weights is up to date: its table is made here from the golden cases.

Run with UPDATE_DOCS=1 to measure the differences and to write the page again.
"""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import steelyard
from tests import carried, live_effective
from tests.adapters.test_golden import adapter_of
from tests.adapters.test_golden import cases as adapter_cases
from tests.schemes.test_golden import SCHEMES, WHOLE, WITHOUT_SHAPE, named

PAGE = Path(__file__).parent.parent / "docs" / "effective.md"
ROWS = (
    ("gptq", "GPTQ, 2 to 8 bits", "`qweight`, `qzeros`, `scales`, `g_idx`; the config's bits and format, or equal zero points"),
    ("awq", "AWQ gemm, gemv, gemv_fast", "`qweight`, `qzeros`, `scales` without `g_idx`; their shapes, and the config's version"),
    ("bnb-4bit", "bitsandbytes NF4 and FP4", "the JSON `quant_state.bitsandbytes__nf4`, `__fp4` of a weight"),
    ("bnb-int8", "bitsandbytes int8", "`SCB` of an int8 weight"),
    ("ct-", "compressed-tensors", "`weight_packed`, or `weight_scale` with the config's method; `weight_shape`"),
    ("fp8", "FP8 in tensors, rows and blocks", "`*_scale`, `*_scale_inv`, `scale` of a float8 weight; the config's block size"),
    ("mxfp4", "MXFP4 of gpt-oss", "`*_blocks` and `*_scales` of uint8"),
    ("mlx", "MLX", "`scales` of a uint32 weight; the config's bits and group size"),
    ("hqq", "HQQ", "`W_q`, with `nbits`, `axis` and `shape` beside it"),
    ("quanto", "Quanto", "`_data` and `_scale`; `quantization_map.json`"),
    ("ctranslate2", "CTranslate2", "`weight_scale` in a `model.bin`"),
    ("torch-prune", "pruning of PyTorch", "`*_orig` and `*_mask`"),
    (("torch-weight-norm", "torch-spectral", "torch-chain", "torch-orthogonal", "torch-parametrize"), "norms of PyTorch",
     "`*_g` and `*_v`, `*_orig` and `*_u`, or `parametrizations`"),
    ("torch-ao", "torch.ao", "quantised tensors, and the packed parameters of layers"),
    ("torchao", "torchao", "the class of the tensor in a pickle or in the metadata of safetensors; `qdata`, `int_data`, `nf4`"),
    ("keras-int8", "Keras int8", "an int8 kernel with its scale; places of variables where there is no config"),
    (("keras-int4", "keras-float8"), "Keras int4 and float8", "the kernel with its scale, zeros and groups; the shapes in the config"),
    ("keras-lora", "LoRA of Keras", "files are merged when they are saved; `lora_*` of live layers"),
    ("keras-spectral", "spectral norm of Keras", "the stored kernel is divided already"),
    ("tfmot", "pruning of tfmot", "the stored kernel is masked already"),
    ("onnx", "ONNX", "the operators: DequantizeLinear, QLinear*, QGemm, *Integer, MatMulNBits"),
    (("litert", "tflite"), "TensorFlow Lite", "the quantisation of a tensor, and DEQUANTIZE of float16"),
    ("flax", "Flax", "`WeightNorm_*/.../scale` of linen, `scales` and `lora_a` of NNX"),
)  # fmt: skip
"""The beginnings of the names of cases, the scheme, and how it is told from the file."""
ADAPTERS = (
    (("peft-lora", "peft-adalora"), "LoRA, DoRA, AdaLoRA, trainable tokens of PEFT", "the scale of `adapter_config.json`, the names of layers"),
    (("peft-ia3", "peft-lokr", "peft-loha", "peft-vera"), "LoHa, LoKr, IA3, VeRA of PEFT", "the same; the projections of VeRA must be in the file"),
    ("lycoris", "LyCORIS", "names of layers with `_` for their dots, looked up in those of the base; `alpha`"),
    ("kohya", "kohya's scripts", "the same, after `lora_unet_` and `lora_te_`"),
)  # fmt: skip
"""The beginnings of the names of cases with an adapter, its kind, and what is read."""
TEXT = """# Effective weights

A file often stores other numbers than its net computes with: packed codes and their scales, a kernel and its mask, a direction
and its length. `steelyard.effective(source)`, and the option `--effective` of the commands, give the weights that the layers
multiply with, under the names of plain layers. Nothing is read before the numbers are needed, and then only as much as they
need. The library that wrote a file is not needed.

```python
>>> import tempfile
>>> import numpy as np
>>> import steelyard
>>> folder = tempfile.mkdtemp()
>>> kernel = np.linspace(-1, 1, 64, dtype="float32").reshape(2, 32)
>>> net = steelyard.weights({"fc.weight": kernel, "fc.bias": np.zeros(2, "float32")})
>>> small = steelyard.quantize(net, "int4", group=32, like="compressed-tensors")
>>> steelyard.save(small, f"{folder}/packed/")
>>> list(steelyard.weights(f"{folder}/packed"))
['fc.weight_packed', 'fc.weight_scale', 'fc.weight_shape', 'fc.bias']
>>> w = steelyard.effective(f"{folder}/packed")
>>> w["fc.weight"]
Weight('fc.weight', (2, 32), float32, kernel, axes='out in')
>>> bool(abs(w["fc.weight"].numpy() - kernel).max() < 1 / 14)  # half a step of 4 bits
True
>>> w["fc.weight"].derivation.scheme, w["fc.weight"].derivation.parts
('compressed-tensors 4 bits', ('fc.weight_packed', 'fc.weight_scale', 'fc.weight_shape'))
>>> steelyard.save(w, f"{folder}/plain.safetensors")
>>> steelyard.diff(f"{folder}/packed", f"{folder}/plain.safetensors", effective=True).same
True

```

`derivation` also has the words of the config and what was assumed. `ls` and `check` name every scheme, with the count of numbers
in the net and of those stored:

```python
>>> print(steelyard.weights(f"{folder}/packed").meta["notes"][0])
1 weight is packed by compressed-tensors 4 bits: 64 numbers of the net, stored as 8

```

The config in the metadata of a file is read, or else that beside it (`config.json`, `quantize_config.json`, `quant_config.json`,
`quantization_map.json`); where both disagree, the notes and `derivation.assumed` name the values. Where the config disagrees with
the shapes, or the shapes leave open what it would decide, the weight is listed as unreadable, with the reason.

A live net of PyTorch gives what its hooks, parametrizations and tensor subclasses compute, torchao and bitsandbytes among them.
They are computed from the stored parts, since a plain attribute such as `weight` of a pruned layer is old until the next batch,
and on copies in evaluation mode: no buffer, random generator or training flag of the net changes.

```python
>>> import torch
>>> from torch.nn.utils import prune
>>> layer = prune.l1_unstructured(torch.nn.Linear(4, 2), "weight", 0.5)
>>> _ = layer.weight_orig.data.mul_(2)
>>> found = steelyard.effective(layer)["weight"]
>>> torch.equal(found.to_torch(), layer.weight_orig * layer.weight_mask), torch.equal(found.to_torch(), layer.weight)
(True, False)
>>> found.derivation.scheme
'pruning of PyTorch'

```

## Schemes

The tests compare each with the numbers of the library that wrote the files, or with the published formula. A difference is the
largest of an array, relative to its largest number. A difference of 4e-03 is that of rounding to bfloat16. The tests make this
table.

| scheme | how it is recognised | compared with | files | largest difference |
|---|---|---|---|---|
"""
MIDDLE = """
Live nets are asked for what only they know: modules of PyTorch with parametrizations or adapters of PEFT, quantised layers of
Keras and those with `enable_lora`, norms of Equinox. Adapters of PEFT of kinds that Steelyard does not compute (OFT, HRA,
FourierFT, LN tuning, VB-LoRA, RandLoRA and others) are merged by the layers of PEFT, on a copy; one that no layer can merge is
refused by name. The tests compare them with the answers of these libraries, and models of KerasHub too:

| live nets | compared with | nets | largest difference |
|---|---|---|---|
"""
ADAPTED = """
## Adapters

`steelyard.merge_adapter(base, adapter)` and `steelyard.effective(base, adapter)` add an adapter to its base: files, folders or
live nets, several adapters as a list. The sums are made in float64, block by block, and rounded once to the type of the base; a
packed base is dequantised first.

```python
>>> _ = steelyard.extract_adapter({"fc.weight": 0 * kernel}, {"fc.weight": kernel}, rank=2, out=f"{folder}/lora")
>>> merged = steelyard.merge_adapter({"fc.weight": 0 * kernel}, f"{folder}/lora")["fc.weight"]
>>> np.allclose(merged.numpy(), kernel, atol=1e-5), merged.derivation.scheme
(True, 'LoRA of PEFT')

```

| adapter | what is read | compared with | files | largest difference |
|---|---|---|---|---|
"""
END = """
## Refused, with the reason

```python
>>> import ml_dtypes
>>> lost = {"fc.weight": np.ones((2, 4), ml_dtypes.float8_e4m3fn)}
>>> steelyard.effective(lost).unreadable["fc.weight"]
'fc.weight is packed by FP8: its scale is missing'
>>> layer = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(4, 4))
>>> steelyard.effective(layer)["weight"].derivation.scheme
'orthogonal parametrization of PyTorch'
>>> torch.save(layer.state_dict(), f"{folder}/state.pt")
>>> reason = steelyard.effective(f"{folder}/state.pt").unreadable["weight"]
>>> reason.partition(": ")[2]
'the file does not say which of its three maps it uses'

```

- Numbers in the order of a kernel, in code books, or rotated: Marlin, EETQ, AQLM, VPTQ, QuIP#, EXL2, EXL3, SpQR, QQQ, BitBLAS,
  ParoQuant, sparse bit masks, and compressed-tensors with a `transform_config`.
- FP8 weights without a scale, weights of bitsandbytes without their state, layers with a missing part.
- States of modules in training for quantisation by PyTorch, which lack the range of the codes; a live module gives its rounded
  weights.
- Parametrizations that a file does not name: `orthogonal`, functions of one's own, and spectral norm of square convolutions
  whose vectors do not show the axis. Those of a live net are computed.
- Adapters without their base, without the config that has their scale, of PiSSA, OLoRA, CorDA, LoftQ and EVA unless
  `base_is_residual=True` says that the base is what these left, of grouped convolutions, and of VeRA without its projections;
  states of live nets with adapters inside, and those of loralib, which do not say whether the adapter is merged already.
- Spectral norm of Flax, whose number of iterations is in the code alone; files of Equinox alone, which have no names; GPTQ
  of Keras, whose files lack the zeros; kernels that a file of Keras without config does not have the shapes of.
- What neither the shapes nor a config decide: the bits of MLX, the format of asymmetric GPTQ, the blocks of FP8.
"""


def merged_cases(beginnings):
    """Yield what is known of the golden cases of a kind of adapter."""
    yield from (entry for case in adapter_cases() if (entry := case.values[0])["id"].startswith(beginnings))


def cases(beginnings):
    """Yield what is known of the golden cases of a row, with the files that hold the whole net."""
    for entry in json.loads((carried.folder("effective") / "index.json").read_text()):
        if entry["id"].startswith(beginnings) and entry["id"].startswith(SCHEMES) and not entry["must_refuse"]:
            yield entry, [name for name in entry["files"] if name in WHOLE and (entry["id"], name) != WITHOUT_SHAPE]


def measured(beginnings):
    """Return the largest difference of the golden cases of a row."""
    worst = 0.0
    for entry, names in cases(beginnings):
        folder = carried.folder("effective") / entry["id"]
        for name in names:
            worst = max(worst, apart(steelyard.effective(folder / name), folder))
    for entry in merged_cases(beginnings):
        folder = carried.folder("effective") / entry["id"]
        worst = max(worst, apart(steelyard.merge_adapter(folder / "base.safetensors", adapter_of(entry)), folder))
    return f"{worst:.0e}" if worst else "0"


def apart(found, folder):
    """Return the largest difference of effective weights from those of the library."""
    worst = 0.0
    with np.load(folder / "effective.npz") as expected:
        for key in expected:
            known = expected[key].astype(np.float64)
            difference = np.abs(found[named(found, key)].numpy().astype(np.float64) - known).max()
            worst = max(worst, float(difference / max(np.abs(known).max(), 1e-30)))
    return worst


def stated():
    """Return the largest difference that the page has for each scheme, and for live nets how many there are."""
    rows = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in PAGE.read_text().splitlines()]
    return {row[0]: " | ".join(row[2:]) if len(row) == 4 else row[-1] for row in rows if len(row) > 3}


def page(differences):
    schemes = [(*row, [*cases(row[0])]) for row in ROWS]
    adapters = [(*row, [(entry, [entry["id"]]) for entry in merged_cases(row[0])]) for row in ADAPTERS]
    live = [f"| {what} | {how} | {differences[what]} |\n" for _, what, how in live_effective.ROWS]
    return TEXT + table(schemes, differences) + MIDDLE + "".join(live) + ADAPTED + table(adapters, differences) + END


def measured_live(nets):
    """Return how many live nets of a row were compared, and the largest difference."""
    count, worst = live_effective.measured(nets)
    return f"{count} | {worst:.0e}" if worst else f"{count} | 0"


def table(rows, differences):
    """Return the lines of a table."""
    lines = []
    for _, scheme, told, found in rows:
        sources = Counter(_library(entry) if entry["status"] == "run" else "the published formula" for entry, _ in found)
        count = sum(len(names) for _, names in found)
        lines.append(f"| {scheme} | {told} | {', '.join(sources)} | {count} | {differences[scheme]} |\n")
    return "".join(lines)


def _library(entry):
    """Return the library and its version, which at times has the library's name already."""
    name = entry["library"].partition(" ")[0]
    return entry["version"] if entry["version"].startswith(name) else f"{name} {entry['version']}"


@pytest.mark.skipif("UPDATE_DOCS" not in os.environ, reason="it measures every case again")
def test_the_page_is_written():
    files = {scheme: measured(beginnings) for beginnings, scheme, _ in (*ROWS, *ADAPTERS)}
    PAGE.write_text(page(files | {what: measured_live(nets) for nets, what, _ in live_effective.ROWS}))


def test_the_page_of_effective_weights_is_up_to_date():
    assert PAGE.read_text() == page(stated()), "run UPDATE_DOCS=1 pytest tests/test_effective_page.py"


def test_every_scheme_that_is_compared_has_a_row():
    beginnings = tuple(word for row in ROWS for word in ([row[0]] if isinstance(row[0], str) else row[0]))
    index = json.loads((carried.folder("effective") / "index.json").read_text())
    compared = [entry["id"] for entry in index if entry["id"].startswith(SCHEMES) and not entry["must_refuse"]]
    assert not [name for name in compared if not name.startswith(beginnings)]


def test_a_stated_difference_is_within_the_tolerance_of_its_cases():
    for beginnings, scheme, _ in (*ROWS, *ADAPTERS):
        known = [*(entry for entry, _ in cases(beginnings)), *merged_cases(beginnings)]
        assert float(stated()[scheme]) <= max((entry["tolerance"] for entry in known), default=1.0), scheme
    for _, what, _ in live_effective.ROWS:
        assert float(stated()[what].rpartition("| ")[2]) <= live_effective.LARGEST, what
