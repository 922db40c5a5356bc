"""kernels_flat.py - ops that work element by element, columns, lengths of rows: cases against references in f64."""
import numpy as np

from bench import BF16, F16, F32, TYPES, divide_up, expect_near, expect_same
from philox import bf16_at_random, philox

COUNT = 9001  # some whole tiles, a part of one, single elements at the end


def flat(module, name, template, op, count, element_bytes, addresses, width, batch):
    """A flat kernel, with the range that its launcher works out."""
    head = next((h for h in range(width)
                 if all((a + h * e) % (width * e) == 0 for a, e in zip(addresses, element_bytes))), None)
    tile = 256 * width * batch
    first = head or 0
    tiles = (1 if first else 0) + divide_up(count - first, tile)
    bounds = [("q", count), ("q", first), ("?", head is not None)]
    module.launch(module.file.find("flat_kernel", name, *template), (tiles,), (256,), [op, bounds])


def spelled(*types):
    """Template arguments as they are mangled: a type that was named before is a substitution."""
    seen, parts = [], []
    for type_ in types:
        parts.append("S1_" if type_ is not F32 and type_ in seen else type_.mangled)
        seen.append(type_)
    return parts


def add(bench, t, misaligned):
    module = bench.module("pointwise")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    (a, va), (b, vb) = bench.stored(t, COUNT), bench.stored(t, COUNT)
    at = [room(COUNT, t.dtype, misaligned * t.size)] + [put(x, misaligned=misaligned * t.size) for x in (a, b)]
    flat(module, "6add_opI", [t.mangled, "E"], [("P", x) for x in at], COUNT, [t.size] * 3, at, t.vector, 4)
    return expect_near("y", t.values(get(at[0], COUNT, t.dtype)), va + vb, t.rounding * 1.001, 1e-9)


def axpby(bench, types, b):
    to, source = types
    module = bench.module("pointwise")
    put, get = module.memory.put, module.memory.get
    (y, vy), (x, vx) = bench.stored(to, COUNT), bench.stored(source, COUNT)
    at = [put(y, writable=True), put(x)]
    op = [("P", at[0]), ("P", at[1]), ("f", 0.75), ("f", b)]
    flat(module, "8axpby_opI", [*spelled(to, source), "E"], op, COUNT, [to.size, source.size], at, 4, 4)
    return expect_near("y", to.values(get(at[0], COUNT, to.dtype)), 0.75 * vx + b * vy, to.rounding * 1.01 + 1e-7, 3e-7)


def cast(bench, types):
    to, source = types
    module = bench.module("pointwise")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    x, vx = bench.stored(source, COUNT, 100.0)
    at = [room(COUNT, to.dtype), put(x)]
    flat(module, "7cast_opI", [*spelled(to, source), "E"], [("P", at[0]), ("P", at[1])], COUNT,
         [to.size, source.size], at, 4, 8)
    return expect_same("y", get(at[0], COUNT, to.dtype), to.to_bits(vx.astype(np.float32)))


def relu2(bench, t, backward):
    module = bench.module("activation")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    (x, vx), (dy, vdy) = bench.stored(t, COUNT), bench.stored(t, COUNT)
    at = [room(COUNT, t.dtype), put(x)] + ([put(dy)] if backward else [])
    op = [("P", at[0]), ("P", at[1]), ("P", at[2] if backward else 0)]
    flat(module, "6act_opI", [t.mangled, "L3act0E", "E"], op, COUNT, [t.size] * len(at), at, t.vector, 4)
    want = vdy * 2 * np.maximum(vx, 0) if backward else np.maximum(vx, 0) ** 2
    return expect_near("y", t.values(get(at[0], COUNT, t.dtype)), want, t.rounding * 1.01 + 1e-7, 1e-7)


FACTORS = {"beta1": 0.9, "beta2": 0.95, "grad_scale": 0.5, "keep": 0.999, "step_size": 3e-3, "inv_root": 1.7, "eps": 1e-8}


