#!/usr/bin/env python3
"""Make tests/golden/fp8/expected.safetensors: what torch (made with 2.15.0, on a CPU) makes of bf16 in 8 bits.

e4m3, e5m2: casts of all 65536 values of bf16, as the bits of the smallest value of each code; the cast grows with its argument,
and its sign is the value's, which is checked here.  x, w, dy, and of a linear layer with them y, dx, dw (gradients in E5M2) and
dx_e4m3, dw_e4m3: torch's casts under the scales of kernels/fp8.h, which are computed here in another way; products in f32.
The same with a scale for each block: blocks_x, blocks_w, blocks_dy and blocks_y, blocks_dx, blocks_dw (gradients in E4M3).
"""
import math
from pathlib import Path

import torch
from safetensors.torch import save_file

N, I, O = 24, 32, 16
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2


def first_of_codes(dtype):
    values = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    codes = values.to(dtype).view(torch.uint8).int()
    positive, negative = codes[:0x7F81], codes[0x8000:0xFF81]
    assert (positive[1:] >= positive[:-1]).all() and (negative == (positive | 128)).all()
    assert torch.isnan(codes.to(torch.uint8).view(dtype).float()).equal(torch.isnan(values.float()))
    return torch.tensor([int((positive < code).sum()) for code in range(int(positive.max()) + 1)], dtype=torch.int32)


def left(t, dtype):
    scale = 2.0 ** math.floor(math.log2(torch.finfo(dtype).max / t.abs().max().item()))
    return (t.float() * scale).to(dtype).float() / scale


def left_blocks(t, dtype, height, width):
    """Of each block of so many rows and columns, by torch's own cutting and joining."""
    return torch.cat([torch.cat([left(block, dtype) for block in band.split(width, 1)], 1) for band in t.split(height, 0)], 0)


def blocks(rows, width, out):
    """A layer whose values one scale cannot hold: what is small in one operand is large in the other."""
    column, row = 2.0 ** (torch.arange(width) // 128 * 24), 2.0 ** (torch.arange(rows) % 2 * 24)
    x, w = torch.randn(rows, width) * column / row[:, None], torch.randn(out, width) * 0.02 / column
    x, w, dy = x.bfloat16(), w.bfloat16(), (torch.randn(rows, out) * 1e-6 * row[:, None]).bfloat16()
    squares = left_blocks(w, E4M3, 128, 128)
    return {"x": x, "w": w, "dy": dy, "y": left_blocks(x, E4M3, 1, 128) @ squares.T,
            "dx": left_blocks(dy, E4M3, 1, 128) @ squares,
            "dw": left_blocks(dy, E4M3, 128, 1).T @ left_blocks(x, E4M3, 128, 1)}


torch.manual_seed(1)
x, w, dy = torch.randn(N, I), torch.randn(O, I) * 0.02, torch.randn(N, O) * 1e-6
x[3, 5] = 40  # one large activation, which decides the scale
x, w, dy = x.bfloat16(), w.bfloat16(), dy.bfloat16()
tensors = {"e4m3": first_of_codes(E4M3), "e5m2": first_of_codes(E5M2), "x": x, "w": w, "dy": dy,
           "y": left(x, E4M3) @ left(w, E4M3).T}
for ending, dtype in ("", E5M2), ("_e4m3", E4M3):
    tensors["dx" + ending] = left(dy, dtype) @ left(w, E4M3)
    tensors["dw" + ending] = left(dy, dtype).T @ left(x, E4M3)
tensors.update({"blocks_" + name: t for name, t in blocks(20, 144, 16).items()})
folder = Path(__file__).parent / "fp8"
folder.mkdir(exist_ok=True)
save_file({name: t.float().contiguous() for name, t in tensors.items()}, folder / "expected.safetensors")
