"""Equal layers of nets of two frameworks are paired by the data flow, whatever their order and names."""

import keras
import numpy as np
import pytest
import torch
from keras import layers as L
from torch import nn

from steelyard.transfers.transfer import transfer

FLOW = "its place in the flow of data"


def image(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


class Block(nn.Module):
    """A residual block whose layers are defined in another order than they run."""

    def __init__(self, width):
        super().__init__()
        self.norm2, self.conv2 = nn.BatchNorm2d(width, eps=1e-3), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.conv1 = nn.BatchNorm2d(width, eps=1e-3), nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += x
        return self.relu(y)


class ResNet(nn.Module):
    """Three blocks of one width."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.blocks = nn.ModuleList([Block(4) for _ in range(3)])
        self.stem = nn.Conv2d(2, 4, 3, padding=1)

    def forward(self, x):
        x = self.stem(x)
        for block in reversed(self.blocks):
            x = block(x)
        return self.head(x.mean((2, 3)))


def keras_resnet():
    x = keras.Input((6, 6, 2))
    y = L.Conv2D(4, 3, padding="same")(x)
    for _ in range(3):
        z = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(y)))
        z = L.BatchNormalization()(L.Conv2D(4, 3, padding="same", use_bias=False)(z))
        y = L.ReLU()(L.Add()([z, y]))
    return keras.Model(x, L.Dense(3)(L.GlobalAveragePooling2D()(y)))


def stirred(model):
    """Set a torch module's running statistics to values that differ between layers."""
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.2 if tensor.ndim == 1 else torch.randn_like(tensor) * 0.3)
    return model.eval()


def stirred_keras(model):
    rng = np.random.default_rng(3)
    model.set_weights([rng.random(w.shape) + 0.2 if w.ndim == 1 else rng.normal(size=w.shape) * 0.3 for w in model.get_weights()])
    return model


class Tagger(nn.Module):
    """Three bidirectional layers, with the last two equal, and two equal dense layers."""

    def __init__(self):
        super().__init__()
        self.out, self.between = nn.Linear(6, 6), nn.Linear(6, 6)
        self.rnns = nn.ModuleList([nn.LSTM(6, 3, batch_first=True, bidirectional=True) for _ in range(3)])

    def forward(self, x):
        for rnn in self.rnns[::-1]:
            x, _ = rnn(x)
        return self.out(torch.relu(self.between(x)))


def keras_tagger():
    x = y = keras.Input((5, 6))
    for _ in range(3):
        y = L.Bidirectional(L.LSTM(3, return_sequences=True))(y)
    return keras.Model(x, L.Dense(6)(L.Dense(6, activation="relu")(y)))


def encoder():
    one = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, layer_norm_eps=1e-3)
    return nn.TransformerEncoder(one, 3, enable_nested_tensor=False)


def keras_encoder():
    x = y = keras.Input((5, 8))
    for _ in range(3):
        y = L.LayerNormalization()(L.Add()([L.MultiHeadAttention(2, 4)(y, y), y]))
        y = L.LayerNormalization()(L.Add()([L.Dense(8)(L.Dropout(0.1)(L.Dense(16, activation="relu")(y))), y]))
    return keras.Model(x, y)


class Translator(nn.Module):
    """An encoder and a decoder of equal layers, which share their embedding."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 9)
        self.decoder, self.encoder = nn.GRU(4, 4, batch_first=True), nn.GRU(4, 4, batch_first=True)

    def forward(self, source, target):
        _, state = self.encoder(self.words(source))
        return self.head(self.decoder(self.words(target), state)[0])


def keras_translator():
    source, target = keras.Input((4,), dtype="int32"), keras.Input((4,), dtype="int32")
    words = L.Embedding(9, 4)
    _, state = L.GRU(4, return_state=True)(words(source))
    return keras.Model([source, target], L.Dense(9)(L.GRU(4, return_sequences=True)(words(target), initial_state=state)))


class Towers(nn.Module):
    """Two towers of equal layers; one is deeper."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(5)])

    def forward(self, x):
        a, b, c, d, e = self.layers
        left, right = d(x), torch.tanh(a(torch.relu(c(torch.relu(e(x))))))
        return b(left * right)


def keras_towers():
    x = y = keras.Input((4,))
    left = L.Dense(4)(x)
    for word in ("relu", "relu", "tanh"):
        y = L.Dense(4, activation=word)(y)
    return keras.Model(x, L.Dense(4)(L.Multiply()([left, y])))


TOKENS = np.random.default_rng(0).integers(0, 9, (2, 2, 4))
NETS = {
    "residual": (ResNet, keras_resnet, {"source": [image(2, 2, 6, 6)], "into": [image(2, 2, 6, 6).transpose(0, 2, 3, 1)]}),
    "bidirectional": (Tagger, keras_tagger, image(2, 5, 6)),
    "transformer": (encoder, keras_encoder, image(2, 5, 8)),
    "translator": (Translator, keras_translator, list(TOKENS)),
    "towers": (Towers, keras_towers, image(3, 4)),
}


def turned(probe):
    return {"source": probe["into"], "into": probe["source"]} if isinstance(probe, dict) else probe


@pytest.mark.parametrize(("torch_net", "keras_net", "probe"), NETS.values(), ids=NETS)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_equal_layers_are_paired_by_their_place_and_both_ways_are_proven(torch_net, keras_net, probe):
    ours, theirs = stirred(torch_net()), keras_net()
    there = transfer(ours, into=theirs, probe=probe)
    back = transfer(stirred_keras(theirs), into=ours, probe=turned(probe))
    for done in (there, back):
        assert done.proof.proven
        reasons = {row.note for row in done.plan.rows}
        assert FLOW in reasons
        assert reasons <= {FLOW, "the only one of its shape"}
    assert back.plan.pairs == {target: source for source, target in there.plan.pairs.items()}
