"""Real processes that save: killed at a random moment, or two at one path."""

import random
import subprocess

import pytest
from waiting import until
from writing.samples import content, leftovers, saving, suffixes, target, weights

import steelyard

ROUNDS = 50
"""Times that a process is killed while it writes, over all formats together."""


@pytest.mark.parametrize("suffix", suffixes())
def test_a_kill_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path, suffix):
    path = target(tmp_path, suffix)
    steelyard.save(weights(0.0), path)
    seen, moments = set(), random.Random(suffix)
    # of a set the folder of new files, and the new index that was to name them; of .raw the numbers and their manifest
    most = 2 if suffix in (".dcp", ".index.json", ".raw", "model.json") else 1
    for _ in range(-(-ROUNDS // len(suffixes()))):
        process = saving(path)
        with pytest.raises(subprocess.TimeoutExpired):  # it saves on and on
            process.wait(moments.uniform(0, 0.08))
        process.kill()
        process.wait()
        seen.add(content(path))
        assert seen <= {0.0, 1.0, 2.0}
        assert len(leftovers(tmp_path)) <= most
    steelyard.save(weights(3.0), path)
    assert content(path) == 3.0
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("suffix", suffixes())
def test_two_processes_that_save_to_one_path_leave_one_whole_file(tmp_path, suffix):
    path = target(tmp_path, suffix)
    processes = [saving(path) for _ in range(2)]
    saved = set()

    def count():
        saved.add(path.stat().st_mtime_ns if path.exists() else 0)
        return len(saved)

    until(lambda: count() > 20)
    until(lambda: len(leftovers(tmp_path)) > 1)  # both write at this moment
    assert [process.poll() for process in processes] == [None, None], "one stopped because of the other"
    for process in processes:
        process.kill()
        process.wait()
    assert content(path) in (1.0, 2.0)
    steelyard.save(weights(3.0), path)
    assert not leftovers(tmp_path)
