"""kernels_packed.py - stored codes and scales into values: NF4, NF4 with nested scales, E4M3 and int8; values into int8."""
import numpy as np

from bench import TYPES, divide_up, expect_near, expect_same

NF4, NF4_DOUBLE, FP8, INT8 = range(4)
NAMES = ["nf4", "nf4 double", "fp8", "int8"]
NESTED = 256  # blocks of a nested scale, and its codes


def e4m3(codes):
    """Values of E4M3 (sign, 4 bits with bias 7, 3 bits), finite codes."""
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent.astype(int) - 7))
    return np.where(codes & 128, -value, value)


class Blobs:
    """Random codes and scales of `count` blobs of `size` values, their bytes and values in f64."""

    def __init__(self, random, kind, count, size):
        is_nf4 = kind in (NF4, NF4_DOUBLE)
        self.size, block = size, 64 if is_nf4 else 128
        blocks = size // block
        self.map = np.sort(random.uniform(-1, 1, 16)).astype(np.float32)
        self.nested_map, self.offset = random.uniform(-1, 1, NESTED).astype(np.float32), np.float32(0.3)
        codes = random.integers(0, 16 if is_nf4 else 256, (count, size)).astype(np.uint8)
        codes = np.where(codes & 127 == 127, 0, codes) if kind == FP8 else codes
        packed = codes[:, 0::2] << 4 | codes[:, 1::2] if is_nf4 else codes
        self.scales_at = packed.shape[1]
        scales, parts = random.uniform(0.5, 2, (count, blocks)).astype(np.float32), [packed]
        if kind == NF4_DOUBLE:
            nested = random.uniform(0.5, 2, (count, blocks // NESTED)).astype(np.float32)
            inner = random.integers(0, NESTED, (count, blocks)).astype(np.uint8)
            parts += [inner, nested.view(np.uint8)]
            scales = self.nested_map[inner] * np.repeat(nested, NESTED, 1) + self.offset
        else:
            parts.append(scales.view(np.uint8))
        self.nested_at = self.scales_at + blocks * (1 if kind == NF4_DOUBLE else 4)
        bytes_ = np.concatenate(parts, 1)
        self.bytes = np.pad(bytes_, ((0, 0), (0, -bytes_.shape[1] % 256)))
        plain = self.map[codes] if is_nf4 else e4m3(codes) if kind == FP8 else codes.view(np.int8)
        self.values = (plain.astype(float) * np.repeat(scales, block, 1)).reshape(-1)


def dequantise(bench, t, kind, first, count):
    module = bench.module("packed")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    blobs = Blobs(bench.random, kind, 3, 16384 if kind == NF4_DOUBLE else 2048)
    y = room(count, t.dtype)
    op = [("P", y), ("P", put(blobs.bytes)), ("q", blobs.size), ("q", blobs.bytes.shape[1]), ("q", blobs.scales_at),
          ("q", blobs.nested_at), ("q", first), ("P", put(blobs.nested_map)), ("f", blobs.offset), ("I", 0)]
    kernel = module.file.find("dequantise_kernel", t.mangled, f"Li{kind}E")
    arguments = [op, [("q", count), ("q", 0), ("?", True)], [("f", value) for value in blobs.map]]
    module.launch(kernel, (divide_up(count, 512 * t.vector),), (256,), arguments, 64)
    want = blobs.values[first : first + count]
    return expect_near("values", t.values(get(y, count, t.dtype)), want, t.rounding * 1.001 + 3e-7, 1e-7)


def quantise(bench):
    """Codes, scales and what is lost of 3 rows of 5 blocks, something of which is owed, as IEEE's rules have each step."""
    module = bench.module("quantise")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    rows, blocks, block = 3, 5, 128
    x = bench.random.normal(size=(rows * blocks, block)).astype(np.float32) * (2.0 ** np.arange(-7, 8)).astype(np.float32)[:, None]
    x[2], owed = 0, (x * np.float32(0.01)).astype(np.float32)
    blob_bytes = (blocks * block + 4 * blocks + 255) // 256 * 256
    blobs, lost = room(rows * blob_bytes, np.uint8), put(owed, True)
    op = [("P", blobs), ("P", put(x)), ("P", lost), ("q", rows * blocks), ("q", blocks), ("q", blob_bytes), ("q", blocks * block)]
    module.launch(module.file.find("quantise_kernel"), (divide_up(rows * blocks, 8),), (256,), [op], 0)
    v = x + owed
    scale = np.maximum(np.abs(v).max(1) / np.float32(127), np.float32(2.0**-126)).astype(np.float32)
    codes = np.rint(v / scale[:, None]).astype(np.float32)
    found = get(blobs, rows * blob_bytes, np.uint8).reshape(rows, blob_bytes)
    ends = blocks * block, blocks * block + 4 * blocks
    expect_same("codes", found[:, : ends[0]].copy().view(np.int8).reshape(v.shape), codes.astype(np.int8))
    expect_same("scales", found[:, ends[0] : ends[1]].copy().view(np.float32).reshape(-1), scale)
    return expect_same("lost", get(lost, v.size, np.float32).reshape(v.shape), v - codes * scale[:, None])


FAST = set()


def cases():
    """(name, architecture, function of a bench)."""
    yield "quantise", "sm_80", quantise
    for t in TYPES:
        for kind in range(4):
            for first in (0, 5):
                yield (f"dequantise {NAMES[kind]} {t.name} from {first}", "sm_80",
                       lambda b, t=t, k=kind, f=first: dequantise(b, t, k, f, 5003))
