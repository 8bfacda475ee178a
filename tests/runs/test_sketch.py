"""Distances and principal components of sketches are those of the vectors, within some percent."""

import numpy as np
import pytest

import steelyard
from steelyard.runs import sketch
from steelyard.runs.store import open_run


def path_of(steps=30):
    """Return the weights of a smooth path in a space of 20,000 dimensions, with a little noise."""
    rng = np.random.default_rng(3)
    start, one, two = rng.standard_normal((3, 20_000))
    for at in np.linspace(0, 3, steps):
        yield (start + 3 * np.cos(at) * one + 2 * np.sin(2 * at) * two + rng.standard_normal(20_000) / 10).astype("f4")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    folder, vectors = tmp_path_factory.mktemp("run"), list(path_of())
    with steelyard.record(folder) as rec:
        for step, vector in enumerate(vectors):
            rec(step, {"kernel": vector[:19_200].reshape(120, 160), "bias": vector[19_200:]})
    return open_run(folder).sketches().astype(float), np.array(vectors, float)


def distances(points):
    return np.array([np.linalg.norm(points - point, axis=1) for point in points])


def test_distances_of_sketches_are_those_of_the_vectors(walked):
    sketches, vectors = walked
    true = distances(vectors)
    upper = np.triu_indices(len(true), 1)
    error = np.abs(distances(sketches)[upper] / true[upper] - 1)
    assert np.median(error) < 0.03
    assert error.max() < 0.12


def test_principal_components_of_sketches_are_those_of_the_vectors(walked):
    def components(points):
        centred = points - points.mean(0)
        return np.linalg.eigh(np.einsum("ik,jk->ij", centred, centred))[1][:, -2:]

    one, two = map(components, walked)
    assert min(abs(np.corrcoef(one[:, nth], two[:, nth])[0, 1]) for nth in (0, 1)) > 0.99


def test_small_steps_are_not_lost_in_rounding(tmp_path):
    rng = np.random.default_rng(0)
    w, steps = rng.standard_normal(5000).astype("f4"), 1e-5 * rng.standard_normal((30, 5000)).astype("f4")
    with steelyard.record(tmp_path) as rec:
        for step, change in enumerate(steps):
            w += change
            rec(step, {"w": w})
    run = open_run(tmp_path)
    found = np.linalg.norm(np.diff(run.sketches().astype(float), axis=0), axis=1)
    assert found == pytest.approx(run.column("update")[1:, 0], rel=0.12)


def test_a_heavy_row_or_column_of_a_matrix_is_spread_over_the_sketch():
    size = (1024, 1024)
    signs = sketch.Signs([size[0] * size[1]], 0)
    for heavy in (np.s_[5, :], np.s_[:, 5]):
        matrix, total = np.zeros(size, np.float32), sketch.empty()
        matrix[heavy] = 1
        for nth, start in enumerate(range(0, matrix.size, sketch.BLOCK)):
            signs.add(total, 0, nth, matrix.reshape(-1)[start : start + sketch.BLOCK])
        assert np.count_nonzero(total) > 500
        assert np.linalg.norm(total) == pytest.approx(32, rel=0.1)


def test_the_signs_are_those_of_the_seed_on_every_machine():
    total = sketch.empty()
    sketch.Signs([5], 0).add(total, 0, 0, np.arange(1, 6, dtype=np.float32))
    places = np.flatnonzero(total)
    assert (places.tolist(), total[places].tolist()) == EXPECTED


EXPECTED = ([887, 888, 889, 890, 891], [-1, 2, -3, 4, 5])
