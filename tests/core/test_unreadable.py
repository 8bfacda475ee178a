"""Weights that are listed but cannot be read, and numbers that are not in the model after they were assigned."""

import numpy as np
import pytest

import steelyard
from steelyard.core.readers import from_array
from steelyard.core.weight import Refused, Role, Weight
from steelyard.core.weights import Weights
from steelyard.errors import (
    EmptySelectionWarning,
    FormatError,
    LeftOutWarning,
    ReadOnlyError,
    ShapeError,
    UnreadableError,
)

REASON = "net.bin: is packed"


def packed(name="packed", shape=(), dtype="object"):
    return Weight(name=name, shape=shape, dtype=dtype, read=Refused(FormatError("net.bin", "is packed")))


def mixed():
    return Weights([from_array("fc.weight", np.ones((2, 3), "f4"), role=Role.KERNEL), packed()])


def fit():
    return {"fc": {"kernel": np.zeros((3, 2), "f4")}}


def test_a_weight_that_cannot_be_read_is_listed_with_its_reason_and_counts_for_nothing():
    w = mixed()
    assert list(w) == ["fc.weight", "packed"]
    assert w.unreadable == {"packed": REASON}
    assert (w["packed"].size, w["packed"].nbytes, w.size) == (0, 0, 6)
    assert w["fc.weight"].unreadable is None
    assert "unreadable='net.bin: is packed'" in repr(w["packed"])


def test_the_reason_of_a_weight_keeps_nothing_else_that_its_reader_knew_and_does_not_grow_by_attempts():
    """A file may have a hundred thousand weights that cannot be read, each with frames and what these refer to."""

    def failed():
        try:
            try:
                open("missing/net.bin")  # noqa: SIM115 - it is not there
            except OSError:
                raise FormatError("net.bin", "is packed") from None
        except FormatError as error:
            return Refused(error)

    refused = failed()
    assert refused.error.__traceback__ is None
    assert refused.error.__context__ is None
    lengths = set()
    for _ in range(3):
        with pytest.raises(FormatError, match=REASON) as raised:
            refused(0, 1)
        lengths.add(len(raised.traceback))
    assert len(lengths) == 1


def test_the_size_of_an_unreadable_weight_is_known_where_its_shape_is():
    assert packed(shape=(4, 8), dtype="int8").size == 32


@pytest.mark.parametrize(
    "use",
    [
        lambda w: w.to_vector(),
        steelyard.digest,
        lambda w: steelyard.digest(w, layout="canonical"),
        steelyard.stats,
        steelyard.spectra,
        lambda w: steelyard.diff(w, w),
        lambda w: steelyard.lineage({"a": w, "b": w}),
        lambda w: steelyard.plan_transfer(w, into=fit()),
        lambda w: steelyard.transfer(w, into=fit()),
        lambda w: steelyard.transfer(fit(), into=w),
        lambda w: steelyard.save_patch(w, w, "p.safetensors"),
    ],
    ids=[
        *("vector", "digest", "canonical digest", "stats", "spectra", "diff"),
        *("lineage", "plan", "transfer", "transfer into it", "patch"),
    ],
)
def test_what_needs_numbers_refuses_an_unreadable_weight_by_name(use):
    with pytest.raises(UnreadableError, match=r"1 of 2 weights, which cannot be read: 'packed' \(net.bin: is packed\)"):
        use(mixed())


def test_what_pairs_weights_goes_on_without_an_unreadable_weight_and_warns(tmp_path):
    with pytest.warns(LeftOutWarning, match="left out 1 of 2 weights"):
        assert steelyard.lineage({"a": mixed(), "b": mixed()}, skip_unreadable=True).duplicates == [["a", "b"]]
    with pytest.warns(LeftOutWarning, match="left out 1 of 2 weights"):
        made = steelyard.transfer(mixed(), into=fit(), skip_unreadable=True).model
    assert made["fc"]["kernel"].tolist() == np.ones((3, 2)).tolist()
    path = tmp_path / "p.safetensors"
    with pytest.warns(LeftOutWarning):
        assert steelyard.save_patch(mixed(), mixed(), path, skip_unreadable=True).how == {"fc.weight": "same"}
    with pytest.raises(UnreadableError, match="'packed'"):
        steelyard.apply_patch(mixed(), path)
    with pytest.warns(LeftOutWarning):
        assert list(steelyard.apply_patch(mixed(), path, skip_unreadable=True)) == ["fc.weight"]


def test_saving_refuses_an_unreadable_weight_and_writes_nothing(tmp_path):
    with pytest.raises(UnreadableError, match="'packed'"):
        steelyard.save(mixed(), tmp_path / "w.npz")
    assert not list(tmp_path.iterdir())
    with pytest.warns(LeftOutWarning, match="left out 1 of 2 weights, which cannot be read: 'packed'"):
        steelyard.save(mixed(), tmp_path / "w.npz", skip_unreadable=True)
    assert list(steelyard.weights(tmp_path / "w.npz")) == ["fc.weight"]


