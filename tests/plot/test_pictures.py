"""Compares each picture with a reviewed baseline. UPDATE_IMAGES=1 scripts/test tests/plot makes new baselines."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steelyard import Role, Weights, plot
from steelyard.core.graph import Graph, Layer
from steelyard.core.readers import from_array

FOLDER = Path(__file__).parent / "pictures"
DPI = 50
FAR, SHARE = 48, 0.002
"""The tolerance of a colour, of 255, and the share of dots that may exceed it: matplotlib's releases draw letters differently."""


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-1000, 1001, shape) / 1000


def bell(*shape, seed=0):
    return np.random.default_rng(seed).binomial(64, 0.5, shape) / 32 - 1.0


def kernel(name, array, axes="out in"):
    return from_array(name, array, role=Role.KERNEL, layer=name.rpartition(".")[0], axes=axes)


def bias(name, array):
    return from_array(name, array, role=Role.BIAS, layer=name.rpartition(".")[0], axes="out")


def mlp(sign=1.0):
    first, second = numbers(4, 3, seed=1), numbers(2, 4, seed=2)
    first[2, 1] = 1.2 * sign
    return Weights([kernel("0.weight", first), bias("0.bias", numbers(4)), kernel("2.weight", second)])


def deep(blocks=20, shift=0.0):
    found = []
    for nth in range(blocks):
        found.append(kernel(f"block.{nth}.fc.weight", bell(40, 30, seed=nth) * 0.9**nth))
        found.append(bias(f"block.{nth}.fc.bias", bell(30, seed=nth) * 0.2 + shift))
        found.append(from_array(f"block.{nth}.norm.weight", 1 + bell(30, seed=nth) / 9, role=Role.SCALE))
    return Weights(found)


def blocks(factor=1.0):
    """A net with NaN in one block, of which the last is multiplied by a factor in one part."""
    net = deep(6)
    net = {name: weight.numpy() for name, weight in net.items()} | {"embed.weight": bell(30, 8), "head.weight": bell(8, 30)}
    net["block.5.fc.weight"] = net["block.5.fc.weight"] * factor
    net["block.2.fc.bias"] = np.where(np.arange(30) == 3, np.nan, net["block.2.fc.bias"])
    return net


def residual(skip=True):
    """A net of two blocks, each with what passes it, and a sum of the first and the last layer."""
    layers = [Layer("in", "conv", settings={"activation": "relu"}, output_shape=(8, 8, 4), inputs=("x",))]
    weights = [kernel("in.weight", bell(4, 3, 3, 3), "out in kh kw")]
    for nth in range(2):
        before = layers[-1].name
        for part, taken in {"one": (before,), "two": (f"h.{nth}.one",)}.items():
            layers.append(Layer(f"h.{nth}.{part}", "conv", output_shape=(8, 8, 4), inputs=taken))
            weights.append(kernel(f"h.{nth}.{part}.weight", bell(4, 4, 3, 3), "out in kh kw"))
        layers.append(Layer(f"h.{nth}.add", "merge", inputs=(f"h.{nth}.two", before) if skip else (f"h.{nth}.two",)))
    layers += [Layer("sum", "merge", inputs=("h.1.add", "in")), Layer("out", "dense", output_shape=(3,), inputs=("sum",))]
    weights.append(kernel("out.weight", bell(3, 256)))
    return Weights(weights, graph=Graph(layers, is_execution_order=True, input_names=["x"], input_shapes=((8, 8, 3),)))


def noisy(array, share):
    found = array.copy()
    found.flat[:: round(1 / share)] *= 1.5
    return found


def stripes(units, side):
    """Return units that respond to stripes, each of another direction."""
    down, across = np.mgrid[:side, :side] - side / 2
    angles = np.arange(units) * np.pi / units
    found = [np.cos(0.8 * (np.sin(a) * down + np.cos(a) * across)) * np.exp(-(down**2 + across**2) / side**1.5) for a in angles]
    return np.array(found).reshape(units, side * side)


