"""What was measured means for machines that nobody here has: the simulator checked against what was measured with up to 8
vCPUs and against what others have published, and then run for 416 vCPUs and 12 TiB."""

import random
import statistics
from dataclasses import dataclass, replace
from functools import partial

from . import contention, plot
from .simulate import SLICE, Line, Lock, Machine, Mailbox

PAGE = 4096
FAULTS = 300            # of each vCPU that are simulated, where nobody waits for anything
SPREAD = 4              # times are a sum of so many that are uniform: their standard deviation is 0.29 of the mean
SEEDS = 9               # simulations of what is checked: the median counts


@dataclass(frozen=True)
class Service:
    """What something takes, in nanoseconds: outside of mmu_locks, and in each hold of one."""
    outside: float
    holds: tuple = ()       # (read or write, nanoseconds), in order
    mmap: int = 0           # times that it takes the mmap_lock for read
    sleeps: float = 0.0     # before it begins
    breaks: float = 0.0     # a hold for write lets go after so many, if others wait
    stops: float = 0.0      # in which no CPU gets on, in all: what an emulator does for TLB invalidations that all CPUs must see
    retried: bool = False   # faults that see it begin or end, anywhere, are for nothing: each two holds are a notifier's

    @property
    def total(self):
        return self.outside + sum(ns for _, ns in self.holds)


# The most holds of an operation that are longer when it does more; of others there are more.
FEW = 4


def service(cost, ns, number=None):
    """Of one fault, or of a whole operation on number pages; ns: of an instruction."""
    span = cost.span
    scale = (number or 1) / cost.number
    holds = []
    for how in ("write", "read"):
        taken, held, longest = span.taken(how), span.held[how], span.longest[how]
        if number and taken <= FEW:
            # The plugin says which was the longest.
            holds += [(how, ns * scale * t) for t in ([longest] + [(held - longest) / (taken - 1)] * (taken - 1) if taken > 1
                                                      else [held] * taken)]
        elif times := round(taken * scale):
            holds += [(how, ns * held * scale / times)] * times
    return Service(ns * cost.instructions * scale - sum(t for _, t in holds), tuple(holds), round(span.mmap * scale))


class Host:
    """The locks of a VM on a machine whose cache lines take some time from one CPU to another."""

    def __init__(self, cpus, line=0.0, seed=0):
        self.machine = Machine(cpus)
        self.mmu_lock = Lock("mmu_lock", line)
        self.mmap_lock = Line("cache line of mmap_lock", line)
        self.random = random.Random(seed)
        self.threads = []
        self.invalidating, self.invalidations = False, 0

    def varied(self, ns):
        # Nothing that another machine's libm could round otherwise: the page is the same everywhere.
        return ns * 2 / SPREAD * sum(self.random.random() for _ in range(SPREAD)) if ns else 0.0

    def steps(self, what):
        """Yields what a thread does."""
        for _ in range(what.mmap):
            yield "change", self.mmap_lock
            yield "change", self.mmap_lock
        between = what.outside / (len(what.holds) + 1)
        yield "run", self.varied(between)
        for number, (how, ns) in enumerate(what.holds):
            left = self.varied(ns)
            yield "lock", self.mmu_lock, how
            while what.breaks and left > what.breaks:
                yield "run", what.breaks
                left -= what.breaks
                if self.mmu_lock.waiting:
                    yield "unlock", self.mmu_lock, how
                    yield "lock", self.mmu_lock, how
            yield "run", left
            if what.retried:
                self.invalidating = number % 2 == 0
                self.invalidations += 1
            if what.stops:
                yield "stop", what.stops / len(what.holds)
            yield "unlock", self.mmu_lock, how
            yield "run", self.varied(between)

    def vcpu(self, what):
        def program(thread):
            # Not all of them at the same point of what they do.
            yield "run", self.random.uniform(0, what.total)
            while True:
                seen = self.invalidations
                yield from self.steps(what)
                thread.done += seen == self.invalidations and not self.invalidating
        self.threads.append(self.machine.add(program))

    @property
    def done(self):
        return sum(thread.done for thread in self.threads)

    def once(self, what):
        """Simulates an operation; returns nanoseconds, and what vCPUs did meanwhile. Who does it has a CPU when it begins."""
        began = []

        def program(thread):
            began.extend((self.machine.now, self.done))
            if what.sleeps:
                yield "sleep", what.sleeps
            yield from self.steps(what)
        doing = self.machine.add(program, urgent=True)
        self.machine.run(while_running=doing)
        return self.machine.now - began[0], self.done - began[1]


