"""Small PyTorch nets in which units are bound in each known way, with the weights that read the units that are removed.

`bound` notes the shape of the inputs of a net, the units that are removed, and by hand where they are read: in each weight the
indices of its second axis, of the first one for the names in `by_row`, and those of all groups in `by_group`.
"""

import torch
from torch import nn
from torch.nn import functional

RELU, CONV, DENSE, NORM = functional.relu, nn.Conv2d, nn.Linear, nn.BatchNorm2d


def bound(shape, gone, read, by_row=(), by_group=None):
    def noted(kind):
        kind.shape, kind.gone, kind.read, kind.by_row, kind.by_group = shape, gone, read, by_row, by_group or {}
        return kind

    return noted


@bound((5, 6), gone={"fc1": [1, 4], "fc2": [0, 3]}, read={"fc2.weight": [1, 4], "fc3.weight": [0, 3]})
class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = DENSE(6, 8), DENSE(8, 7), DENSE(7, 3)

    def forward(self, x):
        return self.fc3(torch.sigmoid(self.fc2(torch.tanh(self.fc1(x)))))


@bound((3, 2, 8, 8), gone={"c1": [1, 4], "c2": [0, 3]}, read={"c2.weight": [1, 4], "fc.weight": [0, 3]})
class ConvNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.c1, self.b1, self.c2, self.b2 = CONV(2, 6, 3, padding=1, bias=False), NORM(6), CONV(6, 5, 3, padding=1), NORM(5)
        self.slope, self.fc = nn.PReLU(5), DENSE(5, 4)

    def forward(self, x):
        x = functional.max_pool2d(RELU(self.b1(self.c1(x))), 2)
        return self.fc(self.slope(self.b2(self.c2(x))).mean((2, 3)))


@bound((3, 2, 6, 6), gone={"c": [2]}, read={"fc.weight": [4, 5]})
class Depthwise(nn.Module):
    """A depthwise convolution with two outputs for each input."""

    def __init__(self):
        super().__init__()
        self.c, self.wide, self.fc = CONV(2, 4, 3), CONV(4, 8, 3, groups=4), DENSE(8, 3)

    def forward(self, x):
        return self.fc(RELU(self.wide(RELU(self.c(x)))).mean((2, 3)))


@bound((3, 2, 6, 6), gone={"c": [1, 6], "g": [2, 3]}, read={"fc.weight": [2, 3]}, by_group={"g.weight": (2, [1, 6])})
class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.g, self.fc = CONV(2, 8, 3), CONV(8, 6, 3, groups=2), DENSE(6, 3)

    def forward(self, x):
        return self.fc(RELU(self.g(RELU(self.c(x)))).mean((2, 3)))


@bound((3, 3, 8, 8), gone={"stem": [1, 4], "c1": [0, 3]}, read={"c1.weight": [1, 4], "fc.weight": [1, 4], "c2.weight": [0, 3]})
class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.c1, self.c2, self.b2 = CONV(3, 6, 3, padding=1), CONV(6, 5, 1), CONV(5, 6, 1), NORM(6)
        self.fc = DENSE(6, 4)

    def forward(self, x):
        x = RELU(self.stem(x))
        return self.fc((x + self.b2(self.c2(RELU(self.c1(x))))).mean((2, 3)))


@bound((3, 2, 6, 6), gone={"c0": [1], "c1": [2]}, read={"c1.weight": [1], "fc.weight": [1, 6]})
class Concat(nn.Module):
    def __init__(self):
        super().__init__()
        self.c0, self.c1, self.b, self.fc = CONV(2, 4, 3, padding=1), CONV(4, 3, 3, padding=1), NORM(7), DENSE(7, 3)

    def forward(self, x):
        x = self.c0(x)
        return self.fc(RELU(self.b(torch.cat([x, self.c1(RELU(x))], 1))).mean((2, 3)))


