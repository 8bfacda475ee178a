"""The functions of norms, softmax, recurrent layers and attention in Python, as those of `kernels`."""

from __future__ import annotations

_SOFTMAX = """\
def softmax(x, y, length, after):
    for row in range(len(y) // length):
        first = row // after * length * after + row % after
        most, total = largest(x, first, length, after), 0.0
        for place in range(first, first + length * after, after):
            y[place] = own_exp(x[place] - most)
            total += y[place]
        for place in range(first, first + length * after, after):
            y[place] = y[place] / total
"""
_LOG_SOFTMAX = """\
def log_softmax(x, y, length, after):
    for row in range(len(y) // length):
        first = row // after * length * after + row % after
        most, total = largest(x, first, length, after), 0.0
        for place in range(first, first + length * after, after):
            y[place] = x[place] - most
            total += own_exp(y[place])
        log = own_log(total)
        for place in range(first, first + length * after, after):
            y[place] = y[place] - log
"""
_NORMALISED = """\
def moments(x, places, epsilon, centres):
    mean, total = 0.0, 0.0
    if centres:
        for place in places():
            mean += x[place]
            total += 1
        mean = mean / total
    power, total = 0.0, 0
    for place in places():
        apart = x[place] - mean
        power += apart * apart
        total += 1
    return mean, sqrt(power / total + epsilon)
"""
_LAYER_NORM = """\
def layer_norm(x, y, scale, offset, size, epsilon, centres):
    for first in range(0, len(y), size):
        mean, deviation = moments(x, lambda: range(first, first + size), epsilon, centres)
        for place in range(size):
            value = (x[first + place] - mean) / deviation
            value = value * scale[place] if len(scale) else value
            y[first + place] = value + offset[place] if len(offset) else value
"""
_GROUP_NORM = """\
def group_norm(x, y, scale, offset, groups, before, length, after, epsilon):
    own = length // groups

    def places(first):
        for channel in range(first, first + own):
            for row in range(before):
                for column in range(after):
                    yield (row * length + channel) * after + column

    for first in range(0, length, own):
        mean, deviation = moments(x, lambda: places(first), epsilon, True)
        for place in places(first):
            channel = place // after % length
            value = (x[place] - mean) / deviation
            value = value * scale[channel] if len(scale) else value
            y[place] = value + offset[channel] if len(offset) else value
"""
_STEPS = """\
def steps(y, work, count, units, order, run):
    backward, full, turned = order
    state = None
    for number in range(count):
        first = (count - 1 - number if turned else number) * units
        made = y[first : first + units] if full else work[:units]
        run(count - 1 - number if backward else number, state, made)
        state = made if full else y
        for unit in range(0 if full else units):
            y[unit] = made[unit]
"""
_GATE = """\
def gate_sum(x, step, ins, kernel, state, units, recurrent, bias, row):
    total = products(bias[row], x, step * ins, kernel, row, ins)
    return total if state is None else products(total, state, 0, recurrent, row, units)
"""
_RNN = """\
def rnn(x, y, work, kernel, recurrent, bias, sizes, order, act):
    count, ins, units = sizes

    def run(step, state, made):
        for unit in range(units):
            made[unit] = act(gate_sum(x, step, ins, kernel, state, units, recurrent, bias, unit))

    steps(y, work, count, units, order, run)
"""
_LSTM = """\
def lstm(x, y, work, kernel, recurrent, bias, sizes, order, act, gate):
    count, ins, units = sizes
    cells = work[len(work) - units :]
    fill(cells, 0.0)

    def run(step, state, made):
        for unit in range(units):
            i, f, g, o = (
                gate_sum(x, step, ins, kernel, state, units, recurrent, bias, row * units + unit) for row in range(4)
            )
            cells[unit] = gate(f) * cells[unit] + gate(i) * act(g)
            made[unit] = gate(o) * act(cells[unit])

    steps(y, work, count, units, order, run)
"""
_GRU_INNER = """\
def gru_inner(x, y, work, kernel, recurrent, bias, state_bias, sizes, order, act, gate):
    count, ins, units = sizes

    def run(step, state, made):
        for unit in range(units):
            r, z = (
                gate(gate_sum(x, step, ins, kernel, state, units, recurrent, bias, row + unit)) for row in (0, units)
            )
            row, inner = 2 * units + unit, state_bias[unit]
            if state is not None:
                inner = products(inner, state, 0, recurrent, row, units)
            n = act(products(bias[row], x, step * ins, kernel, row, ins) + r * inner)
            made[unit] = (1 - z) * n + z * (0.0 if state is None else state[unit])

    steps(y, work, count, units, order, run)
"""
_GRU = """\
def gru(x, y, work, kernel, recurrent, bias, sizes, order, act, gate):
    count, ins, units = sizes
    kept = work[len(work) - units :]

    def run(step, state, made):
        for unit in range(units):
            r = gate(gate_sum(x, step, ins, kernel, state, units, recurrent, bias, unit))
            kept[unit] = 0.0 if state is None else r * state[unit]
        for unit in range(units):
            z = gate(gate_sum(x, step, ins, kernel, state, units, recurrent, bias, units + unit))
            held = None if state is None else kept
            n = act(gate_sum(x, step, ins, kernel, held, units, recurrent, bias, 2 * units + unit))
            made[unit] = (1 - z) * n + z * (0.0 if state is None else state[unit])

    steps(y, work, count, units, order, run)
"""
_ATTENTION = """\
def attention(q, k, v, y, work, sizes, ways, root, causal):
    heads, shared, rows, columns, dim, width = sizes
    for head in range(heads):
        for row in range(rows):
            count = min(row + 1, columns) if causal else columns
            scores = work[:count]
            for column in range(count):
                first, second = head * ways[0] + row * ways[1], head // shared * ways[2] + column * ways[3]
                total = 0.0
                for place in range(dim):
                    total += q[first + place] * k[second + place]
                scores[column] = total / root
            softmax(scores, scores, count, 1)
            for place in range(width):
                first, total = head // shared * ways[4] + place, 0.0
                for column in range(count):
                    total += scores[column] * v[first + column * ways[5]]
                y[head * ways[6] + row * ways[7] + place] = total
"""
_MATMUL = """\
def matmul(a, b, y, sizes, axes):
    rows, terms, columns = sizes
    for place in range(len(y)):
        number = place // (rows * columns)
        first = place // columns % rows * terms + walk(axes, number, 1)
        second = place % columns + walk(axes, number, 2)
        total = 0.0
        for term in range(terms):
            total += a[first + term] * b[second + term * columns]
        y[place] = total
"""
TEXTS = {
    "softmax": _SOFTMAX,
    "log_softmax": _LOG_SOFTMAX,
    "moments": _NORMALISED,
    "layer_norm": _LAYER_NORM,
    "group_norm": _GROUP_NORM,
    "steps": _STEPS,
    "gate_sum": _GATE,
    "rnn": _RNN,
    "lstm": _LSTM,
    "gru_inner": _GRU_INNER,
    "gru": _GRU,
    "attention": _ATTENTION,
    "matmul": _MATMUL,
}
