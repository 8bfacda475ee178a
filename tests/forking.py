"""Runs a function in a fork of this process, which has no threads, with limits on what it may use."""

import gc
import json
import os
import re
import resource
import traceback
from pathlib import Path

FAILED = 99


def forked(work, seconds=60):
    """Run a function; return the exit status and the JSON that it returned, if it came so far.

    After `seconds` of CPU time the fork is killed.
    """
    reading, writing = os.pipe()
    gc.freeze()  # a collection in the fork would copy every page
    child = os.fork()
    if not child:
        status = FAILED
        try:
            os.close(reading)
            gc.disable()
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            os.write(writing, json.dumps(work()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), json.loads(answer) if answer else None


def largest():
    """Return the most bytes of memory that this process has had."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10
