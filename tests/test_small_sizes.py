"""The tests nearest to the numbers once more, with all sizes set to a few elements: code that else starts above a million."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
READING = [
    *(f"tests/core/test_{part}.py" for part in ("weights", "casting", "axes", "indexing", "readers")),
    *("tests/numerics", "tests/storage/test_readahead.py"),
]
WRITING = [
    *("tests/storage/test_atomic.py", "tests/storage/test_atomic_set.py", "tests/storage/test_source.py"),
    *("tests/formats/test_safetensors.py", "tests/formats/test_numpy.py", "tests/formats/test_sharded.py"),
    *(f"tests/formats/torch/test_reading.py::{test}" for test in (
        "test_a_written_file_loads_in_torch_with_weights_only", "test_views_keep_their_numbers_and_ties",
    )),
]  # fmt: skip
TRANSFERS = [
    *(f"tests/transfers/{part}.py" for part in ("test_assembly", "test_planning", "test_rules", "pairing/test_moves")),
    *(f"tests/transfers/test_transfer.py::{test}" for test in (
        "test_pairs_name_the_partner_of_a_layer_or_of_a_weight", "test_a_backbone_goes_into_a_part_of_a_model",
        "test_sizes_change_only_on_request", "test_a_target_file_gives_weights_to_save",
        "test_a_plan_lays_the_source_out_as_the_target_in_the_types_of_the_source",
        "test_a_plan_lays_the_sum_of_two_biases_out_in_float64_and_in_blocks",
    )),
]  # fmt: skip

TOO_LARGE = "not (all_differ and 1024) and not a_window_of_a_file"
"""Arrays of many blocks of millions of numbers, of which the same tests have smaller ones of as many kinds."""


@pytest.mark.parametrize("again", [READING, WRITING, TRANSFERS], ids=["reading", "writing", "transfers"])
def test_what_is_read_and_written_in_blocks_is_the_same_in_blocks_of_a_few_elements(again):
    paths = os.pathsep.join(str(ROOT / folder) for folder in ("src", "tests"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "small_sizes", "-k", TOO_LARGE, *again]
    run = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
