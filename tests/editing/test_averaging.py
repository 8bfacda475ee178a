"""Averages of nets, against those of PyTorch, timm, diffusers and NumPy."""

import json

import ml_dtypes
import numpy as np
import pytest
from carried import SHARED
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import steelyard
from steelyard.editing.averaging import REMINDER
from steelyard.errors import ShapeError

GOLDEN = SHARED / "editing" / "golden"
CASES = sorted(path.name for path in GOLDEN.glob("avg_*"))


def read(case, which, types):
    with np.load(GOLDEN / case / f"{which}.npz") as file:
        return {key: file[key].view(ml_dtypes.bfloat16) if types.get(key) == "bfloat16" else file[key] for key in file}


def averaged(case, meta, nets):
    if case.startswith("avg_swa"):
        return steelyard.swa(nets, buffers="average" if "buffers" in case else "last")
    if "decays" in meta:
        return steelyard.ema(nets, meta["decays"], buffers="last" if "nobuf" in case else "average")
    decay = 0.999 if "0.999" in case else 0.9
    return steelyard.ema(nets, decay, buffers="average" if "buffers" in case else "last")


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_an_average_is_that_of_the_peer(case):
    meta = json.loads((GOLDEN / case / "meta.json").read_text())
    inputs, expected = (read(case, w, meta.get(f"{w}_dtypes", {})) for w in ("inputs", "expected"))
    names = [key[2:] for key in inputs if key.startswith("0/")]
    count = max(int(key[0]) for key in inputs) + 1
    made = averaged(case, meta, [steelyard.weights({name: inputs[f"{nth}/{name}"] for name in names}) for nth in range(count)])
    for name in set(names) & set(expected):
        want, found = expected[name], made[name].numpy()
        if np.issubdtype(want.dtype, np.integer):
            # integers are never averaged: AveragedModel truncates their mean
            assert found in [inputs[f"{nth}/{name}"] for nth in range(count)]
            continue
        assert found.dtype == want.dtype
        tolerance = 3e-2 if found.dtype == ml_dtypes.bfloat16 else 5e-7  # the peer rounds to bfloat16 at each step
        scale = np.abs(want.astype(np.float64)).max()
        assert np.abs(found.astype(np.float64) - want.astype(np.float64)).max() <= tolerance * scale


def nets(count, dtype="float32", size=(5, 7)):
    rng = np.random.default_rng(3)
    return [{"w": rng.normal(size=size).astype(dtype), "n": np.array(seed)} for seed in range(count)]


def test_the_mean_is_the_sum_in_float32_rounded_once():
    made = nets(8, "float16")
    mean = steelyard.average(made)["w"].numpy()
    exact = np.mean([net["w"].astype(np.float64) for net in made], axis=0).astype(np.float16)
    assert np.array_equal(mean, exact)


def test_weights_are_shares_as_of_fedavg():
    made, counts = nets(3), [10, 30, 60]
    mean = steelyard.average(made, weights=counts)["w"].numpy()
    assert np.allclose(mean, np.average([net["w"] for net in made], axis=0, weights=counts), rtol=0, atol=3e-7)
    assert np.array_equal(mean, steelyard.average(made, weights=[1, 3, 6])["w"].numpy())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_median_and_the_trimmed_mean_are_those_of_numpy(count):
    made = nets(count)
    stack = np.stack([net["w"] for net in made])
    assert np.array_equal(steelyard.median(made)["w"].numpy(), np.median(stack, axis=0))
    cut = int(0.25 * count)
    want = np.sort(stack, axis=0)[cut : count - cut].mean(axis=0)
    assert np.array_equal(steelyard.trimmed(made, 0.25)["w"].numpy(), want)


def test_the_median_of_nan_is_nan():
    made = [{"w": np.array(numbers)} for numbers in ([1.0, np.nan], [2.0, 3.0], [3.0, 4.0])]
    assert np.array_equal(steelyard.median(made)["w"].numpy(), [2.0, np.nan], equal_nan=True)
    assert np.isnan(steelyard.trimmed(made, 0.34)["w"].numpy()[1])


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_exponential_average_is_that_of_the_recursion_of_torch(decay):
    live = [nn.Linear(3, 2) for _ in range(6)]
    model = AveragedModel(live[0], multi_avg_fn=get_ema_multi_avg_fn(decay))
    for net in live:
        model.update_parameters(net)
    made = steelyard.ema(live, decay)
    for name, weight in made.items():
        assert np.allclose(weight.numpy(), model.module.state_dict()[name].numpy(), rtol=0, atol=4e-7)


def test_the_decay_grows_while_it_warms_up():
    made = [{"w": np.array([float(k)])} for k in range(4)]
    for options, wanted in (
        ({"warmup": "ratio", "start": 1}, [0, 2 / 11, 3 / 12]),
        ({"warmup": "power", "start": 2}, [0, 0, 1 - 2 ** (-2 / 3)]),
        ({"warmup": True}, [2 / 11, 3 / 12, 4 / 13]),
        ({"start": 2}, [0, 0, 0.9]),
    ):
        value = 0.0
        for step, decay in enumerate(wanted, 1):
            value = decay * value + (1 - decay) * step
        assert steelyard.ema(made, 0.9, **options)["w"].numpy()[0] == pytest.approx(value, abs=1e-15)
    for wrong in ({"decay": 1.5}, {"decay": [0.1]}, {"warmup": "soon"}):
        with pytest.raises(ShapeError, match=next(iter(wrong))):
            steelyard.ema(made, **wrong)


def test_an_exponential_average_in_16_bits_does_not_stall():
    ones = [{"w": np.array([value], ml_dtypes.bfloat16)} for value in (0.0, *[1.0] * 3000)]
    assert float(steelyard.ema(ones, 0.999)["w"].numpy()[0]) == pytest.approx(1 - 0.999**3000, abs=4e-3)


