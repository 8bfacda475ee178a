"""Make the files of the golden cases anew with the frameworks that are installed: python tests/data/make_golden.py

A case is one set of weights (`canonical.npz`) in the files of each framework, inputs, and the output that PyTorch computed in
float64 (`io.npz`). `index.json` has the code that builds the net in each framework. Here each net is built by that code, takes
the numbers of its file by the framework's own reader, must give the expected output, and is written by the framework's own
writer. So the files follow a new version of a framework, and no number changes.

ONNX files are written anew from their graphs, and must give the expected output in ONNX Runtime. TensorFlow Lite has no
writer but its converter, so its files are run and kept; those of R are made by R (make_r.R). A new case is a folder with
these files and an entry in the index.
"""

import io
import json
import lzma
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ARCHIVE = HERE / "golden.tar.xz"


def torch_files(build, folder, inputs):
    import torch
    from safetensors.torch import save_file

    state = torch.load(folder / "torch.pt", weights_only=True)
    model = build().eval()
    model.load_state_dict(state)
    torch.save(model.state_dict(), folder / "torch.pt")
    if (folder / "torch.safetensors").exists():  # which holds no tensor twice
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "torch.safetensors")
    with torch.no_grad():
        return model(*map(torch.from_numpy, inputs)).numpy()


def keras_files(build, folder, inputs):
    import keras
    import numpy as np

    keras.backend.clear_session()  # which counts the layers of a process in their names
    model = build()
    model.load_weights(folder / "keras.weights.h5")
    model.save(folder / "keras.keras")
    model.save_weights(folder / "keras.weights.h5")
    return np.asarray(model(inputs if len(inputs) > 1 else inputs[0], training=False))


def linen_files(build, folder, inputs):
    from flax import serialization

    variables = serialization.msgpack_restore((folder / "flax_linen.msgpack").read_bytes())
    (folder / "flax_linen.msgpack").write_bytes(serialization.to_bytes(variables))
    return build().apply(variables, *inputs)


def nnx_files(build, folder, inputs):
    from flax import nnx, serialization

    numbers = serialization.msgpack_restore((folder / "flax_nnx.msgpack").read_bytes())
    (folder / "flax_nnx.msgpack").write_bytes(serialization.to_bytes(numbers))
    model = build()
    state = nnx.state(model)
    nnx.replace_by_pure_dict(state, numbers)
    nnx.update(model, state)
    model.eval()
    return model(*inputs)


def eqx_files(build, folder, inputs):
    import equinox
    import jax

    model = equinox.tree_deserialise_leaves(folder / "equinox.eqx", build())
    equinox.tree_serialise_leaves(folder / "equinox.eqx", model)
    try:
        return jax.vmap(model)(*inputs)
    except (TypeError, ValueError):  # it was written for batches
        return model(*inputs)


def sklearn_files(build, folder, inputs):
    """Keep the estimator as it was fitted, since another processor would fit other numbers."""
    import joblib

    model = joblib.load(folder / "sklearn.joblib")
    joblib.dump(model, folder / "sklearn.joblib")
    return getattr(model, "predict_proba", model.predict)(inputs[0])


def onnx_files(_build, folder, inputs):
    import onnx
    import onnxruntime

    model = onnx.load(folder / "model.onnx")
    onnx.save(model, folder / "model.onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(None, {given.name: array for given, array in zip(session.get_inputs(), inputs, strict=True)})[0]


def tflite_files(_build, folder, inputs):
    from tensorflow import lite

    runner = lite.Interpreter(str(folder / "model.tflite"))
    for given, array in zip(runner.get_input_details(), inputs, strict=True):
        runner.resize_tensor_input(given["index"], array.shape)
    runner.allocate_tensors()
    for given, array in zip(runner.get_input_details(), inputs, strict=True):
        runner.set_tensor(given["index"], array.astype(given["dtype"]))
    runner.invoke()
    return runner.get_tensor(runner.get_output_details()[0]["index"])


MAKERS = {
    "torch": torch_files,
    "keras": keras_files,
    "linen": linen_files,
    "nnx": nnx_files,
    "eqx": eqx_files,
    "sklearn": sklearn_files,
    "onnx": onnx_files,
    "tflite": tflite_files,
}
BUILT_FROM_FILES = ("onnx", "tflite")
"""What needs no code to build a net: the file has its graph."""


def make(case, framework, folder):
    """Make the files of one case in one framework, and return how far its output is from the expected one."""
    import numpy as np

    scope = {"__name__": "golden"}
    exec(case["builders"].get(framework, "build = None"), scope)
    layout = case["layout"][framework]
    with np.load(folder / "io.npz") as arrays:
        inputs, expected = [arrays[name] for name in layout["inputs"]], arrays[layout["output"]]
    found = np.asarray(MAKERS[framework](scope["build"], folder, inputs), np.float64)
    found = found[:, -1] if found.size > expected.size else found  # of two classes the chance of the second
    return np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max()


def pack(folder, archive):
    """Pack a folder so that equal files make equal archives."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(entry, file)
    archive.write_bytes(lzma.compress(raw.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def main(target=ARCHIVE):
    with tempfile.TemporaryDirectory() as made, tarfile.open(ARCHIVE) as archive:
        archive.extractall(made, filter="data")
        for case in json.loads(Path(made, "index.json").read_text())["cases"]:
            for framework in (*case["builders"], *(each for each in BUILT_FROM_FILES if each in case["files"])):
                if not make(case, framework, Path(made, case["id"])) <= case["tolerance"]:
                    sys.exit(f"{case['id']} gives another output in {framework}")
        pack(Path(made), Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:])
