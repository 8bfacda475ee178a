"""The layers that feed each layer of a PyTorch module, as in its forward method, or unknown."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from outputs import assert_close
from torch import nn

from steelyard.frameworks import torch as graphs


def image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def after(model, *inputs):
    return {layer.name: layer.inputs for layer in graphs.graph(model, list(inputs) or None).layers}


class Net(nn.Module):
    """A module of named layers and a function that calls them."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def linears(names, width=4):
    return {name: nn.Linear(width, width) for name in names}


class Block(nn.Module):
    """A residual block with everything in place."""

    def __init__(self, width, stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Sequential(nn.Conv2d(width, width, 1, stride), nn.BatchNorm2d(width)) if stride > 1 else None

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.down is None else self.down(x)
        return self.relu(y)


def test_a_residual_net_with_operations_in_place():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Block(4), Block(4, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert after(model, image(2, 3, 8, 8)) == {
        "0": ("input",),
        "1.conv1": ("0",),
        "1.bn1": ("1.conv1",),
        "1.relu": ("1.bn1", "add"),
        "1.conv2": ("1.bn1",),  # through the ReLU, which is called twice
        "1.bn2": ("1.conv2",),
        "add": ("1.bn2", "0"),
        "2.conv1": ("add",),
        "2.bn1": ("2.conv1",),
        "2.relu": ("2.bn1", "add#2"),
        "2.conv2": ("2.bn1",),
        "2.bn2": ("2.conv2",),
        "2.down.0": ("add",),
        "2.down.1": ("2.down.0",),
        "add#2": ("2.bn2", "2.down.1"),
        "3": ("add#2",),
        "4": ("3",),
        "5": ("4",),
    }


def test_frozen_layers_no_grad_and_detach_do_not_hide_inputs():
    def forward(net, x):
        with torch.no_grad():
            x = net.a(x).detach()
        return net.c(net.b(x).data)

    model = Net(forward, **linears("abc")).requires_grad_(requires_grad=False)
    assert after(model, image(2, 4)) == {"a": ("input",), "b": ("a",), "c": ("b",)}


def test_two_parallel_towers_and_integers():
    def forward(net, words, x):
        left, right = net.a(net.words(words).mean(1)), net.b(x)
        both = torch.cat([left, right], 1)
        return net.head(both), net.again(net.top(both.argmax(1)))

    model = Net(
        forward, words=nn.Embedding(5, 4), **linears("ab"), head=nn.Linear(8, 2), top=nn.Embedding(8, 4), again=nn.Linear(4, 4)
    )
    assert after(model, np.array([[1, 2], [3, 4]]), image(2, 4)) == {
        "words": ("input_1",),
        "mean": ("words",),
        "a": ("mean",),
        "b": ("input_2",),
        "cat": ("a", "b"),
        "head": ("cat",),
        "argmax": ("cat",),
        "top": ("argmax",),
        "again": ("top",),
    }


def test_a_transformer_encoder():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)
    found = after(model, image(2, 5, 8))
    for n, before, relu, (one, other) in (
        ("0", "src", "relu", ("add", "add#2")),
        ("1", "layers.0.norm2", "relu#2", ("add#3", "add#4")),
    ):
        at = f"layers.{n}."
        assert found[at + "self_attn"] == (before, before, before), "query, key and value"
        assert found[at + "dropout1"] == (at + "self_attn",)
        assert found[one] == (before, at + "dropout1")
        assert found[at + "norm1"] == (one,)
        assert found[at + "linear1"] == (at + "norm1",)
        assert found[relu] == (at + "linear1",)
        assert found[at + "dropout"] == (relu,)
        assert found[at + "linear2"] == (at + "dropout",)
        assert found[other] == (at + "norm1", at + "dropout2")
        assert found[at + "norm2"] == (other,)


def test_an_encoder_and_a_decoder_that_share_their_embedding_with_the_head():
    def forward(net, source, target):
        _, state = net.encoder(net.words(source))
        y, _ = net.decoder(net.words(target), state)
        return net.norm(y) @ net.words.weight.T

    model = Net(
        forward,
        words=nn.Embedding(9, 4),
        encoder=nn.GRU(4, 4, batch_first=True),
        decoder=nn.GRU(4, 4, batch_first=True),
        norm=nn.LayerNorm(4),
    )
    tokens = np.array([[1, 2, 3], [4, 5, 6]])
    assert after(model, tokens, tokens) == {
        "words": ("input_1", "input_2", "norm"),
        "encoder": ("words",),
        "decoder": ("words", "encoder"),
        "norm": ("decoder",),
    }


def test_bidirectional_stacks_and_packed_sequences():
    def forward(net, x):
        packed = nn.utils.rnn.pack_padded_sequence(net.a(x), torch.tensor([3, 2]), batch_first=True)
        y, _ = nn.utils.rnn.pad_packed_sequence(net.rnn(packed)[0], batch_first=True)
        return net.head(y[:, -1])

    model = Net(forward, a=nn.Linear(4, 4), rnn=nn.LSTM(4, 3, 2, batch_first=True, bidirectional=True), head=nn.Linear(6, 2))
    assert after(model, image(2, 3, 4)) == {"a": ("input",), "rnn": ("a",), "getitem": ("rnn",), "head": ("getitem",)}


def test_an_output_that_is_the_unchanged_input_counts_as_the_layer_s_output():
    def forward(net, x):
        x = net.a(x)
        y = net.same(net.drop(x))
        return net.b(x) + net.c(y)

    model = Net(forward, **linears("abc"), drop=nn.Dropout(), same=nn.Identity())
    expected = {"a": ("input",), "b": ("a",), "c": ("same",), "drop": ("a",), "same": ("drop",), "add": ("b", "c")}
    assert after(model, image(2, 4)) == expected


def test_a_layer_called_twice_is_after_both():
    model = Net(lambda net, x: net.b(net.a(net.c(net.a(x)))), **linears("abc"))
    assert after(model, image(2, 4)) == {"a": ("input", "c"), "c": ("a",), "b": ("a",)}
    assert {layer.name: layer.calls for layer in graphs.graph(model, [image(2, 4)]).layers} == {"a": 2, "b": 1, "c": 1}


def test_writing_into_a_part_of_a_tensor():
    def forward(net, x):
        rows = torch.zeros(2, 2, 4)
        rows[:, 0], rows[:, 1] = net.a(x), net.b(x)
        return net.c(rows)

    expected = {"a": ("input",), "b": ("input",), "setitem": ("a",), "setitem#2": ("setitem", "b"), "c": ("setitem#2",)}
    assert after(Net(forward, **linears("abc")), image(2, 4)) == expected


def test_weights_that_a_module_with_layers_inside_applies_itself_are_placed_where_they_are_applied():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.place = nn.Linear(3, 4), nn.Parameter(torch.ones(1, 3, 4))
            self.first, self.head = nn.Parameter(torch.ones(1, 1, 4)), nn.Linear(4, 2)

        def forward(self, x):
            x = torch.cat([self.first.expand(len(x), -1, -1), self.patches(x)], 1)
            return self.head((x + self.place)[:, 0])

    assert after(Tokens(), image(2, 2, 3)) == {"": ("patches",), "patches": ("x",), "getitem": ("",), "head": ("getitem",)}


def test_a_layer_whose_weights_another_function_applies():
    model = Net(lambda net, x: net.b(F.linear(net.a(x), net.c.weight)), **linears("abc"))
    assert after(model, image(2, 4)) == {"a": ("input",), "b": ("c",), "c": ("a",)}


def test_shapes_dtypes_and_boolean_masks_are_not_a_flow_of_data():
    def forward(net, x):
        y = net.a(x)
        if y.sum() > 0:
            x = x.contiguous()
        return y, net.b(x.to(y) + torch.zeros_like(y) + y.new_ones(4) * torch.tensor(2.0))

    expected = {"a": ("input",), "add": ("input",), "add#2": ("add",), "b": ("add#2",)}
    assert after(Net(forward, **linears("ab")), image(2, 4)) == expected, "without the sum and the comparison that only branch"


AWAY = {
    "numpy": lambda x: torch.from_numpy(x.numpy()),
    "list": lambda x: torch.tensor(x.tolist()),
    "item": lambda x: x * x.mean().item(),
    "float": lambda x: torch.ones_like(x) * float(x.mean()),
    "array": lambda x: torch.as_tensor(np.asarray(x)),
}


@pytest.mark.parametrize("away", AWAY.values(), ids=AWAY)
def test_inputs_that_passed_through_python_are_unknown(away):
    model = Net(lambda net, x: net.c(net.b(away(net.a(x)))), **linears("abc"))
    found = after(model, image(2, 4))
    assert (found["a"], found["b"]) == (("input",), None)


def test_tensors_that_a_layer_uses_in_addition_to_its_arguments_count_too():
    class Conditioned(nn.Module):
        def forward(self, x):
            return x * self.scale

    def forward(net, x):
        net.gate.scale = net.a(x)
        return net.c(net.gate(net.b(x)))

    model = Net(forward, **linears("abc"), gate=Conditioned())
    assert after(model, image(2, 4)) == {"a": ("input",), "b": ("input",), "gate": ("b", "a"), "c": ("gate",)}


def test_inputs_in_sequential_modules_are_known_without_a_run():
    again = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 4), again, nn.Sequential(nn.Linear(4, 4), again), nn.Linear(4, 2))
    expected = {"0": ("input",), "1": ("0", "2.0"), "2.0": ("0",), "3": ("2.0",)}
    assert after(model) == expected
    assert after(model, image(2, 3)) == expected