# -- what was measured here ------------------------------------------------------------------------------------------

# Operations of mmu_progress_test and of tdp_mmu_cost that are the same.
SAME = {"log start": "log start", "clear log": "clear log", "log stop": "log stop", "unmap all": "unmap all",
        "unmap single pages": "unmap single pages", "delete memslot": "slot deletion", "age": "age"}
SINGLE = 256            # pages of the one that mmu_progress_test unmaps
TOUCH = "demand paging by write"        # what its vCPUs do
CPUS = 2
TURN = 1e8              # nanoseconds that it lets vCPUs run where it does nothing
# What of x86's unpatched MMU looks for waiters after each entry, on kernels that can be preempted.
BREAKS = {("x86", "unmap all"), ("x86", "delete memslot")}
BREAK = 1e3             # nanoseconds between two looks
# What of arm64's lets no fault end between the begin and the end of a notifier, whatever it is for.
RETRIED = {("arm64", "unmap all"), ("arm64", "unmap single pages")}
FEWEST = 100            # pages touched in a turn, simulated and measured: fewer say nothing about a rate


def beside(fault, operation, vcpus):
    """(pages touched in a second, nanoseconds of the operation) of vCPUs that fault while a thread does an operation once."""
    rates, times = [], []
    for seed in range(SEEDS):
        host = Host(CPUS, seed=seed)
        for _ in range(vcpus):
            host.vcpu(fault)
        host.machine.run((5 + seed / SEEDS) * SLICE)
        took, done = host.once(operation)
        rates.append(done * 1e9 / took)
        times.append(took)
    return statistics.median(rates), statistics.median(times)


def _pages(measured, op):
    """To how many an operation of mmu_progress_test is done."""
    return SINGLE if op == "unmap single pages" else measured.mib["parallel"] << 20 >> 12


def _as_long(fault, doing, took, waits):
    """An operation that takes as long as measured beside one vCPU: what waits for SRCU does so, all else takes longer throughout."""
    simulated = beside(fault, doing, 1)[1]
    if waits:
        return replace(doing, outside=doing.outside + max(0.0, took - simulated))
    factor = max(0.0, took - doing.stops) / max(1.0, simulated - doing.stops)
    return replace(doing, outside=doing.outside * factor, holds=tuple((how, ns * factor) for how, ns in doing.holds))


def _operation(measured, kernel, op, ns):
    """The service of an operation of mmu_progress_test, without what it waits for SRCU."""
    cost = measured.costs[kernel]["4K", SAME[op]]
    doing = service(cost, ns, _pages(measured, op))
    if cost.span.work:
        share = _pages(measured, op) / cost.number
        doing = replace(doing, outside=max(0.0, cost.span.work * share * ns - sum(t for _, t in doing.holds)))
    # Cache lines take no time here.
    old = kernel == "unpatched"
    return replace(doing, mmap=0, breaks=BREAK if old and (measured.target.arch, op) in BREAKS else 0.0,
                   retried=old and (measured.target.arch, op) in RETRIED)


def invalidations(measured, kernel, op):
    """TLB invalidations of an operation of mmu_progress_test, that all CPUs must see."""
    cost = measured.costs[kernel]["4K", SAME[op]]
    return sum(cost.span.tlb.values()) * _pages(measured, op) / cost.number


