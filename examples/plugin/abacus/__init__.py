"""A small library of neural networks, which knows nothing of Steelyard."""

from itertools import pairwise

import numpy as np


class Net:
    """Dense layers with a ReLU between them."""

    def __init__(self, *widths):
        chance = np.random.default_rng(0)
        self.kernels = [chance.normal(size=shape).astype("float32") for shape in pairwise(widths)]
        self.biases = [np.zeros(width, "float32") for width in widths[1:]]

    def __call__(self, x):
        for kernel, bias in zip(self.kernels[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ kernel + bias, 0)
        return x @ self.kernels[-1] + self.biases[-1]
