"""Weight files: one module per format, which recognises its files by content.

A format is a module with `SUFFIXES`, `sniff` and `read`, and `write` if it can write. The formats of the file's suffix are
tried first, so that opening one file does not import them all; the others only if none of these recognises the bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from steelyard.core.gc_pause import uncollected
from steelyard.core.plugins import load, names
from steelyard.errors import FormatError, first_of, printable

if TYPE_CHECKING:
    from pathlib import Path

    from steelyard.core.protocols import Format, Scope, Writer
    from steelyard.core.weights import Weights
    from steelyard.storage.source import Source

SUFFIXES = {
    "burn": (".mpk", ".mpk.gz"),
    "caffe": (".caffemodel",),
    "coreml": (".mlmodel",),
    "ctranslate2": (".bin",),
    "darknet": (".weights",),
    "dcp": (".dcp", ".metadata"),
    "deepspeed": (),
    "dnnw": (),
    "dynet": (),
    "eqx": (".eqx",),
    "executorch": (".pte",),
    "fasttext": (".ftz",),
    "flax": (".msgpack",),
    "gguf": (".gguf",),
    "graphdef": (".pb",),
    "hdf5": (".h5", ".hdf5"),
    "katago": (),
    "keras": (".keras",),
    "keras_shards": (".weights.json",),
    "matlab": (".mat",),
    "mindspore": (),
    "mnn": (".mnn",),
    "mxnet": (".params",),
    "ncnn": (".param", ".param.bin"),
    "nnue": (".nnue",),
    "numpy": (".npz", ".npy"),
    "offloaded": ("index.json",),
    "onnx": (".onnx",),
    "openvino": (".xml",),
    "orbax": (".orbax",),
    "ort": (".ort",),
    "packs": (".task",),
    "paddle": (".pdiparams",),
    "pipeline": ("model_index.json", "modules.json"),
    "pt2": (".pt2",),
    "ptl": (),
    "r": (".rds", ".rdata", ".rda"),
    "raw": (".raw", ".raw.json"),
    "rllib": (),
    "rnnoise": (".rnnn",),
    "safetensors": (".safetensors",),
    "sharded": (".index.json",),
    "sklearn": (".pkl", ".pickle", ".joblib", ".sav", ".pdparams", ".pkl.gz", ".lz4"),
    "skops": (".skops",),
    "spacy": (),
    "tensorflow": (".index", ".data-00000-of-00001", "saved_model.pb", "checkpoint"),
    "tfjs": ("model.json", "weights_manifest.json"),
    "tflite": (".tflite", ".lite"),
    "thinc": (),
    "torch": (".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".jit", ".ptl"),
    "word2vec": (".vec",),
    "wrapped": (".nemo", ".mar"),
    "zarr": (".zarr",),
}
"""The suffixes of each format, known without importing it; a test keeps this table up to date."""

ONE_SCOPE = ("gguf", "numpy", "raw", "safetensors")
"""The formats that hold nothing but weights, so that the scopes "model" and "all" list the same."""
ALONGSIDE = (".data-00000-of-00001", ".metadata", ".param", ".param.bin", ".raw.json", ".xml", "index.json")
"""Suffixes of files that are read through another file in the folder, or the folder; most .xml and index.json are no models."""
INCOMPLETE = "incomplete"
"""The key in `meta` of the list of sentences about missing files of a model."""
SHA256 = "sha256 of the numbers"
"""The key in `meta` of the digest that a manifest gives for the file of the numbers; `check` compares it."""
NOTES = "notes"
"""The key in `meta` of what else a reader says of a file, as a list of sentences."""
TRAINING = re.compile(
    r"(optimizer|scheduler|scaler|rng_state(_\d+)?|random_states_\d+|training_args)\.(pt|bin|pth|pkl)"
    r"|(algorithm_state|class_and_ctor_args)\.pkl"
)
"""The files beside a model from which a training goes on, as transformers, Accelerate and RLlib write them."""
_HUB = re.compile(r"(^|[/\\])(pytorch_)?model(-\d+-of-\d+)?\.(safetensors|bin)(\.index\.json)?$")
"""The names that the Hub gives to the files of a model, which has a config.json next to them."""
_SHARD = r"-[0-9]+-of-[0-9]+(?=\.\w+$)"
_TFJS = re.compile(r"group\d+-shard\d+of\d+\.bin")
_SAVED_MODEL = ("fingerprint.pb", "keras_metadata.pb")
"""The files beside a saved_model.pb that hold no numbers."""
_PART = re.compile(rf"{_SHARD}|_[0-9]+\.weights\.h5$|\.npy(?:\.z)?$|zero_pp_rank_[0-9]+_")
SHARED_SUFFIXES = (".bin", "checkpoint")
"""Suffixes that files of formats have too that no reader takes."""
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")
"""Suffixes of archives that may hold models; those of data are passed over in a folder."""
_DISTRIBUTED = ".distcp"
_DCP = "is a part of a PyTorch distributed checkpoint; pass its folder, which is one model"


def weights_in(source: Source, scope: Scope = "model") -> Weights:
    """Return the weights of a source. Raises `FormatError` if no format recognises it.

    A file that is a part of a set is read alone, and `meta["incomplete"]` reports it.
    """
    part = _with_hub_facts(part_in(source, scope), source)
    if not _PART.search(source.name):
        return part
    from steelyard.codecs.sets import missing_parts

    noted = missing_parts(source)
    return part.with_weights(part.values(), meta={**part.meta, INCOMPLETE: noted}) if noted else part


def _with_hub_facts(weights: Weights, source: Source) -> Weights:
    """Add the axes that a config.json proves."""
    if source.is_folder or (source.path is not None and _HUB.search(source.path)):
        from steelyard.codecs.hub_config import with_config

        return with_config(weights, source)
    return weights


def part_in(source: Source, scope: Scope = "model") -> Weights:
    """Return the weights of a source alone, even if it is a part of a set; raises as `weights_in` does."""
    with uncollected():
        return format_of(source).read(source, scope)


def has_one_scope(source: Source) -> bool:
    """Whether the scopes "model" and "all" list the same weights, as far as the suffix and the first bytes of a file show."""
    likely = [name for name in _by_suffix(source.name) if name in ONE_SCOPE]
    return any(cast("Format", load("formats", name)).sniff(source) for name in likely)


def format_of(source: Source) -> Format:
    """Return the format that recognises the bytes of `source`; formats of its suffix are tried first."""
    if source.name.endswith(_DISTRIBUTED) and not source.is_folder:
        raise FormatError(source.name, _DCP)
    asked = []
    for name in _likely_first(source.name):
        candidate = cast("Format", load("formats", name))
        if candidate.sniff(source):
            return candidate
        asked.append(name)
    raise FormatError(source.name, _refusal(source, asked))


def format_name(path: str) -> str:
    """Return the word for the format of a local file, or of a folder that is one model. Raises as `format_of` does."""
    from steelyard.storage.opening import open_source

    module: Any = format_of(open_source(path))
    name: str = module.__name__.rpartition(".")[2]
    return name


# safetensors: the length of the header as u64, then the header, which is JSON
def holds_numbers_only(source: Source) -> bool:
    """Whether suffix and first bytes are those of a format whose own library reads nothing but numbers and texts."""
    name = source.name.lower()
    return name.endswith(SUFFIXES["flax"]) or (name.endswith(SUFFIXES["safetensors"]) and source.head(9)[8:] == b"{")


def is_model(source: Source) -> bool:
    """Whether a format recognises a source, such as a folder whose files form one model."""
    try:
        format_of(source)
    except FormatError:
        return False
    return True


def writer_of(path: Path) -> Writer:
    """Return the format that writes files with this suffix. Raises `FormatError` if there is none."""
    for name in _by_suffix(path.name) or names("formats"):
        candidate = load("formats", name)
        if hasattr(candidate, "write") and path.name.lower().endswith(candidate.SUFFIXES):
            return cast("Writer", candidate)
    raise FormatError(
        str(path), f"no format writes {path.suffix or 'a name without a suffix'!r}; use one of {', '.join(_writable())}"
    )


def check_names(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Raise `FormatError` for the first name that is not valid Unicode, which no format can write."""
    for name in weights:
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                raise FormatError(
                    os.fspath(path), f"the name {printable(name)} is not valid Unicode and cannot be written; rename it"
                ) from None


