"""Small files of graph formats, written field by field: each a pair of files by name, and the name that is opened."""

import io
import json
import struct
import zipfile

import carried
import executorch_programs
import numpy as np
import saved_slices
from saved_slices import field


def caffe():
    """Yield a net of the new version, and one of the old."""
    shape = field(7, field(1, b"\2\3"))
    blob = shape + field(5, np.arange(6, dtype="f4").tobytes())
    layer = field(1, "fc") + field(2, "InnerProduct") + field(7, blob) + field(117, field(1, 2))
    yield {"net.caffemodel": field(1, "net") + field(100, layer)}, "net.caffemodel"
    dims = b"".join(field(axis, length) for axis, length in ((1, 1), (2, 1), (3, 2), (4, 3)))
    numbers = b"".join(b"\x2d" + struct.pack("<f", value) for value in range(6))
    yield {"net.caffemodel": field(1, "n") + field(2, field(4, "ip") + field(5, 14) + field(6, dims + numbers))}, "net.caffemodel"


def mxnet():
    """Yield arrays of each version, with names and without."""
    ones = np.ones(4, "f4").tobytes()
    arrays = [struct.pack("<IiIqq3i", 0xF993FAC9, 0, 2, 2, 2, 1, 0, 0) + ones]
    arrays += [struct.pack("<IIq3i", 0xF993FAC8, 1, 4, 1, 0, 0) + ones, struct.pack("<II3i", 1, 4, 1, 0, 0) + ones]
    names = b"".join(struct.pack("<Q", len(word)) + word for word in (b"arg:fc_weight", b"arg:fc_bias", b"aux:bn_moving_var"))
    head = struct.pack("<3Q", 0x112, 0, 3) + b"".join(arrays)
    yield {"net.params": head + struct.pack("<Q", 3) + names}, "net.params"
    yield {"net.params": head + struct.pack("<Q", 0)}, "net.params"


def paddle():
    """Yield tensors with their program, and a folder of them."""
    desc = field(1, 5) + field(2, 2) + field(2, 3)
    tensor = bytes(16) + struct.pack("<i", len(desc)) + desc + np.arange(6, dtype="f4").tobytes()
    kind = field(1, 7) + field(3, field(1, desc))
    variables = b"".join(field(3, field(1, name) + field(2, kind) + field(3, 1)) for name in ("a.w_0", "b.w_0"))
    operator = field(4, field(1, field(1, "Y") + field(2, "a.w_0")) + field(3, "mul"))
    program = field(1, variables + operator)
    yield {"net.pdiparams": tensor + tensor, "net.pdmodel": program}, "net.pdiparams"
    yield {"a.w_0": tensor, "b.w_0": tensor, "__model__": program}, ""


def darknet():
    """Yield weights with their layers."""
    cfg = b"[net]\nwidth=4\nheight=4\nchannels=1\n[convolutional]\nbatch_normalize=1\nfilters=2\nsize=3\npad=1\n"
    cfg += b"[connected]\noutput=2\n"
    data = struct.pack("<3iq", 0, 2, 0, 32) + bytes(4 * (8 + 18 + 2 + 64))
    yield {"net.weights": data, "net.cfg": cfg}, "net.weights"


def graphdef():
    """Yield a graph with constants of each kind, and the operators that take them."""
    dims = field(2, field(2, field(1, 2)) + field(2, field(1, 2)))
    tensors = {
        "w/kernel": field(1, 1) + dims + field(4, np.ones(4, "f4").tobytes()),
        "b": field(1, 1) + field(2, field(2, field(1, 2))) + field(5, np.ones(2, "f4").tobytes()),
        "i": field(1, 3) + dims + field(7, 5),
        "h": field(1, 19) + dims + field(13, b"\x80\x78\1"),
    }
    nodes = [
        field(1, name) + field(2, "Const") + field(5, field(1, "value") + field(2, field(8, tensor)))
        for name, tensor in tensors.items()
    ]
    nodes.append(field(1, "w/read") + field(2, "Identity") + field(3, "w/kernel"))
    turned = field(5, field(1, "transpose_b") + field(2, field(5, 1)))
    nodes.append(field(1, "y") + field(2, "MatMul") + field(3, "x") + field(3, "w/read") + turned)
    yield {"frozen.pb": b"".join(field(1, node) for node in nodes)}, "frozen.pb"


