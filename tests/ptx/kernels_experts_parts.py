"""kernels_experts_parts.py - what is counted of a router's choices and the losses of it, experts' biases, the gated activation within
limits: cases against references in f64."""
import numpy as np

from bench import TYPES, divide_up, expect_near, expect_same, whole_warps
from kernels_experts import WARPS, logsumexp, softmax
from kernels_flat import flat

COUNT_WARPS, BIAS_THREADS, BIAS_BATCH, SUM_WARPS = 16, 256, 4, 8


def sequences_of(bench, rows, sequences, mixed):
    """Whose row each is, some of nobody; mixed: in no order."""
    of_row = np.arange(rows) * sequences // rows
    of_row[bench.random.integers(0, rows, divide_up(rows, 5))] = -1
    return bench.random.permutation(of_row).astype(np.int32) if mixed else of_row.astype(np.int32)


def route_count(bench, rows, experts, chosen, sequences, mixed):
    module = bench.module("experts_counts")
    put, get = module.memory.put, module.memory.get
    z, of_row = bench.normal((rows, experts)), sequences_of(bench, rows, sequences, mixed)
    choices = np.argsort(-z, 1, kind="stable")[:, :chosen]
    lse = logsumexp(z.astype(float))
    sources = np.argsort(choices.ravel(), kind="stable").astype(np.int32)
    starts = np.searchsorted(choices.ravel()[sources], np.arange(experts + 1)).astype(np.int32)
    want = np.ones((sequences, experts), np.int32)
    shares, squares = np.ones((sequences, experts)), np.ones(sequences)
    for row in np.flatnonzero(of_row >= 0):
        want[of_row[row], choices[row]] += 1
        shares[of_row[row]] += softmax(z[row : row + 1].astype(float))[0]
        squares[of_row[row]] += lse[row] ** 2
    out = [put(np.ones((sequences, experts), np.int32), writable=True), put(np.ones(experts, np.uint32), writable=True),
           put(np.ones((sequences, experts), np.float32), writable=True), put(np.ones(sequences, np.float32), writable=True)]
    read = [put(x) for x in (z, lse.astype(np.float32), of_row, sources, starts)]
    module.launch(module.file.find("route_count_kernel"), (sequences, divide_up(experts, 32)), (32, COUNT_WARPS),
                  [[*(("P", x) for x in out + read), ("q", rows), ("i", experts), ("i", chosen)]], COUNT_WARPS * 32 * 8)
    expect_same("chosen", get(out[0], want.shape, np.int32), want)
    expect_same("load", get(out[1], experts, np.uint32), (want - 1).sum(0) + 1)
    expect_near("squares", get(out[3], sequences, np.float32), squares, 2e-6, 0)
    return expect_near("shares", get(out[2], want.shape, np.float32), shares, 3e-6, 0)


def losses_gradient(bench, rows, experts, sequences):
    module = bench.module("experts_counts")
    put, get = module.memory.put, module.memory.get
    z, dz, of_row = bench.normal((rows, experts)), bench.normal((rows, experts)), sequences_of(bench, rows, sequences, True)
    factors = bench.normal((sequences, 2))
    chosen = bench.random.integers(0, 9, (sequences, experts)).astype(np.int32)
    out = put(dz, writable=True)
    module.launch(module.file.find("route_losses_backward_kernel"), (divide_up(rows, WARPS),), (32, WARPS),
                  [[("P", out), ("P", put(z)), ("P", put(factors)), ("P", put(chosen)), ("P", put(of_row)), ("q", rows),
                    ("i", experts)]], WARPS * experts * 4)
    p, n, f = softmax(z.astype(float)), chosen[of_row].astype(float), factors[of_row].astype(float)
    more = p * (f[:, :1] * (n - (p * n).sum(1, keepdims=True)) + 2 * f[:, 1:] * logsumexp(z.astype(float))[:, None])
    found, own = get(out, dz.shape, np.float32), of_row >= 0
    expect_same("rows of nobody", found[~own], dz[~own])
    return expect_near("dlogits", found[own], (dz + more)[own], 4e-6, 4e-6)


