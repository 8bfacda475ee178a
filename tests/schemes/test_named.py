"""Schemes that are known by name only are refused with the reason, and weights whose scales are lost."""

import numpy as np
import pytest
from packed_files import effective, reason

INTS = np.ones((4, 4), "i4")
FLOATS = np.ones(4, "f4")


@pytest.mark.parametrize(
    ("leaves", "scheme", "why"),
    [({"codes": INTS, "codebooks": FLOATS, "scales": FLOATS}, "AQLM", "code books"),
     ({"indices": INTS, "centroids.weight": FLOATS}, "VPTQ", "code books"),
     ({"Qidxs": INTS, "SU": FLOATS, "SV": FLOATS}, "QuIP#", "code books"),
     ({"q_weight": INTS, "q_scale": INTS}, "EXL2", "order of a kernel"),
     ({"trellis": INTS.astype("i2"), "suh": FLOATS, "svh": FLOATS}, "EXL3", "code books"),
     ({"dense_weights": INTS, "row_offsets": INTS}, "SpQR", "order of a kernel"),
     ({"B": INTS, "s_channel": FLOATS, "s_group": FLOATS}, "QQQ", "order of a kernel"),
     ({"B": INTS, "s": FLOATS, "workspace": INTS}, "Marlin", "order of a kernel"),
     ({"qweight": INTS, "theta": FLOATS, "qzeros": INTS, "scales": FLOATS}, "ParoQuant", "rotated"),
     ({"weight": INTS.astype("i1"), "weight_scales": FLOATS}, "EETQ", "order of a kernel"),
     ({"qweight": INTS.astype("i1"), "scales": FLOATS, "zeros": FLOATS}, "BitBLAS", "order of a kernel"),
     ({"weight_packed": INTS, "meta": INTS.astype("i2"), "scale_packed": FLOATS}, "marlin-24", "order of a kernel")],
    ids=["AQLM", "VPTQ", "QuIP#", "EXL2", "EXL3", "SpQR", "QQQ", "Marlin", "ParoQuant", "EETQ", "BitBLAS", "marlin-24"],
)  # fmt: skip
def test_a_scheme_that_is_not_read_is_named(leaves, scheme, why, tmp_path):
    found = effective(tmp_path, leaves)
    assert [*found] == ["fc.weight"]
    assert found["fc.weight"].unreadable.startswith(f"fc.weight is packed by {scheme}: its numbers are")
    assert why in found["fc.weight"].unreadable


def test_a_sparse_bit_mask_is_named_under_the_plain_name(tmp_path):
    leaves = {"weight.compressed": FLOATS, "weight.bitmask": np.ones(4, "u1"), "weight.shape": np.array([2, 4])}
    assert "a sparse bit mask: its numbers are those that a bit mask keeps" in reason(tmp_path, leaves)


def test_plain_weights_with_such_names_stay_as_they_are(tmp_path):
    plain = {"B": FLOATS, "s": FLOATS, "codes": FLOATS, "codebooks": FLOATS, "weight": np.ones((2, 3), "f4"), "scales": FLOATS,
             "weight_blocks": np.ones((2, 3), "u1"), "scale": FLOATS, "indices": np.ones(3, "i8"), "meta": FLOATS}  # fmt: skip
    found = effective(tmp_path, plain)
    assert sorted(found) == sorted(f"fc.{leaf}" for leaf in plain)
    assert not found.unreadable