def test_swa_takes_the_buffers_of_the_last_net_and_averages_from_a_start():
    live = [nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)) for _ in range(3)]
    for nth, net in enumerate(live):
        net[1].running_mean += nth
        net[1].num_batches_tracked += nth
    model = AveragedModel(live[0])
    for net in live[1:]:
        model.update_parameters(net)
    made = steelyard.swa(live, start=1)
    for name, weight in made.items():
        assert np.allclose(weight.numpy(), model.module.state_dict()[name].numpy(), rtol=0, atol=3e-7), name
    with pytest.raises(ShapeError, match="start is 3"):
        steelyard.swa(live, start=3)


def test_an_average_of_nets_with_norms_says_how_to_compute_their_statistics_anew():
    live = [nn.BatchNorm1d(2) for _ in range(2)]
    assert REMINDER in steelyard.average(live).meta["notes"]
    assert REMINDER not in steelyard.average(live[:1]).meta.get("notes", ())
    assert REMINDER not in steelyard.average([nn.Linear(2, 2)] * 2).meta.get("notes", ())


def test_a_greedy_soup_keeps_the_candidates_that_raise_the_score():
    made = [{"w": np.array([value])} for value in (9.0, 2.0, -1.0, 1.5)]
    calls = []

    def score(w):
        calls.append(float(w["w"].numpy()[0]))
        return -abs(calls[-1] - 0.5)

    soup = steelyard.greedy_soup(made, score)
    assert soup["w"].numpy()[0] == 0.25  # 1.5 alone is the best, 2 makes it worse, -1 better, and 9 worse
    assert soup.meta["notes"] == ["a soup of candidates 3, 2 of 4, with the score -0.25"]
    assert len(calls) == 4 + 3
    with pytest.raises(ShapeError, match="NaN"):
        steelyard.greedy_soup(made, lambda w: float("nan"))


def test_what_does_not_fit_is_refused_with_the_reason():
    made = nets(2)
    for wrong, match in (
        (lambda: steelyard.average([]), "at least one"),
        (lambda: steelyard.average(made[0]), "must be a list"),
        (lambda: steelyard.average(made, weights=[1]), "1 weights for 2 sources"),
        (lambda: steelyard.average(made, weights=[1, -1]), "sum to 0"),
        (lambda: steelyard.average(made, buffers="none"), "buffers"),
        (lambda: steelyard.trimmed(made, 0.5), "cut is 0.5"),
    ):
        with pytest.raises(ShapeError, match=match):
            wrong()


def test_integers_are_those_of_the_first_or_of_the_last():
    made = nets(3)
    assert steelyard.average(made)["n"].numpy() == 0
    last = steelyard.average(made, buffers="last")
    assert last["n"].numpy() == 2
    assert last.meta["notes"] == ["integers that differ are those of the last: 'n'"]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("weights", [None, [0.2, 0.3, 0.5]], ids=["equal", "unequal"])
@pytest.mark.parametrize("size", [(4, 4), (3, 5)], ids=["even", "odd"])
def test_bfloat16_of_files_is_averaged_in_pairs_to_the_same_bits(monkeypatch, tmp_path, count, weights, size):
    monkeypatch.setattr("steelyard.sizes.EDIT_BLOCK", 6)
    made = nets(count, ml_dtypes.bfloat16, size)
    made[0]["w"][0, 1], made[0]["w"][0, 2], made[0]["w"][1, 1] = np.nan, np.inf, -0.0
    paths = [tmp_path / f"{nth}.safetensors" for nth in range(count)]
    for net, path in zip(made, paths, strict=True):
        with pytest.warns(steelyard.errors.NonFiniteWarning) if net is made[0] else pytest.MonkeyPatch.context():
            steelyard.save(net, path)
    shares = weights and weights[:count]
    of_files, of_arrays = steelyard.average(paths, shares)["w"], steelyard.average(made, shares)["w"]
    assert of_files.read.paired
    assert not of_arrays.read.paired
    want = of_arrays.read(0, of_arrays.size)
    for start, stop in ((0, want.size), (1, want.size), (3, 8), (5, 6), (0, 0)):
        found = of_files.read(start, stop)
        assert np.array_equal(found.astype("f4"), want[start:stop].astype("f4"), equal_nan=True)


FLOATS = arrays(np.float32, 3, elements=st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False))


@given(FLOATS, st.sampled_from([None, [7.0]]), st.booleans())
def test_the_average_of_one_is_itself(array, weights, exact):
    assert steelyard.average([{"w": array}], weights, exact=exact)["w"].numpy().tobytes() == array.tobytes() or not array.all()


@given(
    st.lists(
        st.tuples(arrays(np.float64, 2, elements=st.floats(-1e300, 1e300, allow_subnormal=False)), st.floats(0.1, 9)), min_size=2
    ),
    st.randoms(),
)
def test_an_exact_average_does_not_depend_on_the_order(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    for weighted in (False, True):
        one, other = (
            steelyard.average([{"w": x} for x, _ in some], [c for _, c in some] if weighted else None, exact=True)["w"].numpy()
            for some in (pairs, shuffled)
        )
        assert np.array_equal(one, other, equal_nan=True)


@given(st.lists(FLOATS, min_size=2, max_size=4))
def test_saving_an_average_and_reading_it_changes_nothing(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("a") / "a.safetensors"
    mean = steelyard.average([{"w": x} for x in numbers])
    steelyard.save(mean, path)
    assert np.array_equal(steelyard.weights(path)["w"].numpy(), mean["w"].numpy())
