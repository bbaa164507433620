"""tdp bench: what operations of the MMU do to who runs beside them, beside the unpatched kernel.

mmu_progress_test does the operations to a memslot while vCPUs fault on another. How long the mmu_lock is held is
counted in instructions, on one CPU, where nobody who holds it is preempted; how long it is waited for, how far the
vCPUs get, and how long each fault takes them, is measured with two CPUs and the machine's clock, each kernel in turn.
"""

from dataclasses import dataclass, field, replace

from . import boot, build, costs, plot, run, source
from .boot import Test
from .common import CACHE, die, say, write_atomic
from .jobs import Job

PROGRAM = "mmu_progress_test"
TARGET_NAMES = ("npt", "arm64", "arm64-nvhe")
MEMORY = {"4k": "anonymous", "thp": "anonymous_thp"}
KERNELS = ("unpatched", "patched")
SIZE = 32                   # MiB that something is done to
LOCKS_SIZES = (16, 64)
FRESH = 256                 # MiB that vCPUs fault on
RUNS = 4                    # of each operation in a turn
TURNS = 3
VCPUS = (1, 2, 4, 8)        # no more: the test takes 8
# With more vCPUs than CPUs, QEMU's SVM with threads ends a vCPU by a shutdown, or hangs, in most runs, with either kernel.
VCPUS_OF = {"npt": (1, 2)}
LARGEST = 1024
MODELS = {"PREEMPT": "lock-stat", "PREEMPT_NONE": "lock-stat-none"}
TIMEOUT = 900
SECONDS = {"npt": 20, "arm64": 45, "arm64-nvhe": 45}    # that a test takes on a machine as ours
# Two CPUs that take turns in one thread, for a tenth of a second each, say nothing about who waits for whom.
THREAD = "multi"
# And with threads some emulators fail now and then (boot.TCG_THREAD), with either kernel: that is done again, and said so.
TRIES = 12


@dataclass(frozen=True)
class Hold:
    """Of the mmu_locks, taken in one way while an operation was done some times: microseconds."""
    taken: int
    longest: float
    total: float
    waited: int
    longest_wait: float
    total_wait: float


@dataclass
class Found:
    """What one run of the test has printed: by operation, and by (operation, "read" or "write")."""
    rates: dict = field(default_factory=dict)
    took: dict = field(default_factory=dict)        # nanoseconds of the operation once
    holds: dict = field(default_factory=dict)
    latencies: dict = field(default_factory=dict)   # of touches: nanoseconds for each of SHARES
    exhausted: dict = field(default_factory=dict)   # runs at whose end the vCPUs had no fresh memory left


# How many touches, of a hundred, took no longer than what is printed.
SHARES = ("50", "90", "99", "99.9", "100")


# The lines of the test's output that are kept.
KINDS = ("progress,", "latency,", "exhausted,", "lock,")


def parse(lines):
    found = Found()
    for fields in (line.split(",") for line in lines):
        if fields[0] == "progress" and len(fields) == 6:
            found.rates[fields[1]] = float(fields[5])
            found.took[fields[1]] = float(fields[3]) / int(fields[2])
        elif fields[0] == "latency" and len(fields) == 2 + len(SHARES):
            found.latencies[fields[1]] = dict(zip(SHARES, map(float, fields[2:])))
        elif fields[0] == "exhausted":
            found.exhausted[fields[1]] = int(fields[2])
        elif fields[0] == "lock" and len(fields) == 9:
            taken, longest, total, waited, longest_wait, total_wait = map(float, fields[3:])
            found.holds[fields[1], fields[2]] = Hold(int(taken), longest, total, int(waited), longest_wait, total_wait)
    return found


