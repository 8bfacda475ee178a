"""What the tests share: which of them can run here, and small data to train on."""

import atexit
import os
import shutil
import sys
import tempfile

import pytest
from carried import OUTSIDE, SHARED
from hypothesis import HealthCheck, settings
from small_sizes import SMALL

from steelyard import sizes

# Small nets run for milliseconds and compile for seconds, so XLA compiles them in half the time, and less well.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

settings.register_profile("without a clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("without a clock")  # a busy machine must not fail a test

collect_ignore = ["data"]  # the scripts there import what made the data, and have no tests
LEFT_OUT = pytest.StashKey[int]()
COMPILED = pytest.StashKey[str]()
READING = {"open", "os.listdir", "os.scandir"}
UNMARKED = []
"""The test that runs now, if it has no mark `shared`, and after it the files of third parties that it reads all the same."""


def pytest_configure(config):
    """Refuse to run in CI without the files of third parties, since tests would be left out in silence."""
    config.addinivalue_line("markers", "shared: reads files of third parties that are not part of the project")
    config.stash[LEFT_OUT] = 0
    sys.addaudithook(_note)
    if os.environ.get("CI") == "true" and not OUTSIDE.is_dir():
        raise pytest.UsageError(f"{OUTSIDE} is missing, which CI must have; STEELYARD_SHARED names the folder above corpus/")


def pytest_collection_modifyitems(config, items):
    """Leave out the tests over files of third parties where these are not."""
    if OUTSIDE.is_dir():
        return
    out = [item for item in items if item.get_closest_marker("shared")]
    items[:] = [item for item in items if not item.get_closest_marker("shared")]
    config.hook.pytest_deselected(items=out)
    config.stash[LEFT_OUT] = len(out)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = len(out)


def _note(event, args, reading=READING, unmarked=UNMARKED, folder=str(SHARED)):  # defaults, since at the exit no globals are left
    """Note what an unmarked test reads of third parties, but for modules, in whose sources Hypothesis seeks numbers to try."""
    if event in reading and unmarked and isinstance(args[0], str) and args[0].startswith(folder) and not args[0].endswith(".py"):
        unmarked.append(args[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    """Watch what a test without the mark `shared` reads."""
    UNMARKED[:] = [] if item.get_closest_marker("shared") else [item.nodeid]
    try:
        return (yield)
    finally:
        UNMARKED.clear()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Fail a test that would fail in a clone with nothing beside it, where it is not left out."""
    if read := UNMARKED[1:]:
        pytest.fail(f"reads {read[0]}, which is not part of the project, and has no mark `shared`")


def pytest_runtest_setup(item):
    """Let JAX keep what it compiles, once a test has imported it: most nets of the tests run what another has run.

    Each process has a folder of its own, since JAX does not write its files whole or not at all.
    """
    if COMPILED in item.config.stash or not hasattr(sys.modules.get("jax"), "jit"):
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    folder = item.config.stash[COMPILED] = tempfile.mkdtemp(prefix="steelyard-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()
    compilation_cache.set_cache_dir(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Take over from a worker of xdist how many tests it left out; every worker leaves out the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter, config):
    """Report how many tests were left out, and why."""
    if count := config.stash[LEFT_OUT]:
        terminalreporter.write_line(f"{count} tests left out: they read files of third parties, and {OUTSIDE} is missing")


@pytest.fixture(scope="session")
def digits():
    """The handwritten digits that scikit-learn ships: 400 rows of 64 pixels in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:400] / 16.0).astype("float32"), y[:400].astype("int64")


@pytest.fixture
def small_sizes(monkeypatch):
    """Read, copy and sum up a few elements at a time, so that small arrays take the paths of large ones."""
    for name, size in SMALL.items():
        monkeypatch.setattr(sizes, name, size)
