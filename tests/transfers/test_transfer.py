"""The options of a transfer: names, parts of a net, other sizes, saved plans, and proofs that state what was not compared."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.errors import AmbiguityError, LossyError, ProofError, ShapeError
from steelyard.transfers import TransferPlan
from steelyard.transfers.pairing import pair
from steelyard.transfers.pairing.net import Net
from steelyard.transfers.rules import reversed_rule
from steelyard.transfers.transfer import plan_transfer, transfer


def layer(out, into, seed=0, **leaves):
    rng = np.random.default_rng(seed)
    return {"weight": rng.standard_normal((out, into)).astype("f4"), "bias": rng.standard_normal(out).astype("f4"), **leaves}


def state(**layers):
    return {f"{name}.{leaf}": array for name, each in layers.items() for leaf, array in each.items()}


def flax(*shapes):
    return {f"dense{n}": {"kernel": np.zeros(shape, "f4"), "bias": np.zeros(shape[1], "f4")} for n, shape in enumerate(shapes)}


SQUARES = {"one": layer(3, 3, 1), "two": layer(3, 3, 2)}


def test_equal_layers_of_different_names_are_refused_with_both_sides_and_the_remedy():
    with pytest.raises(AmbiguityError, match=r"it is not known which of one, two is which of dense0, dense1.*pairs="):
        plan_transfer(state(**SQUARES), into=flax((3, 3), (3, 3)))


def test_pairs_name_the_partner_of_a_layer_or_of_a_weight():
    for pairs in ({"one": "dense1", "two": "dense0"}, {"one.weight": "dense1.kernel", "two.bias": "dense0.bias"}):
        made = transfer(state(**SQUARES), into=flax((3, 3), (3, 3)), pairs=pairs).model
        assert np.array_equal(made["dense1"]["kernel"], SQUARES["one"]["weight"].T)
        assert np.array_equal(made["dense0"]["bias"], SQUARES["two"]["bias"])


def test_rules_are_regular_expressions_that_work_in_both_directions():
    source = state(**{f"encoder.{name}": each for name, each in SQUARES.items()})
    target = {"enc": {name: {"kernel": np.zeros((3, 3), "f4"), "bias": np.zeros(3, "f4")} for name in SQUARES}}
    rules = {r"encoder\.(.*)": r"enc.\1"}
    there = transfer(source, into=target, rules=rules).model
    assert np.array_equal(there["enc"]["two"]["kernel"], SQUARES["two"]["weight"].T)
    empty = {name: np.zeros_like(array) for name, array in source.items()}
    back = transfer(there, into=empty, rules=rules).model
    assert all(np.array_equal(back[name], source[name]) for name in source)


@pytest.mark.parametrize(
    ("rule", "back"),
    [
        ((r"a\.(\d+)\.b\.(.*)", r"x/\1/\2"), (r"x/(\d+)/(.*)", r"a.\1.b.\2")),
        ((r"(.*)\.(.*)", r"\2.\1"), (r"(.*)\.(.*)", r"\2.\1")),
        ((r"a.*", "b"), None),
        ((r"(a|b)", "c"), None),
    ],
)
def test_a_rule_is_reversed_if_possible(rule, back):
    assert reversed_rule(*rule) == back


def test_missing_names_are_named():
    with pytest.raises(ShapeError, match="'three', which is not a layer or weight of the source"):
        plan_transfer(state(**SQUARES), into=flax((3, 3), (3, 3)), pairs={"three": "dense0"})
    with pytest.raises(ShapeError, match="one is paired with 'dense9', which the target does not have"):
        plan_transfer(state(**SQUARES), into=flax((3, 3), (3, 3)), pairs={"one": "dense9"})
    with pytest.raises(ShapeError, match="not a regular expression"):
        plan_transfer(state(**SQUARES), into=flax((3, 3), (3, 3)), rules={"(": "x"})


def test_a_saved_plan_gives_the_same_plan_again(tmp_path):
    source, target = state(**SQUARES), flax((3, 3), (3, 3))
    first = plan_transfer(source, into=target, pairs={"one": "dense1", "two": "dense0"})
    first.save(tmp_path / "plan.json")
    assert json.loads((tmp_path / "plan.json").read_text())["pairs"] == {"one": "dense1", "two": "dense0"}
    again = plan_transfer(source, into=target, **TransferPlan.load(tmp_path / "plan.json"))
    assert again.rows == [row._replace(note="given") for row in first.rows]
    assert np.array_equal(again.apply()["dense1"]["kernel"], SQUARES["one"]["weight"].T)


def test_a_new_head_keeps_its_weights_only_on_request():
    source = state(body=layer(4, 3), head=layer(2, 4, 1))
    target = flax((3, 4), (4, 7))
    target["dense1"]["kernel"][:] = 5
    with pytest.raises(ShapeError, match=r"'dense1' .* of the target has no partner .*skip="):
        transfer(source, into=target)
    made = transfer(source, into=target, skip=["head", "dense1"])
    assert np.array_equal(made.model["dense0"]["kernel"], source["body.weight"].T)
    assert (made.model["dense1"]["kernel"] == 5).all()
    assert made.plan.unchanged == ["dense1.kernel", "dense1.bias"]
    assert made.plan.unused == ["head.weight", "head.bias"]
    assert "unchanged: dense1.kernel, dense1.bias" in str(made)
    assert transfer(source, into=flax((3, 4), (4, 7)), only=["body", "dense0"]).plan.pairs == {"body": "dense0"}


def test_a_backbone_goes_into_a_part_of_a_model():
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3)), "head": nn.Linear(3, 2)})
    head = model["head"].weight.detach().clone()
    made = transfer(backbone, into=model["encoder"], probe=np.ones((1, 2, 6, 5), "f4"))
    assert made.proof.proven
    assert made.model is model["encoder"]
    assert torch.equal(model["encoder"][0].weight, backbone[0].weight)
    assert torch.equal(model["head"].weight, head)


def test_sizes_change_only_on_request():
    source = {"emb.weight": np.arange(12, dtype="f4").reshape(4, 3)}
    bigger, smaller = {"emb": {"embedding": np.ones((6, 3), "f4")}}, {"emb": {"embedding": np.ones((2, 3), "f4")}}
    with pytest.raises(ShapeError, match="no partner"):
        transfer(source, into=bigger)
    grown = transfer(source, into=bigger, resize="pad").model["emb"]["embedding"]
    assert np.array_equal(grown[:4], source["emb.weight"])
    assert not grown[4:].any()
    cut = transfer(source, into=smaller, resize="truncate").model["emb"]["embedding"]
    assert np.array_equal(cut, source["emb.weight"][:2])
    with pytest.raises(ShapeError, match="does not shrink"):
        transfer(source, into=smaller, resize="pad")
    with pytest.raises(ShapeError, match="does not grow"):
        transfer(source, into=bigger, resize="truncate")
    with pytest.raises(ShapeError, match='must be "pad"'):
        transfer(source, into=bigger, resize="grow")


def test_without_a_probe_the_transfer_is_not_proven():
    made = transfer(state(body=layer(4, 3)), into=flax((3, 4)))
    assert not made.proof.proven
    assert "not proven:" in str(made)
    probed = transfer(state(body=layer(4, 3)), into=flax((3, 4)), probe=np.ones((1, 3), "f4"))
    assert not probed.proof.proven
    assert "not proven" in str(probed.proof)
    assert "cannot be run" in str(probed.proof)


def test_outputs_that_differ_refuse_the_transfer_and_leave_the_target_as_it_was():
    torch.manual_seed(0)
    source = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    target = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    before = steelyard.weights(target).to_vector()
    with pytest.raises(ProofError, match=r"first layer whose output differs is 2 .*activation 1 is relu in the source, tanh"):
        transfer(source, into=target, probe="random")
    assert np.array_equal(steelyard.weights(target).to_vector(), before)


def test_settings_that_make_another_function_are_refused_and_others_are_named():
    one, other = nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 4)
    with pytest.raises(ShapeError, match=r"heads=2.*heads=4"):
        transfer(one, into=other)
    made = transfer(nn.BatchNorm1d(3, eps=1e-5), into=nn.BatchNorm1d(3, eps=1e-3))
    assert any("epsilon=1e-05" in note and "epsilon=0.001" in note for note in made.plan.notes)


def test_equal_padding_in_other_words_is_not_a_difference_and_other_padding_is():
    import keras

    def notes(padding, size):
        target = keras.Sequential([keras.Input((6, 5, 2)), keras.layers.Conv2D(3, size, padding="same")])
        made = transfer(nn.Sequential(nn.Conv2d(2, 3, size, padding=padding)), into=target)
        return [note for note in made.plan.notes if "padding" in note]

    assert not notes(1, 3)
    assert notes(0, 3)
    assert notes(1, 4)


def test_random_inputs_have_the_known_shapes_of_a_net():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3)).eval() for _ in range(2)]
    assert transfer(nets[0], into=nets[1], probe="random").proof.proven
    with pytest.raises(ShapeError, match='pass inputs, "random"'):
        transfer(nets[0], into=nets[1], probe="anything")


def test_numbers_that_do_not_fit_are_refused_before_anything_is_written():
    source, target = {"fc.weight": np.full((2, 2), 1e300)}, {"fc": {"kernel": np.zeros((2, 2), "f4")}}
    with pytest.raises(LossyError, match="nothing was written"):
        transfer(source, into=target)
    assert not target["fc"]["kernel"].any()


def test_a_bias_that_changes_the_outputs_is_never_dropped():
    rnn, cell = nn.GRU(3, 4), {"cell": {"dense_i": {"kernel": np.zeros((3, 12), "f4"), "bias": np.zeros(12, "f4")},
                                        "dense_h": {"kernel": np.zeros((4, 12), "f4")}}}  # fmt: skip
    with pytest.raises(ShapeError, match="recurrent bias for which the target has no place"):
        transfer(rnn, into=cell)
    with torch.no_grad():
        rnn.bias_hh_l0[8:] = 0
    assert transfer(rnn, into=cell).plan.pairs == {"": "cell"}


def test_the_plan_is_a_table_of_from_to_layout_and_note():
    made = plan_transfer(state(body=layer(4, 3)), into=flax((3, 4)))
    assert str(made).splitlines()[0].split() == ["from", "to", "layout", "note"]
    assert made.rows[0].sources == ("body.weight",)
    assert made.rows[0].target == "dense0.kernel"
    assert made.rows[0].layout == "out in -> in out"
    assert made.to_dict()["pairs"] == {"body": "dense0"}


def test_a_target_file_gives_weights_to_save(tmp_path):
    steelyard.save(flax((3, 4)), tmp_path / "target.safetensors")
    source = state(body=layer(4, 3))
    made = transfer(source, into=tmp_path / "target.safetensors").model
    steelyard.save(made, tmp_path / "new.safetensors")
    assert np.array_equal(steelyard.weights(tmp_path / "new.safetensors")["dense0.kernel"].numpy(), source["body.weight"].T)
    assert not steelyard.weights(tmp_path / "target.safetensors")["dense0.kernel"].numpy().any()


def test_a_plan_lays_the_source_out_as_the_target_in_the_types_of_the_source():
    source = {"a.weight": np.arange(6, dtype="f2").reshape(2, 3), "a.bias": np.ones(2, "f2")}
    target = {"dense": {"kernel": np.zeros((3, 2), "f4"), "bias": np.zeros(2, "f4")}}
    laid_out = plan_transfer(source, into=target).weights()
    assert list(laid_out) == ["dense.kernel", "dense.bias"]
    assert laid_out["dense.kernel"].dtype == "float16"
    assert laid_out["dense.kernel"].shape == (3, 2)
    assert np.array_equal(laid_out["dense.kernel"].numpy(), source["a.weight"].T)
    source["a.weight"][:] = 7
    assert (laid_out["dense.kernel"].numpy() == 7).all(), "it is assembled when it is read"
    assert not target["dense"]["kernel"].any()


def test_a_plan_lays_the_sum_of_two_biases_out_in_float64_and_in_blocks():
    rnn = nn.LSTM(3, 4)
    cell = {"kernel": np.zeros((3, 16), "f4"), "recurrent_kernel": np.zeros((4, 16), "f4"), "bias": np.zeros(16, "f4")}
    bias = plan_transfer(rnn, into={"cell": cell}).weights()["cell.bias"]
    assert bias.dtype == "float64"
    wanted = (rnn.bias_ih_l0 + rnn.bias_hh_l0).detach().numpy()
    assert np.array_equal(np.concatenate([bias.read(at, at + 5) for at in (0, 5)] + [bias.read(10, 16)]), wanted)
    assert np.array_equal(bias.numpy(), wanted)


def test_a_size_that_may_not_change_is_refused_before_anything_is_written():
    source = {"a.weight": np.ones((4, 3), "f4"), "b.weight": np.ones((5, 9), "f4")}
    target = {"a": {"kernel": np.zeros((3, 4), "f4")}, "b": {"kernel": np.zeros((9, 2), "f4")}}
    with pytest.raises(ShapeError, match="does not shrink"):
        transfer(source, into=target, resize="pad")
    assert not target["a"]["kernel"].any()


def test_the_file_of_a_plan_is_refused_unless_it_holds_names(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text('{"a": "b"}')
    assert TransferPlan.load(path) == {"pairs": {"a": "b"}, "only": [], "skip": [], "resize": None}
    for content, why in (
        ("[1]", "it contains a list, not an object"),
        ("{", "cannot be read"),
        ('{"a": 1}', "a mapping of names to names"),
    ):
        path.write_text(content)
        with pytest.raises(ShapeError, match=why):
            TransferPlan.load(path)
    with pytest.raises(ShapeError, match="pairs must be a mapping of names to names"):
        plan_transfer(state(**SQUARES), into=flax((3, 3), (3, 3)), pairs=str(path))


def test_a_saved_plan_keeps_what_was_left_out_and_how_sizes_may_change(tmp_path):
    source, target = state(body=layer(4, 3), head=layer(2, 4, 1)), flax((3, 6), (4, 7))
    options = {"skip": ["head", "dense1"], "resize": "pad"}
    plan = plan_transfer(source, into=target, **options)
    plan.save(tmp_path / "plan.json")
    assert TransferPlan.load(tmp_path / "plan.json") == {"pairs": {"body": "dense0"}, "only": [], **options}
    assert plan_transfer(source, into=target, **TransferPlan.load(tmp_path / "plan.json")).unused == plan.unused


def test_names_that_only_some_layers_share_are_not_evidence():
    source = state(a=layer(3, 3), b=layer(3, 3, 1))
    target = {name: {"kernel": np.zeros((3, 3), "f4"), "bias": np.zeros(3, "f4")} for name in ("a", "c")}
    with pytest.raises(AmbiguityError, match="it is not known which of a, b is which of a, c"):
        plan_transfer(source, into=target)


def recurrent(name, seed):
    """Return a recurrent layer as Keras stores it."""
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (3, 16), "recurrent_kernel": (4, 16), "bias": (16,)}
    return {f"{name}/{leaf}": rng.standard_normal(shape).astype("f4") for leaf, shape in shapes.items()}


def test_directions_in_names_pair_the_lstms_of_two_files_and_opposite_ones_are_never_partners():
    source = recurrent("net/forward_lstm", 0) | recurrent("net/backward_lstm", 1)
    target = recurrent("tagger/backward_cell", 2) | recurrent("tagger/forward_cell", 3)
    assert plan_transfer(source, into=target).pairs == {
        "net/forward_lstm": "tagger/forward_cell",
        "net/backward_lstm": "tagger/backward_cell",
    }
    with pytest.raises(ShapeError, match="no partner"):
        plan_transfer(recurrent("forward_lstm", 0), into=recurrent("backward_lstm", 1))


def test_a_layer_of_unknown_direction_is_never_suggested_against_a_known_one():
    known, unknown = (
        recurrent("forward_lstm", 0) | recurrent("backward_lstm", 1),
        recurrent("backward_lstm", 2) | recurrent("lstm", 3),
    )
    with pytest.raises(AmbiguityError, match="which of forward_lstm, backward_lstm is which of backward_lstm, lstm"):
        plan_transfer(known, into=unknown)
    nets = [Net(steelyard.weights(arrays), None) for arrays in (known, unknown)]
    ((choice,),) = (pair(*nets, {}, *(net.layers for net in nets)).choices,)
    assert [(each.source.name, each.target.name) for each in choice.suggested] == [("backward_lstm", "lstm")]


def _dead(seed):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].bias.fill_(-100)
    return net


def test_outputs_that_do_not_depend_on_the_inputs_prove_nothing():
    source, target = _dead(0), nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    done = transfer(source, into=target, probe="random")
    assert not done.proof.proven
    assert str(done.proof).startswith("not proven: the outputs are constant")
    assert torch.equal(target[0].weight, source[0].weight), "the plan does not depend on the outputs"
    with torch.no_grad():
        source[0].bias.zero_()
    assert transfer(source, into=target, probe="random").proof.proven


def test_a_file_that_has_both_copies_of_a_tied_weight_fits_the_model_that_ties_them():
    def net():
        made = nn.ModuleDict({"embed": nn.Embedding(7, 4), **{f"norm_{n}": nn.LayerNorm(4) for n in range(3)}})
        made["head"] = nn.Linear(4, 7, bias=False)
        return made

    untied, tied = net(), net()
    tied["head"].weight = tied["embed"].weight
    with torch.no_grad():
        for parameter in untied.parameters():
            parameter.normal_()
        untied["head"].weight.copy_(untied["embed"].weight)
    state = {name: tensor.clone() for name, tensor in untied.state_dict().items()}
    plan = steelyard.plan_transfer(state, into=tied)
    assert plan.unused == ["head.weight"]
    steelyard.transfer(state, into=tied)
    assert all(torch.equal(tensor, state[name]) for name, tensor in tied.state_dict().items())
    state["head.weight"] = state["head.weight"] + 1
    with pytest.raises(ShapeError, match=r"head. .*has no partner"):
        steelyard.transfer(state, into=tied)


def test_a_vector_moves_into_its_copy_whatever_it_is_for():
    """A lone `weight` may be that of several norms, or the slopes of a PReLU: all of them take it as it is."""
    own = {"fc.weight": np.ones((4, 4), "f4"), "fc.bias": np.ones(4, "f4"), "norm.weight": np.arange(4.0, dtype="f4")}
    target = {name: np.zeros_like(array) for name, array in own.items()}
    transfer(own, into=target)
    assert all(np.array_equal(target[name], array) for name, array in own.items())


def test_norms_of_a_batch_and_with_running_statistics_are_not_one_layer():
    import keras

    of_batch, running = (nn.BatchNorm2d(4, track_running_stats=tracked).eval() for tracked in (False, True))
    pictures = torch.randn(2, 4, 3, 3)
    assert not torch.allclose(of_batch(pictures), running(pictures))
    instance, tracked = (nn.InstanceNorm2d(4, affine=True, track_running_stats=tracked).eval() for tracked in (False, True))
    assert not torch.allclose(instance(pictures), tracked(pictures))
    theirs = keras.Sequential([keras.Input((3, 3, 4)), keras.layers.BatchNormalization()])
    grouped = keras.Sequential([keras.Input((3, 3, 4)), keras.layers.GroupNormalization(-1)])
    for source, target in ((of_batch, theirs), (of_batch, running), (running, of_batch), (tracked, grouped)):
        with pytest.raises(ShapeError, match=r"statistics=(batch|running).*statistics=(batch|running).*different functions"):
            transfer(nn.Sequential(source), into=target if isinstance(target, keras.Model) else nn.Sequential(target))
    for source, target in ((running, theirs), (instance, grouped)):
        transfer(nn.Sequential(source), into=target)
    same = nn.BatchNorm2d(4, track_running_stats=False)
    transfer(nn.Sequential(of_batch), into=nn.Sequential(same))


def test_norms_of_queries_and_keys_go_with_their_attention_and_an_attention_without_them_is_refused():
    import jax
    from flax import linen, nnx

    draw, x = np.random.default_rng(0), np.random.default_rng(1).normal(size=(2, 5, 8)).astype("f4")

    class Linen(linen.Module):
        @linen.compact
        def __call__(self, x):
            return linen.MultiHeadDotProductAttention(2, normalize_qk=True)(x)

    class Module(nnx.Module):
        def __init__(self, normalize):
            self.part = nnx.MultiHeadAttention(2, 8, normalize_qk=normalize, decode=False, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.part(x)

    def source():
        variables = Linen().init(jax.random.key(0), x)
        return Linen().bind(jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype("f4"), variables))

    for target in (source(), Module(True)):
        mine = source()
        made = transfer(mine, into=target).model
        assert np.allclose(made(x), mine(x), atol=1e-5)
    for mine, target in ((source(), Module(False)), (Module(False), source()), (source(), nn.MultiheadAttention(8, 2))):
        with pytest.raises(ShapeError, match=r"key_ln.*has no partner"):
            transfer(mine, into=target)
