"""What the operations of tdp_mmu_cost made a guest execute, counted by a plugin of QEMU: plugin/count.c says how."""

import bisect
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from . import common
from .common import CACHE, die

SOURCE = Path(__file__).resolve().parent / "plugin" / "count.c"
RESULT = "counts.txt"       # in the directory of the boot
NEWEST = 8                  # of QEMU, whose interface the plugin knows

# What handles a fault of a guest, from the exit's decoding to the return to its loop.
HANDLER = {"x86": "kvm_mmu_page_fault", "arm64": "kvm_handle_guest_abort"}
# What memslots and the VM's end ask of the architecture; what calls it waits for SRCU, as long as that takes.
WORK = ("kvm_arch_commit_memory_region", "kvm_arch_flush_shadow_memslot", "kvm_arch_flush_shadow_all",
        "kvm_arch_destroy_vm")
LOCKS = {"_raw_read_lock": "read", "_raw_write_lock": "write"}
UNLOCKS = {name: name.replace("_lock", "_unlock") for name in LOCKS}
# What takes an mmap_lock for read; other semaphores of the kind are rare where guests fault.
MMAP_LOCKS = ("down_read", "down_read_killable", "down_read_trylock")
# Who drops and takes them for KVM.
YIELDS = {"__cond_resched_rwlock_read", "__cond_resched_rwlock_write"}
# x86 asks vCPUs to flush, from wherever that is inlined; and what asks them for something else.
REQUEST, OTHERS = "kvm_make_all_cpus_request", {"__kvm_mmu_zap_all_fast_front_half", "kvm_arch_vcpu_ioctl_run"}

# SYS instructions of arm64 by op1, CRn, CRm, op2: those that invalidate stage 2 ...
_STAGE2 = {
    (4, 8, 0, 1): "IPAS2E1IS", (4, 8, 0, 5): "IPAS2LE1IS", (4, 8, 4, 1): "IPAS2E1", (4, 8, 4, 5): "IPAS2LE1",
    (4, 8, 0, 2): "RIPAS2E1IS", (4, 8, 0, 6): "RIPAS2LE1IS",
    (4, 8, 3, 6): "VMALLS12E1IS", (4, 8, 7, 6): "VMALLS12E1",
}
# ... what comes with each of them, and with what concerns the host alone ...
_STAGE1 = {(0, 8, 3, 0): "VMALLE1IS", (0, 8, 7, 0): "VMALLE1"}
# ... and caches.
_CACHES = {(3, 7, 14, 1): "DC CIVAC", (3, 7, 10, 1): "DC CVAC", (3, 7, 11, 1): "DC CVAU", (3, 7, 5, 1): "IC IVAU",
           (0, 7, 1, 0): "IC IALLUIS"}


def _sys(opcode):
    return opcode >> 16 & 7, opcode >> 12 & 15, opcode >> 8 & 15, opcode >> 5 & 7


@dataclass
class Span:
    """What was executed between two marks."""
    instructions: int
    handled: int = 0            # calls of the fault handler
    handler: int = 0            # instructions in it
    work: int = 0               # instructions in WORK
    locks: Counter = field(default_factory=Counter)     # (read or write, who takes it) to times
    held: Counter = field(default_factory=Counter)      # read or write to instructions with it held
    longest: Counter = field(default_factory=Counter)   # and in the longest hold
    mmap: int = 0               # times that a semaphore was taken for read
    tlb: Counter = field(default_factory=Counter)       # kind of TLB invalidation of guests to times
    stage1: Counter = field(default_factory=Counter)    # kind of other TLB invalidation to times
    caches: Counter = field(default_factory=Counter)    # kind of cache maintenance to times

    def taken(self, how):
        return sum(n for (kind, _), n in self.locks.items() if kind == how)


