"""Mutators: each changes a file of one kind, and leaves it well-formed enough that a reader comes past its first check.

`mutate` recognises the kind of the bytes, also of those inside archives and compressed streams, and repairs the lengths and
checksums around the change. Some changes are of raw bytes, so that the checks themselves are tried too.
"""

from importlib import import_module

from mutators import fields

KINDS = (
    *("compressed", "zips", "tar", "npy", "hdf5", "sstable", "gguf", "flatbuffers", "r", "safetensors"),
    *("jsons", "pickles", "msgpacks", "protobuf"),
)
"""The kinds, in the order in which they are tried; the last few have no signature."""
LARGEST = 1 << 20
"""Bytes of a mutant: with each change of a changed file they could double."""
RAW = 0.1
"""The share of changes of raw bytes."""


def kind_of(data):
    """Return the module of the first kind that recognises these bytes, or `fields` for plain bytes."""
    modules = (import_module(f"mutators.{name}") for name in KINDS)
    return next((module for module in modules if module.recognises(data)), fields)


def mutate(data, chance):
    """Return changed bytes; `chance` is a `random.Random`, which determines the change."""
    if not data or chance.random() < RAW:
        return fields.mutate(data, chance)
    try:
        changed = kind_of(data).mutate(data, chance)
    except Exception:  # noqa: BLE001 - a seed that is damaged already, as hostile ones are
        changed = None
    return fields.mutate(data, chance) if changed is None or len(changed) > LARGEST else changed
