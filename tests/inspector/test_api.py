"""The answers of the local server, compared with NumPy's and Steelyard's own."""

import io
import os
import zipfile
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import numpy as np
import pytest
from inspector.packs import unpacked
from inspector.serving import SIDES, sparse, told
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save_file

import steelyard
from steelyard.inspector import api as api_module
from steelyard.inspector.api import Api
from steelyard.inspector.server import file_name


def test_the_index_has_every_weight_and_no_statistics_yet(served, numbers):
    index = served.ask("index")
    columns = index["columns"]
    assert index["live"] is True
    assert [side["name"] for side in index["sources"]] == ["after.safetensors", "before.safetensors"]
    assert set(columns["name"]) == {*numbers, "new"}
    assert columns["name"][-1] == "old"
    assert set(columns["mean"]) == {None}
    kinds = dict(zip(columns["name"], columns["kind"], strict=True))
    assert kinds == {**dict.fromkeys(numbers), "new": "added", "old": "removed"}
    assert dict(zip(columns["name"], columns["present"], strict=True))["old"] == [False, True]
    assert index["spark"] is None
    assert index["findings"] == []


def test_a_detail_has_the_statistics_and_the_picture_of_numpy(served, numbers, rows):
    array = numbers["fc.weight"]
    found = served.ask("detail", row=rows["fc.weight"], side=1)
    assert found["statistics"]["mean"] == pytest.approx(array.mean(dtype="f8"), rel=1e-6)
    assert found["histogram"]["counts"].sum() == array.size
    cells, drawn = found["picture"]["cells"], found["picture"]
    assert drawn["height"] * drawn["width"] == len(cells)
    assert np.abs(cells).max() == 127
    assert drawn["scale"] == np.abs(array).max()
    np.testing.assert_allclose(found["spectrum"]["values"][0], np.linalg.svd(array, compute_uv=False)[0], rtol=1e-5)
    low, high, counts = (found["outline"][word] for word in ("low", "high", "counts"))
    assert counts.sum() == array.size
    np.testing.assert_allclose((low[0], high[-1]), (array.min(), array.max()), rtol=1 / 256)
    assert (low <= high).all()
    assert (high[:-1] < low[1:]).all()
    assert found["findings"] == []
    assert served.ask("statistics", row=rows["fc.weight"], side=1)["statistics"] == found["statistics"]
    assert served.ask("detail", row=rows["conv.weight"], side=0)["filters"]["colours"] == 3
    broken = served.ask("detail", row=rows["../../etc/pass\r\nwd.bias"], side=0)
    assert broken["statistics"]["first_nonfinite"] == [1]
    assert [each["kind"] for each in broken["findings"]] == ["not finite"]


def test_a_picture_of_a_window_has_its_numbers_and_nan_where_they_are_not_finite(served, numbers, rows):
    window = dict(zip(SIDES, (10, 20, 14, 25), strict=True))
    found = served.ask("picture", row=rows["fc.weight"], side=1, **window, height=64, width=64)["picture"]
    np.testing.assert_array_equal(found["cells"].reshape(4, 5), numbers["fc.weight"][10:14, 20:25])
    coarse = served.ask(
        "picture", row=rows["fc.weight"], side=1, **dict(zip(SIDES, (0, 0, 300, 200), strict=True)), height=1, width=1
    )
    assert abs(coarse["picture"]["cells"][0]) == np.abs(numbers["fc.weight"]).max()
    bias = served.ask(
        "picture", row=rows["../../etc/pass\r\nwd.bias"], side=0, top=0, left=0, bottom=1, right=4, height=1, width=4
    )
    np.testing.assert_array_equal(bias["picture"]["cells"], np.array([1.5, np.nan, np.nan, -0.1], "f4"))


def test_values_are_written_as_numpy_writes_them(served, numbers, rows):
    found = served.ask("values", row=rows["fc.weight"], side=1, top=3, left=4, bottom=5, right=7)
    assert found["texts"] == [str(number) for number in numbers["fc.weight"][3:5, 4:7].reshape(-1)]
    bias = served.ask("values", row=rows["../../etc/pass\r\nwd.bias"], side=0, top=0, left=0, bottom=1, right=4)
    assert bias["texts"] == ["1.5", "nan", "inf", "-0.1"]


def test_two_weights_are_compared_as_diff_does(served, folder, rows):
    want = {
        row.name or row.source: row for row in steelyard.diff(folder / "before.safetensors", folder / "after.safetensors").rows
    }
    for name, row in rows.items():
        found = served.ask("compare", row=row)
        assert found["kind"] == want[name].kind
        if found["kind"] in ("equal", "changed"):
            for word in ("changed", "max_abs", "relative", "cosine"):
                assert found[word] == getattr(want[name], word)
        assert (found["difference"] is not None) == (found["kind"] == "changed")
    drawn = served.ask("compare", row=rows["fc.weight"])["difference"]
    assert drawn["scale"] == pytest.approx(0.1, rel=1e-5)
    assert (drawn["cells"] > 120).all()