def adamw(bench, moments, copy, copied, first):
    module = bench.module("update")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    w, dw = bench.normal(COUNT), bench.normal(COUNT)
    (m, vm), (v, vv) = bench.stored(moments, COUNT, 0.1), bench.stored(moments, COUNT, 0.001, 0.01)
    at = [put(w, writable=True), put(m, writable=True), put(v, writable=True), room(COUNT, copy.dtype), put(dw)]
    seed, stream = 0x123456789ABCDEF, 5 << 32 | 77
    op = [("P", at[0]), ("P", at[1]), ("P", at[2]), ("P", at[3] if copied else 0), ("P", at[4]),
          [("f", value) for value in FACTORS.values()], ("Q", seed), ("Q", stream), ("q", first)]
    sizes = [4, moments.size, moments.size, copy.size, 4]
    used = [0, 4, 1, 2] + ([3] if copied else [])
    flat(module, "8adamw_opI", [*spelled(moments, copy), "E"], op, COUNT, [sizes[i] for i in used],
         [at[i] for i in used], 4, 2)
    f = {name: np.float64(np.float32(value)) for name, value in FACTORS.items()}
    g = f["grad_scale"] * dw.astype(float)
    want_m, want_v = f["beta1"] * vm + (1 - f["beta1"]) * g, f["beta2"] * vv + (1 - f["beta2"]) * g * g
    want_w = w * f["keep"] - f["step_size"] * want_m / (np.sqrt(want_v) * f["inv_root"] + f["eps"])
    new_w = get(at[0], COUNT, np.float32)
    if copied:
        expect_same("copy", get(at[3], COUNT, copy.dtype), copy.to_bits(new_w))
    words = philox(seed, stream, first + np.arange(COUNT))
    for name, place, want, shift in (("m", at[1], want_m, 0), ("v", at[2], want_v, 16)):
        found = get(place, COUNT, moments.dtype)
        if moments is F32:
            expect_near(name, found, want, 3e-7, 1e-8)
        else:
            expect_at_random(name, found, want, words >> np.uint32(shift))
    return expect_near("w", new_w, want_w, 3e-7, 1e-8)


def expect_at_random(name, found, want, words):
    """Rounded by these random bits, of a value that may be off by an ulp of f32: then a step of bf16, rarely."""
    exact = bf16_at_random(want.astype(np.float32), words)
    other = np.abs(found.astype(int) - exact.astype(int))
    if other.max() > 1 or (other != 0).mean() > 2e-3:
        expect_same(name, found, exact)


def sum_squares(bench, t, count):
    module = bench.module("update")
    x, vx = bench.stored(t, count)
    at, blocks = module.memory.put(x), min(1024, max(1, divide_up(count, 256 * t.vector * 4)))
    sums = module.memory.room(blocks, np.float64)
    arguments = [("P", sums), ("P", at), [("q", count), ("q", 0), ("?", True)], ("q", divide_up(count, 1024 * t.vector))]
    module.launch(module.file.find("sum_squares_kernel", t.mangled), (blocks,), (256,), arguments, 2048)
    return expect_near("sum", module.memory.get(sums, blocks, np.float64).sum(), (vx**2).sum(), 1e-13, 0)


def dropout(bench, t, width, adds, rows=5):
    module = bench.module("dropout")
    put, get = module.memory.put, module.memory.get
    (x, vx), (y, vy) = bench.stored(t, (rows, width)), bench.stored(t, (rows, width))
    places = bench.random.integers(0, 1000, rows).astype(np.int32)
    seed, stream, below, scale = 99, 7 << 32 | 3, 1 << 30, np.float32(4 / 3)
    at, n = put(y, writable=True), 4 if width % 4 == 0 else 1
    call = [("P", at), ("P", put(x)), ("P", put(places)), ("q", width), ("Q", seed), ("Q", stream),
            [("I", below), ("f", scale)], ("?", adds)]
    kernel = module.file.find("dropout_kernel", t.mangled, f"Li{n}E")
    module.launch(kernel, (rows, divide_up(width, 512)), (128,), [call])
    words = np.stack([philox(seed, stream, (int(place) << 34) + np.arange(width)) for place in places])
    want = np.where(words < below, 0, vx * float(scale)) + (vy if adds else 0)
    return expect_near("y", t.values(get(at, x.shape, x.dtype)), want, t.rounding * 1.01 + 1e-7, 1e-7)


