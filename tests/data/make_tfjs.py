"""Make models of TensorFlow.js with its own converter, and what its own reader says of them: python tests/data/make_tfjs.py

It needs `pip install --no-deps tensorflowjs` next to TensorFlow, Keras and tf_keras. Its package imports converters that
need more; only the modules that read, write and convert h5 files are loaded.
"""

import importlib
import importlib.util
import io
import json
import sys
import tarfile
import tempfile
import types
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SHARD = 300


def tensorflowjs():
    """Return the modules that write and read weights, without the converters."""
    place = Path(importlib.util.find_spec("tensorflowjs").origin).parent
    package = types.ModuleType("tensorflowjs")
    package.__path__ = [str(place)]
    sys.modules["tensorflowjs"] = package
    for name in ("quantization", "read_weights", "write_weights"):
        setattr(package, name, importlib.import_module(f"tensorflowjs.{name}"))
    return package


def weights(seed=0):
    """Return a group for each kind of numbers."""
    random = np.random.default_rng(seed)
    dense = {"dense/kernel": random.normal(size=(5, 7)), "dense/bias": random.normal(size=7), "same/bias": np.full(3, 0.25)}
    conv = {"conv/kernel": random.normal(size=(3, 3, 2, 4)), "conv/bias": np.zeros(4), "lstm/kernel": random.normal(size=(2, 12))}
    first = [{"name": name, "data": array.astype("f4")} for name, array in dense.items()]
    second = [{"name": name, "data": array.astype("f4")} for name, array in conv.items()]
    second += [
        {"name": "words", "data": np.array(["a", "", "\u00e9t\u00e9"], object)},
        {"name": "steps", "data": np.array(7, "i4")},
    ]
    second += [{"name": "mask", "data": np.array([True, False])}, {"name": "phase", "data": np.array([1 + 2j], "c8")}]
    return [first, second]


def layers_model():
    """Return the config of a Keras 2 model, and its weights as the converter names them."""
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Conv2D(3, 2, input_shape=(5, 4, 2), name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(name="flat"),
            layers.Dense(2, name="head"),
        ]
    )
    named = [{"name": variable.name.removesuffix(":0"), "data": variable.numpy()} for variable in model.weights]
    return {"keras_version": "2.15.0", "backend": "tensorflow", "model_config": json.loads(model.to_json())}, [named]


def main():
    """Make all models, and pack them with the arrays that tensorflowjs reads."""
    package = tensorflowjs()
    folder = Path(tempfile.mkdtemp())
    for kind in ("", "uint8", "uint16", "float16"):
        target = folder / (kind or "plain")
        target.mkdir()
        package.write_weights.write_weights(weights(), str(target), SHARD, quantization_dtype_map={kind: True} if kind else None)
        manifest = json.loads((target / "weights_manifest.json").read_text())
        arrays = package.read_weights.read_weights(manifest, str(target), flatten=True)
        np.savez(folder / f"{target.name}.npz", **{each["name"]: each["data"] for each in arrays if each["name"] != "words"})
    topology, groups = layers_model()
    (folder / "layers").mkdir()
    manifest = package.write_weights.write_weights(groups, str(folder / "layers"), SHARD, write_manifest=False)
    model = {"format": "layers-model", "generatedBy": "keras v2.15.0", "convertedBy": "TensorFlow.js Converter v4.22.0"}
    (folder / "layers/model.json").write_text(json.dumps({**model, "modelTopology": topology, "weightsManifest": manifest}))
    np.savez(folder / "layers.npz", **{each["name"]: each["data"] for each in groups[0]})
    with tarfile.open(HERE / "tfjs.tar.xz", "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size = path.stat().st_size
                archive.addfile(entry, io.BytesIO(path.read_bytes()))


if __name__ == "__main__":
    main()
