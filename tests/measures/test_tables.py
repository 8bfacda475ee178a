"""Every result that has rows is a table: of columns, a frame, and a file, on the command line as from Python."""

import csv

import numpy as np
import polars as pl
import pytest

import steelyard
from steelyard.cli import main
from steelyard.text.frames import columns_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two nets with one weight that differs, and one that is not finite."""
    folder, chance = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    net = {f"layers.{nth}.{name}": chance.normal(size=(24, 24)).astype("f4") for nth in range(3) for name in ("q", "k")}
    steelyard.save(net, folder / "before.safetensors")
    net["layers.2.q"] = net["layers.2.q"] + np.float32(1e-3)
    net["layers.1.k"] = np.where(np.eye(24) > 0, np.float32(np.nan), net["layers.1.k"])
    with pytest.warns(steelyard.errors.NonFiniteWarning):
        steelyard.save(net, folder / "after.safetensors")
    return [str(folder / "before.safetensors"), str(folder / "after.safetensors")]


TABLES = {
    "stats": lambda before, after: steelyard.stats(after),
    "size": lambda before, after: steelyard.size(after),
    "grid": lambda before, after: steelyard.grid(after),
    "spectra": lambda before, after: steelyard.spectra(before),
    "layers": lambda before, after: steelyard.architecture(after),
    "lineage": lambda before, after: steelyard.lineage({before: before, after: after}),
    "check": lambda before, after: steelyard.check(after),
    "diff": steelyard.diff,
}
WITH_BOTH = ("lineage", "diff")
OF_BEFORE = ("spectra",)


@pytest.mark.parametrize("name", TABLES)
def test_each_has_a_row_for_each_record_in_columns_in_frames_and_in_files(name, files, tmp_path):
    found = TABLES[name](*files)
    columns, records = found.to_columns(), found.to_records()
    assert records
    assert {len(column) for column in columns.values()} == {len(records)}
    assert all(isinstance(cell, (str, int, float, bool, type(None))) for column in columns.values() for cell in column)
    frame = found.to_frame("polars")
    assert frame.columns == [*columns]
    found.write(str(tmp_path / "table.parquet"))
    assert pl.read_parquet(tmp_path / "table.parquet").equals(frame)


@pytest.mark.parametrize("name", [name for name in TABLES if name != "check"])
def test_the_command_prints_and_writes_the_same_table(name, files, tmp_path, capsys):
    paths = files if name in WITH_BOTH else files[:1] if name in OF_BEFORE else files[1:]
    out, status = tmp_path / "table.csv", 1 if name == "diff" else 0
    assert main([name, *paths, "--csv"]) == status
    printed = capsys.readouterr().out
    assert main([name, *paths, "-o", str(out)]) == status
    assert capsys.readouterr().out == ""
    assert out.read_text() == printed
    rows = list(csv.DictReader(printed.splitlines()))
    columns = TABLES[name](*files).to_columns()
    assert len(rows) == len(next(iter(columns.values())))
    assert list(rows[0]) == [*columns]


@pytest.mark.parametrize("name", [name for name in TABLES if name != "check"])
def test_a_command_takes_one_way_to_give_its_table(name, files, tmp_path, capsys):
    paths, out = files if name in WITH_BOTH else files[:1], tmp_path / "table.csv"
    assert main([name, *paths, "--csv", "--json"]) == 2
    assert capsys.readouterr() == ("", "error: --csv and --json both say what is printed; give one of them\n")
    with pytest.raises(SystemExit):
        main([name, *paths, "--csv", "-o", str(out)])
    assert "--csv" in capsys.readouterr().err
    assert not out.exists()


def test_a_folder_in_the_place_of_a_table_is_refused_with_what_to_do(files, tmp_path, capsys):
    (tmp_path / "t.csv").mkdir()
    assert main(["stats", files[0], "-o", str(tmp_path / "t.csv")]) == 2
    assert capsys.readouterr().err.endswith("t.csv: Is a directory; name a file in it\n")


def test_a_finding_has_its_place_and_a_difference_both_sides(files):
    finding = steelyard.check(files[1]).to_columns()
    assert (finding["name"], finding["rule"], finding["place"]) == (["layers.1.k"], ["not-finite"], ["0, 0"])
    rows = pl.DataFrame(steelyard.diff(*files).to_columns()).rows(named=True)
    changed = {row["name"]: row for row in rows if row["kind"] == "changed"}
    assert {*changed} == {"layers.2.q", "layers.1.k"}
    row = changed["layers.2.q"]
    assert (row["shape_before"], row["shape_after"], row["dtype_before"], row["dtype_after"]) == (
        "24x24",
        "24x24",
        "float32",
        "float32",
    )
    assert row["max_abs"] == pytest.approx(1e-3, rel=1e-3)
    assert [int(index) for index in row["place"].split(", ")] == list(steelyard.diff(*files).rows[1].place)


def test_the_shape_and_the_place_of_a_scalar_are_words_too(tmp_path):
    before, after = {"a": np.float32(1), "b": np.float32(2)}, {"a": np.float32(3)}
    found = steelyard.diff(before, after)
    found.write(str(tmp_path / "diff.parquet"))
    rows = {row["source"]: row for row in pl.read_parquet(tmp_path / "diff.parquet").rows(named=True)}
    assert [rows["a"][word] for word in ("shape_before", "shape_after", "place")] == ["scalar", "scalar", ""]
    assert [rows["b"][word] for word in ("shape_before", "shape_after", "place")] == ["scalar", None, None]
    assert [row["shapes"] for row in found.to_records()] == [[[], None], [[], []]]
    steelyard.check({"a": np.float32(np.nan)}).write(str(tmp_path / "check.parquet"))
    assert pl.read_parquet(tmp_path / "check.parquet")["place"].to_list() == [""]


def test_layers_name_their_shapes_and_inputs_in_a_cell(files):
    columns = steelyard.architecture(files[0]).to_columns()
    assert columns["shapes"][-1].startswith("q 24x24") or columns["shapes"][-1].startswith("k 24x24")


def test_spectra_have_the_same_columns_whatever_is_known_of_them(files):
    short = steelyard.spectra({"w": np.eye(3)}, null_draws=0).to_columns()
    assert [*short] == [*steelyard.spectra(files[0]).to_columns()]
    assert short["law.alpha"] == short["null.draws"] == [None]


def test_a_part_of_a_record_has_columns_of_its_own_also_where_a_record_lacks_it():
    assert columns_of([{"a": None, "b": True}, {"a": {"x": 1, "y": [2, None]}, "b": False}]) == {
        "b": [True, False],
        "a.x": [None, 1],
        "a.y": [None, "2x?"],
    }


def test_several_files_make_no_one_table(files, capsys):
    for name in ("spectra", "layers", "size", "stats"):
        assert main([name, *files, "-o", "t.csv"]) == 2
        assert capsys.readouterr().err == "error: -o writes the table of one file, but 2 are given\n"


def test_the_question_about_an_adapter_makes_no_table(files, capsys):
    assert main(["diff", *files, "--adapter", files[0], "--csv"]) == 2
    assert capsys.readouterr().err.startswith("error: --csv and -o are for the table of differences")