def columns(bench, t, width, adds, rows=7):
    module = bench.module("columns")
    put, get = module.memory.put, module.memory.get
    (x, vx), (y, vy) = bench.stored(t, (rows, width)), bench.stored(t, (rows, width + 16))
    at, n = put(y, writable=True), t.vector if width % t.vector == 0 else 1
    call = [("P", at + 8 * t.size), ("P", put(x)), ("q", width + 16), ("q", width), ("q", width), ("f", 0.75), ("?", adds)]
    kernel = module.file.find("column_move_kernel", t.mangled, f"Li{n}E")
    module.launch(kernel, (rows, divide_up(width, 128 * n)), (128,), [call])
    want = vy.copy()
    want[:, 8 : 8 + width] = 0.75 * vx + (vy[:, 8 : 8 + width] if adds else 0)
    return expect_near("y", t.values(get(at, y.shape, y.dtype)), want, t.rounding * 1.01 + 1e-7, 1e-7)


def column_sums(bench, t, rows, width):
    module = bench.module("columns")
    put, get = module.memory.put, module.memory.get
    x, vx = bench.stored(t, (rows, width))
    before = bench.normal(width)
    at = put(before, writable=True)
    arguments = [("P", at), ("P", put(x)), ("q", rows), ("q", width)]
    module.launch(module.file.find("column_sums_kernel", t.mangled), (divide_up(width, 32),), (32, 8), arguments, 1024)
    return expect_near("sums", get(at, width, np.float32), before + vx.sum(0), 1e-6, 1e-5)


def row_norms(bench, t, rows, width):
    module = bench.module("magnitude")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    (w, vw), delta = bench.stored(t, (rows, width)), bench.normal((rows, width))
    norms = room(rows, np.float32)
    arguments = [("P", norms), ("P", put(w)), ("P", put(delta)), ("q", width), ("f", 0.5)]
    module.launch(module.file.find("row_norms_kernel", t.mangled), (rows,), (256,), arguments, 32)
    want = np.sqrt(((vw + 0.5 * delta) ** 2).sum(1))
    return expect_near("norms", get(norms, rows, np.float32), want, t.rounding * 1.01 + 1e-6, 0)


def magnitude(bench, t, backward, rows=21, width=90, first=8, count=70):
    module = bench.module("magnitude")
    put, get = module.memory.put, module.memory.get
    (y, vy), (z, vz) = bench.stored(t, (rows, width)), bench.stored(t, (rows, width))
    lengths, vlengths = bench.stored(t, count)
    norms, before = np.abs(bench.normal(count)) + 0.5, bench.normal(count)
    norms[3] = 0
    at, sums = put(y, writable=True), put(before, writable=True)
    call = [("P", at + first * t.size), ("P", put(z) + first * t.size if backward else 0), ("P", put(lengths)),
            ("P", put(norms)), ("P", sums if backward else 0), ("q", rows), ("q", width), ("q", count)]
    module.launch(module.file.find("magnitude_kernel", t.mangled), (divide_up(count, 32),), (32, 8), [call], 1024)
    inverse = np.where(norms > 0, 1 / np.where(norms > 0, norms, 1).astype(float), 0)
    want, own = vy.copy(), slice(first, first + count)
    want[:, own] *= vlengths * inverse
    if backward:
        slope = (vy[:, own] * vz[:, own]).sum(0) * inverse
        expect_near("dlengths", get(sums, count, np.float32), before + slope, 2e-6, 1e-5)
    return expect_near("y", t.values(get(at, y.shape, y.dtype)), want, t.rounding * 1.01 + 3e-7, 1e-7)


