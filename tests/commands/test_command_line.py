"""What is typed: its help, its version, and one line with the likely word on a mistake."""

import re
import tomllib

import numpy as np
import pytest
from terminals import ROOT, in_terminal, run

import steelyard
from steelyard import cli
from steelyard.cli import main
from steelyard.command_line import in_options
from steelyard.errors import ShapeError, meant


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("typed") / "net.npz"
    steelyard.save({"fc1.weight": np.eye(2, dtype="f4"), "fc1.bias": np.zeros(2, "f4")}, path)
    return path


def misused(capsys, *args):
    """Run a command line that no command takes; return the one line that it prints."""
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    return err.removeprefix("error: ").rstrip("\n")


MISTAKES = {
    "lss x": "no command or file is called 'lss'; did you mean 'ls'?",
    "help lss": "no command or file is called 'lss'; did you mean 'ls'?",
    "bogus": "no command or file is called 'bogus'; steelyard --help lists the commands",
    "--verson": "steelyard has no option '--verson'; did you mean '--version'?",
    "--json ls x": "steelyard has no option '--json'; options follow the command",
    "-- ls": "steelyard has no option '--'; options follow the command",
    "ls --stat x": "steelyard ls has no option '--stat'; did you mean '--stats'?",
    "ls --stat=x": "steelyard ls has no option '--stat'; did you mean '--stats'?",
    "plot x --ot y": "steelyard plot has no option '--ot'; did you mean '--out'?",
    "ls --zzzzzz x": "steelyard ls has no option '--zzzzzz'; steelyard ls --help explains it",
    "ls": "steelyard ls needs PATH; steelyard ls --help explains it",
    "vector x": "steelyard vector needs -o/--out; steelyard vector --help explains it",
    "show a b c": "steelyard show takes no further argument: c; steelyard show --help explains it",
    "spectra x --top-k w": "--top-k: 'w' is not a whole number",
    "check x --fail-on eror": "--fail-on is 'eror', but must be one of info, warning, error; did you mean 'error'?",
    "ls x --select": "steelyard ls needs a value after --select; steelyard ls --help explains it",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_in_what_is_typed_is_one_line_that_names_the_likely_word(typed, capsys):
    assert misused(capsys, *typed.split()) == MISTAKES[typed]


def test_words_of_options_are_suggested_too(capsys):
    assert misused(capsys, "ls", "x", "--role", "kernl").endswith("; did you mean 'kernel'?")
    assert misused(capsys, "plot", "x", "-o", "y", "--kind", "heatmp").endswith("; did you mean 'heatmap'?")
    assert misused(capsys, "convert", "x", "y", "--dtype", "fp16").endswith("; did you mean 'float16'?")
    assert "is '\\x1b[31m', but" in misused(capsys, "ls", "x", "--role", "\x1b[31m")


REFUSED = {
    "role": (lambda w: w.select(role="kernl"), "did you mean 'kernel'?"),
    "dtype": (lambda w: w.astype("bf16"), "did you mean 'bfloat16'?"),
    "kind": (lambda w: steelyard.quantize(w, "int-8"), "did you mean 'int8'?"),
    "method": (lambda w: steelyard.merge(w, w, method="tie"), "did you mean 'ties'?"),
    "type of a merge": (lambda w: steelyard.merge(w, w, dtype="half"), "did you mean 'float16'?"),
    "axis": (lambda w: steelyard.stats(w, "layr"), "did you mean 'layer'?"),
    "type of an export": (lambda w: steelyard.export(w, "x.h", dtype="fp32"), "did you mean 'float32'?"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_python_suggests_the_likely_word_too(what, file):
    call, said = REFUSED[what]
    with pytest.raises(ShapeError, match=re.escape(said)):
        call(steelyard.weights(file))


def test_the_nearest_words_are_suggested_and_no_others():
    assert meant("KERNEL", ["kernel", "kernels"]) == "; did you mean 'kernel'?"
    assert meant("h.1.w", ["h.0.w", "h.2.w", "z"]) == "; did you mean 'h.0.w' or 'h.2.w'?"
    assert meant("x", ["abc"]) == meant("x", []) == ""


def test_an_option_is_never_guessed_from_its_beginning(file, capsys):
    assert misused(capsys, "ls", "--al", file).endswith("did you mean '--all'?")


def test_a_path_in_the_place_of_a_command_is_listed(file, capsys, tmp_path, monkeypatch):
    assert main(["ls", str(file), "--all"]) == 0
    listed = capsys.readouterr().out
    assert main([str(file), "--all"]) == 0
    assert capsys.readouterr().out == listed
    assert main([str(tmp_path / "none.pt")]) == 2
    assert "No such file" in capsys.readouterr().err
    monkeypatch.chdir(file.parent)
    file.with_name("bare").write_bytes(file.read_bytes())
    assert main(["bare", "--all"]) == 0
    assert capsys.readouterr().out == listed


# help


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], ["help"]])
def test_help_has_a_line_for_every_command_and_fits_a_terminal(args, capsys):
    with pytest.raises(SystemExit) as ended:
        main(args)
    text = capsys.readouterr().out
    assert ended.value.code == 0
    for name in cli.COMMANDS:
        assert re.search(rf"^  {name} +[A-Za-z]", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 50


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_commands_help_is_its_docstring(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    text = capsys.readouterr().out
    about = " ".join(cli.command(name).run.__doc__.split())
    assert about[: about.rindex(" steelyard ")] in " ".join(text.split())
    assert cli.command(name).run.__doc__.strip().splitlines()[-1].strip().startswith(f"steelyard {name} ")
    assert "--json" in text


def test_help_of_a_command_goes_by_both_words_and_wraps_at_the_terminal():
    text = in_terminal(70, "help", "stats")
    assert text == in_terminal(70, "stats", "--help")
    assert max(map(len, text.splitlines())) <= 70


def test_version_is_that_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run("--version").stdout == f"steelyard {version}\n"


def test_a_name_before_its_file_and_a_blank_path_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    steelyard.save({"fc.weight": np.ones((2, 3))}, "a.npz")
    assert main(["show", "fc.weight", "a.npz"]) == main(["ls", ""]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("the file comes first: steelyard show a.npz fc.weight")
    assert second.startswith("error: '': No such file or directory; ")


def test_what_an_error_says_to_do_is_in_the_options_of_the_command(tmp_path, capsys):
    steelyard.save({"axis=0": np.ones((3, 3))}, tmp_path / "net.npz")
    assert main(["quantize", str(tmp_path / "net.npz"), "--to", "int8", "-o", str(tmp_path / "out.npz")]) == 2
    error = capsys.readouterr().err
    assert "; pass --axis=0 for PyTorch's order, --axis=-1 for" in error
    with pytest.raises(ShapeError, match="; pass axis=0 for PyTorch's order, axis=-1 for"):  # as Python has it
        steelyard.quantize(tmp_path / "net.npz", "int8")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("axis=0 is odd; axis=0 is not", "axis=0 is odd; --axis=0 is not"),
        ("no; skip_unreadable=True leaves it out", "no; --skip-unreadable leaves it out"),
        ("no; leave it out with skip=, or name it", "no; leave it out with --skip, or name it"),
        ("no; w.to_vector(axis=0) or 'axis=0' or other=1", "no; w.to_vector(axis=0) or 'axis=0' or other=1"),
        ("no; pass axis=[...]", "no; pass axis=[...]"),
    ],
)
def test_keywords_of_python_become_options_only_where_they_are_meant(line, said):
    assert in_options(line, {"--axis", "--skip-unreadable", "--skip"}) == said
