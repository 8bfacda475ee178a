"""Whole nets of the usual kinds as C: the outputs are those of PyTorch in float64, and their scratch is small."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from one_program import printed, together
from toolchains import STRICT, run, tool
from usual_nets import USUAL, filled

import steelyard

LARGEST = {"resnet": 512, "mobilenet": 1280, "densenet": 3840}
"""The most numbers of the scratch: of MobileNet and ResNet the first wide value and what it is made of, of DenseNet the last."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The exports of all nets, their outputs in C, and those of the nets in float64."""
    folder, exports, exact = tmp_path_factory.mktemp("usual"), {}, {}
    for name, (build, x) in USUAL.items():
        torch.manual_seed(0)
        net = filled(build())
        exports[name] = steelyard.export(net, folder / f"{name}.c", name=name, forward=True, probe=x)
        with torch.no_grad():
            exact[name] = net.double()(torch.from_numpy(x if x.dtype == "int64" else x.astype("float64"))).numpy()
    (folder / "nets.c").write_text(together(exports))
    flags = ("-std=c99", "-O1", "-ffp-contract=off", "-DPRINT_BITS", *STRICT)
    run(tool("gcc"), *flags, "nets.c", "-lm", "-o", "nets", cwd=folder)
    return exports, printed(run("./nets", cwd=folder).decode()), exact


@pytest.mark.parametrize("name", USUAL)
def test_a_net_in_c_has_the_outputs_of_its_framework(name, made):
    exports, outputs, exact = made
    wanted = exact[name].reshape(-1)[: outputs[name].size]
    assert outputs[name].size >= exact[name][0].size
    assert np.abs(outputs[name] - wanted).max() <= 1e-6 * np.abs(wanted).max()
    assert exports[name].forward.memory.size <= LARGEST.get(name, 1 << 12)


def test_a_head_that_is_tied_to_a_table_of_words_is_written_once(made):
    assert sum(table.size == 11 * 8 for table in made[0]["gpt"].tables) == 1


def test_values_that_are_joined_are_copied_only_from_the_input(made):
    forward = made[0]["densenet"].forward
    joins = [nth for nth, step in enumerate(forward.program.steps) if type(step.operation).__name__ == "Concatenate"]
    assert [nth in forward.memory.idle for nth in joins] == [False, True, True]


def test_a_layer_called_scratch_is_not_taken_for_the_scratch(tmp_path):
    net = filled(torch.nn.Sequential(OrderedDict(scratch=torch.nn.Linear(4, 3))))  # which needs none
    steelyard.export(net, tmp_path / "net.c", name="net", forward=True, probe=np.ones((1, 4), "float32"))
    assert "net_scratch_kernel" in (tmp_path / "net.c").read_text()
    run(tool("gcc"), "-std=c99", *STRICT, "-c", "net.c", cwd=tmp_path)
