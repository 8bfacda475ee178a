"""The functions of norms, softmax, recurrent layers and attention in Rust, as those of `kernels`."""

from __future__ import annotations

_SOFTMAX = """\
/// Along an axis of a length, with so many numbers after each place.
pub fn softmax<X: Numbers + ?Sized>(x: &X, y: &Cells, length: usize, after: usize) {
    for row in 0..y.len() / length {
        let first = row / after * length * after + row % after;
        let most = largest(x, first, length, after);
        let mut sum: Sum = 0.0;
        for place in (0..length).map(|place| first + place * after) {
            let power = own_exp(x.at(place) - most);
            y[place].set(power);
            sum += power as Sum;
        }
        for place in (0..length).map(|place| first + place * after) {
            y[place].set(y[place].get() / sum as f32);
        }
    }
}
"""
_LOG_SOFTMAX = """\
/// Along an axis of a length, with so many numbers after each place.
pub fn log_softmax<X: Numbers + ?Sized>(x: &X, y: &Cells, length: usize, after: usize) {
    for row in 0..y.len() / length {
        let first = row / after * length * after + row % after;
        let most = largest(x, first, length, after);
        let mut sum: Sum = 0.0;
        for place in (0..length).map(|place| first + place * after) {
            y[place].set(x.at(place) - most);
            sum += own_exp(y[place].get()) as Sum;
        }
        let log = own_log(sum as f32);
        for place in (0..length).map(|place| first + place * after) {
            y[place].set(y[place].get() - log);
        }
    }
}
"""
_LARGEST = """\
fn largest<X: Numbers + ?Sized>(x: &X, first: usize, length: usize, after: usize) -> f32 {
    let numbers = (0..length).map(|place| x.at(first + place * after));
    numbers.fold(f32::NEG_INFINITY, |most, value| if value > most { value } else { most })
}
"""
_LAYER_NORM = """\
pub fn layer_norm<X: Numbers + ?Sized>(
    x: &X, y: &Cells, scale: &[f32], offset: &[f32], size: usize, epsilon: Sum, centres: bool,
) {
    for first in (0..y.len()).step_by(size) {
        let sum = |mean: Sum, power: bool| (first..first + size).fold(0.0, |sum: Sum, place| {
            let value = x.at(place) as Sum - mean;
            sum + if power { value * value } else { value }
        });
        let mean = if centres { sum(0.0, false) / size as Sum } else { 0.0 };
        let deviation = own_root(sum(mean, true) / size as Sum + epsilon);
        for place in 0..size {
            let mut value = (x.at(first + place) as Sum - mean) / deviation;
            value = if scale.is_empty() { value } else { value * scale[place] as Sum };
            value = if offset.is_empty() { value } else { value + offset[place] as Sum };
            y[first + place].set(value as f32);
        }
    }
}
"""
_GROUP_NORM = """\
/// The axis of channels has a length, with numbers before and after it.
pub fn group_norm<X: Numbers + ?Sized>(
    x: &X, y: &Cells, scale: &[f32], offset: &[f32], groups: usize, before: usize, length: usize, after: usize, epsilon: Sum,
) {
    let (own, places) = (length / groups, before * after);
    let at = |channel: usize, place: usize| (place / after * length + channel) * after + place % after;
    for first in (0..length).step_by(own) {
        let sum = |mean: Sum, power: bool| (0..own * places).fold(0.0, |sum: Sum, number| {
            let value = x.at(at(first + number / places, number % places)) as Sum - mean;
            sum + if power { value * value } else { value }
        });
        let count = (own * places) as Sum;
        let mean = sum(0.0, false) / count;
        let deviation = own_root(sum(mean, true) / count + epsilon);
        for number in 0..own * places {
            let (channel, place) = (first + number / places, at(first + number / places, number % places));
            let mut value = (x.at(place) as Sum - mean) / deviation;
            value = if scale.is_empty() { value } else { value * scale[channel] as Sum };
            value = if offset.is_empty() { value } else { value + offset[channel] as Sum };
            y[place].set(value as f32);
        }
    }
}
"""
_STEPS = """\
/// Calls a function for each step with its number, the state before, and the cells of the new one.
fn steps(
    y: &Cells, work: &Cells, count: usize, units: usize, order: [bool; 3], mut run: impl FnMut(usize, Option<&Cells>, &Cells),
) {
    let [backward, all, turned] = order;
    let state = |number: usize| &y[if turned { count - 1 - number } else { number } * units..][..units];
    for number in 0..count {
        let step = if backward { count - 1 - number } else { number };
        if all {
            run(step, if number > 0 { Some(state(number - 1)) } else { None }, state(number));
            continue;
        }
        run(step, if number > 0 { Some(y) } else { None }, &work[..units]);
        for (to, from) in y.iter().zip(&work[..units]) {
            to.set(from.get());
        }
    }
}
"""
_GATE = """\
/// What the units of a recurrent layer are computed from.
struct Gates<'a, X: Numbers + ?Sized> {
    x: &'a X,
    kernel: &'a [f32],
    recurrent: &'a [f32],
    bias: &'a [f32],
    ins: usize,
    units: usize,
}

impl<'a, X: Numbers + ?Sized> Gates<'a, X> {
    fn outer(&self, row: usize, step: usize) -> Sum {
        products(self.bias[row] as Sum, self.x, step * self.ins, &self.kernel[row * self.ins..][..self.ins])
    }

    fn inner(&self, sum: Sum, row: usize, state: Option<&Cells>) -> Sum {
        match state {
            Some(state) => products(sum, state, 0, &self.recurrent[row * self.units..][..self.units]),
            None => sum,
        }
    }

    fn sum(&self, row: usize, step: usize, state: Option<&Cells>) -> f32 {
        self.inner(self.outer(row, step), row, state) as f32
    }
}

fn value(state: Option<&Cells>, unit: usize) -> f32 {
    state.map_or(0.0, |state| state[unit].get())
}
"""
_RNN = """\
pub fn rnn<X: Numbers + ?Sized>(
    x: &X, y: &Cells, work: &Cells, kernel: &[f32], recurrent: &[f32], bias: &[f32], sizes: [usize; 3], order: [bool; 3],
    act: fn(f32) -> f32,
) {
    let [count, ins, units] = sizes;
    let gates = Gates { x, kernel, recurrent, bias, ins, units };
    steps(y, work, count, units, order, |step, state, made| {
        for unit in 0..units {
            made[unit].set(act(gates.sum(unit, step, state)));
        }
    });
}
"""
_LSTM = """\
pub fn lstm<X: Numbers + ?Sized>(
    x: &X, y: &Cells, work: &Cells, kernel: &[f32], recurrent: &[f32], bias: &[f32], sizes: [usize; 3], order: [bool; 3],
    act: fn(f32) -> f32, gate: fn(f32) -> f32,
) {
    let [count, ins, units] = sizes;
    let gates = Gates { x, kernel, recurrent, bias, ins, units };
    let cells = &work[work.len() - units..];
    fill(cells, 0.0);
    steps(y, work, count, units, order, |step, state, made| {
        for unit in 0..units {
            let sum = |row: usize| gates.sum(row * units + unit, step, state);
            let cell = gate(sum(1)) * cells[unit].get() + gate(sum(0)) * act(sum(2));
            made[unit].set(gate(sum(3)) * act(cell));
            cells[unit].set(cell);
        }
    });
}
"""
_GRU_INNER = """\
pub fn gru_inner<X: Numbers + ?Sized>(
    x: &X, y: &Cells, work: &Cells, kernel: &[f32], recurrent: &[f32], bias: &[f32], state_bias: &[f32], sizes: [usize; 3],
    order: [bool; 3], act: fn(f32) -> f32, gate: fn(f32) -> f32,
) {
    let [count, ins, units] = sizes;
    let gates = Gates { x, kernel, recurrent, bias, ins, units };
    steps(y, work, count, units, order, |step, state, made| {
        for unit in 0..units {
            let r = gate(gates.sum(unit, step, state));
            let z = gate(gates.sum(units + unit, step, state));
            let row = 2 * units + unit;
            let inner = gates.inner(state_bias[unit] as Sum, row, state) as f32;
            let n = act(gates.outer(row, step) as f32 + r * inner);
            made[unit].set((1.0 - z) * n + z * value(state, unit));
        }
    });
}
"""
_GRU = """\
pub fn gru<X: Numbers + ?Sized>(
    x: &X, y: &Cells, work: &Cells, kernel: &[f32], recurrent: &[f32], bias: &[f32], sizes: [usize; 3], order: [bool; 3],
    act: fn(f32) -> f32, gate: fn(f32) -> f32,
) {
    let [count, ins, units] = sizes;
    let gates = Gates { x, kernel, recurrent, bias, ins, units };
    let kept = &work[work.len() - units..];
    steps(y, work, count, units, order, |step, state, made| {
        for unit in 0..units {
            kept[unit].set(gate(gates.sum(unit, step, state)) * value(state, unit));
        }
        for unit in 0..units {
            let z = gate(gates.sum(units + unit, step, state));
            let n = act(gates.sum(2 * units + unit, step, state.map(|_| kept)));
            made[unit].set((1.0 - z) * n + z * value(state, unit));
        }
    });
}
"""
_ATTENTION = """\
pub fn attention<Q: Numbers + ?Sized, K: Numbers + ?Sized, V: Numbers + ?Sized>(
    q: &Q, k: &K, v: &V, y: &Cells, work: &Cells, sizes: [usize; 6], ways: [usize; 8], root: f32, causal: bool,
) {
    let [heads, shared, rows, columns, dim, width] = sizes;
    for head in 0..heads {
        for row in 0..rows {
            let scores = &work[..if causal && row + 1 < columns { row + 1 } else { columns }];
            for (column, score) in scores.iter().enumerate() {
                let (from, to) = (head * ways[0] + row * ways[1], head / shared * ways[2] + column * ways[3]);
                let sum = (0..dim).fold(0.0, |sum: Sum, place| sum + q.at(from + place) as Sum * k.at(to + place) as Sum);
                score.set(sum as f32 / root);
            }
            softmax(scores, scores, scores.len(), 1);
            for place in 0..width {
                let from = head / shared * ways[4] + place;
                let sum = scores.iter().enumerate().fold(0.0, |sum: Sum, (column, score)| {
                    sum + score.get() as Sum * v.at(from + column * ways[5]) as Sum
                });
                y[head * ways[6] + row * ways[7] + place].set(sum as f32);
            }
        }
    }
}
"""
_MATMUL = """\
/// Each axis before the matrices has its length, and how far apart its places are in both inputs.
pub fn matmul<A: Numbers + ?Sized, B: Numbers + ?Sized>(a: &A, b: &B, y: &Cells, sizes: [usize; 3], axes: &[[usize; 3]]) {
    let [rows, terms, columns] = sizes;
    for (place, to) in y.iter().enumerate() {
        let (row, column) = (place / columns % rows, place % columns);
        let (mut rest, mut first, mut second) = (place / (rows * columns), row * terms, column);
        for axis in axes.iter().rev() {
            first += rest % axis[0] * axis[1];
            second += rest % axis[0] * axis[2];
            rest /= axis[0];
        }
        let sum = (0..terms).fold(0.0, |sum: Sum, term| {
            sum + a.at(first + term) as Sum * b.at(second + term * columns) as Sum
        });
        to.set(sum as f32);
    }
}
"""
TEXTS = {
    "largest": _LARGEST,
    "softmax": _SOFTMAX,
    "log_softmax": _LOG_SOFTMAX,
    "layer_norm": _LAYER_NORM,
    "group_norm": _GROUP_NORM,
    "steps": _STEPS,
    "gates": _GATE,
    "rnn": _RNN,
    "lstm": _LSTM,
    "gru_inner": _GRU_INNER,
    "gru": _GRU,
    "attention": _ATTENTION,
    "matmul": _MATMUL,
}
