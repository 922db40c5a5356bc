"""arithmetic.py - what scalar instructions compute, lane by lane, on arrays.

Source: NVIDIA's PTX ISA 9.0, chapter 9.7.1 to 9.7.9.  Fused multiply-adds are taken in f64 and rounded once more: off
by one ulp in one case of 2^29.  Approximate functions are rounded exactly; their callers' bounds allow more.
"""
import numpy as np

F32, F64 = np.float32, np.float64
TINY = np.finfo(np.float32).tiny
CANONICAL_NAN = {"bf16": np.uint16(0x7FFF), "f16": np.uint16(0x7FFF)}


def fma(a, b, c):
    return (np.multiply(a, b, dtype=F64) + c).astype(F32)


def fma64(a, b, c):
    """By longdouble (64 bits of mantissa): not exact, closer than two roundings."""
    return (np.multiply(a, b, dtype=np.longdouble) + c).astype(F64)


def fma_down(a, b, c):
    exact = np.multiply(a, b, dtype=F64) + c
    near = exact.astype(F32)
    return np.where(near > exact, np.nextafter(near, F32(-np.inf)), near)


def add_to_zero(a, b):
    exact = np.add(a, b, dtype=F64)
    near = exact.astype(F32)
    return np.where(np.abs(near) > np.abs(exact), np.nextafter(near, F32(0)), near)


def flush(x):
    return np.where(np.abs(x) < TINY, np.copysign(F32(0), x), x)


def exp2(x):
    return np.exp2(x.astype(F64)).astype(F32)


def exp2_flush(x):
    return flush(exp2(flush(x)))


def rsqrt_flush(x):
    return flush((1 / np.sqrt(flush(x).astype(F64))).astype(F32))


def reciprocal_flush(x):
    return flush((1 / flush(x).astype(F64)).astype(F32))


def reciprocal64(x):
    """rcp.approx.ftz.f64: the upper 32 bits alone count."""
    return ((1 / x).view(np.uint64) & np.uint64(0xFFFFFFFF00000000)).view(F64)


def saturate(x):
    return np.where(np.isnan(x), F32(0), np.clip(x, F32(0), F32(1)))


def divide(a, b):
    """Integers, towards zero; by zero: any."""
    b = np.where(b == 0, b.dtype.type(1), b)
    quotient = a // b
    return quotient + ((a % b != 0) & ((a < 0) != (b < 0))).astype(a.dtype)


def remainder(a, b):
    return a - divide(a, b) * np.where(b == 0, b.dtype.type(1), b)


def shift_left(a, amount):
    width = a.dtype.itemsize * 8
    few = np.minimum(amount, width - 1).astype(a.dtype)
    return np.where(amount >= width, a.dtype.type(0), a << few)


def shift_right(a, amount):
    """Of signed numbers the sign comes in."""
    width = a.dtype.itemsize * 8
    few = np.minimum(amount, width - 1).astype(a.dtype)
    shifted = a >> few
    return shifted if a.dtype.kind == "i" else np.where(amount >= width, a.dtype.type(0), shifted)


def permute(a, b, selector):
    """prmt.b32 in its default mode: each nibble of the selector names a byte of a (0 to 3) or b (4 to 7), or with its highest bit the
    sign of that byte, eight times."""
    both = b.astype(np.uint64) << np.uint64(32) | a.astype(np.uint64)
    result = np.zeros(np.broadcast(a, selector).shape, np.uint32)
    for place in range(4):
        nibble = selector.astype(np.uint64) >> np.uint64(4 * place) & np.uint64(15)
        byte = both >> (nibble & np.uint64(7)) * np.uint64(8) & np.uint64(255)
        byte = np.where(nibble & np.uint64(8), (byte >> np.uint64(7)) * np.uint64(255), byte)
        result |= byte.astype(np.uint32) << np.uint32(8 * place)
    return result


def high_product(a, b):
    return ((a.astype(np.int64) * b.astype(np.int64)) >> np.int64(32)).astype(np.int32)


def insert_field(field, into, position, length):
    """bfi.b64 with constants."""
    mask = ((1 << int(length)) - 1) << int(position)
    kept = into & np.uint64(~mask & 0xFFFFFFFFFFFFFFFF)
    return kept | ((field << np.uint64(position)) & np.uint64(mask))


def bf16_bits(x):
    """Round to nearest even; uint16."""
    bits = x.view(np.uint32)
    rounded = ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)
    return np.where(np.isnan(x), CANONICAL_NAN["bf16"], rounded)


def f16_bits(x):
    return np.where(np.isnan(x), CANONICAL_NAN["f16"], x.astype(np.float16).view(np.uint16))


def bf16_values(bits):
    return (bits.astype(np.uint32) << np.uint32(16)).view(F32)


def f16_values(bits):
    return bits.view(np.float16).astype(F32)


NARROW = {"bf16": bf16_bits, "f16": f16_bits}
WIDE = {"bf16": bf16_values, "f16": f16_values}


def pack(kind, high, low):
    narrow = NARROW[kind]
    return narrow(low).astype(np.uint32) | (narrow(high).astype(np.uint32) << np.uint32(16))


def code_bits(kind, x):
    """e4m3 or e5m2: to nearest, ties to even, in steps of the last place of each value's binade; .satfinite ends at the largest number.
    Of a NaN 0x7f."""
    fraction, bias, largest = {"e4m3": (3, 7, 448.0), "e5m2": (2, 15, 57344.0)}[kind]
    size = np.minimum(np.abs(np.where(np.isnan(x), F32(0), x)).astype(F64), largest)
    exponent = np.maximum(np.frexp(np.maximum(size, TINY))[1] - 1, 1 - bias)
    steps = np.rint(np.ldexp(size, fraction - exponent)).astype(np.int64)
    codes = steps + ((exponent + bias - 1) << fraction)
    return np.where(np.isnan(x), 0x7F, codes | (np.signbit(x).astype(np.int64) << 7)).astype(np.uint16)


def pack_codes(kind, high, low):
    return code_bits(kind, low) | (code_bits(kind, high) << np.uint16(8))


def compare(how, a, b):
    """Comparisons of PTX: lt ... of floats are false of NaN, ltu ... true; nan: whether one is NaN, num: whether none is."""
    if how in ("nan", "num"):
        return (np.isnan(a) | np.isnan(b)) == (how == "nan")
    plain = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
             "ge": np.greater_equal}
    if how in plain:
        result = plain[how](a, b)
        return result & ~(np.isnan(a) | np.isnan(b)) if how == "ne" and a.dtype.kind == "f" else result
    return plain[{"equ": "eq", "neu": "ne"}.get(how, how[:2])](a, b) | np.isnan(a) | np.isnan(b)