def test_skipping_goes_on_with_the_rest_and_names_what_it_leaves():
    rest = mixed().select("fc.*")
    with pytest.warns(LeftOutWarning, match="'packed'"):
        assert mixed().to_vector(skip_unreadable=True).tolist() == [1.0] * 6
    with pytest.warns(LeftOutWarning, match="'packed'"):
        assert steelyard.digest(mixed(), skip_unreadable=True) == steelyard.digest(rest)
    with pytest.warns(LeftOutWarning, match="'packed'"):
        assert steelyard.diff(mixed(), rest, skip_unreadable=True).same


def test_skipping_also_leaves_out_what_fails_only_as_it_is_read():
    def cut(start, stop):
        raise FormatError("net.bin", "is cut off")

    w = Weights([from_array("a", np.ones(2)), Weight(name="b", shape=(2,), dtype="float64", read=cut)])
    with pytest.warns(LeftOutWarning, match="'b' .*is cut off"):
        assert w.to_vector(skip_unreadable=True).tolist() == [1.0, 1.0]


def test_a_cast_or_renamed_weight_stays_unreadable():
    assert list(mixed().astype("float16").unreadable) == ["packed"]
    assert list(mixed().rename("(.*)", r"net.\1").unreadable) == ["net.packed"]


def test_a_check_says_how_many_weights_it_could_read():
    found = steelyard.check(mixed())
    assert not found.ok
    assert (found.readable, found.weights) == (1, 2)
    assert repr(found) == f"1 of 2 weights readable; packed cannot be read: {REASON}"


def test_a_list_marks_the_weights_that_cannot_be_read():
    shown = repr(mixed()).splitlines()
    assert "? (unreadable)" in shown[2]
    assert shown[-1] == "1 of 2 weights, which cannot be read: 'packed' (net.bin: is packed)"


def test_a_selection_that_fits_nothing_warns():
    w = steelyard.weights({"a": np.ones(2)})
    with pytest.warns(EmptySelectionWarning, match="no weight fits this selection; missing_ok=True allows that"):
        assert not w.select("b*")
    with pytest.warns(EmptySelectionWarning, match="it is not known whether they are trainable"):
        assert not w.select(trainable=True)
    assert not w.select("b*", missing_ok=True)


def overlapping():
    base = np.arange(4.0)
    listed = [from_array("whole", base), from_array("end", base[2:]).replace(overlaps="whole")]
    return base, Weights(listed, live=True, assign=lambda arrays, verify=True: "model")


def test_values_of_overlapping_weights_must_agree_or_nothing_is_written():
    base, w = overlapping()
    with pytest.raises(ShapeError, match="end and whole overlap in memory, and the values of whole do not agree with both"):
        w.assign({"whole": np.zeros(4), "end": np.ones(2)})
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(ShapeError, match="overlap in memory"):
        w.assign(np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0]))
    assert base.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert w.assign({"whole": np.array([5.0, 6.0, 7.0, 8.0]), "end": np.array([7.0, 8.0])}) == "model"
    assert base.tolist() == [5.0, 6.0, 7.0, 8.0]


def test_counts_tell_parameters_from_buffers_and_from_what_is_not_known():
    facts = {"fc.weight": (2, 3), "bn.running_mean": (3,), "table": (5,)}
    w = steelyard.weights({name: np.zeros(shape) for name, shape in facts.items()})
    assert tuple(w.counts) == (6, 3, 5)
    assert str(w.counts) == "6 parameters, 3 in buffers, 5 other numbers"
    assert str(steelyard.weights({"table": np.zeros(1)}).counts) == "1 number"


class Rounding:
    """A model that keeps whole numbers only, whatever it is given."""

    def __init__(self):
        self.kept = np.array([1.0, 2.0])


@pytest.fixture
def rounding(monkeypatch):
    class Framework:
        @staticmethod
        def weights(model):
            yield from_array("w", model.kept[::1].copy()[::-1][::-1])

        @staticmethod
        def assign(model, arrays):
            model.kept = np.round(arrays["w"])
            return model

    from steelyard.core import plugins

    monkeypatch.setattr(plugins, "framework_of", lambda model: Framework)
    monkeypatch.setattr("steelyard.frameworks.framework_of", lambda model: Framework)
    return Rounding()


def test_numbers_that_the_model_does_not_keep_are_an_error_and_it_has_its_old_ones_back(rounding):
    read_only = steelyard.weights(rounding)
    w = read_only.with_weights([weight.replace(read=lambda a, b: rounding.kept[a:b]) for weight in read_only.values()])
    with pytest.raises(ReadOnlyError, match="holds other numbers than were assigned to w; it has its old ones back"):
        w.assign({"w": [1.5, 2.0]})
    assert rounding.kept.tolist() == [1.0, 2.0]
    w.assign({"w": [3.0, 4.0]})
    assert rounding.kept.tolist() == [3.0, 4.0]
    w.assign({"w": [1.5, 2.0]}, verify=False)
    assert rounding.kept.tolist() == [2.0, 2.0]
