"""Forward passes of one net by Steelyard and by its peers: bits of weights, size on a Cortex-M4, warnings, error of outputs.

python benchmarks/device_peers.py

The net is an MLP of scikit-learn on its digits. emlearn and m2cgen are used if they can be imported, onnx2c if it is in PATH.
A peer that is missing, or refuses the net, is named.
"""

import os
import re
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import steelyard

WARN = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow")
CORE = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-O2")
RUN = """
#include <stdio.h>
{include}
static float x[64], y[10];
{state}
int main(void)
{{
    for (;;) {{
        for (int i = 0; i < 64; i++)
            if (scanf("%f", &x[i]) != 1) return 0;
        {call}
        for (int i = 0; i < 10; i++) printf("%.9g ", (double)y[i]);
    }}
}}
"""


def by_steelyard(net, x, folder):
    steelyard.export(net, folder / "net.c", forward=True, probe=x, dtype="float32")
    return ["net.c"], '#include "net.h"', "static float scratch[NET_SCRATCH];", "net_run(x, y, scratch);", 4 * 32


def by_emlearn(net, _, folder):
    import emlearn

    emlearn.convert(net, method="inline").save(file=str(folder / "digits.h"), name="digits")
    source = '#include <stdint.h>\n#include "digits.h"\nvoid em(const float *, float *);\nvoid em(const float *x, float *y)\n'
    (folder / "em.c").write_text(source + "{\n    eml_net_predict_proba(&digits, x, 64, y, 10);\n}\n")
    return ["em.c"], "void em(const float *, float *);", "", "em(x, y);", 0


def by_m2cgen(net, _, folder):
    import m2cgen

    (folder / "m2.c").write_text(m2cgen.export_to_c(net))
    return ["m2.c"], "void score(double *, double *);", "static double a[64], b[10];", "score(a, b);", 0


def by_onnx2c(net, _, folder):
    import onnx
    from onnx import helper, numpy_helper

    arrays = {f"w{n}": w.astype("f4") for n, w in enumerate(net.coefs_)} | {
        f"b{n}": b.astype("f4") for n, b in enumerate(net.intercepts_)
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["o"]),
        helper.make_node("Softmax", ["o"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", (1, 64)), ("y", (1, 10)))]
    tables = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "digits", ends[:1], ends[1:], tables)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), folder / "net.onnx")
    made = subprocess.run(["onnx2c", "net.onnx"], cwd=folder, check=True, capture_output=True, text=True).stdout
    (folder / "on.c").write_text(made)
    declared = "void entry(const float x[1][64], float y[1][10]);"
    return ["on.c"], declared, "", "entry((const float (*)[64])x, (float (*)[10])y);", 0


PEERS = {"Steelyard": by_steelyard, "emlearn": by_emlearn, "m2cgen": by_m2cgen, "onnx2c": by_onnx2c}


def is_there(peer):
    return find_spec(peer.lower()) is not None or shutil.which(peer) is not None


def numbers_of(folder):
    """Return the decimals of all C files as the compiler reads them."""
    text = "".join(path.read_text() for path in [*folder.glob("*.c"), *folder.glob("*.h")] if path.stem != "main")
    return np.array(re.findall(r"-?\d+\.\d+(?:e[-+]\d+)?(?=f\b)", text), "f4")


def of_weights(net, folder):
    """Return how many weights have no equal number in the source, and how many of them are 0 there."""
    wanted = np.concatenate([each.ravel() for each in (*net.coefs_, *net.intercepts_)]).astype("f4")
    written = numbers_of(folder)
    lost = ~np.isin(wanted, written)
    return f"{lost.sum():,} of {wanted.size:,} weights changed, {int((np.abs(wanted[lost]) < 5e-7).sum()):,} of them to 0"


def on_m4(folder, sources, includes):
    """Return the bytes of code and constants, and of memory, of the net's objects, without those of libm."""
    objects = []
    for source in sources:
        objects.append(f"{source}.o")
        subprocess.run(["arm-none-eabi-gcc", *CORE, *includes, "-c", source, "-o", objects[-1]], cwd=folder, check=True)
    printed = subprocess.run(["arm-none-eabi-size", *objects], cwd=folder, check=True, capture_output=True, text=True).stdout
    rows = np.array([line.split()[:3] for line in printed.splitlines()[1:]], int)
    return int(rows[:, 0].sum() + rows[:, 1].sum()), int(rows[:, 1:].sum())


def of_outputs(folder, sources, includes, net, x):
    """Return how far the compiled function is off, as a share of the largest output."""
    subprocess.run(["gcc", "-O2", *includes, "main.c", *sources, "-lm", "-o", "run"], cwd=folder, check=True, capture_output=True)
    lines = "\n".join(" ".join(map(repr, map(float, row))) for row in x.astype("f4"))
    printed = subprocess.run([folder / "run"], input=lines, capture_output=True, text=True, check=True).stdout
    wanted = net.predict_proba(x.astype("f4").astype("f8"))
    return np.abs(np.array(printed.split(), float).reshape(wanted.shape) - wanted).max() / wanted.max()


def main():
    images, digits = load_digits(return_X_y=True)
    images = images / 16
    net = MLPClassifier([32], tol=1e-3, random_state=0).fit(images[:1300], digits[:1300])
    for peer, made_by in PEERS.items():
        if not is_there(peer):
            print(f"{peer}: not here")
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.chdir(folder)  # emlearn leaves a folder "tmp" where it is called
            try:
                sources, include, state, call, scratch = made_by(net, images[1300:], folder)
            except NotImplementedError as error:
                print(f"{peer}: refuses the net: {error}")
                continue
            (folder / "main.c").write_text(RUN.format(include=include, state=state, call=call))
            includes = [f"-I{find_spec('emlearn').submodule_search_locations[0]}"] if peer == "emlearn" else []
            checked = ["gcc", *WARN, *includes, "-fsyntax-only", *sources]
            checks = subprocess.run(checked, cwd=folder, check=False, capture_output=True, text=True)
            warnings = checks.stderr.count("warning:")
            flash, memory = on_m4(folder, sources, includes)
            error = of_outputs(folder, sources, includes, net, images[1300:])
            print(f"{peer}: {of_weights(net, folder)}")
            print(
                f"    {flash:,} bytes of flash, {memory + scratch:,} of memory, {warnings} warnings, outputs off by {error:.2g}"
            )


if __name__ == "__main__":
    main()
