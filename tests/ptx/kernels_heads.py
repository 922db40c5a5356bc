"""kernels_heads.py - attention without tensor cores, with a cache, with sinks; QK-norm with its rotation."""
import numpy as np

from bench import F32, TYPES, divide_up, expect_near, expect_relative, expect_same
from kernels_attention import OPTIONS, Problem, Statistics, check_forward, check_gradients
from kernels_rows import RMS, RMS_ONCE, norm_backward_reference, rotate, rounded

NO_STATISTICS = [("P", 0), ("P", 0), ("P", 0), ("P", 0), ("q", 0)]


def plain_forward(bench, t, width, **options):
    problem = Problem(bench, t, width, **options)
    module = bench.module("attention_plain")
    out, lse = module.memory.room(problem.out.shape, t.dtype), module.memory.room(problem.lse.shape, np.float32)
    job = [problem.place(module), NO_STATISTICS, ("P", 0), ("P", out), ("P", lse)]
    kernel = module.file.find("attention_plain", t.mangled)
    module.launch(kernel, (problem.heads, divide_up(problem.rows, 16)), (128,), [job], 80 * (width + 1) * 4)
    return check_forward(problem, module, out, lse)


def plain_backward(bench, t, width, **options):
    problem = Problem(bench, t, width, **options)
    module = bench.module("attention_plain")
    described = problem.place(module)
    statistics = Statistics(bench, problem, module)
    dqkv = module.memory.room(problem.qkv.shape, t.dtype)
    job = [described, statistics.struct, ("P", statistics.dout), ("P", dqkv), ("P", 0)]
    for name, heads in (("attention_plain_keys", problem.kv_heads), ("attention_plain_queries", problem.heads)):
        kernel = module.file.find(name, t.mangled)
        module.launch(kernel, (heads, divide_up(problem.rows, 16)), (128,), [job], 96 * (width + 1) * 4)
    return check_gradients(problem, module, dqkv)


def cached(bench, t, width, past, softcap=0.0, tokens=3, heads=4, kv_heads=2):
    module = bench.module("attention_cached")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    cache = (past + tokens + 2, kv_heads, width)
    (k, vk), (v, vv) = bench.stored(t, cache), bench.stored(t, cache)
    qkv, vqkv = bench.stored(t, (tokens, heads + 2 * kv_heads, width))
    k_at, v_at = put(k, writable=True), put(v, writable=True)
    out, lse = room((tokens, heads, width), t.dtype), room((tokens, heads), np.float32)
    scale = width**-0.5
    job = [("P", out), ("P", lse), ("P", put(qkv)), ("P", k_at), ("P", v_at), ("q", past), ("i", heads),
           ("i", kv_heads), ("i", width), ("f", scale), ("f", softcap)]
    pairs = tokens * kv_heads * width // 2
    module.launch(module.file.find("attention_fill_cache", t.mangled), (divide_up(pairs, 256),), (256,),
                  [job, ("q", pairs)])
    module.launch(module.file.find("attention_cached", t.mangled), (heads * tokens,), (512,), [job],
                  16 * (width + 2) * 4)
    new = slice(past, past + tokens)
    k[new], v[new] = qkv[:, heads : heads + kv_heads], qkv[:, heads + kv_heads :]
    vk[new], vv[new] = vqkv[:, heads : heads + kv_heads], vqkv[:, heads + kv_heads :]
    expect_same("keys", get(k_at, cache, t.dtype), k)
    expect_same("values", get(v_at, cache, t.dtype), v)
    group = heads // kv_heads
    scores = np.einsum("thd,khd->htk", vqkv[:, :heads], np.repeat(vk, group, 1)) * scale
    scores = softcap * np.tanh(scores / softcap) if softcap else scores
    seen = np.arange(len(vk)) <= past + np.arange(tokens)[:, None]
    exponentials = np.where(seen, np.exp(scores), 0)
    total = exponentials.sum(-1, keepdims=True)
    want = np.einsum("htk,khd->thd", exponentials / total, np.repeat(vv, group, 1))
    expect_near("lse", get(lse, (tokens, heads), np.float32), np.log(total[..., 0]).T, 2e-6, 4e-6)
    bound = max(t.rounding * 0.75, 2e-6)
    return expect_relative("out", t.values(get(out, want.shape, t.dtype)), want, bound) / bound