def places_of(counts):
    """starts, and the expert of each place."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32), np.repeat(np.arange(len(counts)), counts)


def bias(bench, t, counts, width):
    module = bench.module("experts_bias")
    put, get = module.memory.put, module.memory.get
    starts, expert = places_of(counts)
    (y, vy), (b, vb) = bench.stored(t, (len(expert), width)), bench.stored(t, (len(counts), width))
    out, n = put(y, writable=True), t.vector if width % t.vector == 0 else 1
    packs = divide_up(width, n)
    threads = whole_warps(divide_up(packs, divide_up(packs, BIAS_THREADS * BIAS_BATCH) * BIAS_BATCH), BIAS_THREADS)
    module.launch(module.file.find("grouped_bias_kernel", t.mangled, f"Li{n}E"),
                  (len(expert), divide_up(packs, threads * BIAS_BATCH)), (threads,),
                  [[("P", out), ("P", put(b)), ("P", put(starts)), ("q", width), ("i", len(counts))]])
    return expect_near("y", t.values(get(out, y.shape, t.dtype)), vy + vb[expert], 1.01 * t.rounding, 1e-7)


def bias_gradient(bench, t, counts, width):
    module = bench.module("experts_bias")
    put, get = module.memory.put, module.memory.get
    starts, expert = places_of(counts)
    dy, values = bench.stored(t, (len(expert), width))
    db = bench.normal((len(counts), width))
    out, n = put(db, writable=True), t.vector if width % t.vector == 0 else 1
    module.launch(module.file.find("grouped_bias_sums_kernel", t.mangled, f"Li{n}E"),
                  (divide_up(width, 32 * n), len(counts)), (32, SUM_WARPS),
                  [[("P", out), ("P", put(dy)), ("P", put(starts)), ("q", width)]], SUM_WARPS * 32 * n * 4)
    want = db.astype(float)
    np.add.at(want, expert, values)
    found = get(out, db.shape, np.float32)
    expect_same("experts without places", found[np.array(counts) == 0], db[np.array(counts) == 0])
    return expect_near("db", found, want, 1e-6, 1e-6 * np.sqrt(max(counts)))


ALPHA, LIMIT = 1.702, 1.25


def clamped_parts(pairs):
    """Gate and up within limits, the sigmoid, and which are outside."""
    gate, up = pairs[0::2], pairs[1::2]
    g, u = np.minimum(gate, LIMIT), np.clip(up, -LIMIT, LIMIT)
    return g, u, 1 / (1 + np.exp(-ALPHA * g)), gate > LIMIT, np.abs(up) > LIMIT


def clamped(bench, t, count, misaligned):
    module = bench.module("clamped")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    x, vx = bench.stored(t, 2 * count)
    at = [room(count, t.dtype, misaligned * t.size), put(x, misaligned=2 * misaligned * t.size)]
    op = [("P", at[0]), ("P", at[1]), [("f", ALPHA), ("f", LIMIT)]]
    flat(module, "18clamped_forward_opI", [t.mangled, "E"], op, count, [t.size, 2 * t.size], at, t.vector // 2, 4)
    g, u, s, _, _ = clamped_parts(vx)
    return expect_near("y", t.values(get(at[0], count, t.dtype)), (u + 1) * g * s, 1.01 * t.rounding + 2e-6, 1e-7)


def clamped_gradient(bench, t, count, misaligned):
    """In place."""
    module = bench.module("clamped")
    put, get = module.memory.put, module.memory.get
    (x, vx), (dy, vdy) = bench.stored(t, 2 * count), bench.stored(t, count)
    in_place = put(x, writable=True, misaligned=2 * misaligned * t.size)
    at = [in_place, put(dy, misaligned=misaligned * t.size), in_place]
    op = [*(("P", x) for x in at), [("f", ALPHA), ("f", LIMIT)]]
    flat(module, "19clamped_backward_opI", [t.mangled, "E"], op, count, [2 * t.size, t.size, 2 * t.size], at, t.vector // 2, 2)
    g, u, s, over, far = clamped_parts(vx)
    want = np.empty_like(vx)
    want[0::2] = np.where(over, 0, vdy * (u + 1) * s * (1 + ALPHA * g * (1 - s)))
    want[1::2] = np.where(far, 0, vdy * g * s)
    return expect_near("dgate_up", t.values(get(in_place, 2 * count, t.dtype)), want, 1.01 * t.rounding + 4e-6, 1e-6)


SEEDS = [0, 1, 2]
FAST = {"route counts 137 of 3"}


def cases():
    """(name, architecture, function of a bench)."""
    for rows, sequences, mixed in ((137, 3, False), (700, 2, True)):
        for experts, chosen in ((6, 2), (70, 5)):
            name = f"route counts {rows} of {sequences}" + (f", {experts} experts" if experts > 6 else "")
            arguments = rows, experts, chosen, sequences, mixed
            yield name, "sm_80", lambda b, a=arguments: route_count(b, *a)
    for experts in (6, 70):
        yield f"losses' gradient {experts}", "sm_80", lambda b, e=experts: losses_gradient(b, 9, e, 3)
    for t in TYPES:
        for counts, width in (([3, 0, 40, 1], 264), ([0, 7] + [0] * 33 + [2], 37)):
            yield f"bias {t.name} {width}", "sm_80", lambda b, a=(t, counts, width): bias(b, *a)
            yield f"bias gradient {t.name} {width}", "sm_80", lambda b, a=(t, counts, width): bias_gradient(b, *a)
        yield f"bias {t.name} of a wide row", "sm_80", lambda b, t=t: bias(b, t, [1, 2], 8 * 1024 + 64)
        for misaligned in (0, 1, 3):
            arguments = t, 5001, misaligned
            yield f"clamped {t.name} from {misaligned}", "sm_80", lambda b, a=arguments: clamped(b, *a)
            yield f"clamped gradient {t.name} from {misaligned}", "sm_80", lambda b, a=arguments: clamped_gradient(b, *a)
