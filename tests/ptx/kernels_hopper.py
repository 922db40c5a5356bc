"""kernels_hopper.py - attention on sm_90a (tensor copies, mbarriers, wgmma, setmaxnreg), forward and backward."""
from dataclasses import dataclass

import numpy as np

from asynchronous import TensorMap
from bench import BF16, F16, Wrong, divide_up
from kernels_attention import OPTIONS, Problem, Statistics, check_forward, check_gradients

SMS = 3  # so that blocks draw several tiles
PANEL, GROUP_ROWS, RING1, RING2, ASSIGNMENTS = 64, 64, 16, 32, 32 + 32


def heads_map(at, shape, box_rows):
    rows, heads, width = shape
    return TensorMap(at, (width, heads, rows), (width * 2, heads * width * 2), (PANEL, 1, box_rows), 2, 128).opaque()


def statistic_map(at, padded, heads, box):
    return TensorMap(at, (padded, heads), (padded * 4,), (box, 1), 4, 0).opaque()


class WorkList:
    """Made by the kernel that makes it."""

    def __init__(self, bench, module, num_rows, num_heads, tile_rows, step_rows, queries=(0, 0), columns=(0, 0),
                 in_order=False):
        self.count, self.num_heads = divide_up(num_rows, tile_rows), num_heads
        room = module.memory.room
        self.entries, self.next = room((self.count, 3), np.int32), room(1, np.uint32)
        orderer = type(module)(bench.file("attention_sm90"), bench.seed, module.memory)
        setup = [self.struct(), ("P", queries[0]), ("P", queries[1]), ("P", columns[0]), ("P", columns[1]),
                 ("i", num_rows), ("i", tile_rows), ("i", step_rows), ("?", in_order)]
        orderer.launch(orderer.file.find("order_tiles"), (divide_up(self.count, 128),), (128,), [setup], 512)
        self.blocks = min(self.count * num_heads, SMS)

    def expect_as_before(self, module):
        """The next launch finds it as this one did."""
        if module.memory.get(self.next, 1, np.uint32)[0] != 0:
            raise Wrong("the list's counter of drawn tiles is not 0 after the kernel")

    def struct(self):
        return [("P", self.entries), ("P", self.next), ("i", self.count), ("i", self.num_heads)]


def variant(type_, *numbers):
    """The template argument of a kernel: variant<T, ...>, the last number a bool."""
    *sizes, cap = numbers
    return ("NS_7variantI" + type_.mangled, *(f"Li{n}E" for n in sizes), f"Lb{int(cap)}E", "EE")


def forward_shape(width, cap):
    """Warpgroups and keys a step."""
    return {64: (2 if cap else 3, 128), 192: (2, 96), 256: (2, 64 if cap else 80)}.get(width, (2, 128))


def forward(bench, type_, width, **options):
    problem = Problem(bench, type_, width, **options)
    module = bench.module("attention_forward_sm90")
    problem.place(module)
    out = module.memory.room(problem.out.shape, np.uint16)
    lse = module.memory.room(problem.lse.shape, np.float32)
    cap = problem.softcap > 0
    groups, keys = forward_shape(width, cap)
    work = WorkList(bench, module, problem.rows, problem.heads, 64 * groups, keys,
                    queries=(problem.first_at, problem.last_at))
    panels = divide_up(width, PANEL)
    query_bytes, key_bytes = groups * panels * 64 * 128, panels * keys * 128
    own_staging = 2 * query_bytes + 4 * key_bytes + 1024 <= 227 * 1024
    shared = query_bytes * (2 if own_staging else 1) + 4 * key_bytes + RING1 + 2 * RING2 + ASSIGNMENTS
    call = [heads_map(problem.qkv_at, problem.qkv.shape, GROUP_ROWS), heads_map(problem.qkv_at, problem.qkv.shape, keys),
            heads_map(out, problem.out.shape, GROUP_ROWS), work.struct(), ("P", problem.first_at),
            ("P", problem.last_at), ("P", lse), ("i", problem.rows), ("i", problem.heads), ("i", problem.kv_heads),
            ("i", problem.group), ("f", problem.scale_log2), ("f", problem.cap_inverse)]
    kernel = module.file.find("attention_forward_sm90", *variant(type_, width, groups, keys, cap))
    module.launch(kernel, (work.blocks,), ((groups + 1) * 128,), [call], shared)
    work.expect_as_before(module)
    return check_forward(problem, module, out, lse)


