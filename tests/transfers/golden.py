"""The golden cases: the same weights in each framework's own files, an input, the expected output, the builders."""

import carried
import numpy as np

import steelyard
from steelyard.transfers.transfer import transfer

GOLDEN = carried.folder("golden")
CASES = {case["id"]: case for case in carried.golden_cases()}

UNTOLD = {  # files that do not determine the orientation of a square transposed kernel, or which of two layers is which
    *(("convt2d_same_tk", framework) for framework in ("linen", "nnx")),
    *((case, "linen") for case in ("bilstm", "bigru", "transformer_encoder_layer")),
    *(("transformer_encoder_layer", framework) for framework in ("torch", "keras")),  # for Keras the weights without a config
}
HANDWRITTEN = {("gru_reset_before", "torch")}  # a custom module: its function is not known


def files(case, framework):
    return [GOLDEN / name for name in CASES[case]["files"][framework]]


def inputs(case, framework):
    with np.load(GOLDEN / CASES[case]["io"]) as io:
        layout = CASES[case]["layout"][framework]
        return [io[name] for name in layout["inputs"]], io[layout["output"]]


def build(case, framework):
    """Build the framework's own new model, with other numbers."""
    space = {"__name__": "built"}
    exec(CASES[case]["builders"][framework], space)
    if framework == "torch":
        import torch

        torch.manual_seed(1)
        return space["build"]().eval()
    if framework == "linen":
        import jax

        module = space["build"]()
        return module.bind(module.init(jax.random.key(1), *map(jax.numpy.asarray, inputs(case, framework)[0])))
    return space["build"]()


def trained(case, framework):
    """Build the framework's own model with the numbers of its file."""
    model = build(case, framework)
    if framework == "eqx":
        import equinox

        return equinox.tree_deserialise_leaves(files(case, framework)[0], model)
    weights, arrays = steelyard.weights(model), steelyard.weights(files(case, framework)[0]).arrays()
    if set(arrays) != set(weights):  # Keras numbers the models of a process in their names
        arrays = dict(zip(weights, arrays.values(), strict=True))
    return weights.assign(arrays)


def run(framework, model, given):
    """Run a model with its framework."""
    if framework == "torch":
        import torch

        with torch.no_grad():
            return model(*(torch.from_numpy(np.array(each)) for each in given)).numpy()
    if framework == "keras":
        return np.asarray(model(given if len(given) > 1 else given[0], training=False))
    if framework == "eqx":
        import jax

        try:
            return np.asarray(jax.vmap(model)(*given))
        except Exception:
            return np.asarray(model(*given))
    return np.asarray(model(*given))


def error(found, wanted):
    return float(np.abs(np.asarray(found, np.float64) - wanted).max() / (np.abs(wanted).max() or 1.0))


def transferred(case, source, target, origin=None, **options):
    """Put a case's weights into a fresh model of another framework, and return the error of its outputs.

    `origin` is the live model or the file with the weights; it defaults to the first file of the case.
    """
    origin = origin if origin is not None else trained(case, source) if source == "eqx" else str(files(case, source)[0])
    model = build(case, target)
    (mine, _), (theirs, wanted) = inputs(case, source), inputs(case, target)
    made = transfer(origin, into=model, probe={"source": mine, "into": theirs}, **options)
    return error(run(target, made.model, theirs).reshape(wanted.shape), wanted)
