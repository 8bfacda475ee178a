"""`steelyard transfer`: put one file's weights into the model of another, which its own framework then loads."""

import json

import keras
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.cli import main


def said(capsys, *args, status=0):
    """Run a command in this process, and return what it printed."""
    assert main(["transfer", *map(str, args)]) == status
    return capsys.readouterr().out


def refused(capsys, *args):
    """Run a command that fails, and return its one line on stderr."""
    assert main(["transfer", *map(str, args)]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.startswith("error: ")
    assert len(captured.err.splitlines()) == 1
    return captured.err


@pytest.fixture(scope="module")
def net():
    """A small convolutional net after a few steps of training."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    step = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        step.zero_grad()
        net(torch.randn(8, 1, 8, 8)).square().mean().backward()
        step.step()
    return net.eval()


def twin(seed=1):
    """The same architecture in Keras, where images have their channels last, with other numbers."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, name="conv"),
            keras.layers.BatchNormalization(epsilon=1e-5, name="norm"),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(5, name="head"),
        ],
        name="twin",
    )


@pytest.fixture
def files(net, tmp_path):
    """The trained net as safetensors, and the target as a Keras file."""
    steelyard.save(net, tmp_path / "net.safetensors")
    twin().save(tmp_path / "twin.keras")
    return tmp_path / "net.safetensors", tmp_path / "twin.keras"


def outputs(net, x):
    with torch.no_grad():
        return net(torch.from_numpy(np.moveaxis(x, -1, 1))).numpy()


X = np.random.default_rng(3).random((4, 8, 8, 1), "f4")


def test_the_written_keras_file_gives_the_outputs_of_the_torch_net(net, files, tmp_path, capsys):
    printed = said(capsys, files[0], "--into", files[1], "-o", tmp_path / "out.keras")
    loaded = keras.saving.load_model(tmp_path / "out.keras")
    assert np.abs(np.asarray(loaded(X, training=False)) - outputs(net, X)).max() < 1e-5
    assert np.abs(np.asarray(twin()(X, training=False)) - outputs(net, X)).max() > 1e-2
    lines = printed.splitlines()
    assert lines[0] == f"{tmp_path}/out.keras: 8 weights from {files[0]}, 2 of them in another layout"
    assert lines[-1] == f"not proven: {files[0]} and {files[1]} cannot be run, so the outputs were not compared"


@pytest.mark.parametrize("suffix", [".weights.h5", ".safetensors", ".pt", ".onnx"])
def test_every_kind_of_file_gets_the_numbers_of_a_keras_file(suffix, net, files, tmp_path, capsys):
    """From Keras into a file of a net with other numbers, from which its framework reads the trained ones."""
    said(capsys, files[0], "--into", files[1], "-o", tmp_path / "trained.keras")
    torch.manual_seed(7)
    fresh = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)).eval()
    target, out = tmp_path / f"fresh{suffix}", tmp_path / f"out{suffix}"
    if suffix == ".weights.h5":
        twin(9).save_weights(target)
    elif suffix == ".onnx":
        as_onnx(fresh, target)
    elif suffix == ".pt":
        torch.save(fresh.state_dict(), target)
    else:
        steelyard.save(fresh, target)
    said(capsys, tmp_path / "trained.keras", "--into", target, "-o", out)
    if suffix == ".weights.h5":
        made = twin(9)
        made.load_weights(out)
        assert np.abs(np.asarray(made(X, training=False)) - outputs(net, X)).max() < 1e-5
        return
    arrays = torch.load(out) if suffix == ".pt" else steelyard.weights(out).arrays()
    for name, value in net.state_dict().items():
        if "num_batches" not in name:
            assert np.array_equal(np.asarray(arrays[name]), value.numpy()), name


def as_onnx(net, path):
    """Write the convolutional net with ONNX's own package."""
    import onnx
    from onnx import helper, numpy_helper

    state = {k: v.numpy() for k, v in net.state_dict().items() if "num_batches" not in k}
    nodes = [
        helper.make_node("Conv", ["x", "0.weight", "0.bias"], ["a"], kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["a", "1.weight", "1.bias", "1.running_mean", "1.running_var"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "4.weight", "4.bias"], ["y"], transB=1),
    ]
    made = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", 1, [None, 1, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [None, 5])],
        [numpy_helper.from_array(array, name) for name, array in state.items()],
    )
    onnx.save(helper.make_model(made), path)


