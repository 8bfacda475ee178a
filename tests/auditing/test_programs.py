"""The audit of exported programs, of skops schemas, of Python source in archives, and of metadata."""

import io
import json
import struct
import zipfile

import pytest

from steelyard.auditing import audit
from steelyard.auditing.metadata import looks_like_code
from steelyard.storage.source import from_bytes

EVIL = "{{ cycler.__init__.__globals__.os.popen('true').read() }}"


def found(content, name):
    return [(finding.severity, finding.rule) for finding in audit(from_bytes(content, name)).findings]


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__of__", "/"), content)
    return file.getvalue()


def torchscript(line):
    code = f"class Net(Module):\n  def forward(self: __torch__.Net,\n    x: Tensor) -> Tensor:\n    {line}\n    return x\n"
    return zipped(**{"net__of__code__of____torch__.py": code, "net__of__version": "3\n"})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('_0 = torch.from_file("/tmp/x", True, 4)', ("error", "torchscript-outside")),
        ('_0 = ops.aten.from_file("/tmp/x", True, 4)', ("error", "torchscript-outside")),
        ('torch.save(x, "/tmp/x")', ("error", "torchscript-outside")),
        ('_0 = ops.aten.save(x, "/tmp/x")', ("error", "torchscript-outside")),
        ('_0 = torch.load("/tmp/x")', ("error", "torchscript-outside")),
        ('_0 = rpc_sync("worker", f)', ("error", "torchscript-outside")),
        ("_0 = ops.evil.run(x)", ("warning", "torchscript-custom-op")),
        ("_0 = __torch__.torch.classes.evil.Runner.__new__(x)", ("warning", "torchscript-custom-op")),
    ],
)
def test_torchscript_that_reaches_files_or_unknown_operators_is_named(line, expected):
    assert found(torchscript(line), "net.pt") == [expected]


@pytest.mark.parametrize(
    "line",
    [
        "_0 = torch.add(torch.matmul(x, x), 1)",
        "_0 = ops.quantized.linear(x, 1.0, 0)",
        "_0 = ops.prim.data(x)",
        "_0 = ops.torchvision.nms(x, x, 0.5)",
        "_0 = __torch__.torch.classes.quantized.LinearPackedParamsBase.__new__(x)",
        '_0 = (self.load).forward(self.save, "torch.nn.save the model")',
        "_0 = torch.save_this",
        'ops.prim.RaiseException("loading of a file failed")',
    ],
)
def test_ordinary_torchscript_has_no_finding(line):
    assert not found(torchscript(line), "net.pt")


def test_the_bytecode_of_a_phone_is_searched():
    content = zipped(**{"net__of__bytecode.pkl": b"\x80\x02X\x0f\0\0\0aten::from_fileq\x00."})
    assert ("error", "torchscript-outside") in found(content, "net.ptl")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch.ops.aten.from_file.default", [("error", "torchscript-outside")]),
        ("torch.ops.evil.run.default", [("warning", "torchscript-custom-op")]),
        ("torch.ops.aten.add.Tensor", []),
        ("torch.ops.higher_order.cond", []),
        ("_operator.mul", []),
    ],
)
def test_the_operators_of_an_exported_program_are_judged(target, expected):
    program = {"graph_module": {"graph": {"nodes": [{"target": target, "inputs": []}]}}}
    assert found(zipped(**{"models__of__model.json": json.dumps(program)}), "net.pt2") == expected


def test_python_source_in_an_archive_is_named():
    assert found(zipped(**{"handler.py": "import os\nos.system('ls')"}), "net.mar") == [("error", "python-code-runs")]
    assert found(zipped(**{"net__of__model.py": "class Net: pass"}), "net.pt") == [("warning", "python-code")]


def skops(node):
    return found(zipped(**{"schema.json": json.dumps({"content": {"a": node}, "__loader__": "DictNode"} | DICT)}), "a.skops")


DICT = {"__module__": "builtins", "__class__": "dict"}


