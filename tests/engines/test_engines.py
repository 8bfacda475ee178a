"""The seam: what every engine does with tasks that end, fail and die."""

from __future__ import annotations

import subprocess
import sys
from types import BuiltinFunctionType

import engine_tasks
import pytest

from steelyard.engines import Failure, engine_of, tried
from steelyard.errors import FormatError, MissingExtraError, ShapeError


def test_every_result_and_error_comes_with_the_place_of_its_task(engine):
    assert engine.workers == 2
    found = dict(engine.map_unordered(engine_tasks.square, iter(range(20))))
    error = found.pop(7)
    assert found == {n: n * n for n in range(20) if n != 7}
    assert error == Failure("ValueError", "seven\\u000a\\u001b[31m")


def test_tasks_are_read_no_further_ahead_than_the_window(started):
    taken = []

    def tasks():
        for number in range(50):
            taken.append(number)
            yield number

    found = started("threads").map_unordered(engine_tasks.fatal_once, ((n, "") for n in tasks() if n != 3), 5)
    next(found)
    assert len(taken) <= 7
    found.close()


def test_a_task_starts_no_threads_of_its_own(engine):
    assert [found for _, found in engine.map_unordered(engine_tasks.threads_inside, [0])] == [1]


def test_a_task_that_always_ends_its_process_is_a_failure_and_all_others_are_done(cluster):
    found = dict(cluster.map_unordered(engine_tasks.fatal, range(8)))
    assert isinstance(found[3], Failure)
    assert "ended the process" in found[3].text
    assert {n: each for n, each in found.items() if n != 3} == {n: n for n in range(8) if n != 3}


def test_a_task_whose_process_dies_once_is_done_by_another(cluster, tmp_path):
    tasks = [(n, str(tmp_path)) for n in range(8)]
    assert dict(cluster.map_unordered(engine_tasks.fatal_once, tasks)) == {n: n * n for n in range(8)}
    assert (tmp_path / "killed").exists()


def test_joblib_names_each_task_that_it_lost_with_a_process(started):
    found = dict(started("joblib").map_unordered(engine_tasks.fatal, range(30)))
    assert sorted(found) == list(range(30))
    assert "joblib lost a process" in found[3].text
    assert all(each == n or isinstance(each, Failure) for n, each in found.items())


def test_a_client_that_the_user_made_is_recognised_and_left_open(started):
    client = started("dask")._client
    with engine_of(client) as engine:
        assert dict(engine.map_unordered(engine_tasks.square, range(3))) == {0: 0, 1: 1, 2: 4}
    assert client.status == "running"
    with pytest.raises(ShapeError, match="has its workers"), engine_of(client, 2):
        pass


def test_joblib_uses_the_backend_that_is_active():
    from joblib import parallel_config

    with parallel_config("threading", n_jobs=3), engine_of("joblib") as engine:
        assert engine.workers == 3
        assert dict(engine.map_unordered(engine_tasks.square, range(3))) == {0: 0, 1: 1, 2: 4}


def test_an_engine_of_the_user_is_used_as_it_is():
    class Own:
        workers = 1

        def map_unordered(self, function, tasks, window=None):
            return ((place, tried(function, task)) for place, task in enumerate(tasks))

        def close(self):
            raise AssertionError

    with engine_of(Own()) as engine:
        assert list(engine.map_unordered(engine_tasks.square, [2])) == [(0, 4)]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (("spark",), "'spark' is not an engine; pass one of threads, dask, ray, joblib"),
        (("threads", 0), "at least 1"),
        ((None, None, "tcp://x:1"), 'pass engine="dask" or "ray"'),
        (("dask", 2, "tcp://x:1"), "has its workers already"),
    ],
)
def test_what_is_no_engine_is_refused_in_one_line(how, message):
    with pytest.raises(ShapeError, match=message), engine_of(*how):
        pass


@pytest.mark.parametrize(("word", "extra"), [("dask", "steelyard[dask]"), ("ray", "steelyard[ray]"), ("joblib", "joblib")])
def test_an_engine_that_is_not_installed_names_its_extra(word, extra, monkeypatch):
    for name in ("dask", "distributed", "ray", "joblib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError) as refused, engine_of(word):
        pass
    assert extra in str(refused.value)


def test_an_error_of_a_task_can_be_raised_again_in_its_own_class():
    error = tried(_damaged, None).error()
    assert type(error) is FormatError
    assert str(error) == "a.pt: is damaged"
    assert str(Failure("ZeroDivisionError", "by zero").error()) == "ZeroDivisionError: by zero"


def _damaged(_):
    raise FormatError("a.pt", "is damaged")


def test_importing_steelyard_and_using_threads_imports_no_engine():
    code = """
import sys, steelyard
from steelyard.engines import engine_of
with engine_of("threads") as engine:
    assert list(engine.map_unordered(abs, [-1])) == [(0, 1)]
print(sorted({"dask", "distributed", "ray", "joblib"} & set(sys.modules)))
"""
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_ray_that_is_started_here_leaves_pythons_print_as_it_is(started):
    started("ray")
    assert isinstance(print, BuiltinFunctionType)
