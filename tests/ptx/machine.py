"""machine.py - executes a kernel: threads with a program counter each, gathered into groups at the same place.

All blocks of a launch run together, as far as memory allows.  Seed 0 runs the group with the lowest program counter:
warps go in step.  Other seeds let some warps run ahead as far as they can, and move the moments at which asynchronous
operations land.
"""
import numpy as np

import arithmetic
from asynchronous import Asynchronous
from memory import READABLE, WRITABLE, Shared
from ptx_parser import PtxError
from tensor_core import TensorCore
from translate import DTYPES

WARP = 32
REGISTER_BYTES = 1 << 28  # of all registers of the blocks that run together


class Warps:
    """Exchange between the lanes of full warps."""

    def __init__(self, machine):
        self.lane = machine.lane

    def shuffle(self, A, how, a, b, c):
        lane = self.lane[A].reshape(-1, WARP).astype(np.int64)
        b, c = (np.broadcast_to(x, lane.size).reshape(lane.shape).astype(np.int64) for x in (b, c))
        segment, clamp = (c >> 8) & 31, c & 31
        most, least = (lane & segment) | (clamp & ~segment), lane & segment
        if how == "bfly":
            source = lane ^ b
            inside = source <= most
        elif how == "idx":
            source = least | (b & ~segment & 31)
            inside = source <= most
        elif how == "down":
            source = lane + b
            inside = source <= most
        else:
            source = lane - b
            inside = source >= most
        values = np.broadcast_to(a, lane.size).reshape(lane.shape)
        return np.take_along_axis(values, np.where(inside, source, lane), 1).reshape(-1)

    def ballot(self, A, votes):
        lane = self.lane[A].reshape(-1, WARP).astype(np.uint64)
        bits = (votes.reshape(lane.shape).astype(np.uint64) << lane).sum(1).astype(np.uint32)
        return np.repeat(bits, WARP)


