#!/usr/bin/env python3
"""model.py - how long the kernels of kernels/cuda should take, by what their machine code and their bytes say: a prediction.

    model.py [SASS]      prints the table that kernels/cuda/NOTES.md holds (SASS: kernels/cuda/SASS)
    model.py --experts [SASS]   for each GPU the share of its peak that products of experts reach, tiles full: train/plan/gpu_rates.c has it

A kernel keeps four things busy: memory, tensor cores, the issue of instructions (a warp's each clock and scheduler), and the unit
of exponentials.  Each alone would take a time that is known: bytes at the speed of a copy, products at the speed of the best
product, instructions of the main loop (kernels/cuda/SASS) and exponentials at their peak.  The longest is the bound.  The others run
beside it but for EXPOSED of their time.

EXPOSED was fitted to two figures of FlashAttention-3 on H100 (forward, causal, 8k: 650 TFLOP/s with heads of 128, 460 of 64), as if
its loops were as long as ours: it gives 612 and 501, so 9 % is what is missing at least.  Loops that hold a way for blocks at
the mask's edge are counted with it.  Shared memory, latencies and launches are not counted: norms are bound by what is not here.
"""
import pathlib
import sys
from dataclasses import dataclass, field

EXPOSED = 0.31
WARP, SCHEDULERS, EXPONENTIALS = 32, 4, 16  # threads; of a multiprocessor; each clock and multiprocessor
# Of what tensor cores do with the instruction that is best there, the share that mma.sync reaches: on Hopper wgmma is that (measured
# by Luo et al. 2024, "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture").
MMA_SYNC = {"sm_90a": 0.62, "sm_80": 1.0}


@dataclass
class Gpu:
    """Peaks: multiprocessors, flops of one each clock, clock [Hz]; attained by others: bytes/s of a copy, share of products."""
    name: str
    arch: str
    sms: int
    flops: int
    clock: float
    copy: float
    products: float


# Clocks are those at which the makers' peaks hold (989 and 312 TFLOP/s).  Copies: H200 measured on 8.6 GB, H100 sums of
# pranjalssh/fast.cu less what writes cost, A100 the same; products: train/plan/gpu_rates.c.
GPUS = [Gpu("H200", "sm_90a", 132, 4096, 1.83e9, 4.3e12, 0.80), Gpu("H100", "sm_90a", 132, 4096, 1.83e9, 3.0e12, 0.80),
        Gpu("A100", "sm_80", 108, 2048, 1.41e9, 1.75e12, 0.87)]


@dataclass
class Pass:
    """What one launch needs; loops: for each architecture that has it the row of SASS, and how often a warp goes through its main loop
    (none: of all, and no such row); by_sync: its products are by mma.sync everywhere; more: for an architecture, (flops, exponentials)
    that it needs besides."""
    loops: dict
    bytes: float = 0
    flops: float = 0
    exponentials: float = 0
    by_sync: bool = False
    more: dict = field(default_factory=dict)

    def is_of(self, gpu):
        return not self.loops or gpu.arch in self.loops


@dataclass
class Kernel:
    """The launches of one call; useful: the flops that a rate counts, 0: it is of bytes; target: of an H200 [s]."""
    name: str
    passes: list
    target: float
    useful: float = 0


def streaming(name, row, elements, a_loop, bytes_each, target=None, readings=1):
    """elements that pass through memory, a_loop of them a thread and turn of the loop; row "": of a loop that is not all."""
    turns = readings * elements / a_loop / WARP
    moved = elements * bytes_each
    return Kernel(name, [Pass({gpu.arch: (row, turns) for gpu in GPUS if row}, bytes=moved)], target or moved / 4.1e12)


ROWS, WIDTH, FFN, VOCAB, CHUNK, TEXT, HEADS = 16384, 4096, 14336, 128256, 4096, 8192, 32


