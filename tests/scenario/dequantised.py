#!/usr/bin/env python3
"""dequantised.py FORM BASE OUT - a copy of an f32 model folder whose layers' matrices are what NF4, E4M3 or int8 leave of them.

Written from the formats' definitions with Python's own numbers, so that a training beside a packed base has something to be compared
with: NF4 of 64 values (Dettmers et al. 2023, QLoRA, appendix E), E4M3 and int8 of 128 values with a scale.
"""

import json
import shutil
import struct
import sys
from pathlib import Path

NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
E4M3 = sorted({sign * (m / 8 * 2 ** -6 if e == 0 else (1 + m / 8) * 2 ** (e - 7))
               for sign in (-1, 1) for e in range(16) for m in range(8) if (e, m) != (15, 7)})
FORMS = {"nf4": (64, NF4), "fp8": (128, E4M3), "int8": (128, [float(i) for i in range(-127, 128)])}


def nearest(codes, value):
    """By halving: the codes ascend."""
    low, high = 0, len(codes) - 1
    while low < high:
        middle = (low + high) // 2
        if value > (codes[middle] + codes[middle + 1]) / 2:
            low = middle + 1
        else:
            high = middle
    return codes[low]


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def left_of(values, form):
    block, codes = FORMS[form]
    kept = []
    for at in range(0, len(values), block):
        part = values[at:at + block]
        scale = f32(max(abs(value) for value in part) / codes[-1]) or 1.0
        kept += [f32(nearest(codes, value / scale) * scale) for value in part]
    return kept


def main(form, base, out):
    shutil.copytree(base, out)
    (out / "manifest.json").unlink(missing_ok=True)
    path, count = out / "model.safetensors", 0
    data = bytearray(path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    for name, tensor in json.loads(data[8:start]).items():
        if not name.startswith("model.layers.") or len(tensor["shape"]) != 2:
            continue
        assert tensor["dtype"] == "F32", name
        begin, end = (start + offset for offset in tensor["data_offsets"])
        words = f"<{(end - begin) // 4}f"
        data[begin:end] = struct.pack(words, *left_of(struct.unpack(words, data[begin:end]), form))
        count += 1
    path.write_bytes(data)
    print(f"{count} matrices")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
