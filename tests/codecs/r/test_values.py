"""Values of R as the reader keeps them."""

import numpy as np

import steelyard
from steelyard.codecs.r.values import Vector


def test_the_shape_of_an_array_is_read_once(tmp_path, monkeypatch):
    steelyard.save({"a": np.ones((2, 3)), "b": np.ones((4, 1, 2)), "c": np.ones(3)}, tmp_path / "net.rds")
    read, plain = [], Vector.plain
    monkeypatch.setattr(Vector, "plain", lambda self, *place: read.append(self.length) or plain(self, *place))
    assert [w.shape for w in steelyard.weights(tmp_path / "net.rds").values()] == [(2, 3), (4, 1, 2), (3,)]
    assert sorted(read) == [2, 3]
