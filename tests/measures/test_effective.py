"""The measures of the weights that a net computes with: as those of the plain net that holds these numbers."""

import numpy as np
import pytest

import steelyard

STORED = {
    "fc.weight_orig": np.arange(12, dtype="f4").reshape(3, 4) - 5,
    "fc.weight_mask": (np.arange(12).reshape(3, 4) % 3 > 0).astype("f4"),
    "fc.bias": np.ones(3, "f4"),
}
PLAIN = {"fc.weight": STORED["fc.weight_orig"] * STORED["fc.weight_mask"], "fc.bias": STORED["fc.bias"]}


@pytest.mark.parametrize(
    "measure",
    [
        lambda source, **options: steelyard.stats(source, **options).to_dict(),
        lambda source, **options: steelyard.spectra(source, **options).to_dict(),
        lambda source, **options: steelyard.digest(source, **options).to_dict(),
        lambda source, **options: steelyard.digest(source, layout="canonical", **options).to_dict(),
        lambda source, **options: [str(finding) for finding in steelyard.check(source, health=True, **options).findings],
    ],
    ids=["stats", "spectra", "digest", "canonical digest", "health"],
)
def test_a_measure_of_effective_weights_is_that_of_the_plain_net(measure):
    assert measure(STORED, effective=True) == measure(PLAIN)


def test_a_pruned_net_is_equal_to_the_plain_one_and_of_the_same_weights():
    assert steelyard.diff(STORED, PLAIN, effective=True).same
    assert not steelyard.diff(STORED, PLAIN).same
    assert "same weights" in str(steelyard.lineage({"a": STORED, "b": PLAIN}, effective=True))


def test_a_transfer_of_effective_weights_gives_the_numbers_that_the_source_computes_with():
    target = {"dense/kernel": np.zeros((4, 3), "f4"), "dense/bias": np.zeros(3, "f4")}
    made = steelyard.transfer(STORED, into=target, effective=True).model
    assert (PLAIN["fc.weight"] == made["dense/kernel"].T).all()


def test_a_report_shows_effective_weights_with_their_scheme():
    from steelyard.inspector.index import OpenedSource, index_of, rows_of

    sources = [OpenedSource("net", steelyard.effective(STORED), STORED)]
    columns = index_of(sources, rows_of(sources)[0], live=False)["columns"]
    assert (columns["name"][0], columns["encoding"]) == ("fc.weight", ["pruning of PyTorch", ""])
    assert steelyard.report(STORED, effective=True).html != steelyard.report(STORED).html
