"""What becomes of a trained PyTorch net in another framework: Steelyard beside weightbridge and statedict2pytree.

Run `python benchmarks/transfer_peers.py` with the frameworks of the tests installed. Each peer gets an environment of
its own, made in a temporary folder, which sees the frameworks of this one. A case is "solved" when the outputs agree to 1e-5
of the largest, "refused" when the tool raises an error, and "silently wrong" when it returns and they do not agree.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import numpy as np

CASES = ("twelve equal square layers", "convolution and batch norm, twice", "LSTM", "attention")
TOOLS = {
    "Steelyard, live net": "",
    "Steelyard, state dict": "",
    "weightbridge 0.0.4": "weightbridge==0.0.4",
    "statedict2pytree 2.0.2": "statedict2pytree==2.0.2",
}
TOLERANCE = 1e-5
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}


# the nets: each with its inputs as PyTorch and as the other frameworks take them


def torch_net(case):
    """Return a net whose every number is its own, its input, and its output."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    if case == "LSTM":
        net, x = _Alone(rnn=nn.LSTM(5, 4, batch_first=True)), torch.randn(3, 6, 5)
        return net, x, net(x)
    if case == "attention":
        net, x = _Alone(attention=nn.MultiheadAttention(8, 2, batch_first=True)), torch.randn(3, 6, 8)
        nn.init.normal_(net.attention.in_proj_bias)
        return net, x, net(x)
    if case == CASES[0]:
        net, x = nn.Sequential(*(part for _ in range(12) for part in (nn.Linear(8, 8), nn.Tanh()))), torch.randn(3, 8)
        return net, x, net(x)
    parts = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)]
    net, x = nn.Sequential(*parts), torch.randn(3, 4, 8, 8)
    for _ in range(5):
        net(torch.randn(16, 4, 8, 8) * 2 + 1)  # running statistics other than zeros and ones
    for norm in (net[1], net[4]):
        norm.num_batches_tracked.fill_(10_000)  # as after a real training: Equinox scales its statistics by it
    net.eval()
    return net, x, net(x)


def _Alone(**layer):  # noqa: N802 - it makes a module
    """Make a module of one recurrent or attention layer that gives its sequence alone, without states or weights."""
    from torch import nn

    class Alone(nn.Module):
        def forward(self, x):
            (inner,) = self.children()
            return (inner(x, x, x) if isinstance(inner, nn.MultiheadAttention) else inner(x))[0]

    made = Alone()
    made.add_module(*next(iter(layer.items())))
    return made


def keras_net(case):
    import keras
    from keras import layers

    if case == "LSTM":
        x = keras.Input((6, 5))
        return keras.Model(x, layers.LSTM(4, return_sequences=True)(x))
    if case == "attention":
        x = keras.Input((6, 8))
        return keras.Model(x, layers.MultiHeadAttention(2, 4)(x, x))
    if case == CASES[0]:
        return keras.Sequential([keras.Input((8,)), *(layers.Dense(8, activation="tanh") for _ in range(12))])
    conv = [
        part
        for _ in range(2)
        for part in (layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(epsilon=1e-5), layers.ReLU())
    ]
    return keras.Sequential([keras.Input((8, 8, 4)), *conv[:-1]])


def equinox_net(case):
    import equinox as eqx
    import jax

    key = jax.random.key(1)
    if case == "LSTM":
        return eqx.nn.LSTMCell(5, 4, key=key), None
    if case == "attention":
        biased = dict.fromkeys(("use_query_bias", "use_key_bias", "use_value_bias", "use_output_bias"), True)
        return eqx.nn.MultiheadAttention(2, 8, **biased, key=key), None
    if case == CASES[0]:
        words = {"activation": jax.numpy.tanh, "final_activation": jax.numpy.tanh}
        return eqx.nn.MLP(8, 8, 8, depth=11, **words, key=key), None
    norm = {"axis_name": "batch", "eps": 1e-5, "mode": "batch"}
    make = lambda: eqx.nn.Sequential(  # noqa: E731 - Equinox wants a function that makes the model
        [
            eqx.nn.Conv2d(4, 4, 3, padding=1, key=key),
            eqx.nn.BatchNorm(4, **norm),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.Conv2d(4, 4, 3, padding=1, key=key),
            eqx.nn.BatchNorm(4, **norm),
        ]
    )
    return eqx.nn.make_with_state(make)()


