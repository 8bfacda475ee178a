"""Fuzz one target, guided by coverage: python fuzz/run.py TARGET [options of libFuzzer]"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["steelyard"]):
    import targets

    from steelyard.core import plugins

    for name in plugins.names("formats"):
        plugins.load("formats", name)


def main():
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as corpus:
        for nth, data in enumerate(targets.seeds(name)):
            (Path(corpus) / f"{nth:04}").write_bytes(data)
        atheris.Setup(
            [sys.argv[0], corpus, "-max_len=65536", "-timeout=20", "-rss_limit_mb=3000", "-print_final_stats=1", *options],
            targets.TARGETS[name],
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
