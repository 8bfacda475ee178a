"""A file that no reader takes is named, with the way out: files of the libraries themselves, and others by their layout."""

import io
import shutil
import struct
import tarfile
import zipfile

import carried
import pytest

import steelyard
from steelyard.cli import main
from steelyard.codecs.signatures import table
from steelyard.errors import FormatError, SteelyardError

MADE = {
    "catboost.cbm": "a model of CatBoost: trees, not a net",
    "lightgbm.json": "a model of LightGBM: trees, not a net",
    "lightgbm.txt": "a model of LightGBM: trees, not a net",
    "p.gif": "a GIF picture",
    "p.jpg": "a JPEG picture",
    "p.pdf": "a PDF document",
    "p.png": "a PNG picture",
    "p.tiff": "a TIFF picture",
    "p.webp": "a WebP picture",
    "t.arrows": "a stream of Arrow tables",
    "t.feather": "a table of Arrow",
    "t.nc": "data of netCDF",
    "t.orc": "a table of ORC",
    "t.parquet": "a table of Parquet",
    "t.sqlite": "a database of SQLite",
    "t1.feather": "a table of Feather",
    "tensor.pb": r"a single tensor of ONNX.*onnx\.numpy_helper\.to_array",
    "xgboost.json": "a model of XGBoost: trees, not a net",
    "xgboost.ubj": "a model of XGBoost: trees, not a net",
}
"""What the libraries wrote: `tests/data/make_signatures.py` has their calls."""


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "a")
    return buffer.getvalue()


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


LAYOUTS = {
    "old.mat": (struct.pack("<5i", 0, 1, 1, 0, 2) + b"w\0" + bytes(8), r"a file of MATLAB 4.*scipy\.io\.loadmat"),
    "net.caffemodel": (b"\x00", r"a Caffe model by its name.*partial download"),
    "n.params": (b"\x12\1", r"the weights of an MXNet model by its name.*partial download"),
    "net.cfg": (b"# yolo\n[net]\nbatch=1\n", "the layers of a Darknet model"),
    "deploy.prototxt": (b'name: "LeNet"\nlayer {\n  name: "data"\n}', "the layers of a Caffe model"),
    "n-symbol.json": (b'{"nodes": [{"op": "null", "name": "data"}]}', "the layers of an MXNet model"),
    "net.param.bin": (struct.pack("<2I", 7767517, 1), "the layers of an ncnn model by its name"),
    "net.ncnn.bin": (bytes(4) + b"\1" * 60, "the numbers of an ncnn model"),
    "a.mnn.weight": (bytes(range(60)), "the numbers of a model of MNN"),
    "a.mnn": (bytes(8) + b"\x0a", "a model of MNN"),
    "a.pte": (b"<\0\0\0", r"a program of ExecuTorch by its name.*partial download"),
    "a.ms": (b"<\0\0\0MSL2" + bytes(8), "a model of MindSpore Lite"),
    "a.engine": (b"ftrt" + bytes(20), "an engine of TensorRT"),
    "a.bpk": (b"NRUB\1\0" + bytes(14), "a pack of Burn.*SafetensorsStore"),
    "a.rknn": (b"RKNN" + bytes(20), "a model of RKNN"),
    "a.pb": (b"\x0d" + struct.pack("<I", 0x1C0) + bytes(4), "a net of Leela Chess Zero"),
    "kata.txt": (b"b6c96\n8\n22\n19\nmodel\n", r"a net of KataGo by its first lines.*partial download"),
    "a.t7": (struct.pack("<3i", 4, 1, 3) + b"V 1" + struct.pack("<i", 17), r"Torch7.*torchfile\.load"),
    "spiece.model": (b"\n\x0e\n\5<unk>\x15\0\0\0\0\x18\2", "a tokenizer of SentencePiece"),
    "glove.6B.txt": (b"the" + b" 0.418" * 50 + b"\n", "word vectors as a text"),
    "events.out.tfevents.1": (
        struct.pack("<Q", 24) + bytes(4) + b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2" + bytes(9),
        "a log of TensorB",
    ),
    "eng.traineddata": (struct.pack("<i24q", 24, *[-1] * 16, 196, 300, *[-1] * 6) + bytes(200), "a model of Tesseract"),
    "xor.net": (b"FANN_FLO_2.1\nnum_layers=3\n", r"a net of FANN.*get_connection_array"),
    "i.faiss": (b"IxFI" + bytes(20), "an index of Faiss"),
    "pmml.xml": (b'<?xml version="1.0"?>\n<PMML version="4.4">', "a model in PMML"),
    # what is at the place of a model
    "lfs.bin": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", r"a Git LFS pointer.*git lfs pull"),
    "annex.bin": (b"/annex/objects/SHA256E-s9--0.bin\n", r"a git-annex pointer.*git annex get"),
    "a.dvc": (b"outs:\n- md5: 0\n", r"a pointer of DVC.*dvc pull"),
    "page.pt": (b"\n<!DOCTYPE html><html>", r"an HTML page.*login page"),
    "denied.pt": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "the answer of a server"),
    "gated.bin": (b'{"error":"Access to model is restricted"}', "the answer of a server"),
    "zeros.bin": (bytes(70_000), "begins with 65,536 zero bytes"),
    "m.bin.crdownload": (b"\x01\xff\xfe", "an unfinished download"),
    "cut.pt": (zipped("archive/data.pkl")[:40], r"a zip archive that is cut off.*partial download"),
    "a.docx": (zipped("[Content_Types].xml", "word/document.xml"), "a document of Microsoft Office"),
    "a.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(8), "a document of Microsoft Office"),
    "a.odt": (zipped("content.xml", "styles.xml"), "a document of OpenOffice"),
    "a-1.0-py3-none-any.whl": (zipped("a/__init__.py", "a-1.0.dist-info/WHEEL"), "a Python wheel; unpack it"),
    "nets.zip": (zipped("a/x.zarr/.zgroup", "b/notes"), "an archive of a folder of zarr; unpack it"),
    "dl4j.zip": (zipped("configuration.json", "coefficients.bin"), "a model of Deeplearning4j"),
    "config.json": (b'{"architectures": ["BertModel"], "model_type": "bert"}', "the config of a model, without weights"),
    "tokenizer.json": (b'{"version": "1.0", "truncation": null}', "a tokenizer"),
    "keras.json": (b'{"class_name": "Sequential", "config": {}}', "the layers of a Keras model, without weights"),
    "a.ipynb": (b'{"cells": [], "nbformat": 4}', "a notebook of Jupyter"),
    "a.json": (b'{"vocab": {"a": 1}}', "JSON that describes no weights"),
    "lib.so": (b"\x7fELF\2\1\1" + bytes(9), r"machine code \(ELF\)"),
    "a.exe": (b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0", r"machine code \(Windows\)"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive; unpack it"),
    "a.rar": (b"Rar!\x1a\x07\1\0", "a RAR archive; unpack it"),
    "a.gpg": (b"-----BEGIN PGP MESSAGE-----", "encrypted or signed by PGP"),
    "a.torrent": (b"d8:announce9:udp://a:1", "a torrent, not the file itself"),
    "train.py": (b"import torch\n", "a program in Python"),
    "notes.txt": ("Grüße\n".encode(), "a text"),
    "README": (b"Weights of the net", r"a text that begins with 'Weights of the net'"),
}
"""What their specifications say of the first bytes."""

