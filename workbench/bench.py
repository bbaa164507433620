"""tdp bench: what the operations of the MMU cost, in instructions, beside the unpatched kernel."""

import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import boot, build, count, plot, run, series, source
from .boot import Test
from .common import CACHE, die, say, write_atomic
from .targets import TARGETS

# Memory of the guest in MiB.
SIZE = {"ept": 4}
SIZE_QEMU = 64
# What page tables are measured for, in MiB.
MEMORY = {"ept": 64}
MEMORY_QEMU = 1024
# A page of 1 GiB, where the emulator has memory for one.
HUGETLB = "hugepagesz=1G hugepages=1"
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


def no_result(target, kernel, test, result):
    """Ends, and says what is known of a boot that has measured nothing."""
    die(f"{target.name}: {test.title} has no result with the {kernel} kernel\n"
        + (result.explain() or "\n".join(result.results[0].output[-25:])))


def measure(target, kernel, src, selftests, test, counted):
    """The costs with a kernel; those that were measured before with the same kernel and test are remembered."""
    tree = src if kernel.patched else source.unpatched(src)
    image = build.kernel(tree, target)
    symbols = count.Symbols(build.system_map(tree, target), f"{target.cross}nm") if counted else None
    more = count.options(target, symbols) if counted else []
    cmdline = " ".join(filter(None, (kernel.cmdline, HUGETLB if boot.qemu(target) else "")))
    key = boot.keys(image, selftests, [test], cmdline, *more)[test.title]
    path = CACHE / "bench" / f"{target.name}-{kernel.name}-{key}.txt"
    if not path.exists():
        say(f"{target.name}: the {kernel.name} kernel, {test.title}")
        result = boot.boot(target, image, selftests, [test], cmdline=cmdline, exact=True, more=more)
        lines = [line for line in result.results[0].output if COST.match(line)]
        if not result.ok or not lines:
            no_result(target, kernel.name, test, result)
        if counted:
            lines += (result.console.parent / count.RESULT).read_text().splitlines()
        write_atomic(path, "\n".join(lines) + "\n")
    lines = path.read_text().splitlines()
    return cheapest(lines, count.spans((line for line in lines if not COST.match(line)), target, symbols) if counted else None)


BYTES = re.compile(r"bytes,([^,]+),([^,]+),(\d+)$")


def memory_rows(found):
    """Of {kernel: {(when, what): bytes}}: what has come since the first time of each, by kernel."""
    first = next(iter(found["unpatched"]))[0]
    for when, what in found["unpatched"]:
        if when != first:
            grown = {kernel: values.get((when, what), 0) - values.get((first, what), 0) for kernel, values in found.items()}
            yield {"": when, "what": what, **{kernel: str(n) for kernel, n in grown.items()}}


def memory(args, src, path):
    """What the page tables of guest memory take, and how much of it stays when the memory goes."""
    if len(args.sizes or ()) > 1:
        die("--memory takes one size", status=2)
    every = []
    for name in dict.fromkeys(args.targets):
        target = TARGETS[name]
        selftests = build.selftests(src, target.arch)
        size = (args.sizes or [MEMORY.get(name, MEMORY_QEMU)])[0]
        test = Test("tdp_mmu_cost", f"-m -b {size}", timeout=3600)
        found = {}
        for kernel in kernels(target):
            image = build.kernel(src if kernel.patched else source.unpatched(src), target)
            say(f"{name}: the {kernel.name} kernel, {test.title}")
            result = boot.boot(target, image, selftests, [test], cmdline=f"{kernel.cmdline} slab_nomerge", exact=True)
            found[kernel.name] = {(m[1], m[2]): int(m[3]) for m in map(BYTES.match, result.results[0].output) if m}
            if not result.ok or not found[kernel.name]:
                no_result(target, kernel.name, test, result)
            every += [{"target": name, "MiB": str(size), "kernel": kernel.name, "when": when, "what": what, "bytes": str(n)}
                      for (when, what), n in found[kernel.name].items()]
        print(f"\n{name}: bytes for {size} MiB that are mapped by 4K, beside those before", *run.table(list(memory_rows(found))),
              sep="\n", flush=True)
        run.write_csv(path, every)
    print(f"\nCSV: {path}", flush=True)
    return 0