def sizes_of(problem):
    return [("i", problem.rows), ("i", problem.heads), ("i", problem.kv_heads), ("i", problem.group),
            ("f", problem.scale), ("f", problem.scale_log2), ("f", problem.cap_inverse)]


@dataclass
class KeysShape:
    """Of a kernel of the first pass: keys of a tile in parts of 64, queries a step, stages, places for staging; numbers of its name."""
    kernel: str
    parts: int
    step: int
    stages: int
    stagings: int
    numbers: tuple

    @classmethod
    def of(cls, width):
        if width > 128:
            return cls("attention_keys_wide_sm90", 1, 64, 2, 1, (width,))
        step = 96 if width == 64 else 64
        return cls("attention_keys_sm90", 2, step, 3, 2, (width, step, 3))


def keys(bench, type_, width, **options):
    shape = KeysShape.of(width)
    problem = Problem(bench, type_, width, **options)
    module = bench.module(shape.kernel)
    problem.place(module)
    statistics = Statistics(bench, problem, module)
    dqkv = module.memory.room(problem.qkv.shape, np.uint16)
    step, tile = shape.step, 64 * shape.parts
    work = WorkList(bench, module, problem.rows, problem.kv_heads, tile, step, columns=(statistics.begin, statistics.end))
    panels = divide_up(width, PANEL)
    part, query_bytes = panels * 64 * 128, panels * step * 128
    shared = (2 * shape.parts + shape.stagings) * part + 2 * shape.stages * (query_bytes + step * 4)
    shared += RING1 + shape.stages * RING1 + ASSIGNMENTS
    call = [heads_map(problem.qkv_at, problem.qkv.shape, GROUP_ROWS), heads_map(problem.qkv_at, problem.qkv.shape, step),
            heads_map(statistics.dout, problem.dout.shape, step), heads_map(dqkv, problem.qkv.shape, GROUP_ROWS),
            statistic_map(statistics.lse2, statistics.padded, problem.heads, step),
            statistic_map(statistics.delta, statistics.padded, problem.heads, step), work.struct(),
            ("P", statistics.begin), ("P", statistics.end), *sizes_of(problem), problem.rotation]
    kernel = module.file.find(shape.kernel, *variant(type_, *shape.numbers, problem.softcap > 0))
    module.launch(kernel, (work.blocks,), (384,), [call], shared)
    work.expect_as_before(module)
    return check_gradients(problem, module, dqkv, ("dk", "dv"))


def queries(bench, type_, width, **options):
    problem = Problem(bench, type_, width, **options)
    module = bench.module("attention_queries_sm90")
    problem.place(module)
    statistics = Statistics(bench, problem, module)
    dqkv = module.memory.room(problem.qkv.shape, np.uint16)
    step, cap = 64 if width > 128 else 128, problem.softcap > 0
    work = WorkList(bench, module, problem.rows, problem.heads, 128, step, queries=(problem.first_at, problem.last_at))
    panels = divide_up(width, PANEL)
    part, key_bytes = panels * 64 * 128, panels * step * 128
    value_stages, own_staging = 1 if width == 256 else 2, width <= 128
    shared = 4 * part + (2 + value_stages) * key_bytes + (2 * part if own_staging else 0)
    shared += RING1 + RING2 + value_stages * RING1 + ASSIGNMENTS
    call = [heads_map(problem.qkv_at, problem.qkv.shape, GROUP_ROWS),
            heads_map(statistics.dout, problem.dout.shape, GROUP_ROWS),
            heads_map(problem.qkv_at, problem.qkv.shape, step), heads_map(dqkv, problem.qkv.shape, GROUP_ROWS),
            work.struct(), ("P", problem.first_at), ("P", problem.last_at), ("P", statistics.lse2),
            ("P", statistics.delta), ("q", statistics.padded), *sizes_of(problem), problem.rotation]
    kernel = module.file.find("attention_queries_sm90", *variant(type_, width, step, cap))
    module.launch(kernel, (work.blocks,), (384,), [call], shared)
    work.expect_as_before(module)
    return check_gradients(problem, module, dqkv, ("dq",))


