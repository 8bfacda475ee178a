"""Whole nets, each written by hand in PyTorch, Keras and Flax, with their own names and order of definition."""

from functools import cache

import numpy as np

RNG = np.random.default_rng(7)
TOKENS, LENGTH, WIDTH = 19, 6, 8


def images(channels, *size):
    return RNG.standard_normal((3, channels, *size)).astype("float32")


INPUTS = {
    "cnn": [images(3, 13, 9)],
    "resnet": [images(3, 14, 10)],
    "tagger": [RNG.integers(0, TOKENS, (3, LENGTH))],
    "gru": [RNG.standard_normal((3, LENGTH, 5)).astype("float32")],
    "transformer": [RNG.integers(0, TOKENS, (3, LENGTH)), np.tile(np.arange(LENGTH), (3, 1))],
    "mobilenet": [images(3, 17, 11)],
    "autoencoder": [images(2, 15, 11)],
}
"""Inputs in PyTorch's layout."""
IMAGES_OUT = ("autoencoder",)


def last(array):
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def inputs(net, framework):
    """Return the inputs in the layout of a framework."""
    return [last(each) if framework != "torch" and each.ndim == 4 else each for each in INPUTS[net]]


def torch_nets():
    import torch
    from torch import nn
    from torch.nn import functional as F

    def down(x):
        return x.flatten(1)

    class CNN(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(20, 5)
            self.hidden = nn.Linear(12 * 4 * 2, 20)
            self.norm = nn.BatchNorm1d(12 * 4 * 2)
            self.second = nn.Conv2d(8, 12, 3)
            self.first = nn.Conv2d(3, 8, 3, padding=1)

        def forward(self, x):
            x = F.max_pool2d(torch.relu(self.first(x)), 2)
            return self.head(torch.relu(self.hidden(self.norm(down(torch.relu(self.second(x)))))))

    class Block(nn.Module):
        def __init__(self, into, out, stride=1):
            super().__init__()
            self.bn2, self.bn1 = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
            self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
            self.conv1 = nn.Conv2d(into, out, 3, stride, padding=1, bias=False)
            self.short = nn.Conv2d(into, out, 1, stride, bias=False) if stride > 1 else nn.Identity()

        def forward(self, x):
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + self.short(x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(16, 4)
            self.blocks = nn.ModuleList([Block(8, 8), Block(8, 8), Block(8, 8), Block(8, 16, 2), Block(16, 16)])
            self.bn = nn.BatchNorm2d(8)
            self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)

        def forward(self, x):
            x = torch.relu(self.bn(self.stem(x)))
            for block in self.blocks:
                x = block(x)
            return self.fc(x.mean((2, 3)))

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.tags = nn.Linear(WIDTH, 5)
            self.lstm = nn.LSTM(WIDTH, WIDTH // 2, num_layers=2, bidirectional=True, batch_first=True)
            self.words = nn.Embedding(TOKENS, WIDTH)

        def forward(self, x):
            return self.tags(self.lstm(self.words(x))[0])

    class GRU(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(7, 2)
            self.gru = nn.GRU(5, 7, num_layers=2, batch_first=True)

        def forward(self, x):
            return self.out(self.gru(x)[0][:, -1])

    class EncoderBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc2, self.fc1 = nn.Linear(16, WIDTH), nn.Linear(WIDTH, 16)
            self.ln2, self.ln1 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.attn = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

        def forward(self, x):
            y = self.ln1(x)
            x = x + self.attn(y, y, y, need_weights=False)[0]
            return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([EncoderBlock(), EncoderBlock()])
            self.norm = nn.LayerNorm(WIDTH)
            self.places = nn.Embedding(LENGTH, WIDTH)
            self.words = nn.Embedding(TOKENS, WIDTH)

        def forward(self, words, places):
            x = self.words(words) + self.places(places)
            for layer in self.layers:
                x = layer(x)
            return self.norm(x)

    class Separable(nn.Module):
        def __init__(self, channels, out):
            super().__init__()
            self.point = nn.Conv2d(channels, out, 1, bias=False)
            self.bn_point, self.bn_depth = nn.BatchNorm2d(out), nn.BatchNorm2d(channels)
            self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

        def forward(self, x):
            x = F.relu6(self.bn_depth(self.depth(x)))
            return F.relu6(self.bn_point(self.point(x)))

    class MobileNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12, 3)
            self.d, self.c = Separable(12, 12), Separable(8, 12)
            self.b, self.a = Separable(8, 8), Separable(8, 8)
            self.stem = nn.Conv2d(3, 8, 3, 2, bias=False)
            self.bn = nn.BatchNorm2d(8)

        def forward(self, x):
            x = F.relu6(self.bn(self.stem(x)))
            x = x + self.a(x)
            x = x + self.b(x)
            return self.head(self.d(self.c(x)).mean((2, 3)))

    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.up2, self.up1 = nn.ConvTranspose2d(6, 2, 3, 2), nn.ConvTranspose2d(8, 6, 3, 2)
            self.back, self.code = nn.Linear(10, 8 * 3 * 2), nn.Linear(8 * 3 * 2, 10)
            self.down2, self.down1 = nn.Conv2d(6, 8, 3, 2), nn.Conv2d(2, 6, 3, 2)

        def forward(self, x):
            x = down(torch.relu(self.down2(torch.relu(self.down1(x)))))
            x = torch.relu(self.back(torch.tanh(self.code(x)))).unflatten(1, (8, 3, 2))
            return self.up2(torch.relu(self.up1(x)))

    return {
        "cnn": CNN, "resnet": ResNet, "tagger": Tagger, "gru": GRU,
        "transformer": Transformer, "mobilenet": MobileNet, "autoencoder": Autoencoder,
    }  # fmt: skip


def keras_nets():
    from keras import Input, Model, Sequential, layers, ops

    def bn():
        return layers.BatchNormalization(epsilon=1e-5)

    def conv(out, size, strides=1, *, bias=False):
        return layers.Conv2D(out, size, strides, use_bias=bias)

    def padded(x, out, strides=1):
        return conv(out, 3, strides)(layers.ZeroPadding2D(1)(x))

    def block(x, out, strides=1):
        y = ops.relu(bn()(padded(x, out, strides)))
        y = bn()(padded(y, out))
        return ops.relu(y + (conv(out, 1, strides)(x) if strides > 1 else x))

    def resnet():
        start = Input((14, 10, 3))
        x = ops.relu(bn()(padded(start, 8)))
        for out, strides in ((8, 1), (8, 1), (8, 1), (16, 2), (16, 1)):
            x = block(x, out, strides)
        return Model(start, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))

    def cnn():
        return Sequential(
            [
                Input((13, 9, 3)),
                layers.Conv2D(8, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.Conv2D(12, 3, activation="relu"),
                layers.Flatten(),
                bn(),
                layers.Dense(20, activation="relu"),
                layers.Dense(5),
            ]
        )

    def lstm():
        return layers.Bidirectional(layers.LSTM(WIDTH // 2, return_sequences=True))

    def tagger():
        return Sequential([Input((LENGTH,), dtype="int32"), layers.Embedding(TOKENS, WIDTH), lstm(), lstm(), layers.Dense(5)])

    def gru():
        return Sequential([Input((LENGTH, 5)), layers.GRU(7, return_sequences=True), layers.GRU(7), layers.Dense(2)])

    def norm():
        return layers.LayerNormalization(epsilon=1e-5)

    def encoder_block(x):
        y = norm()(x)
        x = x + layers.MultiHeadAttention(2, WIDTH // 2)(y, y)
        return x + layers.Dense(WIDTH)(layers.Dense(16, activation="gelu")(norm()(x)))

    def transformer():
        words, places = Input((LENGTH,), dtype="int32"), Input((LENGTH,), dtype="int32")
        x = layers.Embedding(TOKENS, WIDTH)(words) + layers.Embedding(LENGTH, WIDTH)(places)
        return Model([words, places], norm()(encoder_block(encoder_block(x))))

    def separable(x, out):
        x = ops.relu6(bn()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)))
        return ops.relu6(bn()(conv(out, 1)(x)))

    def mobilenet():
        start = Input((17, 11, 3))
        x = ops.relu6(bn()(conv(8, 3, 2)(start)))
        x = x + separable(x, 8)
        x = x + separable(x, 8)
        x = layers.GlobalAveragePooling2D()(separable(separable(x, 12), 12))
        return Model(start, layers.Dense(3)(x))

    def autoencoder():
        return Sequential(
            [
                Input((15, 11, 2)),
                layers.Conv2D(6, 3, 2, activation="relu"),
                layers.Conv2D(8, 3, 2, activation="relu"),
                layers.Flatten(),
                layers.Dense(10, activation="tanh"),
                layers.Dense(48, activation="relu"),
                layers.Reshape((3, 2, 8)),
                layers.Conv2DTranspose(6, 3, 2, activation="relu"),
                layers.Conv2DTranspose(2, 3, 2),
            ]
        )

    return {
        "cnn": cnn, "resnet": resnet, "tagger": tagger, "gru": gru,
        "transformer": transformer, "mobilenet": mobilenet, "autoencoder": autoencoder,
    }  # fmt: skip


def linen_nets():
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    def bn(x):
        return nn.BatchNorm(use_running_average=True)(x)

    def conv(x, out, size, strides=1, padding="VALID", **options):
        return nn.Conv(out, (size, size), (strides, strides), padding, use_bias=False, **options)(x)

    def down(x):
        return x.reshape(len(x), -1)

    class CNN(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.max_pool(nn.relu(nn.Conv(8, (3, 3))(x)), (2, 2), (2, 2))
            x = down(nn.relu(nn.Conv(12, (3, 3), padding="VALID")(x)))
            return nn.Dense(5)(nn.relu(nn.Dense(20)(bn(x))))

    class Block(nn.Module):
        out: int
        strides: int = 1

        @nn.compact
        def __call__(self, x):
            y = nn.relu(bn(conv(x, self.out, 3, self.strides, 1)))
            y = bn(conv(y, self.out, 3, padding=1))
            return nn.relu(y + (conv(x, self.out, 1, self.strides) if self.strides > 1 else x))

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(bn(conv(x, 8, 3, padding=1)))
            for out, strides in ((8, 1), (8, 1), (8, 1), (16, 2), (16, 1)):
                x = Block(out, strides)(x)
            return nn.Dense(4)(x.mean((1, 2)))

    def lstm():
        return nn.RNN(nn.OptimizedLSTMCell(WIDTH // 2))

    class Tagger(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Embed(TOKENS, WIDTH)(x)
            return nn.Dense(5)(nn.Bidirectional(lstm(), lstm())(nn.Bidirectional(lstm(), lstm())(x)))

    class GRU(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.RNN(nn.GRUCell(7))(nn.RNN(nn.GRUCell(7))(x))
            return nn.Dense(2)(x[:, -1])

    class EncoderBlock(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.LayerNorm(epsilon=1e-5)(x)
            x = x + nn.MultiHeadDotProductAttention(2)(y)
            y = nn.Dense(16)(nn.LayerNorm(epsilon=1e-5)(x))
            return x + nn.Dense(WIDTH)(nn.gelu(y, approximate=False))

    class Transformer(nn.Module):
        @nn.compact
        def __call__(self, words, places):
            x = nn.Embed(TOKENS, WIDTH)(words) + nn.Embed(LENGTH, WIDTH)(places)
            return nn.LayerNorm(epsilon=1e-5)(EncoderBlock()(EncoderBlock()(x)))

    class Separable(nn.Module):
        out: int

        @nn.compact
        def __call__(self, x):
            channels = x.shape[-1]
            x = nn.relu6(bn(conv(x, channels, 3, padding=1, feature_group_count=channels)))
            return nn.relu6(bn(conv(x, self.out, 1)))

    class MobileNet(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu6(bn(conv(x, 8, 3, 2)))
            x = x + Separable(8)(x)
            x = x + Separable(8)(x)
            return nn.Dense(3)(Separable(12)(Separable(12)(x)).mean((1, 2)))

    class Autoencoder(nn.Module):
        @nn.compact
        def __call__(self, x):
            for out in (6, 8):
                x = nn.relu(nn.Conv(out, (3, 3), 2, padding="VALID")(x))
            x = nn.relu(nn.Dense(48)(jnp.tanh(nn.Dense(10)(down(x))))).reshape(-1, 3, 2, 8)
            x = nn.relu(nn.ConvTranspose(6, (3, 3), (2, 2), padding="VALID")(x))
            return nn.ConvTranspose(2, (3, 3), (2, 2), padding="VALID")(x)

    def built(net, module):
        made, given = module(), [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in inputs(net, "linen")]
        return lambda: made.bind(_linen_numbers(jax.eval_shape(made.init, jax.random.key(1), *given), "fresh"))

    found = {
        "cnn": CNN, "resnet": ResNet, "tagger": Tagger, "gru": GRU,
        "transformer": Transformer, "mobilenet": MobileNet, "autoencoder": Autoencoder,
    }  # fmt: skip
    return {net: built(net, module) for net, module in found.items()}


BUILDERS = {"torch": torch_nets, "keras": keras_nets, "linen": linen_nets}


def build(net, framework):
    """Build the new net of a framework, with other numbers."""
    if framework == "torch":
        import torch

        torch.manual_seed(3)
        return torch_nets()[net]().eval()
    return BUILDERS[framework]()[net]()


@cache
def trained(net, framework):
    """Build a net with informative numbers: PyTorch's is trained for a few steps, the others' are drawn at random."""
    model = build(net, framework)
    return {"torch": _torch_trained, "keras": _keras_drawn, "linen": _linen_drawn}[framework](net, model)


def _drawn(name, like):
    """Draw numbers that make every part of a layer matter: no scale is one, no variance one, no bias zero."""
    rng = np.random.default_rng(list(name.encode()))
    if "var" in name or name.endswith(("scale", "gamma")):
        return rng.uniform(0.5, 2.0, like.shape).astype("float32")
    size = 0.3 if len(like.shape) < 2 else 1.4 / np.sqrt(np.prod(like.shape[:-1]))
    return (rng.standard_normal(like.shape) * size).astype("float32")


def _torch_trained(net, model):
    import torch

    with torch.no_grad():
        for name, tensor in model.named_buffers():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(_drawn(name, tensor.numpy())))
    given = [torch.from_numpy(each) for each in INPUTS[net]]
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        output = model(*given)
        torch.nn.functional.mse_loss(output, torch.ones_like(output)).backward()
        optimizer.step()
    return model.eval()


def _keras_drawn(_, model):
    for nth, variable in enumerate(model.variables):
        if variable.name != "seed_generator_state":
            variable.assign(_drawn(f"{nth} {variable.path}", np.asarray(variable)))
    return model


def _linen_drawn(_, model):
    module, numbers = model.unbind()
    return module.bind(_linen_numbers(numbers, "trained"))


def _linen_run(module, numbers, *given):
    import jax

    return jax.jit(module.apply)(numbers, *given)


def _linen_numbers(tree, word):
    import jax

    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.numpy.asarray(_drawn(f"{word} {jax.tree_util.keystr(path, simple=True)}", leaf)), tree
    )


def run(net, framework, model):
    """Run a net with its framework, and return its output with the channels last."""
    given = inputs(net, framework)
    if framework == "torch":
        import torch

        with torch.no_grad():
            output = model(*map(torch.from_numpy, given)).numpy()
        return last(output) if net in IMAGES_OUT else output
    if framework == "keras":
        return np.asarray(model(given if len(given) > 1 else given[0], training=False))
    module, numbers = model.unbind()
    return np.asarray(_linen_run(module, numbers, *given))