def stop_of(measured, runs, faults, own):
    """Nanoseconds that all CPUs stop for a TLB invalidation: so that one vCPU gets as far as measured while single pages are unmapped
    with the patched kernel."""
    op, kernel = "unmap single pages", "patched"
    times = invalidations(measured, kernel, op)
    wanted, took = (statistics.median(_values(runs, kernel, 1, quantity, op)) for quantity in ("rates", "took"))
    if not times or measured.target.arch != "arm64":
        return 0.0
    low, high = 0.0, took / times
    for _ in range(8):
        middle = (low + high) / 2
        doing = _as_long(faults[kernel], replace(_operation(measured, kernel, op, own[kernel]), stops=middle * times), took, False)
        low, high = (middle, high) if beside(faults[kernel], doing, 1)[0] > wanted else (low, middle)
    return middle


def _runs(measured):
    """Those that are simulated: {vCPUs: {kernel: [Found, ...]}}."""
    runs = {v: kernels for (memory, v), kernels in measured.parallel.items() if memory == "4k"}
    known = measured.costs and ("4K", TOUCH) in measured.costs["unpatched"]
    return dict(sorted(runs.items())) if known and {1, CPUS} <= runs.keys() else {}


def _values(runs, kernel, vcpus, quantity, op):
    return [found[op] for one in runs[vcpus][kernel] if op in (found := getattr(one, quantity))]


def slowdown(measured):
    """How much longer all takes where both CPUs have something to do: they share the machine's caches and the emulator. It is the
    machine's: of both kernels together."""
    runs = _runs(measured)
    alone, both = (sum(statistics.median(_values(runs, kernel, v, "rates", "nothing")) for kernel in contention.KERNELS)
                   for v in (1, CPUS))
    return CPUS * alone / both


def checked(measured):
    """A row for each operation and number of vCPUs: pages that they touch in a second, simulated and measured."""
    runs = _runs(measured)
    slower = slowdown(measured) if runs else 1
    alone, quick, faults, own = {}, {}, {}, {}
    for kernel in contention.KERNELS if runs else ():
        # An instruction's time: what a touch takes a vCPU that is alone with a sleeping thread.
        touch = measured.costs[kernel]["4K", TOUCH]
        alone[kernel] = statistics.median(_values(runs, kernel, 1, "rates", "nothing"))
        quick[kernel] = service(touch, 1e9 / alone[kernel] / (touch.instructions / touch.number))
        faults[kernel] = service(touch, slower * 1e9 / alone[kernel] / (touch.instructions / touch.number))
        # And of one of an operation, which the emulator does not leave for a guest and back, as it does for each fault.
        clear = measured.costs[kernel]["4K", "clear log"]
        own[kernel] = statistics.median(_values(runs, kernel, 1, "took", "clear log")) / (
            clear.instructions * _pages(measured, "clear log") / clear.number)
    stop = stop_of(measured, runs, faults, own) if runs else 0.0
    for kernel in faults:
        values, fault = partial(_values, runs, kernel), faults[kernel]
        for op in ("nothing", *(op for op in SAME if ("4K", SAME[op]) in measured.costs[kernel] and values(1, "rates", op))):
            if op == "nothing":
                doing = Service(0.0, sleeps=TURN)
            else:
                doing = replace(_operation(measured, kernel, op, own[kernel]), stops=stop * invalidations(measured, kernel, op))
                doing = _as_long(fault, doing, statistics.median(values(1, "took", op)), measured.costs[kernel]["4K", SAME[op]].span.work)
            for vcpus in runs:
                real = values(vcpus, "rates", op)
                middle = statistics.median(real)
                idle = op == "nothing" and vcpus < CPUS
                rate, took = beside(quick[kernel] if idle else fault, doing, vcpus)
                # Without locks: vCPUs and the thread share the CPUs.
                shared = alone[kernel] / (1 if idle else slower) * min(vcpus, CPUS * vcpus / (vcpus + (op != "nothing")))
                few = FEWEST > max(rate * took, middle * statistics.median(values(vcpus, "took", op))) * contention.RUNS / 1e9
                yield {"target": measured.name, "kernel": kernel, "operation": op, "vCPUs": str(vcpus), "simulated": f"{rate:.0f}",
                       "measured": f"{middle:.0f} ({min(real):.0f}-{max(real):.0f})",
                       "error %": "-" if few else _error(rate, middle), "error % without locks": "-" if few else _error(shared, middle)}


