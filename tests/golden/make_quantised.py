#!/usr/bin/env python3
"""Make tests/golden/quant/e4m3.bin: all 256 values of F8_E4M3 as f32, as the PyPI package ml_dtypes (made with 0.6.0)
converts them.  NaN is stored as the quiet NaN of numpy, with the sign of its byte.
"""
import pathlib

import ml_dtypes
import numpy as np

values = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
(pathlib.Path(__file__).parent / "quant" / "e4m3.bin").write_bytes(values.tobytes())
