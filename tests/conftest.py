"""What the tests share: where the facts measured for the project lie, and small nets that were really trained."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("STEELYARD_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared():
    """The folder beside the project with real weight files, golden cases and hostile files."""
    if not SHARED.is_dir():
        pytest.fail(f"{SHARED} is missing; set STEELYARD_SHARED to the folder with the corpus")
    return SHARED


@pytest.fixture(scope="session")
def digits():
    """The handwritten digits that scikit-learn ships: 400 rows of 64 pixels in [0, 1], and their labels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x[:400] / 16.0).astype("float32"), y[:400].astype("int64")
