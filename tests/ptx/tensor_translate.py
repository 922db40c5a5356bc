"""tensor_translate.py - matrix, asynchronous and barrier instructions as Python source."""
import re

from ptx_parser import PtxError
from translate import Translator


class TensorTranslator(Translator):
    def values(self, operand, kind="u32"):
        return [self.value(part, kind) for part in operand.parts]

    def do_mma(self, instruction):
        op = ".".join(instruction.op)
        d, a, b, c = instruction.operands
        left, right, sums = (f"[{', '.join(self.values(*x))}]" for x in ((a,), (b,), (c, "f32")))
        large = re.fullmatch(r"mma\.sync\.aligned\.m16n8k16\.row\.col\.f32\.(bf16|f16)\.\1\.f32", op)
        small = re.fullmatch(r"mma\.sync\.aligned\.m8n8k4\.row\.(col|row)\.f32\.f16\.f16\.f32", op)
        if large:
            call = f"d = tensor.mma({large[1]!r}, {left}, {right}, {sums})"
        elif small:
            call = f"d = tensor.mma_quarters({left}, {right}, {small[1] == 'col'}, {sums})"
        else:
            raise KeyError(op)
        return [call] + [self.assign(part, f"d[{i}]", "f32") for i, part in enumerate(d.parts)]

    def do_ldmatrix(self, instruction):
        to, memory = instruction.operands
        transposed = "trans" in instruction.op
        call = f"d = tensor.ldmatrix(A, {self.address(memory)}, {len(to.parts)}, {transposed})"
        return [call] + [self.assign(part, f"d[{i}]", "u32") for i, part in enumerate(to.parts)]

    def do_wgmma(self, instruction):
        what = instruction.op[1]
        if what == "fence":
            return "tensor.fence(A)"
        if what == "commit_group":
            return "tensor.commit(A)"
        if what == "wait_group":
            return f"tensor.wait(A, {instruction.operands[0].name})"
        shape = re.fullmatch(r"m64n(\d+)k16", instruction.op[4])
        kind = instruction.op[-1]
        d, a, b, accumulate, scale_a, scale_b, *transposed = instruction.operands
        if instruction.op[5] != "f32" or scale_a.name != "1" or scale_b.name != "1":
            raise KeyError(instruction.text)
        outs = ", ".join(self.register(part.name) for part in d.parts)
        if len(d.parts) != int(shape[1]) // 2:
            raise PtxError(f"line {instruction.line}: {len(d.parts)} accumulators of a wgmma of {shape[1]} columns")
        if a.kind == "vector":
            pairs = zip(a.parts, self.values(a))
            left = "[" + ", ".join(f"({self.register(part.name)}, {text})" for part, text in pairs) + "]"
            flags = [0, int(transposed[0].name)]
        else:
            left, flags = self.value(a, "u64"), [int(t.name) for t in transposed]
        how = f"({kind!r}, {shape[1]}, {bool(flags[0])}, {bool(flags[1])})"
        return (f"tensor.issue(A, [{outs}], {left}, {self.value(b, 'u64')}, {self.value(accumulate, 'pred')},"
                f" {how})")

    def do_cp(self, instruction):
        op, operands = ".".join(instruction.op), instruction.operands
        if op.startswith("cp.async.cg.shared.global"):
            to, source, size, valid = operands
            return (f"asynchronous.copy16(A, {self.address(to)}, {self.address(source)}, {size.name},"
                    f" {self.value(valid, 'u32')})")
        simple = {"cp.async.commit_group": "copy_commit(A)", "cp.async.bulk.commit_group": "store_commit(A)"}
        if op in simple:
            return "asynchronous." + simple[op]
        waits = {"cp.async.wait_group": "copy_wait", "cp.async.bulk.wait_group.read": "store_wait"}
        if op == "cp.async.bulk.wait_group":
            return f"asynchronous.store_wait(A, {operands[0].name}, True)"
        bulk = {"cp.async.bulk.global.shared::cta.bulk_group": False,
                "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32": True}
        if op in bulk:
            to, source, size = operands
            return (f"asynchronous.bulk(A, {self.address(to)}, {self.address(source)}, {self.value(size, 'u32')},"
                    f" {bulk[op]})")
        if op in waits:
            return f"asynchronous.{waits[op]}(A, {operands[0].name})"
        if re.fullmatch(r"cp\.async\.bulk\.tensor\.\dd\.shared::cluster\.global\.mbarrier::complete_tx::bytes", op):
            to, source, barrier = operands
            coordinates = ", ".join(self.values(source))
            return (f"asynchronous.tensor_load(A, {self.address(to)}, {self.address(source)}, [{coordinates}],"
                    f" {self.address(barrier)})")
        if re.fullmatch(r"cp\.async\.bulk\.tensor\.\dd\.global\.shared::cta\.bulk_group", op):
            to, source = operands
            coordinates = ", ".join(self.values(to))
            return f"asynchronous.tensor_store(A, {self.address(to)}, [{coordinates}], {self.address(source)})"
        raise KeyError(op)

    def do_mbarrier(self, instruction):
        op, operands = ".".join(instruction.op), instruction.operands
        if op == "mbarrier.init.shared::cta.b64":
            return f"asynchronous.barriers.init(A, {self.address(operands[0])}, {self.value(operands[1], 'u32')})"
        if op.startswith("mbarrier.arrive"):
            count = self.value(operands[2], "u32") if "expect_tx" in op else 0
            return f"asynchronous.barriers.arrive(A, {self.address(operands[1])}, {count})"
        if op == "mbarrier.try_wait.parity.shared::cta.b64":
            to, memory, parity = operands
            call = f"asynchronous.barriers.try_wait(A, {self.address(memory)}, {self.value(parity, 'u32')})"
            return self.assign(to, call, "pred")
        raise KeyError(op)

    def do_fence(self, instruction):
        if ".".join(instruction.op) == "fence.proxy.async.global":
            return "pass"  # global memory has one order here
        if ".".join(instruction.op) != "fence.proxy.async.shared::cta":
            raise KeyError(".".join(instruction.op))
        return "asynchronous.fence(A)"

    def do_setmaxnreg(self, instruction):
        return f"asynchronous.set_registers(A, {instruction.operands[0].name})"
