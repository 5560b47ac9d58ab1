"""``^`` as Go computes it on amd64, to the last digit.

C's ``pow`` rounds better, and so differs in the last digit for many operands. Go
squares the mantissa again and again for the whole part of the exponent, and takes
e^(fraction * ln base) for the rest, with fdlibm's logarithm and a Taylor series of
its own, whose steps are fused multiply-adds.
"""

from __future__ import annotations

import math
import struct
from typing import Final

_FAR: Final = 1 << 12
"""Binary exponents beyond this are beyond any float."""

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LOG: Final = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
"""fdlibm's polynomial of ln((1+s)/(1-s))."""

_LOG2_E: Final = 1.4426950408889634
_LN2_UPPER, _LN2_LOWER = 0.69314718055966295651160180568695068359375, 0.28235290563031577122588448175013436025525412e-12
_TAYLOR: Final = tuple(1.0 / math.factorial(n) for n in range(8, 0, -1))

_HALF_BITS: Final = 0x3FE << 52
_MANTISSA_BITS: Final = (1 << 52) - 1


def power(base: float, exponent: float) -> float:
    """Returns ``base`` to the ``exponent``; nothing raises."""
    special = _special(base, exponent)
    if special is not None:
        return special
    fraction, whole = math.modf(abs(exponent))
    if fraction and base < 0:
        return math.nan
    if whole >= 2.0**63:
        return _endless(base, exponent)
    mantissa = 1.0
    if fraction:
        if fraction > 0.5:
            fraction -= 1
            whole += 1
        mantissa = _exp(fraction * _log(base))
    mantissa, shift = _squared(mantissa, base, int(whole))
    if exponent < 0:
        mantissa, shift = (1.0 / mantissa if mantissa else math.copysign(math.inf, mantissa)), -shift
    try:
        return math.ldexp(mantissa, shift)
    except OverflowError:
        return math.copysign(math.inf, mantissa)


def _special(base: float, exponent: float) -> float | None:
    """Returns the power where a rule gives it, else None."""
    known: float | None = None
    if exponent == 0 or base == 1:
        known = 1.0
    elif exponent == 1:
        known = base
    elif math.isnan(base) or math.isnan(exponent):
        known = math.nan
    elif math.isinf(exponent):
        known = _endless(base, exponent)
    elif base == 0 or math.isinf(base):
        size = math.inf if (base == 0) == (exponent < 0) else 0.0
        known = math.copysign(size, base) if _is_odd(exponent) else size
    elif abs(exponent) == 0.5:
        root = math.sqrt(base) if base > 0 else math.nan
        known = root if exponent > 0 else 1.0 / root
    return known


def _endless(base: float, exponent: float) -> float:
    """The exponent is infinite, or as good as."""
    if base == -1:
        return 1.0
    return 0.0 if (abs(base) < 1) == (exponent > 0) else math.inf


def _is_odd(number: float) -> bool:
    return math.fmod(number, 2) in {1.0, -1.0}


def _squared(mantissa: float, base: float, times: int) -> tuple[float, int]:
    """Returns ``mantissa * base**times`` as a mantissa and a binary exponent."""
    shift = 0
    square, square_shift = math.frexp(base)
    while times:
        if abs(square_shift) > _FAR:
            return mantissa, shift + square_shift
        if times & 1:
            mantissa *= square
            shift += square_shift
        square *= square
        square_shift <<= 1
        if square < 0.5:
            square += square
            square_shift -= 1
        times >>= 1
    return mantissa, shift


def _log(number: float) -> float:
    """Natural logarithm of a positive number. (A subnormal one keeps its bits unshifted, as on amd64.)"""
    [bits] = struct.unpack("<Q", struct.pack("<d", number))
    reduced: float = struct.unpack("<d", struct.pack("<Q", (bits & _MANTISSA_BITS) | _HALF_BITS))[0]
    twos = float((bits >> 52) - 0x3FE)
    if reduced < math.sqrt(0.5):
        reduced *= 2
        twos -= 1
    f = reduced - 1
    s = f / (2 + f)
    s2 = s * s
    s4 = s2 * s2
    odd = s2 * (_LOG[0] + s4 * (_LOG[2] + s4 * (_LOG[4] + s4 * _LOG[6])))
    even = s4 * (_LOG[1] + s4 * (_LOG[3] + s4 * _LOG[5]))
    half_square = 0.5 * f * f
    return twos * _LN2_HIGH - ((half_square - (s * (half_square + (odd + even)) + twos * _LN2_LOW)) - f)


def _exp(number: float) -> float:
    """e to a number that is far from over- and underflow."""
    twos = round(number * _LOG2_E)
    number = _fused(-_LN2_UPPER, twos, number)
    number = _fused(-_LN2_LOWER, twos, number) * 0.0625
    series = _TAYLOR[0]
    for coefficient in _TAYLOR[1:]:
        series = _fused(series, number, coefficient)
    grown = series * number
    for _ in range(3):  # e^2x - 1 from e^x - 1, so that the series need only be good near zero
        grown *= grown + 2.0
    return math.ldexp(_fused(grown, grown + 2.0, 1.0), twos)


def _fused(one: float, other: float, addend: float) -> float:
    """``one * other + addend``, rounded once."""
    product = one * other
    return math.fsum((product, _lost(one, other, product), addend))


def _lost(one: float, other: float, product: float) -> float:
    """What rounding took from a product, by splitting each factor in two halves that multiply exactly."""
    one_high, other_high = _high(one), _high(other)
    one_low, other_low = one - one_high, other - other_high
    return ((one_high * other_high - product) + one_high * other_low + one_low * other_high) + one_low * other_low


def _high(number: float) -> float:
    spread = 134217729.0 * number
    return spread - (spread - number)
