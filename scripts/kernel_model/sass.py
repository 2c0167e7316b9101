"""Machine code of a kernel: its instructions, its loops, and what they consist of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# First match counts. "idle" are instructions that can never run (`@!PT`): they take an issue slot and nothing else.
CLASSES = (
    ("mma", r"HMMA|IMMA|HGMMA"),
    ("load_matrix", r"LDSM"),
    ("copy_async", r"LDGSTS|UBLKCP|UTMALDG"),
    ("load_global", r"LDG\b|LD\b"),
    ("store_global", r"STG\b|ST\b"),
    ("load_shared", r"LDS\b|LDS\."),
    ("store_shared", r"STS\b|STS\.|STSM"),
    ("spill", r"LDL|STL"),
    ("mufu", r"MUFU"),
    ("shuffle", r"SHFL"),
    ("float", r"FFMA|FADD|FMUL|HFMA2|HADD2|HMUL2"),
    ("convert", r"F2F(?!P)|I2F(?!P)|F2I|I2I"),  # a quarter of the rate or less
    ("min_max_pack", r"FMNMX|FSEL|FSETP|HMNMX|FCHK|F2FP"),
    ("barrier", r"BAR|WARPSYNC|MEMBAR|DEPBAR|LDGDEPBAR|ARRIVES|SYNCS|ERRBAR|ENDCOLLECTIVE"),
    ("branch", r"BRA|BSSY|BSYNC|BREAK|EXIT|CALL|RET|NOP|YIELD|JMP|BMOV|BRX"),
    ("move", r"MOV|IMAD\.MOV|CS2R|UMOV|S2R|S2UR|R2UR|LDC|ULDC|LDCU|P2R|R2P|PRMT"),
    ("integer", r"I|U|LEA|LOP|SHF|VI|SEL|PLOP|POPC|FLO|BREV|SGXT|R2B|VOTE|MATCH|REDUX|ELECT|NANOSLEEP|CCTL"),
)


@dataclass(frozen=True)
class Instruction:
    """One line of machine code: ``@!P6 BRA 0x88f0``."""

    address: int
    predicate: str
    opcode: str
    operands: str

    @property
    def kind(self) -> str:
        """Its class, of CLASSES; ``idle`` where its predicate is constant false, ``other`` where none fits."""
        if self.predicate == "@!PT":
            return "idle"
        return next((name for name, pattern in CLASSES if re.match(pattern, self.opcode)), "other")

    @property
    def target(self) -> int | None:
        """Address that a branch goes to."""
        found = re.search(r"\b0x([0-9a-f]+)\s*$", self.operands) if self.opcode.startswith("BRA") else None
        return int(found[1], 16) if found else None


@dataclass
class Loop:
    """Instructions from ``first`` to ``last`` (a branch back); ``body`` is what lies in no loop inside it."""

    first: int
    last: int
    body: list[Instruction] = field(default_factory=list)
    depth: int = 1

    def contains(self, other: Loop) -> bool:
        """Whether the other loop lies inside this one."""
        return self is not other and self.first <= other.first and other.last <= self.last

    def count(self, kind: str) -> int:
        """Instructions of one class in the body."""
        return sum(instruction.kind == kind for instruction in self.body)

    def exponentials(self) -> int:
        """Base-2 exponentials in the body: the other special functions (reciprocals, say) are not softmax's."""
        return sum(instruction.opcode == "MUFU.EX2" and instruction.kind != "idle" for instruction in self.body)


def kernels_in_sass(text: str) -> dict[str, list[Instruction]]:
    """Parse what ``cuobjdump -sass`` prints: instructions by mangled name of the kernel."""
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] | None = None
    for line in text.splitlines():
        if name := re.search(r"Function : (\S+)", line):
            current = found.setdefault(name[1], [])
            continue
        parts = re.match(r"\s+/\*([0-9a-f]{4,})\*/\s+(?:(@!?U?P\w+)\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;", line)
        if parts and current is not None:
            current.append(Instruction(int(parts[1], 16), parts[2] or "", parts[3], parts[4]))
    return found


def loops_of(instructions: Sequence[Instruction]) -> tuple[list[Instruction], list[Loop]]:
    """Split a kernel into what lies outside of loops and its loops, outer ones first.

    A loop is a branch to an earlier address; branches to the same address are one loop. The jump to itself that ends
    every kernel is none.
    """
    ends: dict[int, int] = {}
    for instruction in instructions:
        target = instruction.target
        if target is not None and target < instruction.address:
            ends[target] = max(ends.get(target, 0), instruction.address)
    loops = sorted((Loop(first, last) for first, last in ends.items()), key=lambda loop: (loop.first, -loop.last))
    for loop in loops:
        loop.depth = 1 + sum(other.contains(loop) for other in loops)
    outside = []
    for instruction in instructions:
        inside = [loop for loop in loops if loop.first <= instruction.address <= loop.last]
        (max(inside, key=lambda loop: loop.depth).body if inside else outside).append(instruction)
    return outside, loops


def mix(instructions: Iterable[Instruction]) -> Counter[str]:
    """Count instructions by class."""
    return Counter(instruction.kind for instruction in instructions)


def main_loop(loops: Sequence[Loop]) -> Loop | None:
    """Give the loop whose own body has most tensor-core instructions; without any, most exponentials."""
    for weight in (lambda loop: loop.count("mma"), Loop.exponentials):
        best = max(loops, key=weight, default=None)
        if best is not None and weight(best) > 0:
            return best
    return None