class Symbols:
    """The functions of a kernel by address, and the other way round: its System.map; and those that are KVM's own."""

    def __init__(self, path, nm="nm"):
        lines = (line.split() for line in path.read_text().splitlines())
        found = sorted((int(address, 16), name) for address, kind, name in lines if kind in "tTwW")
        self.addresses = [a for a, _ in found]
        self.names = [n for _, n in found]
        self.by_name = {n: a for a, n in found}
        lines = (line.split() for archive in path.parent.glob("arch/*/kvm/built-in.a")
                 for line in common.capture([nm, "--defined-only", archive]).splitlines())
        self.own = {fields[2].split(".")[0] for fields in lines if len(fields) == 3 and fields[1] in "tTwW"}

    def at(self, address):
        i = bisect.bisect_right(self.addresses, address) - 1
        return self.names[i].split(".")[0] if i >= 0 else f"{address:#x}"


def missing(qemu):
    """Why nothing can be counted, or nothing."""
    version = common.capture([qemu, "--version"])
    found = re.search(r"version (\d+)", version)
    if not found or int(found[1]) > NEWEST:
        return f"plugin/count.c knows the interface of QEMU up to {NEWEST}, and this is {version.splitlines()[0]}"
    if "-plugin" not in common.capture([qemu, "--help"]):
        return f"{qemu} is built without plugins"
    return ""


def options(target, symbols):
    """The plugin, built, as an argument of QEMU's."""
    gcc = shutil.which("gcc") or die("the compiler gcc is missing")
    path = CACHE / "plugin" / f"count-{common.digest(SOURCE.read_bytes())}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new.so")
        common.run([gcc, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden", "-o", new, SOURCE],
                   path.with_suffix(".log"), what="building QEMU's plugin")
        new.rename(path)
    wanted = [HANDLER[target.arch], *WORK, *MMAP_LOCKS, *[REQUEST] * (target.arch == "x86")]
    lost = [name for name in [*wanted, *UNLOCKS, *UNLOCKS.values()] if name not in symbols.by_name]
    if lost:
        die(f"the kernel has no function {', '.join(lost)}: see workbench/count.py")
    return ["-plugin", ",".join([f"{path},arch={target.arch},out={RESULT}"]
                                + [f"function={symbols.by_name[name]:x}" for name in wanted]
                                + [f"{what}={symbols.by_name[name]:x}" for pair in UNLOCKS.items()
                                   for what, name in zip(("lock", "unlock"), pair)])]


def spans(lines, target, symbols):
    """The spans of a result, in order."""
    found = []
    for line in lines:
        kind, *numbers = line.split()
        if kind == "span":
            found.append(Span(int(numbers[0])))
            continue
        span = found[-1]
        if kind == "op":
            opcode, times = int(numbers[0], 16), int(numbers[1])
            if name := _STAGE2.get(_sys(opcode)):
                span.tlb[name] += times
            elif name := _STAGE1.get(_sys(opcode)):
                span.stage1[name] += times
            elif name := _CACHES.get(_sys(opcode)):
                span.caches[name] += times
            continue
        name, site = symbols.at(int(numbers[0], 16)), symbols.at(int(numbers[1], 16) - 1)
        times, instructions = int(numbers[2]), int(numbers[3])     # or all of the instructions, and the longest hold
        own = site in symbols.own or site in YIELDS
        if kind == "held":
            if own:
                span.held[LOCKS[name]] += times
                span.longest[LOCKS[name]] = max(span.longest[LOCKS[name]], instructions)
        elif name == HANDLER[target.arch]:
            span.handled += times
            span.handler += instructions
        elif name in WORK:
            span.work += instructions
        elif name in MMAP_LOCKS:
            span.mmap += times
        elif name in LOCKS and own:
            span.locks[LOCKS[name], site] += times
        elif name == REQUEST and site not in OTHERS:
            span.tlb[site] += times
    if not any(span.handled for span in found):
        die(f"{HANDLER[target.arch]}() was never called: see workbench/count.py")
    return found
