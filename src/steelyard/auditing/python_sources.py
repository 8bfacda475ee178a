"""Python source beside or inside a model: loaders run it if they are told to trust it, and some without being told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from steelyard.auditing.findings import AuditFinding
from steelyard.auditing.programs import is_torchscript
from steelyard.codecs import limits
from steelyard.codecs.budget import Budget
from steelyard.errors import SteelyardError, quoted

if TYPE_CHECKING:
    from steelyard.auditing.findings import Inside, Place
    from steelyard.storage.source import Source

_CONFIGS = (
    *("config.json", "tokenizer_config.json", "model_index.json", "adapter_config.json", "modules.json", "config.pbtxt"),
    *("configuration.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin", "MLmodel", "hyperparams.yaml"),
    *("../config.pbtxt", "../config.json", "../model_index.json"),
)
"""Files beside which a loader looks for code: of the Hub, MLflow, SpeechBrain, and Triton, whose code is one folder below."""
_MODEL_CODE = re.compile(
    r"(?:modeling|configuration|tokenization|processing|image_processing|feature_extraction|pipeline|custom|conversion)_?\w*\.py"
    r"|handler\.py|custom_st\.py|hubconf\.py|generate\.py|inference\.py|model\.py|setup\.py|sitecustomize\.py|usercustomize\.py"
)
_RUNNING = re.compile(
    r"""
    \bos\.(?:system|popen|exec\w*|spawn\w*|fork|remove|unlink|kill|putenv|setuid)\s*\(
    | \bsubprocess\b | (?<![.\w])(?:eval|exec|__import__|compile)\s*\( | \bpty\.spawn | \bsocket\.\w+\s*\(
    | \b(?:urllib|requests|httpx|aiohttp|http\.client|ftplib|smtplib|paramiko)\b[\w.]*\s*\(
    | \b(?:pickle|marshal|dill|cloudpickle|joblib)\.loads?\s*\( | \bctypes\b | \bshutil\.(?:rmtree|move)\s*\(
    | \bimportlib\.import_module\s*\( | \bbase64\.\w*decode\s*\( | \bgetattr\s*\(\s*(?:os|__builtins__|builtins)\b
    | \b__builtins__\b | \bcodecs\.decode\s*\( | \brunpy\. | \bthreading\.Timer\s*\( | \bwebbrowser\.
    """,
    re.VERBOSE,
)

_WORDS = (
    *("os.", "subprocess", "eval", "exec", "__import__", "compile", "spawn", "socket.", "urllib", "requests", "httpx", "aiohttp"),
    *("http.client", "ftplib", "smtplib", "paramiko", ".load", "ctypes", "shutil.", "import_module", "base64.", "getattr"),
    *("__builtins__", "codecs.", "runpy.", "threading.", "webbrowser."),
)
"""Words of which each match of the pattern has one; most sources have none, and a search for them takes little."""
_SEARCH_COST = 16
"""bytes of memory that stand for the time to search a byte of source for the pattern"""


def recognises(source: Source) -> bool:
    """Recognise Python by its name; the source of TorchScript is another language."""
    name = source.name.replace("\\", "/")
    return name.endswith((".py", ".pyc", ".pth.py")) and not source.is_folder and not is_torchscript(name)


def findings(source: Source, place: Place) -> Iterator[AuditFinding | Inside]:
    """Say what the source does, if it is in an archive or beside a model."""
    file = source.name.replace("\\", "/").rpartition("/")[2].rpartition(":")[2]
    in_archive = not source.is_file
    if not in_archive and not any(_has(source, name) for name in _CONFIGS):
        return
    if file.endswith(".pyc"):
        yield AuditFinding("python-code-runs", str(place), "is compiled Python, which comes with a model")
        return
    text = source.read(0, min(source.size, limits.TEXT)).decode("utf-8", "replace")
    match = _first_call(text, source)
    is_model_code = in_archive or _MODEL_CODE.fullmatch(file)
    if not match and not is_model_code:
        return
    if match and is_model_code:
        line = text.count("\n", 0, match.start()) + 1
        what = f"is Python source that comes with a model and uses {quoted(match[0].strip())} in line {line:,}"
        yield AuditFinding("python-code-runs", str(place), what)
    else:
        yield AuditFinding("python-code", str(place), "is Python source that comes with a model; a loader may run it")


def _first_call(text: str, source: Source) -> re.Match[str] | None:
    """Return the first use of a function that runs something or reaches out."""
    if not any(word in text for word in _WORDS):
        return None
    Budget(source).spend(_SEARCH_COST * len(text))
    return _RUNNING.search(text)


def _has(source: Source, name: str) -> bool:
    import os

    folder = os.path.dirname(source.path or "")
    try:
        return os.path.isfile(os.path.join(folder, name))
    except (OSError, SteelyardError, ValueError):
        return False
