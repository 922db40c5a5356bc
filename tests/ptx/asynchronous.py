"""asynchronous.py - copies that run beside the threads, mbarriers, fences between proxies.

Source: PTX ISA 9.0, 9.7.9.25 (cp.async, cp.async.bulk.tensor), 9.7.13 (mbarrier, fences).  What is in flight lands at
once, at the latest moment that the ISA allows, or at a random one: by the launch's seed.  Until then its target is
poison.
"""
import numpy as np

from memory import BASE, READABLE, WRITABLE
from ptx_parser import PtxError
from tensor_core import swizzled

MAP_MAGIC = b"tensor map of the test "


class TensorMap:
    """dims, box: innermost first, in elements; strides: bytes, from the second axis on; swizzle: bytes."""

    known = []

    def __init__(self, base, dims, strides, box, element_bytes, swizzle):
        self.base, self.dims, self.box = base, dims, box
        self.strides = [element_bytes] + list(strides)
        self.element_bytes, self.swizzle = element_bytes, swizzle
        if base % 16 or any(stride % 16 for stride in strides) or max(box) > 256 or box[0] * element_bytes % 16:
            raise PtxError("a tensor map that the hardware refuses")
        if swizzle and box[0] * element_bytes > swizzle:
            raise PtxError("a box that is wider than its swizzle")
        self.number = len(TensorMap.known)
        TensorMap.known.append(self)

    def opaque(self):
        return (MAP_MAGIC + str(self.number).encode()).ljust(128, b"\0")

    def box_bytes(self):
        return int(np.prod(self.box)) * self.element_bytes

    def places(self, coordinates):
        """Of each element of the box: address in global memory, whether inside, offset in shared memory."""
        grids = np.meshgrid(*(np.arange(size) for size in reversed(self.box)), indexing="ij")[::-1]
        address, inside, offset, pitch = self.base, True, 0, self.element_bytes
        for grid, start, size, stride, side in zip(grids, coordinates, self.dims, self.strides, self.box):
            at = grid + start
            inside = inside & (at >= 0) & (at < size)
            address = address + at * stride
            offset = offset + grid * pitch
            pitch *= side
        return address.reshape(-1), inside.reshape(-1), offset.reshape(-1)