def sinks(bench, t, width, rows=9, heads=3):
    module = bench.module("attention_sinks")
    put, room, get = module.memory.put, module.memory.room, module.memory.get
    (out, vout), (dout, vdout) = bench.stored(t, (rows, heads, width)), bench.stored(t, (rows, heads, width))
    s, vs = bench.stored(t, heads)
    lse, before = bench.normal((rows, heads)), bench.normal(heads)
    out_at, lse_at, ds = put(out, writable=True), put(lse, writable=True), put(before, writable=True)
    job = [("P", out_at), ("P", lse_at), ("P", put(s)), ("q", rows * heads), ("i", heads), ("i", width)]
    n = t.vector if width % t.vector == 0 else 1
    module.launch(module.file.find("sink_scale_kernel", t.mangled, f"Li{n}E"), (divide_up(out.size, 256 * n),), (256,),
                  [job])
    module.launch(module.file.find("sink_join_kernel", t.mangled), (divide_up(rows * heads, 256),), (256,), [job])
    factor = 1 / (1 + np.exp(vs - lse))
    found = t.values(get(out_at, out.shape, t.dtype))
    used = expect_near("out", found, vout * factor[..., None], t.rounding * 1.01 + 1e-6, 1e-7)
    joined = get(lse_at, lse.shape, np.float32)
    expect_near("lse", joined, np.logaddexp(lse.astype(float), vs), 1e-6, 1e-6)
    arguments = [("P", ds), ("P", put(dout)), job]
    module.launch(module.file.find("sink_backward_kernel", t.mangled), (heads,), (32, 16), arguments, 64)
    dots = (vdout * found).sum(-1)
    expect_near("ds", get(ds, heads, np.float32), before - (np.exp(vs - joined) * dots).sum(0), 1e-5, 2e-5)
    return used


