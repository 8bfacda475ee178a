"""The graphs of PyTorch modules, and their runs: PyTorch's own order, shapes and outputs, and an unchanged module."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from outputs import assert_close
from torch import nn

import steelyard
from steelyard.core.graph import KINDS as WORDS
from steelyard.errors import NotFittedError, UnknownModelError
from steelyard.frameworks import torch as graphs

NO_LAYER_OF_ITS_OWN = {("gru_reset_before", ""): "a GRU written by hand", ("weightnorm_dense", "g"): "a part of the norm"}


class Backwards(nn.Module):
    """Registers its layers in the reverse order of their calls, with one never called and one shared."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(12, 3)
        self.spare = nn.Linear(4, 4)
        self.norm = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(2, 3, 3, stride=2, padding=1)
        self.alias = self.conv
        self.slope = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x):
        x = self.slope(self.norm(self.conv(x)))
        return self.head(torch.flatten(x, 1))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width):
        super().__init__()
        self.norm2, self.conv2 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(x + self.norm2(self.conv2(y)))


class Tagger(nn.Module):
    """A stacked bidirectional LSTM with the time first."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 5)
        self.rnn = nn.LSTM(6, 4, num_layers=2, bidirectional=True)
        self.words = nn.Embedding(11, 6)

    def forward(self, tokens):
        return self.head(self.rnn(self.words(tokens))[0])


def names(graph):
    return [layer.name for layer in graph.layers]


def by_name(graph):
    return {layer.name: layer for layer in graph.layers}


def state_of(model):
    """Return all state that a run could change."""
    return {
        "numbers": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "places": [id(tensor) for tensor in (*model.parameters(), *model.buffers())],
        "modes": [part.training for part in model.modules()],
        "hooks": [
            (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._forward_hooks_with_kwargs))
            for part in model.modules()
        ],
        "attributes": [sorted(vars(part)) for part in model.modules()],
        "random": torch.get_rng_state(),
        "default": torch.get_default_dtype(),
        "fast": torch.backends.mha.get_fastpath_enabled(),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def trained(model, x, steps=3):
    """The model and its optimizer after a few steps towards zero."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.from_numpy(x)).square().mean().backward()
        optimizer.step()
    return model, optimizer


def test_every_golden_layer_has_its_name_and_kind_and_the_run_has_the_expected_output(golden):
    cases = golden("torch")
    assert len(cases) > 60
    for case in cases:
        model = case.build()
        model.load_state_dict(torch.load(case.file(".pt"), weights_only=True))
        found = graphs.graph(model, case.inputs)
        for name, kinds in case.expected():
            if (case.id, name) not in NO_LAYER_OF_ITS_OWN:
                assert by_name(found)[name].kind in kinds, case.id
        assert found.is_execution_order, case.id
        assert {layer.kind for layer in found.layers} <= WORDS
        assert all(layer.input_shape is not None and layer.output_shape is not None for layer in found.layers), case.id
        (output, *_) = graphs.run(model, case.inputs).outputs
        assert output.dtype == np.float64
        assert np.abs(output - case.output).max() <= case.tolerance * np.abs(case.output).max(), case.id


def test_every_weight_of_the_golden_cases_belongs_to_a_layer_of_the_graph(golden):
    for case in golden("torch"):
        model = case.build()
        layers = names(graphs.graph(model, None))
        for weight in steelyard.weights(model).values():
            assert any(name in ("", weight.layer) or weight.layer.startswith(f"{name}.") for name in layers), (
                case.id,
                weight.name,
            )