def test_the_inputs_of_a_module_that_refuses_a_function_mode_are_unknown():
    def forward(net, x):
        with torch.inference_mode():
            return net.b(net.a(x))

    assert after(Net(forward, **linears("ab")), image(2, 4)) == {"a": None, "b": None}
    assert after(Net(lambda net, x: net.b(net.a(x)), **linears("ab"))) == {"a": None, "b": None}


class Doubled(torch.autograd.Function):
    """A function with a gradient of its own."""

    @staticmethod
    def forward(ctx, x):
        return x * 2


def test_loops_user_functions_and_checkpoints_are_followed():
    def forward(net, x):
        one, other = net.a(x), net.b(x)
        rows = torch.stack([one[:, step] * other[:, step] for step in range(x.shape[1])], 1)
        rows.masked_fill_(rows > 100, 0.0)
        y = Doubled.apply(net.c(torch.einsum("btd,btd->btd", rows, one)))
        return net.e(torch.utils.checkpoint.checkpoint(net.d, y, use_reentrant=False))

    found = after(Net(forward, **linears("abcde")), image(2, 3, 4))
    assert (found["stack"], found["mul#2"]) == (("mul", "mul#2", "mul#3"), ("getitem#3", "getitem#4"))
    assert (found["getitem#3"], found["getitem#4"], found["c"]) == (("a",), ("b",), ("einsum",))
    assert (found["masked_fill"], found["einsum"]) == (("stack", "gt"), ("masked_fill", "a"))
    assert (found["d"], found["e"]) == (("mul#4",), ("d",)), "a user's function shows the functions that it calls"


