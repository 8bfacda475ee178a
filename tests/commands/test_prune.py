"""`steelyard prune` writes what `prune` and `prune_units` return, and with --dry-run a table only."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.cli import main


@pytest.fixture
def net(tmp_path):
    chance = np.random.default_rng(0)
    arrays = {"a.weight": chance.standard_normal((8, 4)), "a.bias": np.ones(8), "b.weight": chance.standard_normal((2, 8))}
    steelyard.save({name: array.astype("float32") for name, array in arrays.items()}, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def same(one, other):
    return list(one) == list(other) and all(np.array_equal(one[name].numpy(), other[name].numpy()) for name in one)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--amount", "0.75"], {"amount": 0.75}),
        (["--amount", "0.5", "--by", "layer"], {"amount": 0.5, "by": "layer"}),
        (["--pattern", "2:4"], {"pattern": "2:4"}),
        (["--amount", "0.5", "--select", "a.*"], {"amount": 0.5, "select": "a.*"}),
        (["--amount", "0.5", "--role", "bias"], {"amount": 0.5, "select": {"role": "bias"}}),
    ],
)
def test_a_file_is_pruned_as_by_the_function(net, tmp_path, capsys, options, arguments):
    assert main(["prune", str(net), *options, "-o", str(tmp_path / "out.npz")]) == 0
    wanted = steelyard.prune(net, **arguments)
    assert same(steelyard.weights(tmp_path / "out.npz"), wanted)
    assert wanted.meta["notes"][0] in capsys.readouterr().out


def test_a_dry_run_prints_the_zeros_of_each_weight_and_writes_nothing(net, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert main(["prune", str(net), "--amount", "0.75", "--dry-run", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["pruning"]["zeros"] == 36
    assert sum(row["zeros"] for row in record["rows"]) == 36
    assert [row["weight"] for row in record["rows"]] == ["a.weight", "b.weight"]
    assert main(["prune", str(net), "--amount", "0.75", "--dry-run"]) == 0
    assert "the file stays as large" in capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before


def test_pruning_over_the_input_replaces_it_whole(net):
    wanted = steelyard.prune(net, 0.5).copy()
    assert main(["prune", str(net), "--amount", "0.5", "-o", str(net)]) == 0
    assert same(steelyard.weights(net), wanted)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--amount", "0.5"], "-o OUT is missing"),
        (["--amount", "80", "--dry-run"], "must be a share from 0 to 1"),
        (["--units", "0.5", "--dry-run"], "it is not known what reads the units"),
        (["--units", "0.5", "--amount", "0.5", "--dry-run"], "use it without --amount"),
        (["--units", "a=half", "--dry-run"], "--units takes a share such as 0.5, or fc1=0.5, not a=half"),
        (["--amount", "0.5", "--select", "c*", "--dry-run"], "no weight's name matches --select 'c*'"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_one_line(net, capsys, options, why):
    assert main(["prune", str(net), *options]) == 2
    assert why in capsys.readouterr().err


def test_units_of_a_file_with_a_graph_go(tmp_path, capsys):
    import keras

    given = keras.Input((4,))
    hidden = keras.layers.Dense(6, "relu", name="a")(given)
    keras.Model(given, keras.layers.Dense(2, name="b")(hidden)).save(tmp_path / "net.keras")
    out = tmp_path / "small.safetensors"
    assert main(["prune", str(tmp_path / "net.keras"), "--units", "a=0.5", "-o", str(out)]) == 0
    assert same(steelyard.weights(out), steelyard.prune_units(tmp_path / "net.keras", {"a": 0.5}).weights)
    assert "a loses 3 of 6 units" in capsys.readouterr().out


def test_nothing_is_written_where_no_weight_is_known_to_be_a_kernel(tmp_path, capsys):
    steelyard.save({"a": np.ones((3, 3)), "b": np.zeros(3)}, tmp_path / "bare.npz")
    assert main(["prune", str(tmp_path / "bare.npz"), "--amount", "0.5", "-o", str(tmp_path / "out.npz")]) == 2
    assert capsys.readouterr().err.endswith("no weight is known to have the role kernel; --select chooses weights by name\n")
    assert not (tmp_path / "out.npz").exists()
    assert main(["prune", str(tmp_path / "bare.npz"), "--amount", "0.5", "--select", "a", "-o", str(tmp_path / "out.npz")]) == 0
    both = ["--select", "a", "--role", "bias"]
    assert main(["prune", str(tmp_path / "bare.npz"), "--amount", "0.5", *both, "-o", str(tmp_path / "out.npz")]) == 2
    assert capsys.readouterr().err.endswith("have the role bias; leave --role out, or choose other names\n")
