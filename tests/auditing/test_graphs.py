"""The audit of ONNX, ORT, TensorFlow's graphs and TensorFlow Lite: operators and files that they name."""

import os

import pytest
from wire import field, flat_file

from steelyard.auditing import audit
from steelyard.storage.source import from_bytes, open_path


def found(content, name):
    return [(finding.severity, finding.rule) for finding in audit(from_bytes(content, name)).findings]


def node(op, domain="", *attributes):
    return field(1, field(1, "x"), field(2, "y"), field(4, op), field(7, domain), *attributes)


def tensor(number, location, name="w"):
    entries = field(13, field(1, "location"), field(2, location)) if location else b""
    return field(number, field(1, 2), field(2, 1), field(8, name), entries, field(14, 1 if location else 0))


def onnx(*parts, more=b""):
    return field(1, 8) + field(7, *parts, field(2, "g")) + field(8, field(1, ""), field(2, 17)) + more


@pytest.mark.parametrize(
    "wrap",
    [
        onnx,
        lambda part: onnx(node("If", "", field(5, field(1, "then_branch"), field(6, part), field(20, 5)))),
        lambda part: onnx(node("Loop", "", field(5, field(1, "body"), field(11, node("Scan", "", field(5, field(6, part))))))),
        lambda part: onnx(node("Relu"), more=field(20, field(2, part))),
    ],
    ids=["graph", "branch", "body in a body", "training"],
)
@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (node("PyOp", "ai.onnx.contrib"), ("error", "onnx-python")),
        (node("PythonOp", "com.microsoft"), ("error", "onnx-python")),
        (node("PyCustomOp_1", "ai.onnx.contrib"), ("error", "onnx-python")),
        (node("RunShell", "evil.ops"), ("error", "onnx-python")),
        (node("AzureTextToText", "com.microsoft.extensions"), ("error", "onnx-outside")),
        (
            node("EPContext", "com.microsoft", field(5, field(1, "ep_cache_context"), field(4, "../a.bin"))),
            ("error", "onnx-outside"),
        ),
        (node("X", "a.b", field(5, field(1, "library"), field(4, "evil.so"))), ("error", "onnx-outside")),
        (node("Anything", "my.domain"), ("warning", "onnx-custom-domain")),
        (node("BertTokenizer", "ai.onnx.contrib"), ("info", "onnx-known-domain")),
        (tensor(5, "../../etc/passwd"), ("error", "onnx-outside")),
        (tensor(5, "/etc/passwd"), ("error", "onnx-outside")),
        (tensor(5, "C:\\x"), ("error", "onnx-outside")),
        (tensor(5, "https://a/b"), ("error", "onnx-outside")),
        (node("Constant", "", field(5, field(1, "value"), tensor(5, "../x"))), ("error", "onnx-outside")),
        (field(15, tensor(1, "../x"), tensor(2, "")), ("error", "onnx-outside")),
    ],
)
def test_operators_and_files_are_named_in_every_graph_of_a_model(wrap, part, expected):
    assert expected in found(wrap(part), "a.onnx")


@pytest.mark.parametrize(
    "content",
    [
        onnx(node("Conv"), node("FusedConv", "com.microsoft"), node("Scaler", "ai.onnx.ml"), tensor(5, "")),
        onnx(node("Mine", "local"), more=field(25, field(1, "Mine"), field(7, field(4, "Relu")), field(10, "local"))),
        onnx(node("Conv"), tensor(5, "model.onnx.data"), tensor(5, "sub/a..b")),
        onnx(node("PyramidRoiAlign")),
    ],
)
def test_the_operators_of_onnx_and_functions_of_the_model_have_no_finding(content):
    assert not found(content, "a.onnx")