def test_learnt_queries_are_a_layer_without_inputs():
    def forward(net, x):
        y, _ = net.attention(net.queries.weight.expand(len(x), -1, -1), net.a(x), net.a(x))
        return net.b(y)

    model = Net(forward, queries=nn.Embedding(3, 4), attention=nn.MultiheadAttention(4, 2, batch_first=True), **linears("ab"))
    assert after(model, image(2, 5, 4)) == {
        "queries": (),
        "attention": ("queries", "a", "a"),
        "a": ("input",),
        "b": ("attention",),
    }


def test_weights_that_several_layers_apply_at_once_have_no_order():
    model = Net(lambda net, x: net.c(F.linear(net.c(x), net.a.weight @ net.b.weight)), **linears("abc"))
    assert after(model, image(2, 4)) == {"a": None, "b": None, "c": ("input", "a", "b")}


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_norms_of_kernels_do_not_come_between_layers():
    model = nn.Sequential(
        nn.utils.spectral_norm(nn.Linear(4, 4)),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
        nn.utils.weight_norm(nn.Linear(4, 4)),
        nn.Linear(4, 4),
    )
    assert after(model, image(2, 4)) == {"0": ("input",), "1": ("0",), "2": ("1",), "3": ("2",)}


def test_following_a_net_does_not_change_its_run():
    model = nn.Sequential(nn.Linear(4, 4), nn.Identity(), nn.ReLU(inplace=True), nn.Dropout()).eval()
    x = torch.from_numpy(image(2, 4))
    before = model(x).detach()
    after(model, x.numpy())
    assert_close(model(x).detach(), before)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert not torch.overrides._get_current_function_mode_stack()


