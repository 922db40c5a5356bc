"""kernels_volta_others.py - the cases of all other kernels that are compiled for V100, as the compiler of CUDA 12 makes them."""
import kernels_experts
import kernels_experts_parts
import kernels_fixed
import kernels_flat
import kernels_fp8
import kernels_heads
import kernels_packed
import kernels_rows
import kernels_vocab

FAMILIES = [kernels_rows, kernels_flat, kernels_fixed, kernels_packed, kernels_fp8, kernels_vocab, kernels_experts,
            kernels_experts_parts, kernels_heads]
AMPERE = "grouped tiles"  # cp.async and mma.m16n8k16
SEEDS = [0]
FAST = {"sm_70 norm forward f16 layer add 1 width 256"}


def cases():
    """(name, architecture, function of a bench)."""
    for family in FAMILIES:
        for name, _, function in family.cases():
            if not name.startswith(AMPERE):
                yield "sm_70 " + name, "sm_70", function
