"""Nets in parts over 2 and 4 processes: FSDP, tensor parallelism, both, and DDP; and checkpoints that torch loads there.

`several.py` is what each process does; they are started once for each number, since starting takes most of the time.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from frameworks.torch import several

import steelyard


def started(folder, count):
    """Return what the first of so many processes printed, after all have ended well."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", several.__file__, str(folder)]
    running = [
        subprocess.Popen(
            [*command, str(number), str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        for number in range(count)
    ]
    ended = [each.communicate(timeout=400) for each in running]
    assert [each.returncode for each in running] == [0] * count, "\n".join(err[-2000:] for _, err in ended)
    return ast.literal_eval(ended[0][0])


@pytest.mark.parametrize("count", [2, 4])
def test_all_processes_read_and_write_a_net_in_parts_as_one_has_the_whole(tmp_path, count):
    for written in (1, 2, 4):
        steelyard.save(several.plain(), tmp_path / f"from{written}.dcp", processes=written)
    found = started(tmp_path, count)
    files = [f"__{number}_1.distcp" for number in range(count)]  # beside those that they replace
    if count == 2:
        assert found == {"fsdp": files, "columns": files}
    else:  # of the copies only the first writes
        assert found == {"fsdp": files, "columns": files, "hybrid": files[:2], "both": files}
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith(".")]
