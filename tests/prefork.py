"""A Python that has imported Steelyard, and runs each command in a fork of itself: starting one takes longer than most files.

It reads a request a line, {"argv", "cwd", "env", "stdout", "stderr"}, where `argv` is what follows `python`: "-c" or "-m" with
its arguments. It answers with the process of the fork, and with its exit status when it has ended.
"""

import contextlib
import gc
import io
import json
import os
import resource
import runpy
import sys
import tempfile
import traceback
from importlib import import_module
from pkgutil import iter_modules

import numpy as np

import steelyard.cli
import steelyard.formats

OUTPUT = 1 << 30  # bytes that a command may write into one file


def serve():
    for each in iter_modules(steelyard.formats.__path__, "steelyard.formats."):
        import_module(each.name)
    warm()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy every page
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(status_of(json.loads(line)))
        answer(child)
        answer(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def warm():
    """Run commands on a sound file, so that no fork imports and computes again what each first run does."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/net.npz", w=np.ones((2, 3), "f4"))
        for argv in (["ls"], ["ls", "--scope", "all"], ["check", "--json"], ["convert", f"{folder}/net.h5"], ["ls", "missing"]):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                steelyard.cli.main([argv[0], f"{folder}/net.npz", *argv[1:]])


def answer(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def status_of(request):
    """Run a command as a process of its own would, and return its exit status."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT, OUTPUT))
    for stream, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), stream)
    os.chdir(request["cwd"])
    os.environ.update(request["env"])
    try:
        run(request["argv"])
    except SystemExit as end:
        return exit_status(end.code)
    except BaseException:
        traceback.print_exc()
        return 1
    else:
        return 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def run(argv):
    if argv[0] == "-m":
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *argv[2:]]
        exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})


def exit_status(code):
    """Return the status of `sys.exit(code)`, which prints a text."""
    if code is None or isinstance(code, int):
        return (code or 0) & 255
    sys.stderr.write(f"{code}\n")
    return 1


if __name__ == "__main__":
    serve()
