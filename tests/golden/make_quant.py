#!/usr/bin/env python3
"""Make tests/golden/quant/*.bin: blocks of each GGUF tensor type and the values the reference decodes them to.

Needs numpy and the PyPI package gguf (made with 0.19.0).  TYPE.bin holds NUM_BLOCKS packed blocks, then their
values as f32.  q8_0_encode.bin is the other way round: values, then the blocks the reference packs them into.
"""
import pathlib

import gguf
import numpy as np
from gguf.quants import dequantize, quantize

NUM_BLOCKS = 4
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "BF16", "F16", "MXFP4"]
FILES = {"MXFP4": "ggml_mxfp4"}  # safetensors have other blocks of it
# Where the f16 scales of a block stand; everything else may be any bits.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "BF16": [], "F16": [], "MXFP4": []}


def random_blocks(name, rng):
    """Random bits, so that every nibble, high bit and packed scale occurs, with scales that are ordinary numbers."""
    _, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    blocks = rng.integers(0, 256, (NUM_BLOCKS, block_bytes), dtype=np.uint8)
    if name == "F16":
        return rng.standard_normal(NUM_BLOCKS).astype(np.float16).view(np.uint8).reshape(NUM_BLOCKS, 2)
    if name == "BF16":
        upper_halves = rng.standard_normal(NUM_BLOCKS).astype(np.float32).view(np.uint32) >> 16
        return upper_halves.astype(np.uint16).view(np.uint8).reshape(NUM_BLOCKS, 2)
    if name == "MXFP4":
        blocks[:, 0] = 118 + rng.integers(0, 16, NUM_BLOCKS)  # a power of two
        for digit in (0x0F, 0xF0):  # the first block without zeros, whose sign says nothing
            blocks[0, 1:] |= np.where(blocks[0, 1:] & digit & 0x77 == 0, 0x11 & digit, 0).astype(np.uint8)
    for offset in SCALES[name]:
        scales = (rng.standard_normal(NUM_BLOCKS) * 0.05).astype(np.float16)
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(NUM_BLOCKS, 2)
    return blocks


def q8_0_cases(rng):
    """Eight blocks: ordinary values, zeros, halves to round, tiny and huge ones, a lone peak."""
    rows = np.zeros((8, 32), dtype=np.float32)
    rows[0] = rng.standard_normal(32)
    rows[2] = np.arange(32) - 15.5
    rows[2, 0] = 127
    rows[3] = rng.standard_normal(32) * 1e-7
    rows[4] = rng.standard_normal(32) * 1e6
    rows[5, 7] = -3
    rows[6] = rng.uniform(-1, 1, 32)
    rows[7] = rng.standard_normal(32) * 0.02
    return rows


def main():
    folder = pathlib.Path(__file__).parent / "quant"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(20)
    for name in TYPES:
        blocks = random_blocks(name, np.random.default_rng(21) if name == "MXFP4" else rng)
        values = dequantize(blocks, gguf.GGMLQuantizationType[name]).astype(np.float32)
        (folder / f"{FILES.get(name, name.lower())}.bin").write_bytes(blocks.tobytes() + values.tobytes())
    rows = q8_0_cases(rng)
    packed = quantize(rows, gguf.GGMLQuantizationType.Q8_0)
    (folder / "q8_0_encode.bin").write_bytes(rows.tobytes() + packed.tobytes())


if __name__ == "__main__":
    main()