class QkNorm:
    """Queries and keys of some rows.  together: all heads of a kind are one piece; half: pairs that turn."""

    def __init__(self, bench, t, width, together, half, pairs, rows=7, heads=5, kv_heads=2):
        self.t, self.width, self.rows, self.half, self.pairs = t, width, rows, half, pairs
        self.counts = [heads, kv_heads]
        self.module = bench.module("qk_norm")
        self.put, self.room, self.get = (getattr(self.module.memory, name) for name in ("put", "room", "get"))
        self.x, self.values = bench.stored(t, (rows, heads + 2 * kv_heads, width))
        self.sizes = [count * width if together else width for count in self.counts]
        self.weights = [bench.stored(t, size, 0.1, 1) for size in self.sizes]
        self.pieces = [count * width // size for count, size in zip(self.counts, self.sizes)]
        self.angles = bench.random.uniform(0, 6, (20, half))
        self.positions = bench.random.integers(0, 20, rows).astype(np.int32)
        self.vectors = width % t.vector == 0 and half % t.vector == 0
        wanted, self.lanes = half // t.vector + divide_up(width - 2 * half, 2 * t.vector), 1
        while self.lanes < wanted:
            self.lanes *= 2
        if together or not self.vectors or self.lanes > 32:
            self.lanes = 0

    def call(self, heads, raw, rstd, partial, turned, offset):
        half = self.half if turned else 0
        tables = [("P", self.put(np.cos(self.angles).astype(np.float32))),
                  ("P", self.put(np.sin(self.angles).astype(np.float32))), ("P", self.put(self.positions)), ("q", 20),
                  ("i", half), ("i", int(self.pairs)), ("f", 1.0)]
        first = self.counts[0] * self.width
        kinds = [[("P", self.put(w[0])), ("i", pieces), ("i", size), ("i", at)]
                 for w, pieces, size, at in zip(self.weights, self.pieces, self.sizes, (0, first))]
        raw_width = sum(self.counts) * self.width
        return [("P", heads), ("P", raw), ("P", rstd), ("P", partial), *kinds, tables, ("q", self.rows),
                ("i", self.x.shape[1] * self.width), ("i", raw_width), ("i", self.width), ("i", self.lanes),
                ("f", 1e-5), ("f", offset)]

    def split(self, x):
        """By kind, [rows, pieces, size]."""
        middle, end = self.counts[0], sum(self.counts)
        return [part.reshape(self.rows, pieces, size) for part, pieces, size
                in zip((x[:, :middle], x[:, middle:end]), self.pieces, self.sizes)]


def qk_forward(bench, t, width, together, half, pairs, kind):
    q = QkNorm(bench, t, width, together, half, pairs)
    heads, raw = q.put(q.x, writable=True), q.room((q.rows, sum(q.counts), width), t.dtype)
    rstd, offset = q.room((q.rows, sum(q.pieces)), np.float32), 1.0 if kind == RMS_ONCE else 0.0
    call, find = [q.call(heads, raw, rstd, 0, True, offset)], q.module.file.find
    if q.lanes:
        groups = sum(divide_up(pieces, 4) for pieces in q.pieces)
        kernel = find("qk_norm_forward_kernel", t.mangled, f"L9norm_kind{kind}E")
        q.module.launch(kernel, (divide_up(q.rows * groups * q.lanes, 256),), (256,), call)
    else:
        n = t.vector if q.vectors else 1
        kernel = find("qk_norm_forward_rows_kernel", t.mangled, f"Li{n}E", f"L9norm_kind{kind}E")
        q.module.launch(kernel, (q.rows,), (256,), call, 64)
    want, statistics = [], []
    for x, (_, w) in zip(q.split(q.values), q.weights):
        r = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        y = rounded(t, x * r) * w if kind == RMS else x * r * (w + 1)
        want.append(rounded(t, y).reshape(q.rows, -1, width))
        statistics.append(r[..., 0])
    angles = q.angles[q.positions]
    want = rotate(np.concatenate(want, 1), np.cos(angles).astype(np.float32).astype(float),
                  np.sin(angles).astype(np.float32).astype(float), pairs)
    found = t.values(q.get(heads, q.x.shape, t.dtype))
    expect_near("rstd", q.get(rstd, (q.rows, sum(q.pieces)), np.float32), np.hstack(statistics), 1e-5, 0)
    expect_same("raw", q.get(raw, (q.rows, sum(q.counts), width), t.dtype), q.x[:, : sum(q.counts)])
    expect_same("values", q.get(heads, q.x.shape, t.dtype)[:, sum(q.counts) :], q.x[:, sum(q.counts) :])
    return expect_near("heads", found[:, : sum(q.counts)], want, 3 * t.rounding + 2e-6, 8 * t.rounding + 2e-6)


def qk_backward(bench, t, width, together, sms=2):
    q = QkNorm(bench, t, width, together, 0, 0)
    dy, vdy = bench.stored(t, q.x.shape)
    rstds = [1 / np.sqrt((x**2).mean(-1) + 1e-5) for x in q.split(q.values)]
    heads, raw = q.put(dy, writable=True), q.put(q.x[:, : sum(q.counts)])
    rstd = q.put(np.hstack(rstds).astype(np.float32))
    blocks = min(q.rows, sms)
    partial = q.put(np.zeros(4 * sum(q.sizes), np.float32), writable=True)
    if q.lanes:
        blocks = min(divide_up(q.rows * max(q.pieces), 256 // q.lanes * 2), 2 * sms)
        kernel, shared = q.module.file.find("qk_norm_backward_kernel", t.mangled), width * 4
    else:
        n = t.vector if q.vectors else 1
        kernel, shared = q.module.file.find("qk_norm_backward_rows_kernel", t.mangled, f"Li{n}E"), 64
    q.module.launch(kernel, (blocks,), (256,), [q.call(heads, raw, rstd, partial, False, 0.0)], shared)
    found, at = t.values(q.get(heads, dy.shape, t.dtype)), partial
    parts = zip(("query", "key"), q.split(found), q.split(vdy), q.split(q.values), q.weights, rstds, q.sizes)
    for name, dx, d, x, (_, w), r, size in parts:
        flat = [part.reshape(-1, size) for part in (x, d)]
        want, dw = norm_backward_reference(*flat, w, 0, np.zeros(len(flat[0])), r.reshape(-1), False)
        sums = q.get(at, (blocks, size), np.float32).sum(0)
        expect_near(f"dw of {name}", sums, dw, 1e-5, 3e-5)
        used = expect_near(f"dx of {name}", dx.reshape(-1, size), want, t.rounding * 1.01, 5e-6)
        at += blocks * size * 4
    return used


FAST = set()


def attention_cases():
    for t in TYPES:
        for width in (64, 30) if t is F32 else (48, 30):
            for name, options in OPTIONS.items():
                if width == 30 and t is not F32 and name != "plain":
                    continue
                options = {**options, "lengths": [30, 1, 21]}
                if "turned" not in options:
                    yield (f"attention plain forward {t.name} {width} {name}", "sm_80",
                           lambda b, t=t, w=width, o=options: plain_forward(b, t, w, **o))
                yield (f"attention plain backward {t.name} {width} {name}", "sm_80",
                       lambda b, t=t, w=width, o=options: plain_backward(b, t, w, **o))
        for width, past, softcap in ((64, 0, 0.0), (128, 150, 0.0), (256, 77, 2.0), (30, 5, 1.0)):
            yield (f"attention cached {t.name} {width} past {past} capped {softcap}", "sm_80",
                   lambda b, t=t, w=width, p=past, s=softcap: cached(b, t, w, p, s))
        for width in (64, 30):
            yield f"sinks {t.name} {width}", "sm_80", lambda b, t=t, w=width: sinks(b, t, w)


def cases():
    """(name, architecture, function of a bench)."""
    yield from attention_cases()
    for t in TYPES:
        for together in (0, 1):
            for width, half in ((64, 32), (128, 64), (256, 128), (64, 16), (128, 0), (66, 33)):
                for kind in (RMS, RMS_ONCE):
                    for pairs in (0, 1):
                        name = f"{t.name} {width} turned {half} {'pairs' if pairs else 'halves'} together {together}"
                        yield (f"QK-norm forward {name} kind {kind}", "sm_80",
                               lambda b, t=t, w=width, g=together, h=half, p=pairs, k=kind: qk_forward(b, t, w, g, h, p, k))
            for width in (64, 128, 256, 66):
                yield (f"QK-norm backward {t.name} {width} together {together}", "sm_80",
                       lambda b, t=t, w=width, g=together: qk_backward(b, t, w, g))
