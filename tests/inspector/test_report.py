"""Reports as files: the page, its policy and its size."""

import base64
import hashlib
import html
import json
import re

import numpy as np
import pytest
import torch
from inspector.packs import Page

import steelyard
from steelyard.cli import main


def test_without_a_path_the_page_is_returned_as_text(net, tmp_path):
    assert steelyard.report(net, tmp_path / "r.html", before=net.state_dict()) is None
    shown = steelyard.report(net, before=net.state_dict())
    assert shown.html == (tmp_path / "r.html").read_text("utf-8")
    shown.save(tmp_path / "saved.html")
    assert (tmp_path / "saved.html").read_text("utf-8") == shown.html


def test_without_a_path_a_report_is_a_line_in_a_terminal_and_a_frame_in_a_notebook():
    shown = steelyard.report({"<b>\u202e.weight": np.eye(3), "b": np.zeros(3)})
    assert re.fullmatch(r"report of dict: 2 rows, [0-9.]+ kB; a notebook shows it in place, .save\(PATH\) writes it", repr(shown))
    text = shown._repr_html_()
    frame = re.fullmatch(r'<div><iframe title="([^"]*)" style="[^"]*" srcdoc="([^"]*)"></iframe><p>([^<]*)</p></div>', text)
    assert html.unescape(frame[2]) == shown.html
    assert frame[3].startswith(frame[1])


def test_a_report_is_never_half_written(net, tmp_path, monkeypatch):
    target = tmp_path / "r.html"
    target.write_text("old")

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("steelyard.inspector.packing.pack", broken)
    with pytest.raises(OSError, match="No space left"):
        steelyard.report(net, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_report_never_replaces_a_file_that_it_shows(tmp_path, capsys):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in (tmp_path / "new.npz", tmp_path / "old.npz"):
        np.savez(path, w=np.eye(3))
    steelyard.save({"w": np.eye(3)}, folder / "model.safetensors")
    (tmp_path / "link.html").symlink_to(tmp_path / "new.npz")
    before = {path: path.read_bytes() for path in (tmp_path / "new.npz", tmp_path / "old.npz", folder / "model.safetensors")}
    new, old = f"{tmp_path}/new.npz", f"{tmp_path}/old.npz"
    for arguments in (
        [new, "-o", new],
        [new, "-o", f"{tmp_path}/link.html"],
        [new, "--before", old, "-o", old],
        [str(folder), "-o", f"{folder}/model.safetensors"],
    ):
        assert main(["report", *arguments]) == 2
        line = f"error: {arguments[-1]}: is one of the files that the report shows; choose another path\n"
        assert capsys.readouterr().err.endswith(line)
    assert {path: path.read_bytes() for path in before} == before
    steelyard.report(folder, folder / "report.html")
    steelyard.report(folder, folder / "report.html")  # the report itself is not among the files that it shows


def test_names_from_a_file_cannot_become_part_of_the_page(tmp_path):
    hostile = [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a\u2028b\u2029",
        "\x1b[31m",
        "q\"'&<!--",
        "\u202eright",
    ]
    steelyard.save({name: np.ones(2, "f4") for name in hostile}, tmp_path / "x.safetensors")
    path = tmp_path / "<b onclick=1>&'\".safetensors"
    (tmp_path / "x.safetensors").rename(path)
    assert main(["report", str(path), "-o", str(tmp_path / "r.html")]) == 0
    page = Page(tmp_path / "r.html")
    assert page.index["columns"]["name"] == hostile
    assert [attributes.get("type") for attributes, _ in page.all("script")] == [
        "application/octet-stream",
        "module",
        "application/octet-stream",
        "application/octet-stream",
    ]
    assert not page.all("img")
    assert not page.all("b")
    assert "alert(" not in page.text
    assert page.all("title")[0][1].startswith("<b onclick=1>&'\".safetensors")
    assert "\u2028" not in page.text


def test_the_policy_allows_the_script_and_the_style_by_their_hashes_and_nothing_else(page):
    (policy,) = [
        attributes["content"] for attributes, _ in page.all("meta") if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    assert {"base-uri", "form-action"} <= set(allowed)

    def hashed(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"

    scripts = [(attributes["type"], text) for attributes, text in page.all("script")]
    [script] = [text for kind, text in scripts if kind != "application/octet-stream"]
    assert ("module", script) in scripts
    assert allowed["script-src"] == hashed(script.encode())
    assert allowed["style-src"] == hashed(page.all("style")[0][1].encode())
    assert "function unpack(" in script
    assert not re.findall(r"^(?:import|export)\b", script, re.MULTILINE)


def test_the_page_contains_no_address(page):
    told = page.text
    for attributes, _ in page.all("script"):
        assert "src" not in attributes
    for _, attributes, _ in page.elements:
        assert all(not str(attributes.get(word, "data:")).startswith(("http", "//")) for word in ("src", "href", "action"))
    assert not re.findall(r"(?:https?|wss?)://(?!www\.w3\.org/)", told)
    assert "\\u0000" not in told


def test_reports_of_equal_weights_are_equal(net, tmp_path):
    for name in ("one.html", "two.html"):
        steelyard.report(net, tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def random_net(count, side):
    """Return a net with this number of weights, whose numbers do not compress."""
    chance = np.random.default_rng(0)
    shapes = [(3 * side, side), (3 * side,), (4 * side, side), (side, 16, 3, 3), (side,)]
    return {f"blocks.{nth // 5}.{nth % 5}.weight": chance.standard_normal(shapes[nth % 5]).astype("f4") for nth in range(count)}


def test_a_report_of_500_weights_takes_less_than_2_mb_and_is_still_detailed(tmp_path):
    steelyard.report(random_net(500, 96), tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 2e6
    drawn = Page(tmp_path / "r.html").details[2][0]["picture"]
    assert drawn["height"] * drawn["width"] > 1000


def test_a_report_of_500_weights_and_older_ones_takes_less_than_2_mb(tmp_path):
    one = random_net(500, 48)
    before = {name: value + np.float32(0.5) * value[::-1] for name, value in one.items()}
    steelyard.report(one, tmp_path / "r.html", before=before, spectra="none")
    assert (tmp_path / "r.html").stat().st_size < 2e6


def test_a_report_of_10_000_weights_takes_less_than_10_mb(tmp_path):
    steelyard.report(random_net(10_000, 24), tmp_path / "r.html")
    assert 2e6 < (tmp_path / "r.html").stat().st_size < 10e6


def test_a_report_shows_a_weight_that_cannot_be_read_with_its_reason_or_leaves_it_out(tmp_path, capsys):
    file, page = tmp_path / "net.pt", tmp_path / "r.html"
    torch.save({"fc.weight": torch.ones(2, 3), "odd": torch.ones(2, device="meta")}, file)
    assert main(["report", str(file), "-o", str(page), "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out) | {"weights": 2, "unreadable": 1} == json.loads(said.out)
    assert "1 of 2 weights cannot be read" in said.err
    shown = Page(page)
    assert main(["report", str(file), "-o", str(page), "--json", "--skip-unreadable"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) | {"weights": 1, "unreadable": 0} == json.loads(said.out)
    assert "warning: " in said.err
    assert "'odd'" in said.err
    assert "is on the meta device" in said.err
    left = Page(page)
    assert [[*each.index["columns"]["name"]] for each in (shown, left)] == [["fc.weight", "odd"], ["fc.weight"]]
