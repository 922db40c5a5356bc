"""translate.py - a kernel's instructions as Python source, one function for each straight run of them.

A register is an array with one element for each thread; a run is executed for the threads in A, a slice or a list of
indices.  Runs end at branches, at barriers, and before the first instruction that a whole warp executes together, so
that the machine can gather the warp there.
"""
import re
import struct

import numpy as np

from ptx_parser import BYTES, PtxError

DTYPES = {"pred": np.bool_}
for _size in (8, 16, 32, 64):
    DTYPES[f"u{_size}"] = DTYPES[f"b{_size}"] = getattr(np, f"uint{_size}")
    DTYPES[f"s{_size}"] = getattr(np, f"int{_size}")
DTYPES.update(f32=np.float32, f64=np.float64)

BINARY = {"add": "({0} + {1})", "sub": "({0} - {1})", "and": "({0} & {1})", "or": "({0} | {1})", "xor": "({0} ^ {1})",
          "div": "divide({0}, {1})", "divide": "({0} / {1})", "rem": "remainder({0}, {1})", "copysign": "np.copysign({1}, {0})"}
ENDS = {"bra", "ret", "exit", "bar"}
COLLECTIVE = ("mma", "ldmatrix", "shfl", "vote", "wgmma", "bar", "setmaxnreg")
IGNORED = ("prefetch.tensormap", "fence.mbarrier_init", "membar", "fence.acq_rel")


