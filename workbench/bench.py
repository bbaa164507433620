"""tdp bench: what the operations of the MMU cost, in instructions, beside the unpatched kernel."""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import boot, build, common, count, run, series, source
from .boot import Test
from .common import CACHE, die, say, write_atomic
from .targets import TARGETS

# Memory of the guest in MiB.
SIZE = {"ept": 4}
SIZE_QEMU = 64
COST = re.compile(r"cost,([^,]+),(.+),(\w+),(\d+),(\d+)$")


@dataclass(frozen=True)
class Kernel:
    name: str
    patched: bool
    cmdline: str = ""


@dataclass
class Cost:
    unit: str
    number: int
    ticks: int                      # of the clock
    span: count.Span | None = None  # what was counted, where it can be

    @property
    def instructions(self):
        return self.span.instructions if self.span else self.ticks


def kernels(target):
    """What is compared; on x86 with the direct MMU of old, too, which has one lock for all."""
    legacy = [Kernel("legacy", False, "kvm.tdp_mmu=N")] if target.arch == "x86" else []
    return [Kernel("unpatched", False), Kernel("patched", True), *legacy]


def cheapest(lines, spans):
    """Of what tdp_mmu_cost has printed, and what was counted meanwhile: (memory, operation) to Cost.

    What was done several times is given once: some operations wait for who else runs, for longer or shorter.
    """
    found = {}
    matches = [m for m in map(COST.match, lines) if m]
    if spans is not None and len(spans) != len(matches):
        die(f"{len(matches)} operations were measured, and {len(spans)} counted: see workbench/plugin/count.c")
    for m, span in zip(matches, [None] * len(matches) if spans is None else spans):
        cost = Cost(m[3], int(m[4]), int(m[5]), span)
        best = found.setdefault((m[1], m[2]), cost)
        if cost.instructions < best.instructions:
            found[m[1], m[2]] = cost
    return found


def measure(target, kernel, src, selftests, test, counted):
    """The costs with a kernel; those that were measured before with the same kernel and test are remembered."""
    tree = src if kernel.patched else source.unpatched(src)
    image = build.kernel(tree, target)
    symbols = count.Symbols(build.system_map(tree, target), f"{target.cross}nm") if counted else None
    more = count.options(target, symbols) if counted else []
    key = common.digest(image.read_bytes(), (selftests / test.name).read_bytes(), Path(boot.__file__).read_bytes(),
                        test.title, kernel.cmdline, *more)
    path = CACHE / "bench" / f"{target.name}-{kernel.name}-{key}.txt"
    if not path.exists():
        say(f"{target.name}: the {kernel.name} kernel, {test.title}")
        result = boot.boot(target, image, selftests, [test], cmdline=kernel.cmdline, exact=True, more=more)
        lines = [line for line in result.results[0].output if COST.match(line)]
        if not result.ok or not lines:
            die(f"{target.name}: {test.title} has no result with the {kernel.name} kernel\n"
                + (result.explain() or "\n".join(result.results[0].output[-25:])))
        if counted:
            lines += (result.console.parent / count.RESULT).read_text().splitlines()
        write_atomic(path, "\n".join(lines) + "\n")
    lines = path.read_text().splitlines()
    return cheapest(lines, count.spans((line for line in lines if not COST.match(line)), target, symbols) if counted else None)


def _ratio(own, base):
    return f"{own / base:.3f}" if base else "-" if own else "1.000"


def _rows(found, value, shown):
    """A row for each operation that is shown(): value(cost) a unit with each kernel, and the ratio to the unpatched one."""
    for key, base in found["unpatched"].items():
        if not shown(base):
            continue
        row = {"memory": key[0], "operation": key[1], "per": base.unit,
               "unpatched": f"{value(base) / base.number:.1f}"}
        for name, costs in found.items():
            if name != "unpatched":
                ratio = "ratio" if name == "patched" else f"ratio of {name}"
                row |= {name: f"{value(costs[key]) / base.number:.1f}", ratio: _ratio(value(costs[key]), value(base))}
        yield row


