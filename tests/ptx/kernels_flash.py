"""kernels_flash.py - attention on sm_80 (mma.sync, ldmatrix, cp.async), forward and backward."""
import numpy as np

from bench import BF16, F16, divide_up
from kernels_attention import OPTIONS, Problem, Statistics, check_forward, check_gradients


def forward(bench, type_, width, **options):
    problem = Problem(bench, type_, width, **options)
    module = bench.module("attention_forward")
    out = module.memory.room(problem.out.shape, np.uint16)
    lse = module.memory.room(problem.lse.shape, np.float32)
    keys, warps = 128 if width == 64 else 64, 8 if width > 128 else 4
    kernel = module.file.find("attention_forward", type_.mangled, f"Li{width}E")
    call = [problem.place(module), ("P", out), ("P", lse)]
    shared = (128 + 2 * keys) * width * 2
    module.launch(kernel, (problem.heads, divide_up(problem.rows, 128)), (32 * warps,), call, shared)
    return check_forward(problem, module, out, lse)


def num_parts_of(problem):
    """As attention_keys.cu splits the query heads of a group."""
    blocks = divide_up(problem.rows, 64) * problem.kv_heads
    parts = 1
    while parts < problem.group and (blocks * parts < 256 or problem.group % parts):
        parts += 1
    return parts


def keys(bench, type_, width, **options):
    problem = Problem(bench, type_, width, **options)
    module = bench.module("attention_keys")
    described = problem.place(module)
    statistics = Statistics(bench, problem, module)
    dqkv = module.memory.room(problem.qkv.shape, np.uint16)
    parts = num_parts_of(problem)
    partial = module.memory.room((parts, problem.rows, 2 * problem.kv_heads * width), np.float32)
    rows = 64 if width <= 80 or width == 192 else 32
    warp_keys = 16 if width > 128 else 32
    pairs = 64 // warp_keys
    exchange = pairs * (warp_keys // 16) * (rows // 8) * 32 * 16
    shared = 2 * 64 * width * 2 + 2 * 2 * rows * width * 2 + exchange + 2 * 2 * rows * 4
    job = [described, ("P", statistics.dout), statistics.struct, ("P", dqkv), ("P", partial), ("i", parts)]
    kernel = module.file.find("attention_keys", type_.mangled, f"Li{width}E")
    module.launch(kernel, (problem.kv_heads * parts, divide_up(problem.rows, 64)), (64 * pairs,), [job], shared)
    if parts > 1:
        row_pairs = problem.kv_heads * width
        call = [("P", dqkv), ("P", partial), ("i", parts), ("q", problem.rows), ("i", row_pairs),
                ("i", (problem.heads + 2 * problem.kv_heads) * width)]
        kernel = module.file.find("attention_sum_parts", type_.mangled)
        module.launch(kernel, (divide_up(problem.rows * row_pairs, 256),), (256,), call)
    return check_gradients(problem, module, dqkv, ("dk", "dv"))


def queries(bench, type_, width, **options):
    problem = Problem(bench, type_, width, **options)
    module = bench.module("attention_queries")
    described = problem.place(module)
    statistics = Statistics(bench, problem, module)
    dqkv = module.memory.room(problem.qkv.shape, np.uint16)
    rows, warps, step = 64 if width == 128 else 128, 8 if width > 128 else 4, 32 if width <= 192 else 16
    shared = (2 * rows + 4 * step) * width * 2
    job = [described, ("P", statistics.dout), statistics.struct, ("P", dqkv)]
    kernel = module.file.find("attention_queries", type_.mangled, f"Li{width}E")
    module.launch(kernel, (problem.heads, divide_up(problem.rows, rows)), (32 * warps,), [job], shared)
    return check_gradients(problem, module, dqkv, ("dq",))


SEEDS = [0, 1, 2]
FAST = {"attention forward sm_80 bf16 64 plain"}
WIDTHS = [64, 80, 96, 128, 192, 256]


def cases():
    """(name, architecture, function of a bench)."""
    for kind, function in (("forward", forward), ("keys", keys), ("queries", queries)):
        for width in WIDTHS:
            for type_ in (BF16, F16):
                for name, options in OPTIONS.items():
                    if kind == "forward" and "turned" in options:
                        continue
                    yield (f"attention {kind} sm_80 {type_.name} {width} {name}", "sm_80",
                           lambda b, f=function, t=type_, w=width, o=options: f(b, t, w, **o))
