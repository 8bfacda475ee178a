"""How long the command takes to print its first line, compared with bare Python: python benchmarks/startup.py"""

import json
import tempfile
from pathlib import Path

from timing import best, peak_memory, process, report


def sparse_file(path, gigabytes=2.0, tensors=196):
    """A valid .safetensors file whose numbers take no place on the disk: listing must not read them anyway."""
    length = int(gigabytes * 1e9 / tensors / 4)
    header = {
        f"h.{i}.weight": {"dtype": "F32", "shape": [length], "data_offsets": [i * length * 4, (i + 1) * length * 4]}
        for i in range(tensors)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + tensors * length * 4)


def main():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.safetensors"
        sparse_file(path)
        listing = ("-m", "steelyard", "ls", str(path))
        spent = best(
            {"python": process("-c", ""), "import": process("-c", "import steelyard"), "ls": process(*listing)}, rounds=15
        )
        report("import steelyard, over bare Python", (spent["import"] - spent["python"]) * 1e3, 25, "ms", least=False)
        report(
            "steelyard ls of 2 GB .safetensors, over bare Python", (spent["ls"] - spent["python"]) * 1e3, 30, "ms", least=False
        )
        report("steelyard ls of 2 GB .safetensors, resident", peak_memory(*listing), 20, "MiB", least=False)


if __name__ == "__main__":
    main()
