#!/usr/bin/env python3
"""sass_table.py - what the machine code of CUDA kernels says: a row for each kernel of each architecture.

    cuobjdump -sass FILE.o | sass_table.py          reads the listing, writes the rows (names as c++filt gives them)

A row: name, architecture, then of the whole kernel the loads from global memory of 128 bits, the stores to it of 128 bits
and of fewer, calls of subroutines, accesses to local memory and committed groups of wgmma; of its main loop the exponentials
after the wait for all wgmma groups, and the instructions.  The main loop is the longest of those that hold no other of
SHORTEST instructions or more; a kernel without one counts as a whole.  tests/check_sass.sh compares the rows with
kernels/cuda/SASS and says what each column is for."""
import re
import subprocess
import sys

SHORTEST = 16  # instructions: what is shorter waits for a barrier

FUNCTION = re.compile(r"\s*Function : (\S+)")
ARCHITECTURE = re.compile(r"\s*code for (\S+)")
# One instruction: its address, its predicate, and the rest up to the semicolon.
INSTRUCTION = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([^;]*?)\s*;")
TARGET = re.compile(r"\b0x([0-9a-f]+)$")


class Instruction:
    """address; the predicate's presence; the word of the operation with its modifiers; the whole text."""

    def __init__(self, address, predicate, text):
        self.address, self.text = int(address, 16), text
        self.conditional = predicate is not None
        self.word = text.split(maxsplit=1)[0] if text else ""

    def jumps_to(self):
        """The address of a branch of this kernel, or None."""
        found = TARGET.search(self.text) if self.word.split(".")[0] == "BRA" else None
        return int(found[1], 16) if found else None

    def ends_block(self):
        """Whether nothing follows it but what it jumps to."""
        never_falls = self.word.split(".")[0] in ("BRA", "EXIT", "RET", "BRX", "JMP")
        # BRA P0, 0x... and BRA.DIV ~URZ, 0x... carry a condition of their own.
        return never_falls and not self.conditional and "," not in self.text


def successors(code):
    """For each instruction the places that may come next."""
    place = {instruction.address: i for i, instruction in enumerate(code)}
    following = []
    for i, instruction in enumerate(code):
        target = place.get(instruction.jumps_to())
        places = [] if target is None else [target]
        if i + 1 < len(code) and not instruction.ends_block():
            places.append(i + 1)
        following.append(places)
    return following


def blocks_of(following):
    """Basic blocks as (first, past the last) in order, and the successors of each."""
    leaders = {0}
    for i, places in enumerate(following):
        if places != [i + 1]:
            leaders.update(places)
            leaders.add(i + 1)
    starts = sorted(place for place in leaders if place < len(following))
    ends = starts[1:] + [len(following)]
    number = {start: b for b, start in enumerate(starts)}
    return list(zip(starts, ends)), [[number[p] for p in following[end - 1]] for end in ends]


def reverse_postorder(edges):
    """Blocks that the first one reaches, each before what it leads to but for loops."""
    order, seen, stack = [], {0}, [(0, iter(edges[0]))]
    while stack:
        block, rest = stack[-1]
        following = next((b for b in rest if b not in seen), None)
        if following is None:
            order.append(block)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(edges[following])))
    return order[::-1]


def dominators(edges):
    """The set of blocks that every way to a block passes, for each block that is reached."""
    order = reverse_postorder(edges)
    before = {block: [] for block in order}
    for block in order:
        for following in edges[block]:
            before[following].append(block)
    dominating = {block: set(order) for block in order}
    dominating[0] = {0}
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            common = set.intersection(*(dominating[b] for b in before[block])) | {block}
            changed = changed or common != dominating[block]
            dominating[block] = common
    return dominating, before


def loops_of(edges):
    """Natural loops, as sets of blocks: those with the same head are one."""
    dominating, before = dominators(edges)
    loops = {}
    for block in dominating:
        for head in edges[block]:
            if head not in dominating[block]:
                continue
            body, todo = loops.setdefault(head, {head}), [block]
            while todo:
                member = todo.pop()
                if member not in body:
                    body.add(member)
                    todo += before[member]
    return list(loops.values())


def main_loop(code):
    """The instructions of the main loop, in the order of their addresses, or all where there is no loop."""
    blocks, edges = blocks_of(successors(code))
    size = lambda body: sum(blocks[b][1] - blocks[b][0] for b in body)
    loops = [body for body in loops_of(edges) if size(body) >= SHORTEST]
    innermost = [body for body in loops if not any(other < body for other in loops)]
    longest = max(innermost, key=size, default=range(len(blocks)))
    return [i for b in sorted(longest) for i in code[blocks[b][0] : blocks[b][1]]]


def late_exponentials(loop):
    """How many stand after the first wait that leaves no wgmma group in flight."""
    waits = [i for i, instruction in enumerate(loop) if re.match(r"WARPGROUP\.DEPBAR\S* gsb0, 0x0$", instruction.text)]
    return sum(i.word.startswith("MUFU.EX2") for i in loop[waits[0] :]) if waits else 0


def counts(code):
    """The columns of a row."""
    words = [instruction.word for instruction in code]
    wide = lambda word: ".128" in word
    loads = sum(word.startswith("LDG") and not word.startswith("LDGSTS") and wide(word) for word in words)
    stores = [wide(word) for word in words if word.startswith("STG")]
    calls = sum(word.startswith("CALL") for word in words)
    local = sum(word.startswith(("LDL", "STL")) for word in words)
    groups = sum(i.word.startswith("HGMMA") and "gsb0" in i.text for i in code)
    loop = main_loop(code)
    return [loads, sum(stores), len(stores) - sum(stores), calls, local, groups, late_exponentials(loop), len(loop)]


def short_name(name):
    """Without return type, arguments and spaces, as in kernels/cuda/BUDGETS."""
    name = re.sub(r"^void ", "", name).removeprefix("(anonymous namespace)::")
    depth = 0
    for i, c in enumerate(name):
        depth += (c == "<") - (c == ">")
        if c == "(" and depth == 0:
            return name[:i].replace(" ", "")
    return name.replace(" ", "")


def kernels(lines):
    """(mangled name, architecture, instructions) of each kernel of a listing."""
    architecture, name, code = "", None, []
    for line in lines:
        instruction = INSTRUCTION.match(line)
        if instruction:
            code.append(Instruction(*instruction.groups()))
            continue
        found = FUNCTION.match(line)
        if found:
            if name:
                yield name, architecture, code
            name, code = found[1], []
        found = ARCHITECTURE.match(line)
        if found:
            if name:
                yield name, architecture, code
            name, code, architecture = None, [], found[1]
    if name:
        yield name, architecture, code


def main():
    found = [(name, architecture, counts(code)) for name, architecture, code in kernels(sys.stdin)]
    names = "\n".join(name for name, _, _ in found)
    plain = subprocess.run(["c++filt"], input=names, capture_output=True, text=True, check=True).stdout.splitlines()
    for name, (_, architecture, columns) in zip(plain, found):
        print(short_name(name), architecture, *columns)


if __name__ == "__main__":
    main()
