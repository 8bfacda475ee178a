"""Programs of nets compute what the nets do: PyTorch's layers and functions, with its own outputs in float64."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from steelyard.device.program import folded, program_of
from steelyard.errors import ProofError, ShapeError

BOUND = 1e-6
"""The largest difference from the net in float64, as a share of the largest output."""


def filled(net):
    """Return a net in evaluation, with statistics and factors that are not those of a new one."""
    torch.manual_seed(0)
    for tensor in (*net.parameters(), *net.buffers()):
        if tensor.is_floating_point():
            tensor.data.uniform_(0.2, 1.2).mul_(torch.randint(0, 2, tensor.shape) * 2 - 1 if tensor.ndim > 1 else 1)
    return net.eval()


def example(*shape):
    """Return three examples."""
    return np.random.default_rng(1).standard_normal((3, *shape)).astype("float32")


def of_function(function, *layers):
    """Return a module that applies a function to its layers and its input."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(layers)

        def forward(self, x):
            return function(x, *self.parts)

    return Net()


CHAINS = {
    "dense on sequences": ([nn.Linear(3, 4, bias=False)], (5, 3)),
    "conv, explicit padding and strides": ([nn.Conv2d(2, 4, (3, 2), (2, 1), (1, 0))], (2, 7, 6)),
    "conv, groups and dilation": ([nn.Conv2d(4, 6, 3, groups=2, dilation=2)], (4, 8, 9)),
    "conv, depthwise with a multiplier": ([nn.Conv2d(3, 6, 3, groups=3, padding="same")], (3, 5, 5)),
    "conv 1d, dilation": ([nn.Conv1d(2, 3, 3, padding="same", dilation=2)], (2, 9)),
    "conv 3d": ([nn.Conv3d(2, 3, 2, stride=(1, 2, 1), bias=False)], (2, 4, 5, 3)),
    "transposed conv": ([nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, dilation=2)], (4, 4, 5)),
    "transposed conv 1d with gaps": ([nn.ConvTranspose1d(2, 3, 2, stride=3)], (2, 4)),
    "max pool with padding": ([nn.MaxPool2d(3, 2, 1)], (2, 6, 7)),
    "max pool with dilation": ([nn.MaxPool1d(2, 1, dilation=2)], (2, 7)),
    "average pool": ([nn.AvgPool2d(3, 2, 1)], (2, 6, 7)),
    "average pool without its padding": ([nn.AvgPool2d(3, 2, 1, count_include_pad=False)], (2, 6, 7)),
    "adaptive pool": ([nn.AdaptiveAvgPool2d((2, None))], (2, 6, 7)),
    "global pools": ([nn.AdaptiveMaxPool2d(1), nn.Flatten()], (2, 6, 7)),
    "batch norm of rows": ([nn.BatchNorm1d(4)], (4,)),
    "batch norm of images as wide as their channels": ([nn.BatchNorm2d(5)], (5, 5, 5)),
    "batch norm without factors": ([nn.BatchNorm1d(4, affine=False)], (4, 6)),
    "layer norm": ([nn.LayerNorm((3, 4))], (2, 3, 4)),
    "layer norm without factors": ([nn.LayerNorm(4, elementwise_affine=False)], (3, 4)),
    "group norm": ([nn.GroupNorm(2, 4)], (4, 3, 2)),
    "instance norm": ([nn.InstanceNorm2d(3, affine=True)], (3, 4, 2)),
    "rms norm": ([nn.RMSNorm(6, eps=1e-3)], (2, 6)),
    "prelu of channels": ([nn.PReLU(3)], (3, 4)),
    "prelu": ([nn.PReLU()], (3, 4)),
    "flatten of some axes": ([nn.Flatten(2)], (2, 3, 4)),
    "unflatten": ([nn.Unflatten(1, (2, -1))], (6,)),
    "padding": ([nn.ConstantPad2d((1, 2, 0, 3), 0.5)], (2, 3, 4)),
    "upsampling": ([nn.Upsample(scale_factor=2)], (2, 3, 4)),
    "softmax of channels": ([nn.Softmax(dim=1)], (3, 4)),
    "log softmax": ([nn.LogSoftmax(dim=-1)], (3, 4)),
    "gated linear unit": ([nn.GLU(1)], (4, 3)),
    "dropout": ([nn.Linear(3, 2), nn.Dropout(0.4), nn.Identity()], (3,)),
}
ACTIVATIONS = [
    *(nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.3), nn.ELU(0.7), nn.CELU(0.7), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU()),
    *(nn.Mish(), nn.Tanh(), nn.Sigmoid(), nn.LogSigmoid(), nn.Softplus(2, 1.5), nn.Softsign(), nn.Tanhshrink()),
    *(nn.Softshrink(0.3), nn.Hardshrink(0.3), nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh(-0.5, 2), nn.Threshold(0.1, 5)),
]