def _error(got, real):
    return f"{100 * (got / real - 1):.0f}" if real else "-"


# -- what others have published --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """Seconds in which so many vCPUs did so many faults each: with a lock that is taken for write by each, then for read."""
    source: str
    faults: int
    write: dict
    read: dict


# arm64, `dirty_log_perf_test -s anonymous_thp -m 2 -b 4G`, dirty seconds.
UPTON = Published("Upton, parallel faults v5, Nov 2022",
                  4 << 30 >> 12, {1: .87, 2: 1.11, 4: 2.39, 8: 5.01, 16: 8.89, 32: 19.90, 48: 32.10},
                  {1: .93, 2: 1.16, 4: 1.27, 8: 1.39, 16: 2.07, 32: 4.45, 48: 6.23})
# arm64 (Altra), `dirty_log_perf_test`, 2 GiB for each vCPU, dirty seconds.
ZHANG = Published("Zhang, rwlock, Jan 2022",
                  2 << 30 >> 12, {1: .926, 2: 1.189, 4: 2.503, 8: 5.069, 16: 10.340, 32: 20.351, 64: 40.994},
                  {1: .803, 2: .843, 4: .942, 8: 1.458, 16: 2.853, 32: 5.886, 64: 12.190})
TABLES = (UPTON, ZHANG)
# Gardon, RFC, Sep 2019: demand paging.
GARDON_VCPUS, GARDON_WAIT, GARDON_SAVED = 416, 98, 89


def rate(fault, vcpus, line, faults=FAULTS):
    """(faults in a nanosecond, what is busy by name) of vCPUs that do nothing else, each on a CPU of its own."""
    host = Host(vcpus, line)
    for _ in range(vcpus):
        host.vcpu(fault)
    lines = (host.mmu_lock.line, host.mmap_lock)
    host.machine.run(20 * fault.total)
    start, before, busy, held = host.machine.now, host.done, [x.busy for x in lines], host.mmu_lock.held_for_write
    host.machine.run(start + faults * fault.total)
    window = host.machine.now - start
    per_ns = (host.done - before) / window
    # What a writer holds includes that the lock's line comes to it; then the line is no limit of its own.
    shares = {x.name: (x.busy - was) / window for x, was in zip(lines, busy)}
    if written := (host.mmu_lock.held_for_write - held) / window:
        shares[lines[0].name] = 0.0
        shares["mmu_lock held for write"] = written
    return per_ns, shares | {"the vCPUs themselves": per_ns * fault.total / vcpus}


def line_of(table):
    """How long a cache line takes from one CPU to another: by the largest machine of a table, where each fault changes the lock's
    word twice and nothing else limits."""
    most = max(table.read)
    return table.read[most] * 1e9 / (most * table.faults) / 2


def held(table):
    """Nanoseconds of a fault under the lock: by the largest machine of a table, where one writer follows the other."""
    most = max(table.write)
    return table.write[most] * 1e9 / (most * table.faults) - line_of(table)


def published_rows():
    """Each table, simulated. One vCPU's time and the largest machine's are taken from the table."""
    for table in TABLES:
        line, hold = line_of(table), held(table)
        for vcpus in table.write:
            row = {"table": table.source, "vCPUs": str(vcpus)}
            for how, seconds in (("write", table.write), ("read", table.read)):
                one = seconds[1] * 1e9 / table.faults
                fault = Service(one - hold, ((how, hold),), 1)
                got = vcpus * table.faults / rate(fault, vcpus, line)[0] / 1e9
                most = max(seconds)
                straight = max(seconds[1], seconds[most] * vcpus / most)
                row |= {f"lock for {how}: published s": f"{seconds[vcpus]:.2f}", f"simulated, {how}": f"{got:.2f}",
                        f"error %, {how}": _error(got, seconds[vcpus]), f"straight, {how}": _error(straight, seconds[vcpus])}
            yield row


@dataclass(frozen=True)
class Hardware:
    """Nanoseconds: of an instruction, of what an exit and an entry take besides, and of a cache line from another CPU."""
    instruction: float
    exit: float
    line: float


