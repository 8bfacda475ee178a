"""What recording a step costs the training: the blocking time of a call, and the whole time with all that the thread does.

Run alone: `python benchmarks/history.py`. Prints the best and the median of rounds in turn, for a small and a large net, beside
`copy.deepcopy(net.state_dict())`, histograms by `torch.histc` of each weight, as `wandb.watch` makes them, and NumPy's, as
TensorBoard's writer makes them. Neither of these packages is needed: each row makes the numbers, and writes nothing.
"""

import copy
import os
import statistics
import tempfile
import time
from itertools import chain, pairwise

import numpy as np
import torch

import steelyard

ROUNDS, STEPS = 5, 30
NETS = {"85 thousand": [64, 256, 256, 10], "5 million": [784, 1600, 1600, 800, 10]}


def net_of(sizes):
    layers = [[torch.nn.Linear(one, two), torch.nn.ReLU()] for one, two in pairwise(sizes)]
    return torch.nn.Sequential(*list(chain.from_iterable(layers))[:-1])


def training(net, sizes):
    x, y = torch.randn(64, sizes[0]), torch.randint(sizes[-1], (64,))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def ways(net):
    """Return what is called after each step, by name, and what ends it."""
    rec, full = (steelyard.record(tempfile.mkdtemp(), snapshot=kept) for kept in (None, 1))
    yield "nothing", lambda _: None, lambda: None
    yield "record", lambda step: rec(step, net), rec.close
    yield "record, snapshot=1", lambda step: full(step, net), full.close
    yield "deepcopy(state_dict())", lambda _: copy.deepcopy(net.state_dict()), lambda: None
    yield "histc of each weight (W&B's way)", lambda _: [torch.histc(p.detach(), 64) for p in net.parameters()], lambda: None
    numpy = lambda _: [np.histogram(p.detach().numpy(), bins=64) for p in net.parameters()]  # noqa: E731
    yield "np.histogram (TensorBoard's way)", numpy, lambda: None


def main():
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds of {STEPS} steps; ms a step, best / median")
    for word, sizes in NETS.items():
        net = net_of(sizes)
        step = training(net, sizes)
        found = list(ways(net))
        blocked = {name: [] for name, _, _ in found}
        whole = {name: [] for name, _, _ in found}
        for nth in range(ROUNDS):
            for name, call, _ in found if nth % 2 else found[::-1]:
                begin = time.perf_counter()
                for at in range(STEPS):
                    step()
                    before = time.perf_counter()
                    call(nth * STEPS + at)
                    blocked[name].append(1e3 * (time.perf_counter() - before))
                whole[name].append(1e3 * (time.perf_counter() - begin) / STEPS)
        print(f"\n{word} parameters")
        print(f"{'':34}{'blocked':>18}{'step and call':>18}")
        for name, _, close in found:
            figures = [f"{min(some):8.3f} / {statistics.median(some):7.3f}" for some in (blocked[name], whole[name])]
            print(f"{name:34}{figures[0]:>18}{figures[1]:>18}")
            close()


if __name__ == "__main__":
    main()
