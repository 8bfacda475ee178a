"""Checkpoints of RLlib, against the states of the modules that it saved."""

import pickle
import shutil

import carried
import numpy as np
import pytest

import steelyard
from steelyard.cli import main
from steelyard.core.weight import Role
from steelyard.errors import FormatError
from steelyard.formats import format_name

WEIGHTS = {"_logits._model.0.weight": np.ones((2, 3), "f4"), "_logits._model.0.bias": np.zeros(2, "f4")}
POLICY = {
    "weights": WEIGHTS,
    "policy_spec": {"config": {"lr": 0.1}},
    "global_timestep": 4000,
    "_optimizer_variables": [{"state": {0: {"exp_avg": np.ones((2, 3), "f4")}}, "param_groups": [{"lr": 0.1}]}],
}


@pytest.fixture(scope="module")
def made():
    return carried.folder("rllib")


def policies(folder, *names):
    """Write an algorithm of before Ray 2.40 with these policies."""
    (folder / "algorithm_state.pkl").write_bytes(pickle.dumps({"counters": {"steps": 5}}))
    for name in names:
        (folder / "policies" / name).mkdir(parents=True)
        (folder / "policies" / name / "policy_state.pkl").write_bytes(pickle.dumps(POLICY))
    return folder


@pytest.mark.parametrize("kind", ["alone", "several"])
def test_a_folder_has_the_names_and_numbers_of_the_states(made, kind):
    found = steelyard.weights(made / kind)
    with np.load(made / f"{kind}.npz") as expected:
        assert [*found] == [*expected]
        for name, weight in found.items():
            assert np.array_equal(weight.numpy(), expected[name])
    assert {weight.role for name, weight in found.items() if name.endswith("mlp.0.weight")} == {Role.KERNEL}
    assert format_name(str(made / kind)) == "rllib"


def test_the_net_of_the_learner_is_that_of_an_algorithm(made, tmp_path):
    for home in ("env_runner/rl_module", "learner_group/learner/rl_module"):
        shutil.copytree(made / "alone", tmp_path / home / "default_policy")
    (tmp_path / "class_and_ctor_args.pkl").write_bytes(b"")
    shutil.rmtree(tmp_path / "env_runner" / "rl_module" / "default_policy")
    assert [*steelyard.weights(tmp_path)] == [*np.load(made / "alone.npz")]


def test_a_policy_is_its_weights_and_the_scope_all_adds_its_optimizer(tmp_path):
    folder = policies(tmp_path, "default_policy")
    for path in (folder, folder / "policies" / "default_policy", folder / "policies" / "default_policy" / "policy_state.pkl"):
        found = steelyard.weights(path)
        assert {name: weight.shape for name, weight in found.items()} == {name: value.shape for name, value in WEIGHTS.items()}
    everything = [*steelyard.weights(folder, scope="all")]
    assert everything[-1] == "_optimizer_variables.0.state.0.exp_avg"


def test_several_policies_are_named_by_their_folders(tmp_path):
    found = steelyard.weights(policies(tmp_path, "red", "blue"))
    assert [*found] == [f"{policy}/{name}" for policy in ("blue", "red") for name in WEIGHTS]


def test_a_checkpoint_without_a_net_is_refused(tmp_path):
    with pytest.raises(FormatError, match=r"is a checkpoint of RLlib without module_state\.pkl or policy_state\.pkl"):
        steelyard.weights(policies(tmp_path))


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    (tmp_path / "module_state.pkl").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    with pytest.raises(FormatError, match="which has no weights"):
        steelyard.weights(tmp_path)
    assert [*tmp_path.iterdir()] == [tmp_path / "module_state.pkl"]


def test_one_net_in_an_archive_is_read_where_it_is(made, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "module"), "zip", made / "alone")
    assert [*steelyard.weights(archive)] == [*np.load(made / "alone.npz")]
    (tmp_path / "algorithm").mkdir()
    archive = shutil.make_archive(str(tmp_path / "old"), "zip", policies(tmp_path / "algorithm", "default_policy"))
    assert [*steelyard.weights(archive)] == [*WEIGHTS]


@pytest.mark.parametrize("key", ["state", "policy_states"])
def test_a_checkpoint_from_before_2_1_is_the_nets_in_the_state_of_its_worker(key, tmp_path):
    folder = tmp_path / "checkpoint_000005"
    folder.mkdir()
    (folder / "checkpoint-5.tune_metadata").write_bytes(pickle.dumps({"iteration": 5}))
    for policies, names in (
        ({"default_policy": POLICY}, [*WEIGHTS]),
        ({"default_policy": WEIGHTS}, [*WEIGHTS]),
        ({"left": POLICY, "right": POLICY}, [f"{side}.{name}" for side in ("left", "right") for name in WEIGHTS]),
    ):
        worker = pickle.dumps({"filters": {}, key: policies, "policy_specs": {}})
        (folder / "checkpoint-5").write_bytes(pickle.dumps({"worker": worker, "train_exec_impl": None}))
        for path in (folder, folder / "checkpoint-5"):
            found = steelyard.weights(path)
            assert [*found] == names
            assert all(
                np.array_equal(found[name].numpy(), next(v for k, v in WEIGHTS.items() if name.endswith(k))) for name in names
            )
    everything = steelyard.weights(folder / "checkpoint-5", scope="all")
    assert f"worker.{key}.left._optimizer_variables.0.state.0.exp_avg" in everything


def test_code_in_the_state_of_a_worker_is_found(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    worker = pickle.dumps({"state": {"default_policy": POLICY, "other": Evil()}})
    (tmp_path / "checkpoint-5").write_bytes(pickle.dumps({"worker": worker}))
    assert main(["check", str(tmp_path / "checkpoint-5")]) == 3
    assert "would have run builtins.print" in capsys.readouterr().out