def _unit(counted):
    return "instructions" if counted else "ticks of the clock"


def _ratio(own, base):
    return f"{own / base:.3f}" if base else "-" if own else "1.000"


def _ratio_head(kernel):
    return "ratio" if kernel == "patched" else f"ratio of {kernel}"


def _rows(found, value, shown):
    """A row for each operation that is shown(): value(cost) a unit with each kernel, and the ratio to the unpatched one."""
    for key, base in found["unpatched"].items():
        if not shown(base):
            continue
        row = {"memory": key[0], "operation": key[1], "per": base.unit,
               "unpatched": f"{value(base) / base.number:.1f}"}
        for name, costs in found.items():
            if name != "unpatched":
                row |= {name: f"{value(costs[key]) / base.number:.1f}",
                        _ratio_head(name): _ratio(value(costs[key]), value(base))}
        yield row


def _costs(found):
    return _rows(found, lambda c: c.instructions, lambda c: c.instructions)


def _counts(found, kinds):
    """A row for each operation that does any of these: kinds is name to a function of a Span."""
    for key, base in found["unpatched"].items():
        spans = {name: costs[key].span for name, costs in found.items()}
        if any(value(span) for value in kinds.values() for span in spans.values()):
            yield {"memory": key[0], "operation": key[1]} | {
                f"{what}, {name}": str(value(span)) for what, value in kinds.items() for name, span in spans.items()}


def tables(target, found, counted):
    """(title, rows) of each table that there is of a target."""
    rows = list(_costs(found))
    slower = [row for row in rows if float(row["ratio"]) > 1]
    yield (f"{_unit(counted)}; {len(slower)} of {len(rows)} operations cost more"
           " than with the unpatched kernel" + (": the first rows" if slower else ""), slower + [row for row in rows if row not in slower])
    if not counted:
        return
    yield (f"instructions in {count.HANDLER[target.arch]}() alone",
           list(_rows(found, lambda c: c.span.handler, lambda c: c.unit == "fault" and c.span.handled)))
    yield ("instructions in what the architecture does for a memslot, or for the end of the VM, without what waits for SRCU",
           list(_rows(found, lambda c: c.span.work, lambda c: c.span.work)))
    yield ("faults that it handled", list(_counts(found, {"faults": lambda s: s.handled})))
    yield ("rwlocks taken", list(_counts(found, {"for write": lambda s: s.taken("write"), "for read": lambda s: s.taken("read")})))
    yield ("instructions in the longest hold of an rwlock",
           list(_counts(found, {"for write": lambda s: s.longest["write"], "for read": lambda s: s.longest["read"]})))
    yield ("instructions in all holds of rwlocks",
           list(_counts(found, {"for write": lambda s: s.held["write"], "for read": lambda s: s.held["read"]})))
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
                values |= {f"longest hold for {how}": n for how, n in sorted(span.longest.items())}
                values |= {f"all holds for {how}": n for how, n in sorted(span.held.items())}
                values |= {f"TLB: {kind}": n for kind, n in sorted(span.tlb.items())}
                values |= {f"TLB of stage 1: {kind}": n for kind, n in sorted(span.stage1.items())}
                values |= {f"cache: {kind}": n for kind, n in sorted(span.caches.items())}
            for quantity, value in values.items():
                yield row | {"quantity": quantity, "value": str(value)}


def slope(points):
    """The exponent by which something grows: of the straight line through the logarithms of [(x, y), ...]."""
    logs = [(math.log(x), math.log(y)) for x, y in points if y]
    if len(logs) < 2:
        return 0.0
    mx, my = (sum(v) / len(logs) for v in zip(*logs))
    return sum((x - mx) * (y - my) for x, y in logs) / sum((x - mx) ** 2 for x, _ in logs)


