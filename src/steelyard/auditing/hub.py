"""Configs of the Hugging Face Hub: code that comes with a model, and classes and files that a loader would look for.

auto_map           {"AutoModel": "modeling_x.Net"}, or "owner/name--modeling_x.Net" for code of another repository
custom_pipelines   {"my-task": {"impl": "pipeline_x.Pipe"}}
model_index.json   of diffusers: {"unet": ["diffusers", "UNet2DConditionModel"]}; another word is a file of code
modules.json       of sentence-transformers: [{"path": "0_X", "type": "sentence_transformers.models.Pooling"}]
_target_           of Hydra: the name of what is called, with the settings beside it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.archives import leaves
from steelyard.auditing.findings import Remark
from steelyard.auditing.libraries import FRAMEWORKS, LIBRARIES, looks_like_class, rule_of_name
from steelyard.auditing.names import words
from steelyard.auditing.plain_values import dicts_in
from steelyard.errors import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard.auditing.findings import AuditFinding, Inside, Place
    from steelyard.codecs.plain import Plain
    from steelyard.storage.source import Source

    Found = Iterator[tuple[str, str] | Remark]
    """Rules and sentences."""

_DIFFUSERS = frozenset(("diffusers", "transformers", "onnxruntime", "optimum", "flax", "torch", "null", "controlnet_aux", "peft"))
"""The libraries of parts of a diffusers pipeline; a further word is a module of diffusers' own pipelines, or a file."""
_PIPELINES = words(
    """
    stable_diffusion stable_diffusion_xl stable_diffusion_safe paint_by_example latent_diffusion versatile_diffusion
    alt_diffusion deepfloyd_if kandinsky kandinsky2_2 wuerstchen stable_cascade audioldm audioldm2 musicldm unidiffuser
    blip_diffusion controlnet shap_e text_to_video_synthesis stable_audio ledits_pp pixart_alpha semantic_stable_diffusion
    unclip spectrogram_diffusion stable_diffusion_3 kolors cosmos flux hunyuan_image lumina2 ltx ltx2 allegro bria omnigen
    visualcloze
    """
)
_LOADERS = frozenset(
    ("transformers", "sentence_transformers", "diffusers", "nemo", "lightning", "pytorch_lightning", "hydra", "omegaconf")
)


