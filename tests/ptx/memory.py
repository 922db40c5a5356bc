"""memory.py - global and shared memory: every access is inside an allocation, and aligned.

Global memory is one array; allocations lie apart by at least RED_ZONE bytes that nobody may touch, and begin as
poison: all bits set, which is a NaN in every type and no index.  Shared memory is one row of bytes for each block.
"""
import numpy as np

from ptx_parser import PtxError

BASE = 1 << 36  # of global memory: no 32-bit address is taken for one of it
SHARED_BASE = 1024  # the first bytes of a block's shared memory belong to the system, as on sm_90
RED_ZONE = 256
POISON = 0xFF
READABLE, WRITABLE = 1, 2
ARGUMENTS_BYTES = 4096  # kept for the parameters of kernels
WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def views_of(array):
    return {size: array.view(word) for size, word in WORDS.items()}


class Memory:
    """Global memory."""

    def __init__(self, room_bytes=1 << 25):
        self.bytes = np.full(room_bytes, POISON, np.uint8)
        self.rights = np.zeros(room_bytes, np.uint8)
        self.views = views_of(self.bytes)
        self.end = RED_ZONE + ARGUMENTS_BYTES + RED_ZONE

    def reserve(self, size, rights, misaligned=0):
        """The address of size fresh bytes, 256-byte aligned but for `misaligned` bytes."""
        start = self.end + misaligned
        self.end = (start + size + 2 * RED_ZONE - 1) // RED_ZONE * RED_ZONE
        if self.end + RED_ZONE > len(self.bytes):
            raise PtxError("the test's global memory is full")
        self.rights[start : start + size] = rights
        return BASE + start

    def put(self, array, writable=False, misaligned=0):
        """A copy of an array; its address."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        address = self.reserve(len(data), READABLE | (WRITABLE if writable else 0), misaligned)
        self.bytes[address - BASE : address - BASE + len(data)] = data
        return address

    def room(self, shape, dtype, misaligned=0):
        """Writable poison."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.reserve(size, READABLE | WRITABLE, misaligned)

    def get(self, address, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.bytes[address - BASE : address - BASE + size].copy().view(dtype).reshape(shape)

    def index(self, addresses, size, right):
        """Offsets of accesses of `size` bytes, checked."""
        at = addresses.astype(np.int64) - BASE
        if at.size == 0:
            return at
        if at.min() < 0 or at.max() + size > len(self.bytes):
            raise PtxError(f"access of {size} bytes outside global memory, at {hex(int(addresses.max()))}")
        if (at % size).any():
            raise PtxError(f"access of {size} bytes at an address that is not a multiple of that")
        allowed = self.rights[at] & self.rights[at + size - 1] & right
        if not allowed.all():
            where = int(at[np.argmin(allowed)])
            raise PtxError(f"access of {size} bytes outside an allocation, or not allowed, at offset {where}")
        return at


class Shared:
    """Shared memory of the blocks that run together: [blocks, bytes]; written_by_threads marks words that a fence
    has not yet shown to the asynchronous proxy, by the number of the thread + 1."""

    def __init__(self, num_blocks, size):
        self.size = size
        self.stride = (SHARED_BASE + size + 1023) // 1024 * 1024
        self.bytes = np.full(num_blocks * self.stride, POISON, np.uint8)
        self.views = views_of(self.bytes)
        self.unfenced = np.zeros(num_blocks * self.stride // 4, np.int32)

    def index(self, blocks, addresses, size):
        at = addresses.astype(np.int64)
        if at.size and (at.min() < SHARED_BASE or at.max() + size > SHARED_BASE + self.size):
            raise PtxError(f"access of {size} bytes outside shared memory, {int(at.min())} to {int(at.max())}"
                           f" of {SHARED_BASE} to {SHARED_BASE + self.size}")
        if (at % size).any():
            raise PtxError(f"access of {size} bytes of shared memory at an address that is not a multiple of that")
        return at + blocks * self.stride

    def expect_fenced(self, at, size):
        """The bytes of accesses by the asynchronous proxy: nothing there that a thread wrote without a fence."""
        words = (at[..., None] // 4 + np.arange((size + 3) // 4)).reshape(-1)
        if self.unfenced[words].any():
            raise PtxError("the asynchronous proxy reads shared memory that a thread wrote without"
                           " fence.proxy.async")