def weight_files(folder: str) -> list[str]:
    """Return the names of a folder's weight files, recognised by suffix; an index stands for its shards."""
    return weight_files_of(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)))


def weight_files_of(names: Iterable[str]) -> list[str]:
    """Return those of the names, which may have folders, that weight files have; an index stands for its shards."""
    known = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes if suffix not in ALONGSIDE)
    there = {name for name in names if not name.rpartition("/")[2].startswith(".")}
    recognised = sorted(name for name in there if name.lower().endswith(known))
    return [name for name in recognised if not _is_read_through(name, there)]


def _is_read_through(name: str, there: Collection[str]) -> bool:
    """Whether a file is a shard of one that is there too, or what TensorFlow and ncnn write beside a model."""
    if re.search(_SHARD, name) and f"{re.sub(_SHARD, '', name)}.index.json" in there:
        return True
    if name.endswith(".param.bin") and f"{name.removesuffix('.param.bin')}.bin" in there:
        return True
    folder, slash, last = name.rpartition("/")
    if last in _SAVED_MODEL:
        return f"{folder}{slash}saved_model.pb" in there
    return bool(_TFJS.fullmatch(last)) and any(f"{folder}{slash}{index}" in there for index in SUFFIXES["tfjs"])


def _likely_first(name: str) -> Iterator[str]:
    """Yield the formats of this suffix, then the others, for which entry points must be looked up."""
    likely = _by_suffix(name)
    yield from likely
    yield from (other for other in names("formats") if other not in likely)