def growing(found):
    """{operation: {kernel: [(MiB, instructions of all of it), ...]}} of what was measured, {MiB: {kernel: costs}}."""
    first = next(iter(found.values()))
    return {key: {kernel: [(size, found[size][kernel][key].instructions) for size in found] for kernel in first}
            for key in first["unpatched"] if all(key in costs for kernels in found.values() for costs in kernels.values())
            and first["unpatched"][key].number < max(found[max(found)]["unpatched"][key].number, 2)}


def growth_rows(found):
    """A row for each operation that is of memory: what a unit costs at each size, and the exponent of all of it."""
    for key, lists in growing(found).items():
        row = {"memory": key[0], "operation": key[1], "per": found[min(found)]["unpatched"][key].unit}
        for kernel, points in lists.items():
            row |= {f"{kernel}, {size} MiB": f"{total / found[size][kernel][key].number:.1f}" for size, total in points}
            row |= {f"exponent, {kernel}": f"{slope(points):.3f}"}
        yield row


def draw(target, path, found, counted):
    """Plots, beside a CSV, of what was measured: of the ratios at the first size, and of how all of it grows."""
    size = min(found)
    rows = list(_costs(found[size]))
    heads = {name: _ratio_head(name) for name in found[size] if name != "unpatched"}
    base = path.with_suffix("")
    made = plot.ratios(base.with_name(f"{base.name}-{target.name}"), f"{target.name}, {size} MiB: {_unit(counted)}, unpatched = 1",
                       [(f"{row['memory']}: {row['operation']}", *(0 if row[h] == "-" else float(row[h]) for h in heads.values()))
                        for row in rows], list(heads))
    if len(found) > 1:
        panels = growing(found)
        for memory in dict.fromkeys(key[0] for key in panels):
            made += plot.growth(base.with_name(f"{base.name}-{target.name}-growth-{memory.replace(' ', '-')}"),
                                f"{target.name}, {memory}: {_unit(counted)} by MiB of guest memory",
                                [(key[1], lists) for key, lists in panels.items() if key[0] == memory])
    return made


def bench_cmd(args):
    src = series.patched(source.get(args))
    path = Path(args.csv) if args.csv else CACHE / "results" / time.strftime("bench-%Y%m%d-%H%M%S.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    if args.memory:
        return memory(args, src, path)
    every, drawn = [], []
    for name in dict.fromkeys(args.targets):
        target = TARGETS[name]
        selftests = build.selftests(src, target.arch)
        sizes = sorted(set(args.sizes or [SIZE.get(name, SIZE_QEMU)]))
        compared = kernels(target)
        say(f"{name}: {len(compared)} kernels, some minutes each for {SIZE_QEMU} MiB")
        why = count.missing(boot.qemu(target)) if boot.qemu(target) else "Bochs has no plugins"
        if why:
            say(f"{name}: time and nothing else is measured: {why}")
        found = {}
        for size in sizes:
            test = Test("tdp_mmu_cost", f"-b {size}", timeout=3600 * max(1, size // SIZE_QEMU))
            found[size] = {kernel.name: measure(target, kernel, src, selftests, test, not why) for kernel in compared}
            every += [{"MiB": str(size)} | row for row in flat(target, found[size])]
        for title, rows in tables(target, found[sizes[0]], not why):
            if not rows:
                continue
            print(f"\n{name}, {sizes[0]} MiB: {title}")
            print(*run.table(rows), sep="\n")
        if len(sizes) > 1 and (rows := list(growth_rows(found))):
            print(f"\n{name}: {_unit(not why)} by size; all of it grows with this power of the memory")
            print(*run.table(rows), sep="\n")
        drawn.append((target, found, not why))
    run.write_csv(path, every)
    print(f"\nCSV: {path}", flush=True)
    for target, found, counted in drawn:
        print(*(f"plot: {p}" for p in draw(target, path, found, counted)), sep="\n")
    sys.stdout.flush()
    return 0
