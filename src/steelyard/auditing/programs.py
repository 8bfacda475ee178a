"""Exported programs of PyTorch: the source of TorchScript, and the operators of an ExportedProgram. Nothing is compiled.

NAME/code/__torch__/...py       the source of TorchScript, in an archive; NAME/bytecode.pkl for phones
models/model.json               an ExportedProgram: "target": "torch.ops.aten.add.Tensor"
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.names import words
from steelyard.auditing.plain_values import dicts_in
from steelyard.codecs import limits
from steelyard.errors import printable

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

_OWN = words(
    """
    aten prim prims quantized quantized_decomposed torchvision torchaudio torchtext inductor higher_order profiler mkldnn
    onednn _caffe2 fbgemm sparse rnn image cudnn xnnpack metal vulkan prepacked torch_sparse torch_scatter torch_cluster
    torch_spline_conv c10d_functional _c10d_functional static_runtime mkldnn_prepacked nnpack dsntnn export custom
    """
)
"""Namespaces of the operators of PyTorch and its usual libraries."""
_CLASSES = frozenset(("quantized", "sparse", "xnnpack", "rnn", "torchaudio", "torchtext", "vulkan", "nnapi", "mkldnn", "fbgemm"))
_OUTSIDE = re.compile(
    r"\b(?:torch|ops\.aten|aten::?|torch\.ops\.aten)(?:\.|::)?"
    r"(?P<name>from_file|save|load|_load_from_file|_save|import_ir_module|load_library|_C|hub|os|system)\s*(?:\(|\b)"
)
_CODE = re.compile(r"\b(?:ops|torch\.ops)\.(?P<namespace>\w+)\.(?P<name>\w+)")
_CLASS = re.compile(r"__torch__\.torch\.classes\.(?P<namespace>\w+)\.(?P<name>\w+)")
_PROCESSES = re.compile(r"\b(?:ops|torch\.ops)\.(?:rpc|dist_rpc|c10d|aten\.(?:rpc|is_rpc))\w*|\brpc_(?:a?sync|remote)\s*\(")
_SYMBOL = re.compile(rb"(?<=[\x0f\0])aten::from_file|(?<=[\x0a\0])aten::(?:save|load)|(?<=[\0-\x40])rpc::[a-z_]+")


def recognises(source: Source) -> bool:
    """Recognise source or bytecode by its name in an archive."""
    name = source.name.replace("\\", "/")
    return source.size <= limits.JSON and (is_torchscript(name) or name.endswith("bytecode.pkl"))


def is_torchscript(name: str) -> bool:
    """Whether a member of an archive is the source of TorchScript.

    >>> [is_torchscript(f"a.pt:{name}") for name in ("net/code/__torch__/nets.py", "code/__torch__.py", "code/handler.py")]
    [True, True, False]
    """
    return name.endswith(".py") and "/code/__torch__" in name.replace(":", "/")


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Name operators that reach out, and operators and classes that no list knows."""
    content = source.read(0, source.size)
    if source.name.endswith("bytecode.pkl"):
        for symbol in dict.fromkeys(_SYMBOL.findall(content)):
            yield AuditFinding("torchscript-outside", str(place), f"uses {symbol.decode()}, which reaches files or processes")
        return
    for rule, what in dict.fromkeys(_of_code(content.decode("utf-8", "replace"))):
        yield AuditFinding(rule, str(place), what)


def _of_code(text: str) -> Iterator[tuple[str, str]]:
    for match in _OUTSIDE.finditer(text):
        yield "torchscript-outside", f"uses {printable(match[0].rstrip('( '))}, which reads or writes a file"
    for match in _PROCESSES.finditer(text):
        yield "torchscript-outside", f"uses {printable(match[0].rstrip('( '))}, which reaches other processes"
    for match in _CODE.finditer(text):
        if match["namespace"] not in _OWN:
            yield "torchscript-custom-op", f"uses the operator {printable(match[0])} of a library that no list knows"
    for match in _CLASS.finditer(text):
        if match["namespace"] not in _CLASSES:
            yield "torchscript-custom-op", f"uses the class {printable(match[0])} of a library that no list knows"


def judged(config: Plain, place: Place) -> Iterator[AuditFinding]:
    """Judge the operators of an ExportedProgram."""
    targets = [entry["target"] for entry in dicts_in(config) if isinstance(entry.get("target"), str)]
    for target in dict.fromkeys(target for target in targets if isinstance(target, str)):
        words = target.removeprefix("#").split(".")
        if words[:2] == ["torch", "ops"] and len(words) > 3:
            if words[3] in ("from_file", "save", "load"):
                yield AuditFinding("torchscript-outside", str(place), f"uses {printable(target)}, which reads or writes a file")
            elif words[2] not in _OWN:
                what = f"uses the operator {printable(target)} of a library that no list knows"
                yield AuditFinding("torchscript-custom-op", str(place), what)