# functions are layers


class Functional(nn.Module):
    """Layers, and functions between them."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(16, 4), nn.Linear(4, 4)
        self.kernel = nn.Linear(4, 4)

    def forward(self, x, y):
        h = F.relu(self.conv(x))
        h = F.max_pool2d(h + h, 2).permute(0, 2, 3, 1).flatten(1)
        z = torch.cat([self.fc(F.dropout(h, 0.3, self.training)), y, y], dim=1)[:, :4]
        z = F.leaky_relu(self.relu(z), 0.2) * 3
        z = F.layer_norm(F.linear(z, self.kernel.weight, self.kernel.bias), (4,), eps=1e-3)
        return torch.softmax(z - y.mean(1, keepdim=True), dim=-1)


def test_functions_are_layers_with_kinds_settings_shapes_and_inputs_in_order():
    found = graphs.graph(Functional(), [image(2, 3, 4, 4), image(2, 4)])
    assert [(layer.name, layer.kind, layer.class_name, layer.inputs) for layer in found.layers] == [
        ("conv", "conv", "Conv2d", ("x",)),
        ("relu#2", "activation", "relu", ("conv",)),  # a layer has the name "relu"
        ("add", "merge", "add", ("relu#2", "relu#2")),
        ("max_pool2d", "pool", "max_pool2d", ("add",)),
        ("permute", "reshape", "permute", ("max_pool2d",)),
        ("flatten", "flatten", "flatten", ("permute",)),
        ("dropout", "dropout", "dropout", ("flatten",)),
        ("fc", "dense", "Linear", ("dropout",)),
        ("cat", "merge", "cat", ("fc", "y", "y")),
        ("getitem", "other", "getitem", ("cat",)),
        ("relu", "dense", "Linear", ("getitem",)),
        ("leaky_relu", "activation", "leaky_relu", ("relu",)),
        ("mul", "other", "mul", ("leaky_relu",)),
        ("kernel", "dense", "Linear", ("mul",)),
        ("layer_norm", "layer norm", "layer_norm", ("kernel",)),
        ("mean", "other", "mean", ("y",)),
        ("sub", "merge", "sub", ("layer_norm", "mean")),
        ("softmax", "softmax", "softmax", ("sub",)),
    ]
    by_name = {layer.name: layer for layer in found.layers}
    expected = {
        "max_pool2d": {"pool": "max", "size": (2, 2), "strides": (2, 2), "padding": "valid"},
        "permute": {"axes": (2, 3, 1)},
        "dropout": {"rate": 0.3},
        "cat": {"axis": 1},
        "getitem": {"index": (":", ":4")},
        "leaky_relu": {"activation": "leaky_relu", "negative_slope": 0.2},
        "mul": {"value": 3},
        "layer_norm": {"epsilon": 1e-3},
        "mean": {"axis": 1, "keepdim": True},
        "softmax": {"activation": "softmax", "axis": -1},
    }
    assert {name: by_name[name].settings for name in expected} == expected
    assert (by_name["add"].input_shape, by_name["add"].output_shape) == ((4, 4, 4), (4, 4, 4))
    assert (by_name["flatten"].input_shape, by_name["flatten"].output_shape) == ((2, 2, 4), (16,))
    assert (found.input_names, found.input_shapes, found.is_sequential) == (("x", "y"), ((3, 4, 4), (4,)), False)


CHAINS = {
    "functions": (lambda net, x: torch.sigmoid(net.b(F.relu(net.a(x)))), True),
    "in place": (lambda net, x: net.b(net.a(x).relu_()), True),
    "a skip from the input": (lambda net, x: net.b(F.relu(net.a(x)) + x), False),
    "twice the same": (lambda net, x: net.b((h := net.a(x)) + h), False),
    "a layer that runs twice": (lambda net, x: net.b(net.a(net.a(x))), False),
    "a number": (lambda net, x: net.b(net.a(x) * 2), False),
    "a function that is not known": (lambda net, x: net.b(torch.cumsum(net.a(x), 1)), False),
    "two outputs": (lambda net, x: (net.b(h := net.a(x)), h), False),
    "an output from the middle": (lambda net, x: [h := net.a(x), net.b(h)][0], False),
    "numbers through Python": (lambda net, x: net.b(net.a(x) + net.a(x).mean().item()), False),
    "a layer that does not run": (lambda net, x: net.a(x), False),
}


@pytest.mark.parametrize(("forward", "sequential"), CHAINS.values(), ids=CHAINS)
def test_a_run_proves_a_chain_or_does_not(forward, sequential):
    assert graphs.graph(Net(forward, **linears("ab")), [image(2, 4)]).is_sequential is sequential
    assert not graphs.graph(Net(forward, **linears("ab")), None).is_sequential


def test_inputs_have_the_names_of_the_arguments_and_none_that_a_layer_has():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, words, mask):
            return self.head(self.mask(words) * mask)

    found = graphs.graph(Named(), [image(2, 4), image(2, 4)])
    assert found.input_names == ("words", "mask#2")
    assert {layer.name: layer.inputs for layer in found.layers} == {
        "mask": ("words",),
        "mul": ("mask", "mask#2"),
        "head": ("mul",),
    }


FUNCTIONS = [
    (lambda x: F.elu(x, 0.5), nn.ELU(0.5)),
    (lambda x: F.hardtanh(x, -2.0, 3.0), nn.Hardtanh(-2.0, 3.0)),
    (lambda x: F.gelu(x, approximate="tanh"), nn.GELU("tanh")),
    (lambda x: F.softplus(x, 2.0), nn.Softplus(2.0)),
    (lambda x: x.sigmoid(), nn.Sigmoid()),
    (F.silu, nn.SiLU()),
    (F.logsigmoid, nn.LogSigmoid()),
    (F.hardswish, nn.Hardswish()),
    (lambda x: F.log_softmax(x, dim=1), nn.LogSoftmax(1)),
    (lambda x: F.avg_pool2d(x, 2, padding=1), nn.AvgPool2d(2, padding=1)),
    (lambda x: F.max_pool2d(x, 3, 1, 1, ceil_mode=True), nn.MaxPool2d(3, 1, 1, ceil_mode=True)),
    (lambda x: F.adaptive_avg_pool2d(x, 1), nn.AdaptiveAvgPool2d(1)),
    (lambda x: x.mean((2, 3)), None),
    (lambda x: x.flatten(1), nn.Flatten()),
    (lambda x: x.view(2, -1), nn.Flatten()),
    (lambda x: F.dropout(x, 0.1, training=False), nn.Dropout(0.1)),
]


@pytest.mark.parametrize(("function", "module"), FUNCTIONS)
def test_a_function_and_its_module_are_described_alike(function, module):
    """The module is PyTorch's own word for what the function does."""
    (found,) = graphs.graph(Net(lambda net, x: function(net.same(x)), same=nn.Identity()), [image(2, 3, 4, 4)]).layers[-1:]
    if module is None:
        assert (found.kind, found.settings) == ("global pool", {"pool": "average"})
        return
    (other,) = graphs.graph(nn.Sequential(module), [image(2, 3, 4, 4)]).layers
    assert (found.kind, found.settings, found.output_shape) == (other.kind, other.settings, other.output_shape)
