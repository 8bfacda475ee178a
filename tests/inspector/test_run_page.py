"""The page of a run has the records of the run, and the server follows one that is being recorded."""

import numpy as np
import pytest
from inspector.packs import Page

import steelyard
from steelyard.cli import main
from steelyard.errors import ShapeError
from steelyard.inspector import run_page

ODD = "</script><img onerror=x>\u202e"


def record(folder, steps, start=0):
    rng = np.random.default_rng(0)
    with steelyard.record(folder) as rec:
        for step in range(start, start + steps):
            rec(
                step,
                {"fc.weight": rng.standard_normal((8, 9)) + step, ODD: np.ones(3)},
                epoch=step // 5,
                metrics={"loss": 1 / (1 + step)},
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    record(folder, 25)
    return folder


def test_the_pack_of_a_page_has_the_curves_histograms_and_path_of_the_history(folder, tmp_path):
    h = steelyard.history(folder)
    h.report(tmp_path / "run.html")
    found = Page(tmp_path / "run.html").pack("run-pack")
    assert (found["title"], found["records"], found["steps"].tolist()) == ("a", 25, list(range(25)))
    assert found["names"] == ["fc.weight", "</script><img onerror=x>\\u202e"]
    assert np.allclose(found["norms"].reshape(25, 2), h.norms().values)
    assert np.allclose(found["ratios"].reshape(25, 2), h.ratios().values, equal_nan=True)
    assert np.allclose(found["path"]["points"].reshape(25, 2), h.pca().points)
    assert found["metrics"][0]["values"].tolist() == h.metrics["loss"].tolist()
    histograms = found["histograms"]
    assert histograms["rows"].tolist() == [0, 10, 20]
    counts = h.ridgeline("fc.weight").counts[1].reshape(64, 2).sum(axis=1)
    heights = histograms["heights"].reshape(3, 2, 64)[1, 0]
    assert heights.tolist() == np.ceil(counts / counts.max() * 255).tolist()


def test_a_report_of_a_run_is_one_page_without_other_addresses_and_without_markup_of_names(folder, tmp_path, capsys):
    assert main(["report", str(folder), "-o", str(tmp_path / "run.html")]) == 0
    text = (tmp_path / "run.html").read_text("utf-8")
    assert "<img" not in text
    assert steelyard.report(folder).html == text
    addresses = [
        value for _, facts, _ in Page(tmp_path / "run.html").elements for key, value in facts.items() if key in ("src", "href")
    ]
    assert addresses == ["data:,"]
    with pytest.raises(ShapeError, match="a page shows one run"):
        steelyard.report(folder, before=folder)


def test_of_many_records_some_are_left_out_and_counted(folder, monkeypatch):
    monkeypatch.setattr(run_page, "RECORDS", 10)
    found = run_page.run_record(steelyard.history(folder))
    assert (found["records"], found["known"], found["steps"][[0, -1]].tolist()) == (10, 25, [0, 24])
    assert found["notes"] == ["15 records between those shown are left out"]
    assert len(found["norms"]) == 20


def test_the_server_answers_with_the_records_that_were_added_since(tmp_path, start):
    record(tmp_path / "b", 3)
    served = start(tmp_path / "b")
    assert served.ask("run")["run"]["records"] == 3
    assert served.ask("run", known=3) == {"run": None}
    record(tmp_path / "b", 2, start=3)
    assert served.ask("run", known=3)["run"]["steps"].tolist() == [0, 1, 2, 3, 4]
    status, _, body = served.get("/")
    assert (status, b"run/served.js" in body) == (200, True)
    assert b"function unpack(" in served.get("/run/served.js")[2]
    assert served.get("/parts/table.js")[0] == 404
    assert served.refused("run", known="x")[0] == 400


def test_two_runs_are_not_served_in_one_page(folder, capsys):
    assert main(["serve", str(folder), "--before", str(folder)]) == 2
    assert "a page shows one run; steelyard history RUN --before OTHER compares two" in capsys.readouterr().err
