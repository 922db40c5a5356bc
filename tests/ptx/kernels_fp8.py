"""kernels_fp8.py - casts to 8 bits: the largest magnitude, and codes as rows and as columns, against the nearest of all codes."""
import numpy as np

from bench import BF16, divide_up, expect_same

E4M3, E5M2 = range(2)
NAMES, LARGEST = ["e4m3", "e5m2"], [448.0, 57344.0]
BLOCKS, THREADS, TILE_ROWS, TILE_COLUMNS = 3, 256, 64, 128


def code_values(kind):
    """Of the codes from 0 to the largest number, by the definition: a sign, 4 or 5 bits with bias 7 or 15, 3 or 2 bits."""
    fraction, bias, last = (3, 7, 0x7E) if kind == E4M3 else (2, 15, 0x7B)
    codes = np.arange(last + 1)
    exponent, mantissa = codes >> fraction, (codes & (1 << fraction) - 1) / (1 << fraction)
    return np.where(exponent == 0, mantissa * 2.0 ** (1 - bias), (1 + mantissa) * 2.0 ** (exponent.astype(float) - bias))


def nearest(kind, scaled):
    """Codes of values, ties to the even one."""
    values, size = code_values(kind), np.abs(scaled)
    above = np.clip(np.searchsorted(values, size), 1, len(values) - 1)
    below, middle = above - 1, (values[above - 1] + values[above]) / 2
    codes = np.where((size > middle) | ((size == middle) & (above % 2 == 0)), above, below)
    return (codes | np.where(np.signbit(scaled), 0x80, 0)).astype(np.uint8)


def cast(bench, kind, vector, shape, unscaled=False, both=True):
    """vector: elements of one access, 8, or 1 from an odd place."""
    module = bench.module("fp8")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    rows, columns = shape
    padded = divide_up(rows, 16) * 16
    plain = bench.random.standard_normal(shape) * np.exp2(bench.random.integers(-20, 8, shape))
    bits = BF16.to_bits(plain * 3e-5)
    x = BF16.values(bits).astype(np.float64)
    source = put(bits, misaligned=0 if vector == 8 else 2)
    largest, inverse = room(BLOCKS, np.uint32), room(1, np.float32)
    to_rows, to_columns = room(shape, np.uint8), room((columns, padded), np.uint8)
    module.launch(module.file.find("fp8_largest_kernel", f"Li{vector}E"), (BLOCKS,), (THREADS,),
                  [("P", largest), ("P", source), ("q", rows * columns)], 32)
    scale = 1.0 if unscaled else 2.0 ** np.floor(np.log2(LARGEST[kind] / np.abs(x).max()))
    args = [("P", source), ("P", to_rows if both else 0), ("P", to_columns), ("P", largest), ("P", inverse), ("q", rows),
            ("q", columns), ("q", padded), ("i", BLOCKS), ("?", unscaled)]
    grid = divide_up(columns, TILE_COLUMNS), divide_up(padded, TILE_ROWS)
    module.launch(module.file.find("fp8_cast_kernel", f"Li{kind}E", f"Li{vector}E"), grid, (THREADS,), [args], 32)
    want = nearest(kind, np.clip(x * scale, -LARGEST[kind], LARGEST[kind]))
    expect_same("inverse scale", get(inverse, 1, np.float32), np.float32([1 / scale]))
    if both:
        expect_same("rows", get(to_rows, shape, np.uint8), want)
    turned = np.zeros((columns, padded), np.uint8)
    turned[:, :rows] = want.T
    return expect_same("columns", get(to_columns, (columns, padded), np.uint8), turned)


FAST = {"fp8 cast e4m3 by 8"}


def cases():
    """(name, architecture, function of a bench)."""
    for kind in (E4M3, E5M2):
        for vector in (8, 1):
            yield (f"fp8 cast {NAMES[kind]} by {vector}", "sm_80",
                   lambda b, k=kind, v=vector: cast(b, k, v, (77, 144)))
        yield f"fp8 cast {NAMES[kind]} unscaled", "sm_80", lambda b, k=kind: cast(b, k, 8, (16, 32), unscaled=True)
        yield f"fp8 cast {NAMES[kind]} columns alone", "sm_80", lambda b, k=kind: cast(b, k, 8, (21, 16), both=False)
