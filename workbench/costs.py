"""tdp bench: what the operations of the MMU cost, in instructions and bytes, beside the unpatched kernel."""

import math
import re
from dataclasses import dataclass

from . import boot, build, count, plot, run, source
from .boot import Test
from .common import CACHE, die, write_atomic
from .jobs import Job

# Memory of the guest in MiB.
SIZE = {"ept": 4}
SIZE_QEMU = 64
# The sizes at which growth is measured, in MiB: larger than the machine, and only one of so many pages is touched.
SIZES = {"ept": (16, 64)}
SIZES_QEMU = (64, 512, 2048, 8192)
SPARSE = 64
SPARSE_LEAST = 16       # MiB: a multiple of what the test wants of it
TARGET_NAMES = ("npt", "ept", "arm64", "arm64-nvhe")    # whose guests tdp_mmu_cost knows
# What page tables are measured for, in MiB.
MEMORY = {"ept": 64}
MEMORY_QEMU = 1024
# A page of 1 GiB, where the emulator has memory for one, and the huge pages that sparse memory consists of.
HUGETLB = "hugepagesz=1G hugepages=1 hugepagesz=2M hugepages=32"
# How long a boot takes, about: seconds for each MiB that is touched on a machine as ours, and for the rest of it.
SECONDS_MIB, SECONDS_BOOT = 0.5, 5
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


def why_uncounted(target):
    """Why there is nothing but the clock on a target, or nothing."""
    return count.missing(boot.qemu(target)) if boot.qemu(target) else "Bochs has no plugins"


class Costs:
    """What tdp_mmu_cost measures on a target, with each kernel."""

    def __init__(self, target, src, counted):
        self.target, self.counted = target, counted
        self.kernels = kernels(target)
        self.selftests = build.selftests(src, target.arch)
        self.images, self.symbols = {}, {}
        for kernel in self.kernels:
            tree = src if kernel.patched else source.unpatched(src)
            self.images[kernel.name] = build.kernel(tree, target)
            self.symbols[kernel.name] = (
                count.Symbols(build.system_map(tree, target), f"{target.cross}nm") if counted else None)

    def _job(self, kernel, test, seconds, wanted, cmdline, counted, again=False):
        """Keeps the lines of the output that are wanted, and what was counted; again: beside what was measured before."""
        image = self.images[kernel.name]
        more = count.options(self.target, self.symbols[kernel.name]) if counted else []

        def key_of():
            return boot.keys(image, self.selftests, [test], cmdline, *more, *["again"] * again)[test.title]
        key = key_of()
        path = CACHE / "bench" / f"{self.target.name}-{kernel.name}-{key}.txt"

        def measure():
            result = boot.boot(self.target, image, self.selftests, [test], cmdline=cmdline, exact=True, more=more)
            if key_of() != key:
                die(f"{self.target.name}: the {kernel.name} kernel or its tests were built anew meanwhile; the same command"
                    " measures them")
            lines = [line for line in result.results[0].output if wanted.match(line)]
            if not result.ok or not lines:
                no_result(self.target, kernel.name, test, result)
            if counted:
                lines += (result.console.parent / count.RESULT).read_text().splitlines()
            write_atomic(path, "\n".join(lines) + "\n")
        return Job(f"{self.target.name}: {test.title}, the {kernel.name} kernel{', again' if again else ''}", [path], seconds, measure,
                   alone=False)

    def cost_jobs(self, mib, sparse=0, again=False):
        """{kernel: Job} for so much memory; sparse: one page of so many is touched."""
        touched = mib / sparse if sparse else 2 * mib
        seconds = SECONDS_BOOT + SECONDS_MIB * touched
        test = Test("tdp_mmu_cost", f"-b {mib}" + (f" -s {sparse}" if sparse else ""), timeout=max(3600, round(60 * seconds)))
        return {kernel.name: self._job(kernel, test, seconds, COST, self._cmdline(kernel), self.counted, again)
                for kernel in self.kernels}

    def _cmdline(self, kernel):
        return " ".join(filter(None, (kernel.cmdline, HUGETLB if boot.qemu(self.target) else "")))

    def memory_jobs(self, mib):
        """{kernel: Job} of what page tables take."""
        test = Test("tdp_mmu_cost", f"-m -b {mib}", timeout=3600)
        return {kernel.name: self._job(kernel, test, SECONDS_BOOT + mib / 16, BYTES, f"{kernel.cmdline} slab_nomerge", False)
                for kernel in self.kernels}

    def found(self, jobs):
        """{kernel: {(memory, operation): Cost}} of jobs that were done."""
        return {kernel: cheapest(*self._read(job, kernel)) for kernel, job in jobs.items()}

    def _read(self, job, kernel):
        lines = job.paths[0].read_text().splitlines()
        others = (line for line in lines if not COST.match(line))
        return lines, count.spans(others, self.target, self.symbols[kernel]) if self.counted else None

    @staticmethod
    def bytes_found(jobs):
        """{kernel: {(when, what): bytes}}"""
        return {kernel: {(m[1], m[2]): int(m[3]) for m in map(BYTES.match, job.paths[0].read_text().splitlines()) if m}
                for kernel, job in jobs.items()}


