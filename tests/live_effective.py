"""Live nets with the weights that they compute with, as their own libraries give them; for the rows of docs/effective.md."""

import copy
import tempfile
import warnings
from pathlib import Path

import numpy as np

import steelyard


def parametrized():
    """Nets of PyTorch with masks, norms and parametrizations."""
    import torch
    from torch import nn

    from tests.frameworks.torch.test_effective import KINDS, response

    for change in KINDS.values():
        torch.manual_seed(0)
        layer = nn.Linear(4, 4)
        change(layer)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(1.5)  # plain attributes are old now
        found = steelyard.effective(nn.Sequential(layer))
        yield found, {"0.weight": response(layer)}


def folded():
    """Layers with the batch norms after them folded in."""
    from torch.nn.utils import fusion

    from tests.frameworks.torch.test_folding import Residual, trained

    net = trained(Residual())
    pairs = {"conv": (net.conv, net.norm), "grouped": (net.grouped, net.second)}
    fused = {name: fusion.fuse_conv_bn_eval(*pair) for name, pair in pairs.items()}
    yield (
        steelyard.effective(net, fold="norms"),
        {f"{name}.{leaf}": getattr(each, leaf).detach().numpy() for name, each in fused.items() for leaf in ("weight", "bias")},
    )


def rounded():
    """Layers of PyTorch that are quantised, dynamically and statically."""
    import torch
    from torch import nn
    from torch.ao import quantization

    torch.manual_seed(0)
    for dtype in (torch.qint8, torch.float16):
        net = quantization.quantize_dynamic(nn.Sequential(nn.Linear(6, 5)), {nn.Linear}, dtype)
        weight = net[0].weight()
        yield steelyard.effective(net), {"0.weight": (weight.dequantize() if weight.is_quantized else weight).detach().numpy()}


def adapted():
    """Nets with adapters of PEFT."""
    from tests.frameworks.torch import test_peft

    for case in (*test_peft.CASES.values(), *test_peft.MERGED.values()):
        net = test_peft.adapted(*case)
        merged = copy.deepcopy(net).merge_and_unload().state_dict()
        yield steelyard.effective(net), {name: tensor.numpy() for name, tensor in merged.items()}


def by_torchao():
    """Nets that torchao quantised."""
    import torch
    from torchao.quantization import quantize_

    from tests.frameworks.torch.test_packed_by_libraries import LAYERS, configs, net

    for name in configs():
        for dtype in (torch.float32, torch.bfloat16):
            model = net(dtype)
            quantize_(model, configs()[name])
            held = {layer: model.get_parameter(layer) for layer in LAYERS}
            whole = {layer: getattr(each, "original_weight_tensor", each).dequantize() for layer, each in held.items()}
            yield steelyard.effective(model), {layer: each.float().numpy() for layer, each in whole.items()}


def by_bitsandbytes():
    """A net that bitsandbytes quantised, with layers of 4 and 8 bits."""
    from bitsandbytes import functional

    from tests.frameworks.torch.test_packed_by_libraries import net_of_bitsandbytes

    model = net_of_bitsandbytes()
    held = {name: model.get_submodule(name).weight for name in ("0", "2")}
    known = {f"{name}.weight": functional.dequantize_4bit(each.data, each.quant_state) for name, each in held.items()}
    state = model.state_dict()
    known["1.weight"] = functional.int8_vectorwise_dequant(state["1.weight"], state["1.SCB"])
    yield steelyard.effective(model), {name: tensor.float().numpy() for name, tensor in known.items()}


def offloaded():
    """Nets that Accelerate keeps in memory or in files."""
    from tests.frameworks.torch import test_accelerate

    plain = {name: tensor.numpy() for name, tensor in test_accelerate.net().state_dict().items()}
    for made in (test_accelerate.in_memory, test_accelerate.in_files, test_accelerate.in_both, test_accelerate.loaded):
        with tempfile.TemporaryDirectory() as folder:
            yield steelyard.effective(made(Path(folder))), plain


def of_keras():
    """Nets of Keras that are quantised, or have LoRA."""
    from tests.frameworks.keras.test_effective import net_of, response

    for options in (("int8", 2), ("int4",), (None, 2, 6.0)):
        net = net_of(*options)
        yield steelyard.effective(net), response(net)


def of_equinox():
    """Layers of Equinox with norms."""
    import equinox as eqx

    from tests.frameworks.equinox.test_effective import KEY, response

    layer = eqx.nn.Linear(5, 4, key=KEY)
    for axis in (0, 1, None):
        net = eqx.nn.WeightNorm(layer, "weight", axis=axis)
        net = eqx.tree_at(lambda n: n.g, net, net.g * 1.5)
        yield steelyard.effective(net), {"layer.weight": response(net, 5)}
    net, state = eqx.nn.make_with_state(eqx.nn.SpectralNorm)(layer, "weight", key=KEY, inference=True)
    known = response(lambda x: net(x, state)[0], 5)
    yield steelyard.effective(eqx.Partial(net, state=state)), {"func.layer.weight": known}


def blocks_of_gguf():
    """Tensors of every quantisation of GGUF that the package gguf decodes."""
    import gguf

    from steelyard.storage.source import from_bytes
    from tests.formats.gguf.test_quantisation import QUANTS, WITHOUT_REFERENCE, quantised, random_blocks

    for name in sorted(set(QUANTS) - WITHOUT_REFERENCE):
        data, size = random_blocks(name, 400)
        expected = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[name]).reshape(-1)
        found = quantised(from_bytes(data.tobytes()), 0, name)(0, size)
        finite = np.isfinite(expected)
        yield {"w": found[finite]}, {"w": expected[finite]}


ROWS = (
    (parametrized, "masks, norms and parametrizations of PyTorch", "what the layer does to unit vectors"),
    (rounded, "torch.ao, dynamic", "`dequantize` of PyTorch"),
    (folded, "batch norms folded into layers of PyTorch", "`fuse_conv_bn_eval` of PyTorch"),
    (adapted, "adapters of PEFT", "`merge_and_unload` of PEFT"),
    (by_torchao, "torchao, float32 and bfloat16", "`dequantize` of torchao"),
    (by_bitsandbytes, "bitsandbytes int8, NF4 and FP4", "`dequantize_4bit` and `int8_vectorwise_dequant` of bitsandbytes"),
    (offloaded, "nets that Accelerate keeps in files or in memory", "the numbers of the net before"),
    (of_keras, "Keras int8 and int4, `enable_lora`", "what the layers do to unit vectors"),
    (of_equinox, "norms of Equinox", "what the layer does to unit vectors"),
    (blocks_of_gguf, "tensors of GGUF files, which are always read so", "`dequantize` of gguf"),
)
"""A function that makes live nets, each with the numbers that its library gives; what they are; how these numbers are found."""
LARGEST = 3e-6
"""The difference that no row has: some libraries compute in float32 where Steelyard computes in float64."""


def measured(nets):
    """Return how many nets were compared, and the largest difference of an array, relative to its largest number."""
    worst, count = 0.0, 0
    with warnings.catch_warnings(action="ignore"):
        for found, known in nets():
            count += 1
            for name, array in known.items():
                got = found[name] if isinstance(found[name], np.ndarray) else found[name].numpy()
                apart = np.abs(got.astype(np.float64) - array.astype(np.float64)).max(initial=0.0)
                worst = max(worst, float(apart / max(np.abs(array.astype(np.float64)).max(initial=0.0), 1e-30)))
    return count, worst
