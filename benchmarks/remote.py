"""What listing a file of each format at a URL asks a server for: python benchmarks/remote.py [MEBIBYTES]

A net of 400 tensors is written in each format and listed from a server on this machine, which counts requests and bytes. With
docs/remote.md as the second argument, the table there is replaced.
"""

import contextlib
import http.server
import pickle
import re
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np

import steelyard

COUNT = 400
PAGE = Path(__file__).parent.parent / "docs" / "remote.md"
BEGIN, END = "<!-- made by benchmarks/remote.py -->\n", "<!-- end -->"


def net(mebibytes):
    """Return 200 matrices and 200 biases of so many MiB together."""
    width = 256
    rows = int(mebibytes * (1 << 20) / 4 / (COUNT // 2) / width)
    random = np.random.default_rng(0)
    shapes = {"weight": (rows, width), "bias": (rows,)}
    return {f"layers.{at}.{name}": random.standard_normal(s, "float32") for at in range(COUNT // 2) for name, s in shapes.items()}


def files(folder, weights):
    """Write the net in each format, and yield the words for it and the path of what is listed."""
    for words, name in {
        "safetensors": "a.safetensors",
        "PyTorch": "a.pt",
        "GGUF": "a.gguf",
        "NumPy `.npz`": "a.npz",
        "raw numbers with a manifest": "a.raw.json",
        "R `.rds`, not compressed": "a.rds",
        "Flax MessagePack": "a.msgpack",
        "HDF5 of Keras": "a.h5",
    }.items():
        steelyard.save(weights, folder / name)
        yield words, folder / name
    steelyard.save(weights, folder / "s.safetensors", shard_size=sum(each.nbytes for each in weights.values()) // 8)
    yield "safetensors in 9 shards", folder / "s.safetensors.index.json"
    (folder / "a.pkl").write_bytes(pickle.dumps(weights))
    yield "a pickle of arrays", folder / "a.pkl"
    yield from of_onnx(folder, weights)


def of_onnx(folder, weights):
    import onnx
    from onnx import helper, numpy_helper

    tensors = [numpy_helper.from_array(each, name) for name, each in weights.items()]
    model = helper.make_model(helper.make_graph([], "net", [], [], tensors))
    onnx.save(model, folder / "inline.onnx")
    yield "ONNX", folder / "inline.onnx"
    onnx.save(model, folder / "outside.onnx", save_as_external_data=True, location="outside.data")
    yield "ONNX with external data", folder / "outside.onnx"


@contextlib.contextmanager
def served(folder):
    """Serve a folder; yields its address, and the list of the lengths of all ranges that are asked for."""
    lengths = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                lengths.append(0)
                self.send_error(404)
                return
            size = path.stat().st_size
            first, last = (int(each) for each in self.headers["Range"].removeprefix("bytes=").split("-"))
            length = min(last + 1, size) - first
            lengths.append(length)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + length - 1}/{size}")
            self.send_header("Content-Length", str(length))
            self.end_headers()
            with path.open("rb") as file:
                file.seek(first)
                self.wfile.write(file.read(length))

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", lengths
    server.shutdown()


def rows(mebibytes):
    with tempfile.TemporaryDirectory() as made, served(Path(made)) as (address, lengths):
        for words, path in files(Path(made), net(mebibytes)):
            lengths.clear()
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", steelyard.errors.RemoteWarning)
                listed = steelyard.weights(f"{address}/{path.name}")
            assert len(listed) == COUNT
            told = re.search(r"(about|up to) [\d,]+ requests", str(said[0].message)) if said else None
            yield words, len(lengths), sum(lengths), told[0] if told else ""


def main(arguments):
    mebibytes = float(arguments[0]) if arguments else 100
    lines = ["| format | requests | kB | what is said first |", "|---|---|---|---|"]
    for words, count, size, told in rows(mebibytes):
        lines.append(f"| {words} | {count:,} | {size / 1000:,.0f} | {told} |")
        print(lines[-1], flush=True)
    if len(arguments) > 1:
        text = PAGE.read_text()
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
