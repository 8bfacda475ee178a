"""Long output on a terminal goes through a pager; colours are on, off or by the terminal."""

import shlex
import sys

import numpy as np
import pytest
from terminals import ESCAPE, in_terminal, run

RECORDER = (
    "import sys; data = sys.stdin.buffer.read(); open(sys.argv[1], 'wb').write(data); print('paged', len(data.splitlines()))"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a net of 40 weights, one of 2, and one like the first with other numbers."""
    made = tmp_path_factory.mktemp("paged")
    long = {f"layer{'x' * (nth % 7)}{nth}.weight": np.full((3, 2), nth, "f4") for nth in range(40)}
    np.savez(made / "long.npz", **long)
    np.savez(made / "short.npz", a=np.ones(2), b=np.ones(2))
    np.savez(made / "other.npz", **{name: array + 1 for name, array in long.items()})
    return made


@pytest.fixture
def recorder(tmp_path):
    """A pager that writes what it gets into a file, and the file."""
    seen = tmp_path / "seen.txt"
    return shlex.join([sys.executable, "-c", RECORDER, str(seen)]), seen


def test_output_longer_than_the_terminal_goes_through_the_pager_with_its_colours(folder, recorder):
    pager, seen = recorder
    shown = in_terminal(80, "ls", "--all", folder / "long.npz", env={"STEELYARD_PAGER": pager})
    text = seen.read_text()
    assert shown == f"paged {len(text.splitlines())}\n"
    assert text == in_terminal(80, "ls", "--all", folder / "long.npz", "--no-pager", env={"STEELYARD_PAGER": pager})
    assert ESCAPE.search(text)
    assert max(map(len, ESCAPE.sub("", text).splitlines())) <= 80


@pytest.mark.parametrize("options", [["ls", "short.npz"], ["ls", "--all", "long.npz", "--no-pager"], ["completion", "bash"]])
def test_short_output_no_pager_and_commands_that_write_are_not_paged(folder, recorder, options):
    pager, seen = recorder
    words = [str(folder / word) if word.endswith(".npz") else word for word in options]
    in_terminal(80, *words, env={"STEELYARD_PAGER": pager})
    assert not seen.exists()


def test_a_pipe_is_never_paged(folder, recorder):
    pager, seen = recorder
    assert len(run("ls", "--all", folder / "long.npz", env={"PAGER": pager, "STEELYARD_PAGER": pager}).stdout.splitlines()) > 40
    assert not seen.exists()


def test_steelyard_pager_comes_before_pager_and_cat_or_nothing_means_none(folder, recorder):
    pager, seen = recorder
    for none in ("", "cat", " "):
        assert "layer39" in ESCAPE.sub(
            "", in_terminal(80, "ls", "--all", folder / "long.npz", env={"STEELYARD_PAGER": none, "PAGER": pager})
        ).replace("xxxx", "")
        assert not seen.exists()


@pytest.mark.parametrize("pager", ["false", "no-such-pager-at-all", "'open quote", "head -1"])
def test_a_pager_that_ends_early_or_cannot_start_leaves_no_traceback_and_the_status(folder, pager):
    args = ("diff", folder / "long.npz", folder / "other.npz", "--all")
    shown = in_terminal(80, *args, status=1, env={"STEELYARD_PAGER": pager})
    assert "Traceback" not in shown
    assert ("layer" in ESCAPE.sub("", shown)) == (pager not in ("false", "head -1"))


def test_an_error_comes_after_the_output_that_precedes_it(folder, recorder):
    pager, _ = recorder
    shown = in_terminal(
        80, "ls", "--weights", "--all", folder / "long.npz", folder / "none.npz", status=2, env={"STEELYARD_PAGER": pager}
    )
    assert shown.startswith("paged ")
    assert "error: " in shown.splitlines()[1]


# colours


@pytest.mark.parametrize(
    ("options", "env", "piped", "terminal"),
    [
        ([], {}, False, True),
        (["--color", "always"], {"NO_COLOR": "1"}, True, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False, False),
        ([], {"FORCE_COLOR": "1"}, True, True),
        ([], {"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True),
        ([], {"FORCE_COLOR": "0"}, False, True),
        ([], {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ([], {"CLICOLOR": "0"}, False, False),
        (["--color", "auto"], {"TERM": "dumb"}, False, False),
    ],
)
def test_colours_go_by_the_option_then_the_variables_then_the_terminal(folder, options, env, piped, terminal):
    args = ("ls", folder / "short.npz", *options)
    assert bool(ESCAPE.search(run(*args, env=env).stdout)) == piped
    assert bool(ESCAPE.search(in_terminal(80, *args, env=env))) == terminal


def test_a_colour_option_is_of_one_command_alone(folder, capsys):
    from steelyard.cli import main

    assert main(["ls", str(folder / "short.npz"), "--color", "always"]) == 0
    assert ESCAPE.search(capsys.readouterr().out)
    assert main(["ls", str(folder / "short.npz")]) == 0
    assert not ESCAPE.search(capsys.readouterr().out)
