"""Every command where streams are closed, full or broken, Ctrl-C is pressed, or a path is not a readable file: a line, no traceback."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from commands import surroundings

from steelyard.running import INTERRUPTED, PIPE_CLOSED

ROOT = Path(__file__).parents[2]
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f\u202e]")
ENDS = {"stdout closed": {2}, "all closed": {2}, "stdout broken": {2, PIPE_CLOSED}, "interrupt": {2, INTERRUPTED}}
"""The exit statuses that a stream causes; a command that fails anyway ends with 2."""
FOUND = {0, 1, 2, 3}


def misdeeds(seen):
    """Yield what a command did wrong."""
    if seen["ended"]:
        yield f"ended with {seen['ended']}"
        return
    if seen["late"] or "Traceback" in f"{seen['status']}{seen['out']}{seen['err']}":
        yield f"shows a traceback: {seen['status']} {seen['late']}"
    if seen["status"] not in ENDS.get(seen["stream"], FOUND):
        yield f"ended with the status {seen['status']}"
    if CONTROL.search(seen["out"] + seen["err"]):
        yield "prints a control character"
    errors = [line for line in seen["err"].splitlines() if line.startswith("error: ")]
    if len(errors) > 1 or (seen["err"] and not errors and seen["status"] == 2 and "usage: " not in seen["err"]):
        yield f"says {seen['err']!r}"
    if "error: " in seen["out"].splitlines()[:1]:
        yield "prints an error to the standard output"


def test_no_command_shows_a_traceback_or_a_control_character_in_bad_surroundings(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
    command = [sys.executable, surroundings.__file__, str(tmp_path)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout)
    assert len(found) > 300
    wrong = {
        f"{' '.join(seen['argv'])} with {seen['stream'] or 'its streams'}": bad for seen in found if (bad := list(misdeeds(seen)))
    }
    assert not wrong
    ends = Counter((seen["stream"], seen["status"]) for seen in found)
    assert min(ends["stdout broken", PIPE_CLOSED], ends["interrupt", INTERRUPTED], ends["stdout full", 2]) > 12, ends


@pytest.mark.parametrize(
    "change", [{"ended": -14}, {"status": "Traceback"}, {"late": "OSError"}, {"out": "\x1b[31m"}, {"err": "oh"}]
)
def test_the_judge_sees_what_a_command_does_wrong(change):
    good = {"argv": ["ls", "x"], "stream": "", "ended": 0, "status": 2, "out": "", "err": "error: x: No such file\n", "late": ""}
    assert not list(misdeeds(good))
    assert list(misdeeds({**good, **change}))


def test_importing_the_package_imports_no_module_of_it_so_that_ctrl_c_at_the_start_shows_no_traceback():
    program = "import sys, steelyard; print([name for name in sys.modules if name == 'typing' or name.startswith('steelyard.')]); steelyard.weights"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
