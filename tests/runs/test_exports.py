"""What other tools read of a run is what its history says; their own libraries read it here."""

import numpy as np
import pytest

import steelyard
from steelyard.errors import ShapeError
from steelyard.runs import zarr


@pytest.fixture(scope="module")
def h(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "a"
    rng = np.random.default_rng(0)
    with steelyard.record(folder) as rec:
        for step in range(0, 260, 20):
            w = rng.standard_normal((30, 20)) + step / 10
            w[0, 0] = np.nan if step == 40 else 0
            metrics = {"loss": 1 / (1 + step)} | ({"acc": 0.5} if step > 100 else {})
            rec(step, {"fc": {"weight": w, "bias": np.full(3, step)}}, epoch=step / 40, metrics=metrics)
    return steelyard.history(folder)


def test_tensorflow_reads_the_scalars_and_histograms_of_an_event_file(h, tmp_path):
    import tensorflow as tf

    path = h.to_tensorboard(tmp_path / "logs")
    first, *events = tf.compat.v1.train.summary_iterator(path)  # which checks the CRC of each record
    assert first.file_version == "brain.Event:2"
    assert [event.step for event in events] == h.steps
    assert [event.wall_time for event in events] == [row.time for row in h.run.rows]
    scalars = [
        {value.tag: value.simple_value for value in event.summary.value if value.HasField("simple_value")} for event in events
    ]
    assert [each["loss"] for each in scalars] == h.metrics["loss"].astype("f4").tolist()
    assert sum("acc" in each for each in scalars) == 7
    assert [each["norm/fc.weight"] for each in scalars] == h.norms()["fc.weight"].astype("f4").tolist()
    assert "ratio/fc.weight" not in scalars[2]
    assert scalars[5]["ratio/fc.weight"] == np.float32(h.ratios()["fc.weight"][5])
    found = [{value.tag: value.histo for value in event.summary.value if value.HasField("histo")} for event in events]
    assert [nth for nth, each in enumerate(found) if each] == [0, 10]
    histogram, ridge = found[10]["weights/fc.weight"], h.ridgeline("fc.weight")
    assert list(histogram.bucket) == ridge.counts[1].tolist()
    assert np.allclose(histogram.bucket_limit, ridge.edges[1][1:])
    assert (histogram.num, histogram.min, histogram.max) == (600, ridge.edges[1][0], ridge.edges[1][-1])
    assert histogram.sum_squares == pytest.approx(h.norms()["fc.weight"][10] ** 2)


def test_tensorstore_reads_each_array_of_a_group_of_zarr(h, tmp_path, monkeypatch):
    import json

    import tensorstore

    monkeypatch.setattr(zarr, "CHUNK", 100)  # several chunks, the last one not full
    folder = tmp_path / "a.zarr"
    h.to_zarr(folder)

    def read(name):
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/{name}/"}}
        return tensorstore.open(spec).result().read().result()

    assert read("step").tolist() == h.steps
    assert read("epoch").tolist() == h.epochs
    assert np.array_equal(read("stats"), h.run.stats, equal_nan=True)
    assert np.array_equal(read("sketches"), h.run.sketches())
    facts = json.loads((folder / "zarr.json").read_text())["attributes"]
    assert (facts["weights"], facts["metrics"]) == (h.names, ["loss", "acc"])
    assert np.array_equal(read("metrics").T, list(h.metrics.values()), equal_nan=True)
    with pytest.raises(ShapeError, match="is not empty; write into a new folder"):
        h.to_zarr(folder)


def test_a_group_of_zarr_that_could_not_be_finished_is_none(h, tmp_path, monkeypatch):
    real, written = zarr._write, []

    def failing(path, content):
        if len(written) == 6:
            raise OSError(28, "No space left on device")
        written.append(path)
        real(path, content)

    monkeypatch.setattr(zarr, "_write", failing)
    with pytest.raises(OSError, match="No space left"):
        h.to_zarr(tmp_path / "b.zarr")
    assert written
    assert not (tmp_path / "b.zarr" / "zarr.json").exists()


def test_parquet_and_frames_have_a_row_for_each_step_and_weight(h, tmp_path):
    import polars as pl

    h.write(str(tmp_path / "run.parquet"))
    found = pl.read_parquet(tmp_path / "run.parquet")
    assert found.shape[0] == len(h) * 2
    assert found.filter(weight="fc.weight")["l2"].to_list() == h.norms()["fc.weight"].tolist()