def test_layers_are_in_execution_order_when_there_are_inputs():
    model = Backwards()
    assert names(graphs.graph(model, None)) == ["head", "spare", "norm", "conv", "slope"]
    assert not graphs.graph(model, None).is_execution_order
    found = graphs.graph(model, [image(2, 2, 4, 4)])
    assert found.is_execution_order
    assert names(found) == ["conv", "norm", "slope", "flatten", "head", "spare"]
    assert [layer.name for layer in found.layers if layer.settings.get("unused")] == ["spare"]
    assert (found.channels, found.input_shapes) == ("first", ((2, 4, 4),))
    shapes = {layer.name: (layer.input_shape, layer.output_shape) for layer in found.layers if layer.name != "flatten"}
    assert shapes == {
        "conv": ((2, 4, 4), (3, 2, 2)),
        "norm": ((3, 2, 2), (3, 2, 2)),
        "slope": ((3, 2, 2), (3, 2, 2)),
        "head": ((12,), (3,)),
        "spare": (None, None),
    }


def test_a_chain_of_layers_needs_no_inputs_to_know_its_order():
    chain = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), nn.Flatten(), nn.Linear(8, 2))
    assert graphs.graph(chain, None).is_execution_order
    assert names(graphs.graph(chain, None)) == ["0.0", "0.1", "1", "2"] == names(graphs.graph(chain, [image(1, 1, 4, 4)]))
    assert not graphs.graph(nn.Sequential(chain, Backwards()), None).is_execution_order

    class Turned(nn.Sequential):
        def forward(self, x):
            for part in reversed(self):
                x = part(x)
            return x

    turned = Turned(nn.Linear(3, 2), nn.Linear(4, 3))
    assert not graphs.graph(turned, None).is_execution_order
    assert names(graphs.graph(turned, [image(1, 4)])) == ["1", "0"]


def test_settings_have_the_words_used_for_all_frameworks():
    model = nn.ModuleDict(
        {
            "conv": nn.Conv2d(4, 8, 3, stride=2, padding=1, dilation=2, groups=2),
            "depthwise": nn.Conv1d(4, 8, 3, groups=4, padding="same"),
            "up": nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1),
            "batch": nn.BatchNorm1d(3, eps=1e-4, momentum=0.05),
            "group": nn.GroupNorm(2, 6),
            "instance": nn.GroupNorm(6, 6),
            "layer": nn.LayerNorm(3),
            "rms": nn.RMSNorm(3),
            "gelu": nn.GELU("tanh"),
            "leaky": nn.LeakyReLU(0.3),
            "rnn": nn.RNN(2, 3, nonlinearity="relu"),
            "gru": nn.GRU(2, 3, num_layers=2, bidirectional=True),
            "attention": nn.MultiheadAttention(8, 4),
            "weight": nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
            "spectral": nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
            "pool": nn.AvgPool2d(2),
            "all": nn.AdaptiveAvgPool2d(1),
            "flat": nn.Flatten(),
            "softmax": nn.Softmax(-1),
            "own": Block(2),
        }
    )
    found = by_name(graphs.graph(model, None))
    said = {name: (layer.kind, layer.settings) for name, layer in found.items() if not name.startswith("own")}
    assert said == {
        "conv": ("conv", {"strides": (2, 2), "padding": (1, 1), "dilation": (2, 2), "groups": 2}),
        "depthwise": ("conv", {"strides": (1,), "padding": "same", "dilation": (1,), "groups": 4, "depthwise": True}),
        "up": (
            "conv transpose",
            {"strides": (2, 2), "padding": "valid", "dilation": (1, 1), "groups": 1, "output_padding": (1, 1)},
        ),
        "batch": ("batch norm", {"epsilon": 1e-4, "momentum": 0.95}),
        "group": ("group norm", {"epsilon": 1e-5, "groups": 2}),
        "instance": ("instance norm", {"epsilon": 1e-5}),
        "layer": ("layer norm", {"epsilon": 1e-5}),
        "rms": ("rms norm", {"epsilon": float(np.finfo("float32").eps)}),
        "gelu": ("activation", {"activation": "gelu_tanh"}),
        "leaky": ("activation", {"activation": "leaky_relu", "negative_slope": 0.3}),
        "rnn": ("rnn", {"activation": "relu", "layers": 1, "bidirectional": False}),
        "gru": (
            "gru",
            {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True, "layers": 2, "bidirectional": True},
        ),
        "attention": ("attention", {"heads": 4, "key_heads": 4}),
        "weight": ("dense", {"weight_norm": True}),
        "spectral": ("dense", {"spectral_norm": True}),
        "pool": ("pool", {"pool": "average", "size": (2, 2), "strides": (2, 2), "padding": "valid", "count_padding": True}),
        "all": ("global pool", {"pool": "average", "output_size": (1, 1)}),
        "flat": ("flatten", {}),
        "softmax": ("softmax", {"activation": "softmax", "axis": -1}),
    }
    assert [name for name in found if name.startswith("own")] == ["own.norm2", "own.conv2", "own.norm1", "own.conv1"]
    assert found["weight"].class_name == "Linear"


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weight_norm_by_hook_is_a_setting_and_runs_although_it_cannot_be_copied():
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)))
    x = image(2, 4)
    model(torch.from_numpy(x)).sum().backward()
    assert graphs.graph(model, [x]).layers[0].settings == {"weight_norm": True}
    (output,) = graphs.run(model, [x]).outputs
    with torch.no_grad():
        assert np.allclose(output, model(torch.from_numpy(x)).numpy(), atol=1e-6)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # torch's own import
