"""Whole commands on changed files of every format: they read or refuse each in one line, and do nothing else.

scripts/fuzz takes minutes a target; here are a few mutants of each, always the same, and all files that once broke a command.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import carried
import pytest

import steelyard
from steelyard.core import plugins
from steelyard.errors import FormatError, SteelyardError, UnreadableError
from steelyard.formats import format_of, weights_in
from steelyard.storage.source import open_path

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import forks
import run
import targets
import trial


def run_fuzzer(*args, script=run.__file__):
    """Run the fuzzer in a process without frameworks, which forks quickly; return what it found."""
    command, env = [sys.executable, script, *args], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_all_commands_read_or_refuse_changed_files_of_every_target(tmp_path):
    assert not run_fuzzer("--mutants", "4", "--seed", "1", "--found", tmp_path)


def test_all_commands_read_or_refuse_what_once_broke_one():
    assert not run_fuzzer("--again", carried.DATA / "findings")


def test_every_format_has_a_target_whose_first_seeds_it_reads(tmp_path):
    formats = {name.partition("-")[0] for name in targets.TARGETS}
    assert formats == set(plugins.names("formats"))
    for name in targets.TARGETS:
        seed = targets.seeds(name)[0]
        source = open_path(run.sample(name, tmp_path / name))
        assert format_of(source).__name__.endswith(f".{name.partition('-')[0]}"), seed.opened
        assert len(weights_in(source, "all")), name


FEW = {"MEMORY": 10, "MEMORY_PER_BYTE": 0}
FEW_OF = {"numpy": {"NPY_HEADER": 10}, "flax": {"RECURSION": 0}, "word2vec": {"TEXT": -(1 << 20)}}
"""Other limits for readers to which a small file costs no memory."""


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_limits_of_a_file_reach_the_reader_of_every_format(name, tmp_path):
    path, few = run.sample(name, tmp_path), FEW_OF.get(name, FEW)
    with pytest.raises(
        (FormatError, UnreadableError), match=r"(bytes of memory.*refused|that are allowed|levels deep|does not end)"
    ):
        steelyard.weights(path, limits=few).to_vector()
    with steelyard.limits.allow(**few):
        assert len(steelyard.weights(path, limits={"RECURSION": 64} if name == "flax" else "none"))


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_good_share_of_the_mutants_comes_past_the_checks(name, tmp_path):
    read, rounds = 0, 20
    for number, (mutant, _) in zip(range(rounds), run.mutants(name, 1), strict=False):
        try:
            read += len(weights_in(open_path(run.written(mutant, tmp_path / f"{number}")), "all")) > 0
        except SteelyardError:
            continue
    assert 0 < read < rounds


def test_a_mutant_depends_on_the_seed_only():
    def first(seed):
        return [mutant for (mutant, _), _ in zip(run.mutants("torch", seed), range(5), strict=False)]

    assert first(1) == first(1) != first(2)


def wrong_of(monkeypatch, tmp_path, main):
    """Run a trial in which `main` is every command; return its faults."""
    monkeypatch.setattr(trial, "main", main)
    (tmp_path / "sample").write_bytes(b"x")
    return trial.attempt({"a.npy": b"x", "b.npy": b"y"}, "a.npy", str(tmp_path / "sample"), 0).wrong


def refuse(argv):
    sys.stderr.write("error: a.npy: is not a file of weights\n")
    return 2


def test_a_command_that_refuses_in_one_line_has_no_fault(monkeypatch, tmp_path):
    assert not wrong_of(monkeypatch, tmp_path, refuse)


def spin():
    signal.setitimer(signal.ITIMER_PROF, 0.1)  # what is left of the seconds that a command has
    while True:
        pass


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (lambda: {}[1], "traceback: KeyError"),
        (lambda: sys.exit(2), "traceback: SystemExit"),
        (spin, "takes more than"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended by -9"),
        (lambda: open("/etc/hostname").close(), "/etc/hostname, which is outside"),
        (lambda: open("../outside", "w").close(), "which is outside"),
        (lambda: open("in/b.npy", "w").close(), "commands changed the files"),
        (lambda: open("out/.partial", "w").close(), "failed, but left ['.partial']"),
        (lambda: __import__("socket").create_connection(("127.0.0.1", 9)), "socket."),
        (lambda: __import__("subprocess").run(["true"]), "subprocess.Popen"),
        (lambda: __import__("pickle").loads(b"cos\nsystem\n."), "pickle.find_class"),
        (lambda: sys.audit("import", "torch", None, None, None, None), "imports torch"),
        (lambda: sys.stderr.write("error: twice\n"), "with 2 lines of errors"),
        (lambda: sys.stderr.write("steelyard gave up\n"), "neither an error nor a warning"),
        (lambda: sys.stderr.write("error: KeyError: 'w'\n"), "unclear error"),
        (lambda: sys.stdout.write("\x1b[2J"), "prints '\\x1b'"),
        (lambda: sys.stdout.write("x" * 200_000), "floods"),
    ],
)
def test_the_trial_sees_what_a_command_does_wrong(monkeypatch, tmp_path, act, fault):
    def main(argv):
        if argv[0] == "transfer":
            act()
        return refuse(argv)

    assert fault in "\n".join(wrong_of(monkeypatch, tmp_path, main))


def test_the_trial_sees_a_status_without_an_error_and_numbers_that_nobody_wrote(monkeypatch, tmp_path):
    assert "exit status 2 with 0 lines" in "\n".join(wrong_of(monkeypatch, tmp_path, lambda argv: 2))

    def shows_memory(argv):
        import numpy as np

        sys.stdout.write(np.empty(5000, "u1").tobytes().hex() if argv[0] == "digest" else "{}")
        return 0

    wrong = wrong_of(monkeypatch, tmp_path, shows_memory)
    assert "digest: differs between two runs" in wrong
    assert any("ls: prints JSON that cannot be read" in each for each in wrong)
    assert any("convert: succeeded, but left []" in each for each in wrong)


def test_changed_files_of_hdf5_show_no_number_that_nobody_wrote(tmp_path):
    assert not run_fuzzer("--mutants", "40", "--found", tmp_path, script=run.__file__.replace("run.py", "twice.py"))


def test_changed_runs_archives_journals_and_catalogues_are_read_or_refused():
    assert not run_fuzzer("--mutants", "4", script=run.__file__.replace("run.py", "others.py"))


@pytest.mark.parametrize(
    ("act", "fault"),
    [
        (lambda: {}[1], "traceback: KeyError"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "ended by -9"),
        (lambda: (signal.setitimer(signal.ITIMER_PROF, 1e-6) and 0) or any(iter(int, 1)), "ended by -27"),
    ],
)
def test_a_fork_says_how_the_reading_of_each_file_ended(act, fault):
    def read(path):
        return ("read", []) if path != "bad" else (act(), [])

    one, bad, other = forks.look(["good", "bad", "good"], read)
    assert one.how == other.how == "read"
    assert not one.wrong + other.wrong
    assert any(fault in each for each in bad.wrong)


GREEDY = """
import sys, tempfile
import forks, trial