def test_a_link_that_leads_out_of_the_folder_is_outside(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_bytes(b"x" * 8)
    os.symlink(tmp_path / "secret", tmp_path / "inner" / "w.data")
    path = tmp_path / "inner" / "a.onnx"
    path.write_bytes(onnx(node("Conv"), tensor(5, "w.data")))
    assert [finding.rule for finding in audit(path).findings] == ["onnx-outside"]


def test_the_operators_of_ort_are_named():
    def ort(op, domain, inner=None):
        attributes = [{4: "then", 18: inner}] if inner else []
        return {8: [{4: "n", 8: domain, 14: op, 24: attributes}]}

    def file(graph):
        return flat_file({4: "5", 6: {18: graph}}, b"ORTM")

    assert not found(file(ort("Conv", "")), "a.ort")
    assert found(file(ort("PyOp", "ai.onnx.contrib")), "a.ort") == [("error", "onnx-python")]
    assert found(file(ort("If", "", ort("X", "my.domain"))), "a.ort") == [("warning", "onnx-custom-domain")]


def graph_node(op, name="n", *more):
    return field(1, field(1, name), field(2, op), *more)


def function(op, name="f"):
    return field(2, field(1, field(1, field(1, name)), field(3, field(1, "n"), field(2, op))))


def saved_model(graph, *more):
    return field(1, 1) + field(2, field(1, field(5, "2.21")), field(2, graph), *more)


EVIL = [
    ("PyFunc", "tf-python"),
    ("PyFuncStateless", "tf-python"),
    ("EagerPyFunc", "tf-python"),
    *((op, "tf-outside") for op in ("ReadFile", "WriteFile", "MatchingFiles", "SaveV2", "RestoreV2", "ImmutableConst")),
    *(
        (op, "tf-outside")
        for op in ("TFRecordDataset", "TextLineDatasetV2", "WholeFileReaderV2", "DebugIdentityV2", "SaveDatasetV2")
    ),
    *((op, "tf-outside") for op in ("CreateSummaryFileWriter", "ShellExecute", "LoadLibrary", "BigQueryReader", "IO>FileInit")),
    ("Addons>Image", "tf-custom-op"),
]


@pytest.mark.parametrize(("op", "rule"), EVIL)
def test_operators_of_tensorflow_that_reach_out_are_named_in_every_container(op, rule):
    graph = graph_node("MatMul") + graph_node(op)
    for content, name in (
        (saved_model(graph), "saved_model.pb"),
        (saved_model(function(op)), "saved_model.pb"),
        (graph, "frozen.pb"),
        (function(op) + graph_node("Add"), "frozen.pb"),
        (field(1, field(5, "1.15")) + field(2, graph), "model.ckpt-1.meta"),
        (f'node {{ name: "n" op: "{op}" }}'.encode(), "graph.pbtxt") if op not in ("SaveV2", "RestoreV2") else (graph, "a.pb"),
    ):
        assert rule in [named for _, named in found(content, name)]


@pytest.mark.parametrize(
    "graph",
    [
        graph_node("SaveV2", "save/SaveV2") + graph_node("RestoreV2", "save/RestoreV2"),
        function("SaveV2", "__inference__traced_save_12") + function("RestoreV2", "__inference__traced_restore_9"),
        graph_node("MatMul") + graph_node("LookupTableFindV2") + graph_node("InitializeTableFromTextFileV2"),
        graph_node("PrintV2", "p", field(5, field(1, "output_stream"), field(2, field(2, "stderr")))),
        graph_node("StatefulPartitionedCall") + graph_node("ReaderNot") + graph_node("Cos"),
    ],
)
def test_the_operators_of_ordinary_graphs_have_no_finding(graph):
    assert not found(saved_model(graph), "saved_model.pb")
    assert not found(graph, "frozen.pb")


def test_printing_into_a_file_reaches_out():
    graph = graph_node("PrintV2", "p", field(5, field(1, "output_stream"), field(2, field(2, "file:///tmp/x"))))
    assert found(saved_model(graph), "saved_model.pb") == [("error", "tf-outside")]


def test_an_asset_outside_the_folder_is_named():
    content = saved_model(graph_node("Add"), field(6, field(2, "../../etc/passwd")))
    assert found(content, "saved_model.pb") == [("error", "path-traversal")]
    assert not found(saved_model(graph_node("Add"), field(6, field(2, "vocab.txt"))), "saved_model.pb")


def test_the_metadata_of_keras_is_judged():
    evil = '{"class_name": "Lambda", "config": {"function": ["x", null, null], "function_type": "lambda"}}'
    plain = '{"class_name": "Dense", "config": {"units": 2}}'
    for metadata, expected in ((evil, [("error", "keras-code")]), (plain, [])):
        assert found(field(1, field(2, 1), field(3, "root"), field(5, metadata)), "keras_metadata.pb") == expected
        assert found(saved_model(b"", field(7, field(1, field(4, field(3, metadata))))), "saved_model.pb") == expected


def test_a_damaged_saved_model_is_damaged_and_another_pb_file_is_not_judged():
    assert ("warning", "damaged") in found(saved_model(graph_node("Add"))[:-3], "saved_model.pb")
    assert not found(b"\x0a\xff\xff", "other.pb")
    assert not found(field(1, 5) + field(2, 7), "fingerprint.pb")


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("FlexReadFile", ("error", "tf-outside")),
        ("FlexPyFunc", ("error", "tf-python")),
        ("PyFunc", ("error", "tf-python")),
        ("FlexRFFT", ("info", "tflite-known-op")),
        ("TFLite_Detection_PostProcess", ("info", "tflite-known-op")),
        ("MyOwnOp", ("warning", "tflite-custom-op")),
    ],
)
def test_operators_that_tensorflow_lite_does_not_have_are_named(op, expected):
    assert found(flat_file({4: 3, 6: [{6: op}, {}], 8: []}, b"TFL3"), "a.tflite") == [expected]
    assert not found(flat_file({4: 3, 6: [{}], 8: []}, b"TFL3"), "a.tflite")


