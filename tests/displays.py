"""One of each object that a notebook displays."""

import numpy as np

import steelyard
from steelyard.transfers.proof import LayerError, Proof

RNG = np.random.default_rng(0)
A = {
    "fc": {"weight": RNG.normal(size=(30, 20)), "bias": RNG.normal(size=30)},
    "head.weight": RNG.normal(size=(10, 30)),
    "gone": np.ones(3),
}
B = {
    **A,
    "head.weight": A["head.weight"] * 2,
    "fc": {"weight": A["fc"]["weight"] + 1e-3, "bias": A["fc"]["bias"]},
    "new": np.ones((2, 2)),
}
del B["gone"]
BAD = {"a": np.array([1.0, np.nan]), "same": np.zeros((8, 8)), "fine": RNG.normal(size=(8, 8))}
HOSTILE = "<img src=x onerror=alert(1)>\u202e</td></details>"


def net():
    import torch

    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))


def transferred():
    import torch

    return steelyard.transfer(net(), into=net(), probe=torch.ones(3, 4))


RESULTS = {
    "stats": lambda: steelyard.stats(A),
    "stats by role": lambda: steelyard.stats(A, "role"),
    "stats that are not finite": lambda: steelyard.stats(BAD),
    "architecture": lambda: steelyard.architecture(net()),
    "architecture without a graph": lambda: steelyard.architecture(A),
    "no architecture": lambda: steelyard.architecture({}),
    "size": lambda: steelyard.size({f"h.{n}": {"weight": np.ones((32, 64), "f4")} for n in range(9)}),
    "no size": lambda: steelyard.size({}),
    "no stats": lambda: steelyard.stats({}),
    "diff": lambda: steelyard.diff(A, B),
    "no diff": lambda: steelyard.diff(A, A),
    "spectra": lambda: steelyard.spectra(A),
    "no spectra": lambda: steelyard.spectra({"a": np.ones(3)}),
    "check": lambda: steelyard.check(BAD, health=True),
    "good check": lambda: steelyard.check(A),
    "digest": lambda: steelyard.digest(A, "sha256"),
    "lineage": lambda: steelyard.lineage({"a": A, "b": A, "c": B}),
    "what if": lambda: steelyard.what_if({"fc.weight": np.ones((2, 8), "f4")}, ["int8", "q4_0"]),
    "plan": lambda: steelyard.plan_transfer(net(), into=net()),
    "transfer": transferred,
    "refuted": lambda: Proof(max_abs=0.5, max_rel=0.25, layers=[LayerError("a", "b", 0.25)], tolerance=1e-5),
    "not proven": lambda: Proof("no probe was given"),
}
