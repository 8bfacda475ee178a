"""The loop over the opcodes of plain values gives what their handlers give one by one, also for damaged pickles."""

import pickle
import random
from collections import OrderedDict

import numpy as np
import pytest

from steelyard.codecs.pickle import machine as machines
from steelyard.codecs.pickle.machine import Log, Machine
from steelyard.errors import FormatError, UnsafeFileError
from steelyard.storage.source import from_bytes


def plain_object(chance, depth=0):
    """Return nested lists, tuples and dicts of numbers and texts, some of them shared."""
    kind = chance.randrange(4 if depth < 4 else 1)
    if kind == 0:
        numbers = [chance.randrange(1 << chance.choice((7, 8, 15, 16, 31, 70))) * chance.choice((1, -1)) for _ in range(9)]
        return chance.choice(
            (numbers, chance.random(), "x" * chance.choice((0, 3, 255, 256, 5000)), "\ud800é", None, True, False)
        )
    members = [plain_object(chance, depth + 1) for _ in range(chance.randrange(5))]
    if kind == 1:
        return [*members, *members]
    if kind == 2:
        return tuple(members)
    keys = ["a", "b", 7, 1 << 70, ("t", 1), 0.5, None, b"c"]
    return {chance.choice(keys): member for member in members}


def outcome(data):
    """Return all that a machine holds after a pickle, as text, or its error; and what it met, with the places."""
    machine = Machine(from_bytes(data), log=Log())
    calls, states, held = machine.log.calls, machine.log.states, machine.log.held
    try:
        root = machine.load()
        found = _text(root), _text(list(machine.memo.items())), machine.offset, len(machine.records), machine.is_plain
    except (FormatError, UnsafeFileError) as error:
        found = str(error)
    return (
        found,
        machine.stream.source.spent,
        [(how, at) for _, how, at in calls],
        [at for *_, at in states],
        [(str(each), at) for each, at in held],
    )


def _text(value, depth=0):
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}({', '.join(_text(each, depth + 1) for each in value)})" if depth < 50 else "..."
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key, depth + 1)}: {_text(each, depth + 1)}" for key, each in value.items()) + "}"
    return repr(value) if isinstance(value, (int, float, str, bytes, type(None))) else type(value).__name__


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_those_that_the_handlers_give(protocol, monkeypatch):
    chance = random.Random(protocol)
    array = np.arange(chance.randrange(9), dtype="f4")
    others = [OrderedDict(a=1), array, b"bytes" * 3], [b"bytes" * 3], [b"bytes"]
    data = [pickle.dumps([*others[n % 3], plain_object(chance), "end" * 9], protocol) for n in range(30)]
    mutants = []
    for whole in data:
        for _ in range(8):
            mutant = bytearray(whole)
            for _ in range(chance.randrange(1, 4)):
                mutant[chance.randrange(len(mutant))] = chance.randrange(256)
            mutants += [bytes(mutant), whole[: chance.randrange(1, len(whole))]]
    fast = [outcome(each) for each in data + mutants]
    monkeypatch.setattr(machines, "run_plain_values", lambda *_: 0)
    for each, found in zip(data + mutants, fast, strict=True):
        assert found == outcome(each), each


def test_values_across_the_windows_of_a_long_pickle_are_read(monkeypatch):
    values = [{"id": n, "name": f"n{n}", "x": (n % 300, n / 3)} for n in range(20_000)]
    machine = Machine(from_bytes(pickle.dumps(values, 4)))
    assert machine.load() == values
    assert machine.is_plain


def test_few_opcodes_of_plain_values_are_left_to_their_handlers(monkeypatch):
    run = []
    handlers = [
        lambda m, code=code, handler=handler: (run.append(code), handler(m))[1] for code, handler in enumerate(machines.HANDLERS)
    ]
    monkeypatch.setattr(machines, "HANDLERS", handlers)
    values = [{"id": n, "name": f"n{n}", "tags": ["a", n % 7], "x": (n % 300, n / 3)} for n in range(3_000)]
    Machine(from_bytes(pickle.dumps(values, 4))).load()
    assert len(run) < 100


def test_a_pickle_of_plain_values_is_not_searched_for_arrays(tmp_path, monkeypatch):
    import steelyard
    from steelyard.codecs.pickle.walk import TensorWalk

    visits = []
    visit = TensorWalk._visit
    monkeypatch.setattr(TensorWalk, "_visit", lambda *args: (visits.append(1), visit(*args))[1])
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"epochs": [[n] for n in range(1000)], "step": 3}))
    assert len(steelyard.weights(tmp_path / "a.pkl")) == 0
    assert len(visits) == 1


def test_a_pickle_that_refers_to_lists_in_lists_is_refused_after_a_few_visits(monkeypatch):
    from steelyard.codecs.pickle.walk import TensorWalk

    visits = []
    visit = TensorWalk._visit
    monkeypatch.setattr(TensorWalk, "_visit", lambda *args: (visits.append(1), visit(*args))[1])
    nested = [complex(1, 2)]
    for _ in range(60):
        nested = [nested, [1], nested]
    source = from_bytes(pickle.dumps(nested, 2), "a.pkl")
    with pytest.raises(FormatError, match="bytes of memory, too many for a file of"):
        TensorWalk(source, lambda _: None).through(Machine(source).load())
    assert len(visits) < 200_000