def xielu(bench, t, backward):
    module = bench.module("xielu")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    (x, vx), (dy, vdy) = bench.stored(t, COUNT), bench.stored(t, COUNT)
    bits = t.to_bits(np.array([0.8, -0.3, 0.5, -1e-6], np.float32))
    alpha_p, alpha_n, beta, eps = t.values(bits).astype(float)
    at, out = put(bits), room(COUNT, t.dtype)
    values = [("P", at + i * t.size) for i in range(4)]
    places = [out, put(x)]
    positive, negative = np.log1p(np.exp(alpha_p)), beta + np.log1p(np.exp(alpha_n))
    grown = np.expm1(np.minimum(vx, eps))
    if not backward:
        op = [("P", out), ("P", places[1]), values]
        flat(module, "16xielu_forward_opI", [t.mangled, "E"], op, COUNT, [t.size] * 2, places, t.vector, 2)
        want = np.where(vx > 0, positive * vx * vx, negative * (grown - vx)) + beta * vx
        return expect_near("y", t.values(get(out, COUNT, t.dtype)), want, t.rounding * 1.01 + 1e-6, 1e-6)
    tiles, blocks = divide_up(COUNT, 512 * t.vector), 3
    partial, sums = room((blocks, 2), np.float32), put(np.array([1.5, -2.5], np.float32), writable=True)
    op = [("P", out), ("P", put(dy)), ("P", places[1]), [("f", 0.0)] * 4, ("f", 0.0), ("f", 0.0)]
    bounds = [("q", COUNT), ("q", 0), ("?", True)]
    kernel = module.file.find("xielu_backward_kernel", t.mangled)
    module.launch(kernel, (blocks,), (256,), [op, values, bounds, ("q", tiles), ("P", partial)], 64)
    arguments = [("P", sums), ("P", sums + 4), ("P", partial), ("i", blocks), values]
    module.launch(module.file.find("xielu_sums_kernel", t.mangled), (1,), (32,), arguments)
    slope = np.where(vx > 0, 2 * positive * vx, negative * np.where(vx >= eps, -1, grown)) + beta
    above, below = (vdy * np.maximum(vx, 0) ** 2).sum(), np.where(vx > 0, 0, vdy * (grown - vx)).sum()
    want = [1.5 + above / (1 + np.exp(-alpha_p)), -2.5 + below / (1 + np.exp(-alpha_n))]
    expect_near("dalpha", get(sums, 2, np.float32), want, 1e-5, 1e-4)
    return expect_near("dx", t.values(get(out, COUNT, t.dtype)), vdy * slope, t.rounding * 1.01 + 1e-6, 1e-6)


FAST = {"adamw bf16 to bf16 copied 1 first 3"}


def cases():
    """(name, architecture, function of a bench)."""
    for t in TYPES:
        for k in (0, 1):
            yield f"add {t.name} misaligned {k}", "sm_80", lambda b, t=t, k=k: add(b, t, k)
            yield f"relu2 {t.name} backward {k}", "sm_80", lambda b, t=t, k=k: relu2(b, t, k)
            yield f"xielu {t.name} backward {k}", "sm_80", lambda b, t=t, k=k: xielu(b, t, k)
            yield f"magnitude {t.name} backward {k}", "sm_80", lambda b, t=t, k=k: magnitude(b, t, k)
            for width in (256, 1036, 77):
                yield f"dropout {t.name} {width} adds {k}", "sm_80", lambda b, t=t, k=k, w=width: dropout(b, t, w, bool(k))
                yield f"columns {t.name} {width} adds {k}", "sm_80", lambda b, t=t, k=k, w=width: columns(b, t, w, bool(k))
        yield f"column sums {t.name}", "sm_80", lambda b, t=t: column_sums(b, t, 37, 100)
        yield f"row norms {t.name}", "sm_80", lambda b, t=t: row_norms(b, t, 3, 700)
        yield f"sum of squares {t.name}", "sm_80", lambda b, t=t: sum_squares(b, t, 40000)
        for source in TYPES:
            pair = t, source
            yield f"cast {source.name} to {t.name}", "sm_80", lambda b, p=pair: cast(b, p)
            if t is source or F32 in pair:
                for factor in (0.0, -1.5):
                    yield (f"axpby {source.name} to {t.name} {factor}", "sm_80",
                           lambda b, p=pair, f=factor: axpby(b, p, f))
    for moments in (F32, BF16):
        for copy in (BF16, F16):
            for copied in (0, 1):
                for first in (0, 3):
                    yield (f"adamw {moments.name} to {copy.name} copied {copied} first {first}", "sm_80",
                           lambda b, m=moments, c=copy, k=copied, f=first: adamw(b, m, c, k, f))
