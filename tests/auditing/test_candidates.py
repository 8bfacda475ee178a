"""Only the auditors that may know a source are imported and asked, and none that recognises it is left out."""

import subprocess
import sys
from importlib import import_module

import carried
import pytest

from steelyard.auditing import audit
from steelyard.auditing.candidates import AUDITORS, Auditors, candidates
from steelyard.storage.source import from_bytes

MODULES = {name: import_module(f"steelyard.auditing.{name}") for name in AUDITORS}
ENDINGS = ["a", "a.pt", "a.json", "a.jsonl", "a.index.json", "a.npz:schema.json", "a.zarray", "a.zmetadata", "a.safetensors", "a.h5", "a.hdf5", "a.keras", "a.he5", "a.hdf", "a.py", "a.pyc", "a.pt:code/__torch__/net.py", "a.pt:bytecode.pkl", "a.jinja", "a.jinja2", "a.j2", "a.pb", "a.pbtxt", "a.meta", "a.graphdef", "a.yaml", "a.yml", "a.zip:MLmodel", "A.JSON", "a.pdmodel", "a/__model__", "a.mlmodel"]  # fmt: skip
BODIES = [b"\n\0\0\0rest", b"DX3\nX\n\0\0\0", b'"class_name": 1}', b'\n\0\0\0\0\0\0{"a":', b"ELF" + bytes(600), b"Z\0" + bytes(60) + b"PE\0\0", b"\0\0\0TFL3", b"\0\0\0ORTM", b"Zh91AY", b"\x8b\x08" + bytes(9)]  # fmt: skip


def left_out(source):
    """Return the auditors that recognise a source and are not asked."""
    asked = candidates(source)
    return [name for name, module in MODULES.items() if name not in asked and module.recognises(source)]


def test_no_auditor_that_recognises_a_source_is_left_out():
    for first in range(256):
        for body in BODIES:
            assert not left_out(from_bytes(bytes([first]) + body, "a"))
    for name in ENDINGS:
        for body in (b"", b"{}", b"tensor", b"\x80\x04N.", b"\x08\4", b'{"magic": "pir"}'):
            assert not left_out(from_bytes(body, name)), name


@pytest.mark.shared
def test_no_auditor_is_left_out_in_any_part_of_the_cases(monkeypatch):
    known, lost = Auditors.of, []

    def of(self, source):
        lost.extend(left_out(source))
        return known(self, source)

    monkeypatch.setattr(Auditors, "of", of)
    for folder in ("ke", "gg", "ox", "hf", "sk", "np", "leg", "str", "suf", "zip"):
        audit(carried.SHARED / "cases" / "audit" / folder)
    assert not lost


def test_the_auditors_of_other_kinds_are_not_imported(tmp_path):
    import numpy as np

    np.savez(tmp_path / "a.npz", w=np.zeros(3))
    code = (
        "import sys, steelyard; steelyard.audit(sys.argv[1]); "
        "print([name for name in sys.modules if name.startswith('steelyard.auditing.')])"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.npz"], capture_output=True, text=True, check=True)
    assert "steelyard.auditing.arrays" in done.stdout
    assert not any(f"steelyard.auditing.{name}" in done.stdout for name in ("onnx", "r'", "tflite", "keras_configs", "hub"))