@pytest.mark.parametrize(
    ("node", "rule"),
    [
        (
            {
                "__loader__": "MethodNode",
                "__module__": "builtins",
                "__class__": "list",
                "content": {"func": "__reduce__", "obj": DICT},
            },
            "skops-reduce",
        ),
        ({"__loader__": "OperatorFuncNode", "__module__": "operator", "__class__": "call", "attrs": {}}, "skops-reduce"),
        ({"__loader__": "OperatorFuncNode", "__module__": "operator", "__class__": "methodcaller", "attrs": {}}, "skops-reduce"),
        ({"__loader__": "EvilNode", "__module__": "builtins", "__class__": "dict"}, "skops-reduce"),
        (
            {
                "__loader__": "FunctionNode",
                "__module__": "builtins",
                "__class__": "function",
                "content": {"module_path": "os", "function": "system"},
            },
            "skops-type",
        ),
        (
            {
                "__loader__": "TypeNode",
                "__module__": "builtins",
                "__class__": "type",
                "content": {"__module__": "subprocess", "__class__": "Popen"},
            },
            "skops-type",
        ),
        ({"__loader__": "ObjectNode", "__module__": "posix", "__class__": "system", "content": None}, "skops-type"),
        ({"__loader__": "ObjectNode", "__module__": "my.nets", "__class__": "Net", "content": None}, "pickle-unknown-class"),
    ],
)
def test_the_nodes_of_a_skops_schema_that_would_run_are_named(node, rule):
    assert rule in [named for _, named in skops(node)]


def test_the_data_of_a_skops_schema_has_no_finding():
    json_node = {"__loader__": "JsonNode", "__module__": "builtins", "__class__": "str", "content": '"os.system"'}
    array = {"__loader__": "NdArrayNode", "__module__": "numpy", "__class__": "ndarray", "type": "numpy", "file": "1.npy"}
    assert not skops(json_node)
    assert not skops(array)


def safetensors(metadata, after=b""):
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": metadata}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(4) + after


def gguf(**metadata):
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = b"".join(text(key.replace("_of_", ".")) + struct.pack("<I", 8) + text(value) for key, value in metadata.items())
    tensor = text("w") + struct.pack("<IQIQ", 1, 1, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(metadata)) + pairs + tensor
    return head + bytes(-len(head) % 32) + bytes(4)


@pytest.mark.parametrize("text", ["__import__('os').system('ls')", "<script>x</script>", "$(curl a)", "os.system", "eval(x)"])
def test_metadata_that_looks_like_code_is_a_remark(text):
    assert found(safetensors({"note": text}), "a.safetensors") == [("info", "metadata-code")]
    assert found(gguf(general_of_name=text), "a.gguf") == [("info", "metadata-code")]


CODE = (
    *(
        "__import__",
        "eval (",
        "exec(",
        "compile(",
        "os.system",
        "os.popen",
        "subprocess",
        "< script",
        "javascript:",
        "import  os",
    ),
    *("__class__", "__builtins__", "$( x", "curl a |", "pickle.loads", "marshal.loads", "/bin/sh", "powershell"),
    *("cmd.exe", "gASVl", "{{", "{%"),
)


@pytest.mark.parametrize("text", CODE)
def test_whatever_looks_like_code_is_found_in_a_long_text_too(text):
    assert looks_like_code('{"name": ' * 1000 + text + " a") == text.removesuffix(" a")


@pytest.mark.parametrize("text", ["pt", '{"lr": 0.1}', "A model of evaluations (see https://a.b); costs $5", "import of goods"])
def test_ordinary_metadata_has_no_finding(text):
    assert not found(safetensors({"format": text}), "a.safetensors")
    assert not found(gguf(general_of_architecture="llama", general_of_name=text), "a.gguf")


@pytest.mark.parametrize("key", ["tokenizer_of_chat_template", "tokenizer_of_chat_template_of_tool_use", "general_of_note"])
def test_templates_in_the_metadata_of_gguf_are_judged(key):
    content = gguf(general_of_architecture="llama", **{key: EVIL})
    assert audit(from_bytes(content, "a.gguf")).would_run
    assert not found(gguf(**{key: "{% for m in messages %}{{ m.content }}{% endfor %}"}), "a.gguf")


def test_what_follows_the_tensors_is_looked_into():
    pickle = b"cos\nsystem\n(S'ls'\ntR."
    assert found(safetensors({}, pickle), "a.safetensors") == [("warning", "trailing-bytes"), ("error", "pickle-call")]
    assert not found(safetensors({}, b""), "a.safetensors")
    assert ("error", "pickle-call") in found(gguf(a="b") + pickle.ljust(99, b"\n"), "a.gguf")
    assert not found(gguf(a="b") + bytes(28), "a.gguf")


def test_what_is_between_the_tensors_is_looked_into():
    pickle = b"cos\nsystem\n(S'ls'\ntR."
    header = {
        name: {"dtype": "U8", "shape": [1], "data_offsets": [at, at + 1]} for name, at in (("a", 0), ("b", 1 + len(pickle)))
    }
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + b"\0" + pickle + b"\0"
    assert found(content, "a.safetensors") == [("warning", "trailing-bytes"), ("error", "pickle-call")]