def test_a_parallel_and_a_compiled_module_keep_their_names_and_run_as_the_module_inside():
    inner, x = Backwards(), image(2, 2, 4, 4)
    for wrapper, before in ((nn.DataParallel(inner), "module."), (torch.compile(inner), "_orig_mod.")):
        assert names(graphs.graph(wrapper, [x])) == [before + name for name in names(graphs.graph(inner, [x]))]
        assert {w.layer for w in steelyard.weights(wrapper).values()} - {f"{before}alias"} <= set(
            names(graphs.graph(wrapper, None))
        )
        assert_close(graphs.run(wrapper, [x]).outputs[0], graphs.run(inner, [x]).outputs[0])


def test_a_run_returns_the_outputs_of_a_float64_copy_and_of_each_layer_before_it_is_overwritten():
    model, x = Backwards(), image(2, 2, 4, 4)
    double = copy.deepcopy(model).double().eval()
    found = graphs.run(model, [x])
    with torch.no_grad():
        normed = double.norm(double.conv(torch.from_numpy(x).double()))
        assert_close(found.layers["norm"], normed)
        assert_close(found.layers["slope"], F.leaky_relu(normed, 0.2))
        assert_close(found.outputs[0], double(torch.from_numpy(x).double()))
    assert list(found.layers) == ["conv", "norm", "slope", "flatten", "head"]


def test_the_outputs_of_time_first_layers_have_the_batch_first():
    model, tokens = Tagger(), np.arange(21, dtype="int64").reshape(7, 3) % 11
    found = graphs.graph(model, [tokens])
    assert names(found) == ["words", "rnn", "head"]
    assert (by_name(found)["rnn"].input_shape, by_name(found)["rnn"].output_shape) == ((7, 6), (7, 8))
    assert by_name(found)["rnn"].settings["layers"] == 2
    ran = graphs.run(model, [tokens])
    assert ran.layers["rnn"].shape == (3, 7, 8)
    assert ran.outputs[0].shape == (7, 3, 5)


def test_the_layers_of_a_transformer_are_in_order_and_have_its_activation():
    layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    found = graphs.graph(model, [image(2, 5, 8)])
    order = ["self_attn", "dropout1", "norm1", "linear1", "dropout", "linear2", "dropout2", "norm2"]
    assert [name for name in names(found) if "." in name] == [f"layers.{n}.{name}" for n in (0, 1) for name in order]
    assert by_name(found)["gelu#2"].inputs == ("layers.1.linear1",)
    assert by_name(graphs.graph(model, None))["layers.1.linear1"].settings == {"activation": "gelu"}, "without a run"
    assert graphs.run(model, [image(2, 5, 8)]).layers["layers.1.self_attn"].shape == (2, 5, 8)