def _by_suffix(name: str) -> list[str]:
    return [module for module, suffixes in SUFFIXES.items() if name.lower().endswith(suffixes)]


def _writable() -> Iterator[str]:
    for name in names("formats"):
        candidate = load("formats", name)
        if hasattr(candidate, "write"):
            yield from candidate.SUFFIXES


def _refusal(source: Source, asked: list[str]) -> str:
    """Return what a source is that no format recognises, and what to do."""
    if source.is_folder:
        return _of_folder(source)
    if not source.size:
        return "the file is empty (0 bytes)"
    if source.name.lower().endswith(".raw"):
        return f"numbers without their manifest, {printable(os.path.basename(source.name))}.json, which has names and shapes"
    from steelyard.codecs.signatures import named

    begin = printable(source.head(16))
    return named(source) or f"not a known weight file; it begins with {begin}; known formats are {', '.join(asked)}"


def _below(folder: str | None) -> str:
    """Say how to look into the folders of a folder; blank if it has none."""
    count = 0 if folder is None else sum(each.is_dir(follow_symlinks=False) for each in os.scandir(folder) if each.name[0] != ".")
    return f"; steelyard ls -r looks into {'the folder' if count == 1 else f'the {count:,} folders'} in it" if count else ""


def _of_folder(source: Source) -> str:
    from steelyard.codecs.signatures import named

    inside = weight_files_of(source.names()) if source.path is None else weight_files(source.path)
    known = named(source) if all(name.endswith(SHARED_SUFFIXES) for name in inside) else ""
    if known or not inside:
        return known or f"a folder without weight files{_below(source.path)}"
    if len(inside) > 1:
        return f"a folder with several models: {first_of(inside, 5)}; choose the file of one"
    return f"a folder with one weight file: {printable(inside[0])}; pass it"
