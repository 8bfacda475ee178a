"""Files of PyTorch that Steelyard writes: their pickles have the form of `torch.save`, which readers know."""

import collections
import pickletools
import zipfile

import numpy as np
import torch

import steelyard

SHAPES = [(3,), (2, 3), (1, 2, 3, 1), (), (2, 1, 1)]
ARRAYS = {f"layers.{nth}.w": np.full(SHAPES[nth % 5], nth, ("f4", "i8", "?")[nth % 3]) for nth in range(400)}


def opcodes(path):
    """Return the opcodes of a file's pickle with their arguments; those that differ in the width of a number are the same."""
    with zipfile.ZipFile(path) as file:
        (name,) = (member for member in file.namelist() if member.endswith("/data.pkl"))
        content = file.read(name)
    widths = ("PUT", "GET", "BININT")
    kinds = {op.name: next((each for each in widths if each in op.name), op.name) for op in pickletools.opcodes}
    return [(kinds[op.name], argument) for op, argument, _ in pickletools.genops(content)]


def test_a_written_state_dict_has_the_opcodes_of_torch_save(tmp_path):
    steelyard.save(ARRAYS, tmp_path / "ours.pt")
    state = collections.OrderedDict((name, torch.from_numpy(np.array(value))) for name, value in ARRAYS.items())
    torch.save(state, tmp_path / "theirs.pt")
    assert opcodes(tmp_path / "ours.pt") == opcodes(tmp_path / "theirs.pt")
    read = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert [*read] == [*ARRAYS]
    assert all(torch.equal(read[name], value) for name, value in state.items())