@pytest.mark.parametrize("build", [Backwards, lambda: nn.Sequential(nn.Conv2d(2, 2, 1), Block(2), nn.Dropout(0.5))])
@pytest.mark.parametrize("look", [graphs.graph, graphs.run])
def test_a_run_leaves_a_trained_model_and_its_further_training_unchanged(build, look):
    torch.manual_seed(0)
    x = image(4, 2, 4, 4)
    model, optimizer = trained(build(), x)
    next(iter(model.children())).eval()  # a frozen part
    twin, twins = copy.deepcopy((model, optimizer))
    before = state_of(model)
    look(model, [x])
    assert same(before, state_of(model))
    for net, steps in ((model, optimizer), (twin, twins)):
        torch.manual_seed(1)
        steps.zero_grad()
        net(torch.from_numpy(x)).square().mean().backward()
        steps.step()
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))


class Restless(nn.Module):
    """Draws numbers, counts its calls in a buffer and an attribute, rebinds a buffer, and may fail."""

    def __init__(self, *, fails):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.fails = fails
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2, 2))

    def forward(self, x):
        self.calls += 1
        self.last = x + torch.randn_like(x)
        self.note = "called"
        y = self.fc(x)
        if self.fails:
            raise ArithmeticError("on purpose")
        return y

    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("look", [graphs.graph, graphs.run])
def test_a_run_restores_a_model_that_changes_itself_and_cannot_be_copied_even_if_it_raises(look, fails):
    model = Restless(fails=fails)
    before, modes = state_of(model), model.training
    if fails:
        with pytest.raises(ArithmeticError):
            look(model, [image(2, 2)])
    else:
        look(model, [image(2, 2)])
    assert same(before, state_of(model))
    assert model.training is modes


def test_a_module_that_requires_float32_runs_in_it_as_the_dtype_shows():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(x.float())

    assert graphs.run(Single(), [image(2, 2)]).outputs[0].dtype == np.float32


def test_tensors_that_a_module_makes_as_it_runs_are_float64_too():
    class Starts(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRUCell(2, 3)

        def forward(self, x):
            return {"state": self.cell(x, torch.zeros(len(x), 3)), "more": (x, None)}

    found = graphs.run(Starts(), [image(2, 2)])
    assert [output.dtype for output in found.outputs] == [np.float64, np.float64]


def test_short_floats_run_in_float64():
    model = nn.Linear(3, 2).bfloat16()
    (output,) = graphs.run(model, [image(2, 3)]).outputs
    expected = torch.from_numpy(image(2, 3)).double() @ model.weight.detach().double().T + model.bias.detach().double()
    assert np.allclose(output, expected.numpy(), atol=1e-12)
    assert graphs.graph(model, [image(2, 3)]).layers[0].output_shape == (2,)


def test_an_epsilon_that_depends_on_the_dtype_stays_that_of_the_model():
    model, x = nn.RMSNorm(3), image(2, 3) * 1e-4
    with torch.no_grad():
        assert np.allclose(graphs.run(model, [x]).outputs[0], model(torch.from_numpy(x)).numpy(), rtol=1e-5)


def test_a_user_s_class_keeps_the_kind_of_its_base_class_and_lists_additional_layers():
    class Adapted(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.down = nn.Linear(4, 1, bias=False)

    found = graphs.graph(nn.Sequential(Adapted()), None)
    assert [(layer.name, layer.kind, layer.class_name) for layer in found.layers] == [
        ("0", "dense", "Adapted"),
        ("0.down", "dense", "Linear"),
    ]
    assert not found.is_execution_order


def test_objects_without_layers_and_lazy_modules_are_refused():
    with pytest.raises(UnknownModelError, match="pass a module"):
        graphs.graph(torch.zeros(3), None)
    with pytest.raises(NotFittedError, match=r"0.weight is lazy"):
        graphs.graph(nn.Sequential(nn.LazyLinear(3)), None)


NETS = {
    "a CNN with Flatten": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)),
        (2, 1, 8, 8),
        [("0", "conv"), ("1", "activation"), ("2", "pool"), ("3", "flatten"), ("4", "dense")],
    ),
    "a residual net": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 1), Block(2)),
        (2, 1, 4, 4),
        [
            *(("0", "conv"), ("1.conv1", "conv"), ("1.norm1", "batch norm"), ("relu", "activation"), ("1.conv2", "conv")),
            *(("1.norm2", "batch norm"), ("add", "merge"), ("relu#2", "activation")),
        ],
    ),
    "a GRU": (lambda: nn.GRU(3, 4, batch_first=True), (2, 5, 3), [("", "gru")]),
    "a depthwise net": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 2, 1), nn.AdaptiveAvgPool2d(1)
        ),
        (2, 3, 5, 5),
        [("0", "conv"), ("1", "batch norm"), ("2", "activation"), ("3", "conv"), ("4", "global pool")],
    ),
    "an autoencoder": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 4, stride=2), nn.GELU(), nn.ConvTranspose2d(2, 1, 4, stride=2), nn.Sigmoid()),
        (2, 1, 8, 8),
        [("0", "conv"), ("1", "activation"), ("2", "conv transpose"), ("3", "activation")],
    ),
    "a decoder from a vector": (
        lambda: nn.Sequential(
            nn.Linear(5, 12), nn.Unflatten(1, (3, 2, 2)), nn.Upsample(scale_factor=2), nn.ZeroPad2d(1), nn.Conv2d(3, 1, 3)
        ),
        (2, 5),
        [("0", "dense"), ("1", "reshape"), ("2", "upsample"), ("3", "pad"), ("4", "conv")],
    ),
}


