"""Every way in which Steelyard writes a file: as commands that write the numbers of one of three models into a folder.

A writer is missing here if a module calls `replacing`, or a command has an argument `out`, that no writer reaches:
`test_sweeps.py` compares.
"""

from __future__ import annotations

import shutil
import struct
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import carried
import numpy as np
from safetensors.numpy import save_file

import steelyard
from steelyard import plot
from steelyard.device.export import plan_forward, write
from steelyard.device.exported import Options
from steelyard.device.forward.forward import Choices, Examples
from steelyard.transfers.transfer import plan_transfer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matplotlib.axes import Axes

    from steelyard import Weights
    from steelyard.device.exported import Export

MODELS = range(3)
"""The models by number: the old file, the new one, and that of a second process that writes."""
WIDTH = 96


class Writer(NamedTuple):
    """`write` writes the model of a number with the files of `made` into the folder `out`; arguments are those of a command.

    Files of a set change as a whole; others that are written together are replaced one after the other.
    """

    name: str
    write: list[str] | Callable[[Path, Path, int], object]
    is_set: bool = False
    is_apart: bool = False

    def action(self, made: Path, out: Path, number: int) -> list[str] | Callable[[], object]:
        """Return the arguments of the command, or a function, that writes the model of this number."""
        if callable(self.write):
            return partial(self.write, made, out, number)
        return [word.format(made=made, out=out, n=number) for word in self.write]


def _convert(out: str, source: str = "{n}.npz", *options: str) -> list[str]:
    return ["convert", f"{{made}}/{source}", f"{{out}}/{out}", *options]


def _plan(made: Path, out: Path, number: int) -> None:
    plan_transfer(made / f"{number}.npz", into=made / "base.npz", only=[f"fc{number}"]).save(out / "plan.json")


def _adapter(made: Path, out: Path, number: int) -> None:
    before, after = (steelyard.weights(made / f"{name}.npz").select("*.weight") for name in ("base", number))
    steelyard.extract_adapter(before, after, rank=4, out=out)


def _events(made: Path, out: Path, number: int) -> None:
    steelyard.history(made / f"{number}.npz").to_tensorboard(out)


def _forward(suffix: str, made: Path, out: Path, number: int) -> None:
    path = str(out / f"net.{suffix}")
    write(_planned(f"{made}/{number}.keras", path), path)


@cache
def _planned(source: str, path: str) -> Export:
    """Return a forward pass with its proof, which every fork then has: only what is written is disturbed."""
    return plan_forward(source, steelyard.weights(source), path, Options(text=""), Choices(), Examples())