def job(src, target, kernel, tests, variant="", exact=False, turn=0):
    """A boot with some tests, each of which is remembered, for each turn."""
    images = {"patched": build.kernel(src, target, variant), "unpatched": build.kernel(source.unpatched(src), target, variant)}
    selftests = build.selftests(src, target.arch)

    def keys():
        # What is measured by the clock is measured again, with both kernels in turn, when one of them has changed.
        beside = [image.read_bytes() for image in images.values()] if not exact else []
        return boot.keys(images[kernel], selftests, tests, str(exact), boot.thread_of(target, THREAD), str(turn), *beside)
    known = keys()
    paths = {t: CACHE / "bench" / f"{target.name}-{variant or 'parallel'}-{kernel}-{known[t.title]}.txt" for t in tests}

    def measure():
        for attempt in range(TRIES):
            left = [t for t in tests if not paths[t].exists()]
            if not left:
                break
            result = boot.boot(target, images[kernel], selftests, left, variant, exact=exact, thread=THREAD)
            if keys() != known:
                die(f"{target.name}: the {kernel} kernel or its tests were built anew meanwhile; the same command measures them")
            for test, found in zip(left, result.results):
                lines = [line for line in found.output if line.startswith(KINDS)]
                if found.verdict == "ok" and lines and not result.splats:
                    write_atomic(paths[test], "\n".join(lines) + "\n")
            failed = next((t for t in left if not paths[t].exists()), None)
            if failed and (exact or attempt + 1 == TRIES or target.name not in boot.TCG_THREAD or result.panicked or result.splats):
                costs.no_result(target, kernel, failed, result)
            if failed:
                say(f"{target.name}: {kernel}: {result.trouble or 'a test failed'}; once more, as the emulator does that with threads")
    seconds = costs.SECONDS_BOOT + SECONDS[target.name] * len(tests) * boot.SLOW_VARIANT.get(variant, 1)
    return Job(f"{target.name}: {len(tests)} of {PROGRAM}, the {kernel} kernel{f', {variant}' if variant else ''}"
               f"{f', turn {turn}' if turn else ''}", list(paths.values()), seconds, measure, alone=not exact)


def found(done):
    """A Found for each test of a job."""
    return [parse(path.read_text().splitlines()) for path in done.paths]


def _test(mib, fresh, memory, runs, more=""):
    return Test(PROGRAM, f"-b {mib}M -f {fresh}M -n {runs} -s {MEMORY[memory]}{more}", timeout=TIMEOUT)


def parallel_jobs(src, target, mib, vcpus, turns):
    """{(kernel, turn): Job}; each boot does all that parallel_keys() says, in that order."""
    tests = [_test(mib, FRESH, memory, RUNS, f" -v {v}") for memory, v in parallel_keys(vcpus)]
    return {(kernel, turn): job(src, target, kernel, tests, turn=turn)
            for turn in range(1, turns + 1) for kernel in (KERNELS if turn % 2 else KERNELS[::-1])}


def parallel_keys(vcpus):
    return [("4k", v) for v in vcpus]


def parallel_rows(jobs, mib, vcpus):
    """For a CSV."""
    for (kernel, turn), done in jobs.items():
        for (memory, v), one in zip(parallel_keys(vcpus), found(done)):
            yield from flat(memory, v, turn, mib, kernel, one)


def locks_jobs(src, target, sizes):
    """{(model, memory, MiB, kernel, exact): Job}: exact on one CPU at each size, and with two at the largest."""
    return {(model, memory, mib, kernel, exact):
            job(src, target, kernel, [_test(mib, 64 if exact else FRESH, memory, 3, " -l")], variant, exact)
            for model, variant in MODELS.items() for memory in MEMORY for exact in (True, False)
            for mib in (sizes if exact else sizes[-1:]) for kernel in KERNELS}


def locks_rows(jobs):
    """For a CSV."""
    for (model, memory, mib, kernel, exact), done in jobs.items():
        yield from flat(memory, 1, 1, mib, kernel, found(done)[0], model, "instructions" if exact else "machine")


