"""kernels_fixed.py - gradients as whole numbers of a unit, and sums of squares without rounding, against integers of Python."""
from fractions import Fraction

import numpy as np

from bench import Wrong, divide_up, expect_same

COUNT, EXPONENT = 700, -45


def gradients(bench, count):
    """Of both signs, many sizes, zeros and subnormal ones among them."""
    x = (bench.random.uniform(-1, 1, count) * 2.0 ** bench.random.integers(-30, 5, count)).astype(np.float32)
    x[::37], x[5::91] = 0, np.float32(2.0**-140)
    return x


def units(x):
    return np.rint(x.astype(float) * 2.0**-EXPONENT).astype(np.int64)


def add(bench, adds):
    module = bench.module("fixed")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    x, before = gradients(bench, COUNT), bench.random.integers(-(2**60), 2**60, COUNT)
    sums, blocks = put(before, writable=True), divide_up(COUNT, 256)
    largest = room(blocks, np.uint32)
    arguments = [("P", largest), ("P", sums), ("P", put(x)), ("q", COUNT), ("d", 2.0**-EXPONENT), ("?", adds)]
    module.launch(module.file.find("fixed_add_kernel"), (blocks,), (256,), arguments, 1024)
    found = get(largest, blocks, np.uint32).max().view(np.float32)
    if found != np.abs(x).max():
        raise Wrong(f"the largest is {found}, expected {np.abs(x).max()}")
    return expect_same("sums", get(sums, COUNT, np.int64), units(x) + (before if adds else 0))


def join(bench):
    module = bench.module("fixed")
    put, get = module.memory.put, module.memory.get
    a, b = (bench.random.integers(-(2**61), 2**61, COUNT) for _ in range(2))
    sums = put(a, writable=True)
    arguments = [("P", sums), ("P", put(b)), ("q", COUNT)]
    module.launch(module.file.find("fixed_join_kernel"), (divide_up(COUNT, 256),), (256,), arguments)
    return expect_same("sums", get(sums, COUNT, np.int64), a + b)


def read(bench):
    module = bench.module("fixed")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    sums = bench.random.integers(-(2**60), 2**60, COUNT)
    y = room(COUNT, np.float32)
    arguments = [("P", y), ("P", put(sums)), ("q", COUNT), ("d", 2.0**EXPONENT)]
    module.launch(module.file.find("fixed_read_kernel"), (divide_up(COUNT, 256),), (256,), arguments)
    want = (sums.astype(float) * 2.0**EXPONENT).astype(np.float32)
    return expect_same("y", get(y, COUNT, np.float32), want)


def squares(bench):
    """Two blocks' sums, put together by exponents as fixed.cu says they are."""
    module = bench.module("fixed")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    x = gradients(bench, 66000)
    sums = room(2 * 768, np.uint64)
    module.launch(module.file.find("exact_squares_kernel"), (2,), (256,), [("P", sums), ("P", put(x)), ("q", len(x))], 3072)
    both = get(sums, 2 * 768, np.uint64).reshape(2, 768)
    again = put(both.reshape(-1), writable=True)
    module.launch(module.file.find("exact_join_kernel"), (3,), (256,), [("P", again), ("i", 2)])
    parts = get(again, 768, np.uint64)
    expect_same("the blocks together", parts, both.sum(0))
    found = sum(Fraction(int(part)) * Fraction(2) ** (2 * (max(at // 3, 1) - 150) + 16 * (at % 3))
                for at, part in enumerate(parts))
    want = sum(Fraction(float(value)) ** 2 for value in x)
    if found != want:
        raise Wrong(f"the sum is off by {float(found - want)} of {float(want)}")
    return 0.0


FAST = {"fixed add to sums", "exact squares"}


def cases():
    """(name, architecture, function of a bench)."""
    yield "fixed add", "sm_80", lambda b: add(b, False)
    yield "fixed add to sums", "sm_80", lambda b: add(b, True)
    yield "fixed join", "sm_80", join
    yield "fixed read", "sm_80", read
    yield "exact squares", "sm_80", squares