def fused(bench, type_, width, **options):
    problem = Problem(bench, type_, width, **options)
    module = bench.module("attention_fused_sm90")
    problem.place(module)
    statistics = Statistics(bench, problem, module)
    room = module.memory.room
    dqkv = room(problem.qkv.shape, np.uint16)
    step, cap = 64, problem.softcap > 0
    blocks = divide_up(problem.rows, step) + 1
    work = WorkList(bench, module, problem.rows, problem.kv_heads, 128, step, columns=(statistics.begin, statistics.end),
                    in_order=True)
    first_tiles, turns = room(blocks, np.int32), room((problem.heads, blocks), np.uint32)
    values = room((problem.heads, blocks, step * width), np.float32)
    parts = type(module)(bench.file("attention_fused_sums_sm90"), bench.seed, module.memory)
    find = parts.file.find
    parts.launch(find("attention_first_tiles"), (divide_up(blocks, 128),), (128,),
                  [("P", first_tiles), ("i", blocks), work.struct()])
    count = problem.heads * blocks
    parts.launch(find("attention_clear_turns"), (divide_up(count, 128),), (128,), [("P", turns), ("i", count)])
    sums = [("P", values), ("P", turns), ("P", first_tiles), ("i", blocks)]
    sizes = [("P", statistics.begin), ("P", statistics.end), *sizes_of(problem), problem.rotation]
    results = heads_map(dqkv, problem.qkv.shape, GROUP_ROWS)
    call = [heads_map(problem.qkv_at, problem.qkv.shape, GROUP_ROWS), heads_map(problem.qkv_at, problem.qkv.shape, step),
            heads_map(statistics.dout, problem.dout.shape, step), results,
            statistic_map(statistics.lse2, statistics.padded, problem.heads, step),
            statistic_map(statistics.delta, statistics.padded, problem.heads, step), work.struct(), sizes, sums]
    shared = 224 * 1024 + 4 * step * 4 + RING1 + 2 * RING2 + ASSIGNMENTS
    kernel = module.file.find("attention_fused_sm90", type_.mangled, f"Lb{int(cap)}E")
    module.launch(kernel, (work.blocks,), (384,), [call], shared)
    work.expect_as_before(module)
    parts.launch(find("attention_fused_finish", type_.mangled), (blocks - 1, problem.heads), (128,),
                  [results, sums, sizes], 2 * 64 * 128)
    return check_gradients(problem, module, dqkv, ("dq", "dk", "dv"))


SEEDS = [0, 1, 2]
FAST = {"attention forward sm_90a bf16 128 plain", "attention keys sm_90a f16 64 grouped", "attention fused sm_90a bf16 128 grouped"}


WIDTHS = {kind: (64, 80, 96, 128, 192, 256) for kind in ("forward", "keys", "queries")} | {"fused": (128,)}


def cases():
    """(name, architecture, function of a bench)."""
    for kind, function in (("forward", forward), ("keys", keys), ("queries", queries), ("fused", fused)):
        for width in WIDTHS[kind]:
            for type_ in (BF16, F16):
                for name, options in OPTIONS.items():
                    if kind == "forward" and "turned" in options:
                        continue
                    yield (f"attention {kind} sm_90a {type_.name} {width} {name}", "sm_90a",
                           lambda b, f=function, t=type_, w=width, o=options: f(b, t, w, **o))