def _microseconds(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


# Titles of tables, how the lock is taken, and what of a Hold.
HELD = (("longest hold for write", "write", "longest"), ("all holds for write", "write", "total"),
        ("longest hold for read", "read", "longest"))
WAITED = (("longest wait for write", "write", "longest_wait"), ("longest wait for read", "read", "longest_wait"),
          ("all waits for read", "read", "total_wait"))


def lock_rows(found, how, what):
    """A row for each operation, with a column for each kernel and size: found is {size: {kernel: Found}}."""
    first = next(iter(found.values()))["unpatched"]
    for op in first.rates:
        row = {"operation": op}
        for kernel in KERNELS:
            for size, by_kernel in found.items():
                hold = by_kernel[kernel].holds.get((op, how))
                row[f"{kernel}, {size} MiB"] = _microseconds(getattr(hold, what)) if hold and hold.taken else "-"
        yield row


RATE, TOOK, EXHAUSTED = "pages touched a second", "nanoseconds of the operation", "runs without memory left"
LATENCY = "nanoseconds for a touch, of a hundred: "


def flat(memory, vcpus, turn, mib, kernel, one, model="PREEMPT", clock="machine"):
    """For a CSV: a line for each thing that was measured in one run."""
    head = {"kernel": kernel, "memory": memory, "vCPUs": str(vcpus), "turn": str(turn), "MiB": str(mib), "model": model, "clock": clock}
    for op, rate in one.rates.items():
        row = head | {"operation": op}
        yield row | {"quantity": RATE, "value": f"{rate:.0f}"}
        yield row | {"quantity": TOOK, "value": f"{one.took[op]:.0f}"}
        for share, ns in one.latencies.get(op, {}).items():
            yield row | {"quantity": f"{LATENCY}{share}", "value": f"{ns:.0f}"}
        if op in one.exhausted:
            yield row | {"quantity": EXHAUSTED, "value": str(one.exhausted[op])}
        for how in ("write", "read"):
            if hold := one.holds.get((op, how)):
                for quantity, value in vars(hold).items():
                    yield row | {"quantity": f"{how}: {quantity}", "value": f"{value:g}"}


def unflat(rows, *heads):
    """{(value of each head, ...): {kernel: [Found of each turn]}} out of the lines of a CSV."""
    every = {}
    for row in rows:
        turns = every.setdefault(tuple(row[head] for head in heads), {}).setdefault(row["kernel"], {})
        one = turns.setdefault(int(row["turn"]), Found())
        op, quantity, value = row["operation"], row["quantity"], float(row["value"])
        how, _, field = quantity.partition(": ")
        if quantity == RATE:
            one.rates[op] = value
        elif quantity == TOOK:
            one.took[op] = value
        elif quantity == EXHAUSTED:
            one.exhausted[op] = int(value)
        elif quantity.startswith(LATENCY):
            one.latencies.setdefault(op, {})[quantity.removeprefix(LATENCY)] = value
        else:
            one.holds[op, how] = replace(one.holds.get((op, how), Hold(0, 0, 0, 0, 0, 0)), **{field: value})
    return {key: {kernel: [turns[t] for t in sorted(turns)] for kernel, turns in kernels.items()} for key, kernels in every.items()}


def locks_tables(every):
    """(title, rows) of how long the mmu_locks are held, exactly, at each size; and waited for, with two CPUs: {(model, memory,
    clock, MiB): {kernel: [Found]}}."""
    for model, memory, clock in dict.fromkeys(key[:3] for key in every):
        by_size = {key[3]: {kernel: runs[0] for kernel, runs in kernels.items()}
                   for key, kernels in every.items() if key[:3] == (model, memory, clock)}
        shown, what = (HELD, "1 CPU: microseconds of 1000 instructions") if clock == "instructions" else (
            WAITED, "2 CPUs: microseconds of the machine's clock")
        for title, how, quantity in shown:
            yield (f"{model} with lock statistics, which cost instructions themselves, {memory}, {what}: {title}",
                   list(lock_rows(by_size, how, quantity)))


def worse_locks(every):
    """A row for each operation whose holds for write are longer with the patched kernel, as exactly as they are known, at the
    largest size; holds for read are longer by design, while nobody waits. Of what locks_tables() takes."""
    largest = max((key[3] for key in every), key=int, default=None)
    for (model, memory, clock, mib), runs in every.items():
        if clock != "instructions" or mib != largest:
            continue
        for title, how, quantity in HELD:
            for op in runs["unpatched"][0].rates if how == "write" else ():
                was, now = (getattr(runs[kernel][0].holds.get((op, how)), quantity, 0) for kernel in KERNELS)
                if now > was * (1 + costs.AGREE):
                    yield {"memory": memory, "operation": op, "what": f"{title}, lock statistics, {model}", "per": "us",
                           "unpatched": _microseconds(was), "patched": _microseconds(now), "ratio": costs.ratio(now, was)}


# Of Found, by operation, what is shown of the runs; what more is better is a ratio above 1.
SHOWN = {"pages a second that all vCPUs touch meanwhile": lambda found: found.rates,
         "microseconds that the operation takes": lambda found: {op: ns / 1000 for op, ns in found.took.items()},
         "microseconds in which half of the touches were done": lambda found: _share(found, "50"),
         "microseconds in which 99 % of the touches were done": lambda found: _share(found, "99")}


def _share(found, share, unit=1000):
    return {op: took[share] / unit for op, took in found.latencies.items()}


def parallel_tables(every):
    """(title, rows) of {(memory, vCPUs): {kernel: [Found of each turn]}}."""
    for memory in dict.fromkeys(memory for memory, _ in every):
        for what, value in SHOWN.items():
            rows = [{"operation": row["operation"], "vCPUs": str(vcpus)} | row for (m, vcpus), runs in every.items() if m == memory
                    for row in run_rows(runs, value)]
            # The operations in their order, and each with all numbers of vCPUs.
            order = list(dict.fromkeys(row["operation"] for row in rows))
            yield f"{memory}, 2 CPUs: {what}", sorted(rows, key=lambda row: order.index(row["operation"]))


def _both(runs, value):
    """A row, and what it is of, {kernel: values}, for each operation of {kernel: [Found, ...]}."""
    for op in runs["unpatched"][0].rates:
        # An operation can end before a vCPU has touched anything.
        values = {kernel: [value(one)[op] for one in found if op in value(one)] for kernel, found in runs.items()}
        if all(values.values()):
            yield {"operation": op, **run.medians(values)}, values


def run_rows(runs, value):
    """A row for each operation, of {kernel: [Found, ...]}."""
    return [row for row, _ in _both(runs, value)]


def draw(path, title, memory, every):
    """Bars, of how far vCPUs get with the patched kernel: one for each number of them."""
    vcpus = [v for m, v in every if m == memory]
    rows = {v: {row["operation"]: row["ratio"] for row in run_rows(every[memory, v], lambda found: found.rates)} for v in vcpus}
    return plot.ratios(path, title, [(op, *(0 if rows[v].get(op, "-") == "-" else float(rows[v][op]) for v in vcpus))
                                     for op in rows[vcpus[0]]],
                       [f"{v} vCPU{'s' * (v > 1)}" for v in vcpus])


# What can be worse, of a Found, by operation; and whether more is.
COMPARED = {"pages a second that all vCPUs touch meanwhile": (lambda found: found.rates, False),
            "nanoseconds of the operation": (lambda found: found.took, True),
            "nanoseconds in which 99 % of the touches were done": (lambda found: _share(found, "99", 1), True)}


def worse(runs):
    """A row for each thing that no turn with the patched kernel did as well as any with the unpatched one."""
    for what, (value, more) in COMPARED.items():
        for row, values in _both(runs, value):
            own, base = values["patched"], values["unpatched"]
            if min(own) > max(base) if more else max(own) < min(base):
                yield row | {"what": what}
