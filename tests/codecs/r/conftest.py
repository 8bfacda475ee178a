"""Fixtures for R's files: R itself, which must be installed, and the files that it wrote."""

import subprocess

import carried
import pytest


@pytest.fixture(scope="session")
def rscript():
    """Run code in R, in a folder, and return what it prints; a test that compares with R fails without R."""

    def run(code, folder):
        done = subprocess.run(
            ["Rscript", "--vanilla", "-e", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def fixtures():
    """The folder of files that R wrote, and of hostile ones."""
    return carried.folder("r")