PLAIN = ("gguf", "h5", "msgpack", "npz", "pt", "rds", "safetensors")
"""Suffixes of files for weights of any model."""
WRITERS = [
    *(Writer(f"convert {suffix}", _convert(f"net.{suffix}")) for suffix in PLAIN),
    Writer("convert npy", _convert("net.npy", "{n}.npy")),
    Writer("convert raw", _convert("net.raw"), is_set=True),
    Writer("convert shards", _convert("net.safetensors", "{n}.npz", "--shard-size", "40KB"), is_set=True),
    Writer("convert tfjs", _convert("model.json", "{n}.npz", "--shard-size", "40KB"), is_set=True),
    Writer("convert tfjs like", _convert("model.json", "{n}.tfjs.npz", "--like", "{made}/tfjs/model.json"), is_set=True),
    Writer("convert gguf like", _convert("net.gguf", "{n}.npz", "--like", "{made}/base.gguf")),
    Writer("convert ctranslate2 like", _convert("model.bin", "{n}.ct2.npz", "--like", "{made}/ct2/model.bin")),
    Writer("convert dcp", _convert(".metadata", "{n}.npz", "--processes", "2"), is_set=True),
    Writer("convert orbax", _convert("net.orbax", "{n}.npz", "--processes", "2")),
    Writer("convert keras", _convert("net.keras", "{n}.keras")),
    Writer("convert weights.h5", _convert("net.weights.h5", "{n}.weights.h5")),
    Writer("convert onnx", _convert("net.onnx", "{n}.onnx.npz", "--like", "{made}/net.onnx")),
    Writer("convert onnx with external data", _convert("net.onnx", "{n}.onnx.npz", "--like", "{made}/external/net.onnx")),
    Writer("convert R fit", _convert("fit.rds", "{n}.rds.npz", "--like", "{made}/fit.rds")),
    Writer("vector", ["vector", "{made}/{n}.npz", "-o", "{out}/v.npy"]),
    Writer("transfer", ["transfer", "{made}/{n}.npz", "--into", "{made}/base.npz", "-o", "{out}/net.npz"]),
    Writer("transfer plan", _plan),
    Writer("stats csv", ["stats", "{made}/{n}.npz", "-o", "{out}/table.csv"]),
    Writer("stats json", ["stats", "{made}/{n}.npz", "-o", "{out}/table.json"]),
    Writer("size csv", ["size", "{made}/{n}.wide.npz", "-o", "{out}/table.csv"]),
    Writer("size json", ["size", "{made}/{n}.wide.npz", "-o", "{out}/table.json"]),
    Writer("grid csv", ["grid", "{made}/{n}.npz", "-o", "{out}/table.csv"]),
    Writer("grid json", ["grid", "{made}/{n}.npz", "-o", "{out}/table.json"]),
    Writer("diff csv", ["diff", "{made}/base.npz", "{made}/{n}.npz", "--atol", "1e9", "-o", "{out}/table.csv"]),
    Writer("spectra csv", ["spectra", "{made}/{n}.npz", "-o", "{out}/table.csv"]),
    Writer("layers csv", ["layers", "{made}/{n}.wide.npz", "-o", "{out}/table.csv"]),
    Writer("lineage csv", ["lineage", "{made}/{n}.npz", "{made}/base.npz", "-o", "{out}/table.csv"]),
    Writer("history csv", ["history", "{made}/{n}.npz", "-o", "{out}/table.csv"]),
    Writer("history json", ["history", "{made}/{n}.npz", "-o", "{out}/table.json"]),
    Writer("history tensorboard", _events),
    Writer("catalog", ["catalog", "{made}/{n}.npz", "-o", "{out}/catalog.parquet"]),
    Writer("pack", ["pack", "{made}/{n}.run", "-o", "{out}/run.zip"]),
    Writer("save-patch", ["save-patch", "{made}/base.npz", "{made}/{n}.npz", "-o", "{out}/p.safetensors"]),
    Writer("merge", ["merge", "{made}/{n}.npz", "-o", "{out}/net.npz"]),
    Writer("adapter", _adapter),
    Writer("average", ["average", "{made}/{n}.npz", "-o", "{out}/net.npz"]),
    Writer("prune", ["prune", "{made}/{n}.npz", "--amount", "0.5", "-o", "{out}/net.npz"]),
    Writer("factorize", ["factorize", "{made}/{n}.npz", "--rank", "8", "-o", "{out}/net.npz"]),
    Writer("quantize", ["quantize", "{made}/{n}.npz", "--to", "int8", "-o", "{out}/net.npz"]),
    Writer("quantize folder", ["quantize", "{made}/{n}.npz", "--to", "int8", "--like", "compressed-tensors", "-o", "{out}"]),
    Writer("apply-patch", ["apply-patch", "{made}/base.npz", "{made}/{n}.patch", "-o", "{out}/net.npz"]),
    *(
        Writer(f"plot {suffix}", ["plot", "{made}/{n}.npz", "-o", f"{{out}}/p.{suffix}", "--dpi", "30"])
        for suffix in ("png", "svg")
    ),
    *(
        Writer(f"export {suffix}", ["export", "{made}/{n}.npz", "-o", f"{{out}}/net.{suffix}"], is_apart=suffix in ("bin", "c"))
        for suffix in ("h", "c", "bin", "rs", "csv", "hpp", "ino", "json")
    ),
    *(Writer(f"export {suffix} forward", partial(_forward, suffix), is_apart=True) for suffix in ("c", "rs", "py")),
    Writer("export py with bin", ["export", "{made}/{n}.npz", "-o", "{out}/net.py", "--text", "bin"], is_apart=True),
    Writer("check baseline", ["check", "{made}/{n}.nan.npz", "--write-baseline", "{out}/baseline.json"]),
    Writer("check sarif", ["check", "{made}/{n}.note.safetensors", "--sarif", "{out}/check.sarif"]),
    Writer("check bom", ["check", "{made}/{n}.npz", "--bom", "{out}/bom.json"]),
    Writer("report", ["report", "{made}/{n}.npz", "-o", "{out}/report.html"]),
]
"""A table as Parquet is left out: it takes the way of the others, and polars does not survive a fork."""


