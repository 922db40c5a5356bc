"""kernels_fp8.py - casts to 8 bits: the largest magnitude, and codes as rows and as columns, against the nearest of all codes; with one
scale, and with one for each block."""
import numpy as np

from bench import BF16, divide_up, expect_same

E4M3, E5M2 = range(2)
NAMES, LARGEST = ["e4m3", "e5m2"], [448.0, 57344.0]
BLOCKS, THREADS, TILE_ROWS, TILE_COLUMNS = 3, 256, 64, 128
SIDE, SIDE_THREADS = 128, 512


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
    largest, inverse = put(np.zeros(1, np.uint32), writable=True), room(1, np.float32)
    to_rows, to_columns = room(shape, np.uint8), room((columns, padded), np.uint8)
    module.launch(module.file.find("fp8_largest_kernel", f"Li{vector}E"), (BLOCKS,), (THREADS,),
                  [("P", largest), ("P", source), ("q", rows * columns)], 32)
    scale = 1.0 if unscaled else 2.0 ** np.floor(np.log2(LARGEST[kind] / np.abs(x).max()))
    args = [("P", source), ("P", to_rows if both else 0), ("P", to_columns), ("P", largest), ("P", inverse), ("q", rows),
            ("q", columns), ("q", padded), ("?", unscaled)]
    grid = divide_up(columns, TILE_COLUMNS), divide_up(padded, TILE_ROWS)
    module.launch(module.file.find("fp8_cast_kernel", f"Li{kind}E", f"Li{vector}E"), grid, (THREADS,), [args])
    expect_same("the largest magnitude", get(largest, 1, np.uint32), np.uint32([(bits & 0x7FFF).max()]))
    want = nearest(kind, np.clip(x * scale, -LARGEST[kind], LARGEST[kind]))
    expect_same("inverse scale", get(inverse, 1, np.float32), np.float32([1 / scale]))
    if both:
        expect_same("rows", get(to_rows, shape, np.uint8), want)
    turned = np.zeros((columns, padded), np.uint8)
    turned[:, :rows] = want.T
    return expect_same("columns", get(to_columns, (columns, padded), np.uint8), turned)


def block_scales(kind, x, height, width):
    """Of each block of a matrix, the largest power of two that keeps it inside the format."""
    rows, columns = (divide_up(x.shape[0], height), divide_up(x.shape[1], width))
    largest = [[np.abs(x[r * height:(r + 1) * height, c * width:(c + 1) * width]).max() for c in range(columns)] for r in range(rows)]
    return 2.0 ** np.floor(np.log2(LARGEST[kind] / np.array(largest)))


def wide(scales, height, width, shape):
    """The scale of each value."""
    return np.kron(scales, np.ones((height, width)))[:shape[0], :shape[1]]


def blocks(bench, kind, vector, shape, squares=False):
    """Rows with blocks along them and columns likewise; or squares, both ways."""
    module = bench.module("fp8_blocks")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    rows, columns = shape
    padded, down, across = divide_up(rows, 16) * 16, divide_up(rows, SIDE), divide_up(columns, SIDE)
    bits = BF16.to_bits(bench.random.standard_normal(shape) * np.exp2(bench.random.integers(-20, 20, shape)))
    x = BF16.values(bits).astype(np.float64)
    up4 = lambda count: divide_up(count, 4) * 4
    row_shape, column_shape = ((down, up4(across)), (across, up4(down))) if squares else ((across, up4(rows)), (down, columns))
    to_rows, to_columns = room(shape, np.uint8), room((columns, padded), np.uint8)
    row_inverses, column_inverses = room(row_shape, np.float32), room(column_shape, np.float32)
    args = [("P", put(bits, misaligned=0 if vector == 8 else 2)), ("P", to_rows), ("P", to_columns), ("P", row_inverses),
            ("P", column_inverses), ("q", up4(rows)), ("q", rows), ("q", columns), ("q", padded)]
    name = ("fp8_squares_kernel", f"Li{vector}E") if squares else ("fp8_lines_kernel", f"Li{kind}E", f"Li{vector}E")
    module.launch(module.file.find(*name), (across, down), (SIDE_THREADS,), [args], 64 if squares else 4096)
    of_rows = block_scales(kind, x, SIDE if squares else 1, SIDE)
    of_columns = block_scales(kind, x, SIDE, SIDE if squares else 1)
    height, width = (SIDE, SIDE) if squares else (1, SIDE)
    expect_same("rows", get(to_rows, shape, np.uint8), nearest(kind, x * wide(of_rows, height, width, shape)))
    turned = np.zeros((columns, padded), np.uint8)
    turned[:, :rows] = nearest(kind, x * wide(of_columns, width, height, shape)).T
    expect_same("columns", get(to_columns, (columns, padded), np.uint8), turned)
    got_rows, got_columns = get(row_inverses, row_shape, np.float32), get(column_inverses, column_shape, np.float32)
    if squares:
        expect_same("inverse scales of rows", got_rows[:, :across], (1 / of_rows).astype(np.float32))
        return expect_same("inverse scales of columns", got_columns[:, :down], (1 / of_columns.T).astype(np.float32))
    expect_same("inverse scales of rows", got_rows[:, :rows], (1 / of_rows.T).astype(np.float32))
    return expect_same("inverse scales of columns", got_columns, (1 / of_columns).astype(np.float32))


FAST = {"fp8 blocks e4m3 by 8 sm_90a", "fp8 cast e4m3 by 8 sm_90a", "fp8 cast e4m3 by 8 sm_80"}


def cases():
    """(name, architecture, function of a bench): Hopper has an instruction for codes, and of older ones integers stand for it."""
    for arch in ("sm_80", "sm_90a"):
        for kind in (E4M3, E5M2):
            for vector in (8, 1):
                yield (f"fp8 cast {NAMES[kind]} by {vector} {arch}", arch,
                       lambda b, k=kind, v=vector: cast(b, k, v, (77, 144)))
            yield (f"fp8 cast {NAMES[kind]} unscaled {arch}", arch,
                   lambda b, k=kind: cast(b, k, 8, (16, 32), unscaled=True))
            yield (f"fp8 cast {NAMES[kind]} columns alone {arch}", arch,
                   lambda b, k=kind: cast(b, k, 8, (21, 16), both=False))
            for vector in (8, 1):
                yield (f"fp8 blocks {NAMES[kind]} by {vector} {arch}", arch,
                       lambda b, k=kind, v=vector: blocks(b, k, v, (134, 144)))
        for vector in (8, 1):
            yield (f"fp8 blocks of squares by {vector} {arch}", arch,
                   lambda b, v=vector: blocks(b, E4M3, v, (144, 272), squares=True))