def openvino():
    """Yield nets of the newer and the older layout."""
    data = '<layer id="0" name="w" type="Const"><data element_type="f32" shape="2,3" offset="0" size="24"/></layer>'
    small = '<layer id="1" name="v" type="Const"><data element_type="u4" shape="4" offset="24" size="2"/></layer>'
    taken = '<layer id="2" name="fc" type="MatMul"><data transpose_b="true"/></layer>'
    edges = '<edges><edge from-layer="0" from-port="0" to-layer="2" to-port="1"/></edges>'
    new = f'<?xml version="1.0"?><net name="n" version="11"><layers>{data}{small}{taken}</layers>{edges}</net>'
    blobs = '<blobs><weights offset="0" size="16"/><biases offset="16" size="8"/></blobs>'
    layer = f'<layer id="0" name="c" type="Convolution" precision="FP32">{blobs}</layer>'
    old = f'<net name="n" version="6"><layers>{layer}</layers></net>'
    for text in (new, old):
        yield {"net.xml": text.encode(), "net.bin": bytes(range(26))}, "net.xml"
    yield {"net.xml": new.encode(), "net.bin": bytes(range(26))}, ""


def coreml():
    """Yield a network with full, quantised and palette weights, and a program with numbers of its own and in a file."""
    one = np.ones(1, "f4").tobytes()
    held = [
        field(1, np.ones(6, "f4").tobytes()),
        field(2, np.ones(6, "f2").tobytes()),
        field(30, b"\x1b\xe4") + field(40, field(1, 2) + field(101, field(1, one) + field(2, one))),
        field(30, b"\x1b\xe4") + field(40, field(1, 2) + field(102, field(1, np.arange(4, dtype="f4").tobytes()))),
    ]
    layers = [
        field(1, f"fc{place}") + field(140, field(1, 3) + field(2, 2) + field(20, weights)) for place, weights in enumerate(held)
    ]
    net = field(1, 4) + field(2, b"") + field(500, b"".join(field(1, layer) for layer in layers))
    yield {"net.mlmodel": net}, "net.mlmodel"
    yield {"net.mlmodel": field(1, 4) + field(2, b"") + field(202, field(1, net) + field(1, net))}, "net.mlmodel"

    def tensor(kind, *lengths):
        return field(
            2, field(1, field(1, kind) + field(2, len(lengths)) + b"".join(field(3, field(1, field(1, n))) for n in lengths))
        )

    def operation(kind, name, **values):
        attributes = b"".join(field(5, field(1, word) + field(2, value)) for word, value in values.items())
        return field(3, field(1, kind) + field(3, field(1, name)) + attributes)

    far = tensor(11, 4) + field(5, field(1, "@model_path/weights/weight.bin") + field(2, 64))
    codes = tensor(31, 2, 3) + field(3, field(1, field(7, field(1, bytes(range(6))))))
    scale, zero = (
        tensor(kind) + field(3, field(1, part)) for kind, part in ((11, field(1, field(1, one))), (31, field(7, field(1, b"\1"))))
    )
    axis = tensor(23) + field(3, field(1, field(2, field(1, b"\0"))))
    packed = tensor(31, 2) + field(3, field(1, field(7, field(1, b"\x1b\xe4"))))
    lut = tensor(11, 4) + field(3, field(1, field(1, field(1, np.arange(4, dtype="f4").tobytes()))))
    shape = tensor(33, 2) + field(3, field(1, field(7, field(1, np.array([2, 4], "u4").tobytes()))))
    block = operation("const", "w", val=far)
    block += operation("constexpr_affine_dequantize", "a", quantized_data=codes, scale=scale, zero_point=zero, axis=axis)
    block += operation("constexpr_lut_to_dense", "p", indices=packed, lut=lut, shape=shape)
    function = field(2, field(1, "main") + field(2, field(3, field(1, "CoreML5") + field(2, block))))
    program = field(1, 6) + field(2, b"") + field(502, field(1, 1) + function)
    record = struct.pack("<2I3Q", 0xDEADBEEF, 2, 16, 128, 0).ljust(64, b"\0")
    numbers = struct.pack("<2I", 1, 2).ljust(64, b"\0") + record + np.ones(4, "f4").tobytes()
    yield {"model.mlmodel": program, "weights/weight.bin": numbers}, "model.mlmodel"


def executorch():
    """Yield programs with constants in their own tables, and in a segment behind them."""
    tensors = [((2, 3), 1), ((2, 2), 2, (1, 0), 6, "fc.weight")]
    for in_segment in (False, True):
        data = executorch_programs.program(tensors, [b"", bytes(24), bytes(16)], in_segment)
        yield {"net.pte": data}, "net.pte"


def ort():
    """Yield a model that ONNX Runtime has prepared."""
    yield {"net.ort": (carried.folder("signatures") / "net.ort").read_bytes()}, "net.ort"


