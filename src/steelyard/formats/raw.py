"""raw: the numbers alone, in order, row-major, little-endian, for any program; a JSON manifest next to them describes them.

`net.raw` has the numbers, `net.raw.json` the manifest; either path opens both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.budget import check_json
from steelyard.codecs.limits import is_possible
from steelyard.codecs.metadata import dump_facts, with_facts, written_once
from steelyard.core.readers import chunks_of
from steelyard.core.roles import layer_of
from steelyard.core.weight import Weight
from steelyard.core.weights import Weights
from steelyard.dtypes import ITEMSIZES, UNKNOWN, itemsize
from steelyard.errors import FileMissingError, FormatError, UnsafeFileError, printable, quoted
from steelyard.formats import SHA256
from steelyard.storage.atomic_set import replace_pair

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from steelyard.codecs.plain import Plain
    from steelyard.core.protocols import Scope
    from steelyard.storage.source import Source

SUFFIXES = (".raw", ".raw.json")

FORMAT, VERSION = "steelyard raw", 1
_DATA, _MANIFEST = SUFFIXES
_NAMED = b'"steelyard raw"'
_ORDERS = {"little": "<", "big": ">"}
_WHOLE = {int}
NOT_PORTABLE = (UNKNOWN, "float128")
"""Types whose bytes another machine reads otherwise, or that are not known."""


def sniff(source: Source) -> bool:
    """Recognise a manifest by its first bytes, and numbers by their suffix and the manifest next to them."""
    if source.is_folder:
        return False
    name = source.name.lower()
    if name.endswith(_MANIFEST):
        return _NAMED in source.head(256)
    return name.endswith(_DATA) and _manifest_of(source) is not None


def _manifest_of(source: Source) -> Source | None:
    try:
        return source.beside(f"{_base(source.name)}.json")
    except (FileMissingError, FormatError, OSError):
        return None


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of the manifest, in its order. Raises `FormatError` unless they take every byte of the file once."""
    manifest = source if source.name.lower().endswith(_MANIFEST) else _manifest_of(source)
    if manifest is None:
        raise FormatError(source.name, f"has no manifest {printable(_base(source.name))}.json, which names its weights")
    content = _content(manifest)
    data = _data(manifest, content)
    order = _ORDERS.get(str(content.get("byte order")))
    if order is None:
        raise FormatError(manifest.name, f"the byte order is {quoted(content.get('byte order'), 40)}, neither little nor big")
    listed = content.get("weights")
    if not isinstance(listed, list):
        raise FormatError(manifest.name, "the manifest has no list of weights")
    stored = list(_weights(manifest, listed, data, order))
    facts, digest = content.get("facts"), content.get("sha256")
    meta = {"format": FORMAT, "byte order": content["byte order"], SHA256: printable(digest, 80)}
    return Weights(with_facts(stored, facts if isinstance(facts, str) else None), meta=meta)


