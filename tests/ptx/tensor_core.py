"""tensor_core.py - matrix products of warps and warpgroups, and ldmatrix.

Layouts of fragments: PTX ISA 9.0, 9.7.14.5 (mma.m8n8k4, mma.m16n8k16, ldmatrix) and 9.7.15.5 (wgmma).  Layouts that a descriptor of
wgmma names: the PTX ISA's 9.7.15.5.1 and CuTe's canonical layouts (cute/arch/mma_sm90_desc.hpp,
cute/atom/mma_traits_sm90_gmma.hpp).  Products are summed in f32, one instruction after the other.
"""
import numpy as np

from arithmetic import F32, WIDE
from ptx_parser import PtxError

GROUP = 128  # threads of a warpgroup
SWIZZLES = {0: 0, 1: 128, 2: 64, 3: 32}  # bits 62 and 63 of a descriptor -> bytes


def swizzled(address, bytes_):
    """CuTe's Swizzle<B, 4, 3> of an address: 16-byte chunks, permuted by the bits 3 above."""
    return address ^ ((address >> 3) & (bytes_ - 16)) if bytes_ else address


def offsets_of(rows, transposed, swizzle, leading, stride):
    """Byte offsets of a tile [rows, 16 k] of 16-bit elements before the swizzle: CuTe's canonical layouts, with T = 8
    elements in 16 bytes.  K-major: ((8, m), (T, 2)) : ((8 T or the swizzle's row, SBO), (1, T or LBO)).  MN-major:
    ((T, chunks of a row, m), (8, k)) : ((1, T, LBO), (row, SBO)); without a swizzle LBO and SBO the other way round."""
    m, k = np.meshgrid(np.arange(rows), np.arange(16), indexing="ij")
    if not transposed:
        row = swizzle or 16
        across = leading if not swizzle else 16
        return m % 8 * row + m // 8 * stride + k % 8 * 2 + k // 8 * across
    if not swizzle:
        return m % 8 * 2 + m // 8 * stride + k % 8 * 16 + k // 8 * leading
    chunk = swizzle // 2  # elements of a row
    return m % chunk * 2 + m // chunk * leading + k % 8 * swizzle + k // 8 * stride


def spread(registers):
    """[warps, 8, 4, registers, 2] 16-bit halves of words that 32 lanes hold."""
    words = np.stack(registers, -1).astype(np.uint32, copy=False)
    return np.ascontiguousarray(words).view(np.uint16).reshape(-1, 8, 4, len(registers), 2)


def rows_of_a(registers, kind):
    """A of mma.m16n8k16, and a warp's 16 rows of that of wgmma: [warps, 16, 16]."""
    halves = spread(registers).reshape(-1, 8, 4, 2, 2, 2)  # warp, g, t, k half, row half, pair
    return WIDE[kind](np.ascontiguousarray(halves.transpose(0, 4, 1, 3, 2, 5))).reshape(-1, 16, 16)


def quarters(registers):
    """[warps, half, quarter, t, 4] values of mma.m8n8k4's operands in f16: lane 16 half + 4 quarter + t holds four.  CuTe's
    SM70_QuadPair: quarter q is multiplied by the lanes 4 q + t and 16 + 4 q + t."""
    words = np.stack(registers, -1).astype(np.uint32, copy=False)
    return WIDE["f16"](np.ascontiguousarray(words).view(np.uint16).reshape(-1, 2, 4, 4, 4))


class Flight:
    """A wgmma on its way: its threads, accumulators, operands, which accumulators it keeps, and once it is in flight its
    commit group and the registers that it reads."""

    def __init__(self, lanes, outs, a, b, how, keep):
        self.lanes, self.outs, self.a, self.b, self.how, self.keep = lanes, outs, a, b, how, keep
        self.group, self.registers = 0, []
        self.inputs = None  # accumulators before; None: what the registers hold when it lands


