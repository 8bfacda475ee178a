"""The elementary functions in C99, which C++11 takes too."""

from __future__ import annotations

_SCALED = """\
/* y times 2 to the power of k */
static float @_scaled(float y, int k)
{
    union { uint32_t u; float f; } first, second;
    const int half = k / 2;
    first.u = (uint32_t)(half + 127) << 23;
    second.u = (uint32_t)(k - half + 127) << 23;
    return y * first.f * second.f;
}
"""
_EXP = """\
static float @_exp(float x)
{
    float k, r;
    if (x != x) {
        return x;
    }
    if (x > [EXP_LARGEST] || x < [EXP_LEAST]) {
        return x < 0.0f ? 0.0f : @_scaled(1.0f, 128);
    }
    k = (float)(int)(x * [LOG2_E] + (x < 0.0f ? -0.5f : 0.5f));
    r = (x - k * [LN2_HIGH]) - k * [LN2_LOW];
    return @_scaled(1.0f + (r + r * r * [r EXP]), (int)k);
}
"""
_EXPM1 = """\
static float @_expm1(float x)
{
    float k, r, s;
    if (x > [EXPM1_LARGEST] || x < [EXPM1_LEAST]) {
        return @_exp(x) - 1.0f;
    }
    if (x != x) {
        return x;
    }
    k = (float)(int)(x * [LOG2_E] + (x < 0.0f ? -0.5f : 0.5f));
    r = (x - k * [LN2_HIGH]) - k * [LN2_LOW];
    s = @_scaled(1.0f, (int)k);
    r = r + r * r * [r EXP];
    return s * r + (s - 1.0f);
}
"""
_TANH = """\
static float @_tanh(float x)
{
    const float a = x < 0.0f ? -x : x, z = x * x;
    float t = 1.0f;
    if (a < [TANH_EDGE]) {
        return x + x * z * [z TANH];
    }
    if (!(a > [TANH_LARGEST])) {
        t = 1.0f - 2.0f / (@_exp(2.0f * a) + 1.0f);
    }
    return x < 0.0f ? -t : t;
}
"""
_LOG = """\
static float @_log(float x)
{
    union { float f; uint32_t u; } bits;
    float f, k = 0.0f;
    uint32_t above;
    if (!(x > 0.0f) || x > 3.40282347e+38f) {
        return x == 0.0f ? -1.0f / (x * x) : (x < 0.0f ? (x - x) / (x - x) : x);
    }
    if (x < 1.17549435e-38f) {
        x = x * 33554432.0f;
        k = -25.0f;
    }
    bits.f = x;
    above = bits.u - [ROOT_HALF_BITS]u + 0x40000000u;
    k = k + (float)((int)(above >> 23) - 128);
    bits.u = (above & 0x007fffffu) + [ROOT_HALF_BITS]u;
    f = bits.f - 1.0f;
    return (f + ((f * f * f * [f LOG] + k * [LN2_LOW]) - 0.5f * (f * f))) + k * [LN2_HIGH];
}
"""
_LOG1P = """\
static float @_log1p(float x)
{
    const float u = 1.0f + x;
    if (u == 1.0f || !(x > -1.0f) || u > 3.40282347e+38f) {
        return u == 1.0f ? x : @_log(u);
    }
    return @_log(u) + (x - (u - 1.0f)) / u;
}
"""
_ERF = """\
static float @_erf(float x)
{
    const float a = x < 0.0f ? -x : x, z = x * x;
    float t = 1.0f;
    if (a < [ERF_EDGE]) {
        return x + x * [z ERF];
    }
    if (!(a > [ERF_LARGEST])) {
        t = 1.0f - @_exp(a * [a ERFC]);
    }
    return x < 0.0f ? -t : t;
}
"""
_SQRT = """\
/* the nearest float, digit by digit */
static float @_sqrt(float x)
{
    union { float f; uint32_t u; } bits;
    uint32_t rest, root = 0u, twice = 0u, digit;
    int k = 0;
    if (!(x > 0.0f) || x > 3.40282347e+38f) {
        return x < 0.0f ? (x - x) / (x - x) : x;
    }
    if (x < 1.17549435e-38f) {
        x = x * 16777216.0f;
        k = -12;
    }
    bits.f = x;
    rest = (bits.u & 0x007fffffu) | 0x00800000u;
    k = k * 2 + (int)(bits.u >> 23) - 127;
    rest = k & 1 ? rest << 2 : rest << 1;
    k = (k - (k & 1)) / 2;
    for (digit = 0x01000000u; digit != 0u; digit >>= 1) {
        if (twice + digit <= rest) {
            twice += digit;
            rest -= twice;
            twice += digit;
            root += digit;
        }
        rest <<= 1;
    }
    root += rest != 0u ? root & 1u : 0u;
    bits.u = (root >> 1) + 0x3f000000u + ((uint32_t)k << 23);
    return bits.f;
}
"""
_SQRT64 = """\
static double @_sqrt64(double x)
{
    union { double f; uint64_t u; } bits;
    uint64_t rest, root = 0, twice = 0, digit;
    int k = 0;
    if (!(x > 0.0) || x > 1.7976931348623157e+308) {
        return x < 0.0 ? (x - x) / (x - x) : x;
    }
    if (x < 2.2250738585072014e-308) {
        x = x * 18014398509481984.0;
        k = -27;
    }
    bits.f = x;
    rest = (bits.u & 0x000fffffffffffffULL) | 0x0010000000000000ULL;
    k = k * 2 + (int)(bits.u >> 52) - 1023;
    rest = k & 1 ? rest << 2 : rest << 1;
    k = (k - (k & 1)) / 2;
    for (digit = 0x0020000000000000ULL; digit != 0; digit >>= 1) {
        if (twice + digit <= rest) {
            twice += digit;
            rest -= twice;
            twice += digit;
            root += digit;
        }
        rest <<= 1;
    }
    root += rest != 0 ? root & 1u : 0;
    bits.u = (root >> 1) + 0x3fe0000000000000ULL + ((uint64_t)k << 52);
    return bits.f;
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
    """Return a float literal of C.

    >>> literal(0.5), literal(2.0)
    ('0.5f', '2.0f')
    """
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
