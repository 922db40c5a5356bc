"""module.py - a file of PTX ready to launch: kernels by name, arguments as C lays them out."""
import re
import struct

import numpy as np

from machine import Launch, run_kernel
from memory import ARGUMENTS_BYTES, BASE, READABLE, RED_ZONE, SHARED_BASE, Memory
from ptx_parser import PtxError, Text
from tensor_translate import TensorTranslator

CODES = {"i": 4, "I": 4, "f": 4, "q": 8, "Q": 8, "P": 8, "d": 8, "?": 1, "B": 1}
ARGUMENTS_AT = BASE + RED_ZONE


def flatten(fields):
    """(bytes, alignment) of a struct: pairs of a code of `struct` and a value, nested lists for nested structs, bytes
    for 64-byte aligned tensor maps."""
    data, alignment = b"", 1
    for item in fields:
        if isinstance(item, bytes):
            piece, align = item, 64
        elif isinstance(item, list):
            piece, align = flatten(item)
        else:
            code, value = item
            piece, align = struct.pack("<" + code.replace("P", "Q"), value), CODES[code]
        data += bytes(-len(data) % align) + piece
        alignment = max(alignment, align)
    return data + bytes(-len(data) % alignment), alignment


class File:
    """What one file of PTX says, translated as far as it was asked for; shared by all launches."""

    def __init__(self, text, name=""):
        self.text, self.name, self.codes = Text(text), name, {}

    def find(self, name, *template):
        """The kernel `name` whose template arguments begin as given, in the form of the mangled name."""
        arguments = "I" + "".join(re.escape(part) for part in template) + "E" if template else ""
        pattern = re.compile(rf"{len(name)}{name}" + arguments)
        found = [mangled for mangled in self.text.pieces if pattern.search(mangled)]
        if len(found) != 1:
            raise PtxError(f"{len(found)} kernels are called {name} {template}, of {len(self.text.pieces)}")
        return self.text.kernel(found[0])

    def places(self, kernel):
        """Where each parameter lies; the same at every launch."""
        at, places = ARGUMENTS_AT, {}
        for name, size, alignment in kernel.params:
            at = (at + alignment - 1) // alignment * alignment
            places[name] = at
            at += size
        if at > ARGUMENTS_AT + ARGUMENTS_BYTES:
            raise PtxError("the parameters have no room")
        return places

    def code(self, kernel):
        if kernel.name not in self.codes:
            symbols, at = self.places(kernel), SHARED_BASE
            for name, size, alignment in kernel.shared:
                at = (at + alignment - 1) // alignment * alignment
                symbols[name] = at
                at += size
            if kernel.shared and self.text.dynamic:
                raise PtxError("static and dynamic shared memory in one module")
            symbols.update(dict.fromkeys(self.text.dynamic, SHARED_BASE))
            code = TensorTranslator(kernel, symbols)
            code.compiled = compile(code.source(), kernel.name, "exec")
            self.codes[kernel.name] = code
        return self.codes[kernel.name]


class Module:
    """A file with global memory of its own.  seed: of its launches."""

    launched = set()  # kernels that ran to their end, 'FILE:NAME'

    def __init__(self, file, seed=0, memory=None):
        self.file, self.memory, self.seed = file, memory or Memory(), seed

    def place_arguments(self, kernel, arguments):
        """Into the memory of parameters."""
        memory, places = self.memory, self.file.places(kernel)
        start = ARGUMENTS_AT - BASE
        memory.rights[start : start + ARGUMENTS_BYTES] = 0
        if len(arguments) != len(kernel.params):
            raise PtxError(f"{kernel.name} takes {len(kernel.params)} parameters, not {len(arguments)}")
        for (name, size, _), argument in zip(kernel.params, arguments):
            data, _ = flatten(argument if isinstance(argument, list) else [argument])
            if len(data) != size:
                raise PtxError(f"parameter {name} has {size} bytes, not {len(data)}")
            start = places[name] - BASE
            memory.bytes[start : start + size] = np.frombuffer(data, np.uint8)
            memory.rights[start : start + size] = READABLE

    def launch(self, kernel, grid, block, arguments, shared_bytes=0):
        """Execute `kernel`, as File.find gives it; returns the number of steps of the machine."""
        static = sum(size for _, size, _ in kernel.shared)
        self.place_arguments(kernel, arguments)
        launch = Launch(grid, block, shared_bytes or static, self.seed)
        steps = run_kernel(self, kernel, launch, self.file.code(kernel))
        Module.launched.add(f"{self.file.name}:{kernel.name}")
        return steps