# The manifest is a JSON object:
#   "format"      "steelyard raw"
#   "version"     1
#   "data"        the name of the file of numbers, in the same folder
#   "pending"     the name under which these numbers are until they take that name; afterwards there is no such file
#   "byte order"  "little", or "big" from other programs
#   "bytes"       the size of the file of numbers
#   "sha256"      its digest
#   "weights"     [{"name": "fc.weight", "dtype": "float32", "shape": [2, 3], "offset": 0}, ...], row-major, without gaps
#   "facts"       JSON as in other files of Steelyard: roles, axes, layers and ties; optional
def _content(manifest: Source) -> dict[str, Plain]:
    if manifest.size > limits.JSON:
        raise FormatError(manifest.name, f"the manifest has {manifest.size:,} bytes, more than the {limits.JSON:,} allowed")
    try:
        text = manifest.read(0, manifest.size).decode("utf-8")
        check_json(text, manifest)
        content = json.loads(text)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(manifest.name, f"the manifest is not JSON: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
        raise FormatError(manifest.name, f"the manifest is not one of {FORMAT}, version {VERSION}")
    return content


def _data(manifest: Source, content: Mapping[str, Plain]) -> Source:
    """Open the file of numbers: the pending one if a save was cut off before it took its name."""
    names = [name for name in (content.get("pending"), content.get("data")) if isinstance(name, str)]
    if not isinstance(content.get("data"), str) or any("/" in name for name in names):
        raise UnsafeFileError(manifest.name, "the manifest names no file of numbers in its own folder")
    for name in names:
        try:
            data = manifest.beside(name)
        except FileMissingError:
            continue
        if data.is_folder or data.size != content.get("bytes"):
            what = f"has {data.size:,} bytes, but the manifest is for {printable(content.get('bytes'), 40)}"
            raise FormatError(manifest.name, f"{printable(name)} {what} (partial copy, or a manifest of another file?)")
        return data
    raise FormatError(manifest.name, f"the file of numbers, {printable(content['data'])}, is missing (partial copy?)")


def _weights(manifest: Source, listed: Iterable[Plain], data: Source, order: str) -> Iterator[Weight]:
    """Yield the weights; together they must take every byte of the data, in order."""
    end, names = 0, set()
    for entry in listed:
        name, dtype, shape, offset = _entry(manifest, entry)
        if name in names:
            raise FormatError(manifest.name, f"duplicate name {printable(name)}; the manifest is ambiguous")
        names.add(name)
        if offset != end:
            raise FormatError(
                manifest.name, f"{printable(name)} begins at byte {offset:,}, but what is before it ends at {end:,}"
            )
        end += prod(shape) * itemsize(dtype)
        yield Weight(name=name, shape=shape, dtype=dtype, read=data.numbers(offset, dtype, order), layer=layer_of(name))
    if end != data.size:
        raise FormatError(manifest.name, f"the weights end at byte {end:,} of {data.size:,}")


def _entry(manifest: Source, entry: Plain) -> tuple[str, str, tuple[int, ...], int]:
    """Check one weight of the manifest, and return its name, dtype, shape and offset."""
    fact = entry if isinstance(entry, dict) else {}
    name, dtype, shape, offset = (fact.get(key) for key in ("name", "dtype", "shape", "offset"))
    if not isinstance(name, str) or not isinstance(dtype, str) or not isinstance(shape, list) or type(offset) is not int:
        raise FormatError(manifest.name, f"a weight lacks a name, a dtype, a shape or an offset: {printable(entry, 200)}")
    if dtype not in ITEMSIZES or dtype in NOT_PORTABLE:
        raise FormatError(manifest.name, f"{printable(name)} is of type {quoted(dtype, 40)}, which cannot be read")
    lengths = tuple(length for length in shape if type(length) is int)
    if len(lengths) < len(shape) or not is_possible(lengths):
        raise FormatError(manifest.name, f"{printable(name)} has an impossible shape: {printable(shape, 200)}")
    return name, dtype, lengths, offset


def write(weights: Weights, path: Path) -> None:
    """Write the numbers and their manifest, which replace old ones together; tied weights are written once."""
    path = path.with_name(path.name[: -len(".json")]) if path.name.lower().endswith(_MANIFEST) else path
    owned = written_once(weights)
    refused = next((weight for weight in owned if weight.dtype in NOT_PORTABLE), None)
    if refused is not None:
        raise FormatError(
            str(path), f"{printable(refused.name)} is {refused.dtype}, which other machines read otherwise; cast it"
        )
    digest = hashlib.sha256()

    def fill(file: BinaryIO) -> None:
        for piece in chunks_of(owned):
            digest.update(piece)
            file.write(piece)

    def manifest(pending: str) -> bytes:
        size = sum(weight.nbytes for weight in owned)
        head = {"format": FORMAT, "version": VERSION, "data": path.name, "pending": pending, "byte order": "little"}
        whole = {
            **head,
            "bytes": size,
            "sha256": digest.hexdigest(),
            "weights": list(_entries(owned)),
            "facts": dump_facts(weights),
        }
        return json.dumps(whole, indent=1).encode()

    replace_pair(path, path.with_name(f"{path.name}.json"), fill, manifest)


def _entries(weights: Iterable[Weight]) -> Iterator[dict[str, object]]:
    offset = 0
    for weight in weights:
        yield {"name": weight.name, "dtype": weight.dtype, "shape": list(weight.shape), "offset": offset}
        offset += weight.nbytes