def error_of(net, x):
    """Return how far the program of a net is off in float32, after it was proven in float64, and check it again here."""
    program = program_of(net, x)
    with torch.no_grad():
        answer = net.double()(torch.from_numpy(x.astype("float64") if x.dtype.kind == "f" else x)).numpy()
    made = program.run(x)
    assert made.shape == answer.shape
    assert made.dtype == np.float32
    apart = float(np.abs(made - answer).max() / np.abs(answer).max())
    assert abs(apart - program.error) <= 1e-9
    return apart


@pytest.mark.parametrize("kind", CHAINS)
def test_the_program_of_a_chain_has_the_outputs_of_pytorch(kind):
    layers, shape = CHAINS[kind]
    assert error_of(filled(nn.Sequential(*layers)), example(*shape)) <= BOUND


@pytest.mark.parametrize("layer", ACTIVATIONS, ids=str)
def test_the_program_has_the_activations_of_pytorch(layer):
    assert error_of(nn.Sequential(layer), 4 * example(40)) <= BOUND


FUNCTIONS = {
    "residual": (lambda x, a, b: x + b(torch.relu(a(x))), [nn.Linear(4, 6), nn.Linear(6, 4)], (4,)),
    "inputs that repeat": (lambda x, a: torch.cat([x, a(x), x], 1), [nn.Linear(4, 2)], (4,)),
    "an order of operands": (lambda x, a, b: a(x) - b(x), [nn.Linear(4, 2), nn.Linear(4, 2)], (4,)),
    "a gate": (lambda x, a, b: torch.sigmoid(a(x)) * functional.silu(b(x)), [nn.Linear(4, 3), nn.Linear(4, 3)], (4,)),
    "a gate of channels": (
        lambda x, a: x * torch.sigmoid(a(x.mean((2, 3)))).unsqueeze(-1).unsqueeze(-1), [nn.Linear(3, 3)], (3, 4, 2)
    ),
    "views": (lambda x, a: a(x.view(-1, 2, 6).transpose(1, 2).reshape(x.shape[0], 12)), [nn.Linear(12, 3)], (12,)),
    "a range of steps": (lambda x, a: a(x[:, 1:-1:2]), [nn.Linear(3, 2)], (6, 3)),
    "pools and softmax": (
        lambda x, a: functional.softmax(functional.max_pool2d(functional.gelu(a(x)), 2).flatten(1), dim=-1),
        [nn.Conv2d(1, 2, 3)], (1, 8, 8),
    ),
    "a module that runs several times": (
        lambda x, a, act, pool, b: b(pool(act(pool(act(a(x)))).flatten(1).unsqueeze(1)).flatten(1)),
        [nn.Conv1d(2, 3, 3), nn.ReLU(inplace=True), nn.MaxPool1d(2), nn.Linear(6, 2)], (2, 10),
    ),
    "a number": (lambda x, a: a(x) * 0.5 + 2, [nn.Linear(3, 2)], (3,)),
    "a number before": (lambda x, a: (1 - a(x)) * (2 / (x[:, :2] ** 2 + 1)), [nn.Linear(3, 2)], (3,)),
    "signs": (lambda x, a: -a(x).abs() + x.neg(), [nn.Linear(3, 3)], (3,)),
    "powers": (lambda x, a: a(x).square() - x**3 + x.pow(1) + (x.abs() + 1) ** 0.5, [nn.Linear(3, 3)], (3,)),
    "roots": (lambda x, a: torch.sqrt(a(x).abs()) + (x * x + 1).rsqrt() + torch.erf(x), [nn.Linear(3, 3)], (3,)),
    "reciprocals": (lambda x, a: (x * x + 1).reciprocal() + (x * x + 2) ** -1 - (x * x + 1) ** -0.5, [nn.Linear(3, 3)], (3,)),
    "bounds": (lambda x, a: a(x).clamp(-0.3, 0.4) + x.clip(max=0.1) - torch.clamp_min(x, 0) * x.clamp(min=-0.2), [nn.Linear(3, 3)], (3,)),
    "means and sums": (
        lambda x, a: a(x - x.mean(-1, keepdim=True)) + x.sum((1, 2)).unsqueeze(-1).unsqueeze(-1) + x.amax(1, True), [nn.Linear(3, 3)], (5, 3)
    ),
    "a mean that loses its axis": (lambda x, a: a(x.mean(dim=1)) + x.amax(dim=(1,)), [nn.Linear(3, 3)], (5, 3)),
    "an rms norm by hand": (lambda x, a: a(x) * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6), [nn.Linear(3, 3)], (4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_the_program_has_the_functions_between_layers(kind):
    function, layers, shape = FUNCTIONS[kind]
    assert error_of(filled(of_function(function, *layers)), example(*shape)) <= BOUND


@pytest.mark.parametrize("rnn", [nn.RNN, nn.LSTM, nn.GRU], ids=lambda each: each.__name__)
@pytest.mark.parametrize(("levels", "both"), [(1, False), (2, True)])
def test_the_program_of_a_recurrent_net_has_the_outputs_of_pytorch(rnn, levels, both):
    torch.manual_seed(0)
    layers = rnn(3, 4, num_layers=levels, bidirectional=both, batch_first=True), nn.Linear(4 * (1 + both), 2)
    net = of_function(lambda x, a, b: b(a(x)[0][:, -1] if levels > 1 else a(x)[0]), *layers)
    assert error_of(net, example(3, 3)) <= BOUND


def split(x, heads):
    """Return (batch, heads, steps, dim)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def later(x):
    """Return the mask of the steps that come later."""
    return torch.full((x.shape[1],) * 2, float("-inf"), dtype=x.dtype).triu(1)


ATTENTION = {
    "self": lambda x, a, b: b(a(x, x, x)[0]),
    "cross": lambda x, a, b: b(a(x, y := torch.tanh(x[:, 1:]), y, need_weights=False)[0]),
    "causal": lambda x, a, b: b(a(x, x, x, attn_mask=later(x))[0]),
}


@pytest.mark.parametrize("kind", ATTENTION)
def test_the_program_has_the_attention_of_pytorch(kind):
    torch.manual_seed(0)
    net = of_function(ATTENTION[kind], nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 2))
    assert error_of(net, example(4, 6)) <= BOUND


def test_the_program_has_the_function_of_attention():
    def function(x, a, b):
        made = functional.scaled_dot_product_attention(split(a(x), 2), split(b(x), 2), split(x, 2), is_causal=True)
        return made.transpose(1, 2).reshape(x.shape)

    torch.manual_seed(0)
    assert error_of(of_function(function, nn.Linear(6, 6), nn.Linear(6, 6)), example(4, 6)) <= BOUND


def _by_hand(x, q, k, v, out, mask=None):
    """Attention of two heads as nets write it themselves."""
    scores = split(q(x), 2) @ split(k(x), 2).transpose(-2, -1) * 3**-0.5
    if mask is not None:
        scores = scores.masked_fill(mask[:, :, : x.shape[1], : x.shape[1]] == 0, float("-inf"))
    return out((scores.softmax(-1) @ split(v(x), 2)).transpose(1, 2).contiguous().view(x.shape))


BY_HAND = {
    "heads": lambda x, q, k, v, out, _: _by_hand(x, q, k, v, out),
    "causal": _by_hand,
    "one head": lambda x, q, k, v, out, _: out(torch.bmm(functional.softmax(torch.bmm(q(x), k(x).permute(0, 2, 1)), -1), v(x))),
    "its own scale": lambda x, q, k, v, out, _: out(functional.scaled_dot_product_attention(q(x), k(x), v(x), scale=0.7)),
}


@pytest.mark.parametrize("kind", BY_HAND)
def test_attention_by_hand_has_its_outputs(kind):
    torch.manual_seed(0)
    net = of_function(lambda x, *parts: BY_HAND[kind](x, *parts, net.lower), *(nn.Linear(6, 6) for _ in range(4)))
    net.register_buffer("lower", torch.ones(1, 1, 5, 5).tril())
    assert error_of(net, example(4, 6)) <= BOUND


def test_a_weight_that_a_function_multiplies_is_the_kernel_of_a_dense_layer():
    net = of_function(lambda x, a: torch.matmul(torch.tanh(a(x)), net.factor) + net.shift, nn.Linear(3, 3))
    net.factor, net.shift = nn.Parameter(torch.ones(3, 2).cumsum(0)), nn.Parameter(torch.ones(2))
    program = program_of(net, example(4, 3))
    assert program.error <= BOUND
    assert type(program.steps[-3].operation).__name__ == "Dense"


TWICE = {
    "dense": (lambda x, a, b: b(torch.relu(a(torch.relu(a(x))))), [nn.Linear(4, 4), nn.Linear(4, 2)], (4,)),
    "conv and norms": (
        lambda x, a, b, c: a(torch.relu(b(c(a(torch.relu(b(c(x))))))) + x),
        [nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)], (4, 5, 5),
    ),
    "layer norm": (lambda x, a, b: a(b(a(x))), [nn.LayerNorm(4), nn.Linear(4, 4, bias=False)], (3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWICE)
def test_a_layer_with_weights_may_run_twice(kind):
    function, layers, shape = TWICE[kind]
    program = program_of(net := filled(of_function(function, *layers)), example(*shape))
    assert error_of(net, example(*shape)) <= BOUND
    arrays = [array for step in program.steps for array in step.operation if isinstance(array, np.ndarray) and array.ndim > 1]
    assert len({id(array) for array in arrays}) < len(arrays) or kind == "layer norm"  # they share one array


def test_a_recurrent_layer_that_runs_twice_is_refused_by_its_name():
    net = of_function(lambda x, a: a(a(x)[0])[0], nn.LSTM(4, 4, batch_first=True))
    with pytest.raises(ShapeError, match=r"'parts.0' \(LSTM\) runs 2 times"):
        program_of(net, example(3, 4))


def test_a_table_is_also_the_kernel_of_the_head_that_a_function_applies():
    table, head = nn.Embedding(5, 3), nn.Linear(3, 3)
    net = of_function(lambda x, a, b: functional.linear(torch.tanh(b(a(x))), a.weight), table, head)
    steps = [step.operation for step in program_of(net, np.array([[0, 3], [4, 1]])).steps]
    assert steps[0].table is steps[-1].kernel


def test_the_program_of_a_transformer_layer_has_its_outputs():
    torch.manual_seed(0)
    net = nn.Sequential(nn.TransformerEncoderLayer(6, 2, 8, dropout=0, activation="gelu", batch_first=True)).eval()
    assert error_of(net, example(4, 6)) <= BOUND


def test_numbers_of_rows_stay_integers():
    net = of_function(lambda x, a, b: b(a(x[:, :3]).flatten(1)), nn.Embedding(9, 4), nn.Linear(12, 2))
    assert error_of(net, np.random.default_rng(0).integers(0, 9, (3, 5))) <= BOUND


def test_sums_in_double_are_nearer_and_follow_the_order_of_the_kernel():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(300, 4))
    x = example(300)
    program = program_of(net, x)
    (kernel, bias), sums = (tensor.detach().numpy() for tensor in net.parameters()), []
    for row in x:
        total = bias.copy()
        for place in range(300):
            total += row[place] * kernel[:, place]
        sums.append(total)
    assert np.array_equal(program.run(x), sums)
    exact = x.astype("float64") @ kernel.T.astype("float64") + bias
    errors = [np.abs(program.run(x, accumulate=sums) - exact).max() for sums in ("float32", "float64")]
    assert errors[1] < errors[0]
    assert np.array_equal(program.run(x, accumulate="float64"), exact.astype("float32"))


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 6, 2, groups=2, bias=False), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.Linear(3, 6)]
)
def test_batch_norms_are_folded_into_the_kernels_that_alone_feed_them(layer):
    net = filled(nn.Sequential(layer, nn.BatchNorm2d(6) if not isinstance(layer, nn.Linear) else nn.BatchNorm1d(6), nn.ReLU()))
    x = example(*((3,) if isinstance(layer, nn.Linear) else (4, 3, 3)))
    program = program_of(net, x)
    short = folded(program)
    assert [type(step.operation).__name__ for step in short.steps] == [type(program.steps[0].operation).__name__, "Activation"]
    np.testing.assert_allclose(short.run(x, dtype="float64"), program.run(x, dtype="float64"), rtol=0, atol=1e-12)


def test_a_batch_norm_whose_input_is_used_twice_is_not_folded():
    net = filled(of_function(lambda x, a, norm: (h := a(x)) - norm(h), nn.Linear(3, 4), nn.BatchNorm1d(4)))
    program = program_of(net, x := example(3))
    assert len(folded(program).steps) == len(program.steps)
    assert np.array_equal(folded(program).run(x), program.run(x))


def test_tied_weights_are_one_array():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    program = program_of(nn.Sequential(first, nn.Tanh(), second))
    kernels = [step.operation.kernel for step in program.steps if hasattr(step.operation, "kernel")]
    assert kernels[0] is kernels[1]


REFUSED = {
    "'bilinear' (bilinear) ": of_function(lambda x, a, b, c: c(a(x), b(x)), *(nn.Linear(4, 2), nn.Linear(4, 2)),
                                               nn.Bilinear(2, 2, 3)),
    "'parts.0' (PReLU) runs 2 times": of_function(lambda x, a, b: a(b(a(x))), nn.PReLU(4), nn.Linear(4, 4)),
    "'cumsum'": of_function(lambda x, a: a(x).cumsum(1), nn.Linear(4, 4)),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_a_layer_that_is_not_known_is_refused_by_its_name(why):
    with pytest.raises(ShapeError) as error:
        program_of(REFUSED[why], example(4))
    assert why in str(error.value)


def test_a_setting_that_is_not_known_is_refused():
    net = nn.Sequential(nn.Conv2d(2, 2, 1), nn.AvgPool2d(2, divisor_override=3))
    with pytest.raises(ShapeError, match=r"'1' \(AvgPool2d\) has divisor=3"):
        program_of(net, example(2, 4, 4))


def test_a_function_that_the_graph_does_not_show_refutes_the_program():
    net = of_function(lambda x, a: a(x) + torch.from_numpy(np.sin(x.numpy())[:, :1]) * 0.01, nn.Linear(4, 4))
    with pytest.raises((ProofError, ShapeError)):
        program_of(net, example(4))


def test_a_net_whose_hooks_change_outputs_is_refuted():
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    net[0].register_forward_hook(lambda module, args, output: output * 1.01)
    with pytest.raises(ProofError, match="off by"):
        program_of(net, example(4))