BYTES = re.compile(r"bytes,([^,]+),([^,]+),(\d+)$")


def memory_rows(found):
    """Of {kernel: {(when, what): bytes}}: what has come since the first time of each, by kernel."""
    first = next(iter(found["unpatched"]))[0]
    for when, what in found["unpatched"]:
        if when != first:
            grown = {kernel: values.get((when, what), 0) - values.get((first, what), 0) for kernel, values in found.items()}
            yield {"": when, "what": what, **{kernel: str(n) for kernel, n in grown.items()}}


def unit(counted):
    return "instructions" if counted else "ticks of the clock"


def ratio(own, base):
    return f"{own / base:.3f}" if base else "-" if own else "1.000"


def _ratio_head(kernel):
    return "ratio" if kernel == "patched" else f"ratio of {kernel}"


def _operations(found):
    """The operations that were measured with any kernel; some can be missing: a page of 1 GiB was not to be had."""
    return list(dict.fromkeys(key for costs in found.values() for key in costs))


def _rows(found, value, shown):
    """A row for each operation that is shown(): value(cost) a unit with each kernel, and the ratio to the unpatched one."""
    for key in _operations(found):
        every = {name: costs.get(key) for name, costs in found.items()}
        base = every["unpatched"]
        if not any(cost and shown(cost) for cost in every.values()):
            continue
        row = {"memory": key[0], "operation": key[1], "per": next(cost for cost in every.values() if cost).unit}
        for name, cost in every.items():
            row[name] = f"{value(cost) / cost.number:.1f}" if cost else "-"
            if name != "unpatched":
                row[_ratio_head(name)] = ratio(value(cost), value(base)) if cost and base else "-"
        yield row


def _costs(found):
    return _rows(found, lambda c: c.instructions, lambda c: c.instructions)


# What can be worse, of a Cost: name and value; instructions, but for the last.
COMPARED = {"whole": lambda c: c.instructions, "in the fault handler": lambda c: c.span.handler if c.unit == "fault" else 0,
            "without what waits for SRCU": lambda c: c.span.work, "longest hold for write": lambda c: c.span.longest["write"],
            "all holds for write": lambda c: c.span.held["write"],
            "TLB invalidations": lambda c: sum(c.span.tlb.values())}


# A count that is so many times smaller than the other kernel's is one that the plugin has lost.
LOST = 10


def worse(found):
    """A row for each thing that is more with the patched kernel than with the unpatched one, by more than two runs can differ."""
    for key in _operations(found):
        base, own = found["unpatched"].get(key), found["patched"].get(key)
        if not base or not own:
            continue
        for what, value in COMPARED.items():
            if what != "whole" and not (base.span and own.span):
                continue
            was, now = value(base), value(own)
            # A call that is preempted for long is lost to the plugin, and the whole of it is not.
            if what == "without what waits for SRCU" and now > LOST * was and own.instructions <= base.instructions:
                continue
            if now > was * (1 + AGREE):
                yield {"memory": key[0], "operation": key[1], "what": what, "per": base.unit, "unpatched": f"{was / base.number:.2f}",
                       "patched": f"{now / own.number:.2f}", "ratio": ratio(now, was)}


def waits(found, row):
    """Whether an operation waits for SRCU."""
    span = found["unpatched"][row["memory"], row["operation"]].span
    return bool(span and span.work)