@bound((3, 2, 6, 6), gone={"c": [2]}, read={"fc.weight": [*range(32, 48)]})
class Flattened(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.fc = CONV(2, 4, 3), DENSE(64, 2)

    def forward(self, x):
        return self.fc(torch.flatten(RELU(self.c(x)), 1))


@bound(
    (2, 5, 4),
    gone={"first": [2], "second": [0, 3]},
    read={"first.weight_hh_l0": [2], "second.weight_ih_l0": [2], "second.weight_hh_l0": [0, 3], "fc.weight": [0, 3]},
)
class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.LSTM(4, 5, batch_first=True), nn.LSTM(5, 4, batch_first=True)
        self.fc = DENSE(4, 3)

    def forward(self, x):
        return self.fc(self.second(self.first(x)[0])[0][:, -1])


@bound((2, 5, 4), gone={"gru": [1, 8]}, read={"gru.weight_hh_l0": [1], "gru.weight_hh_l0_reverse": [3], "fc.weight": [1, 8]})
class BothWays(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.fc = nn.GRU(4, 5, batch_first=True, bidirectional=True), DENSE(10, 3)

    def forward(self, x):
        return self.fc(self.gru(x)[0].mean(1))


@bound((2, 5, 8), gone={"q": [2, 3], "up": [0, 5, 9]}, read={"o.weight": [2, 3], "down.weight": [0, 5, 9]})
class Heads(nn.Module):
    """Attention before whose projections a layer norm is, so that the stream keeps its width."""

    def __init__(self):
        super().__init__()
        self.heads, self.dim = 4, 2
        self.n1, self.n2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.q, self.k, self.v, self.o = (DENSE(8, 8) for _ in range(4))
        self.up, self.down, self.fc = DENSE(8, 10), DENSE(10, 8), DENSE(8, 3)

    def forward(self, x):
        y = self.n1(x)
        q, k, v = (z.view(*y.shape[:2], self.heads, self.dim).transpose(1, 2) for z in (self.q(y), self.k(y), self.v(y)))
        weights = torch.softmax(q @ k.transpose(-1, -2) / self.dim**0.5, -1)
        x = x + self.o((weights @ v).transpose(1, 2).reshape(*y.shape[:2], -1))
        return self.fc((x + self.down(functional.gelu(self.up(self.n2(x))))).mean(1))


@bound((2, 5, 8), gone={"qkv": [2, 3, 10, 11, 18, 19]}, read={"o.weight": [2, 3]})
class Fused(nn.Module):
    """One projection for query, key and value, and the fused attention of PyTorch."""

    def __init__(self):
        super().__init__()
        self.heads, self.dim, self.qkv, self.o = 4, 2, DENSE(8, 24), DENSE(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.heads, self.dim).permute(2, 0, 3, 1, 4)
        return self.o(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(*x.shape[:2], -1))


@bound(None, gone={"table": [3], "up": [1, 2]}, read={"up.weight": [3], "down.weight": [1, 2], "out.weight": [3]})
class Tied(nn.Module):
    """An embedding whose numbers are those of the last layer, too."""

    def __init__(self):
        super().__init__()
        self.table, self.up, self.down, self.out = nn.Embedding(9, 6), DENSE(6, 8), DENSE(8, 6), DENSE(6, 9, bias=False)
        self.out.weight = self.table.weight

    def forward(self, x):
        x = self.table(x)
        return self.out((x + self.down(RELU(self.up(x)))).mean(1))


@bound((3, 6), gone={"a": [1, 4]}, read={"twice.weight": [1, 4], "out.weight": [1, 4]})
class Shared(nn.Module):
    """A layer that runs twice, on its own outputs."""

    def __init__(self):
        super().__init__()
        self.a, self.twice, self.out = DENSE(6, 8), DENSE(8, 8), DENSE(8, 2)

    def forward(self, x):
        return self.out(RELU(self.twice(RELU(self.twice(RELU(self.a(x)))))))


@bound((3, 2, 6, 6), gone={"c": [1, 4], "s1": [1]}, read={"s1.weight": [1, 4], "s2.weight": [1], "fc.weight": [1, 4]})
class Gate(nn.Module):
    """Squeeze and excite: a product with a gate of its own means."""

    def __init__(self):
        super().__init__()
        self.c, self.s1, self.s2, self.fc = CONV(2, 6, 3, padding=1), DENSE(6, 3), DENSE(3, 6), DENSE(6, 3)

    def forward(self, x):
        x = RELU(self.c(x))
        gate = torch.sigmoid(self.s2(RELU(self.s1(x.mean((2, 3))))))
        return self.fc((x * gate[:, :, None, None]).mean((2, 3)))


@bound((3, 6), gone={"a": [0, 3]}, read={"out.weight": [0, 3, 5, 8]})
class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.out = DENSE(6, 5), DENSE(10, 2)

    def forward(self, x):
        x = torch.tanh(self.a(x))
        return self.out(torch.cat([x, x], 1))


@bound(
    (2, 2, 8, 8),
    gone={"down": [2], "low": [0, 5], "up": [1]},
    read={"low.weight": [2], "join.weight": [2, 5], "up.weight": [0, 5]},
    by_row=("up.weight",),
)
class UNet(nn.Module):
    """A transposed convolution, whose kernel has its inputs first, and a skip connection."""

    def __init__(self):
        super().__init__()
        self.down, self.low = CONV(2, 4, 3, padding=1), CONV(4, 6, 3, padding=1, stride=2)
        self.up, self.join = nn.ConvTranspose2d(6, 4, 2, stride=2), CONV(8, 2, 3, padding=1)

    def forward(self, x):
        x = RELU(self.down(x))
        return self.join(torch.cat([x, RELU(self.up(RELU(self.low(x))))], 1))


@bound((3, 2, 6, 6), gone={"c": [2, 3]}, read={"fc.weight": [2, 3]})
class GroupNormed(nn.Module):
    def __init__(self):
        super().__init__()
        self.c, self.n, self.fc = CONV(2, 6, 3), nn.GroupNorm(3, 6), DENSE(6, 3)

    def forward(self, x):
        return self.fc(RELU(self.n(self.c(x))).mean((2, 3)))


@bound((3, 3, 8, 8), gone={"pw0": [1, 4], "pw1": [0, 3]}, read={"pw1.weight": [1, 4], "fc.weight": [0, 3]})
class Separate(nn.Module):
    """Depthwise on the net's inputs, then on units of its own."""

    def __init__(self):
        super().__init__()
        self.dw0, self.pw0, self.dw1 = CONV(3, 3, 3, groups=3), CONV(3, 6, 1), CONV(6, 6, 3, groups=6, bias=False)
        self.b1, self.pw1, self.fc = NORM(6), CONV(6, 7, 1), DENSE(7, 4)

    def forward(self, x):
        x = functional.relu6(self.pw0(self.dw0(x)))
        return self.fc(self.pw1(functional.relu6(self.b1(self.dw1(x)))).mean((2, 3)))


@bound((2, 5, 6), gone={"e": [0, 3], "g": [1, 5]}, read={"g.weight": [0, 3], "out.weight": [1]})
class Positions(nn.Module):
    """A parameter that is added as it is, and a gated unit."""

    def __init__(self):
        super().__init__()
        self.e, self.places = DENSE(6, 8, bias=False), nn.Parameter(torch.randn(1, 5, 8))
        self.g, self.out = DENSE(8, 8), DENSE(4, 2)

    def forward(self, x):
        return self.out(functional.glu(self.g(self.e(x) + self.places)).mean(1))


NETS = [
    *(Mlp, ConvNorm, Depthwise, Grouped, Residual, Concat, Flattened, Lstm, BothWays, Heads, Fused, Tied, Shared, Gate, Doubled),
    *(UNet, GroupNormed, Separate, Positions),
]