class Barriers:
    """mbarriers, one array element for each 8 bytes of shared memory."""

    def __init__(self, machine):
        self.machine = machine
        words = len(machine.shared.bytes) // 8
        self.expected, self.pending, self.bytes, self.phase = (np.zeros(words, np.int64) for _ in range(4))

    def at(self, A, addresses):
        at = self.machine.shared.index(self.machine.block[A], addresses, 8) // 8
        return at

    def existing(self, A, addresses):
        at = self.at(A, addresses)
        if (self.expected[at] == 0).any():
            raise PtxError("an mbarrier that was not initialised")
        return at

    def init(self, A, addresses, count):
        at = self.at(A, addresses)
        if (self.expected[at] != 0).any():
            raise PtxError("an mbarrier that is initialised again")
        self.expected[at] = self.pending[at] = np.broadcast_to(count, at.shape)

    def settle(self, at):
        """Complete the phases of these barriers that have nothing left to wait for."""
        for place in np.unique(at):
            if self.pending[place] < 0:
                raise PtxError("more arrivals at an mbarrier than it waits for")
            if self.pending[place] == 0 and self.bytes[place] == 0:
                self.pending[place] = self.expected[place]
                self.phase[place] += 1
                self.machine.wake(place * 8 // self.machine.shared.stride)

    def arrive(self, A, addresses, expect_bytes):
        at = self.existing(A, addresses)
        np.add.at(self.bytes, at, np.broadcast_to(expect_bytes, at.shape).astype(np.int64))
        np.subtract.at(self.pending, at, 1)
        self.settle(at)

    def complete_bytes(self, place, count):
        self.bytes[place] -= count
        self.settle(np.array([place]))

    def try_wait(self, A, addresses, parity):
        at = self.existing(A, addresses)
        done = (self.phase[at] & 1) != np.broadcast_to(parity, at.shape)
        self.machine.parked[self.machine.lanes(A)[~done]] = True
        return done


class Line:
    """A bulk store under way: read by its wait for reading at the latest, written as late as its thread allows."""

    def __init__(self, owner, thread, place, at, adds):
        self.owner, self.thread, self.group = owner, thread, owner.store_groups[thread]
        self.place, self.at, self.adds, self.values = place, at, adds, None

    def read(self):
        if self.values is None:
            self.values = self.owner.shared.views[4][self.place // 4].copy()

    def write(self):
        view = self.owner.memory.views[4]
        if self.adds:
            sums = view[self.at].view(np.float32) + self.values.view(np.float32)
            view[self.at] = sums.view(view.dtype)
        else:
            view[self.at] = self.values


class Asynchronous:
    def __init__(self, machine):
        self.machine, self.shared, self.memory = machine, machine.shared, machine.memory
        self.barriers = Barriers(machine)
        self.mode = "early" if not machine.launch.seed else ("late", "mixed")[machine.launch.seed % 2 == 0]
        self.copies = []  # cp.async: (threads, group of each, place in shared memory, place in global memory, valid)
        self.loads = []  # tensor loads: functions that land them
        self.stores = []  # tensor stores: (thread, group, function)
        self.lines = []  # bulk stores and sums: Line
        self.copy_groups, self.store_groups = np.zeros(machine.total, np.int64), np.zeros(machine.total, np.int64)
        self.registers = {}

    def lands_early(self):
        if self.mode == "mixed":
            return self.machine.random.random() < 0.5
        return self.mode == "early"

    # --- cp.async

    def copy16(self, A, to, source, size, valid):
        if size != 16:
            raise PtxError(f"cp.async of {size} bytes")
        lanes = self.machine.lanes(A)
        valid = np.broadcast_to(valid, lanes.size)
        if ((valid != 0) & (valid != 16)).any():
            raise PtxError("cp.async of a part of 16 bytes")
        place = self.shared.index(self.machine.block[lanes], to, 16) // 8
        read = valid == 16
        at = np.zeros(lanes.size, np.int64)
        at[read] = self.memory.index(source[read], 16, READABLE) // 8
        copy = (lanes, self.copy_groups[lanes], place, at, read)
        if self.lands_early():
            self.land_copy(copy)
            return
        self.shared.views[8][place] = self.shared.views[8][place + 1] = 2**64 - 1
        self.copies.append(copy)

    def land_copy(self, copy):
        _, _, place, at, read = copy
        for half in range(2):
            self.shared.views[8][place + half] = np.where(read, self.memory.views[8][at + half], np.uint64(0))

    def copy_commit(self, A):
        self.copy_groups[A] += 1

    def copy_wait(self, A, pending):
        here = np.zeros(self.machine.total, bool)
        here[A] = True
        kept = []
        for copy in self.copies:
            done = here[copy[0]] & (copy[1] < self.copy_groups[copy[0]] - pending)
            if done.any():
                self.land_copy([part[done] for part in copy])
            if not done.all():
                kept.append([part[~done] for part in copy])
        self.copies = kept

    # --- tensor copies, one thread each

    def map_at(self, address):
        at = int(address) - BASE
        if at % 64:
            raise PtxError("a tensor map that is not 64-byte aligned")
        text = self.memory.bytes[at : at + 128].tobytes().rstrip(b"\0")
        if not text.startswith(MAP_MAGIC):
            raise PtxError("a tensor copy by something that is not a tensor map")
        return TensorMap.known[int(text[len(MAP_MAGIC) :])]

    def tensor_places(self, thread, address, coordinates, shared_address):
        tensor = self.map_at(address)
        if len(coordinates) != len(tensor.dims):
            raise PtxError("a tensor copy with another number of coordinates than its map")
        alignment = tensor.swizzle * 8 if tensor.swizzle else 128
        if int(shared_address) % alignment:
            raise PtxError(f"a tensor copy to an address of shared memory that is not a multiple of {alignment}")
        source, inside, offset = tensor.places([int(c) for c in coordinates])
        place = self.shared.index(np.int64(self.machine.block[thread]),
                                  swizzled(int(shared_address) + offset, tensor.swizzle), tensor.element_bytes)
        return tensor, source, inside, place

    def tensor_load(self, A, to, map_address, coordinates, barrier):
        lanes = self.machine.lanes(A)
        mbarriers = self.barriers.existing(A, barrier)
        coordinates = [np.broadcast_to(c, lanes.size).view(np.int32) for c in coordinates]
        for i, thread in enumerate(lanes):
            found = self.tensor_places(thread, map_address[i], [c[i] for c in coordinates], to[i])
            self.start_load(found, mbarriers[i])

    def start_load(self, found, mbarrier):
        tensor, source, inside, place = found
        size = tensor.element_bytes
        at = self.memory.index(source[inside], size, READABLE) // size

        def land():
            values = np.zeros(len(place), self.memory.views[size].dtype)
            values[inside] = self.memory.views[size][at]
            self.shared.views[size][place // size] = values
            self.shared.unfenced[place // 4] = 0
            self.barriers.complete_bytes(mbarrier, tensor.box_bytes())

        if self.lands_early():
            land()
        else:
            self.shared.views[size][place // size] = np.iinfo(self.shared.views[size].dtype).max
            self.loads.append(land)

    def tensor_store(self, A, map_address, coordinates, source):
        lanes = self.machine.lanes(A)
        coordinates = [np.broadcast_to(c, lanes.size).view(np.int32) for c in coordinates]
        for i, thread in enumerate(lanes):
            found = self.tensor_places(thread, map_address[i], [c[i] for c in coordinates], source[i])
            self.start_store(found, thread)

    def start_store(self, found, thread):
        tensor, target, inside, place = found
        size = tensor.element_bytes
        at = self.memory.index(target[inside], size, WRITABLE) // size
        place = place[inside]
        self.shared.expect_fenced(place, size)

        def land():
            self.memory.views[size][at] = self.shared.views[size][place // size]

        if self.lands_early():
            land()
        else:
            self.stores.append((thread, self.store_groups[thread], land))

    def bulk(self, A, target, source, size, adds):
        """Bytes of shared memory to global memory as they lie, or added to the f32 values there."""
        sizes = np.broadcast_to(size, self.machine.lanes(A).size)
        for thread, to, at, count in zip(self.machine.lanes(A), target, source, sizes):
            if count % 16 or to % 16 or at % 16:
                raise PtxError(f"a bulk store of {count} bytes: not multiples of 16")
            steps = 4 * np.arange(int(count) // 4)
            place = self.shared.index(self.machine.block[thread] + 0 * steps, int(at) + steps, 4)
            self.shared.expect_fenced(place, 4)
            line = Line(self, thread, place, self.memory.index(np.uint64(to) + steps.astype(np.uint64), 4, WRITABLE) // 4, adds)
            self.lines.append(line)
            if self.lands_early():
                line.read()

    def store_commit(self, A):
        self.store_groups[A] += 1

    def store_wait(self, A, pending, written=False):
        here = set(self.machine.lanes(A).tolist())
        for line in [line for line in self.lines if int(line.thread) in here]:
            if line.group < self.store_groups[line.thread] - pending:
                line.read()
                if written:
                    line.write()
                    self.lines.remove(line)
        kept = []
        for thread, group, land in self.stores:
            if int(thread) in here and group < self.store_groups[thread] - pending:
                land()
            else:
                kept.append((thread, group, land))
        self.stores = kept

    # --- order

    def fence(self, A):
        """fence.proxy.async: what these threads wrote is seen by the asynchronous proxy from here on."""
        mine = np.zeros(self.machine.total + 1, bool)
        mine[self.machine.lanes(A) + 1] = True
        self.shared.unfenced[mine[self.shared.unfenced]] = 0

    def set_registers(self, A, count):
        if count % 8 or not 24 <= count <= 256:
            raise PtxError(f"setmaxnreg {count}")
        for warp in np.unique(self.machine.lanes(A) // 32):
            self.registers[int(warp)] = count

    def land_some(self):
        """Land one load; False when none is in flight."""
        if not self.loads:
            return False
        # There is no order among them: the last one first is what waits for another do not expect.
        self.loads.pop(-1 if self.mode == "late" else int(self.machine.random.integers(len(self.loads))))()
        return True

    def finish(self):
        """At the end of the launch: nothing that reads shared memory may still run."""
        for line in reversed(self.lines):  # nobody said in which order
            if line.values is None:
                raise PtxError("a bulk store that may still read shared memory at the kernel's end")
            line.write()
        if self.stores or self.loads or self.copies and any(copy[4].any() for copy in self.copies):
            raise PtxError("the kernel ends while copies use its shared memory")
        if self.machine.tensor.flights:
            raise PtxError("the kernel ends while a wgmma runs")
        if (self.machine.arrived != 0).any():
            raise PtxError("the kernel ends while a barrier waits for more threads")
        if self.barriers.bytes.any():
            raise PtxError("an mbarrier expects other bytes than were copied")
        if self.registers:
            self.expect_registers()

    def expect_registers(self):
        """The warps of a block hold together no more registers than it was started with."""
        threads = self.machine.threads
        started = 65536 // threads // 8 * 8
        held = sum(count for warp, count in self.registers.items() if warp < threads // 32) * 32
        if held > started * threads or len(self.registers) != self.machine.total // 32:
            raise PtxError(f"setmaxnreg: {held} registers held, {started * threads} in the block")
