"""The functions of a forward pass in Rust: `x` is read and `y` written by place, and both may be the same numbers.

A scratch is a slice of cells, so that a function may write where it reads, without `unsafe`. Sums have the type `Sum`.
"""

from __future__ import annotations

HEAD = """\
pub type Cells = [core::cell::Cell<f32>];

/// Numbers that are read by their place.
pub trait Numbers {
    fn at(&self, place: usize) -> f32;
}

impl Numbers for [f32] {
    #[inline(always)]
    fn at(&self, place: usize) -> f32 {
        self[place]
    }
}

impl Numbers for Cells {
    #[inline(always)]
    fn at(&self, place: usize) -> f32 {
        self[place].get()
    }
}

impl<X: Numbers + ?Sized> Numbers for &X {
    #[inline(always)]
    fn at(&self, place: usize) -> f32 {
        (**self).at(place)
    }
}
"""
_START = """\
fn start(bias: &[f32], place: usize) -> Sum {
    if bias.is_empty() { 0.0 } else { bias[place] as Sum }
}
"""
_PRODUCTS = """\
fn products<X: Numbers + ?Sized>(mut sum: Sum, x: &X, from: usize, kernel: &[f32]) -> Sum {
    for (place, &weight) in kernel.iter().enumerate() {
        sum += x.at(from + place) as Sum * weight as Sum;
    }
    sum
}
"""
_DENSE = """\
pub fn dense<X: Numbers + ?Sized>(x: &X, y: &Cells, kernel: &[f32], bias: &[f32], rows: usize, outs: usize, ins: usize) {
    for row in 0..rows {
        for out in 0..outs {
            let sum = products(start(bias, out), x, row * ins, &kernel[out * ins..][..ins]);
            y[row * outs + out].set(sum as f32);
        }
    }
}
"""
_WINDOW = """\
/// The lengths of an axis in the input, the kernel and the output; its step, its gap, and the zeros before or places cropped.
type Axis = [usize; 6];

/// Visits the positions of a kernel that meet the input for one place of the output, with the places of the input.
fn window(axes: &[Axis; 3], place: usize, meet: fn(&Axis, usize, usize) -> usize, mut visit: impl FnMut(usize, usize)) {
    let [a, b, c] = axes;
    for p in 0..a[1] {
        let i = meet(a, place / (b[2] * c[2]), p);
        if i >= a[0] {
            continue;
        }
        for q in 0..b[1] {
            let j = meet(b, place / c[2] % b[2], q);
            if j >= b[0] {
                continue;
            }
            for r in 0..c[1] {
                let k = meet(c, place % c[2], r);
                if k < c[0] {
                    visit((p * b[1] + q) * c[1] + r, (i * b[0] + j) * c[0] + k);
                }
            }
        }
    }
}

fn size(axes: &[Axis; 3], length: usize) -> usize {
    axes[0][length] * axes[1][length] * axes[2][length]
}
"""
_FORWARD = """\
fn forward(axis: &Axis, out: usize, position: usize) -> usize {
    (out * axis[3] + position * axis[4]).wrapping_sub(axis[5])
}
"""
_BACK = """\
fn back(axis: &Axis, out: usize, position: usize) -> usize {
    let place = (out + axis[5]).wrapping_sub(position * axis[4]);
    if place % axis[3] == 0 { place / axis[3] } else { usize::MAX }
}
"""
_CONV = """\
pub fn conv<X: Numbers + ?Sized>(
    x: &X, y: &Cells, kernel: &[f32], bias: &[f32], sizes: [usize; 3], ways: [usize; 4], axes: &[Axis; 3],
) {
    let [groups, outs, ins] = sizes;
    for channel in 0..groups * outs {
        for place in 0..size(axes, 2) {
            let mut sum = start(bias, channel);
            for input in 0..ins {
                let (weights, from) = ((channel * ins + input) * size(axes, 1), (channel / outs * ins + input) * ways[0]);
                window(axes, place, forward, |position, at| {
                    sum += x.at(from + at * ways[1]) as Sum * kernel[weights + position] as Sum;
                });
            }
            y[channel * ways[2] + place * ways[3]].set(sum as f32);
        }
    }
}
"""
_CONV_TRANSPOSE = """\
pub fn conv_transpose<X: Numbers + ?Sized>(
    x: &X, y: &Cells, kernel: &[f32], bias: &[f32], sizes: [usize; 3], ways: [usize; 4], axes: &[Axis; 3],
) {
    let [groups, outs, ins] = sizes;
    for channel in 0..groups * outs {
        for place in 0..size(axes, 2) {
            let mut sum = start(bias, channel);
            for input in channel / outs * ins..(channel / outs + 1) * ins {
                let (weights, from) = ((input * outs + channel % outs) * size(axes, 1), input * ways[0]);
                window(axes, place, back, |position, at| {
                    sum += x.at(from + at * ways[1]) as Sum * kernel[weights + position] as Sum;
                });
            }
            y[channel * ways[2] + place * ways[3]].set(sum as f32);
        }
    }
}
"""
_AFFINE = """\
pub fn affine<X: Numbers + ?Sized>(x: &X, y: &Cells, scale: &[f32], offset: &[f32], length: usize, after: usize) {
    for (place, to) in y.iter().enumerate() {
        let channel = place / after % length;
        to.set((x.at(place) as Sum * scale[channel] as Sum + offset[channel] as Sum) as f32);
    }
}
"""
_PRELU = """\
pub fn prelu<X: Numbers + ?Sized>(x: &X, y: &Cells, slope: &[f32], length: usize, after: usize) {
    for (place, to) in y.iter().enumerate() {
        let value = x.at(place);
        to.set(if value > 0.0 { value } else { value * slope[place / after % length] });
    }
}
"""
_RESAMPLE = """\
pub fn resample<X: Numbers + ?Sized>(
    x: &X, y: &Cells, places: &[u16], shares: &[f32], terms: usize, length: usize, after: usize,
) {
    let outs = places.len() / terms;
    for (place, to) in y.iter().enumerate() {
        let (out, first) = (place / after % outs, place / (after * outs) * length * after + place % after);
        let sum = (out * terms..(out + 1) * terms).fold(0.0, |sum: Sum, term| {
            sum + x.at(first + places[term] as usize * after) as Sum * shares[term] as Sum
        });
        to.set(sum as f32);
    }
}
"""
_EMBEDDING = """\
pub fn embedding(rows: &[i32], y: &Cells, table: &[f32], width: usize) {
    for (place, to) in y.iter().enumerate() {
        to.set(table[rows[place / width] as usize * width + place % width]);
    }
}
"""
_EACH = """\
pub fn each<X: Numbers + ?Sized>(x: &X, y: &Cells, curve: impl Fn(f32) -> f32) {
    for (place, to) in y.iter().enumerate() {
        to.set(curve(x.at(place)));
    }
}
"""
_POOL_MAX = """\
pub fn pool_max<X: Numbers + ?Sized>(x: &X, y: &Cells, channels: usize, ways: [usize; 4], axes: &[Axis; 3]) {
    for channel in 0..channels {
        for place in 0..size(axes, 2) {
            let mut most = f32::NEG_INFINITY;
            window(axes, place, forward, |_, at| {
                let value = x.at(channel * ways[0] + at * ways[1]);
                most = if value > most { value } else { most };
            });
            y[channel * ways[2] + place * ways[3]].set(most);
        }
    }
}
"""
_POOL_AVERAGE = """\
pub fn pool_average<X: Numbers + ?Sized>(
    x: &X, y: &Cells, channels: usize, ways: [usize; 4], axes: &[Axis; 3], count: usize,
) {
    for channel in 0..channels {
        for place in 0..size(axes, 2) {
            let (mut sum, mut inside): (Sum, usize) = (0.0, 0);
            window(axes, place, forward, |_, at| {
                sum += x.at(channel * ways[0] + at * ways[1]) as Sum;
                inside += 1;
            });
            let divisor = if count > 0 { count } else { inside };
            y[channel * ways[2] + place * ways[3]].set((sum / divisor as Sum) as f32);
        }
    }
}
"""
_GLOBAL_MAX = """\
pub fn global_max<X: Numbers + ?Sized>(x: &X, y: &Cells, channels: usize, places: usize, channel_way: usize, way: usize) {
    for channel in 0..channels {
        let mut most = f32::NEG_INFINITY;
        for place in 0..places {
            let value = x.at(channel * channel_way + place * way);
            most = if value > most { value } else { most };
        }
        y[channel].set(most);
    }
}
"""
_GLOBAL_AVERAGE = """\
pub fn global_average<X: Numbers + ?Sized>(x: &X, y: &Cells, channels: usize, places: usize, channel_way: usize, way: usize) {
    for channel in 0..channels {
        let mut sum: Sum = 0.0;
        for place in 0..places {
            sum += x.at(channel * channel_way + place * way) as Sum;
        }
        y[channel].set((sum / places as Sum) as f32);
    }
}
"""
_FILL = """\
pub fn fill(y: &Cells, value: f32) {
    for to in y {
        to.set(value);
    }
}
"""
_COPY = """\
/// Each axis has its length, and how far apart its places are in x and in y.
pub fn copy<X: Numbers + ?Sized>(x: &X, y: &Cells, axes: &[[usize; 3]]) {
    for number in 0..axes.iter().map(|axis| axis[0]).product::<usize>() {
        let (mut rest, mut from, mut to) = (number, 0, 0);
        for axis in axes.iter().rev() {
            from += rest % axis[0] * axis[1];
            to += rest % axis[0] * axis[2];
            rest /= axis[0];
        }
        y[to].set(x.at(from));
    }
}
"""
_COMBINE = """\
/// Each input has the lengths of its axes, and how far apart their places are.
pub fn combine(y: &Cells, inputs: &[(&dyn Numbers, &[[usize; 2]])], change: fn(f32, f32) -> f32, divisor: f32) {
    for (number, to) in y.iter().enumerate() {
        let read = |&(x, axes): &(&dyn Numbers, &[[usize; 2]])| {
            let (mut rest, mut from) = (number, 0);
            for axis in axes.iter().rev() {
                from += rest % axis[0] * axis[1];
                rest /= axis[0];
            }
            x.at(from)
        };
        let first = read(&inputs[0]);
        to.set(inputs[1..].iter().map(read).fold(first, change) / divisor);
    }
}
"""
TEXTS = {
    "start": _START,
    "products": _PRODUCTS,
    "window": _WINDOW,
    "forward": _FORWARD,
    "back": _BACK,
    "dense": _DENSE,
    "conv": _CONV,
    "conv_transpose": _CONV_TRANSPOSE,
    "affine": _AFFINE,
    "prelu": _PRELU,
    "resample": _RESAMPLE,
    "embedding": _EMBEDDING,
    "each": _EACH,
    "pool_max": _POOL_MAX,
    "pool_average": _POOL_AVERAGE,
    "global_max": _GLOBAL_MAX,
    "global_average": _GLOBAL_AVERAGE,
    "fill": _FILL,
    "copy": _COPY,
    "combine": _COMBINE,
}
