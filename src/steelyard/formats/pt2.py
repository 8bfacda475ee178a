"""PyTorch's exported programs (`.pt2`), as `torch.export.save` writes them: the state dict, and the constants of the graph.

    today      NAME/archive_format                                   "pt2"
               NAME/byteorder                                        "little" or "big"
               NAME/data/weights/MODEL_weights_config.json           the member, type and shape of each name
               NAME/data/weights/weight_0                            a storage, or a file of torch.save
               NAME/data/constants/MODEL_constants_config.json       the same of constants, and unsaved buffers
               NAME/models/MODEL.json                                the graph, with the class of each module
    torch 2.8  NAME/data/weights/MODEL.pt, data/constants/MODEL.pt   dicts, in files of torch.save
    before     serialized_state_dict.pt, serialized_constants.pt     the same, and serialized_exported_program.json

The graph is not run, and nothing is unpickled. Source: `_package.py` of `torch.export.pt2_archive`, and
`schema.py` of `torch._export.serde`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.codecs.pickle.arrays import PickledTensor, refused
from steelyard.codecs.pickle.model_weights import as_weights
from steelyard.codecs.pickle.values import Global, Persistent
from steelyard.codecs.pickle.walk import TensorWalk
from steelyard.codecs.plain import from_json
from steelyard.codecs.torch.archive import nested_reader, open_archive
from steelyard.codecs.torch.tensors import TensorDecoder
from steelyard.codecs.zip import directory, member_source, mentions
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, SteelyardError, printable, quoted
from steelyard.layers.torch.roles import role_and_axes, roles_of_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.plain import Plain
    from steelyard.codecs.zip import Member
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".pt2",)

_FORMAT = b"/archive_format"
_PROGRAM = "serialized_exported_program.json"
_CONFIG = re.compile(r"(?:.*/)?data/(weights|constants)/(.+)_(?:weights|constants)_config\.json")
_DICT = re.compile(r"(?:.*/)?data/(weights|constants)/(.+)\.pt|serialized_(state_dict|constants)()\.(?:pt|json)")
_GRAPH = re.compile(r"(?:.*/)?models/(.+)\.json|serialized_exported_program()\.json")
_STACK = re.compile(rb'"nn_module_stack": ?"((?:[^"\\]|\\.)*)"')
_COMPILED = "data/aotinductor/"
_TYPES = ("", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "complex32", "complex64", "complex128")
_MORE = {12: "bool", 13: "bfloat16", 28: "uint16", 29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz"}
_MORE |= {32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64"}
_STRIDED = 7
_COST = 1000


def sniff(source: Source) -> bool:
    """Recognise the archive by the member that tells its format, or by that of a program of older versions."""
    if mentions(source, _PROGRAM.encode()):
        return True
    if not mentions(source, _FORMAT):
        return False
    try:
        members = directory(source)
        return any(_text(source, member, 8) == b"pt2" for name, member in members.items() if name.endswith("/archive_format"))
    except SteelyardError:
        return False


def read(source: Source, scope: Scope) -> Weights:
    """List the state dict in its order; with scope "all" constants of the graph too, and without a state dict these alone."""
    members, budget = directory(source), Budget(source)
    found: dict[str, list[PickledTensor]] = {"weights": [], "constants": []}
    graphs = [name for name in members if _GRAPH.fullmatch(name)]
    for name in members:
        if config := _CONFIG.fullmatch(name):
            tensors, kind, model = list(_Described(source, members, name, budget).tensors()), config[1], config[2]
        elif held := _DICT.fullmatch(name):
            tensors, kind, model = _in_dict(member_source(source, members[name])), held[1] or held[3], held[2] or ""
        else:
            continue
        for tensor in tensors if len(graphs) > 1 else ():
            tensor.path = (model, *tensor.path)
        found["constants" if kind == "constants" else "weights"] += tensors
    if not any(found.values()) and any(_COMPILED in name for name in members):
        raise FormatError(
            source.name, "is a package of AOTInductor, whose weights are in a compiled program; open the .pt2 of export"
        )
    chosen = found["weights"] + (found["constants"] if scope == "all" or not found["weights"] else [])
    _explain(chosen, _classes(source, [members[name] for name in graphs], budget) if len(graphs) == 1 else {})
    return Weights(as_weights(chosen, source), meta={"format": "PyTorch exported program"})


def _text(source: Source, member: Member | None, limit: int) -> bytes:
    """Return the content of a small member; nothing of a longer one, or one that is not there."""
    if member is None or member.size > limit:
        return b""
    return member_source(source, member).read(0, member.size).strip()


class _Described:
    """The tensors that a config describes, whose numbers are members next to it."""

    __slots__ = ("_base", "_budget", "_decoder", "_entries", "_members", "_source")

    def __init__(self, source: Source, members: Mapping[str, Member], config: str, budget: Budget) -> None:
        self._source, self._members, self._budget = source, members, budget
        self._base = config.rpartition("/")[0]
        member = members[config]
        if member.size > limits.JSON:
            raise FormatError(source.name, f"has {printable(config)} of {member.size:,} bytes, too many for a config")
        content = from_json(member_source(source, member).read(0, member.size), source)
        entries = content.get("config") if isinstance(content, dict) else None
        if not isinstance(entries, dict):
            raise FormatError(source.name, f"has {printable(config)}, which lists no tensors")
        self._entries = entries
        root = self._base.partition("data/")[0]
        order = _text(source, members.get(f"{root}byteorder"), 16)
        self._decoder = TensorDecoder(source, self._storage, ">" if order == b"big" else "<", nested_reader())

    def tensors(self) -> Iterator[PickledTensor]:
        """Yield the tensors in the order of the config, each with its name as its path."""
        for name, entry in self._entries.items():
            self._budget.spend(_COST + len(name))
            try:
                tensor = self._tensor(entry if isinstance(entry, dict) else {})
            except FormatError as error:
                tensor = refused(self._source, str(error).removeprefix(f"{printable(self._source.name)}: "))
            if tensor is not None:
                tensor.path = (name,)
                yield tensor

    def _storage(self, key: str | int, _word: str = "", _count: int = 0) -> Source:
        member = self._members.get(f"{self._base}/{key}")
        if member is None:
            raise FormatError(self._source.name, f"the archive lacks the member {quoted(f'{self._base}/{key}')}")
        return member_source(self._source, member)

    def _tensor(self, entry: Mapping[str, Plain]) -> PickledTensor | None:
        """Return a tensor; None for an object of a class of its own."""
        path, facts = str(entry.get("path_name", "")), entry.get("tensor_meta")
        if entry.get("use_pickle"):
            if not isinstance(facts, dict):
                return None
            archive = open_archive(self._storage(path), 1)
            return archive.decoder.decode(archive.root)
        if not isinstance(facts, dict) or facts.get("layout") != _STRIDED:
            raise FormatError(self._source.name, "has no strided layout")
        kind = facts.get("dtype")
        dtype = (_TYPES[kind] if 0 <= kind < len(_TYPES) else _MORE.get(kind, "")) if type(kind) is int else ""
        if not dtype:
            raise FormatError(self._source.name, f"is of the type {printable(kind)}, which is not known")
        size = self._storage(path).size
        storage = Persistent(("storage", Global("torch", "UntypedStorage"), path, "cpu", size))
        shape, stride = _lengths(facts.get("sizes")), _lengths(facts.get("strides"))
        tensor = self._decoder.strided(storage, _integer(facts.get("storage_offset")), shape, stride, dtype=dtype)
        tensor.trainable = facts.get("requires_grad") is True if entry.get("is_param") else False
        return tensor


def _integer(value: Plain) -> int | None:
    """Return an integer, which the schema writes as {"as_int": 3}; None for an expression."""
    number = value.get("as_int") if isinstance(value, dict) else value
    return number if type(number) is int else None


def _lengths(values: Plain) -> Pickled:
    return tuple(_integer(value) for value in values) if isinstance(values, list) else None


def _in_dict(content: Source) -> list[PickledTensor]:
    """Return the tensors of a dict in a file of torch.save; none where it is not one, as of a program without constants."""
    if not content.size:
        return []
    archive = open_archive(content, 1)
    tensors = TensorWalk(archive.decoder.source, archive.decoder.decode).through(archive.root).tensors
    for tensor in tensors:
        tensor.path = (".".join(tensor.path),)
    return tensors


def _classes(source: Source, graphs: list[Member], budget: Budget) -> dict[str, str]:
    """Return the class of each module by its path, as the nodes of the graph name them."""
    classes: dict[str, str] = {}
    for member in graphs:
        if member.size > limits.JSON:
            continue
        budget.spend(member.size)
        text = member_source(source, member).read(0, member.size)
        for stack in {match[1] for match in _STACK.finditer(text)}:
            budget.spend(len(stack))
            for level in stack.decode("utf-8", "replace").split(";"):
                parts = level.split(",")
                if len(parts) == 3:
                    classes[parts[1]] = parts[2]
    return classes


def _explain(tensors: list[PickledTensor], classes: Mapping[str, str]) -> None:
    """Set role and axes of the parameters of known modules."""
    for tensor in tensors:
        layer, _, key = tensor.path[-1].rpartition(".")
        module, _, name = classes.get(layer, "").rpartition(".")
        if known := roles_of_class(module, name):
            tensor.role, tensor.axes = role_and_axes(known, key, len(tensor.shape))