class Translator:
    """Source of one kernel, and the constants that it names."""

    def __init__(self, kernel, symbols):
        self.kernel, self.symbols = kernel, symbols
        self.constants, self.names, self.used = {}, {}, set()
        self.blocks = []  # (first instruction, one past the last, threads to gather)
        self.block_of = {}
        self.cut()

    def cut(self):
        code = self.kernel.instructions
        starts = {0} | set(self.kernel.labels.values())
        starts |= {at + 1 for at, instruction in enumerate(code) if instruction.op[0] in ENDS}
        collective = lambda at: code[at].op[0] in COLLECTIVE
        gathered = False
        for at in range(len(code)):
            if at in starts:
                gathered = False
            if collective(at) and not gathered:
                starts.add(at)
                gathered = True
        bounds = sorted(start for start in starts if start < len(code)) + [len(code)]
        for first, end in zip(bounds, bounds[1:]):
            self.block_of[first] = len(self.blocks)
            self.blocks.append((first, end, self.gathered_threads(first, end)))

    def gathered_threads(self, first, end):
        """How many threads that stand together the run needs whole: 0, a warp, a warpgroup."""
        names = {instruction.op[0] for instruction in self.kernel.instructions[first:end]}
        return 128 if "wgmma" in names else 32 if names & set(COLLECTIVE) else 0

    # --- operands

    def constant(self, value):
        name = self.names.setdefault((value.dtype.str, value.tobytes()), f"K{len(self.names)}")
        self.constants[name] = value
        return name

    def register(self, name):
        """The Python name of a register's array."""
        self.used.add(name)
        return "R_" + re.sub(r"\W", "_", name)

    def immediate(self, text, dtype):
        if text.startswith("0f"):
            value = np.float32(struct.unpack(">f", bytes.fromhex(text[2:]))[0])
            bits = np.array(int(text[2:], 16), np.uint32)
            return self.constant(value if dtype == np.float32 and value == value else bits.view(dtype)[()])
        if text.startswith("0d"):
            return self.constant(np.array(int(text[2:], 16), np.uint64).view(dtype)[()])
        if dtype is np.bool_:
            return str(bool(int(text, 0)))
        bits = np.dtype(dtype).itemsize * 8
        value = int(text, 0) & ((1 << bits) - 1)
        return self.constant(np.array(value, f"u{bits // 8}").view(dtype)[()])

    def value(self, operand, kind):
        """An expression of type `kind` for the active threads."""
        dtype = DTYPES[kind]
        if operand.kind == "immediate":
            return self.immediate(operand.name, dtype)
        if operand.kind == "symbol":
            return self.constant(dtype(self.symbols[operand.name]))
        if operand.kind != "register":
            raise PtxError(f"operand {operand} is not a value")
        if "." in operand.name or operand.name not in self.kernel.registers:
            return f"special({operand.name!r}, A).view(np.{np.dtype(dtype).name})"
        declared = self.kernel.registers[operand.name]
        text = f"{self.register(operand.name)}[A]"
        if DTYPES[declared] == dtype:
            return text
        if BYTES[declared] == np.dtype(dtype).itemsize:
            return f"{text}.view(np.{np.dtype(dtype).name})"
        if BYTES[declared] > np.dtype(dtype).itemsize:
            return f"{text}.astype(np.{np.dtype(dtype).name})"
        raise PtxError(f"register {operand.name} is smaller than {kind}")

    def assign(self, operand, expression, kind):
        """Store a result of type `kind`; wider registers take it with its sign."""
        if operand.kind == "sink":
            return expression
        declared = self.kernel.registers[operand.name]
        have, want = np.dtype(DTYPES[kind]), np.dtype(DTYPES[declared])
        if have.itemsize < want.itemsize:
            wide = np.dtype(f"{have.kind}{want.itemsize}")
            expression = f"({expression}).astype(np.{wide.name})"
            have = wide
        if have != want:
            expression = f"({expression}).view(np.{want.name})"
        return f"{self.register(operand.name)}[A] = {expression}"

    def address(self, operand):
        """Of memory: an array of addresses, one for each active thread."""
        base, offset = operand.base, operand.offset
        if base.kind == "symbol":
            return f"np.full(lanes(A).size, {self.symbols[base.name] + offset}, np.int64)"
        text = f"{self.register(base.name)}[A].astype(np.int64)"
        return f"({text} + {offset})" if offset else text

    # --- instructions

    def statements(self, instruction):
        op = ".".join(instruction.op)
        if op.startswith(IGNORED):
            return ["pass"]
        method = getattr(self, "do_" + instruction.op[0], None)
        if instruction.guard and instruction.op[0] != "bra":
            raise PtxError(f"line {instruction.line}: a guard on '{op}' is not understood")
        try:
            if method:
                result = method(instruction)
            else:
                result = self.machine_call(instruction)
        except (KeyError, IndexError) as error:
            raise PtxError(f"line {instruction.line}: '{instruction.text[:120]}' is not understood: {error}") from error
        return result if isinstance(result, list) else [result]

    def machine_call(self, instruction):
        raise PtxError(f"line {instruction.line}: '{instruction.text[:120]}' is not understood")

    def binary(self, instruction):
        kind = instruction.op[-1]
        values = [self.value(operand, kind) for operand in instruction.operands[1:]]
        name = "divide" if instruction.op[0] == "div" and kind[0] == "f" else instruction.op[0]
        return self.assign(instruction.operands[0], BINARY[name].format(*values), kind)

    do_sub = do_and = do_or = do_xor = do_div = do_rem = do_copysign = binary

    def do_add(self, instruction):
        if "rz" not in instruction.op:
            return self.binary(instruction)
        a, b = (self.value(operand, "f32") for operand in instruction.operands[1:])
        return self.assign(instruction.operands[0], f"add_to_zero({a}, {b})", "f32")

    def unary(self, instruction, template):
        kind = instruction.op[-1]
        return self.assign(instruction.operands[0], template.format(self.value(instruction.operands[1], kind)), kind)

    def do_neg(self, instruction):
        return self.unary(instruction, "(-{0})")

    def do_abs(self, instruction):
        return self.unary(instruction, "np.abs({0})")

    def do_not(self, instruction):
        return self.unary(instruction, "(~{0})")

    def do_sqrt(self, instruction):
        return self.unary(instruction, "np.sqrt({0})")

    def do_rcp(self, instruction):
        if instruction.op[1] == "rn":
            return self.unary(instruction, "(np.float32(1) / {0})")
        return self.unary(instruction, "reciprocal64({0})" if instruction.op[-1] == "f64" else "reciprocal_flush({0})")

    def do_rsqrt(self, instruction):
        return self.unary(instruction, "rsqrt_flush({0})")

    def do_ex2(self, instruction):
        return self.unary(instruction, "exp2_flush({0})" if "ftz" in instruction.op else "exp2({0})")

    def extreme(self, instruction):
        kind, name = instruction.op[-1], {"max": "maximum", "min": "minimum"}[instruction.op[0]]
        if kind.startswith("f") and "NaN" not in instruction.op:
            name = "f" + name[:3]
        a, b = (self.value(operand, kind) for operand in instruction.operands[1:])
        return self.assign(instruction.operands[0], f"np.{name}({a}, {b})", kind)

    do_max = do_min = extreme

    def do_mul(self, instruction):
        kind, (to, *operands) = instruction.op[-1], instruction.operands
        a, b = (self.value(operand, kind) for operand in operands)
        if "wide" in instruction.op:
            wide = kind[0] + str(2 * int(kind[1:]))
            name = np.dtype(DTYPES[wide]).name
            return self.assign(to, f"(np.{name}(1) * {a} * {b})", wide)
        if "hi" in instruction.op:
            if kind != "s32":
                raise KeyError(kind)
            return self.assign(to, f"high_product({a}, {b})", kind)
        return self.assign(to, f"({a} * {b})", kind)

    def do_mad(self, instruction):
        kind = instruction.op[-1]
        if instruction.op[1] != "lo":
            raise KeyError(instruction.op[1])
        a, b, c = (self.value(operand, kind) for operand in instruction.operands[1:])
        return self.assign(instruction.operands[0], f"({a} * {b} + {c})", kind)

    def do_fma(self, instruction):
        kind = instruction.op[-1]
        name = {"rm": "fma_down", "rn": "fma64" if kind == "f64" else "fma"}[instruction.op[1]]
        values = ", ".join(self.value(operand, kind) for operand in instruction.operands[1:])
        return self.assign(instruction.operands[0], f"{name}({values})", kind)

    def do_shl(self, instruction):
        return self.shift(instruction, "<<", "shift_left")

    def do_shr(self, instruction):
        return self.shift(instruction, ">>", "shift_right")

    def shift(self, instruction, symbol, function):
        kind, (to, a, amount) = instruction.op[-1], instruction.operands
        value = self.value(a, kind)
        if amount.kind == "immediate" and 0 <= int(amount.name) < int(kind[1:]):
            return self.assign(to, f"({value} {symbol} {self.immediate(amount.name, DTYPES[kind])})", kind)
        return self.assign(to, f"{function}({value}, {self.value(amount, 'u32')})", kind)

    def do_bfi(self, instruction):
        to, field, into, position, length = instruction.operands
        kind = instruction.op[-1]
        values = f"{self.value(field, kind)}, {self.value(into, kind)}, {int(position.name)}, {int(length.name)}"
        return self.assign(to, f"insert_field({values})", kind)

    def do_setp(self, instruction):
        how, kind = instruction.op[1], instruction.op[-1]
        a, b = (self.value(operand, kind) for operand in instruction.operands[1:])
        plain = {"eq": "==", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
        if how in plain or (how == "ne" and kind[0] != "f"):
            return self.assign(instruction.operands[0], f"({a} {plain.get(how, '!=')} {b})", "pred")
        if kind[0] != "f":
            raise KeyError(how)
        return self.assign(instruction.operands[0], f"compare({how!r}, {a}, {b})", "pred")

    def do_selp(self, instruction):
        kind, (to, a, b, p) = instruction.op[-1], instruction.operands
        text = f"np.where({self.value(p, 'pred')}, {self.value(a, kind)}, {self.value(b, kind)})"
        return self.assign(to, text, kind)

    def do_prmt(self, instruction):
        to, *operands = instruction.operands
        return self.assign(to, f"permute({', '.join(self.value(operand, 'u32') for operand in operands)})", "u32")

    def do_mov(self, instruction):
        kind, (to, source) = instruction.op[-1], instruction.operands
        if to.kind == "vector":
            half = f"u{int(kind[1:]) // 2}"
            whole = self.value(source, kind)
            low = self.assign(to.parts[0], f"({whole}).astype(np.{np.dtype(DTYPES[half]).name})", half)
            shift = self.constant(DTYPES[kind](int(kind[1:]) // 2))
            high = f"({whole} >> {shift}).astype(np.{np.dtype(DTYPES[half]).name})"
            return [low, self.assign(to.parts[1], high, half)]
        if source.kind == "vector":
            half, whole = f"u{int(kind[1:]) // 2}", np.dtype(DTYPES[kind]).name
            low, high = (f"{self.value(part, half)}.astype(np.{whole})" for part in source.parts)
            return self.assign(to, f"({low} | ({high} << {self.constant(DTYPES[kind](int(kind[1:]) // 2))}))", kind)
        return self.assign(to, self.value(source, kind), kind)

    def do_cvta(self, instruction):
        kind = instruction.op[-1]
        return self.assign(instruction.operands[0], self.value(instruction.operands[1], kind), kind)

    def do_cvt(self, instruction):
        op, (to, *sources) = instruction.op, instruction.operands
        target, source = op[-2], op[-1]
        if target in ("bf16x2", "f16x2"):
            high, low = (self.value(operand, "f32") for operand in sources)
            return self.assign(to, f"pack({target[:-2]!r}, {high}, {low})", "u32")
        if target in ("e4m3x2", "e5m2x2") and op[1:3] == ["rn", "satfinite"]:
            high, low = (self.value(operand, "f32") for operand in sources)
            return self.assign(to, f"pack_codes({target[:-2]!r}, {high}, {low})", "u16")
        if target in ("bf16", "f16"):
            return self.assign(to, f"{target}_bits({self.value(sources[0], 'f32')})", "u16")
        if source in ("bf16", "f16"):
            return self.assign(to, f"{source}_values({self.value(sources[0], 'u16')})", target)
        value = self.value(sources[0], source)
        if "sat" in op:
            return self.assign(to, f"saturate({value})", target)
        if "rni" in op:
            return self.assign(to, f"np.rint({value})", target)
        if op[1:] == ["rzi", "s64", "f64"]:
            return self.assign(to, f"np.trunc({value}).astype(np.int64)", target)
        if source[0] == "f" and target[0] != "f":
            raise KeyError(target)
        return self.assign(to, f"{value}.astype(np.{np.dtype(DTYPES[target]).name})", target)

    # --- memory

    def space(self, instruction):
        spaces = [part for part in instruction.op if part.startswith(("global", "shared", "param"))]
        return "shared" if spaces and spaces[0].startswith("shared") else "global"

    def do_ld(self, instruction):
        kind, (to, memory) = instruction.op[-1], instruction.operands
        count = next((int(part[1]) for part in instruction.op if re.fullmatch(r"v\d", part)), 1)
        size, name = BYTES[kind], np.dtype(DTYPES[kind]).name
        space = "acquiring" if "acquire" in instruction.op else self.space(instruction)
        load = f"{space}_load(A, {self.address(memory)}, {size}, {count})"
        if count == 1:
            return self.assign(to, f"{load}[0].view(np.{name})", kind)
        return [f"v = {load}"] + [self.assign(part, f"v[{i}].view(np.{name})", kind)
                                  for i, part in enumerate(to.parts)]

    def do_prefetch(self, instruction):
        """A hint; what it names must be there to be read, which the ISA does not ask for."""
        if instruction.op[1:] != ["global", "L2"]:
            raise KeyError(".".join(instruction.op))
        return f"global_load(A, {self.address(instruction.operands[0])}, 1, 1)"

    def do_st(self, instruction):
        kind, (memory, source) = instruction.op[-1], instruction.operands
        parts = source.parts if source.kind == "vector" else [source]
        unsigned = f"b{BYTES[kind] * 8}"
        values = ", ".join(self.value(part, unsigned) for part in parts)
        space = "releasing" if "release" in instruction.op else self.space(instruction)
        return f"{space}_store(A, {self.address(memory)}, {BYTES[kind]}, [{values}])"

    def do_atom(self, instruction):
        if instruction.op[1:] == ["global", "max", "u32"]:
            to, memory, value = instruction.operands
            return self.assign(to, f"atomic_max(A, {self.address(memory)}, {self.value(value, 'u32')})", "u32")
        if instruction.op[1:] not in (["global", "add", "u32"], ["shared", "add", "u32"]):
            raise KeyError(".".join(instruction.op))
        to, memory, add = instruction.operands
        name = "atomic_add" if instruction.op[1] == "global" else "shared_atomic_add"
        return self.assign(to, f"{name}(A, {self.address(memory)}, {self.value(add, 'u32')})", "u32")

    # --- warps

    def do_shfl(self, instruction):
        to, a, b, c, mask = instruction.operands
        if to.kind == "pair":
            to = to.parts[0]
        values = ", ".join(self.value(operand, "u32") for operand in (a, b, c))
        return self.assign(to, f"shuffle(A, {instruction.op[2]!r}, {values})", "u32")

    def do_vote(self, instruction):
        if instruction.op[2] != "ballot":
            raise KeyError(instruction.op[2])
        return self.assign(instruction.operands[0], f"ballot(A, {self.value(instruction.operands[1], 'pred')})", "u32")

    # --- control; `next_block` follows

    def terminator(self, instruction, next_block):
        name = instruction.op[0]
        if name == "bra":
            label = instruction.operands[0].name
            target = self.block_of[self.kernel.labels[label]]
            if not instruction.guard:
                return f"go(A, {target})"
            taken = f"{self.register(instruction.guard)}[A]"
            return f"branch(A, {'~' if instruction.negated else ''}{taken}, {target}, {next_block})"
        if name in ("ret", "exit"):
            return "leave(A)"
        if instruction.op[1] == "warp":
            return f"go(A, {next_block})"
        operands = [self.value(operand, "u32") for operand in instruction.operands]
        count = operands[1] if len(operands) > 1 else "None"
        waits = instruction.op[1] == "sync"
        return f"barrier(A, {operands[0]}, {count}, {waits}, {next_block})"

    def source(self):
        lines = []
        code = self.kernel.instructions
        for number, (first, end, _) in enumerate(self.blocks):
            lines.append(f"def block_{number}(A):")
            ended = False
            for at in range(first, end):
                instruction = code[at]
                lines.append(f"    at[0] = {at}")
                if instruction.op[0] in ENDS:
                    lines.append("    " + self.terminator(instruction, number + 1))
                    ended = True
                else:
                    lines += ["    " + statement for statement in self.statements(instruction)]
            if not ended:
                lines.append(f"    go(A, {number + 1})")
        return "\n".join(lines)
