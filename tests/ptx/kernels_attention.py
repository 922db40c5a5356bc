"""kernels_attention.py - what the cases of attention share: problems, their solutions in f64, statistics.

References see the elements as they are stored (rounded to 16 bits); the kernels round probabilities and their gradients
to 16 bits once more, which is what the bounds allow.
"""
import numpy as np

from bench import divide_up, expect_near, expect_relative, expect_same
from kernels_rows import rotate

LOG2E = 1.44269504088896341
ROW_UNIT = 128
PACKED = [37, 1, 90, 130, 42]
OPTIONS = {
    "plain": {},
    "grouped": {"heads": (4, 2), "lengths": [150, 33]},
    "capped": {"softcap": 1.5, "heads": (2, 2), "lengths": [70, 90]},
    "window": {"window": 48, "lengths": [200, 25]},
    "both": {"both": True, "lengths": [100, 1, 90]},
    "halves": {"turned": "halves", "heads": (2, 2), "lengths": [75, 60]},
    "pairs": {"turned": "pairs", "softcap": 2.0, "lengths": [20, 130]},
}


class Problem:
    """Tensors and mask of one call.  lengths: documents; heads: of queries, of keys; window: keys that a row sees at most,
    0: all; both: rows see later keys of their document too; turned: what the backward turns back by, 'halves' or 'pairs'."""

    def __init__(self, bench, type_, width, lengths=None, heads=(2, 1), softcap=0.0, window=0, both=False, turned=""):
        lengths = lengths or PACKED
        self.type, self.width, self.softcap, self.both, self.turned = type_, width, softcap, both, turned
        self.rows, (self.heads, self.kv_heads) = sum(lengths), heads
        self.group = self.heads // self.kv_heads
        self.scale = width**-0.5
        starts = np.repeat(np.cumsum([0] + lengths[:-1]), lengths)
        row = np.arange(self.rows)
        self.first_key = np.maximum(starts, row - window + 1 if window else 0).astype(np.int32)
        ends = np.repeat(np.cumsum(lengths), lengths) - 1
        self.last_key = (np.minimum(ends, row + 20) if both else row).astype(np.int32)
        angles = bench.random.uniform(0, 6, (50, width // 2))
        self.cosine, self.sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        self.positions = bench.random.integers(0, 50, self.rows).astype(np.int32)
        shape = (self.rows, self.heads + 2 * self.kv_heads, width)
        self.qkv, values = bench.stored(type_, shape)
        self.q = values[:, : self.heads]
        self.k = np.repeat(values[:, self.heads : self.heads + self.kv_heads], self.group, 1)
        self.v = np.repeat(values[:, self.heads + self.kv_heads :], self.group, 1)
        self.dout, self.dout_values = bench.stored(type_, (self.rows, self.heads, width))
        self.solve()

    def solve(self):
        """Probabilities, output and log-sum-exp in f64."""
        scores = np.einsum("qhd,khd->hqk", self.q, self.k) * self.scale
        self.tanh = np.tanh(scores / self.softcap) if self.softcap else np.zeros_like(scores)
        if self.softcap:
            scores = self.softcap * self.tanh
        keys = np.arange(self.rows)
        seen = (keys >= self.first_key[:, None]) & (keys <= self.last_key[:, None])
        scores = np.where(seen, scores, -np.inf)
        most = scores.max(-1, keepdims=True)
        exponentials = np.exp(scores - most)
        total = exponentials.sum(-1, keepdims=True)
        self.p = exponentials / total
        self.lse = (most + np.log(total))[..., 0].T  # [rows, heads]
        self.out = np.einsum("hqk,khd->qhd", self.p, self.v)

    def gradients(self):
        """dqkv in f64."""
        dp = np.einsum("qhd,khd->hqk", self.dout_values, self.v)
        delta = (self.dout_values * self.out).sum(-1).T[..., None]
        ds = self.p * (dp - delta) * (1 - self.tanh**2) * self.scale
        dq = np.einsum("hqk,khd->qhd", ds, self.k)
        dk = np.einsum("hqk,qhd->khd", ds, self.q)
        dv = np.einsum("hqk,qhd->khd", self.p, self.dout_values)
        dk, dv = (x.reshape(self.rows, self.kv_heads, self.group, self.width).sum(2) for x in (dk, dv))
        if self.turned:
            angles = self.cosine[self.positions].astype(float), -self.sine[self.positions].astype(float)
            dq, dk = (rotate(x, *angles, self.turned == "pairs") for x in (dq, dk))
        return np.concatenate([dq, dk, dv], 1)

    def place(self, module):
        """The struct attention_problem, its tensors in memory."""
        put = module.memory.put
        self.qkv_at = put(self.qkv)
        self.first_at, self.last_at = put(self.first_key), put(self.last_key) if self.both else 0
        row = (self.heads + 2 * self.kv_heads) * self.width
        scale_log2 = (self.softcap or self.scale) * LOG2E
        self.scale_log2, self.cap_inverse = scale_log2, self.scale / self.softcap if self.softcap else 0.0
        self.rotation = [("P", 0), ("P", 0), ("P", 0), ("q", 0), ("i", 0)]
        if self.turned:
            self.rotation = [("P", put(self.cosine)), ("P", put(self.sine)), ("P", put(self.positions)), ("q", 50),
                             ("i", int(self.turned == "pairs"))]
        return [("P", self.qkv_at), ("P", self.first_at), ("P", self.last_at), ("i", self.rows), ("i", self.heads),
                ("i", self.kv_heads), ("i", self.width), ("i", self.group), ("i", row),
                ("i", self.heads * self.width), ("f", self.scale), ("f", scale_log2), ("f", self.softcap),
                ("f", self.cap_inverse), self.rotation]

    def bound(self):
        """Of a relative error: P rounded once to 16 bits, and the results."""
        return {"bf16": 3.4e-3, "f16": 4.5e-4, "f32": 4e-6}[self.type.name]


def check_forward(problem, module, out, lse):
    get, type_ = module.memory.get, problem.type
    expect_near("lse", get(lse, problem.lse.shape, np.float32), problem.lse, 2e-6, 4e-6)
    found = type_.values(get(out, problem.out.shape, type_.dtype))
    return expect_relative("out", found, problem.out, problem.bound() * 0.75) / (problem.bound() * 0.75)


class Statistics:
    """What every backward reads, made by the kernels that make it, and checked."""

    def __init__(self, bench, problem, module):
        self.problem, self.memory = problem, module.memory
        room, put = self.memory.room, self.memory.put
        self.padded = divide_up(problem.rows, ROW_UNIT) * ROW_UNIT
        self.lse2, self.delta = (room((problem.heads, self.padded), np.float32) for _ in range(2))
        self.begin = room(problem.rows, np.int32) if problem.both else 0
        self.end = room(problem.rows, np.int32)
        self.dout = put(problem.dout)
        self.struct = [("P", self.lse2), ("P", self.delta), ("P", self.begin), ("P", self.end), ("q", self.padded)]
        out, lse = put(problem.type.to_bits(problem.out)), put(problem.lse.astype(np.float32))
        makers = type(module)(bench.file("attention"), bench.seed, self.memory)
        aligned = problem.type.size == 2 and problem.width % 8 == 0
        kernel = makers.file.find("attention_row_statistics", problem.type.mangled, f"Lb{int(aligned)}E")
        call = [self.struct, ("P", self.dout), ("P", out), ("P", lse), ("i", problem.rows), ("i", problem.heads),
                ("i", problem.width)]
        makers.launch(kernel, (divide_up(self.padded * problem.heads * 8, 256),), (256,), call)
        call = [("P", self.begin), ("P", self.end), ("P", problem.first_at), ("P", problem.last_at), ("i", problem.rows)]
        makers.launch(makers.file.find("attention_columns"), (divide_up(problem.rows, 256),), (256,), call)
        self.check()

    def check(self):
        problem, get = self.problem, self.memory.get
        rows = np.arange(problem.rows)
        seen = (rows >= problem.first_key[:, None]) & (rows <= problem.last_key[:, None])
        expect_same("col_end", get(self.end, problem.rows, np.int32), problem.rows - seen[::-1].argmax(0))
        if problem.both:
            expect_same("col_begin", get(self.begin, problem.rows, np.int32), seen.argmax(0))
        lse2 = get(self.lse2, (problem.heads, self.padded), np.float32)
        expect_near("lse2", lse2[:, : problem.rows], problem.lse.T * LOG2E, 1e-6, 1e-6)
        expect_same("lse2 past the end", lse2[:, problem.rows :], np.full((problem.heads, self.padded - problem.rows),
                                                                         np.inf, np.float32))
        out = problem.type.values(problem.type.to_bits(problem.out)).astype(np.float64)
        delta = get(self.delta, (problem.heads, self.padded), np.float32)
        expect_near("delta", delta[:, : problem.rows], (problem.dout_values * out).sum(-1).T, 1e-5, 3e-5)


def check_gradients(problem, module, dqkv, kinds=("dq", "dk", "dv")):
    found = problem.type.values(module.memory.get(dqkv, problem.qkv.shape, problem.qkv.dtype))
    reference = problem.gradients()
    h, g = problem.heads, problem.kv_heads
    parts = {"dq": slice(0, h), "dk": slice(h, h + g), "dv": slice(h + g, h + 2 * g)}
    bound = problem.bound()
    return max(expect_relative(kind, found[:, parts[kind]], reference[:, parts[kind]], bound) / bound
               for kind in kinds)
