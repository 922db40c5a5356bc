#!/usr/bin/env python3
"""Make tests/golden/quant/e4m3.bin: all 256 values of F8_E4M3 as f32, as the PyPI package ml_dtypes (made with 0.6.0)
converts them.  NaN is stored as the quiet NaN of numpy, with the sign of its byte.

And mxfp4.bin: a matrix of 3 x 96 values in MXFP4, blocks [3, 3, 16], then scales [3, 3], then the values as f32 that
transformers (made with 5.23.0) makes of them.  All four bits occur in both halves of a byte, and scales from 2^-126 to 2^125.
mxfp4_stack.bin: those of two experts, blocks [2, 64, 1, 16], scales [2, 64, 1], and the values [2, 32, 64], inputs by rows.
"""
import pathlib
import sys

import numpy as np

folder = pathlib.Path(__file__).parent / "quant"


def make_e4m3():
    import ml_dtypes

    values = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    (folder / "e4m3.bin").write_bytes(values.tobytes())


def make_mxfp4():
    import torch
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks = (torch.arange(3 * 3 * 16) * 167 % 256).to(torch.uint8).reshape(1, 3, 3, 16)
    scales = torch.tensor([127, 1, 120, 130, 118, 126, 140, 100, 252], dtype=torch.uint8).reshape(1, 3, 3)
    values = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)  # as the experts take it: transposed
    values = values[0].T.contiguous()
    assert values.shape == (3, 96)
    (folder / "mxfp4.bin").write_bytes(blocks.numpy().tobytes() + scales.numpy().tobytes() + values.numpy().tobytes())


def make_mxfp4_stack():
    import torch
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    blocks = (torch.arange(2 * 64 * 16) * 167 % 251).to(torch.uint8).reshape(2, 64, 1, 16)
    scales = (torch.arange(2 * 64) % 9 + 120).to(torch.uint8).reshape(2, 64, 1)
    values = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).contiguous()
    assert values.shape == (2, 32, 64)
    (folder / "mxfp4_stack.bin").write_bytes(blocks.numpy().tobytes() + scales.numpy().tobytes() + values.numpy().tobytes())


for name in sys.argv[1:] or ["e4m3", "mxfp4", "mxfp4_stack"]:
    {"e4m3": make_e4m3, "mxfp4": make_mxfp4, "mxfp4_stack": make_mxfp4_stack}[name]()