def _counts(found, kinds):
    """A row for each operation that does any of these: kinds is name to a function of a Span."""
    for key, base in found["unpatched"].items():
        spans = {name: costs[key].span for name, costs in found.items()}
        if any(value(span) for value in kinds.values() for span in spans.values()):
            yield {"memory": key[0], "operation": key[1]} | {
                f"{what}, {name}": str(value(span)) for what, value in kinds.items() for name, span in spans.items()}


def tables(target, found, counted):
    """(title, rows) of each table that there is of a target."""
    rows = list(_rows(found, lambda c: c.instructions, lambda c: c.instructions))
    slower = [row for row in rows if float(row["ratio"]) > 1]
    yield (f"{'instructions' if counted else 'ticks of the clock'}; {len(slower)} of {len(rows)} operations cost more"
           " than with the unpatched kernel" + (": the first rows" if slower else ""), slower + [row for row in rows if row not in slower])
    if not counted:
        return
    yield (f"instructions in {count.HANDLER[target.arch]}() alone",
           list(_rows(found, lambda c: c.span.handler, lambda c: c.unit == "fault" and c.span.handled)))
    yield ("instructions in what the architecture does for a memslot, or for the end of the VM, without what waits for SRCU",
           list(_rows(found, lambda c: c.span.work, lambda c: c.span.work)))
    yield ("faults that it handled", list(_counts(found, {"faults": lambda s: s.handled})))
    yield ("rwlocks taken", list(_counts(found, {"for write": lambda s: s.taken("write"), "for read": lambda s: s.taken("read")})))
    yield ("TLB invalidations" if target.arch == "arm64" else "flushes of vCPUs' TLBs",
           list(_counts(found, {"times": lambda s: sum(s.tlb.values())})))


def flat(target, found):
    """For a CSV: a line for each operation, kernel and thing that was measured."""
    for kernel, costs in found.items():
        for (memory, what), cost in costs.items():
            row = {"target": target.name, "memory": memory, "operation": what, "per": cost.unit,
                   "number": str(cost.number), "kernel": kernel}
            values = {"instructions": cost.instructions, "ticks": cost.ticks}
            if span := cost.span:
                values |= {"faults": span.handled, "instructions in fault handler": span.handler,
                           "instructions for memslot or VM": span.work}
                values |= {f"lock for {how} by {who}": n for (how, who), n in sorted(span.locks.items())}
                values |= {f"TLB: {kind}": n for kind, n in sorted(span.tlb.items())}
                values |= {f"TLB of stage 1: {kind}": n for kind, n in sorted(span.stage1.items())}
                values |= {f"cache: {kind}": n for kind, n in sorted(span.caches.items())}
            for quantity, value in values.items():
                yield row | {"quantity": quantity, "value": str(value)}


def bench_cmd(args):
    src = series.patched(source.get(args))
    every = []
    for name in dict.fromkeys(args.targets):
        target = TARGETS[name]
        selftests = build.selftests(src, target.arch)
        test = Test("tdp_mmu_cost", f"-b {SIZE.get(name, SIZE_QEMU)}", timeout=3600)
        compared = kernels(target)
        say(f"{name}: {len(compared)} kernels, some minutes each")
        why = count.missing(boot.qemu(target)) if boot.qemu(target) else "Bochs has no plugins"
        if why:
            say(f"{name}: time and nothing else is measured: {why}")
        found = {kernel.name: measure(target, kernel, src, selftests, test, not why) for kernel in compared}
        for title, rows in tables(target, found, not why):
            if not rows:
                continue
            print(f"\n{name}: {title}")
            print(*run.table(rows), sep="\n")
        every += flat(target, found)
    path = Path(args.csv) if args.csv else CACHE / "results" / time.strftime("bench-%Y%m%d-%H%M%S.csv")
    run.write_csv(path, every)
    print(f"\nCSV: {path}")
    sys.stdout.flush()
    return 0
