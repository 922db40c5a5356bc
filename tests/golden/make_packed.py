#!/usr/bin/env python3
"""Make tests/golden/quant/nf4.bin: what bitsandbytes (made with 0.50.2, on the CPU) makes of 300 blocks of 64 values in NF4, plain
and with double quantisation.  The values are a formula, exact in f32, that tests/test_packed.c knows too:
    ((i 2654435761 mod 2^32) >> 16 - 32768) 2^-18 (1 + (i / 64) mod 7)
In the file, one after the other: codes [9600], absmax f32 [300]; of double quantisation: the codes of absmax [300], its map f32
[256], its absmax f32 [2], its offset f32, and the absmax that it gives back, f32 [300].
"""
import pathlib

import bitsandbytes.functional as bnb
import numpy as np
import torch

NUM_BLOCKS = 300
i = np.arange(64 * NUM_BLOCKS, dtype=np.uint64)
hashed = ((i * 2654435761 % 2**32) >> np.uint64(16)).astype(np.int64) - 32768
values = torch.from_numpy((hashed * 2.0**-18 * (1 + i.astype(np.int64) // 64 % 7)).astype(np.float32))

codes, plain = bnb.quantize_4bit(values, quant_type="nf4", compress_statistics=False)
again, double = bnb.quantize_4bit(values, quant_type="nf4", compress_statistics=True)
assert torch.equal(codes, again)
# Its library for CPUs takes other codes than the nearest now and then; its kernels for GPUs, and this form in torch, do not.
general = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)
quantise = torch.ops.bitsandbytes.quantize_blockwise.default
nested, largest = quantise.redispatch(general, plain.absmax - double.offset, double.state2.code, 256)
assert torch.equal(largest, double.state2.absmax) and (nested != double.absmax).sum() < 4
double.absmax = nested
back = bnb.dequantize_blockwise(double.absmax, double.state2) + double.offset
parts = [codes, plain.absmax, double.absmax, double.state2.code, double.state2.absmax, double.offset.reshape(1), back]
(pathlib.Path(__file__).parent / "quant" / "nf4.bin").write_bytes(b"".join(part.numpy().tobytes() for part in parts))