class TensorCore:
    def __init__(self, machine):
        self.machine, self.shared = machine, machine.shared
        groups = max(1, machine.total // GROUP)
        self.flights = []
        self.commits = np.zeros(groups, np.int64)
        self.unfenced = np.ones(groups, bool)  # registers not yet ordered before the next product
        self.offsets = {}

    # --- mma.sync, ldmatrix

    def mma(self, kind, a, b, c):
        """d of m16n8k16: four arrays of f32, as the lanes hold them."""
        left = rows_of_a(a, kind)
        right = spread(b).transpose(0, 3, 2, 4, 1)  # warp, k half, t, pair, g
        right = WIDE[kind](np.ascontiguousarray(right)).reshape(-1, 16, 8)
        product = np.matmul(left, right).reshape(-1, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4).reshape(-1, 4)
        return [c[i] + product[:, i] for i in range(4)]

    def mma_quarters(self, a, b, by_columns, c):
        """d of m8n8k4, A by rows and B by columns or rows: eight arrays of f32, as the lanes hold them.  Four products a warp;
        the layouts of A and of B by columns are CuTe's SM70_8x4_Row, of B by rows SM70_8x4_Col, of d SM70_8x8_32b."""
        left = quarters(a).transpose(0, 2, 1, 3, 4).reshape(-1, 8, 4)  # row 4 half + t, k
        right = quarters(b)
        if by_columns:
            right = right.transpose(0, 2, 4, 1, 3)  # k; column 4 half + t
        else:
            right = right.transpose(0, 2, 3, 1, 4)  # k = t; column 4 half + i
        product = np.matmul(left, right.reshape(-1, 4, 8))
        # warp, quarter, row (half, pair, t0), column (four, t1, e) -> element 4 four + 2 pair + e of lane (half, quarter, t1, t0)
        held = product.reshape(-1, 4, 2, 2, 2, 2, 2, 2).transpose(5, 3, 7, 0, 2, 1, 6, 4).reshape(8, -1)
        return [c[i] + held[i] for i in range(8)]

    def ldmatrix(self, A, addresses, count, transposed):
        """`count` matrices of 8 rows of 16 bytes; lane 8 i + r has the address of row r of matrix i."""
        addresses = addresses.reshape(-1, 32)[:, : 8 * count]
        blocks = self.machine.block[A].reshape(-1, 32)[:, : 8 * count]
        at = self.shared.index(blocks, addresses, 16) // 2
        rows = self.shared.views[2][at[..., None] + np.arange(8)].reshape(-1, count, 8, 8)
        if transposed:
            rows = rows.transpose(0, 1, 3, 2)
        words = np.ascontiguousarray(rows).view(np.uint32)  # [warps, count, 8, 4]
        return [words[:, i].reshape(-1) for i in range(count)]

    # --- wgmma

    def tile(self, lanes, descriptor, rows, transposed, kind):
        """[groups, rows, 16] of f32 from shared memory."""
        first = descriptor.reshape(-1, GROUP)
        if (first != first[:, :1]).any():
            raise PtxError("the threads of a warpgroup have different descriptors")
        first = first[:, 0]
        parts = np.unique(first >> np.uint64(16))
        if len(parts) != 1:
            raise PtxError("warpgroups in step have descriptors of different layouts")
        bits = int(parts[0])
        leading, stride, base, mode = bits << 4 & 0x3FFF0, bits >> 16 << 4 & 0x3FFF0, bits >> 33 & 7, bits >> 46
        if base or mode not in SWIZZLES:
            raise PtxError(f"descriptor {hex(int(first[0]))} is not understood")
        key = rows, transposed, SWIZZLES[mode], leading, stride
        if key not in self.offsets:
            self.offsets[key] = offsets_of(*key)
        start = ((first & np.uint64(0x3FFF)) << np.uint64(4)).astype(np.int64)
        address = swizzled(start[:, None, None] + self.offsets[key], SWIZZLES[mode])
        blocks = self.machine.block[lanes].reshape(-1, GROUP)[:, 0]
        at = self.shared.index(blocks[:, None, None], address, 2)
        if self.shared.unfenced[at // 4].any():
            raise PtxError("wgmma reads shared memory that a thread wrote without fence.proxy.async")
        return WIDE[kind](self.shared.views[2][at // 2])

    def product(self, flight):
        """[groups, 64, n]."""
        kind, n, transposed_a, transposed_b = flight.how
        if isinstance(flight.a, list):
            left = rows_of_a(flight.a, kind).reshape(-1, 64, 16)
        else:
            left = self.tile(flight.lanes, flight.a, 64, transposed_a, kind)
        right = self.tile(flight.lanes, flight.b, n, transposed_b, kind)
        return np.matmul(left, right.transpose(0, 2, 1))

    def fragments(self, product):
        """As the threads hold them: [n / 2] arrays."""
        groups, _, n = product.shape
        held = product.reshape(groups, 4, 2, 8, n // 8, 4, 2)  # group, warp, half, g, i, t, pair
        return held.transpose(4, 2, 6, 0, 1, 3, 5).reshape(n // 2, -1)

    def issue(self, A, outs, a, b, accumulate, how):
        """a: a descriptor's array, or a list of (register, its values); outs: registers."""
        lanes = self.machine.lanes(A)
        groups = lanes.reshape(-1, GROUP)[:, 0] // GROUP
        if self.unfenced[groups].any():
            raise PtxError("wgmma without a wgmma.fence after registers were free to change")
        keep = np.broadcast_to(accumulate, lanes.size)
        if self.machine.asynchronous.lands_early() and not self.flights:
            operand = [values for _, values in a] if isinstance(a, list) else a
            self.land(Flight(lanes, outs, operand, b, how, keep))
            return
        for first in range(0, lanes.size, GROUP):  # each warpgroup has flights of its own
            own = slice(first, first + GROUP)
            operand = [values[own].copy() for _, values in a] if isinstance(a, list) else a[own].copy()
            flight = Flight(lanes[own], outs, operand, b[own].copy(), how, keep[own].copy())
            flight.registers = [register for register, _ in a] if isinstance(a, list) else []
            self.take_off(flight)

    def take_off(self, flight):
        """In flight until its wait; its accumulators are poison until then."""
        flight.group = self.commits[flight.lanes[0] // GROUP]
        if self.earlier(flight) is None:
            flight.inputs = self.inputs(flight)
        self.flights.append(flight)
        for out in flight.outs:
            out[flight.lanes] = np.float32(np.nan)

    def inputs(self, flight):
        return np.stack([np.where(flight.keep, out[flight.lanes], F32(0)) for out in flight.outs])

    def earlier(self, flight):
        """The last flight that will leave its results in the same registers of these threads."""
        for other in reversed(self.flights):
            if other.outs[0] is flight.outs[0] and other.lanes[0] == flight.lanes[0]:
                return other
        return None

    def land(self, flight):
        inputs = self.inputs(flight) if flight.inputs is None else flight.inputs
        for register, values in zip(flight.registers, flight.a):
            if (register[flight.lanes] != values).any():
                raise PtxError("a register that wgmma reads changed before the wait")
        results = inputs + self.fragments(self.product(flight))
        for out, result in zip(flight.outs, results):
            out[flight.lanes] = result

    def fence(self, A):
        self.unfenced[np.unique(self.machine.lanes(A) // GROUP)] = False

    def commit(self, A):
        self.commits[np.unique(self.machine.lanes(A) // GROUP)] += 1

    def wait(self, A, pending):
        """Until at most `pending` groups of these warpgroups are in flight."""
        lanes = self.machine.lanes(A)
        groups = set((lanes // GROUP).tolist())
        kept = []
        for flight in self.flights:
            group = int(flight.lanes[0]) // GROUP
            if group in groups and flight.group < self.commits[group] - pending:
                self.land(flight)
            else:
                kept.append(flight)
        self.flights = kept
        self.unfenced[np.unique(lanes // GROUP)] = True