def judged(config: Plain, source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Yield a finding for each name that a loader would import or fetch, at any depth."""
    file = source.name.replace("\\", "/").rpartition("/")[2]
    for entry in dicts_in(config):
        for each in _entry(entry, file):
            yield Remark(*each).found(str(place))
    if file == "model_index.json" and isinstance(config, dict):
        for name, value in config.items():
            for each in _part(name, value):
                yield Remark(*each).found(str(place))


def _entry(entry: Mapping[str, Plain], file: str) -> Found:
    for twin, value in entry.items():
        judge = _JUDGES.get(twin.partition("\0")[0])
        if judge is not None:
            yield from judge(value, file)


def _auto_map(value: Plain, _: str) -> Found:
    yield from _own_code(_texts(value), "auto_map")


def _auto_mapping(value: Plain, _: str) -> Found:
    """Judge the class of the base model of PEFT, whose module a loader imports."""
    held = value if isinstance(value, dict) else {}
    words = (held.get("parent_library"), held.get("base_model_class"))
    if any(words):
        yield from named(".".join(each for each in words if isinstance(each, str)), "auto_mapping")


def _custom_pipelines(value: Plain, _: str) -> Found:
    held = value if isinstance(value, dict) else {}
    yield from _own_code([text for each in held.values() for text in _texts(each, "impl")], "custom_pipelines")


def _fetched(value: Plain, _: str) -> Found:
    if isinstance(value, str) and value:
        yield "hub-own-code", f"names {printable(value, 200)}, code that a loader would fetch and run"


def _kernel(value: Plain, _: str) -> Found:
    if isinstance(value, str) and "/" in value:
        yield "hub-remote-code", f"names the kernel {printable(value, 200)}: a loader would fetch and run its compiled code"


def _trust(value: Plain, _: str) -> Found:
    if value is True:
        yield "hub-trusts-code", "sets trust_remote_code: a loader that takes it over would run code that comes with the model"


def _target(value: Plain, _: str) -> Found:
    if isinstance(value, str):
        yield from named(value, "_target_")


def _codec(value: Plain, file: str) -> Found:
    if value == "pickle" and file.startswith((".z", "zarr")):
        yield "hub-function", "names the codec pickle, which unpickles the numbers"


def _files(value: Plain, _: str) -> Found:
    for name in _texts_below(value):
        if leaves(name):
            yield "hub-outside", f"names the file {printable(name, 200)}, outside its folder"


def _folder(value: Plain, _: str) -> Found:
    if isinstance(value, str) and ".." in value.replace("\\", "/").split("/"):
        yield "hub-outside", f"names the folder {printable(value, 200)}, outside its own"


def _module(value: Plain, file: str) -> Found:
    if file == "modules.json" and isinstance(value, str) and not value.startswith("sentence_transformers."):
        yield from named(value, "the type of a module")


def _pipeline(value: Plain, file: str) -> Found:
    names = value if isinstance(value, list) else []
    if file == "model_index.json" and len(names) > 1:
        shown = ".".join(str(each) for each in names)
        yield "hub-own-code", f"names {printable(shown, 200)} as its class: code in the folder, which a loader would run"


_JUDGES: dict[str, Callable[[Plain, str], Found]] = {
    "auto_map": _auto_map,
    "auto_mapping": _auto_mapping,
    "custom_pipelines": _custom_pipelines,
    **dict.fromkeys(("custom_pipeline", "custom_generate", "custom_code_path"), _fetched),
    **dict.fromkeys(("attn_implementation", "_attn_implementation", "_attn_implementation_internal"), _kernel),
    "trust_remote_code": _trust,
    "_target_": _target,
    "id": _codec,
    **dict.fromkeys(("weight_map", "paths"), _files),
    **dict.fromkeys(("base_model_name_or_path", "_name_or_path", "path"), _folder),
    "type": _module,
    "_class_name": _pipeline,
}
"""What judges the value of a key."""


def _texts(value: Plain, only: str = "") -> list[str]:
    """Return the texts in a value of a few levels; of dicts only those under one key, if it is given."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, each in value.items() if not only or key == only for text in _texts_below(each)]
    return _texts_below(value)


def _texts_below(value: Plain) -> list[str]:
    held = value if isinstance(value, list) else [*value.values()] if isinstance(value, dict) else [value]
    return [each for each in held if isinstance(each, str)]


def _own_code(names: list[str], key: str) -> Found:
    for name in names:
        shown = printable(name, 200)
        if "--" in name:
            yield "hub-remote-code", f"names {shown} in {key}: a loader would fetch and run code of another repository"
        elif ".." in name.split("/") or name.startswith("/") or "://" in name:
            yield "hub-remote-code", f"names {shown} in {key}: a loader would run code from outside the folder"
        else:
            yield "hub-own-code", f"names {shown} in {key}: code in the folder, which runs under trust_remote_code"


def named(name: str, key: str) -> Found:
    """Judge the dotted name of what a loader would import and call."""
    module, _, last = name.rpartition(".")
    rule = rule_of_name(module, last) if module else "pickle-unknown-class"
    package, shown = module.partition(".")[0], printable(name, 200)
    if package in _LOADERS or (package in FRAMEWORKS and looks_like_class(last)) or rule == "pickle-known-class":
        return
    if rule in ("pickle-name", "pickle-dotted-name") and not (package in LIBRARIES or package in FRAMEWORKS):
        yield "hub-function", f"names {shown} as {key}, which a loader would import and call"
    else:
        what = f"names {shown} as {key}, which no list knows; a loader would import and call it"
        yield Remark("hub-unknown-class", what, (name,))


def _part(name: str, value: Plain) -> Found:
    """Judge a part of a diffusers pipeline: the library and the class."""
    if name.startswith("_") or not isinstance(value, list) or len(value) != 2:
        return
    library, kind = value
    if not isinstance(library, str) or not isinstance(kind, str) or library in _DIFFUSERS or library in _PIPELINES:
        return
    rule = rule_of_name(library, kind)
    shown = printable(f"{library}.{kind}", 200)
    if rule in ("pickle-name", "pickle-dotted-name"):
        yield "hub-function", f"names {shown} as its {printable(name)}, which a loader would import"
    elif rule != "pickle-known-class":
        yield "hub-own-code", f"names {shown} as its {printable(name)}: code in the folder or of a library that no list knows"
