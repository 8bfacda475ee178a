"""The package in examples/plugin, installed by pip as a user would: its own tests pass, and commands find its files."""

import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"
SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder into which pip installed the example; it is built from a copy, since a build writes into its folder."""
    folder = tmp_path_factory.mktemp("plugin")
    copytree(EXAMPLE, folder / "copy")
    how = (
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--disable-pip-version-check",
        "--target",
        folder / "site",
    )
    subprocess.run([sys.executable, "-m", "pip", "install", *how, folder / "copy"], check=True)
    return folder / "site"


def said(installed, *arguments):
    """Return what a Python says that has the example, on a line of arguments."""
    settings = {**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{SOURCE}"}
    ended = subprocess.run([sys.executable, *map(str, arguments)], env=settings, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_its_own_tests_pass(installed, tmp_path):
    options = ("-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "-c", os.devnull)
    assert "7 passed" in said(installed, "-m", "pytest", *options, EXAMPLE / "test_plugin.py")


def test_commands_read_and_write_its_files_without_its_library(installed, tmp_path):
    make = "import abacus, steelyard, sys; steelyard.save(abacus.Net(4, 3, 2), sys.argv[1])"
    said(installed, "-c", make, tmp_path / "net.abacus")
    listed = said(installed, "-m", "steelyard", "ls", tmp_path / "net.abacus")
    assert "kernels.0" in listed
    assert "3" in listed
    said(installed, "-m", "steelyard", "convert", tmp_path / "net.abacus", tmp_path / "net.npz")
    said(installed, "-m", "steelyard", "convert", tmp_path / "net.npz", tmp_path / "back.abacus")
    assert (tmp_path / "back.abacus").read_bytes() == (tmp_path / "net.abacus").read_bytes()
    look = "import steelyard, sys; steelyard.weights(sys.argv[1])['biases.0'].numpy(); print('abacus' in sys.modules)"
    assert said(installed, "-c", look, tmp_path / "net.abacus") == "False\n"
