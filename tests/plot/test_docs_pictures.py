"""The pictures of the docs: each is shown on a page, made by the script, small, and up to date."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steelyard import plot

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"


def shown(page):
    """Return the names of the pictures on a page of the docs."""
    return set(re.findall(r"\]\(pictures/([\w-]+)\.png\)", (ROOT / "docs" / page).read_text()))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_plots_shows_each_of_them(script):
    assert shown("plots.md") <= set(script.PICTURES)
    assert {name.partition("-")[0] for name in shown("plots.md")} == set(plot.__all__)


def test_the_gallery_shows_every_page(script):
    shown_there = shown("looking.md") | shown("notebook.md")
    assert set(script.PAGES) <= shown_there <= {*script.PAGES, *script.PICTURES}


def test_every_picture_is_small_and_made_by_the_script(script):
    there = {path.stem: path.stat().st_size for path in FOLDER.iterdir()}
    assert set(there) == {*script.PAGES, *script.PICTURES, *script.SHELLS}
    assert max(there.values()) <= script.LARGEST


@pytest.mark.parametrize("name", ["overview", "filters", "network-r"])
def test_a_picture_of_the_page_equals_the_one_that_the_script_makes(script, name, tmp_path):
    (tmp_path / "made.png").write_bytes(script.small(script.drawn(script.PICTURES[name]())))
    one, other = (
        np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (tmp_path / "made.png", FOLDER / f"{name}.png")
    )
    assert one.shape == other.shape
    assert (np.abs(one - other).max(axis=-1) > 48).mean() < 0.005
