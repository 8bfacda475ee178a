"""Whole nets go from any framework into any other, and give the same outputs there."""

from itertools import permutations

import numpy as np
import pytest
from transfers import nets

from steelyard.errors import AmbiguityError, ShapeError
from steelyard.transfers import TransferPlan
from steelyard.transfers.transfer import plan_transfer, transfer

WAYS = [pytest.param(net, *way, id=f"{net}-{way[0]}-{way[1]}") for net in nets.INPUTS for way in permutations(nets.BUILDERS, 2)]


@pytest.mark.parametrize(("net", "source", "target"), WAYS)
def test_a_whole_net_gives_the_same_outputs_in_another_framework(net, source, target):
    origin, model = nets.trained(net, source), nets.build(net, target)
    wanted, fresh = nets.run(net, source, origin), nets.run(net, target, model)
    made = transfer(origin, into=model, probe=nets.inputs(net, source))
    found = nets.run(net, target, made.model)
    assert made.proof.proven
    assert made.proof.max_rel < 1e-6
    assert all(name.endswith("num_batches_tracked") for name in made.plan.unchanged)
    assert np.abs(found - wanted).max() < 2e-5 * np.abs(wanted).max()
    assert np.abs(fresh - wanted).max() > 0.1 * np.abs(wanted).max()


def flattening(moved=None, *, norm=False):
    """Build a net in Keras that permutes the axes of an image and flattens it."""
    from keras import Input, Sequential, layers

    steps = [layers.Permute(moved)] if moved else []
    steps += [layers.Flatten(), *([layers.BatchNormalization(epsilon=1e-5)] if norm else [])]
    return Sequential([Input((5, 4, 2)), layers.Conv2D(3, 2), *steps, layers.Dense(6), layers.Dense(2)])


def flattened_in_torch(*, norm=False):
    from torch import nn

    steps = [nn.Flatten(), *([nn.BatchNorm1d(36)] if norm else [])]
    return nn.Sequential(nn.Conv2d(2, 3, 2), *steps, nn.Linear(36, 6), nn.Linear(6, 2)).eval()


def test_an_image_whose_channels_are_moved_to_the_front_before_it_is_flattened_needs_no_other_order():
    source, target = flattening((3, 1, 2)), flattened_in_torch()
    made = transfer(source, into=target, probe="random")
    assert made.proof.max_rel < 1e-6
    assert not any("channels" in row.layout for row in made.plan.rows)


def test_an_image_whose_sides_are_swapped_before_it_is_flattened_is_refused_not_guessed():
    with pytest.raises(AmbiguityError, match="are permuted where it is flattened"):
        transfer(flattening((2, 1, 3)), into=flattened_in_torch())


def test_two_nets_that_move_an_image_alike_need_no_other_order():
    made = transfer(flattening((2, 1, 3)), into=flattening((2, 1, 3)), probe="random")
    assert made.proof.max_rel < 1e-6


def test_a_norm_after_a_flattened_image_is_reordered_and_one_after_an_excluded_layer_is_not():
    source, target = flattened_in_torch(norm=True), flattening(norm=True)
    turned = {row.target.rpartition("/")[2] for row in transfer(source, into=target).plan.rows if "channels" in row.layout}
    assert turned == {"kernel", "gamma", "beta", "moving_mean", "moving_variance"}

    from keras import Input, Sequential, layers
    from torch import nn

    source = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(36, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    kept = [layers.Conv2D(3, 2), layers.Flatten(), layers.Dense(6, name="left"), layers.LayerNormalization(), layers.Dense(2)]
    made = transfer(source, into=Sequential([Input((5, 4, 2)), *kept]), skip=["2", "*left"])
    assert not any("channels" in row.layout for row in made.plan.rows)


def with_places(framework, name="places", shape=(1, 6, 8)):
    """Build a net whose position embedding is a weight that belongs to no layer."""
    if framework == "torch":
        import torch
        from torch import nn

        class Places(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_parameter(name, nn.Parameter(torch.randn(shape)))
                self.out = nn.Linear(8, 4)

            def forward(self, x):
                return self.out(x + getattr(self, name))

        return Places()
    import jax
    from flax import linen as nn

    class Flax(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(x + self.param(name, nn.initializers.normal(), shape))

    return Flax().bind(Flax().init(jax.random.key(1), np.zeros((2, 6, 8), "float32")))


@pytest.mark.parametrize("way", [("torch", "linen"), ("linen", "torch")])
def test_an_unassigned_weight_goes_to_the_one_of_its_name_and_shape(way):
    source, target = map(with_places, way)
    made = transfer(source, into=target, probe=nets.RNG.standard_normal((2, 6, 8)).astype("float32"))
    assert made.proof.max_rel < 1e-6
    assert not made.plan.unchanged


def test_an_unassigned_weight_without_a_certain_partner_is_refused_unless_it_is_excluded():
    with pytest.raises(ShapeError, match="params/other of the target belongs to no known layer"):
        transfer(with_places("torch"), into=with_places("linen", "other"))
    with pytest.raises(AmbiguityError, match="may be transposed in"):
        transfer(with_places("torch", shape=(8, 8)), into=with_places("torch", shape=(8, 8)))
    made = transfer(with_places("torch"), into=with_places("linen", "other"), skip=["places", "params/other"])
    assert made.plan.unchanged == ["params/other"]


@pytest.mark.parametrize("said", [{"pairs": {"places": "params/other"}}, {"rules": {"places": "params/other"}}])
def test_an_unassigned_weight_goes_to_the_partner_that_the_user_names(said):
    source, target = with_places("torch"), with_places("linen", "other")
    made = transfer(source, into=target, probe=nets.RNG.standard_normal((2, 6, 8)).astype("float32"), **said)
    assert made.proof.max_rel < 1e-6
    assert not made.plan.unchanged


def test_named_partners_of_unassigned_weights_are_saved_with_a_plan_and_used_again(tmp_path):
    source = with_places("torch", shape=(8, 8))
    made = plan_transfer(source, into=with_places("torch", "other", shape=(8, 8)), pairs={"places": "other"})
    made.save(tmp_path / "plan.json")
    again = transfer(source, into=with_places("torch", "other", shape=(8, 8)), **TransferPlan.load(tmp_path / "plan.json")).model
    np.testing.assert_array_equal(again.other.detach().numpy(), source.places.detach().numpy())


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ({"places": "out"}, "'places' was named for 'out', but only one of them belongs to a layer"),
        ({"out": "places"}, "'out' was named for 'places', but only one of them belongs to a layer"),
        ({"places": "none"}, "places is paired with 'none', which the target does not have"),
    ],
)
def test_impossible_partners_are_refused_by_both_names(pairs, told):
    with pytest.raises(ShapeError) as error:
        transfer(with_places("torch"), into=with_places("torch"), pairs=pairs)
    assert str(error.value).startswith(told)


def test_named_partners_of_unassigned_weights_must_have_equal_shapes():
    with pytest.raises(ShapeError, match=r"places of shape \[1, 6, 8\] was named for other of shape \[6, 8\]"):
        transfer(with_places("torch"), into=with_places("torch", "other", shape=(6, 8)), pairs={"places": "other"})
