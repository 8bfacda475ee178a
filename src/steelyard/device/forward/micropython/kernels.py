"""The functions of a forward pass in Python: `x` is read and `y` written by place, and both may be the same numbers."""

from __future__ import annotations

_START = """\
def start(bias, place):
    return bias[place] if len(bias) else 0.0
"""
_PRODUCTS = """\
def products(total, x, first, kernel, row, count):
    row *= count
    for place in range(count):
        total += x[first + place] * kernel[row + place]
    return total
"""
_DENSE = """\
def dense(x, y, kernel, bias, rows, outs, ins):
    for row in range(rows):
        for out in range(outs):
            y[row * outs + out] = products(start(bias, out), x, row * ins, kernel, out, ins)
"""
_WINDOW = """\
def window(axes, place, meet):
    a, b, c = axes
    made = []
    for p in range(a[1]):
        i = meet(a, place // (b[2] * c[2]), p)
        if not 0 <= i < a[0]:
            continue
        for q in range(b[1]):
            j = meet(b, place // c[2] % b[2], q)
            if not 0 <= j < b[0]:
                continue
            for r in range(c[1]):
                k = meet(c, place % c[2], r)
                if 0 <= k < c[0]:
                    made.append(((p * b[1] + q) * c[1] + r, (i * b[0] + j) * c[0] + k))
    return made


def size(axes, length):
    return axes[0][length] * axes[1][length] * axes[2][length]
"""
_FORWARD = """\
def forward(axis, out, position):
    return out * axis[3] + position * axis[4] - axis[5]
"""
_BACK = """\
def back(axis, out, position):
    place = out + axis[5] - position * axis[4]
    return -1 if place % axis[3] else place // axis[3]
"""
_CONV = """\
def conv(x, y, kernel, bias, sizes, ways, axes):
    groups, outs, ins = sizes
    for place in range(size(axes, 2)):
        reach = window(axes, place, forward)
        for channel in range(groups * outs):
            total = start(bias, channel)
            for each in range(ins):
                weights = (channel * ins + each) * size(axes, 1)
                first = (channel // outs * ins + each) * ways[0]
                for position, at in reach:
                    total += x[first + at * ways[1]] * kernel[weights + position]
            y[channel * ways[2] + place * ways[3]] = total
"""
_CONV_TRANSPOSE = """\
def conv_transpose(x, y, kernel, bias, sizes, ways, axes):
    groups, outs, ins = sizes
    for place in range(size(axes, 2)):
        reach = window(axes, place, back)
        for channel in range(groups * outs):
            total = start(bias, channel)
            for each in range(channel // outs * ins, (channel // outs + 1) * ins):
                weights = (each * outs + channel % outs) * size(axes, 1)
                for position, at in reach:
                    total += x[each * ways[0] + at * ways[1]] * kernel[weights + position]
            y[channel * ways[2] + place * ways[3]] = total
"""
_AFFINE = """\
def affine(x, y, scale, offset, length, after):
    for place in range(len(y)):
        channel = place // after % length
        y[place] = x[place] * scale[channel] + offset[channel]
"""
_PRELU = """\
def prelu(x, y, slope, length, after):
    for place in range(len(y)):
        y[place] = x[place] if x[place] > 0 else x[place] * slope[place // after % length]
"""
_RESAMPLE = """\
def resample(x, y, places, shares, terms, length, after):
    outs = len(places) // terms
    for place in range(len(y)):
        out, first = place // after % outs, place // (after * outs) * length * after + place % after
        total = 0.0
        for term in range(out * terms, (out + 1) * terms):
            total += x[first + places[term] * after] * shares[term]
        y[place] = total
"""
_EMBEDDING = """\
def embedding(rows, y, table, width):
    for place in range(len(y)):
        y[place] = table[rows[place // width] * width + place % width]
"""
_EACH = """\
def each(x, y, curve):
    for place in range(len(y)):
        y[place] = curve(x[place])
"""
_POOL_MAX = """\
def pool_max(x, y, channels, ways, axes):
    for channel in range(channels):
        for place in range(size(axes, 2)):
            most = -own_infinity
            for _, at in window(axes, place, forward):
                most = larger(x[channel * ways[0] + at * ways[1]], most)
            y[channel * ways[2] + place * ways[3]] = most
"""
_LARGER = """\
def larger(one, other):
    return one if one > other else other
"""
_POOL_AVERAGE = """\
def pool_average(x, y, channels, ways, axes, count):
    for channel in range(channels):
        for place in range(size(axes, 2)):
            total, reach = 0.0, window(axes, place, forward)
            for _, at in reach:
                total += x[channel * ways[0] + at * ways[1]]
            y[channel * ways[2] + place * ways[3]] = total / (count or len(reach))
"""
_GLOBAL_MAX = """\
def global_max(x, y, channels, places, channel_way, way):
    for channel in range(channels):
        y[channel] = largest(x, channel * channel_way, places, way)
"""
_LARGEST = """\
def largest(x, first, length, after):
    most = -own_infinity
    for place in range(length):
        most = larger(x[first + place * after], most)
    return most
"""
_GLOBAL_AVERAGE = """\
def global_average(x, y, channels, places, channel_way, way):
    for channel in range(channels):
        total = 0.0
        for place in range(places):
            total += x[channel * channel_way + place * way]
        y[channel] = total / places
"""
_FILL = """\
def fill(y, value):
    for place in range(len(y)):
        y[place] = value
"""
_WALK = """\
def walk(axes, number, way):
    place = 0
    for axis in reversed(axes):
        place += number % axis[0] * axis[way]
        number //= axis[0]
    return place
"""
_COPY = """\
def copy(x, y, axes):
    count = 1
    for axis in axes:
        count *= axis[0]
    for number in range(count):
        y[walk(axes, number, 2)] = x[walk(axes, number, 1)]
"""
_COMBINE = """\
def combine(y, inputs, change, divisor):
    for number in range(len(y)):
        made = None
        for x, axes in inputs:
            value = x[walk(axes, number, 1)]
            made = value if made is None else change(made, value)
        y[number] = made / divisor
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
    "larger": _LARGER,
    "largest": _LARGEST,
    "pool_max": _POOL_MAX,
    "pool_average": _POOL_AVERAGE,
    "global_max": _GLOBAL_MAX,
    "global_average": _GLOBAL_AVERAGE,
    "fill": _FILL,
    "walk": _WALK,
    "copy": _COPY,
    "combine": _COMBINE,
}
