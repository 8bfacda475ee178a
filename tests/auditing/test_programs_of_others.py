"""Programs of Paddle and models of Core ML that call Python, reach files, or need a class of an app are named by text alone."""

import json

import carried
import pytest

from steelyard.auditing import audit
from steelyard.storage.source import from_bytes


def field(number, content):
    """Return a field of a protocol buffer: a number, a text, or the bytes of a message."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    data = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(number):
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    return bytes([*data, number])


def found(data, name):
    return {(each.rule, each.severity) for each in audit(from_bytes(data, name)).findings}


@pytest.mark.parametrize(
    ("operator", "rule"),
    [("py_func", "paddle-python"), ("save_combine", "paddle-outside"), ("recv", "paddle-outside"), ("conv2d", None)],
)
def test_an_operator_of_paddle_that_reaches_out_is_an_error(operator, rule):
    operators = field(4, field(3, "relu")) + field(4, field(3, operator))
    expected = {(rule, "error")} if rule else set()
    for name in ("inference.pdmodel", "model/__model__"):
        assert found(field(1, field(1, 0) + field(2, 0) + operators), name) == expected
    program = {"base_code": {"magic": "pir", "version": 1}, "program": {"regions": [{"ops": [{"#": f"1.{operator}"}]}]}}
    assert found(json.dumps(program).encode(), "inference.json") == expected


CUSTOM = field(1, "a layer") + field(500, field(10, "my.Layer"))
NETWORK = field(1, 4) + field(500, field(1, CUSTOM))


@pytest.mark.parametrize(
    "model",
    [
        NETWORK,
        field(1, 4) + field(403, field(1, CUSTOM)),
        field(1, 4) + field(202, field(1, NETWORK)),
        field(1, 4) + field(200, field(1, field(1, NETWORK))),
        field(1, 4) + field(555, field(10, "my.Layer")),
    ],
)
def test_a_class_that_core_ml_takes_from_an_app_is_named_in_every_kind_of_model(model):
    (finding,) = audit(from_bytes(model, "net.mlmodel")).findings
    assert (finding.rule, finding.severity, finding.evidence) == ("coreml-custom-class", "warning", {"classes": ["my.Layer"]})


def test_a_model_of_core_ml_that_is_linked_from_another_folder_is_an_error():
    def linked(path):
        return field(1, 4) + field(556, field(1, field(1, field(1, "net.mlmodelc")) + field(2, field(1, path))))

    assert found(linked("../../elsewhere"), "net.mlmodel") == {("coreml-outside", "error")}
    assert not found(linked("models"), "net.mlmodel")


def test_real_models_of_both_have_no_findings():
    files = [path for path in carried.PACKAGES.rglob("*") if path.suffix in (".pdmodel", ".mlmodel")]
    assert len(files) == 4
    assert not [path for path in files if audit(path).findings]
