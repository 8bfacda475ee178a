"""Every command over hostile files: read or refused in one line, within 5 seconds and 300 MB, and nothing is left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import carried
import pytest
from commands import hostile

ROOT = Path(__file__).parents[2]
CASES = carried.SHARED / "cases" / "hostile"
OUTPUTS = {"convert": "out.npz", "transfer": "o.npz", "report": "r.html"}


def misdeeds(seen):
    """Yield what a command did wrong."""
    name = Path(seen["argv"][1]).name
    if seen["ended"] or seen["status"] not in (0, 1, 2, 3):
        yield f"ended with {seen['ended']}: {seen.get('status')}"
        return
    if seen["seconds"] > hostile.SECONDS or seen["memory"] > hostile.MEMORY:
        yield f"took {seen['seconds']:.1f} s and {seen['memory'] >> 20} MB"
    errors = [line for line in seen["err"].splitlines() if not line.startswith("warning: ")]
    found = seen["argv"][0] == "check" and seen["out"]  # findings, which are not errors of the command
    if seen["status"] == 2 and not found and not (len(errors) == 1 and errors[0].startswith("error: ") and len(errors[0]) > 20):
        yield f"says {seen['err']!r}"
    if seen["status"] != 2 and errors:
        yield f"succeeds and says {seen['err']!r}"
    command = seen["argv"][0]
    whole = {OUTPUTS[command]} if command in OUTPUTS and (seen["status"] == 0 or command == "report") else set()
    if not set(seen["left"]) <= whole or (seen["status"] == 0 and set(seen["left"]) != whole):
        yield f"left {seen['left']} of {name}"
    if "Traceback" in seen["out"] + seen["err"]:
        yield "shows a traceback"


def judged(files):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])}
    command = [sys.executable, hostile.__file__, *map(str, files)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert len(found) >= 10 * len(files)
    return {" ".join(seen["argv"]): bad for seen in found if (bad := list(misdeeds(seen)))}


def test_every_command_reads_or_refuses_files_made_to_harm_it(tmp_path):
    files = hostile.make(tmp_path)
    assert len(files) == 19
    assert not judged(files)


@pytest.mark.shared
def test_every_command_reads_or_refuses_the_hostile_files_of_others():
    files = [path for path in sorted(CASES.iterdir()) if path.is_file()]
    assert len(files) >= 23
    assert not judged(files)


def test_the_judge_sees_what_a_command_does_wrong():
    good = {"argv": ["ls", "x"], "ended": 0, "status": 0, "out": "", "err": "", "left": [], "seconds": 1, "memory": 1 << 20}
    assert not list(misdeeds(good))
    assert not list(misdeeds({**good, "status": 2, "err": "error: x.npz: is damaged at byte 7\n"}))
    wrong = [{"ended": -11}, {"status": "Traceback"}, {"seconds": 6}, {"memory": 301 << 20}, {"status": 2}, {"left": [".x.tmp"]}]
    wrong += [
        {"status": 2, "err": "error: a\nerror: b\n"},
        {"err": "Traceback (most recent call last)"},
        {"argv": ["convert", "x"]},
    ]
    assert all(list(misdeeds({**good, **each})) for each in wrong)
