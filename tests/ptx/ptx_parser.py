"""parser.py - PTX text, as nvcc -ptx writes it, into instructions.

Source: NVIDIA's PTX ISA 9.0, chapters 4 to 7 and 10.  What the compiler writes is less than what the manual allows;
anything else is refused with its line.
"""
import re
from dataclasses import dataclass, field


class PtxError(Exception):
    """What the text or the machine finds wrong."""


@dataclass
class Operand:
    """kind: register, immediate, symbol, memory, vector, pair, sink.

    register, symbol: name.  immediate: text.  memory: base Operand, offset, parts (coordinates of tensor copies).
    vector: parts.  pair: parts, 'd|p'.
    """

    kind: str
    name: str = ""
    base: "Operand" = None
    offset: int = 0
    parts: list = field(default_factory=list)


@dataclass
class Instruction:
    op: list  # the opcode at its points
    operands: list
    guard: str  # predicate register, or ""
    negated: bool
    line: int
    text: str


@dataclass
class Kernel:
    name: str
    params: list = field(default_factory=list)  # (name, bytes, alignment)
    registers: dict = field(default_factory=dict)  # name -> type
    shared: list = field(default_factory=list)  # static: (name, bytes, alignment)
    instructions: list = field(default_factory=list)
    labels: dict = field(default_factory=dict)  # name -> index of the instruction
    max_threads: int = 1024


BYTES = {"b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "b32": 4, "u32": 4, "s32": 4, "f32": 4}
BYTES.update({"b64": 8, "u64": 8, "s64": 8, "f64": 8, "pred": 1})

PARAM = re.compile(r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(\w+)(?:\[(\d+)\])?")
REGISTERS = re.compile(r"\.reg\s+\.(\w+)\s+([%\w]+)(?:<(\d+)>)?")
SHARED = re.compile(r"\.shared\s+\.align\s+(\d+)\s+\.b8\s+(\w+)\[(\d*)\]")
GUARD = re.compile(r"@(!?)([%\w]+)\s+(.*)")
MEMORY = re.compile(r"\[([%\w$]+)\s*(?:\+\s*(-?\d+))?\s*(?:,\s*\{([^}]*)\})?\]")
REGISTER = re.compile(r"%[a-z]+\d*(\.[xyz])?$")
NUMBER = re.compile(r"-?\d|0[fdx]")


def split_operands(text):
    """At the commas outside brackets and braces."""
    parts, depth, start = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "[{") - (character in "]}")
        if character == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
    last = text[start:].strip()
    return parts + [last] if last else parts


def operand_of(text, registers):
    if text == "_":
        return Operand("sink")
    if text.startswith("{"):
        return Operand("vector", parts=[operand_of(part, registers) for part in split_operands(text[1:-1])])
    if text.startswith("["):
        found = MEMORY.fullmatch(text)
        if not found:
            raise PtxError(f"address '{text}' is not understood")
        parts = [operand_of(part, registers) for part in split_operands(found[3] or "")]
        return Operand("memory", base=operand_of(found[1], registers), offset=int(found[2] or 0), parts=parts)
    if "|" in text:
        return Operand("pair", parts=[operand_of(part, registers) for part in text.split("|")])
    if text in registers or REGISTER.match(text):
        return Operand("register", name=text)
    if NUMBER.match(text):
        return Operand("immediate", name=text)
    return Operand("symbol", name=text)


class Body:
    """The statements of one kernel; scopes in braces have labels of their own."""

    def __init__(self, kernel):
        self.kernel, self.scopes, self.num_scopes = kernel, [], 0

    def label(self, name):
        return name if name.startswith("$") else f"{name}@{self.scopes[-1] if self.scopes else 0}"

    def statement(self, text, line):
        kernel = self.kernel
        declared = REGISTERS.match(text)
        if declared:
            names = [declared[2]]
            if declared[3]:
                names = [f"{declared[2]}{number}" for number in range(int(declared[3]))]
            kernel.registers.update(dict.fromkeys(names, declared[1]))
            return
        shared = SHARED.match(text)
        if shared:
            kernel.shared.append((shared[2], int(shared[3]), int(shared[1])))
            return
        if text.startswith((".pragma", ".loc")):
            return
        if text.startswith("."):
            raise PtxError(f"line {line}: '{text}' is not understood")
        self.instruction(text, line)

    def instruction(self, text, line):
        guard = GUARD.match(text)
        negated, predicate, rest = (guard[1] == "!", guard[2], guard[3]) if guard else (False, "", text)
        op, _, tail = rest.partition(" ") if " " in rest else rest.partition("\t")
        op = op.strip().split(".")
        if "\t" in op[-1]:
            raise PtxError(f"line {line}: '{text}' is not understood")
        operands = [operand_of(part, self.kernel.registers) for part in split_operands(tail.strip())]
        if op[0] == "bra":
            operands[0] = Operand("symbol", name=self.label(operands[0].name))
        self.kernel.instructions.append(Instruction(op, operands, predicate, negated, line, text))

    def line(self, text, number):
        """One line; returns False at the end of the kernel."""
        if text == "{":
            self.num_scopes += 1
            self.scopes.append(self.num_scopes)
        elif text == "}":
            self.scopes.pop()
            return bool(self.scopes)
        elif re.fullmatch(r"[$\w]+:", text):
            self.kernel.labels[self.label(text[:-1])] = len(self.kernel.instructions)
        else:
            for statement in text.rstrip(";").split(";"):
                self.inline(statement.strip(), number)
        return True

    def inline(self, statement, number):
        """A statement, perhaps in braces on one line: '{ .reg .b32 t; mov.b64 {t, %r1}, %fd1; }' comes in pieces."""
        if statement.startswith("{") and not statement.startswith("{%"):
            statement = statement[1:].strip()
        if statement and statement != "}":
            self.statement(" ".join(statement.split()), number)


class Text:
    """A module's text, its kernels parsed when they are asked for."""

    def __init__(self, text):
        pieces = re.split(r"^(?=[^\n]*\.entry )", text, flags=re.M)
        self.dynamic = {found[2] for found in SHARED.finditer(pieces[0])}
        self.pieces, line = {}, 1 + pieces[0].count("\n")
        for piece in pieces[1:]:
            self.pieces[re.search(r"\.entry\s+(\w+)", piece)[1]] = (piece, line)
            line += piece.count("\n")
        self.parsed = {}

    def kernel(self, name):
        if name not in self.parsed:
            piece, line = self.pieces[name]
            self.parsed[name] = parse_kernel(name, piece, line)
        return self.parsed[name]


def parse_header(kernel, line, number):
    """What stands between the name and the body; True at the body."""
    if line.startswith(".param"):
        found = PARAM.match(line)
        size = BYTES[found[2]] * int(found[4] or 1)
        kernel.params.append((found[3], size, int(found[1] or size)))
    elif line.startswith(".maxntid"):
        x, y, z = (int(n) for n in re.findall(r"\d+", line))
        kernel.max_threads = x * y * z
    elif not line.startswith((")", "(", ".minnctapersm", "{")) and ".entry" not in line:
        raise PtxError(f"line {number}: '{line}' is not understood")
    return line == "{"


def parse_kernel(name, text, first_line):
    kernel, body = Kernel(name), None
    for number, raw in enumerate(text.splitlines(), first_line):
        line = raw.split("//")[0].strip()
        if not line:
            continue
        if not body:
            if parse_header(kernel, line, number):
                body = Body(kernel)
                body.line(line, number)
        elif not body.line(line, number):
            break
    return kernel
