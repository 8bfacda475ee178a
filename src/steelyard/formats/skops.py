"""skops: a zip archive of a schema.json, which describes an object, and its arrays as `.npy` members.

The nodes of the schema become the values of a pickle; no type is imported.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import Budget, check_json
from steelyard.codecs.pickle.arrays import PickledTensor, refused
from steelyard.codecs.pickle.model_weights import listed
from steelyard.codecs.pickle.npy import array_in
from steelyard.codecs.pickle.values import Blob, Global, Record
from steelyard.codecs.pickle.walk import TensorWalk
from steelyard.codecs.sklearn.graph import graph_maker
from steelyard.codecs.sklearn.skorch import decoder_of, open_nets
from steelyard.codecs.sklearn.weights import estimator_tensors
from steelyard.codecs.zip import Member, directory, is_zip, member_source, mentions
from steelyard.core.weights import Weights
from steelyard.errors import FormatError, printable

if TYPE_CHECKING:
    from steelyard.codecs.pickle.values import Pickled
    from steelyard.codecs.plain import Plain
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".skops",)

SCHEMA = "schema.json"


def sniff(source: Source) -> bool:
    """Recognise a zip archive with a schema.json, or with the suffix .skops."""
    return mentions(source, SCHEMA.encode()) or (is_zip(source) and source.name.lower().endswith(SUFFIXES))


def read(source: Source, scope: Scope) -> Weights:
    """List weights by the names of the live objects; scope "all" lists every array by its full path."""
    members = directory(source)
    if SCHEMA not in members:
        raise FormatError(source.name, f"the archive has no {SCHEMA}")
    schema = _schema(source, members[SCHEMA])
    nodes = _Nodes(source, members)
    root = nodes.made(schema, 0)
    open_nets(nodes.records, source)
    tensors = decoder_of(source)

    def decode(value: Pickled) -> PickledTensor | None:
        if isinstance(value, Record) and value.call is _FILE and isinstance(value.args, tuple):
            return _array(source, members, value.args)
        return tensors.decode(value)

    walk = TensorWalk(source, decode).through(root)
    own = estimator_tensors(root, decode, source) if scope != "all" else None
    meta = {"format": "skops", "version": printable(schema.get("_skops_version", "")), "protocol": schema.get("protocol")}
    return listed(source, root, walk, scope, meta, own, graph_maker(root, own, source))


def _schema(source: Source, member: Member) -> dict[str, Plain]:
    content = member_source(source, member)
    if content.size > limits.JSON:
        raise FormatError(source.name, f"the schema takes {content.size:,} bytes, more than {limits.JSON:,}")
    try:
        text = content.read(0, content.size)
        check_json(text, content)
        schema = json.loads(text)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(content.name, f"the schema is not JSON: {error}") from None
    if not isinstance(schema, dict) or "__loader__" not in schema:
        raise FormatError(content.name, "the schema is not a node with a loader")
    return schema


ARRAY_COST = 6000
"""bytes of memory that the sources of an array take, which the schema may name again and again"""
_FILE = Global("skops", "file")


# A node of the schema:
#   __loader__             the kind of node: "DictNode", "ListNode", "ObjectNode", "NdArrayNode", "JsonNode", ...
#   __module__, __class__  the type
#   __id__                 a number; a "CachedNode" with the same number is the same object
#   content                nodes by key, a list of nodes, the node of the state, or JSON as text
#   file                   the member with an array or bytes
class _Nodes:
    """Makes plain data and records of nodes."""

    __slots__ = ("known", "members", "named", "records", "source")

    def __init__(self, source: Source, members: dict[str, Member]) -> None:
        self.source = source
        self.members = members
        self.records: list[Record] = []
        self.known: dict[int, Pickled] = {}
        self.named: dict[str, Global] = {}

    def made(self, node: Plain, depth: int) -> Pickled:
        if not isinstance(node, dict) or depth > limits.SKOPS_DEPTH:
            raise FormatError(
                self.source.name,
                f"a node of the schema is a {type(node).__name__}, or nested more than {limits.SKOPS_DEPTH} levels deep",
            )
        number, loader = node.get("__id__"), node.get("__loader__")
        if loader == "CachedNode":
            return self.known.get(number) if isinstance(number, int) else None
        value = self._made(node, loader, depth + 1)
        if isinstance(number, int):
            self.known[number] = value
        return value

    def _made(self, node: dict[str, Plain], loader: Plain, depth: int) -> Pickled:
        content = node.get("content")
        if loader == "JsonNode":
            return _from_json(content)
        if loader in ("DictNode", "OrderedDictNode") and isinstance(content, dict):
            return {key: self.made(value, depth) for key, value in content.items()}
        if isinstance(content, list):  # lists, tuples, sets, arrays of objects
            made = [self.made(value, depth) for value in content]
            return tuple(made) if loader == "TupleNode" else made
        file = node.get("file")
        if loader in ("NdArrayNode", "SparseMatrixNode", "DatasetNode") and isinstance(file, str):
            return self._file(node, file)
        if loader in ("BytesNode", "BytearrayNode"):
            return self._bytes(file)
        record = Record(self._name(node), ())
        self.records.append(record)
        if isinstance(content, dict) and "__loader__" in content:
            record.state = self.made(content, depth)
        else:
            parts = {**node, **content} if isinstance(content, dict) else node
            inner = {key: value for key, value in parts.items() if isinstance(value, dict) and "__loader__" in value}
            record.state = {key: self.made(value, depth) for key, value in inner.items()}
        return record

    def _file(self, node: dict[str, Plain], file: str) -> Record:
        """An array in its own member; the member of a sparse array is an archive of its components."""
        if node.get("__loader__") != "SparseMatrixNode":
            return Record(_FILE, (file,))
        record = Record(self._name(node), ())
        members = {"indptr": "indptr", "indices": "indices", "data": "data", "_shape": "shape"}
        record.state = {key: Record(_FILE, (file, f"{name}.npy")) for key, name in members.items()}
        return record

    def _bytes(self, name: Plain) -> Blob | None:
        member = self.members.get(name) if isinstance(name, str) else None
        content = member_source(self.source, member) if member else None
        return Blob(content, 0, content.size) if content else None

    def _name(self, node: dict[str, Plain]) -> Global:
        name = Global(str(node.get("__module__")), str(node.get("__class__")))
        return self.named.setdefault(name.text, name)


def _from_json(content: Plain) -> Pickled:
    """Decode the text of a "JsonNode"; None for anything else."""
    try:
        value: Pickled = json.loads(content) if isinstance(content, str) else None
    except (ValueError, RecursionError):
        return None
    return value


def _array(source: Source, members: dict[str, Member], path: tuple[Pickled, ...]) -> PickledTensor:
    """Read the array of a member, given by its path through nested archives."""
    content = source
    Budget(source).spend(ARRAY_COST)
    try:
        for name in path:
            member = members.get(name) if isinstance(name, str) else None
            if member is None:
                return refused(source, f"its member {printable(name, 80)} is missing")
            content = member_source(content, member)
            if name != path[-1]:
                members = directory(content)
        return array_in(content)[0]
    except FormatError as error:
        return refused(source, str(error))
