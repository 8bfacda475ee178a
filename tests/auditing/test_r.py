"""The audit of R's files: promises, active bindings, calls and functions, made of bytes; nothing is evaluated."""

import gzip
import struct
import zipfile

import pytest

import steelyard
from steelyard.auditing import audit
from steelyard.auditing.quick import would_run
from steelyard.storage.source import from_bytes

NULL = struct.pack(">i", 254)
UNBOUND, GLOBAL = struct.pack(">i", 252), struct.pack(">i", 253)
NUMBERS = struct.pack(">2id", 14, 1, 1.0)


def flags(kind, *, tag=False, extra=0):
    return struct.pack(">i", kind | (1 << 10 if tag else 0) | extra)


def text(word):
    return struct.pack(">2i", 0x40009, len(word)) + word.encode()


def symbol(word):
    return flags(1) + text(word)


def words(*each):
    return struct.pack(">2i", 16, len(each)) + b"".join(map(text, each))


def items(*each):
    return struct.pack(">2i", 19, len(each)) + b"".join(each)


def call(name, *arguments):
    function = symbol(name) if isinstance(name, str) else name
    return flags(6) + function + cells(*arguments)


def cells(*values):
    return b"".join(flags(2) + value for value in values) + NULL


def bindings(extra=0, **named):
    return b"".join(flags(2, tag=True, extra=extra) + symbol(name) + value for name, value in named.items()) + NULL


def environment(frame):
    return struct.pack(">2i", 4, 0) + GLOBAL + frame + NULL + NULL


def closure(body):
    return flags(3, tag=True) + GLOBAL + NULL + body


def promise(expression, value=UNBOUND):
    return flags(5, tag=True) + GLOBAL + value + expression


def rds(value):
    return b"X\n" + struct.pack(">3i", 2, 0x40301, 0x20300) + value


def session(**named):
    return b"RDX2\n" + rds(bindings(**named))


def found(content, name="a.rds"):
    return [(finding.severity, finding.rule) for finding in audit(from_bytes(content, name)).findings]


SYSTEM = call("system", words("ls"))
ERRORS = {
    "CVE-2024-27322": (rds(promise(SYSTEM)), "r-promise"),
    "CVE-2024-27322 in a list": (rds(items(NUMBERS, promise(SYSTEM))), "r-promise"),
    "a promise of any call": (rds(items(promise(call("mine")))), "r-promise"),
    "a promise in a session": (session(w=promise(SYSTEM)), "r-promise"),
    "a promise in an environment": (rds(environment(bindings(x=promise(SYSTEM)))), "r-promise"),
    "a forced promise": (rds(environment(bindings(x=promise(SYSTEM, NUMBERS)))), "r-promise"),
    "an active binding": (rds(environment(bindings(1 << 27, x=closure(NUMBERS)))), "r-active-binding"),
    "an active binding in a list": (rds(bindings(1 << 27, x=closure(SYSTEM))), "r-active-binding"),
    "a call": (rds(items(SYSTEM)), "r-call"),
    "a call by do.call": (rds(call("do.call", words("system"))), "r-call"),
    "a call of a package": (rds(call(call("::", symbol("base"), symbol("system")), words("ls"))), "r-call"),
    "a call by a text": (rds(call("eval", call("parse", words("system('ls')")))), "r-call"),
    "a call in a call": (rds(call("c", call("f", call("download.file", words("http://a"))))), "r-call"),
    "a start-up function": (session(**{".First": closure(NUMBERS)}), "r-masks"),
    "a function in place of R's": (session(print=closure(NUMBERS)), "r-masks"),
    "code before a break": (rds(items(SYSTEM, NUMBERS))[:-3], "r-call"),
}


@pytest.mark.parametrize(("content", "rule"), ERRORS.values(), ids=ERRORS)
def test_what_r_would_evaluate_is_an_error_compressed_or_not(content, rule):
    assert ("error", rule) in found(content)
    assert ("error", rule) in found(gzip.compress(content)) or content.endswith(NUMBERS[:-3])


def test_a_function_is_a_remark_and_one_that_reaches_out_a_warning():
    assert found(rds(items(closure(call("mean", NUMBERS))))) == [("info", "r-code")]
    for body in (SYSTEM, call("source", words("http://a")), call("if", call("unlink", words("a")))):
        assert found(rds(items(closure(body)))) == [("warning", "r-function"), ("info", "r-code")]


@pytest.mark.parametrize(
    "content",
    [
        rds(items(NUMBERS, words("system('ls')", "print"))),
        rds(call("lm", call("~", symbol("y"), symbol("x")), symbol("system"))),
        rds(environment(bindings(data=promise(call("read.csv"), NUMBERS), other=promise(symbol("x"))))),
        session(system=NUMBERS, w=items(NUMBERS)),
        rds(environment(bindings(x=NUMBERS))),
    ],
)
def test_models_with_formulas_and_environments_have_no_finding(content):
    assert not found(content)


@pytest.mark.parametrize("packed", [bytes, gzip.compress])
def test_a_file_that_was_listed_is_not_parsed_again(tmp_path, monkeypatch, packed):
    path = tmp_path / "net.rds"
    path.write_bytes(packed(rds(items(NUMBERS, promise(SYSTEM), closure(SYSTEM)))))
    expected = would_run(str(path))
    listed = steelyard.weights(path)
    monkeypatch.setattr("steelyard.codecs.r.stream.read_symbols", lambda _: pytest.fail("parsed again"))
    assert would_run(str(path), listed) == expected != []


def test_a_file_of_r_inside_another_is_parsed_by_itself(tmp_path):
    path = tmp_path / "net.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net.rds", rds(items(NUMBERS)))
        archive.writestr("notes.txt", rds(items(promise(SYSTEM))))
    listed = steelyard.weights(tmp_path / "net.zip")
    assert would_run(str(path), listed) == would_run(str(path)) != []