def equinox_output(case, model, state, x):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    x = jnp.asarray(x)
    if case == "LSTM":
        zero = (jnp.zeros(4), jnp.zeros(4))
        return jax.vmap(lambda steps: jax.lax.scan(lambda held, step: (new := model(step, held), new[0]), zero, steps)[1])(x)
    if case == "attention":
        return jax.vmap(lambda each: model(each, each, each))(x)
    if state is None:
        return jax.vmap(model)(x)
    model = eqx.nn.inference_mode(model)
    return jax.vmap(lambda each: model(each, state)[0], axis_name="batch")(x)


# the tools: each puts the net's numbers into a fresh one, and returns its output


def ours(case, *, live):
    import steelyard

    net, x, _ = torch_net(case)
    target = keras_net(case)
    if live:
        steelyard.transfer(net, into=target, probe=x.numpy())
    else:
        steelyard.transfer({name: value.numpy() for name, value in net.state_dict().items()}, into=target)
    return keras_output(case, target, x)


def keras_output(case, model, x):
    images = case == CASES[1]
    found = np.asarray(model(np.moveaxis(x.numpy(), 1, -1) if images else x.numpy(), training=False))
    return np.moveaxis(found, -1, 1) if images else found


def weightbridge(case):
    from weightbridge import adapt

    net, x, _ = torch_net(case)
    target = keras_net(case)
    given = {name: value.numpy() for name, value in net.state_dict().items() if "num_batches" not in name}
    wanted = {weight.path: weight.numpy() for weight in target.weights if "seed" not in weight.path}
    made = adapt(given, wanted, in_format="pytorch", out_format="tensorflow")
    for weight in target.weights:
        if weight.path in made:
            weight.assign(np.asarray(made[weight.path]))
    return keras_output(case, target, x)


def statedict2pytree(case):
    from statedict2pytree import autoconvert

    net, x, _ = torch_net(case)
    model, state = equinox_net(case)
    given = {name: value for name, value in net.state_dict().items() if "num_batches" not in name or state is not None}
    made = autoconvert(model if state is None else (model, state), given)
    return equinox_output(case, *((made, None) if state is None else made), x.numpy())


WORK = {
    "Steelyard, live net": lambda case: ours(case, live=True),
    "Steelyard, state dict": lambda case: ours(case, live=False),
    "weightbridge 0.0.4": weightbridge,
    "statedict2pytree 2.0.2": statedict2pytree,
}


def judged(tool, case):
    """Run one tool on one case, in this process."""
    wanted = torch_net(case)[2].detach().numpy()
    try:
        found = np.asarray(WORK[tool](case))
    except Exception as error:  # noqa: BLE001 - whatever a tool raises, it is a refusal
        return {"verdict": "refused", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"}
    apart = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    return {"verdict": "solved" if apart <= TOLERANCE else "silently wrong", "why": f"off by {apart:.1e} of the largest output"}


def environment(folder, requirement):
    """Make an environment for a peer, which sees what is installed here, and return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    )
    Path(site.stdout.strip(), "frameworks.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement], check=True)
    return str(python)


def main():
    verdicts = {}
    with tempfile.TemporaryDirectory() as folder:
        for tool, requirement in TOOLS.items():
            python = environment(Path(folder, tool.split()[0]), requirement) if requirement else sys.executable
            for case in CASES:
                run = subprocess.run(
                    [python, __file__, tool, case], capture_output=True, text=True, check=True, env={**os.environ, **QUIET}
                )
                verdicts[tool, case] = json.loads(run.stdout.splitlines()[-1])
    print(f"| net | {' | '.join(TOOLS)} |\n|---|{'---|' * len(TOOLS)}")
    for case in CASES:
        print(f"| {case} | {' | '.join(verdicts[tool, case]['verdict'] for tool in TOOLS)} |")
    print()
    for (tool, case), verdict in verdicts.items():
        print(f"{tool}, {case}: {verdict['verdict']}: {verdict['why']}")
    wrong = [case for (tool, case), verdict in verdicts.items() if tool.startswith("Steelyard") and "wrong" in verdict["verdict"]]
    sys.exit(f"Steelyard is silently wrong on: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(judged(*sys.argv[1:])))
    else:
        main()