def make(folder: Path) -> None:
    """Make the files that the writers read."""
    rng = np.random.default_rng(0)
    sides = [(WIDTH, 60), (100, WIDTH), (90, 100)]
    shapes = {f"fc{n}.{kind}": s for n, side in enumerate(sides) for kind, s in (("weight", side), ("bias", side[:1]))}
    steelyard.save({name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}, folder / "base.npz")
    steelyard.save(folder / "base.npz", folder / "base.gguf")
    golden = carried.folder("golden")
    shutil.copy(golden / "r_nnet_skip" / "model.rds", folder / "fit.rds")
    shutil.copy(golden / "conv2d_dilated" / "model.onnx", folder / "net.onnx")
    _externalise(folder / "net.onnx", folder / "external")
    shutil.copytree(carried.folder("tfjs") / "layers", folder / "tfjs")
    (folder / "ct2").mkdir()
    (folder / "ct2" / "model.bin").write_bytes(_ctranslate2(rng.standard_normal((WIDTH, WIDTH)).astype("f4")))
    models = {".ct2.npz": folder / "ct2" / "model.bin"} | {
        ".tfjs.npz": folder / "tfjs" / "model.json",
        ".npz": folder / "base.npz",
        ".onnx.npz": folder / "net.onnx",
        ".rds.npz": folder / "fit.rds",
    }
    models |= {f".{suffix}": golden / "r_nnet_skip" / f"keras.{suffix}" for suffix in ("keras", "weights.h5")}
    for suffix, path in models.items():
        model = steelyard.weights(path)
        for number in MODELS:
            filled = model.from_vector(rng.standard_normal(model.size))
            steelyard.save(dict(filled) if suffix.endswith(".npz") else filled, folder / f"{number}{suffix}")
    for number in MODELS:
        steelyard.save({"w": rng.standard_normal((WIDTH, WIDTH))}, folder / f"{number}.npy")
        steelyard.save_patch(folder / "base.npz", folder / f"{number}.npz", folder / f"{number}.safetensors")
        (folder / f"{number}.safetensors").rename(folder / f"{number}.patch")
        with steelyard.record(folder / f"{number}.run", snapshot=1) as rec:
            rec(1, {"w": rng.standard_normal((WIDTH, WIDTH))})
        np.savez(folder / f"{number}.nan.npz", w=np.array([np.nan, number]))
        np.savez(folder / f"{number}.wide.npz", w=np.ones((3, 2 + number)))
        noted = {"note": "import os; os.system('ls')"}  # which is a remark, so the status is 0
        save_file({"w": np.ones(3, "f4")}, folder / f"{number}.note.safetensors", metadata=noted)


def _ctranslate2(array: np.ndarray) -> bytes:
    """Return a model of CTranslate2 with one variable."""
    head = struct.pack("<IH5sII", 6, 5, b"Spec\0", 1, 1) + struct.pack("<H2sB2I", 2, b"w\0", 2, *array.shape)
    return head + struct.pack("<BI", 0, array.nbytes) + array.tobytes() + struct.pack("<I", 0)


def draw_quickly() -> None:
    """Let the command `plot` draw a bare curve in place of an overview; how it writes a picture is the same."""
    from matplotlib import pyplot as plt

    def overview(weights: Weights) -> Axes:
        ax = plt.figure(figsize=(2, 2)).add_axes((0, 0, 1, 1))
        ax.plot(weights.to_vector()[:500])
        ax.set_axis_off()
        return ax

    plot.overview = overview


def _externalise(path: Path, folder: Path) -> None:
    """Write an ONNX model again with all of its numbers in a file beside it."""
    import onnx

    folder.mkdir()
    model = onnx.load(path)
    onnx.save(model, folder / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
