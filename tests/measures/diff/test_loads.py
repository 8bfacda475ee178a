"""Whether a checkpoint loads into a model, as the model's own `load_state_dict` finds it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import steelyard


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def answer_of(model, state, changed=lambda name: name):
    """Return what torch itself says: missing and unexpected keys, keys of another shape, and whether `strict` passes."""
    twin = copy.deepcopy(model)
    renamed = type(state)((changed(name), value) for name, value in state.items())
    if hasattr(state, "_metadata"):
        renamed._metadata = {changed(f"{name}.")[:-1]: facts for name, facts in state._metadata.items()}
    try:
        twin.load_state_dict(renamed, strict=True)
    except RuntimeError:
        passes = False
    else:
        passes = True
    own = twin.state_dict()
    sizes = {name for name in own if name in renamed and renamed[name].shape != own[name].shape}
    sizes -= {name for name in sizes if not own[name].ndim and renamed[name].shape == (1,)}
    fitting = type(state)((name, value) for name, value in renamed.items() if name not in sizes)
    if hasattr(renamed, "_metadata"):
        fitting._metadata = renamed._metadata
    found = twin.load_state_dict(fitting, strict=False)
    return set(found.missing_keys) - sizes, set(found.unexpected_keys), sizes, passes


def without(state, *names):
    kept = copy.copy(state)
    for name in names:
        del kept[name]
    return kept


def added(state, **values):
    kept = copy.copy(state)
    kept.update(values)
    return kept


class Holder(nn.Module):
    """A module with a buffer that is not saved, and with a scalar."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(2), persistent=False)
        self.register_buffer("scale", torch.tensor(1.0))
        self.fc = nn.Linear(2, 2)


OLD = without(net().state_dict(), "1.num_batches_tracked")
CASES = {
    "its own": (net(), net().state_dict()),
    "a counter is missing": (net(), OLD),
    "an old file without versions": (net(), dict(OLD)),
    "some of each": (
        net(),
        added(without(net().state_dict(), "0.bias", "2.weight"), x=torch.ones(3), **{"2.bias": torch.ones(5)}),
    ),
    "nothing": (net(), {"a": torch.ones(2)}),
    "a buffer that is not saved": (Holder(), added(Holder().state_dict(), mask=torch.ones(2))),
    "a scalar of 0.3": (Holder(), added(Holder().state_dict(), scale=torch.ones(1))),
    "the old names of weight norm": (
        nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
        {"weight_g": torch.ones(2, 1), "weight_v": torch.ones(2, 3), "bias": torch.ones(2)},
    ),
    "a tied weight": (nn.ModuleList([nn.Linear(2, 2)] * 2), nn.ModuleList([nn.Linear(2, 2)] * 2).state_dict()),
}