# Where the patched kernel has another default: the memory as it is with it, and with that of the unpatched kernel.
DEFAULTS = {"arm64": {"2M": "2M lazy", "1G": "1G lazy"}}


def default_rows(target, found):
    """A row for each operation that the default matters to, each kernel as it is by default; and for all while logging."""
    for memory, was in DEFAULTS.get(target.arch, {}).items():
        both, matters = {}, set()
        for what in (what for of, what in found["patched"] if of == memory):
            new, old = ([found[kernel].get((of, what)) for of in (memory, was)] for kernel in ("patched", "unpatched"))
            if new[0] and old[1]:
                both[what] = old[1].instructions, new[0].instructions
                if any(all(pair) and _differ(*pair) for pair in (new, old)):
                    matters.add(what)
        names = list(both)
        if {"log start", "log stop"} <= both.keys():
            logging = names[names.index("log start"):names.index("log stop") + 1]
            both["all from log start to log stop"] = tuple(sum(both[name][i] for name in logging) for i in (0, 1))
            matters.add("all from log start to log stop")
        for what, (base, own) in both.items():
            if what in matters:
                yield {"memory": memory, "operation": what, "unpatched": str(base), "patched": str(own), "ratio": ratio(own, base)}


def _differ(one, other):
    """Whether two costs are not the same but for what two runs of one differ by."""
    return abs(other.instructions - one.instructions) > AGREE * one.instructions


def _counts(found, kinds):
    """A row for each operation that does any of these: kinds is name to a function of a Span."""
    for key in _operations(found):
        spans = {name: costs[key].span for name, costs in found.items() if key in costs}
        if any(value(span) for value in kinds.values() for span in spans.values()):
            yield {"memory": key[0], "operation": key[1]} | {
                f"{what}, {name}": str(value(spans[name])) if name in spans else "-" for what, value in kinds.items() for name in found}


def tables(target, found, counted):
    """(title, rows) of each table that there is of a target."""
    rows = list(_costs(found))
    more = [row for row in rows if row["ratio"] != "-" and float(row["ratio"]) > 1 + AGREE]
    yield (f"{unit(counted)}; {len(more)} of {len(rows)} operations cost more than with the unpatched kernel"
           + (": the first rows" if more else ""), more + [row for row in rows if row not in more])
    yield (f"{unit(counted)}, all of an operation, each kernel as it is by default: the patched one splits huge pages at log start,"
           " the unpatched one in the first write to each", list(default_rows(target, found)))
    if not counted:
        return
    yield (f"instructions in {count.HANDLER[target.arch]}() alone",
           list(_rows(found, lambda c: c.span.handler, lambda c: c.unit == "fault" and c.span.handled)))
    yield ("instructions in what the architecture does for a memslot, or for the end of the VM, without what waits for SRCU",
           list(_rows(found, lambda c: c.span.work, lambda c: c.span.work)))
    yield ("faults that it handled", list(_counts(found, {"faults": lambda s: s.handled})))
    yield ("rwlocks taken", list(_counts(found, {"for write": lambda s: s.taken("write"), "for read": lambda s: s.taken("read")})))
    yield ("semaphores taken for read, the mmap_lock above all", list(_counts(found, {"times": lambda s: s.mmap})))
    yield ("instructions in the longest hold of an rwlock",
           list(_counts(found, {"for write": lambda s: s.longest["write"], "for read": lambda s: s.longest["read"]})))
    yield ("instructions in all holds of rwlocks",
           list(_counts(found, {"for write": lambda s: s.held["write"], "for read": lambda s: s.held["read"]})))
    yield ("TLB invalidations" if target.arch == "arm64" else "flushes of vCPUs' TLBs",
           list(_counts(found, {"times": lambda s: sum(s.tlb.values())})))


# What two runs may differ by, and are the same.
AGREE = 0.001


def again_rows(first, second):
    """A row for each operation that two runs do not agree on, with a kernel: {kernel: costs} of each."""
    for kernel, values in first.items():
        for key, cost in values.items():
            other = second.get(kernel, {}).get(key)
            if other and _differ(cost, other):
                yield {"kernel": kernel, "memory": key[0], "operation": key[1], "first": str(cost.instructions),
                       "second": str(other.instructions), "ratio": ratio(other.instructions, cost.instructions),
                       "without what waits for SRCU": ratio(other.span.work, cost.span.work) if cost.span and cost.span.work else "-"}


