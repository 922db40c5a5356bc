"""bench.py - what the cases of all kernels need: files of PTX, types, random numbers, comparison with references."""
import os
import zlib

import numpy as np

from arithmetic import bf16_bits, bf16_values, f16_bits, f16_values
from module import File, Module
from ptx_parser import PtxError


class Type:
    """A type of activations: its name in mangled names, how it is stored, the relative error of one rounding."""

    def __init__(self, name, mangled, dtype, rounding, to_bits, values):
        self.name, self.mangled, self.dtype, self.rounding = name, mangled, dtype, rounding
        self.to_bits, self.values = to_bits, values
        self.size = np.dtype(dtype).itemsize
        self.vector = 16 // self.size


F32 = Type("f32", "f", np.float32, 2.0**-24, lambda x: x.astype(np.float32), lambda x: x)
BF16 = Type("bf16", "6bf16_t", np.uint16, 2.0**-8, lambda x: bf16_bits(x.astype(np.float32)), bf16_values)
F16 = Type("f16", "5f16_t", np.uint16, 2.0**-11, lambda x: f16_bits(x.astype(np.float32)), f16_values)
TYPES = [BF16, F16, F32]


class Bench:
    """change: (file, function of its text), for planted faults."""

    files = {}
    used = set()  # names of the texts that were asked for

    def __init__(self, folder, arch="sm_80", seed=0, change=None):
        self.folder, self.arch, self.seed, self.change = folder, arch, seed, change
        self.random = np.random.default_rng(1)

    def start(self, name):
        """Random numbers of a case of their own, whatever ran before."""
        self.random = np.random.default_rng(zlib.crc32(name.encode()))

    def file(self, name):
        compiled = self.compiled(name)
        Bench.used.add(compiled)
        if self.change and self.change[0] == name:
            return self.changed(compiled)
        key = self.folder, compiled
        if key not in Bench.files:
            Bench.files[key] = File(self.text(compiled), compiled)
        return Bench.files[key]

    def compiled(self, name):
        """'NAME.ARCH' of a file: what has no text of Hopper's is the same there.  V100 has another compiler, and all of its
        files."""
        own = f"{name}.{self.arch}"
        there = self.arch == "sm_70" or os.path.exists(os.path.join(self.folder, own + ".ptx"))
        return own if there else f"{name}.sm_80"

    def text(self, compiled):
        with open(os.path.join(self.folder, compiled + ".ptx"), encoding="utf-8") as file:
            return file.read()

    def changed(self, compiled):
        """The file with the planted fault, made once."""
        if not isinstance(self.change[1], File):
            before = self.text(compiled)
            after = self.change[1](before)
            if after == before:
                raise AssertionError("the planted fault changes nothing")
            self.change = (self.change[0], File(after, compiled))
        return self.change[1]

    def module(self, name):
        return Module(self.file(name), self.seed)

    def normal(self, shape, scale=1.0, mean=0.0):
        return (mean + scale * self.random.standard_normal(shape)).astype(np.float32)

    def stored(self, type_, shape, scale=1.0, mean=0.0):
        """Random elements as they are stored, and their values in f64."""
        bits = type_.to_bits(self.normal(shape, scale, mean))
        return bits, type_.values(bits).astype(np.float64)


class Wrong(Exception):
    """A result that is not what the reference says."""


def expect_near(what, found, reference, relative, absolute):
    """|found - reference| <= relative |reference| + absolute, element by element; returns the largest part of that
    bound that was used."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    bound = relative * np.abs(reference) + absolute
    error = np.abs(found - reference)
    bad = ~(error <= bound)
    if bad.any():
        where = np.unravel_index(int(np.argmax(np.where(np.isnan(error), np.inf, error / bound))), error.shape)
        raise Wrong(f"{what}: {int(bad.sum())} of {error.size} elements are wrong, the worst at"
                    f" {tuple(int(i) for i in where)}: {found[where]:.8g} for {reference[where]:.8g}")
    return float((error / np.maximum(bound, 1e-300)).max()) if error.size else 0.0


def expect_relative(what, found, reference, bound):
    """Norm of the difference, relative to that of the reference; returns it."""
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    error = np.linalg.norm(found - reference) / np.linalg.norm(reference)
    if not error <= bound:
        raise Wrong(f"{what}: relative error {error:.3g}, at most {bound:.3g} is expected")
    return float(error)


def expect_same(what, found, reference):
    """The same bits."""
    if not np.array_equal(found, reference):
        raise Wrong(f"{what}: {int((np.asarray(found) != np.asarray(reference)).sum())} of"
                    f" {np.asarray(found).size} elements differ")
    return 0.0


def divide_up(a, b):
    return -(-a // b)


def whole_warps(wanted, most):
    return min(max(32, divide_up(wanted, 32) * 32), most)


__all__ = ["BF16", "F16", "F32", "TYPES", "Bench", "PtxError", "Wrong", "divide_up", "expect_near",
           "expect_relative", "expect_same", "whole_warps"]
