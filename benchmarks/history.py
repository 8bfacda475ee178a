"""What recording a step costs the training: the blocking time of a call, and the whole time with all that the thread does.

Run alone: `python benchmarks/history.py`. Prints the best, the median and the mean of rounds in turn, for a small and a large
net, beside a plain copy of the bytes into memory that is there, `copy.deepcopy(net.state_dict())`, and histograms by
`torch.histc` of each weight, as `wandb.watch` makes them, which are not written. reminis (`log_step`, the norms of weights and
gradients) and TensorBoard (`add_histogram` of each weight) are called themselves if they are installed; without TensorBoard a
row has its numbers, by NumPy.

No recorder blocks for less than the plain copy, since the weights must be read before the next step changes them: 5 million
take 20 MB, which is 1 ms at 20 GB/s. A thread that reads them while the training goes on would get numbers of two steps. So 2 %
of a step of 0.5 ms, 0.01 ms, is had by a net of up to some 10 thousand parameters, or as the mean with `every=N`, of which a
row tells.
"""

import copy
import importlib.util
import os
import statistics
import tempfile
import time
from functools import partial
from itertools import chain, pairwise

import numpy as np
import torch

import steelyard

ROUNDS, STEPS, EVERY = 5, 40, 20
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
    """Yield what is called after each step, by name, and what ends it."""
    some = {"record": {}, f"record, every={EVERY}": {"every": EVERY}, "record, snapshot=1": {"snapshot": 1}}
    yield "nothing", lambda _: None, lambda: None
    for name, options in some.items():
        rec = steelyard.record(tempfile.mkdtemp(), **options)
        yield name, partial(rec, model=net), rec.close
    pairs = [(p.detach().numpy(), np.empty(p.shape, np.float32)) for p in net.parameters()]
    yield "plain copy of the bytes", lambda _: [np.copyto(to, of) for of, to in pairs], lambda: None
    yield "deepcopy(state_dict())", lambda _: copy.deepcopy(net.state_dict()), lambda: None
    yield "histc of each weight (W&B's way)", lambda _: [torch.histc(p.detach(), 64) for p in net.parameters()], lambda: None
    yield from peers(net)


def peers(net):
    if importlib.util.find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(tempfile.mkdtemp())
        write = lambda step: [writer.add_histogram(name, p, step) for name, p in net.named_parameters()]  # noqa: E731
        yield "TensorBoard, add_histogram", write, writer.close
    else:
        numpy = lambda _: [np.histogram(p.detach().numpy(), bins=64) for p in net.parameters()]  # noqa: E731
        yield "np.histogram (TensorBoard's way)", numpy, lambda: None
    if importlib.util.find_spec("reminis"):
        from reminis import TrainingLog

        log = TrainingLog(os.path.join(tempfile.mkdtemp(), "run.db"), run_name="run")
        grads = lambda: {name: p.grad for name, p in net.named_parameters()}  # noqa: E731
        weights = lambda: {name: p.detach() for name, p in net.named_parameters()}  # noqa: E731
        yield "reminis, log_step", lambda step: log.log_step(step, grads(), weights()), log.close


def main():
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.1f}, {ROUNDS} rounds of {STEPS} steps; ms a step, best / median / mean")
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
        print(f"{'':34}{'blocked':>30}{'step and call':>30}")
        for name, _, close in found:
            print(f"{name:34}{figures(blocked[name]):>30}{figures(whole[name]):>30}")
            close()


def figures(some):
    return " / ".join(f"{figure:.3f}" for figure in (min(some), statistics.median(some), statistics.mean(some)))


if __name__ == "__main__":
    main()
