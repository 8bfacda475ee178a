"""Commands take time linear in the number of weights: no line runs as often as there are pairs of them."""

import os

import numpy as np
import pytest
from growth import quadratic_lines

import steelyard
from steelyard import formats, plan_transfer, sizes
from steelyard.cli import main
from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array
from steelyard.core.weight import Role
from steelyard.core.weights import Weights
from steelyard.transfers.pairing import Pair
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.pairing.reordering import reorderings
from steelyard.transfers.unstacked import unstacked

SMALL, TIMES = 4, 8
CHANCE = np.random.default_rng(0)


def net(count, prefix=""):
    """Return dense layers of one shape, two weights each, with numbers in their names."""
    shapes = {"weight": (4, 4), "bias": (4,)}
    names = (f"{prefix}blocks.{nth // 10}.experts.{nth % 10}.{leaf}" for nth in range(count) for leaf in shapes)
    return {name: CHANCE.normal(size=shapes[name.rpartition(".")[2]]).astype("f4") for name in names}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder with files of few layers, and one with files of many."""
    made = []
    for count in (SMALL, SMALL * TIMES):
        folder = tmp_path_factory.mktemp(f"of{count}")
        one = net(count)
        changed = {name: value + CHANCE.normal(size=value.shape).astype("f4") for name, value in one.items()}
        files = {"one": one, "other": changed, "wrapped": {f"module.{name}": value for name, value in one.items()}}
        for name, arrays in files.items():
            steelyard.save(arrays, folder / f"{name}.safetensors")
        made.append(folder)
    return made


COMMANDS = [
    "ls one",
    "ls --json one",
    "show one blocks.0.experts.1.weight",
    "check --health one",
    "digest one",
    "digest --layout canonical one",
    "stats one",
    "stats --json one",
    "diff one one",
    "diff one other",
    "diff one wrapped",
    "diff --json one other",
    "convert one OUT.npz",
    "transfer one --into other -o OUT.safetensors",
    "transfer one --into wrapped --plan",
    "transfer one --into wrapped --rules RULES -o OUT.safetensors",
    "lineage one other",
    "average one other -o OUT.safetensors",
    "prune one --amount 0.5 -o OUT.safetensors",
    "report one --before other -o OUT.html",
    "size one",
    "layers one",
    "grid one",
    "vector one -o OUT.npy",
    "quantize one --to int8 -o OUT.safetensors",
]


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_runs_no_line_for_each_pair_of_weights(folders, words, capsys):
    def run(folder):
        (folder / "rules.json").write_text(r'{"blocks\\.(.*)": "module.blocks.\\1"}')
        names = {"OUT": str(folder / "out"), "RULES": str(folder / "rules.json")}
        paths = {name: str(folder / f"{name}.safetensors") for name in ("one", "other", "wrapped")}
        arguments = [paths.get(word, names.get(word)) or word.replace("OUT", names["OUT"]) for word in words.split()]
        assert main(arguments) in (0, 1), capsys.readouterr().err

    assert not quadratic_lines(run, *folders, TIMES, 2 * SMALL)


def copies(count):
    """Return a net with a copy of each layer under another name, and the net without these copies."""
    one = net(count)
    return {**one, **{f"copy.{name}": value for name, value in one.items()}}, one


def flattened(count, channels):
    """Return a net of a convolution, many flattened features that have norms of their own, and a dense layer."""
    nodes = [Layer("conv", "conv", inputs=()), Layer("flat", "flatten", inputs=("conv",))]
    arrays = {"conv.kernel": ((4, 3, 2, 2), Role.KERNEL, "out in kh kw")}
    for nth in range(count):
        nodes.append(Layer(f"norm{nth}", "layer norm", inputs=("flat",)))
        arrays |= {f"norm{nth}.scale": ((8,), Role.SCALE, ""), f"norm{nth}.offset": ((8,), Role.OFFSET, "")}
    nodes.append(Layer("fc", "dense", inputs=tuple(f"norm{nth}" for nth in range(count))))
    arrays["fc.kernel"] = ((2, 8), Role.KERNEL, "out in")
    weights = [from_array(name, np.ones(shape), role=role, axes=axes) for name, (shape, role, axes) in arrays.items()]
    return Net(Weights(weights), Graph(nodes, channels=channels, is_execution_order=True))


def stacks(count):
    """Return stacked layers of two each, with their graph."""
    facts = {"role": Role.KERNEL, "axes": "layer in out"}
    made = [from_array(f"s{nth}.w", np.ones((2, 3, 4)), **facts).replace(layer=f"s{nth}") for nth in range(count)]
    nodes = [Layer(weight.layer, "dense", inputs=(f"s{nth - 1}",) if nth else ()) for nth, weight in enumerate(made)]
    return Weights(made, graph=Graph(nodes))


def resized(count):
    """Return layers of two sizes under the same names."""
    return net(count), {name: value[: 2 if value.ndim == 1 else 3] for name, value in net(count).items()}


CALLS = {
    "copies of tied weights": lambda count: plan_transfer(copies(count)[0], into=copies(count)[1]),
    "flattened images": lambda count: reorderings(
        *(ends := (flattened(count, "first"), flattened(count, "last"))), paired(*ends)
    ),
    "stacks": lambda count: unstacked(stacks(count)),
    "other sizes": lambda count: plan_transfer(resized(count)[0], into=resized(count)[1], resize="truncate"),
    "given partners": lambda count: plan_transfer(net(count), into=net(count), pairs={name: name for name in layers_of(count)}),
}


def paired(source, target):
    return [Pair(mine, theirs, "") for mine, theirs in zip(source.layers, target.layers, strict=True)]


def layers_of(count):
    return {name.rpartition(".")[0] for name in net(count)}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_runs_no_line_for_each_pair_of_weights(call):
    assert not quadratic_lines(call, SMALL, SMALL * 16, 16, 2 * SMALL)


@pytest.mark.parametrize("layout", ["own", "canonical"])
def test_small_weights_are_digested_from_one_read_of_the_file_and_have_the_same_digests(folders, layout, monkeypatch):
    reads = []
    read = os.preadv
    listed = steelyard.weights(folders[1] / "one.safetensors")
    monkeypatch.setattr(os, "preadv", lambda *given: reads.append(given) or read(*given))
    together = steelyard.digest(listed, layout=layout)
    assert len(reads) < len(listed) / 10
    monkeypatch.setattr(sizes, "SMALL_RUN", len(listed) + 1)
    assert steelyard.digest(listed, layout=layout).to_dict() == together.to_dict()
    assert len(reads) > len(listed)


def test_the_small_members_of_an_archive_are_listed_with_a_read_each(tmp_path, monkeypatch):
    steelyard.save(net(40), tmp_path / "net.npz")
    reads = []
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda *given: reads.append(given) or read(*given))
    assert len(steelyard.weights(tmp_path / "net.npz")) == 80
    assert len(reads) <= 90


def test_a_transfer_opens_each_file_once_and_looks_for_no_stacks_among_plain_layers(folders, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(formats, "weights_in", lambda *given, open_=formats.weights_in: opened.append(given) or open_(*given))
    monkeypatch.setattr("steelyard.transfers.unstacked._families", None)
    one, other = (str(folders[0] / f"{name}.safetensors") for name in ("one", "other"))
    assert main(["transfer", one, "--into", other, "-o", str(folders[0] / "moved.safetensors")]) == 0
    assert len(opened) == 2


def test_many_small_weights_that_differ_are_read_once_and_not_rounded_to_each_narrower_type(folders, monkeypatch):
    rounded, reads = [], []
    read = os.preadv
    monkeypatch.setattr("steelyard.measures.diff.verdicts._rounding", rounded.append)
    one, other = (steelyard.weights(folders[1] / f"{name}.safetensors") for name in ("one", "other"))
    monkeypatch.setattr(os, "preadv", lambda *given: reads.append(given) or read(*given))
    assert all(row.changed for row in steelyard.diff(one, other).rows)
    assert not rounded
    assert len(reads) < len(one) / 10