FOLDERS = {
    "net.mlpackage": (["Manifest.json", "Data/model.mlmodel"], "a package of Core ML without its model"),
    "net.mlmodelc": (["coremldata.bin", "model.mil"], "a compiled Core ML model"),
    "paddle": (["inference.pdmodel"], "the program of a PaddlePaddle model, without weights"),
    "megatron": (["mp_rank_00/model_optim_rng.pt"], "a checkpoint of Megatron or DeepSpeed in parts"),
    "logs": (["events.out.tfevents.1"], "a folder with a log of TensorBoard"),
    "empty": ([], "a folder without weight files$"),
    "packages": (
        ["net-1.0.dist-info/WHEEL", "net/a.txt", "net/b.txt", ".git/x"],
        "a folder without weight files; steelyard ls -r looks into the 2 folders in it$",
    ),
}


@pytest.fixture(scope="module")
def made():
    return carried.folder("signatures")


@pytest.mark.parametrize("name", MADE)
def test_a_file_of_another_library_is_named(name, made):
    with pytest.raises(FormatError, match=MADE[name]) as caught:
        steelyard.weights(made / name)
    assert "known formats are" not in str(caught.value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_of_this_layout_is_named(name, tmp_path):
    data, what = LAYOUTS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=what) as caught:
        steelyard.weights(tmp_path / name)
    assert "known formats are" not in str(caught.value)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_of_these_files_is_named(name, tmp_path):
    members, what = FOLDERS[name]
    (tmp_path / name).mkdir()
    for member in members:
        (tmp_path / name / member).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / member).write_bytes(b"\x01")
    with pytest.raises(FormatError, match=what):
        steelyard.weights(tmp_path / name)


def test_content_decides_before_the_name(made, tmp_path):
    shutil.copy(made / "xgboost.ubj", tmp_path / "net.mlmodel")
    shutil.copy(made / "p.png", tmp_path / "net.pt")
    with pytest.raises(FormatError, match="XGBoost"):
        steelyard.weights(tmp_path / "net.mlmodel")
    with pytest.raises(FormatError, match="a PNG picture"):
        steelyard.weights(tmp_path / "net.pt")


def test_bytes_that_nothing_is_known_of_are_shown(tmp_path, capsys):
    (tmp_path / "x.dat").write_bytes(bytes(range(130, 200)))
    assert main(["ls", str(tmp_path / "x.dat")]) == 2
    shown = capsys.readouterr().err
    assert r"it begins with b'\x82\x83" in shown
    assert "known formats are" in shown


def test_every_sentence_is_one_line_without_an_end():
    sentences = [
        row[-1] for rows in (table.MARKS, table.TEXTS, table.PACKED, table.ARCHIVES, table.NAMES, table.FOLDERS) for row in rows
    ]
    assert all(sentence.isprintable() and sentence[-1] not in ".;" and len(sentence) < 200 for sentence in sentences)


@pytest.mark.parametrize("length", [0, 1, 3, 5, 9, 24, 100])
def test_the_beginning_of_any_file_is_refused_in_one_line(length, made, tmp_path):
    parts = [(made / name).read_bytes() for name in MADE if (made / name).is_file()] + [data for data, _ in LAYOUTS.values()]
    for number, data in enumerate(parts):
        path = tmp_path / f"{number}.dat"
        path.write_bytes(data[:length])
        with pytest.raises(SteelyardError) as caught:
            steelyard.weights(path)
        assert str(caught.value).isprintable()


def test_a_tar_that_holds_no_model_is_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    with pytest.raises(FormatError, match="tar"):
        steelyard.weights(tmp_path / "a.tar")
