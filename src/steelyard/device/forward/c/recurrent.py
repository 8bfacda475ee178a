"""Recurrent layers, step after step.

A state follows the one before it in the output, or, where only the last is wanted, two places take turns so that the last is in
the output. The first step has no state to multiply, which would add zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from steelyard.device.forward.c.curves import curve
from steelyard.device.forward.c.kernels import Call, Function, Kernel, linked

if TYPE_CHECKING:
    from steelyard.device.forward.c.steps import At
    from steelyard.device.program.recurrent import Recurrent

_DOT = Function(
    "dot",
    "for (size_t i = 0; i < count; i++)\n    sum += (SUM)x[i] * (SUM)kernel[i];\nreturn sum;",
    head="SUM {name}(SUM sum, const REAL *x, const REAL *kernel, size_t count)",
)
_STEPS = """
for (size_t t = 0; t < steps; t++) {
    const size_t old = t > 0 ? units : 0;
    const REAL *const in = x + READ * ins;
PLACES
    for (size_t u = 0; u < units; u++) {
UNIT
    }
}
"""
_ALL = """\
    REAL *const state = y + WRITTEN * units;
    const REAL *const before = t > 0 ? state BACK units : state;"""
_LAST = """\
    const int is_even = (steps - 1 - t) % 2 == 0;
    REAL *const state = is_even ? y : work;
    const REAL *const before = is_even ? work : y;"""
_SUM = "CALL_dot(CALL_dot((SUM)bias[{row}], in, kernel + {at} * ins, ins), before, state_kernel + {at} * units, old)"
_RNN = f"        state[u] = ACT((REAL){_SUM.format(row='u', at='u')});"
_LSTM = """\
        REAL gates[4], c;
        for (size_t gate = 0; gate < 4; gate++) {
            const size_t row = gate * units + u;
            gates[gate] = (REAL)SUM_OF_ROW;
        }
        c = GATE(gates[1]) * (t > 0 ? cell[u] : 0.0R) + GATE(gates[0]) * ACT(gates[2]);
        cell[u] = c;
        state[u] = GATE(gates[3]) * ACT(c);""".replace("SUM_OF_ROW", _SUM.format(row="row", at="row"))
_UPDATE = "        state[u] = (1.0R - z) * n + z * (t > 0 ? before[u] : 0.0R);"
_GRU = """\
        const size_t row = units + u, last = 2 * units + u;
        const REAL r = GATE((REAL)RESET);
        const REAL z = GATE((REAL)UPDATED);
        const REAL own = (REAL)CALL_dot((SUM)bias[last], in, kernel + last * ins, ins);
        const REAL inner = (REAL)CALL_dot((SUM)state_bias[u], before, state_kernel + last * units, old);
        const REAL n = ACT(own + r * inner);
"""
_GRU = _GRU.replace("RESET", _SUM.format(row="u", at="u")).replace("UPDATED", _SUM.format(row="row", at="row")) + _UPDATE
_RESET_FIRST = """\
    for (size_t u = 0; u < units; u++) {
        const REAL r = GATE((REAL)RESET);
        reset[u] = r * (t > 0 ? before[u] : 0.0R);
    }""".replace("RESET", _SUM.format(row="u", at="u"))
_GRU_BEFORE = (
    """\
        const size_t row = units + u, last = 2 * units + u;
        const REAL z = GATE((REAL)UPDATED);
        const REAL n = ACT((REAL)LAST);
""".replace("UPDATED", _SUM.format(row="row", at="row"))
    + _UPDATE
)
_GRU_BEFORE = _GRU_BEFORE.replace("LAST", _SUM.format(row="last", at="last").replace("before", "reset"))
_UNITS = {"rnn": _RNN, "lstm": _LSTM, "gru": _GRU, "gru_before": _GRU_BEFORE}


def recurrent(at: At, operation: Recurrent) -> list[Call]:
    """Return the call for one level in one direction."""
    kind = "gru_before" if operation.kind == "gru" and operation.state_bias is None else operation.kind
    words = [operation.activation] + [operation.recurrent_activation] * (operation.kind != "rnn")
    settings = {"alpha": 1 / 6, "beta": 0.5}
    functions = {
        word: curve(word, settings if word == "hard_sigmoid" else {}, at.arithmetic) for word in words if word != "linear"
    }
    body = linked(_body(kind, operation), "ACT", functions.get(words[0]))
    body = linked(body, "GATE", functions.get(words[-1]))
    parameters, arguments = _arguments(at, operation, kind)
    _, units, ins = operation.kernel.shape
    needs = tuple(dict.fromkeys((_DOT, *functions.values())))
    name = f"{kind}{'_backward' * operation.backward}_{operation.returns.replace(' ', '_')}"
    return [Call(Kernel(name, parameters, body, needs), arguments, {"steps": at.shape()[0], "units": units, "ins": ins})]


def _body(kind: str, operation: Recurrent) -> str:
    backward, turned = operation.backward, operation.backward and operation.returns == "all"
    places = _LAST if operation.returns == "last" else _ALL
    places = places.replace("WRITTEN", "(steps - 1 - t)" if turned else "t").replace("BACK", "+" if turned else "-")
    places = f"{places}\n{_RESET_FIRST}" if kind == "gru_before" else places
    body = _STEPS.replace("PLACES", places).replace("UNIT\n", f"{_UNITS[kind]}\n")
    return body.replace("READ", "(steps - 1 - t)" if backward else "t")


def _arguments(at: At, operation: Recurrent, kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the parameters, and what is passed: tables, and numbers of its own, those of the state first."""
    pairs = [("const REAL *x", at.input()), ("REAL *y", at.output), ("const REAL *kernel", at.table("kernel"))]
    pairs += [("const REAL *state_kernel", at.table("recurrent_kernel")), ("const REAL *bias", at.table("bias"))]
    pairs += [("const REAL *state_bias", at.table("state_bias"))] if operation.state_bias is not None else []
    start = 0
    for name, needed in (("work", operation.returns == "last"), ("cell", kind == "lstm"), ("reset", kind == "gru_before")):
        if needed:
            pairs.append((f"REAL *{name}", at.shifted(at.work, start)))
            start += operation.kernel.shape[1]
    return tuple(parameter for parameter, _ in pairs), tuple(argument for _, argument in pairs)
