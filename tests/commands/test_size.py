"""The command size."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.cli import main


@pytest.fixture
def file(tmp_path):
    blocks = {
        f"h.{n}.fc.{leaf}": np.zeros(shape, "float32")
        for n in range(11)
        for leaf, shape in (("weight", (64, 32)), ("bias", (64,)))
    }
    steelyard.save(blocks, tmp_path / "net.safetensors")
    return str(tmp_path / "net.safetensors")


def test_it_prints_the_tree_the_types_and_what_fits(file, capsys):
    assert main(["size", file, "--fits", "50kB"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["h.[0-10].fc", "11", "×", "23,232", "100.0", "████████████████", "92.9", "kB"]
    assert "into 50 kB the weights fit as float16 (46.5 kB), bfloat16 (46.5 kB), int8 (28.2 kB)" in out
    assert "which does not fit" in out


def test_json_has_the_totals_the_types_the_rows_and_what_fits(file, capsys):
    assert main(["size", file, "--json", "--fits", "1MB"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["parameters"], record["nbytes"], record["fits"]["q8_0"]) == (23232, 4 * 23232, 11 * (64 * 34 + 64 * 4))
    assert [row["name"] for row in record["rows"]] == ["h.[0-10].fc"]


def test_depth_and_csv_and_out(file, tmp_path, capsys):
    assert main(["size", file, "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("h.[0-10].fc,h.[0-10].fc,0,11,23232,")
    assert main(["size", file, "-o", str(tmp_path / "t.json")]) == 0
    assert json.loads((tmp_path / "t.json").read_text())["parameters"] == 23232
    for wrong in (["--depth", "0"], ["--fits", "much"]):
        with pytest.raises(SystemExit):
            main(["size", file, *wrong])
