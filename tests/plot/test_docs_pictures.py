"""The pictures of the docs: each is shown, made by the script, small, and what the nets of today give."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from steelyard import plot

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
PAGE = (ROOT / "docs" / "plots.md").read_text()


def script():
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "scripts" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_picture_of_the_page_is_made_by_the_script_and_small():
    shown = set(re.findall(r"\]\(pictures/([\w-]+)\.png\)", PAGE))
    made = script()
    assert shown <= set(made.PICTURES)
    assert {name.partition("-")[0] for name in shown} == set(plot.__all__)
    assert all((FOLDER / f"{name}.png").stat().st_size <= made.LARGEST for name in shown)


@pytest.mark.parametrize("name", ["overview", "filters", "network-r"])
def test_a_picture_of_the_page_is_what_the_script_makes(name, tmp_path):
    made = script()
    (tmp_path / "made.png").write_bytes(made.png(made.PICTURES[name]()))
    one, other = (
        np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (tmp_path / "made.png", FOLDER / f"{name}.png")
    )
    assert one.shape == other.shape
    assert (np.abs(one - other).max(axis=-1) > 48).mean() < 0.005
