"""planted.py - faults put into the PTX text: each must be seen by the case that it names."""
import re
from dataclasses import dataclass


@dataclass
class Plant:
    name: str
    file: str
    case: str
    change: object  # function of the text
    seed: int = 0
    fast: bool = False


def in_kernel(mark, pattern, replacement, count=1):
    """Replace inside the first kernel whose name holds `mark`."""

    def change(text):
        pieces = re.split(r"^(?=[^\n]*\.entry )", text, flags=re.M)
        for i, piece in enumerate(pieces):
            if ".entry" in piece.split("\n", 1)[0] and mark in piece.split("\n", 1)[0]:
                pieces[i] = re.sub(pattern, replacement, piece, count=count, flags=re.S)
                break
        return "".join(pieces)

    return change


NORM = "norm_forward_kernelI6bf16_tLb0EL9norm_kind0E"
GATED = "gated_forward_kernelI6bf16_tLi8EL4gate0E"


def plants():
    norm, gated = "norm forward bf16 rms add 0 width 2048", "gated silu bf16 forward 768"
    yield Plant("a missing barrier", "norm", norm, in_kernel(NORM, r"bar\.sync[^;]*;", ""), 1, True)
    yield Plant("a store one element on", "norm", norm,
                in_kernel(NORM, r"(st\.global\.v4\.u32 \t?\[%rd\d+)\]", r"\1+2]"), 0, True)
    yield Plant("a shuffle with another distance", "norm", norm,
                in_kernel(NORM, r"(mov\.u32 \t%r\d+, )8;(\s+shfl)", r"\g<1>4;\2"), 0, True)
    yield Plant("a sign", "gated", gated, in_kernel(GATED, r"ex2\.approx", "neg"), 0, True)