# Of a Span, by the names of what is measured in a CSV: numbers, and those that are by kind.
_NUMBERS = {"faults": "handled", "instructions in fault handler": "handler", "instructions for memslot or VM": "work",
            "semaphores for read": "mmap"}
_KINDS = {"lock for": "locks", "longest hold for": "longest", "all holds for": "held", "TLB": "tlb", "TLB of stage 1": "stage1",
          "cache": "caches"}


def flat(found):
    """For a CSV: a line for each operation, kernel and thing that was measured."""
    for kernel, costs in found.items():
        for (memory, what), cost in costs.items():
            row = {"kernel": kernel, "memory": memory, "operation": what, "per": cost.unit, "number": str(cost.number)}
            values = {"instructions": cost.instructions, "ticks": cost.ticks}
            if cost.span:
                values |= {name: getattr(cost.span, field) for name, field in _NUMBERS.items()}
                for name, field in _KINDS.items():
                    for kind, n in sorted(getattr(cost.span, field).items()):
                        kind = kind if isinstance(kind, str) else " by ".join(kind)
                        values[f"{name}: {kind}"] = n
            for quantity, value in values.items():
                yield row | {"quantity": quantity, "value": str(value)}


def unflat(rows):
    """{kernel: {(memory, operation): Cost}} out of the lines of a CSV."""
    found, instructions = {}, {}
    for row in rows:
        costs = found.setdefault(row["kernel"], {})
        cost = costs.setdefault((row["memory"], row["operation"]), Cost(row["per"], int(row["number"]), 0))
        quantity, value = row["quantity"], int(row["value"])
        if quantity == "ticks":
            cost.ticks = value
        elif quantity == "instructions":
            instructions[id(cost)] = value
        else:
            cost.span = cost.span or count.Span(0)
            name, _, kind = quantity.partition(": ")
            if name in _NUMBERS:
                setattr(cost.span, _NUMBERS[name], value)
            else:
                counter = getattr(cost.span, _KINDS[name])
                counter[tuple(kind.split(" by ", 1)) if name == "lock for" else kind] = value
    for costs in found.values():
        for cost in costs.values():
            if cost.span:
                cost.span.instructions = instructions[id(cost)]
    return found


def flat_bytes(found):
    for kernel, values in found.items():
        for (when, what), n in values.items():
            yield {"kernel": kernel, "memory": "4K", "operation": when, "quantity": f"bytes: {what}", "value": str(n)}


def unflat_bytes(rows):
    found = {}
    for row in rows:
        found.setdefault(row["kernel"], {})[row["operation"], row["quantity"].removeprefix("bytes: ")] = int(row["value"])
    return found


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
            and first["unpatched"][key].number * max(found) == found[max(found)]["unpatched"][key].number * min(found)}


def growth_rows(found):
    """A row for each operation that is of memory: what a unit costs at each size, and the exponent of all of it."""
    for key, lists in growing(found).items():
        row = {"memory": key[0], "operation": key[1], "per": found[min(found)]["unpatched"][key].unit}
        for kernel, points in lists.items():
            row |= {f"{kernel}, {size} MiB": f"{total / found[size][kernel][key].number:.1f}" for size, total in points}
            row |= {f"exponent, {kernel}": f"{slope(points):.3f}"}
        yield row


def growth_panels(found):
    """For each kind of memory, what plot.growth() wants: [(operation, {kernel and exponent: points}), ...]."""
    panels = {}
    for (memory, what), lists in growing(found).items() if len(found) > 1 else ():
        panels.setdefault(memory, []).append((what, {f"{name}, {slope(points):.2f}": points for name, points in lists.items()}))
    return panels


def draw_ratios(path, title, found):
    """Bars, of each operation."""
    rows = list(_costs(found))
    heads = {name: _ratio_head(name) for name in found if name != "unpatched"}
    return plot.ratios(path, title, [(f"{row['memory']}: {row['operation']}",
                                      *(0 if row[h] == "-" else float(row[h]) for h in heads.values())) for row in rows], list(heads))
