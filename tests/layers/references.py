"""Layers computed by NumPy alone from arrays with named axes, to check the role tables by their effect."""

import itertools

import numpy as np

SPATIAL = ("kd", "kh", "kw", "k")


def oriented(array, axes, *order):
    """Return an array with its axes in this order; an axis whose word has a minus is flipped."""
    words = axes.split()
    for place, word in enumerate(words):
        if word.startswith("-"):
            array = np.flip(array, place)
    plain = [word.lstrip("-") for word in words]
    return np.transpose(array, [plain.index(word) for word in order])


def dense(x, kernel, bias):
    return x @ kernel + bias


def windows(kernel):
    """Yield the offset of each element of a kernel in space, and its matrix of inputs and outputs."""
    for offset in itertools.product(*map(range, kernel.shape[:-2])):
        yield offset, kernel[offset]


def convolution(x, kernel, bias):
    """Slide a kernel (space, in, out) over images (batch, space, in), without padding."""
    lengths = [n - k + 1 for n, k in zip(x.shape[1:-1], kernel.shape[:-2], strict=True)]
    total = np.zeros((len(x), *lengths, kernel.shape[-1]))
    for offset, matrix in windows(kernel):
        cut = tuple(slice(o, o + n) for o, n in zip(offset, lengths, strict=True))
        total += x[(slice(None), *cut)] @ matrix
    return total + bias


def transposed_convolution(x, kernel, bias):
    """Add a kernel (space, in, out) at every pixel of images (batch, space, in)."""
    lengths = [n + k - 1 for n, k in zip(x.shape[1:-1], kernel.shape[:-2], strict=True)]
    total = np.zeros((len(x), *lengths, kernel.shape[-1]))
    for offset, matrix in windows(kernel):
        cut = tuple(slice(o, o + n) for o, n in zip(offset, x.shape[1:-1], strict=True))
        total[(slice(None), *cut)] += x @ matrix
    return total + bias


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def by_gate(array, axes):
    """Cut an array along its packed axis, "[ifgo]*out", into one for each letter, with the other axis in front."""
    words = axes.split()
    place = next(nth for nth, word in enumerate(words) if word.endswith("out"))
    letters = words[place].partition("]")[0].strip("[") if "[" in words[place] else "-"
    parts = np.split(np.moveaxis(array, place, -1), len(letters), axis=-1)
    return dict(zip(letters, parts, strict=True))


def recurrent(kind, x, kernel, recurrent_kernel, bias):
    """Return the last output for sequences (batch, time, in); the three others are dicts by gate."""
    state = cell = np.zeros((len(x), next(iter(recurrent_kernel.values())).shape[0]))
    for step in np.moveaxis(x, 1, 0):
        given = {gate: step @ kernel[gate] + bias[gate] for gate in kernel}
        past = {gate: state @ recurrent_kernel[gate] for gate in kernel}
        if kind == "lstm":
            i, f, o = (sigmoid(given[gate] + past[gate]) for gate in "ifo")
            cell = f * cell + i * np.tanh(given["g"] + past["g"])
            state = o * np.tanh(cell)
        elif kind == "gru":
            r, z = (sigmoid(given[gate] + past[gate]) for gate in "rz")
            state = z * state + (1 - z) * np.tanh(given["n"] + r * past["n"])
        else:
            state = np.tanh(given["-"] + past["-"])
    return state


def normalised(x, mean, variance, scale, offset, epsilon):
    return (x - mean) / np.sqrt(variance + epsilon) * scale + offset
