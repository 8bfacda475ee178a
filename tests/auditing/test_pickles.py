"""The audit of pickles: each call, name and state that weights do not need is named, with its place."""

import pickle

import pytest

from steelyard.auditing import audit
from steelyard.storage.source import from_bytes

RAN = "would have run "


def findings(stream, name="a.pkl"):
    return audit(from_bytes(stream, name)).findings


def ran(stream):
    return [each.what.removeprefix(RAN) for each in findings(stream) if each.runs]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"cposix\nsystem\n(S'ls'\ntR.", ["posix.system('ls')"]),
        (b"(S'ls'\nios\nsystem\n.", ["os.system('ls')"]),
        (b"(cos\nsystem\nS'ls'\no.", ["os.system('ls')"]),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85\x81.", ["os.system('ls')"]),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85}\x92.", ["os.system('ls')"]),
        (b"cos\nsystem\n0N.", ["os.system"]),
        (b"cbuiltins\neval\n(S'1'\ntR0N.", ["builtins.eval('1')"]),
        (b"cbuiltins\nmap\n(cbuiltins\neval\n](S'1'\netR.", ["builtins.map(builtins.eval, ['1'])"]),
        (
            b"cbuiltins\ngetattr\n(cos\npath\nS'x'\ntR(S'y'\ntR.",
            ["builtins.getattr(os.path, 'x')", "builtins.getattr(os.path, 'x')('y')"],
        ),
        (b"cfunctools\npartial\n(cos\nsystem\ntR.", ["functools.partial(os.system)"]),
        (b"ctorch\nload\n(S'a'\ntR.", ["torch.load('a')"]),
        (b"cos\nsystem\n(S'\\x1b[31m'\ntR.", ["os.system('\\x1b[31m')"]),
    ],
)
def test_the_calls_of_a_loader_are_shown_as_python_source(stream, expected):
    assert ran(stream) == expected


def test_a_pickle_of_weights_contains_no_suspicious_call():
    import numpy as np

    assert not audit(from_bytes(pickle.dumps({"w": np.zeros(3), "s": np.float32(1)}), "a.pkl")).findings


@pytest.mark.parametrize(
    ("opcodes", "shown"),
    [
        (b"cmod\nMSE\nVtext\nR.", "mod.MSE('text')"),  # REDUCE, with no tuple around its argument
        (b"cmod\nMSE\n(Vtext\ntR.", "mod.MSE('text')"),
        (b"(Vtext\nimod\nMSE\n.", "mod.MSE('text')"),  # INST
        (b"\x80\x02cmod\nMSE\nX\4\0\0\0text\x81.", "mod.MSE('text')"),  # NEWOBJ
        (b"\x80\x04cmod\nMSE\nX\4\0\0\0text}\x92.", "mod.MSE('text')"),  # NEWOBJ_EX
        (b"\x80\x04cmod\nMSE\nX\4\0\0\0text}X\1\0\0\0kK\1s\x92.", "mod.MSE('text', {'k': 1})"),
    ],
)
def test_an_argument_that_is_a_text_is_shown_as_one_text(opcodes, shown):
    (finding,) = findings(opcodes)
    assert (finding.rule, finding.severity) == ("pickle-unknown-class", "warning")
    assert finding.what.startswith(f"makes an object of {shown}, a class that no list knows")
