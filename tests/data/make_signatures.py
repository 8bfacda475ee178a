"""Make a small file with each library whose files no reader takes, and pack them: python tests/data/make_signatures.py

It needs the libraries that it imports, which the project does not: run it in an environment of its own.
"""

import io
import json
import shutil
import sqlite3
import tarfile
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(20, 3)), np.arange(20) % 2


def trees(folder):
    """Write models of trees, with the libraries themselves."""
    import catboost
    import lightgbm
    import xgboost

    model = xgboost.train({"max_depth": 1}, xgboost.DMatrix(X, Y), 1)
    model.save_model(folder / "xgboost.json")
    model.save_model(folder / "xgboost.ubj")
    booster = lightgbm.train({"num_leaves": 2, "min_data_in_leaf": 1, "verbose": -1}, lightgbm.Dataset(X, Y), 1)
    booster.save_model(folder / "lightgbm.txt")
    (folder / "lightgbm.json").write_text(json.dumps(booster.dump_model()))
    catboost.CatBoostClassifier(iterations=1, depth=1, verbose=0, allow_writing_files=False).fit(X, Y).save_model(
        folder / "catboost.cbm"
    )


def tables(folder):
    """Write tables, arrays and a database."""
    import pyarrow as pa
    import scipy.io
    from pyarrow import feather, orc, parquet

    table = pa.table({"w": [1.0, 2.0]})
    parquet.write_table(table, folder / "t.parquet")
    orc.write_table(table, folder / "t.orc")
    feather.write_feather(table, folder / "t.feather")
    feather.write_feather(table, folder / "t1.feather", version=1)
    with pa.OSFile(str(folder / "t.arrows"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    scipy.io.savemat(folder / "net.mat", {"W": X})
    with scipy.io.netcdf_file(folder / "t.nc", "w") as file:
        file.createDimension("n", 2)
        file.createVariable("w", "f4", ("n",))[:] = 1
    database = sqlite3.connect(folder / "t.sqlite")
    database.execute("create table t (w real)")
    database.commit()
    database.close()


def pictures(folder):
    """Write a picture in each common format."""
    from PIL import Image

    for suffix in ("png", "jpg", "gif", "tiff", "webp", "pdf"):
        Image.new("RGB", (4, 4)).save(folder / f"p.{suffix}")


def vectors(folder):
    """Write word vectors."""
    import fasttext
    from gensim.models import KeyedVectors

    words = KeyedVectors(3)
    words.add_vectors(["net", "weight"], X[:2].astype("f4"))
    words.save_word2vec_format(folder / "word2vec.bin", binary=True)
    words.save_word2vec_format(folder / "word2vec.txt", binary=False)
    text = folder / "text"
    text.write_text("a net a weight\n" * 5)
    fasttext.train_unsupervised(str(text), dim=2, bucket=2, minCount=1, epoch=1, verbose=0).save_model(
        str(folder / "fasttext.bin")
    )
    text.unlink()


def runtimes(folder):
    """Write the files of inference runtimes, of one small net each."""
    import coremltools
    import onnx
    import onnxruntime
    import openvino
    from onnx import helper, numpy_helper

    fact = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 3]) for name in "xy"]
    weight = numpy_helper.from_array(np.eye(3, dtype="f4"), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", fact[:1], fact[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    (folder / "tensor.pb").write_bytes(weight.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "net.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(str(folder / "net.onnx"), options)
    openvino.save_model(openvino.convert_model(str(folder / "net.onnx")), folder / "openvino" / "net.xml")
    (folder / "net.onnx").unlink()
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    array = datatypes.Array(3)
    builder = NeuralNetworkBuilder([("x", array)], [("y", array)])
    builder.add_inner_product("fc", np.eye(3), None, 3, 3, has_bias=False, input_name="x", output_name="y")
    coremltools.models.MLModel(builder.spec, skip_model_load=True).save(str(folder / "net.mlmodel"))


def main():
    """Make all files, and pack them."""
    folder = Path(tempfile.mkdtemp())
    for make in (trees, tables, pictures, vectors, runtimes):
        make(folder)
    with tarfile.open(HERE / "signatures.tar.xz", "w:xz") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = tarfile.TarInfo(str(path.relative_to(folder)))
                entry.size = path.stat().st_size
                archive.addfile(entry, io.BytesIO(path.read_bytes()))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
