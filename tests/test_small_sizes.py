"""The tests nearest to the numbers once more, with all sizes set to a few elements: code that else starts above a million."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AGAIN = ["tests/core/test_weights.py", "tests/core/test_casting.py", "tests/numerics", "tests/storage/test_readahead.py"]


def test_what_is_read_in_blocks_is_the_same_in_blocks_of_a_few_elements():
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "small_sizes", *AGAIN]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