def first_version():
    """Yield checkpoints of TensorFlow's first version: a variable in two slices, in one file and in two, and one of integers."""
    halves = [saved_slices.stored("w", [(at, 2)], saved_slices.numbers([1, 2])) for at in (0, 2)]
    dims = saved_slices.shape_of([2, 2])
    whole = saved_slices.stored("i", [(0, -1), (0, -1)], field(1, 3) + dims + field(7, b"\1\2\3\4"))
    both = saved_slices.listed("w", (4,), 1, [(0, 2)], [(2, 2)])
    listed = [both, saved_slices.listed("i", (2, 2), 3, [(0, -1), (0, -1)])]
    yield {"net.ckpt": saved_slices.checkpoint(listed, *halves, whole)}, "net.ckpt"
    files = {
        f"net.ckpt-0000{place}-of-00002": saved_slices.checkpoint([saved_slices.listed("w", (4,), 1, [(2 * place, 2)])], half)
        for place, half in enumerate(halves)
    }
    yield files, "net.ckpt-00000-of-00002"


def ncnn():
    """Yield nets of ncnn with numbers in each way to store them, and one of its converter."""
    lines = ["Convolution a 1 1 x y 0=2 1=1 5=1 6=6 8=102", "InnerProduct b 1 1 y z 0=1 2=6", "Embed c 1 1 z w 0=2 1=3 3=6"]
    data = struct.pack("<I8x", 0x000D4B38) + bytes(24) + b"\1\0\0\0" + bytes(1032) + struct.pack("<I12x", 0x01306B47)
    files = {"net.param": "\n".join(["7767517", "3 3", *lines]).encode(), "net.bin": data}
    yield files, "net.param"
    yield files, ""
    numbers = [7767517, 2, 2, 16, 0, 1, 0, -233, 6, 1, 1, 0, 1, 0, 2, 1, 1, 5, 1, 6, 6, -23310, 1, 5, -233]
    yield {"net.param.bin": struct.pack(f"<{len(numbers)}i", *numbers), "net.bin": bytes(36)}, "net.param.bin"
    folder = carried.folder("ncnn")
    yield {name: (folder / name).read_bytes() for name in ("net.ncnn.param", "net.ncnn.bin")}, "net.ncnn.bin"


def zipped(members):
    """Return a zip archive of members, by their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def exported_programs():
    """Yield exported programs of PyTorch of today, and of older versions with files of torch.save in them."""

    def entry(path, sizes, strides, dtype=7):
        facts = {
            "dtype": dtype,
            "sizes": [{"as_int": n} for n in sizes],
            "strides": [{"as_int": n} for n in strides],
            "layout": 7,
        }
        facts |= {"storage_offset": {"as_int": 0}, "requires_grad": True}
        return {"path_name": path, "is_param": True, "use_pickle": False, "tensor_meta": facts}

    config = {"fc.weight": entry("weight_0", (2, 3), (1, 2)), "tied.weight": entry("weight_0", (2, 3), (1, 2))}
    node = {"metadata": {"nn_module_stack": "a,,Net;b,fc,torch.nn.modules.linear.Linear"}}
    today = {
        "net/data/weights/weight_0": bytes(24),
        "net/data/weights/model_weights_config.json": json.dumps({"config": config}),
        "net/data/constants/tensor_0": bytes(4),
        "net/data/constants/model_constants_config.json": json.dumps({"config": {"c": entry("tensor_0", (2,), (1,), 6)}}),
        "net/models/model.json": json.dumps({"graph_module": {"graph": {"nodes": [node]}}}),
        "net/archive_format": "pt2",
        "net/byteorder": "little",
    }
    yield {"net.pt2": zipped(today)}, "net.pt2"
    state = (carried.folder("golden") / carried.golden_cases()[0]["id"] / "torch.pt").read_bytes()
    old = {
        "version": "5.3",
        "serialized_state_dict.pt": state,
        "serialized_constants.pt": b"",
        "serialized_exported_program.json": "{}",
    }
    yield {"net.pt2": zipped(old)}, "net.pt2"


def mobile():
    """Yield modules of PyTorch Mobile: plain, frozen and with packed weights."""
    for name in ("plain", "tensor", "channel", "frozen"):
        yield {"net.ptl": (carried.folder("mobile") / f"{name}.ptl").read_bytes()}, "net.ptl"


def mnn():
    """Yield nets of MNN, plain and with quantised weights, also in a file of their own."""
    for name in ("plain", "half", "eight", "four"):
        yield {"net.mnn": (carried.folder("mnn") / f"{name}.mnn").read_bytes()}, "net.mnn"
    for name in ("eight-apart", "norms"):
        net = carried.folder("mnn") / f"{name}.mnn"
        yield {"net.mnn": net.read_bytes(), "net.mnn.weight": net.with_suffix(".mnn.weight").read_bytes()}, "net.mnn"