def take(argv):
    return len(bytearray(b"1") * (1 << 30)) * 0

trial.main = take
with tempfile.NamedTemporaryFile() as sample:
    print(*trial.attempt({"a.npy": b"x", "b.npy": b"y"}, "a.npy", sample.name, 0).wrong)
print(*[each.wrong for each in forks.look(["greedy"], lambda path: ("read", [take([])]))])
"""
"""In a process of its own: how much memory one has whose frameworks the system may take away and bring back is not known."""


def test_a_trial_and_a_fork_see_that_too_much_memory_is_taken():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run([sys.executable, "-c", GREEDY], env=env, capture_output=True, text=True, check=True).stdout
    of_trial, of_fork = said.splitlines()
    assert re.search("takes [0-9]+ MiB", of_trial)
    assert re.search("takes [0-9]+ MB", of_fork)


def test_memory_that_nobody_wrote_differs_between_two_readings(monkeypatch, tmp_path):
    import numpy as np
    import twice

    name, data = twice.sources()[0]
    (tmp_path / name).write_bytes(data)
    monkeypatch.setattr(np, "empty", np.empty)  # and back
    assert twice.read_twice(str(tmp_path / name)) == ("read", [])
    monkeypatch.setattr(twice, "told", lambda path, scope="all": [("w", "u1", (9,), np.empty(9, "u1").tobytes().hex())])
    assert twice.read_twice(str(tmp_path / name)) == ("read", ["the two readings differ"])
