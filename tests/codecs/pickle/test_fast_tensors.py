"""Running a tensor's opcodes in one step leaves the machine in the same state as running them one by one."""

import collections
import pickletools
import random
import re
import struct
import sys
from pathlib import Path

import both_ways
import carried
import numpy as np
import pytest
import torch
from torch import nn

import steelyard
from steelyard.codecs.pickle.machine import OPCODE_COST, Machine
from steelyard.codecs.torch.archive import is_stream
from steelyard.codecs.zip import directory, is_zip, member_source
from steelyard.storage.source import from_bytes, open_path

sys.path.insert(0, str(Path(__file__).parents[3] / "fuzz"))
from mutators import pickles

QUANTISED = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")


def pickles_in(path):
    """Return every pickle of a file of torch."""
    source = open_path(path)
    if is_zip(source):
        members = directory(source)
        return [member_source(source, member) for name, member in members.items() if name.endswith(".pkl")]
    return [source] if is_stream(source) else []


def run_counted(content, *, is_fast):
    """Return the state that running a pickle ends with, and the number of opcodes that it is charged for."""
    before = content.whole.spent
    state, _ = both_ways.run_machine(content, is_fast=is_fast)
    return state, (content.whole.spent - before) // OPCODE_COST


def steps_saved(content):
    """Compare both ways through a pickle, and return the number of opcodes that the fast one ran in larger steps."""
    fast, fast_steps = run_counted(content, is_fast=True)
    slow, slow_steps = run_counted(content, is_fast=False)
    assert both_ways.are_alike(fast, slow)
    return slow_steps - fast_steps


def written(tmp_path, state):
    torch.save(state, tmp_path / "a.pt")
    (content,) = pickles_in(tmp_path / "a.pt")
    return content


def test_a_plain_state_dict_takes_a_fraction_of_the_steps(tmp_path):
    state = {f"layers.{i}.weight": torch.zeros(i % 5 + 1, 3, dtype=[torch.float32, torch.int64][i % 2]) for i in range(900)}
    content = written(tmp_path, state)
    _, steps = run_counted(content, is_fast=False)
    assert steps_saved(content) > 0.9 * steps


def test_a_file_that_steelyard_wrote_takes_a_fraction_of_the_steps_too(tmp_path):
    steelyard.save({f"layers.{i}.weight": np.zeros((i % 5 + 1, 3), "f4") for i in range(900)}, tmp_path / "a.pt")
    (content,) = pickles_in(tmp_path / "a.pt")
    _, steps = run_counted(content, is_fast=False)
    assert steps_saved(content) > 0.9 * steps


def test_a_stream_before_1_6_takes_a_fraction_of_the_steps_too(tmp_path):
    sizes = (1, 3, 78, 0x4E4E)  # 78 is also the opcode of the None that follows the number of elements
    state = {f"layers.{i}.weight": torch.zeros(sizes[i % 4]) for i in range(900)}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    (stream,) = pickles_in(tmp_path / "a.pt")
    machine = Machine(stream)
    for _ in range(3):  # the magic number, the version and the system
        machine.load(machine.offset)
    content = stream.part(machine.offset, stream.size - machine.offset)
    _, steps = run_counted(content, is_fast=False)
    assert steps_saved(content) > 0.9 * steps


def odd_tensors():
    base = torch.arange(48.0).reshape(6, 8)
    quantised = torch.quantize_per_tensor(base, 0.1, 3, torch.qint8)
    for i in range(40):
        yield f"plain.{i}", torch.full((i % 4 + 1, 3), float(i))
        yield f"tied.{i}", base
        yield f"transposed.{i}", base.t()
        yield f"part.{i}", base[i % 3 :: 2, 1:]
        yield f"repeated.{i}", torch.ones(1, 1).expand(3, 5)
        yield f"quantised.{i}", quantised
        yield f"scalar.{i}", torch.tensor(i)
        yield f"empty.{i}", torch.zeros(0, 3)
        yield f"axes.{i}", torch.zeros([1] * (i % 9))
        yield f"long.{i}", torch.zeros(300 * (i % 3) + 70_000 * (i % 2) + 1)
        yield f"parameter.{i}", nn.Parameter(torch.zeros(2))
        yield f"leaf.{i}", torch.zeros(2, requires_grad=True)
        yield f"conjugate.{i}", torch.zeros(2, dtype=torch.complex64).conj()
        yield f"sparse.{i}", torch.eye(3).to_sparse()
        yield f"float8.{i}", torch.zeros(2).to(torch.float8_e4m3fn)
        yield f"\u00fcber.{i}", torch.zeros(1)
        yield f"nested.{i}", {"a": [torch.zeros(1), base]}


