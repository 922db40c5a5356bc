"""kernels_volta.py - attention on sm_70 (mma.m8n8k4), forward and backward.

Two compilers have made a text of attention_sm70.cu: that of CUDA 12 for compute_70, which a V100 runs, and that of CUDA 13
for compute_80, which knows the instruction still.
"""
import numpy as np

from bench import F16, divide_up
from kernels_attention import OPTIONS, Problem, Statistics, check_forward, check_gradients

FORWARD, VALUES, QUERIES, KEYS = range(4)
PASSES = {"forward": FORWARD, "values": VALUES, "queries": QUERIES, "keys": KEYS}
GRADIENTS = {VALUES: "dv", QUERIES: "dq", KEYS: "dk"}
WARPS, WARP = 4, 32


def shape_of(width, kind):
    """Rows that a block owns, and bytes of shared memory."""
    own, others = (WARPS // 2 if width > 128 else WARPS) * WARP, 16 if width > 192 else 32
    own_tiles = 2 if kind in (QUERIES, KEYS) else 1
    return own, (own_tiles * own + 2 * others) * (2 * width + 16)


def attention(bench, width, kind, **options):
    problem = Problem(bench, F16, width, **options)
    module = bench.module("attention_sm70")
    described = problem.place(module)
    nothing = [("P", 0), ("P", 0), ("P", 0), ("P", 0), ("q", 0)]
    if kind == FORWARD:
        to, lse = module.memory.room(problem.out.shape, np.uint16), module.memory.room(problem.lse.shape, np.float32)
        job = [described, nothing, ("P", 0), ("P", to), ("P", lse)]
    else:
        statistics = Statistics(bench, problem, module)
        to = module.memory.room(problem.qkv.shape, np.uint16)
        job = [described, statistics.struct, ("P", statistics.dout), ("P", to), ("P", 0)]
    own, shared = shape_of(width, kind)
    heads = problem.heads if kind in (FORWARD, QUERIES) else problem.kv_heads
    kernel = module.file.find("attention_volta", f"Li{width}E", f"L4pass{kind}E")
    module.launch(kernel, (heads, divide_up(problem.rows, own)), (WARPS * WARP,), [job], shared)
    if kind == FORWARD:
        return check_forward(problem, module, to, lse)
    return check_gradients(problem, module, to, (GRADIENTS[kind],))


SEEDS = [0, 1]
FAST = {"attention forward sm_70 f16 64 plain", "attention queries sm_70 f16 64 pairs"}


def cases():
    """(name, architecture, function of a bench)."""
    for arch, name in (("sm_70", "sm_70"), ("sm_80", "sm_70 by the compiler of sm_80")):
        for what, kind in PASSES.items():
            for width in (64, 80, 96, 128, 192, 256):
                for option, options in OPTIONS.items():
                    if kind in (FORWARD, VALUES) and "turned" in options:
                        continue
                    yield (f"attention {what} {name} f16 {width} {option}", arch,
                           lambda b, w=width, k=kind, o=options: attention(b, w, k, **o))
