"""The flat vector and back, against one memory copy and PyTorch's own functions: python benchmarks/vector.py"""

import numpy as np
import torch
from timing import best, ready, report
from torch import nn

import steelyard


class Block(nn.Module):
    """A block of a GPT: attention and a feed-forward net, each after a norm."""

    def __init__(self, width):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.fc = nn.Linear(width, 4 * width)
        self.out = nn.Linear(4 * width, width)


def gpt(width=1024, blocks=12, vocabulary=48000):
    """About 200 million parameters in float32."""
    return nn.ModuleDict(
        {
            "wte": nn.Embedding(vocabulary, width),
            "h": nn.ModuleList(Block(width) for _ in range(blocks)),
            "ln_f": nn.LayerNorm(width),
        }
    )


def big():
    """One large module: the copies are what counts."""
    model = gpt()
    w = steelyard.weights(model)
    print(f"\n{w.size:,} parameters in {len(w)} weights")
    source, out = w.to_vector(), np.zeros(w.size, "f4")
    spent = best(
        {
            "copyto": ready(lambda: np.copyto(out, source)),
            "empty + copyto": ready(lambda: np.copyto(np.empty_like(source), source)),
            "to_vector(out)": ready(lambda: w.to_vector(out=out)),
            "to_vector()": ready(w.to_vector),
            "assign": ready(lambda: w.assign(source)),
            "parameters_to_vector": ready(lambda: nn.utils.parameters_to_vector(model.parameters())),
        }
    )
    report("to_vector into a given array, of the speed of one copy", spent["copyto"] / spent["to_vector(out)"], 0.90)
    report("to_vector, of the speed of np.empty and one copy", spent["empty + copyto"] / spent["to_vector()"], 0.95)
    report("to_vector, times as fast as parameters_to_vector", spent["parameters_to_vector"] / spent["to_vector()"], 2.5, "x")
    report("assign, of the speed of one copy", spent["copyto"] / spent["assign"], 0.90)


def small(count=10_000, length=1024):
    """Many small weights: what each costs beside its copy."""
    model = nn.ParameterList([nn.Parameter(torch.randn(length)) for _ in range(count)])
    print(f"\n{count:,} weights of {length:,}")
    again = steelyard.weights(model)
    vector, state = again.to_vector(), {name: value.clone() for name, value in model.state_dict().items()}

    def first():
        listed = steelyard.weights(model)
        return listed.to_vector

    spent = best(
        {
            "first": first,
            "again": ready(again.to_vector),
            "assign": ready(lambda: again.assign(vector)),
            "parameters_to_vector": ready(lambda: nn.utils.parameters_to_vector(model.parameters())),
            "load_state_dict": ready(lambda: model.load_state_dict(state)),
        }
    )
    report("to_vector the first time, for each weight", spent["first"] / count * 1e6, 2, "us", least=False)
    report("to_vector again, times as fast as parameters_to_vector", spent["parameters_to_vector"] / spent["again"], 5, "x")
    report("assign, times as fast as load_state_dict", spent["load_state_dict"] / spent["assign"], 5, "x")


if __name__ == "__main__":
    torch.set_num_threads(1)
    big()
    small()