def test_the_plan_is_printed_and_nothing_is_written(files, tmp_path, capsys):
    before = sorted(path.name for path in tmp_path.iterdir())
    lines = said(capsys, files[0], "--into", files[1], "--plan").splitlines()
    assert lines[0].split() == ["from", "to", "layout", "note"]
    assert any(line.startswith("4.weight") and "head/kernel" in line and "4 channels" in line for line in lines)
    document = json.loads(said(capsys, files[0], "--into", files[1], "--plan", "--json"))
    assert document["pairs"]["0"].endswith("conv")
    assert [row["target"].rpartition("/")[2] for row in document["rows"]][:2] == ["kernel", "bias"]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_one_json_document_has_the_plan_and_the_unproven_proof(files, tmp_path, capsys):
    document = json.loads(said(capsys, files[0], "--into", files[1], "-o", tmp_path / "out.keras", "--json"))
    assert document["out"] == f"{tmp_path}/out.keras"
    assert len(document["plan"]["rows"]) == 8
    assert document["proof"]["proven"] is False
    assert document["proof"]["max_rel"] is None
    assert "cannot be run" in document["proof"]["why"]


@pytest.fixture
def equal(tmp_path):
    """Two files with two equal square layers and uninformative names."""
    rng = np.random.default_rng(0)
    one = {f"{name}.weight": rng.random((4, 4), "f4") for name in ("a", "b")}
    steelyard.save(one, tmp_path / "a.safetensors")
    steelyard.save({f"{name}.kernel": np.zeros((4, 4), "f4") for name in ("x", "y")}, tmp_path / "b.safetensors")
    return one, tmp_path


def test_indistinguishable_layers_are_refused_until_pairs_or_rules_name_them(equal, capsys):
    one, folder = equal
    ends = folder / "a.safetensors", "--into", folder / "b.safetensors", "-o", folder / "c.safetensors"
    assert "it is not known which of a, b is which of x, y" in refused(capsys, *ends)
    assert not (folder / "c.safetensors").exists()
    for option, content in (("--pairs", {"a": "y", "b": "x"}), ("--rules", {"a": "y", "b": "x"})):
        (folder / "said.json").write_text(json.dumps(content))
        said(capsys, *ends, option, folder / "said.json")
        made = steelyard.weights(folder / "c.safetensors")
        assert made["y.kernel"].numpy().tobytes() in (one["a.weight"].tobytes(), one["a.weight"].T.tobytes())
        (folder / "c.safetensors").unlink()


def test_only_and_skip_leave_the_rest_unchanged_and_list_it(files, tmp_path, capsys):
    before = steelyard.weights(files[1]).arrays()
    printed = said(capsys, files[0], "--into", files[1], "-o", tmp_path / "out.keras", "--skip", "4", "--skip", "*head")
    after = steelyard.weights(tmp_path / "out.keras").arrays()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name.rpartition("/")[0].rpartition("/")[2] for name in changed} == {"conv", "norm"}
    assert "unchanged: twin/head/kernel, twin/head/bias" in printed
    assert "unused: 4.weight, 4.bias" in printed


def test_shapes_differ_only_where_resize_allows_it(tmp_path, capsys):
    for name, words in (("a", 3), ("b", 6)):
        table = keras.layers.Embedding(words, 2, embeddings_initializer="ones" if name == "a" else "uniform", name="table")
        keras.Sequential([keras.Input((5,)), table]).save(tmp_path / f"{name}.keras")
    ends = tmp_path / "a.keras", "--into", tmp_path / "b.keras", "-o", tmp_path / "c.keras"
    assert "no partner" in refused(capsys, *ends)
    said(capsys, *ends, "--resize", "pad")
    (table,) = keras.saving.load_model(tmp_path / "c.keras").get_weights()
    assert table.tolist() == [[1.0, 1.0]] * 3 + [[0.0, 0.0]] * 3


def test_the_target_may_be_written_over(files, capsys):
    said(capsys, files[0], "--into", files[1], "-o", files[1])
    wanted = steelyard.weights(files[0])["4.bias"].numpy()
    assert np.array_equal(steelyard.weights(files[1])["twin/head/bias"].numpy(), wanted)


def test_without_a_file_to_write_or_a_plan_the_error_names_the_options(files, capsys):
    assert "name the file to write with -o, or use --plan to print the plan only" in refused(
        capsys, *files[:1], "--into", files[1]
    )


def test_a_missing_file_or_an_unsupported_format_is_one_line(files, tmp_path, capsys):
    assert "no.keras" in refused(capsys, files[0], "--into", tmp_path / "no.keras", "-o", tmp_path / "c.keras")
    assert "no format writes '.tflite'" in refused(capsys, files[0], "--into", files[1], "-o", tmp_path / "c.tflite")
    rules = "--rules", tmp_path / "no.json"
    assert "rules cannot be read" in refused(capsys, files[0], "--into", files[1], "-o", tmp_path / "c.keras", *rules)
