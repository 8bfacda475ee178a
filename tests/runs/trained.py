"""A small net that is trained on the digits of scikit-learn, and recorded: what the tests of histories look at."""

import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import steelyard


def train(folder, seed=0, steps=60, broken_at=None, **options):
    """Train and record a net, and return it with the weights after each step; at `broken_at` one of them becomes NaN."""
    x, y = (torch.from_numpy(array) for array in load_digits(return_X_y=True))
    x = x.float() / 16
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    kept = []
    with steelyard.record(folder, **options) as rec:
        for step in range(steps):
            batch = torch.randint(0, len(x), (64,))
            loss = cross_entropy(net(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step == broken_at:
                with torch.no_grad():
                    net[3].weight[2, 5] = float("nan")
            rec(step, net, epoch=step // 20, metrics={"loss": loss})
            kept.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
    return net, kept