def attention(name, width, passes, flops_a_score, target_rate, sums=False, scores_again=0):
    """passes: (products of the scores' size and width; on Hopper the kernel and the rows and keys of a warpgroup's turn; on A100
    the kernel and those of a warp's), or "" where there is no such pass.  sums: Hopper's single pass leaves f32 sums to be rounded.
    scores_again: how often Hopper's first pass makes its scores besides."""
    scores = ROWS * TEXT / 2 * (WIDTH // width)  # that a causal mask lets through, of all heads
    launches = []
    for products, hopper, turn, ampere, warp_turn in passes:
        loops = {}
        if hopper:
            loops["sm_90a"] = (f"attention_{hopper}", scores / turn * 4)
        if ampere:
            loops["sm_80"] = (f"attention_{ampere}<bf16_t,{width}>", scores / warp_turn)
        launches.append(Pass(loops, flops=2 * products * width * scores, exponentials=scores))
    if sums:
        launches.append(Pass({"sm_90a": ("", 0)}, bytes=6 * ROWS * WIDTH))
    launches[0].more["sm_90a"] = 2 * scores_again * width * scores, scores_again * scores
    useful = flops_a_score * width * scores
    return Kernel(name, launches, useful / target_rate, useful)


def variant(kernel, sizes):
    return f"{kernel}_sm90<(anonymousnamespace)::variant<bf16_t,{sizes},false>>"


TILE, WARP_LOOP = 128, 64 * 32 * 32 * 2  # places of a tile; flops of a warp in a turn of its loop


def grouped(name, product, places, experts, inputs, outputs, full=False):
    """A product of experts with as many places each, of which the last tile is half empty on average (full: is not)."""
    useful = 2 * places * inputs * outputs
    flops = useful * (1 if full else 1 + TILE / 2 * experts / places)
    matrix, rows = experts * inputs * outputs, places * (inputs + outputs)
    row = f"grouped_tiles_kernel<(grouped_product){product},bf16_t,{'float' if product == 2 else 'bf16_t'}>"
    loops = {gpu.arch: (row, flops / WARP_LOOP) for gpu in GPUS}
    moved = 2 * rows + (4 if product == 2 else 2) * matrix
    return Kernel(name, [Pass(loops, bytes=moved, flops=flops, by_sync=True)], useful / 400e12, useful)


# Name, experts, how many a token has, width of the model and of an expert's outputs.
EXPERTS = [("Qwen3-30B-A3B, gate", 128, 8, 2048, 768), ("gpt-oss-20b, gate and up", 32, 4, 2880, 5760)]
PRODUCTS = ["forward", "to the input", "to the matrices"]


def of_experts(full=False):
    for name, experts, chosen, inputs, outputs in EXPERTS:
        for product, word in enumerate(PRODUCTS):
            text = f"experts of {name}, {inputs} to {outputs}, 16384 tokens: {word}"
            yield grouped(text, product, ROWS * chosen, experts, inputs, outputs, full)


def experts_share(gpu, sass):
    """Of the peak, of all products of experts together, whose flops are the same forward and of each gradient."""
    kernels = list(of_experts(True))
    peak = gpu.sms * gpu.clock * gpu.flops
    shares = [kernel.useful / sum(predict(one, gpu, sass)[0] for one in kernel.passes) / peak for kernel in kernels]
    return len(shares) / sum(1 / share for share in shares)


KERNELS = [
    streaming("RMSNorm forward, 16384 x 4096", "", ROWS * WIDTH, 1, 4, 66e-6),
    streaming("RMSNorm backward, 16384 x 4096", "", ROWS * WIDTH, 1, 8, 100e-6),
    streaming("SwiGLU forward, 16384 x 14336", "gated_forward_kernel<bf16_t,8,(gate)0>", ROWS * FFN, 32, 6),
    streaming("SwiGLU backward, 16384 x 14336", "gated_backward_kernel<bf16_t,8,(gate)0>", ROWS * FFN, 16, 10),
    streaming("rotation, 16384 x 40 heads of 128", "rope_kernel<bf16_t,8>", ROWS * 40 * 128, 64, 4),
    streaming("AdamW, 8.03e9, f32 states", "flat_kernel<adamw_op<float,bf16_t>>", 8.03e9, 4, 30, 55e-3),
    streaming("cross-entropy, 4096 x 128256, f32 logits", "cross_entropy_kernel<plain_logits,float,bf16_t,4>", CHUNK * VOCAB, 16,
              10, 0.5e-3, readings=2),
    streaming("cross-entropy, 4096 x 128256, bf16 logits", "cross_entropy_kernel<plain_logits,bf16_t,bf16_t,4>", CHUNK * VOCAB,
              32, 6, 0.5e-3, readings=2),
    attention("attention forward, heads of 128, 8k", 128, [(2, variant("forward", "128,2,128"), 64 * 128, "forward", 32 * 64)], 4, 670e12),
    attention("attention forward, heads of 64, 8k", 64, [(2, variant("forward", "64,3,128"), 64 * 128, "forward", 32 * 128)], 4, 500e12),
    attention("attention backward, heads of 128, 8k", 128,
              [(5, "fused_sm90<bf16_t,false>", 64 * 64, "", 0), (4, "", 0, "keys", 32 * 32 / 2), (3, "", 0, "queries", 16 * 32)],
              10, 590e12, sums=True),
    attention("in two passes, heads of 128, 8k: not taken on Hopper", 128,
              [(4, variant("keys", "128,64,3"), 64 * 64, "", 0), (3, variant("queries", "128,128"), 64 * 128, "", 0)],
              10, 590e12),
    attention("attention backward, heads of 64, 8k", 64,
              [(4, variant("keys", "64,96,3"), 64 * 96, "keys", 32 * 64 / 2), (3, variant("queries", "64,128"), 64 * 128, "queries", 32 * 32)],
              10, 520e12),
    attention("attention backward, heads of 256, 8k", 256,
              [(4, variant("keys_wide", "256"), 64 * 64 / 2, "keys", 16 * 32 / 2),
               (3, variant("queries", "256,64"), 64 * 64, "queries", 16 * 16)],
              10, 480e12, scores_again=1),
    *of_experts(),
]


def read_sass(path):
    """Instructions of the main loop by kernel and architecture."""
    rows = (line.split() for line in pathlib.Path(path).read_text().splitlines() if not line.startswith("#"))
    return {(row[0], row[1]): int(row[-1]) for row in rows if row}


def predict(one, gpu, sass):
    """Of a launch: seconds, and the bound's name."""
    clocks = gpu.sms * gpu.clock
    row, turns = one.loops.get(gpu.arch, (None, 0))
    more_flops, more_exponentials = one.more.get(gpu.arch, (0, 0))
    products = gpu.products * (MMA_SYNC[gpu.arch] if one.by_sync else 1)
    parts = {"memory": one.bytes / gpu.copy, "tensor": (one.flops + more_flops) / (gpu.flops * clocks * products),
             "issue": turns * sass[row, gpu.arch] / (SCHEDULERS * clocks) if row else 0,
             "exponentials": (one.exponentials + more_exponentials) / (EXPONENTIALS * clocks)}
    bound = max(parts, key=parts.get)
    return parts[bound] + EXPOSED * (sum(parts.values()) - parts[bound]), bound


def amount(kernel, seconds):
    """A time and the rate that it is."""
    moved = sum(one.bytes for one in kernel.passes)
    rate = f"{kernel.useful / seconds / 1e12:.0f} TFLOP/s" if kernel.useful else f"{moved / seconds / 1e12:.2f} TB/s"
    return f"{seconds * 1e6:.0f} us, {rate}" if seconds < 1e-2 else f"{seconds * 1e3:.1f} ms, {rate}"


def cell(kernel, gpu, sass):
    """Time, rate, and the bound of each launch."""
    found = [predict(one, gpu, sass) for one in kernel.passes if one.is_of(gpu)]
    if not found:
        return ""
    bounds = " and ".join(dict.fromkeys(bound for _, bound in found))
    return f"{amount(kernel, sum(seconds for seconds, _ in found))}: {bounds}"


def main():
    given = [word for word in sys.argv[1:] if word != "--experts"]
    sass = read_sass(given[0] if given else pathlib.Path(__file__).parents[2] / "kernels/cuda/SASS")
    if "--experts" in sys.argv:
        print("\n".join(f"{gpu.name} {experts_share(gpu, sass):.2f}" for gpu in GPUS))
        return
    print("| kernel | target | H200 | H100 | A100 |\n|---|---|---|---|---|")
    for kernel in KERNELS:
        cells = " | ".join(cell(kernel, gpu, sass) for gpu in GPUS)
        print(f"| {kernel.name} | {amount(kernel, kernel.target)} | {cells} |")


if __name__ == "__main__":
    main()
