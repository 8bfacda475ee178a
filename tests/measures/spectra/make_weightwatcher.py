"""Write WeightWatcher's results for some matrices into weightwatcher.json: python tests/measures/spectra/make_weightwatcher.py

It needs an environment of its own with weightwatcher and torch. The matrices are made by `matrices` from seeds, in float32,
so that the tests make exactly the same ones.
"""

import json
import sys
from pathlib import Path

import numpy as np

SHAPES = {"square": (64, 64), "wide": (40, 200), "tall": (300, 100), "small": (32, 24), "large": (500, 400)}
FIGURES = (
    "alpha",
    "D",
    "sigma",
    "xmin",
    "num_pl_spikes",
    "spectral_norm",
    "stable_rank",
    "norm",
    "sv_max",
    "sv_min",
    "matrix_rank",
    "entropy",
    "Q",
)


def matrices():
    """Gaussian, heavy-tailed, low-rank-plus-noise and orthogonal matrices, by name."""
    found = {}
    for nth, (name, (rows, columns)) in enumerate(SHAPES.items()):
        chance = np.random.default_rng(nth)
        gauss = chance.standard_normal((rows, columns)) / np.sqrt(columns)
        found[f"gauss {name}"] = gauss
        found[f"heavy {name}"] = chance.standard_t(2.5, (rows, columns)) / np.sqrt(columns)
        spikes = chance.standard_normal((rows, 5)) @ np.diag(5.0 ** np.arange(5) / 300) @ chance.standard_normal((5, columns))
        found[f"spiked {name}"] = gauss + spikes / 4
        left, _, right = np.linalg.svd(gauss, full_matrices=False)
        found[f"powers {name}"] = left @ np.diag((np.arange(min(rows, columns)) + 1.0) ** -0.8) @ right
    return {name: matrix.astype(np.float32) for name, matrix in found.items()}


def main():
    import torch
    import weightwatcher

    made = matrices()
    layers = []
    for matrix in made.values():
        layer = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
        layer.weight.data = torch.from_numpy(matrix.copy())
        layers.append(layer)
    details = weightwatcher.WeightWatcher(model=torch.nn.Sequential(*layers)).analyze(min_evals=0)
    rows = details.sort_values("layer_id").to_dict("records")
    numbers = {name: {key: float(row[key]) for key in FIGURES} for name, row in zip(made, rows, strict=True)}
    record = {
        "made by": f"weightwatcher {weightwatcher.__version__}",
        "torch": torch.__version__,
        "numpy": np.__version__,
        "matrices": numbers,
    }
    Path(__file__).with_name("weightwatcher.json").write_text(json.dumps(record, indent=1) + "\n")
    sys.stderr.write(f"{len(numbers)} matrices\n")


if __name__ == "__main__":
    main()