@pytest.mark.parametrize("name", CASES)
def test_the_verdict_is_that_of_load_state_dict(name, tmp_path):
    model, state = CASES[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    missing, unexpected, sizes, passes = answer_of(model, state)
    torch.save(state, tmp_path / "x.pt")
    for source in (tmp_path / "x.pt", state):
        for found in (steelyard.diff(model, source).loads, steelyard.diff(source, model).loads):
            names = found.names
            assert {*names.missing} == missing
            assert {*names.unexpected} == unexpected
            assert {each.name for each in names.shapes} == sizes
            assert bool(found) == passes == (names.verdict == "yes")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_printed_diff_begins_with_the_verdict_and_the_reasons():
    lines = repr(steelyard.diff(*CASES["some of each"])).splitlines()
    assert lines[0] == "loads: partly: 2 missing, 1 unexpected, 1 of another shape"
    assert lines[1:4] == [
        "  missing in the checkpoint: 0.bias, 2.weight",
        "  unexpected by the model: x",
        "  of another shape: 2.bias [5], in the model [2]",
    ]
    assert repr(steelyard.diff(*CASES["its own"])).startswith("loads: yes\n")
    assert repr(steelyard.diff(*CASES["nothing"])).startswith("loads: no: 8 missing, 1 unexpected\n")


@pytest.mark.parametrize("state", [net().state_dict(), OLD, dict(OLD), without(net().state_dict(), "0.bias")])
def test_with_a_wrapper_it_says_what_to_leave_out_and_what_torch_says_then(state):
    inside = type(state)((f"module.{name}", value) for name, value in state.items())
    if hasattr(state, "_metadata"):
        inside._metadata = {f"module.{name}": facts for name, facts in state._metadata.items()}
    missing, unexpected, _, passes = answer_of(net(), inside, lambda name: name.removeprefix("module."))
    found = steelyard.diff(net(), inside)
    assert found.loads.names.verdict == "no"
    assert {*found.loads.unwrapped.missing} == missing
    assert not unexpected
    assert (found.loads.unwrapped.verdict == "yes") == passes
    verdict = "yes without prefix 'module.'" if passes else "partly without prefix 'module.': 1 missing"
    assert repr(found).splitlines()[0] == f"loads: no as it is; {verdict}"
    assert found.to_dict()["loads"]["unwrapped"]["change"] == "without prefix 'module.'"
    assert found.to_dict()["prefixes"] == {"left": {"prefix": "", "words": ()}, "right": {"prefix": "module.", "words": ()}}
    assert {row.paired_by for row in found.rows if row.paired_by} == {"name without a prefix"}


def test_a_wrapped_model_needs_the_prefix():
    assert repr(steelyard.diff(nn.DataParallel(net()), net().state_dict())).startswith(
        "loads: no as it is; yes with prefix 'module.'"
    )


def test_hooks_of_the_module_see_the_twin_and_not_the_module():
    """A pre-hook renames keys, as loaders of old checkpoints do; a lazy module stays lazy."""
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_load_state_dict_pre_hook(lambda module, state, *_: state.update({"0.bias": state.pop("0.shift")}))
    loads = steelyard.diff(model, {"0.weight": torch.ones(2, 2), "0.shift": torch.ones(2)}).loads
    assert loads.names.verdict == "yes"
    lazy = nn.LazyLinear(3)
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    with pytest.warns(steelyard.errors.LeftOutWarning):
        assert steelyard.diff(lazy, state, skip_unreadable=True).loads
    assert isinstance(lazy.weight, nn.UninitializedParameter)


def test_other_frameworks_are_asked_for_what_assign_needs():
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(np.eye(3), np.arange(3.0))
    own = dict(steelyard.weights(model))
    assert steelyard.diff(model, own).loads
    assert str(steelyard.diff(model, {"coef_": np.zeros(4)}).loads.names) == "no: 1 missing, 1 of another shape"


def test_there_is_no_verdict_without_one_live_model(tmp_path):
    steelyard.save(net(), tmp_path / "a.pt")
    assert steelyard.diff(net(), net()).loads is None
    assert steelyard.diff(tmp_path / "a.pt", tmp_path / "a.pt").loads is None
    assert steelyard.diff({"a": np.ones(2)}, {"a": np.ones(2)}).loads is None
    assert steelyard.diff(steelyard.weights(net()), tmp_path / "a.pt").loads


def test_a_pair_of_a_module_and_its_state_is_a_model_that_a_file_loads_into(tmp_path):
    import equinox as eqx

    made = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, "batch", mode="ema")
    steelyard.save(made, tmp_path / "pair.safetensors")
    assert str(steelyard.diff(made, tmp_path / "pair.safetensors")).startswith("loads: yes\n")
    assert str(steelyard.diff(steelyard.weights(made), tmp_path / "pair.safetensors")).startswith("loads: yes\n")
    steelyard.save(steelyard.weights(made).select("*weight"), tmp_path / "part.safetensors")
    missing = len(steelyard.weights(made)) - 1
    assert steelyard.diff(tmp_path / "part.safetensors", made).loads.lines()[0] == f"loads: partly: {missing} missing"
    arrays = [weight.numpy() for weight in steelyard.weights(made).values()]
    assert steelyard.diff([*arrays, {"a": 1.0}], tmp_path / "pair.safetensors").loads is None  # not a model


def test_a_missing_name_that_is_tied_to_a_weight_that_loads_is_named():
    tied = net()
    tied[2] = nn.Linear(4, 3)
    tied[2].weight = tied[0].weight
    loads = steelyard.diff(without(tied.state_dict(), "2.weight"), tied).loads
    assert loads.lines()[0] == "loads: partly: 1 missing"  # as load_state_dict says
    assert loads.lines()[-1] == "  missing, but tied in the model to weights that load: 2.weight to 0.weight"
    assert steelyard.diff(without(tied.state_dict(), "0.weight"), tied).loads.tied == {"0.weight": "2.weight"}
    assert steelyard.diff(without(tied.state_dict(), "0.weight", "2.weight"), tied).loads.tied == {}
    wrapped = {f"module.{name}": value for name, value in tied.state_dict().items() if name != "2.weight"}
    assert steelyard.diff(wrapped, tied).loads.tied == {"2.weight": "0.weight"}
