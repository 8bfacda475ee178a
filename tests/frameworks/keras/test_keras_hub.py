"""Models of KerasHub: their files and presets go back by Keras's own paths, LoRA and int8 are effective weights."""

import keras
import numpy as np
import pytest

import steelyard
from steelyard.errors import FormatError


def backbone():
    from keras_hub.models import GPT2Backbone

    sizes = {
        "vocabulary_size": 9,
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 4,
        "intermediate_dim": 6,
        "max_sequence_length": 5,
    }
    return GPT2Backbone(**sizes)


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(1)
    return backbone()


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kerashub")
    trained.save_weights(folder / "one.weights.h5")
    trained.save(folder / "one.keras")
    trained.save_to_preset(str(folder / "preset"))
    return folder


@pytest.mark.parametrize("name", ["one.weights.h5", "one.keras", "preset"])
def test_a_file_and_a_preset_go_back_into_a_model_of_the_same_code(name, trained, saved):
    other = backbone()
    assert not steelyard.diff(other, saved / name).same
    assert steelyard.diff(other, saved / name).loads
    steelyard.weights(other).assign(saved / name)
    assert all(np.array_equal(one, two) for one, two in zip(trained.get_weights(), other.get_weights(), strict=True))


def test_a_preset_of_a_task_lists_its_files_to_choose_from(saved):
    (saved / "task").mkdir()
    for name in ("model.weights.h5", "task.weights.h5"):
        (saved / "task" / name).write_bytes((saved / "one.weights.h5").read_bytes())
    with pytest.raises(FormatError, match=r"several models: model\.weights\.h5, task\.weights\.h5; choose the file of one"):
        steelyard.weights(saved / "task")


def test_lora_is_added_as_keras_merges_it_into_its_files(trained, tmp_path):
    model = backbone()
    model.set_weights(trained.get_weights())
    model.enable_lora(2)
    for variable in model.trainable_variables:
        variable.assign(np.random.default_rng(0).normal(size=variable.shape) / 10)
    model.save_weights(tmp_path / "merged.weights.h5")
    merged = backbone()
    merged.load_weights(tmp_path / "merged.weights.h5")
    found = steelyard.effective(model)
    assert [each.shape for each in found.values()] == [tuple(variable.shape) for variable in merged.weights]
    for weight, variable in zip(found.values(), merged.weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), variable.numpy(), atol=1e-6)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_int8_differs_by_less_than_a_step_of_its_codes(trained):
    model = backbone()
    model.set_weights(trained.get_weights())
    model.quantize("int8")
    found = steelyard.effective(model)
    assert not found.unreadable
    plain = steelyard.weights(trained)
    assert {*found} == {*plain}
    for name, weight in plain.items():
        np.testing.assert_allclose(found[name].numpy(), weight.numpy(), atol=np.abs(weight.numpy()).max() / 127, err_msg=name)