def test_a_model_of_many_tensors_is_read_about_once():
    data = onnx(*(tensor(5, "", f"layers.{nth}.w") for nth in range(4000)))
    source = from_bytes(data, "many.onnx")
    fill, lengths = source.fill, []
    source.fill = lambda offset, buffer: lengths.append(len(buffer)) or fill(offset, buffer)
    assert not audit(source).findings
    assert sum(lengths) < 10 * len(data)  # a page for each tensor would be a thousand times


def test_the_file_of_many_tensors_is_looked_for_once(tmp_path):
    (tmp_path / "a.onnx").write_bytes(onnx(*(tensor(5, f"model.data{nth % 2}", f"w{nth}") for nth in range(500))))
    (tmp_path / "model.data0").write_bytes(b"x" * 8)
    source = open_path(tmp_path / "a.onnx")
    beside, looked = source.beside, []
    source.beside = lambda name: looked.append(name) or beside(name)
    assert not audit(source).findings
    assert sorted(looked) == ["model.data0", "model.data1"]


def test_external_data_of_one_tensor_among_others_is_found():
    content = onnx(tensor(5, "", "a"), tensor(5, "../secret", "b"), tensor(5, "", "c"))
    (finding,) = audit(from_bytes(content, "m.onnx")).findings
    assert finding.rule == "onnx-outside"
    assert "the numbers of b" in finding.what


@pytest.mark.parametrize("length", [1, 100, 300, 20_000])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_tensors_of_any_length_are_passed_over_up_to_one_with_external_data(length, share):
    others = [field(5, field(1, 2), field(8, f"w{nth}"), field(9, bytes(length))) for nth in range(400 if length < 1000 else 20)]
    place = round(share * len(others))
    content = onnx(*others[:place], tensor(5, "../secret", "b"), *others[place:], node("PyOp", "own"))
    assert {rule for _, rule in found(content, "m.onnx")} == {"onnx-outside", "onnx-python"}
    assert found(onnx(*others, node("Relu")), "m.onnx") == []
