"""An adapter of a change: its factors are the nearest of their rank, PEFT loads it, and `merge_adapter` adds it again."""

import json

import numpy as np
import pytest
import torch
from carried import SHARED

import steelyard
from steelyard.errors import FormatError, LeftOutWarning, ShapeError

GOLDEN = SHARED / "editing" / "golden"


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(7, 6)
        self.conv = torch.nn.Conv1d(6, 5, 3)
        self.norm = torch.nn.LayerNorm(5)
        self.fc = torch.nn.Linear(5, 4)

    def forward(self, x):
        return self.fc(self.norm(self.conv(self.embed(x).transpose(1, 2)).transpose(1, 2)))


def tuned(rank=2):
    """A net and one that differs by changes of this rank, and in its norm."""
    torch.manual_seed(0)
    before, after = Net(), Net()
    after.load_state_dict(before.state_dict())
    with torch.no_grad():
        for weight in (after.embed.weight, after.conv.weight, after.fc.weight):
            rows = weight.reshape(len(weight), -1)
            rows += torch.randn(len(rows), rank) @ torch.randn(rank, rows.shape[1])
        after.norm.weight += 1
    return before, after


def test_an_adapter_of_the_rank_of_a_change_gives_the_net_back():
    before, after = tuned()
    lora = steelyard.extract_adapter(before, after, rank=2)
    merged = steelyard.merge_adapter(before, lora)
    for name, weight in steelyard.weights(after).items():
        np.testing.assert_allclose(merged[name].numpy(), weight.numpy(), atol=2e-6)
    assert lora["base_model.model.conv.lora_A.weight"].shape == (2, 6, 3)
    assert lora["base_model.model.conv.lora_B.weight"].shape == (5, 2, 1)
    assert lora.meta["adapter_config"]["modules_to_save"] == ["norm"]


def test_peft_loads_an_adapter_into_the_same_net(tmp_path):
    import peft

    before, after = tuned()
    steelyard.extract_adapter(before, after, rank=2, out=tmp_path / "lora")
    loaded = peft.PeftModel.from_pretrained(before, str(tmp_path / "lora")).eval()
    x = torch.arange(7).reshape(1, 7)
    torch.testing.assert_close(loaded(x), after(x), atol=1e-5, rtol=1e-5)


def test_a_folder_of_an_adapter_is_read_again(tmp_path):
    before, after = tuned()
    lora = steelyard.extract_adapter(before, after, rank=1, out=tmp_path / "lora", base_name="org/base")
    assert sorted(path.name for path in (tmp_path / "lora").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/base"
    with pytest.raises(FormatError, match="another config"):
        steelyard.extract_adapter(before, after, rank=2, out=tmp_path / "lora")
    one, other = steelyard.merge_adapter(before, lora), steelyard.merge_adapter(before, tmp_path / "lora")
    assert all(np.array_equal(one[name].numpy(), other[name].numpy()) for name in one)


def test_no_factors_of_a_rank_are_nearer():
    change = np.random.default_rng(0).standard_normal((8, 6)).astype("float32")
    lora = steelyard.extract_adapter({"fc.weight": np.zeros_like(change)}, {"fc.weight": change}, rank=3)
    a, b = (lora[f"base_model.model.fc.lora_{which}.weight"].numpy() for which in "AB")
    left = np.linalg.norm(change - b @ a)
    np.testing.assert_allclose(left, np.sqrt((np.linalg.svd(change)[1][3:] ** 2).sum()), rtol=1e-5)


def test_a_rank_above_that_of_a_layer_is_its_own():
    net = {"fc.weight": np.zeros((4, 2), "float32"), "up.weight": np.zeros((9, 9), "float32")}
    after = {name: np.random.default_rng(0).standard_normal(value.shape).astype("float32") for name, value in net.items()}
    lora = steelyard.extract_adapter(net, after, rank=5)
    assert lora.meta["adapter_config"]["rank_pattern"] == {"fc": 2}
    np.testing.assert_allclose(steelyard.merge_adapter(net, lora)["fc.weight"].numpy(), after["fc.weight"], atol=1e-5)


def test_a_bias_beside_factors_is_left_out_by_name():
    before, after = ({"fc.weight": np.full((2, 2), value), "fc.bias": np.full(2, value)} for value in (0.0, 1.0))
    with pytest.warns(LeftOutWarning, match=r"fc\.bias"):
        lora = steelyard.extract_adapter(before, after, rank=1)
    assert [*lora] == ["base_model.model.fc.lora_A.weight", "base_model.model.fc.lora_B.weight"]


@pytest.mark.parametrize(("rank", "message"), [(0, "rank is 0"), (1, "no weight has changed")])
def test_what_gives_no_adapter_is_refused(rank, message):
    net = {"fc.weight": np.ones((2, 2))}
    with pytest.raises(ShapeError, match=message):
        steelyard.extract_adapter(net, net, rank=rank)


@pytest.mark.shared
@pytest.mark.parametrize("case", sorted(path.parent for path in GOLDEN.glob("lora_*/meta.json")), ids=lambda case: case.name)
def test_factors_are_those_that_mergekit_extracts(case):
    meta = json.loads((case / "meta.json").read_text())
    with np.load(case / "inputs.npz") as inputs, np.load(case / "expected.npz") as expected:
        before, after = ({"fc.weight": inputs[name]} for name in ("base", "finetuned"))
        product, shape = expected["product"], expected["lora_A"].shape
    lora = steelyard.extract_adapter(before, after, rank=meta["max_rank"], epsilon=meta["sv_epsilon"])
    a, b = (lora[f"base_model.model.fc.lora_{which}.weight"].numpy() for which in "AB")
    assert a.shape == shape
    np.testing.assert_allclose(b @ a, product, atol=5e-7 * np.abs(product).max() + 1e-7)
