"""The elementary functions in Rust, which needs neither `std` nor a libm."""

from __future__ import annotations

_SCALED = """\
/// y times 2 to the power of k
fn @_scaled(y: f32, k: i32) -> f32 {
    let half = k / 2;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    y * power(half) * power(k - half)
}
"""
_EXP = """\
fn @_exp(x: f32) -> f32 {
    if x != x {
        return x;
    }
    if x > [EXP_LARGEST] || x < [EXP_LEAST] {
        return if x < 0.0 { 0.0 } else { f32::INFINITY };
    }
    let k = (x * [LOG2_E] + if x < 0.0 { -0.5 } else { 0.5 }) as i32;
    let r = (x - k as f32 * [LN2_HIGH]) - k as f32 * [LN2_LOW];
    @_scaled(1.0 + (r + r * r * [r EXP]), k)
}
"""
_EXPM1 = """\
fn @_expm1(x: f32) -> f32 {
    if x > [EXPM1_LARGEST] || x < [EXPM1_LEAST] {
        return @_exp(x) - 1.0;
    }
    if x != x {
        return x;
    }
    let k = (x * [LOG2_E] + if x < 0.0 { -0.5 } else { 0.5 }) as i32;
    let r = (x - k as f32 * [LN2_HIGH]) - k as f32 * [LN2_LOW];
    let s = @_scaled(1.0, k);
    let r = r + r * r * [r EXP];
    s * r + (s - 1.0)
}
"""
_TANH = """\
fn @_tanh(x: f32) -> f32 {
    let (a, z) = (if x < 0.0 { -x } else { x }, x * x);
    if a < [TANH_EDGE] {
        return x + x * z * [z TANH];
    }
    let t = if a > [TANH_LARGEST] { 1.0 } else { 1.0 - 2.0 / (@_exp(2.0 * a) + 1.0) };
    if x < 0.0 { -t } else { t }
}
"""
_LOG = """\
fn @_log(x: f32) -> f32 {
    if !(x > 0.0) || x > f32::MAX {
        return if x == 0.0 { f32::NEG_INFINITY } else if x < 0.0 { f32::NAN } else { x };
    }
    let small = x < f32::MIN_POSITIVE;
    let bits = (if small { x * 33554432.0 } else { x }).to_bits();
    let above = bits.wrapping_sub([ROOT_HALF_BITS]).wrapping_add(0x40000000);
    let k = (if small { -25.0 } else { 0.0 }) + ((above >> 23) as i32 - 128) as f32;
    let f = f32::from_bits((above & 0x007fffff) + [ROOT_HALF_BITS]) - 1.0;
    (f + ((f * f * f * [f LOG] + k * [LN2_LOW]) - 0.5 * (f * f))) + k * [LN2_HIGH]
}
"""
_LOG1P = """\
fn @_log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    if u == 1.0 {
        return x;
    }
    if !(x > -1.0) || u > f32::MAX {
        return @_log(u);
    }
    @_log(u) + (x - (u - 1.0)) / u
}
"""
_ERF = """\
fn @_erf(x: f32) -> f32 {
    let (a, z) = (if x < 0.0 { -x } else { x }, x * x);
    if a < [ERF_EDGE] {
        return x + x * [z ERF];
    }
    let t = if a > [ERF_LARGEST] { 1.0 } else { 1.0 - @_exp(a * [a ERFC]) };
    if x < 0.0 { -t } else { t }
}
"""
_SQRT = """\
/// the nearest float, digit by digit
fn @_sqrt(x: f32) -> f32 {
    if !(x > 0.0) || x > f32::MAX {
        return if x < 0.0 { f32::NAN } else { x };
    }
    let (x, k) = if x < f32::MIN_POSITIVE { (x * 16777216.0, -24) } else { (x, 0) };
    let k = k + (x.to_bits() >> 23) as i32 - 127;
    let mut rest = ((x.to_bits() & 0x007fffff) | 0x00800000) << (1 + (k & 1));
    let (mut root, mut twice, mut digit) = (0, 0, 0x01000000);
    while digit != 0 {
        if twice + digit <= rest {
            rest -= twice + digit;
            twice += 2 * digit;
            root += digit;
        }
        rest <<= 1;
        digit >>= 1;
    }
    root += if rest != 0 { root & 1 } else { 0 };
    f32::from_bits(((root >> 1) + 0x3f000000_u32).wrapping_add(((k >> 1) as u32) << 23))
}
"""
_SQRT64 = """\
/// the nearest double, digit by digit
fn @_sqrt64(x: f64) -> f64 {
    if !(x > 0.0) || x > f64::MAX {
        return if x < 0.0 { f64::NAN } else { x };
    }
    let (x, k) = if x < f64::MIN_POSITIVE { (x * 18014398509481984.0, -54) } else { (x, 0) };
    let k = k + (x.to_bits() >> 52) as i32 - 1023;
    let mut rest = ((x.to_bits() & 0x000fffffffffffff) | 0x0010000000000000) << (1 + (k & 1));
    let (mut root, mut twice, mut digit) = (0, 0, 0x0020000000000000);
    while digit != 0 {
        if twice + digit <= rest {
            rest -= twice + digit;
            twice += 2 * digit;
            root += digit;
        }
        rest <<= 1;
        digit >>= 1;
    }
    root += if rest != 0 { root & 1 } else { 0 };
    f64::from_bits(((root >> 1) + 0x3fe0000000000000_u64).wrapping_add(((k >> 1) as u64) << 52))
}
"""
TEXTS = {
    "scaled": _SCALED,
    "exp": _EXP,
    "expm1": _EXPM1,
    "tanh": _TANH,
    "log": _LOG,
    "log1p": _LOG1P,
    "erf": _ERF,
    "sqrt": _SQRT,
    "sqrt64": _SQRT64,
}


def literal(value: float) -> str:
    """Return a float literal of Rust.

    >>> literal(0.5), literal(2.0)
    ('0.5', '2.0')
    """
    text = f"{value:.9g}"
    return text if "." in text or "e" in text else f"{text}.0"