def attention(width=32):
    """Return an attention layer in which some heads are stronger than others."""
    strength = np.repeat([1.0, 0.3, 0.6, 1.5], width // 4)
    found = [
        kernel(f"attn.{letter}_proj.weight", bell(width, width, seed=nth) * strength[:, None]) for nth, letter in enumerate("qkv")
    ]
    return Weights([*found, kernel("attn.o_proj.weight", bell(width, width, seed=3))])


def spiral(turns=2.0):
    t = np.linspace(0, 1, 40)
    flat = np.stack([t * np.cos(turns * 2 * np.pi * t), t * np.sin(turns * 2 * np.pi * t)], axis=1)
    return from_array("wte.weight", flat @ np.array([[1.0, 2.0, -1.0], [0.5, -1.0, -1.5]]), role=Role.EMBEDDING, axes="vocab out")


def training(steps=24, broken=False):
    """Return a net at each of some steps: a kernel that grows and spreads, one that shrinks, and a bias that begins at zero."""
    nets = {}
    for step in range(steps):
        t = step / steps
        one = bell(40, 30) * (1 + t) + t * bell(40, 30, seed=1)
        if broken and step > 20:
            one[0, 0] = np.nan
        two, offset = bell(10, 40, seed=2) / (1 + 3 * t), numbers(10) * t**2 + 1e-3
        nets[10 * step] = Weights([kernel("0.weight", one), kernel("2.weight", two), bias("2.bias", offset)])
    return nets


PICTURES = {
    "heatmap": lambda: plot.heatmap(kernel("fc.weight", noisy(bell(24, 40), 0.01))),
    "heatmap-large": lambda: plot.heatmap(kernel("fc.weight", np.add.outer(np.arange(900), -np.arange(1300)) / 1e3)),
    "histograms": lambda: plot.histograms(deep(4), limit=6),
    "filters": lambda: plot.filters(kernel("conv.weight", bell(10, 1, 5, 5), "out in kh kw")),
    "filters-colour": lambda: plot.filters(kernel("conv.weight", bell(3, 3, 3, 8), "kh kw in out")),
    "spectrum": lambda: plot.spectrum(kernel("fc.weight", bell(30, 40) + np.outer(np.arange(30), np.arange(40)) / 900)),
    "network": lambda: plot.network(mlp()),
    "network-large": lambda: plot.network(Weights([kernel("0.weight", bell(30, 20)), kernel("2.weight", bell(3, 30))]), units=8),
    "overview": lambda: plot.overview(deep(3)),
    "overview-many": lambda: plot.overview(deep()),
    "diff": lambda: plot.diff(deep(3), deep(3, shift=0.01)),
    "size": lambda: plot.size(blocks()),
    "architecture": lambda: plot.architecture(residual()),
    "grid": lambda: plot.grid(blocks()),
    "grid-diff": lambda: plot.grid(blocks(1.5), before=blocks()),
    "diff-many": lambda: plot.diff(deep(), deep(shift=0.01)),
    "filters-dense": lambda: plot.filters(kernel("fc.weight", stripes(7, 16))),
    "heads": lambda: plot.heads(attention(), heads=4),
    "embedding": lambda: plot.embedding(spiral(), labels=[f"word {nth}" for nth in range(40)]),
    "history": lambda: plot.history(training()),
    "history-nan": lambda: plot.history(training(broken=True), "ratios"),
}
WRONG = {
    "heatmap": lambda: plot.heatmap(kernel("fc.weight", -noisy(bell(24, 40), 0.01))),
    "heatmap-large": lambda: plot.heatmap(
        kernel("fc.weight", np.add.outer(np.arange(900), -np.arange(1300)) / 1e3), window=(0, 0, 800, 1300)
    ),
    "histograms": lambda: plot.histograms(deep(4), limit=6, bins=30),
    "filters": lambda: plot.filters(kernel("conv.weight", np.flip(bell(10, 1, 5, 5), 3), "out in kh kw")),
    "filters-colour": lambda: plot.filters(kernel("conv.weight", np.flip(bell(3, 3, 3, 8), 2), "kh kw in out")),
    "spectrum": lambda: plot.spectrum(kernel("fc.weight", bell(30, 40))),
    "network": lambda: plot.network(mlp(sign=-1)),
    "network-large": lambda: plot.network(Weights([kernel("0.weight", bell(30, 20)), kernel("2.weight", bell(3, 30))]), units=9),
    "overview": lambda: plot.overview(deep(3, shift=0.1)),
    "overview-many": lambda: plot.overview(deep(), kind="ridges"),
    "diff": lambda: plot.diff(deep(3), deep(3, shift=0.02)),
    "size": lambda: plot.size({**blocks(), "head.weight": bell(16, 30)}),
    "architecture": lambda: plot.architecture(residual(skip=False)),
    "grid": lambda: plot.grid(blocks(), value="mean"),
    "grid-diff": lambda: plot.grid(blocks(1.5), before=blocks(), value="rank"),
    "diff-many": lambda: plot.diff(deep(), deep(shift=0.02)),
    "filters-dense": lambda: plot.filters(kernel("fc.weight", stripes(7, 16)), grid=(8, 32)),
    "heads": lambda: plot.heads(attention(), heads=8),
    "embedding": lambda: plot.embedding(spiral(turns=3.0), labels=[f"word {nth}" for nth in range(40)]),
    "history": lambda: plot.history(training(), name="2.weight"),
    "history-nan": lambda: plot.history(training(), "ratios"),
}
"""Each picture with an error in it, which the comparison must notice."""


def dots(ax):
    """Return the RGB values, 0 to 255, of the figure of an Axes."""
    ax.figure.set_dpi(DPI)
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)


def apart(found, name):
    """Return the share of dots that differ from the baseline."""
    kept = np.asarray(Image.open(FOLDER / f"{name}.png").convert("RGB")).astype(int)
    return 1.0 if kept.shape != found.shape else float((np.abs(found - kept).max(axis=-1) > FAR).mean())


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_equals_its_baseline(name):
    found = dots(PICTURES[name]())
    if os.environ.get("UPDATE_IMAGES"):
        Image.fromarray(found.astype(np.uint8)).quantize(128).save(FOLDER / f"{name}.png", optimize=True)
    assert apart(found, name) <= SHARE


@pytest.mark.parametrize("name", PICTURES)
def test_a_wrong_picture_is_noticed(name):
    assert apart(dots(WRONG[name]()), name) > SHARE


def test_every_baseline_is_compared_and_small():
    assert {path.stem for path in FOLDER.iterdir()} == set(PICTURES) == set(WRONG)
    assert {name.partition("-")[0] for name in PICTURES} == set(plot.__all__)
    assert all(path.stat().st_size < 40_000 for path in FOLDER.iterdir())
