"""Draw every picture in matplotlib's default style, and close all figures afterwards."""

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def _one_style():
    plt.switch_backend("agg")
    with plt.style.context("default"), mpl.rc_context({"font.family": "DejaVu Sans", "figure.dpi": 100}):
        yield
    plt.close("all")
