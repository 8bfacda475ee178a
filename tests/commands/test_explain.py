"""What the words of the output mean: --explain; and statements in place of figures."""

import json

import numpy as np
import pytest
from terminals import ESCAPE, in_terminal

import steelyard
from steelyard.cli import main
from steelyard.commands.history import WORDS
from steelyard.core.weight import Role
from steelyard.measures.check.rules import all_rules
from steelyard.measures.grid.words import OF_ONE, OF_TWO
from steelyard.text import explanations
from steelyard.text.differences import FIGURES, SPECTRUM
from steelyard.text.quantized import HEAD as WAYS
from steelyard.text.quantized import WEIGHTS
from steelyard.text.statistics import COUNTS, NUMBERS


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A net, and the same with a low rank added to one matrix, another one rounded, a third one halved."""
    folder, chance = tmp_path_factory.mktemp("explain"), np.random.default_rng(0)
    before = {f"{name}.weight": chance.standard_normal((48, 40)).astype("f4") for name in "abc"}
    rank = chance.standard_normal((48, 2)) @ chance.standard_normal((2, 40))
    after = {"a.weight": before["a.weight"] + 0.01 * rank.astype("f4"), "b.weight": before["b.weight"].astype("f2").astype("f4")}
    after["c.weight"] = before["c.weight"] / 2
    for name, net in (("before", before), ("after", after)):
        np.savez(folder / f"{name}.npz", **net)
    return [str(folder / "before.npz"), str(folder / "after.npz")]


def said(capsys, *args, status=0):
    assert main([str(arg) for arg in args]) == status
    return capsys.readouterr().out


def terms_of(text):
    """Return the terms that an explanation at the end of an output has, in order."""
    return [line.split("  ")[0] for line in text.partition("\n\n")[2].splitlines()]


def test_a_diff_makes_statements_and_explain_adds_the_evidence_and_the_words(files, capsys):
    plain = said(capsys, "diff", *files, status=1)
    for line in ("low rank: a.weight: changed by a rank-2 matrix, as LoRA does", "cast: b.weight: rounded to float16"):
        assert line in plain.splitlines()
    assert "scaled: c.weight: multiplied by 0.5" in plain.splitlines()
    assert "singular value" not in plain
    long = said(capsys, "diff", *files, "--explain", status=1)
    assert long.startswith(plain)
    assert "evidence: a.weight: 2 singular values hold " in long
    assert terms_of(long) == [*FIGURES, *(kind for kind in ("scaled", "low rank", "cast"))]
    record = json.loads(said(capsys, "diff", *files, "--explain", "--json", status=1))
    low = next(row["verdict"] for row in record["weights"] if row["name"] == "a.weight")
    assert (low["what"], low["evidence"]["rank"]) == ("changed by a rank-2 matrix, as LoRA does", 2)
    assert low["figures"].startswith("2 singular values hold ")


def test_python_makes_the_same_statements(files):
    found = steelyard.diff(*files)
    assert str(next(row for row in found.rows if row.name == "a.weight").verdict) == "changed by a rank-2 matrix, as LoRA does"
    assert "low rank: a.weight: changed by a rank-2 matrix, as LoRA does" in str(found)


def test_every_word_of_a_table_is_explained():
    assert set(explanations.DIFFERENCES) == set(FIGURES)
    assert set(explanations.SPECTRA) >= set(SPECTRUM[1:])
    assert set(explanations.ROLES) >= {str(role) for role in Role}
    known = {word for term in explanations.FIGURES for word in term.split(", ")} | {"min", "median", "max", "mean"}
    assert known | {"zeros", "nan", "inf"} >= {word.replace("_", " ") for word in (*NUMBERS, *COUNTS)}


@pytest.mark.parametrize(
    ("command", "terms"),
    [
        ("ls {0}", explanations.ROLES),
        ("show {0} a.weight --stats", ["kernel"]),
        ("stats {0}", explanations.FIGURES),
        ("spectra {0} --null-draws 1", explanations.SPECTRA),
        ("lineage {0} {1}", explanations.KINSHIPS),
        ("size {0}", explanations.SIZES),
        ("grid {0} --value max-abs", ["max-abs", "!", "?"]),
        ("grid {1} --before {0}", ["change", "=", "new, gone", "shape", "!", "?"]),
        ("quantize {0} --to int8 --dry-run", explanations.QUANTISED),
        ("factorize {0} --rank 2 --dry-run", explanations.RANKS),
    ],
)
def test_explain_adds_the_words_after_the_output_and_nothing_to_json(files, capsys, command, terms):
    words = command.format(*files).split()
    plain, long = said(capsys, *words), said(capsys, *words, "--explain")
    assert long.startswith(f"{plain}\n")
    assert terms_of(long[len(plain) - 1 :]) == list(terms)
    assert said(capsys, *words, "--json", "--explain") == said(capsys, *words, "--json")


@pytest.mark.parametrize(("view", "words"), WORDS.items())
def test_each_view_of_a_history_is_explained(tmp_path, capsys, view, words):
    for step in (1, 2):
        steelyard.save({"fc": {"weight": np.full((3, 2), float(step), "f4")}}, tmp_path / f"step-{step}.safetensors")
    line = ("history", *sorted(map(str, tmp_path.iterdir())), "--view", view)
    plain, long = said(capsys, *line), said(capsys, *line, "--explain")
    assert long.startswith(f"{plain}\n")
    assert terms_of(long[len(plain) - 1 :]) == list(words)


def test_the_values_of_a_grid_and_the_columns_of_errors_are_explained():
    assert {word.replace("_", "-") for word in (*OF_ONE, *OF_TWO)} <= set(explanations.GRIDS)
    assert {*WAYS[3:], *WEIGHTS[1:]} - {""} <= set(explanations.QUANTISED)


def test_check_explains_the_severities_and_rules_that_it_found(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", w=np.array([np.nan, 1.0]))
    text = said(capsys, "check", tmp_path / "a.npz", "--explain", status=1)
    assert terms_of(text) == ["error", "not-finite"]
    assert all_rules()["not-finite"][1] in text


def test_tables_notes_and_explanations_of_spectra_fit_the_terminal(files):
    for columns in (60, 80, 120):
        text = ESCAPE.sub("", in_terminal(columns, "spectra", files[1], "--null-draws", "1", "--explain"))
        assert max(map(len, text.splitlines())) <= columns
        assert "in brackets: the same statistic" in text
    assert "KS" in text.splitlines()[0]


def test_notes_of_a_lineage_fit_the_terminal(files):
    text = ESCAPE.sub("", in_terminal(60, "lineage", *files, "--explain"))
    notes = text[text.index("p: the probability") :]
    assert max(map(len, notes.splitlines())) <= 60