@QUANTISED
def test_both_ways_agree_on_unusual_tensors_among_plain_ones(tmp_path):
    assert steps_saved(written(tmp_path, dict(odd_tensors()))) > 1000


def test_both_ways_agree_if_a_window_cuts_a_tensor(tmp_path):
    assert steps_saved(written(tmp_path, {f"layers.{i}.weight": torch.zeros(2) for i in range(3000)})) > 50_000


def with_memo(data, index):
    """Rewrite the memo indices of a pickle: each is mapped by `index`, and keeps its width of one or four bytes."""
    out, ops = [], [*pickletools.genops(data)]
    ends = [at for _, _, at in ops[1:]] + [len(data)]
    for (op, arg, at), end in zip(ops, ends, strict=True):
        if op.name in ("LONG_BINPUT", "LONG_BINGET"):
            out.append(op.code.encode() + struct.pack("<L", index(arg)))
        elif op.name == "BINGET" and index(arg) > 255:
            out.append(b"j" + struct.pack("<L", index(arg)))
        elif op.name in ("BINPUT", "BINGET"):
            out.append(
                (op.code.encode() if index(arg) < 256 else b"r")
                + (b"%c" % index(arg) if index(arg) < 256 else struct.pack("<L", index(arg)))
            )
        else:
            out.append(data[at:end])
    return b"".join(out)


@pytest.mark.parametrize(
    "index",
    [
        lambda i: i,
        lambda i: i ^ 1 if i > 255 else i,
        lambda i: i + 5 if i > 255 else i,
        lambda i: i + (i > 300),
        lambda i: 2 * i if i > 255 else i,
        lambda i: 1400 - i if 256 < i < 1144 else i,
        lambda i: i - 8 if i > 600 else i,
    ],
    ids=["in order", "swapped", "from 261", "one left out", "every other", "going down", "taken again"],
)
def test_memo_indices_out_of_order_are_followed_opcode_by_opcode(tmp_path, index):
    content = written(tmp_path, {f"layers.{i}.weight": torch.zeros(i % 3 + 1, 2) for i in range(140)})
    steps_saved(from_bytes(with_memo(content.read(0, content.size), index), "x.pkl"))


def test_a_get_of_a_missing_memo_entry_raises_the_same_error():
    data = both_ways.pickle_of_tensors()
    for match in re.finditer(rb"h.", data):
        both_ways.fast_as_slow(data[: match.start()] + b"h\xff" + data[match.end() :])


def test_both_ways_agree_on_changed_pickles():
    chance, data = random.Random(5), both_ways.pickle_of_tensors()
    for _ in range(300):
        both_ways.fast_as_slow(pickles.mutate(data, chance))


def test_the_pickle_of_tensors_takes_the_fast_path_and_is_what_torch_writes(tmp_path):
    state = collections.OrderedDict(
        (f"layers.{i}.weight", torch.zeros(i % 3 + 1, 4, dtype=[torch.float16, torch.float32][i % 3 & 1])) for i in range(48)
    )
    own = written(tmp_path, state)
    assert both_ways.pickle_of_tensors() == own.read(0, own.size)
    assert steps_saved(own) > 100


ENTRIES = [entry for entry in carried.real()["entries"] if entry["format"].startswith(("torch", "pickle"))]


@pytest.mark.parametrize("entry", carried.parameters(ENTRIES))
def test_both_ways_agree_on_every_real_file_of_torch(entry):
    for content in pickles_in(carried.path_of(entry)):
        steps_saved(content)


@QUANTISED
def test_the_listing_is_the_same_with_every_unusual_tensor(tmp_path, monkeypatch):
    torch.save(dict(odd_tensors()), tmp_path / "a.pt")
    fast = steelyard.weights(tmp_path / "a.pt")
    monkeypatch.setattr("steelyard.codecs.pickle.machine.FAST_THRESHOLD", 1 << 40)
    slow = steelyard.weights(tmp_path / "a.pt")
    assert [repr(weight) for weight in fast.values()] == [repr(weight) for weight in slow.values()]
    assert all(one.numpy().tobytes() == other.numpy().tobytes() for one, other in zip(fast.values(), slow.values(), strict=True))