@pytest.mark.parametrize("net", NETS)
def test_whole_trained_nets_are_listed_and_run_as_torch_runs_them(net):
    build, shape, layers = NETS[net]
    torch.manual_seed(0)
    x = image(*shape)
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        first = model(torch.from_numpy(x))
        (first[0] if isinstance(first, tuple) else first).square().mean().backward()
        optimizer.step()
    found = graphs.graph(model, [x])
    assert [(layer.name, layer.kind) for layer in found.layers] == layers
    double = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        expected = double(torch.from_numpy(x).double())
    ran = graphs.run(model, [x])
    assert_close(ran.outputs[0], expected[0] if isinstance(expected, tuple) else expected)
    assert {name: array.shape[1:] for name, array in ran.layers.items()} == {
        layer.name: layer.output_shape for layer in found.layers
    }


def test_a_module_that_was_compiled_in_place_is_run_by_its_own_layers_and_stays_compiled():
    def compiled(*args):
        raise AssertionError("the compiled call was used, which shows no layers")

    net = nn.Sequential(nn.Linear(3, 2))
    net._compiled_call_impl = compiled
    found = graphs.graph(net, [np.ones((1, 3), "float32")])
    assert [layer.name for layer in found.layers] == ["0"]
    assert net._compiled_call_impl is compiled


def test_the_slope_of_a_random_relu_is_its_mean_as_in_inference_mode():
    (slope,) = graphs.graph(nn.Sequential(nn.RReLU(0.1, 0.3)), None).layers
    assert slope.settings["negative_slope"] == pytest.approx(0.2)
    x = np.array([[-1.0]])
    assert graphs.run(nn.RReLU(0.1, 0.3), [x]).outputs[0] == pytest.approx(-0.2)


def test_the_layer_that_gives_the_only_output_is_named():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head, self.other = nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(4, 1)

        def forward(self, x, both=False):
            h = torch.relu(self.body(x))
            return (self.head(h), self.other(h)) if both else self.head(h)

    x = np.ones((2, 3), "float32")
    net = Net()
    assert graphs.graph(net, [x]).output_names == ("head",)
    assert graphs.graph(net, [x, np.ones(1, "float32")]).output_names is None