# A large server, several sockets: an instruction a cycle at 3 GHz in cold kernel code; exits take some 1500 cycles.
LARGE = Hardware(0.33, 500.0, 100.0)
LINES = (25.0, 50.0, 100.0, 200.0)
VCPUS, TIB = 416, 12


def on(hardware, cost):
    """The service of a fault there."""
    fault = service(cost, hardware.instruction)
    return Service(fault.outside + hardware.exit, fault.holds, fault.mmap)


def gardon_rows(costs):
    """Demand paging with 416 vCPUs: the monolithic lock, and after; costs of x86 by kernel; for some cache lines."""
    for line in LINES:
        old, new = (on(LARGE, costs[kernel]["4K", TOUCH]) for kernel in ("legacy", "patched"))
        old_rate, new_rate = rate(old, GARDON_VCPUS, line)[0], rate(new, GARDON_VCPUS, line)[0]
        wait = 100 * (1 - old_rate * old.total / GARDON_VCPUS)
        saved = 100 * (1 - old_rate / new_rate)
        yield {"ns for a cache line": f"{line:.0f}", "waiting for the lock before: published %": str(GARDON_WAIT),
               "simulated %": f"{wait:.0f}", "time saved: published %": str(GARDON_SAVED), "simulated, saved %": f"{saved:.0f}",
               "error, points": f"{saved - GARDON_SAVED:.0f}"}


# -- and 416 vCPUs ---------------------------------------------------------------------------------------------------


FAULT_OPS = (TOUCH, "refault by write", "write while logging")


def large_rows(measured, hardware=LARGE, vcpus=VCPUS):
    """Faults of all vCPUs at once, each kernel."""
    for op in FAULT_OPS:
        for kernel, costs in measured.costs.items():
            if ("4K", op) in costs:
                fault = on(hardware, costs["4K", op])
                per_ns, shares = rate(fault, vcpus, hardware.line)
                name = max(shares, key=shares.get)
                yield {"target": measured.name, "operation": op, "kernel": kernel, "alone: us": f"{fault.total / 1000:.2f}",
                       "million faults/s": f"{per_ns * 1000:.1f}", f"s for {TIB} TiB": f"{(TIB << 40) / PAGE / per_ns / 1e9:.0f}",
                       "limited by": f"{name} ({100 * min(shares[name], 1):.0f} % busy)"}


CLEARED = 1 << 30       # bytes whose log is cleared at a time: what QEMU does