class Machine:
    """One launch of one kernel on some of the grid's blocks."""

    def __init__(self, memory, kernel, code, launch, blocks):
        self.memory, self.kernel, self.code, self.launch = memory, kernel, code, launch
        self.num_blocks = len(blocks)
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        self.threads, self.padded = threads, (threads + WARP - 1) // WARP * WARP
        self.total = self.num_blocks * self.padded
        self.random = np.random.default_rng(launch.seed) if launch.seed else None
        self.at, self.steps = [0], 0
        every = np.arange(self.total)
        self.every, self.lane, self.block = every, (every % WARP).astype(np.uint32), every // self.padded
        self.shared = Shared(self.num_blocks, launch.shared_bytes)
        self.pc = np.zeros(self.total, np.int64)
        self.left = every % self.padded >= threads
        self.waiting = np.full(self.total, -1)  # at which barrier
        self.parked = np.zeros(self.total, bool)  # until something lands in this block
        self.polling = np.zeros(self.total, bool)  # of these: who has looked at a counter, until another one is set
        self.polls = 0  # how often all that poll were let look again and none set a counter
        self.arrived = np.zeros((self.num_blocks, 16), np.int64)
        self.chosen = None
        self.set_special(blocks)
        self.asynchronous = Asynchronous(self)
        self.tensor = TensorCore(self)
        self.load_code()

    def set_special(self, blocks):
        x, y, _ = self.launch.block
        thread = self.every % self.padded
        place = np.asarray(blocks)[self.block]
        grid = self.launch.grid
        values = {"%tid.x": thread % x, "%tid.y": thread // x % y, "%tid.z": thread // (x * y),
                  "%ctaid.x": place % grid[0], "%ctaid.y": place // grid[0] % grid[1],
                  "%ctaid.z": place // (grid[0] * grid[1]), "%laneid": self.lane}
        for axis, name in enumerate("xyz"):
            values["%ntid." + name] = np.full(self.total, self.launch.block[axis])
            values["%nctaid." + name] = np.full(self.total, grid[axis])
        self.special_values = {name: value.astype(np.uint32) for name, value in values.items()}

    def load_code(self):
        """Compile the kernel, with the machine's functions under the names that the source uses."""
        code = self.code
        names = {name: getattr(arithmetic, name) for name in dir(arithmetic) if not name.startswith("_")}
        names.update(np=np, at=self.at, special=lambda name, A: self.special_values[name][A], lanes=self.lanes)
        for name in ("go", "branch", "leave", "barrier", "global_load", "global_store", "shared_load",
                      "shared_store", "atomic_add", "atomic_max", "shared_atomic_add", "acquiring_load", "releasing_store"):
            names[name] = getattr(self, name)
        names.update(asynchronous=self.asynchronous, tensor=self.tensor)
        warps = Warps(self)
        names.update(shuffle=warps.shuffle, ballot=warps.ballot)
        names.update(code.constants)
        registers = {}
        for name in sorted(code.used):
            dtype = np.dtype(DTYPES[self.kernel.registers[name]])
            array = np.full(self.total * dtype.itemsize, 0 if dtype == bool else 0xFF, np.uint8).view(dtype)
            registers[name] = array
            names["R_" + "".join(c if c.isalnum() or c == "_" else "_" for c in name)] = array
        self.registers = registers
        with np.errstate(all="ignore"):
            exec(code.compiled, names)
        self.functions = [names[f"block_{number}"] for number in range(len(code.blocks))]
        self.gathered = [threads for _, _, threads in code.blocks]

    def lanes(self, A):
        return self.every[A]

    # --- control

    def go(self, A, target):
        self.pc[A] = target

    def branch(self, A, taken, target, other):
        self.pc[A] = np.where(taken, target, other)

    def leave(self, A):
        self.left[A] = True

    def barrier(self, A, number, count, waits, following):
        """Threads arrive at barrier `number` of their block; those that wait go on when `count` have arrived."""
        lanes = self.lanes(A)
        number = np.broadcast_to(number, lanes.size).astype(np.int64)
        expected = np.broadcast_to(self.padded if count is None else count, lanes.size).astype(np.int64)
        self.pc[A] = following
        if waits:
            self.waiting[A] = number
        keys = self.block[lanes] * 16 + number
        for key in np.unique(keys):
            mine = keys == key
            block, barrier = divmod(int(key), 16)
            arrived = self.arrived[block, barrier] + int(mine.sum())
            wanted = int(expected[mine][0])
            if arrived > wanted:
                raise PtxError(f"{arrived} threads at barrier {barrier}, which waits for {wanted}")
            self.arrived[block, barrier] = arrived % wanted
            if arrived == wanted:
                self.waiting[(self.waiting == barrier) & (self.block == block)] = -1

    def wake(self, blocks):
        """Something has landed in these blocks."""
        self.parked[np.isin(self.block, blocks)] = False

    # --- memory

    def global_load(self, A, addresses, size, count):
        at = self.memory.index(addresses, size * count, READABLE) // size
        view = self.memory.views[size]
        return [view[at + i] for i in range(count)]

    def global_store(self, A, addresses, size, values):
        at = self.memory.index(addresses, size * len(values), WRITABLE) // size
        view = self.memory.views[size]
        for i, value in enumerate(values):
            view[at + i] = value

    def acquiring_load(self, A, addresses, size, count):
        """Of a counter by which blocks take turns: others go first until one is set, or until nobody else can go on."""
        self.parked[A] = self.polling[A] = True
        return self.global_load(A, addresses, size, count)

    def releasing_store(self, A, addresses, size, values):
        self.global_store(A, addresses, size, values)
        self.polls = 0
        self.look_again()

    def look_again(self):
        self.parked[self.polling] = False
        self.polling[:] = False

    def shared_load(self, A, addresses, size, count):
        at = self.shared.index(self.block[A], addresses, size * count) // size
        view = self.shared.views[size]
        return [view[at + i] for i in range(count)]

    def shared_store(self, A, addresses, size, values):
        bytes_at = self.shared.index(self.block[A], addresses, size * len(values))
        view = self.shared.views[size]
        for i, value in enumerate(values):
            view[bytes_at // size + i] = value
            self.shared.unfenced[(bytes_at + i * size) // 4] = self.lanes(A) + 1

    def atomic_add(self, A, addresses, add):
        at = self.memory.index(addresses, 4, WRITABLE) // 4
        view, old = self.memory.views[4], np.empty(len(at), np.uint32)
        for i, (where, more) in enumerate(zip(at, np.broadcast_to(add, len(at)))):
            old[i] = view[where]
            view[where] += more
        return old

    def atomic_max(self, A, addresses, value):
        at = self.memory.index(addresses, 4, WRITABLE) // 4
        view, old = self.memory.views[4], np.empty(len(at), np.uint32)
        for i, (where, other) in enumerate(zip(at, np.broadcast_to(value, len(at)))):
            old[i] = view[where]
            view[where] = max(view[where], other)
        return old

    def shared_atomic_add(self, A, addresses, add):
        at = self.shared.index(self.block[A], addresses, 4) // 4
        view, old = self.shared.views[4], np.empty(len(at), np.uint32)
        for i, (where, more) in enumerate(zip(at, np.broadcast_to(add, len(at)))):
            old[i] = view[where]
            view[where] += more
        return old

    # --- which threads go next

    def ready_group(self, ready):
        """The place and the threads to run, or None: the lowest place where all of a warp are that must be."""
        for place in np.unique(self.pc[ready]):
            here = ready & (self.pc == place)
            together = self.gathered[place]
            if not together:
                return int(place), here
            full = here.reshape(-1, together).all(1)
            if full.any():
                return int(place), here & np.repeat(full, together)
        return None

    def choose(self, ready):
        """With a seed: stay with some warps, the same of all blocks, as long as they can go on; now and then others."""
        if self.random is None:
            return ready
        if self.chosen is None or not (ready & self.chosen).any() or self.random.random() < 0.02:
            warps = self.random.random(self.padded // WARP) < 0.4
            self.chosen = np.tile(np.repeat(warps, WARP), self.num_blocks)
        return ready & self.chosen

    def run(self):
        while True:
            ready = ~(self.left | self.parked | (self.waiting >= 0))
            group = self.ready_group(self.choose(ready)) or self.ready_group(ready)
            if group is None:
                if self.asynchronous.land_some():
                    continue
                if self.polling.any() and self.polls < 2:
                    self.polls += 1
                    self.look_again()
                    continue
                break
            place, members = group
            A = np.flatnonzero(members)
            if len(A) == self.total:
                A = slice(None)
            elif A[-1] - A[0] + 1 == len(A):
                A = slice(int(A[0]), int(A[-1]) + 1)
            try:
                self.functions[place](A)
            except PtxError as error:
                raise PtxError(f"{self.where()}: {error}") from error
            self.steps += 1
            if self.random is not None and self.random.random() < 0.05:
                self.asynchronous.land_some()
        if not self.left.all():
            stuck = int(np.argmin(self.left))
            raise PtxError(f"threads wait for ever, thread {stuck % self.padded} of block {stuck // self.padded} at"
                           f" {self.where(self.code.blocks[self.pc[stuck]][0])}")
        self.asynchronous.finish()

    def where(self, at=None):
        instruction = self.kernel.instructions[self.at[0] if at is None else at]
        return f"line {instruction.line}, '{instruction.text[:100]}'"


class Launch:
    """Grid and block are (x, y, z); arguments: bytes as the parameters lie."""

    def __init__(self, grid, block, shared_bytes=0, seed=0):
        self.grid, self.block = (tuple(x) + (1, 1, 1) for x in (grid, block))
        self.grid, self.block = self.grid[:3], self.block[:3]
        self.shared_bytes, self.seed = shared_bytes, seed


def run_kernel(module, kernel, launch, code):
    """All blocks of the grid, as many together as memory allows."""
    threads = launch.block[0] * launch.block[1] * launch.block[2]
    if threads > kernel.max_threads:
        raise PtxError(f"{threads} threads in a block of at most {kernel.max_threads}")
    per_block = max(1, len(code.used) * 4 * threads + launch.shared_bytes)
    together = max(1, REGISTER_BYTES // per_block)
    number = launch.grid[0] * launch.grid[1] * launch.grid[2]
    steps = 0
    with np.errstate(all="ignore"):
        for first in range(0, number, together):
            blocks = range(first, min(first + together, number))
            machine = Machine(module.memory, kernel, code, launch, blocks)
            machine.run()
            steps += machine.steps
    return steps