def downloaded(served, **query):
    status, headers, body = served.get(f"/api/download?{urlencode(query)}")
    assert status == 200, body
    assert headers["Content-Type"] == "application/octet-stream"
    return headers["Content-Disposition"], body


def test_one_weight_is_downloaded_in_each_format(served, numbers, rows):
    row = rows["fc.weight"]
    named, body = downloaded(served, row=row, side=1, format="npy")
    assert named == 'attachment; filename="fc.weight.npy"'
    np.testing.assert_array_equal(np.load(io.BytesIO(body)), numbers["fc.weight"])
    _, body = downloaded(served, row=row, side=1, format="npz")
    np.testing.assert_array_equal(np.load(io.BytesIO(body))["fc.weight"], numbers["fc.weight"])
    _, body = downloaded(served, row=row, side=1, format="safetensors")
    np.testing.assert_array_equal(load_safetensors(body)["fc.weight"], numbers["fc.weight"])


def test_all_weights_are_downloaded_and_steelyard_reads_them_again(served, numbers, tmp_path):
    named, body = downloaded(served, side=1, format="safetensors")
    assert named == 'attachment; filename="before.safetensors"'
    loaded = load_safetensors(body)
    assert set(loaded) == set(numbers)
    _, body = downloaded(served, side=1, format="npz")
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None
    (tmp_path / "all.npz").write_bytes(body)
    for name, array in numbers.items():
        np.testing.assert_array_equal(loaded[name], array)
        np.testing.assert_array_equal(steelyard.weights(tmp_path / "all.npz")[name].numpy(), array)


def test_a_download_s_name_cannot_break_a_header_or_leave_a_folder(served, rows):
    named, _ = downloaded(served, row=rows["../../etc/pass\r\nwd.bias"], side=0, format="npy")
    assert named == 'attachment; filename="_.._etc_pass_wd.bias.npy"'
    assert file_name("x" * 1000 + ".npy").endswith("xx.npy")
    assert len(file_name("x" * 1000 + ".npy")) == 120


@pytest.mark.parametrize(
    ("word", "query", "what"),
    [
        ("detail", {"row": 99, "side": 0}, "unknown row 99: there are 5"),
        ("detail", {"row": 0, "side": 2}, "unknown side 2"),
        ("detail", {"row": -1, "side": 0}, "row must be a whole number, zero or more, not '-1'"),
        ("detail", {"row": "١", "side": 0}, "row must be a whole number, zero or more, not '١'"),
        ("detail", {"row": "9" * 30, "side": 0}, "row must be a whole number, zero or more"),
        ("detail", {"side": 0}, "row must be a whole number, zero or more, not ''"),
        ("detail", {"row": 4, "side": 0}, "row 4 has no weight on side 0"),
        ("statistics", {"row": 99, "side": 0}, "unknown row 99"),
        (
            "picture",
            {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 10**9, "right": 1, "height": 1, "width": 1},
            "is not a part of it",
        ),
        (
            "picture",
            {"row": 0, "side": 0, "top": 5, "left": 0, "bottom": 2, "right": 1, "height": 1, "width": 1},
            "is not a part of it",
        ),
        ("picture", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 1, "height": 0, "width": 1}, "1 to 512"),
        ("picture", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 1, "height": 1, "width": 10**8}, "1 to 512"),
        ("picture", {"row": 0, "side": 0, "height": 1, "width": 1}, "top must be a whole number"),
        ("values", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 300, "right": 200}, "at most 10,000 numbers"),
        ("values", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 10**6}, "at most 10,000 numbers"),
        ("values", {"row": 0, "side": 0, "top": 0, "left": 0, "bottom": 1, "right": 5000}, "is not a part of it"),
        ("compare", {"row": 99}, "unknown row 99"),
        ("download", {"row": 0, "side": 0, "format": "pt"}, "unknown format 'pt'; choose npy, npz or safetensors"),
        ("download", {"row": 0, "side": 0, "format": "../x"}, "unknown format"),
        ("download", {"side": 0, "format": "npy"}, "a .npy file holds one array"),
        ("download", {"side": 7, "format": "npz"}, "unknown side 7"),
    ],
)
def test_an_invalid_request_is_refused_in_one_line(served, word, query, what):
    status, line = served.refused(word, **query)
    assert status == 400
    assert what in line


