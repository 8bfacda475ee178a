"""HDF5: the configs of Keras in its attributes, and content that is in other files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding, Inside, Place
from steelyard.codecs.hdf5.superblock import find_superblock
from steelyard.core.weight import Refused
from steelyard.errors import UnsafeFileError, printable
from steelyard.storage.source import from_bytes

if TYPE_CHECKING:
    from steelyard.codecs.hdf5.reading import Hdf5File
    from steelyard.storage.source import Source

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_CONFIGS = ("model_config", "training_config", "config", "layer_config", "optimizer_config", "config.json", "metadata")
"""Attributes with JSON that a version of Keras writes or reads."""
_GROUPS = ("", "model_weights", "optimizer_weights", "_layer_checkpoint_dependencies")


def recognises(source: Source) -> bool:
    """Recognise the signature; that of a file may follow a user block."""
    if source.head(8) == _SIGNATURE:
        return True
    is_named = source.is_file and source.name.lower().endswith((".h5", ".hdf5", ".keras", ".he5", ".hdf"))
    return is_named and find_superblock(source) is not None


def findings(source: Source, place: Place, listed: Hdf5File | None = None) -> Iterator[AuditFinding | Inside]:
    """Look into the configs, and name datasets that are elsewhere; a file that was `listed` is not parsed again."""
    from steelyard.codecs.hdf5.reading import open_hdf5

    hdf5 = listed or open_hdf5(source)
    for group in _GROUPS:
        for name in _CONFIGS:
            held = hdf5.attribute(group, name)
            texts = [held] if isinstance(held, str) else held or []
            for text in texts:
                if text.lstrip()[:1] in ("{", "["):
                    content = text.encode("utf-8", "surrogateescape")
                    yield Inside(from_bytes(content, f"{name}.json", within=source), Place(name, place))
            if not texts and hdf5.has_attribute(group, name):
                yield AuditFinding("not-looked-into", str(place), f"has the attribute {name} of a type that cannot be read")
    for weight in hdf5.tensors.values():
        if isinstance(weight.read, Refused) and isinstance(weight.read.error, UnsafeFileError):
            why = str(weight.read.error).partition(": ")[2]
            if "soft link" not in why:
                yield AuditFinding("hdf5-outside", str(place), printable(why, 300))
