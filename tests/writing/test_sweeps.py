"""Every writer, at every step: kills, a full disk and a second process leave the old file or a whole new one.

`writers.py` lists the writers, `sweeping.py` makes the accidents.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from writing import sweeping, writers
from writing.samples import ENV, ROOT

from steelyard.cli import COMMANDS, command
from steelyard.core import plugins

SOURCE = ROOT / "src" / "steelyard"
ATOMIC = {"storage/atomic.py", "storage/atomic_folder.py", "storage/atomic_set.py"}
NOT_INTO_A_PATH = {
    ("codecs/hdf5/writing.py", "File"): "h5py writes into the open file of `replacing`",
    ("codecs/torch/writing.py", "ZipFile"): "into the open file of `replacing`",
    ("codecs/torch/writing.py", "open"): "a member of that archive",
    ("editing/merging/extracting.py", "makedirs"): "the folder of an adapter",
    ("engines/journal.py", "open"): "lines that are added to a journal, of which a torn one is passed over",
    ("formats/keras.py", "TemporaryFile"): "a file without a name",
    ("formats/keras.py", "ZipFile"): "into the open file of `replacing`",
    ("formats/keras.py", "open"): "a member of that archive",
    ("formats/numpy.py", "ZipFile"): "into the open file of `replacing`",
    ("formats/numpy.py", "open"): "a member of that archive",
    ("io.py", "makedirs"): "the folder of a model",
    ("inspector/server.py", "TemporaryDirectory"): "the page that hides the token from the list of processes",
    ("inspector/server.py", "touch"): "the page that hides the token from the list of processes",
    ("inspector/server.py", "write_text"): "the page that hides the token from the list of processes",
    ("formats/dcp/writing.py", "mkdir"): "the new folder of a checkpoint, which is none without its .metadata",
    ("formats/orbax/writing.py", "mkdir"): "the folders of arrays in the hidden one of `replacing_folder`",
    ("formats/onnx/__init__.py", "mkdir"): "the folder of external data, which the model names",
    ("running.py", "open"): "the null device",
    ("runs/appending.py", "makedirs"): "the folder of a run, and that of its snapshots",
    ("runs/appending.py", "open"): "records of a run, of which the line of the journal is the commit, and its lock",
    ("runs/archives.py", "ZipFile"): "into the open file of `replacing`",
    ("runs/archives.py", "mkdir"): "the new folder of an unpacked run",
    ("runs/archives.py", "open"): "a member of that archive",
    ("runs/archives.py", "rename"): "that folder, when it is complete",
    ("runs/callbacks.py", "makedirs"): "the folder of the runs of a search",
    ("runs/callbacks.py", "mkdir"): "the folder of one of them",
    ("runs/packing.py", "memmap"): "it only reads",
    ("runs/store.py", "memmap"): "it only reads",
    ("runs/tensorboard.py", "makedirs"): "the folder of event files",
    ("runs/zarr.py", "makedirs"): "the new folder of a group, whose zarr.json is written last",
    ("storage/remote/spool.py", "TemporaryFile"): "a file without a name",
    ("testing.py", "TemporaryDirectory"): "the folder in which a format of a plug-in is tried",
}
"""Calls that write elsewhere than by `replacing`, and why they may: module and function."""
KILLED_ELSEWHERE = {"steelyard.runs.appending", "steelyard.runs.zarr"}
"""What replaces a file as a part of a run, whose journal has times: `tests/runs/test_killing.py` kills its recorder at any point;
and the files of a new folder, which is no group without its last file, as `tests/runs/test_exports.py` proves."""
MAKING = {"write_text", "write_bytes", "touch", "mkdir", "makedirs", "mkstemp", "mkdtemp", "TemporaryFile", "NamedTemporaryFile"}
MAKING |= {"TemporaryDirectory", "SpooledTemporaryFile", "memmap", "tofile", "savez", "symlink_to", "hardlink_to"}
OF_OS = {"rename", "replace", "link", "symlink", "truncate", "sendfile", "copyfile", "copytree", "move"}
"""Functions of `os` or `shutil`; methods of texts and weights have the same names."""
OPENING = {"open", "File", "ZipFile", "fdopen"}
WRITING = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND"}


def calls_of(path):
    """Yield the name and the node of every call in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def writes(name, node):
    """Return whether a call may make or change a file."""
    if name in OF_OS:
        return isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in ("os", "shutil")
    if name not in OPENING:
        return name in MAKING
    arguments = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
    modes = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    flags = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    return bool(flags & WRITING) or any(set(mode) & set("wax+") and set(mode) <= set("rwaxbt+") for mode in modes)


def test_no_module_writes_a_file_but_by_replacing_one():
    found = {
        (relative, name)
        for path in SOURCE.rglob("*.py")
        if (relative := path.relative_to(SOURCE).as_posix()) not in ATOMIC
        for name, node in calls_of(path)
        if writes(name, node)
    }
    assert found == set(NOT_INTO_A_PATH)


def test_every_command_that_writes_and_every_format_that_writes_is_swept():
    swept = {writer.write[0] for writer in writers.WRITERS if isinstance(writer.write, list)}
    assert {name for name in COMMANDS if has_output(name)} == swept
    words = [Path(word) for each in writers.WRITERS if isinstance(each.write, list) for word in each.write]
    suffixes = {name for word in words for name in ("".join(word.suffixes), word.name)}
    for name in plugins.names("formats"):
        module = plugins.load("formats", name)
        if hasattr(module, "write"):
            assert name == "sharded" or suffixes & set(module.SUFFIXES), f"no writer of {name} is in the table"


def has_output(name):
    parser = argparse.ArgumentParser()
    command(name).arguments(parser)
    return any(action.dest in ("out", "sarif", "bom", "write_baseline") for action in parser._actions)


def test_whatever_happens_at_any_step_each_writer_leaves_the_old_file_or_a_whole_new_one(record_property):
    """Old and new are compared by their bytes. How often each side of the replacement was hit goes into the report of pytest."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    env = {**ENV, "PYTHONPATH": paths, "MPLBACKEND": "agg"}
    run = subprocess.run([sys.executable, sweeping.__file__], env=env, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = json.loads(run.stdout)
    assert not {name: each["error"] for name, each in found.items() if "error" in each}
    assert list(found) == [writer.name for writer in writers.WRITERS]
    for name, each in found.items():
        kills, pairs = each["kills"], each["pairs"]
        assert kills["before"] >= 5, name
        assert kills["after"] >= 2, name
        assert each["full"]["refused"] >= 3, name
        assert pairs["first"] + pairs["second"] == 4, name
        record_property(name, f"killed {kills['before']} times before the replacement and {kills['after']} times after it")
    reached = {module for each in found.values() for module in each["modules"]}
    assert reached == replacing_modules() - KILLED_ELSEWHERE, (
        "a module replaces a file and is not swept: add a writer to writers.py"
    )


def replacing_modules():
    paths = [path for path in SOURCE.rglob("*.py") if any(name == "replacing" for name, _ in calls_of(path))]
    return {
        f"steelyard.{path.relative_to(SOURCE).with_suffix('').as_posix().replace('/', '.').removesuffix('.__init__')}"
        for path in paths
    }
