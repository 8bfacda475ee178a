"""One model in an archive, read where it is: `.zip`, `.tar`, `.tar.gz`, `.nemo`, `.mar`, stable-baselines3, and compressed files.

A zip or tar archive, which may be compressed as a whole by gzip, bz2, xz or Zstandard, is looked into as a folder would be. If
it has several models, `archive.zip!/inner/model.pt` names one, and `archive.zip!/inner` a folder. This format is asked last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from steelyard.codecs import limits
from steelyard.codecs.archive import MARK, folder_in, is_archive, members, unpacked
from steelyard.codecs.compression import begins, is_compressed
from steelyard.codecs.tar import first_names, is_tar
from steelyard.codecs.zip import mentions
from steelyard.core.net_facts import noted
from steelyard.errors import FormatError, SteelyardError, first_of, printable
from steelyard.storage.source import open_path

if TYPE_CHECKING:
    from steelyard.core.protocols import Scope
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

SUFFIXES = (".nemo", ".mar")

_BEGIN, _FIRST = 1024, 1 << 20
_KNOWN = re.compile(
    rb"PK\x03\x04|\x80[\x02-\x05]|\x89HDF|\x93NUMPY|GGUF|.{4}TFL3|.{8}\s*\{|.{257}ustar|\d+ \d+\n|\xba\x16\x4f\x2f", re.DOTALL
)
"""The first bytes of what may be in a compressed file."""
_BASELINES = "_stable_baselines3_version"
"""The member by which an archive of stable-baselines3 is known; its model is in the next."""
_POLICY = "policy.pth"
_STREAMS = ("gz", "bz2", "xz", "zst", "lz4")
_PREFERRED = re.compile(r"(.*/)?(model|pytorch_model|model_weights|adapter_model)\.(safetensors|bin|ckpt)(\.index\.json)?")
_TREES = ("dcp", "deepspeed", "flax", "orbax", "pipeline", "rllib", "spacy", "zarr")
"""Formats whose folders hold folders that belong to the model."""
_FOREIGN = ("coefficients.bin",)
"""Members with the suffix of a weight file that are in archives of another kind: of Deeplearning4j."""
_PACKED = {"run.json", "packed.json"}
"""Members of an archive of `steelyard pack`."""
_NAMED = 5


def sniff(source: Source) -> bool:
    """Recognise an archive with a weight file in it, and a compressed file whose content begins as one does."""
    if source.is_folder:
        return False
    if is_compressed(source):
        return _KNOWN.match(begins(source, _BEGIN)) is not None or is_named_inside(source.name)
    try:
        return is_archive(source) and (bool(_models([*members(source)])) or _folder(source, []) is not None)
    except FormatError:
        return is_tar(source) or mentions(source, b"")  # reading it raises the reason, unless it is cut off before the directory


def is_named_inside(name: str) -> bool:
    """Whether the name of a compressed file, without its last suffix, is that of a weight file."""
    from steelyard.formats import weight_files_of

    inner, _, suffix = name.replace("\\", "/").rpartition("/")[2].rpartition(".")
    return suffix.lower() in _STREAMS and not _is_shared(inner) and bool(weight_files_of([inner]))


def models_in(source: Source) -> list[str]:
    """Return the models of an archive as the other files of its folder: [""] for one that has one, else those of several.

    The names in it decide. An archive of data, or of more than `ARCHIVED` models, has none, and so has one of several that is
    compressed as a whole, since each would be unpacked with all others.
    """
    from steelyard.formats import weight_files_of

    try:
        is_whole = not is_compressed(source)
        names = _names(source)
        if not is_whole and is_named_inside(source.name):
            return [""]
        models = _models(names)
        if not names or set(names) >= _PACKED or (len(models) > 1 and not is_whole):
            return []
        if (len(models) == 1 and weight_files_of(models) == models) or (is_whole and _folder(source, models) is not None):
            return [""]
    except FormatError:
        return []
    return models if 1 < len(models) <= limits.ARCHIVED and not any(map(_is_shared, models)) else []


def has_models(path: str) -> bool:
    """Whether a path is that of an archive with files that are models by their names. Never raises.

    Of an archive that is compressed as a whole the first names are seen.
    """
    from steelyard.formats import ARCHIVES, weight_files_of

    name = os.path.basename(path).lower()
    if not name.endswith(ARCHIVES) or name.startswith("."):
        return False
    try:
        return any(not _is_shared(name) for name in weight_files_of(_names(open_path(path))))
    except (SteelyardError, OSError):
        return False


def _names(source: Source) -> list[str]:
    """Return the names in an archive that no other format reads; of one that is compressed as a whole the first."""
    if is_compressed(source):
        return [*first_names(begins(source, _FIRST))]
    return [] if not is_archive(source) or _is_of_another(source) else [*members(source)]


def read(source: Source, scope: Scope) -> Weights:
    """List the weights of the one model in an archive; other weight files in it are named in a note."""
    content, others = source, list[str]()
    for _ in range(limits.NESTED_FILES + 1):
        whole, content = content, unpacked(content)
        if not is_archive(content) or _is_of_another(content):
            return _with_note(_read(content, scope), others)
        content, others = _chosen(content, whole, others)
    raise FormatError(source.name, f"more than {limits.NESTED_FILES} levels of archives in archives")


def _is_of_another(source: Source) -> bool:
    """Whether another format than this one recognises the source, as it does many zip archives."""
    from steelyard.formats import format_of

    try:
        return getattr(format_of(source), "__name__", "") != __name__
    except FormatError:
        return False


def _read(source: Source, scope: Scope) -> Weights:
    from steelyard.formats import part_in

    return part_in(source, scope)


def _chosen(archive: Source, whole: Source, others: list[str]) -> tuple[Source, list[str]]:
    """Return the member with the one model, and the other weight files. Raises `FormatError` if it is not the only one.

    `whole` is the archive as it was found, which may be compressed.
    """
    found = members(archive)
    if found.keys() >= _PACKED:
        raise FormatError(archive.name, "is a packed run; steelyard pack --back unpacks it into a folder for steelyard history")
    models = _models([*found])
    if (len(models) != 1 or _is_shared(models[0])) and (folder := _folder(archive, models)) is not None:
        return folder, others
    if len(models) > 1:
        which = f"{printable(whole.name)}{MARK}{printable(models[0])}"
        raise FormatError(whole.name, f"an archive with several models: {first_of(models, _NAMED)}; name one, such as {which}")
    if not models:
        raise FormatError(archive.name, "an archive without a weight file")
    from steelyard.formats import weight_files_of

    left = [name for name in weight_files_of(found) if name != models[0]] if _BASELINES in found else []
    return found[models[0]], others + left


def _folder(archive: Source, models: list[str]) -> Source | None:
    """Return the folder with all files of an archive if a format reads it, with the files of these models, as one."""
    from steelyard.formats import format_of, weight_files_of

    folder = folder_in(archive)
    try:
        form = getattr(format_of(folder), "__name__", "").rpartition(".")[2]
    except FormatError:
        return None
    return folder if form in _TREES or len(weight_files_of(folder.names())) >= len(models) else None


def _is_shared(name: str) -> bool:
    """Whether a file may be no weight file by its suffix, such as the `lookups.bin` of spaCy."""
    from steelyard.formats import SHARED_SUFFIXES

    return name.lower().endswith(SHARED_SUFFIXES)


def _models(names: list[str]) -> list[str]:
    """Return the members that are models by their names."""
    from steelyard.formats import TRAINING, weight_files_of

    if _BASELINES in names and _POLICY in names:
        return [_POLICY]
    found = [name for name in _without_parts(weight_files_of(names)) if name not in _FOREIGN]
    found = [name for name in found if not TRAINING.fullmatch(name.rpartition("/")[2])]
    preferred = [name for name in found if _PREFERRED.fullmatch(name)]
    if len(found) > 1 and len(preferred) == 1:
        return preferred
    return found or (names if len(names) == 1 else [])


def _without_parts(names: Iterable[str]) -> Iterator[str]:
    """Leave out the files of TensorFlow that are read through another one."""
    there = set(names)
    for name in there and names:
        folder, _, last = name.rpartition("/")
        outer = folder.removesuffix("variables")
        is_of_saved = last == "variables.index" and f"{outer}saved_model.pb" in there
        has_index = any(other.endswith(".index") and other.rpartition("/")[0] == folder for other in there)
        if not is_of_saved and not (last == "checkpoint" and has_index):
            yield name


def _with_note(weights: Weights, others: list[str]) -> Weights:
    if not others:
        return weights
    note = f"the archive also holds {first_of(others, _NAMED)}, which were not read"
    return weights.with_weights(weights.values(), meta={**weights.meta, "notes": [*noted(weights.meta), note]})