def clearing_rows(measured, hardware=LARGE, vcpus=VCPUS):
    """vCPUs that write to what is logged while a part of the log is cleared."""
    for kernel, costs in measured.costs.items():
        fault = on(hardware, costs["4K", "write while logging"])
        free = rate(fault, vcpus, hardware.line)[0]
        host = Host(vcpus + 1, hardware.line)
        for _ in range(vcpus):
            host.vcpu(fault)
        host.machine.run(20 * fault.total)
        took, done = host.once(service(costs["4K", "clear log"], hardware.instruction, CLEARED // PAGE))
        yield {"target": measured.name, "kernel": kernel, "clear 1 GiB: ms": f"{took / 1e6:.2f}",
               "faults meanwhile, of those without (%)": f"{100 * done / took / free:.0f}",
               "longest wait for the lock: us": f"{host.mmu_lock.longest_wait / 1000:.0f}"}


HANDLERS = (1, 4, 16, 64)


def userfault_rows(measured, hardware=LARGE, vcpus=VCPUS):
    """Post-copy: what vCPUs want is fetched by some threads, each of which serves a userfaultfd."""
    def page_of(kernel, op):
        cost = measured.costs[kernel].get(("4K", op))
        return service(cost, hardware.instruction) if cost else None

    if not page_of("unpatched", "userfaultfd by write"):
        return
    # What finds nothing and what maps the page are the vCPU's, as much as two faults; the rest is the handler's, with either kernel.
    served = page_of("unpatched", "userfaultfd by write").total - 2 * page_of("unpatched", "refault by write").total
    for kernel in contention.KERNELS:
        whole = page_of(kernel, "userfaultfd by write")
        # Of the times that the mmap_lock is taken, one is the handler's. Only the second fault takes the mmu_lock.
        first = Service((whole.total - served) / 2 + hardware.exit, mmap=(whole.mmap - 1) // 2)
        second = Service(first.outside - sum(ns for _, ns in whole.holds), whole.holds, whole.mmap - 1 - first.mmap)
        serves = Service(served, mmap=1)
        for handlers in HANDLERS:
            host = Host(vcpus + handlers, hardware.line)
            boxes = [Mailbox() for _ in range(handlers)]

            def vcpu(thread, box):
                own = Mailbox()
                while True:
                    yield from host.steps(first)
                    yield "put", box, own
                    yield "get", own
                    yield from host.steps(second)
                    thread.done += 1

            def handler(thread, box):
                while True:
                    yield "get", box
                    own = thread.got
                    yield from host.steps(serves)
                    yield "put", own, None
            host.threads = [host.machine.add(lambda t, box=boxes[i % handlers]: vcpu(t, box)) for i in range(vcpus)]
            for box in boxes:
                host.machine.add(lambda t, box=box: handler(t, box))
            host.machine.run(20 * (served * vcpus / handlers + 2 * first.total))
            start, before, busy = host.machine.now, host.done, host.mmap_lock.busy
            host.machine.run(start + 50 * (served * vcpus / handlers + 2 * first.total))
            window = host.machine.now - start
            per_ns = (host.done - before) / window
            yield {"target": measured.name, "kernel": kernel, "handlers": str(handlers), "million pages/s": f"{per_ns * 1000:.2f}",
                   f"s for {TIB} TiB": f"{(TIB << 40) / PAGE / per_ns / 1e9:.0f}",
                   "handlers busy (%)": f"{min(100, 100 * per_ns * served / handlers):.0f}",
                   "mmap_lock's line busy (%)": f"{min(100, 100 * (host.mmap_lock.busy - busy) / window):.0f}"}


SCALES = (1, 2, 4, 8, 16, 32, 64, 128, VCPUS)


def curves(measured, op):
    """{kernel: [(vCPUs, million faults a second)]}"""
    return {kernel: [(n, 1000 * rate(on(LARGE, costs["4K", op]), n, LARGE.line, 100)[0]) for n in SCALES]
            for kernel, costs in measured.costs.items()}


# -- the page --------------------------------------------------------------------------------------------------------


def _errors(rows, head):
    values = [abs(int(row[head])) for row in rows if row[head] != "-"]
    return (f"median {statistics.median(values):.0f} %, {sum(v <= 15 for v in values)} of {len(values)} within 15 %, largest"
            f" {max(values)} %") if values else "nothing to compare"


def _listed(names):
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _of(rows, **what):
    return [row for row in rows if all(row[head] == value for head, value in what.items())]


def sections(every):
    """(title, lines of text, rows, plots as those of page.Measured) of each part."""
    full = [m for m in every if m.counted]
    if not full:
        return
    yield "On paper: N vCPUs", [
        "`workbench/simulate.py` lets threads run, take the mmu_lock for read or write, and change cache lines that others change",
        "too (the lock's word, and the mmap_lock's); `workbench/scale.py` gives it the service times that are measured above, with a",
        "random spread. A cache line of its own costs nothing, one from another CPU a fixed time. Not in it: memory's bandwidth, the page",
        "allocator, cgroups, NUMA, the dirty bitmap's cache lines, what a TLB flush costs those who are flushed."], [], []
    for m in full:
        rows = list(checked(m))
        if rows:
            predicted = [row for row in rows if row["vCPUs"] != "1"]
            numbers = list(dict.fromkeys(row["vCPUs"] for row in rows))
            yield f"{m.name}: checked against {_listed(numbers)} vCPUs on {CPUS} CPUs", [
                "Fitted for each kernel: the time of an instruction, so that one vCPU gets as far as measured where nothing is done",
                f"beside it; for the machine, that all takes {slowdown(m):.2f} times as long where both CPUs are busy (from two vCPUs and",
                "nothing beside them, both kernels); how long each operation takes beside one vCPU; and on arm64 for how long the emulator",
                "stops all CPUs for a TLB invalidation (from the patched kernel's unmaps of single pages beside one vCPU). How far vCPUs",
                "get is simulated, by which part of the operation's instructions is in which hold of the lock. No error is given where",
                f"fewer than {FEWEST} pages are touched in a turn.",
                "The last column is what CPU shares alone would give, without any lock. No cache line is shared by more than two CPUs",
                "here: this says nothing about that part of the model, which the published tables below are for. On arm64, 6.12 lets a",
                "fault end only if no notifier began or ended meanwhile, whatever it was for: that is in the model, too.", "",
                f"Errors for {_listed(numbers[1:])} vCPUs: " + "; ".join(
                    f"{kernel}: {_errors(_of(predicted, kernel=kernel), 'error %')} (without locks:"
                    f" {_errors(_of(predicted, kernel=kernel), 'error % without locks')})"
                    for kernel in contention.KERNELS) + "."], rows, []
    rows = list(published_rows())
    inner = {t.source: [r for r in _of(rows, table=t.source) if r["vCPUs"] not in ("1", str(max(t.read)))] for t in TABLES}
    yield "Checked against published tables", [
        "Dirty seconds of `dirty_log_perf_test` on arm64. From each table: one vCPU's time, how long a cache line takes (by the largest",
        "machine's readers) and the part of a fault that is under the lock (by its writers); the rest is simulated. *Straight* is what two",
        "straight lines from those rows would say, without a simulator.", "",
        "Fitted: " + "; ".join(f"{t.source}: {line_of(t):.0f} ns for a cache line, {held(t):.0f} of"
                               f" {1e9 * t.write[1] / t.faults:.0f} ns under the lock" for t in TABLES) + ".", "",
        "Errors where nothing was fitted: " + "; ".join(
            f"{t.source}: lock for write: {_errors(inner[t.source], 'error %, write')} (straight:"
            f" {_errors(inner[t.source], 'straight, write')}), for read: {_errors(inner[t.source], 'error %, read')} (straight:"
            f" {_errors(inner[t.source], 'straight, read')})" for t in TABLES) + "."], rows, []
    for m in full:
        if ("4K", TOUCH) in m.costs.get("legacy", {}):
            yield f"{m.name}: demand paging with {GARDON_VCPUS} vCPUs, Gardon's RFC of 2019", [
                f"The legacy direct MMU, and the patched kernel, on a machine of {LARGE.instruction} ns an instruction and"
                f" {LARGE.exit:.0f} ns an exit: assumed, as his is not known. How much the lock for read saves depends on how long a cache"
                " line takes."], list(gardon_rows(m.costs)), []
    for m in full:
        yield f"{m.name}: {VCPUS} vCPUs and {TIB} TiB", [
            f"All vCPUs fault at once, on pages of 4K. Assumed: an instruction takes {LARGE.instruction} ns, an exit {LARGE.exit:.0f} ns"
            f" more, a cache line from another CPU {LARGE.line:.0f} ns.", "",
            "A lock that each fault takes and releases, for read as well, has a word that each fault changes twice: with these cache lines"
            f" {1000 / (2 * LARGE.line):.0f} million faults a second are all that there can be, whatever a fault costs. So only what takes"
            " no lock scales with the vCPUs. The next bottleneck of what is patched is the mmu_lock's word where faults map something, and"
            " the mmap_lock's where the host has to be asked for the page."], list(large_rows(m)), [
                (f"{m.name}-scale", f"{m.name}: million faults a second by vCPUs, simulated",
                 partial(plot.growth, panels=[(op, curves(m, op)) for op in FAULT_OPS if ("4K", op) in m.costs["unpatched"]]))]
        yield f"{m.name}: {VCPUS} vCPUs write while the log of a GiB is cleared", [
            "Without the TLB flush at the end, which both kernels do."], list(clearing_rows(m)), []
        rows = list(userfault_rows(m))
        if rows:
            yield f"{m.name}: post-copy with {VCPUS} vCPUs", [
                "Each handler is a thread with a userfaultfd of its own; the time in which a page comes is not counted."], rows, []