def test_a_parameter_given_twice_is_refused(served):
    status, headers, body = served.get("/api/detail?row=0&row=1&side=0")
    assert (status, told(headers, body)) == (400, "a parameter was given twice")


def test_concurrent_requests_are_all_answered_correctly(served, numbers, rows, start):
    wrong = []

    def asking(nth):
        row, column = nth % 290, nth % 190
        window = dict(zip(SIDES, (row, column, row + 2, column + 2), strict=True))
        texts = served.ask("values", row=rows["fc.weight"], side=1, **window)["texts"]
        if texts != [str(number) for number in numbers["fc.weight"][row : row + 2, column : column + 2].reshape(-1)]:
            wrong.append(nth)

    threads = [Thread(target=asking, args=(nth,)) for nth in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert wrong == []


def cpu_seconds(process):
    """Return the CPU time of a process, which does not depend on other processes."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("suffix", [".safetensors", ".npy"])
def test_a_file_of_4_gb_opens_within_a_second_and_its_middle_is_read(tmp_path, suffix, start):
    path = sparse(tmp_path / f"large{suffix}", 4 << 30)
    served = start(path)
    begun = cpu_seconds(served.process)
    index = served.ask("index")
    assert cpu_seconds(served.process) - begun < 1
    assert index["sources"][0]["bytes"] == 4 << 30
    rows = index["columns"]["matrix"][0][0]
    window = dict(zip(SIDES, (rows // 2, 0, rows // 2 + 1, 3), strict=True))
    begun = cpu_seconds(served.process)
    assert served.ask("values", row=0, side=0, **window)["texts"] == ["7.25", "0.0", "0.0"]
    window = dict(zip(SIDES, (rows // 2 - 100, 0, rows // 2 + 100, 200), strict=True))
    found = served.ask("picture", row=0, side=0, **window, height=20, width=20)["picture"]["cells"].reshape(20, 20)
    assert found[10, 0] == 7.25
    assert np.count_nonzero(found) == 1
    assert cpu_seconds(served.process) - begun < 2
    resident = next(
        line for line in Path(f"/proc/{served.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    assert int(resident.split()[1]) < 150 << 10


def test_a_changed_file_is_noticed_and_opened_again_with_the_index(tmp_path, start):
    path = tmp_path / "net.safetensors"
    save_file({"w": np.zeros((4, 4), "f4")}, path)
    served = start(path)
    assert served.ask("detail", row=0, side=0)["statistics"]["max"] == 0
    save_file({"v": np.ones((2, 2), "f4"), "w": np.ones((4, 4), "f4")}, path)
    assert served.refused("detail", row=0, side=0) == (400, "a file changed on the disk since it was opened; reload the page")
    assert served.ask("index")["columns"]["name"] == ["v", "w"]
    assert served.ask("detail", row=1, side=0)["statistics"]["max"] == 1
    path.unlink()
    assert served.refused("detail", row=1, side=0)[0] == 400
    status, line = served.refused("index")
    assert (status, "No such file" in line) == (400, True)


def test_answers_read_while_a_file_changed_are_not_cached_for_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save_file({"w": np.zeros((4, 4), "f4")}, path)
    api = Api([str(path)])

    def slow(weight, found):
        read = detail(weight, found)
        save_file({"w": np.ones((4, 4), "f4")}, tmp_path / "new")
        (tmp_path / "new").replace(path)
        api.index()
        return read

    detail = api_module._detail
    monkeypatch.setattr(api_module, "_detail", slow)
    assert unpacked(api.detail(0, 0))["statistics"]["max"] == 0
    monkeypatch.undo()
    assert unpacked(api.detail(0, 0))["statistics"]["max"] == 1


def test_a_weight_that_cannot_be_read_shows_its_error_next_to_the_others(tmp_path, start):
    np.savez_compressed(tmp_path / "x.npz", a=np.random.default_rng(0).standard_normal((40, 40)), b=np.ones(3))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[300:400] = bytes(100)
    (tmp_path / "x.npz").write_bytes(data)
    served = start(tmp_path / "x.npz")
    assert "inflate" in served.ask("detail", row=0, side=0)["error"]
    assert served.ask("detail", row=1, side=0)["statistics"]["mean"] == 1
    for word, query in (
        ("statistics", {}),
        ("values", dict(zip(SIDES, (39, 39, 40, 40), strict=True))),
        ("download", {"format": "npz"}),
    ):
        status, line = served.refused(word, row=0, side=0, **query)
        assert status == 400
        assert "inflate" in line
    assert served.refused("compare", row=0) == (400, "there is only one source, so there is nothing to compare it with")
