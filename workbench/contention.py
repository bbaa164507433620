"""tdp bench --locks and --progress: what operations of the MMU do to who runs beside them, beside the unpatched kernel.

mmu_progress_test does the operations to a memslot while a vCPU faults on another. How long the mmu_lock is held is
counted in instructions, on one CPU, where nobody who holds it is preempted; how long it is waited for, how far the
vCPUs get, and how long each fault takes them, is measured with two CPUs and the machine's clock, each kernel in turn.
"""

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import bench, boot, build, run, series, source
from .boot import Test
from .common import CACHE, die, say, write_atomic
from .targets import TARGETS

PROGRAM = "mmu_progress_test"
TARGET_NAMES = ("npt", "arm64", "arm64-nvhe")
MEMORY = {"4k": "anonymous", "thp": "anonymous_thp"}
KERNELS = ("unpatched", "patched")
SIZES = (16, 64)            # MiB that something is done to
LARGEST = 1024
VCPUS = 8                   # the most that the test takes
MODELS = {"PREEMPT": "lock-stat", "PREEMPT_NONE": "lock-stat-none"}
TIMEOUT = 3600
# Two CPUs that take turns in one thread, for a tenth of a second each, say nothing about who waits for whom.
THREAD = "multi"
# And with threads some emulators fail now and then (boot.TCG_THREAD), with either kernel: that is done again, and said so.
TRIES = 3


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
    rates: dict
    holds: dict
    latencies: dict     # of touches: nanoseconds for each of SHARES
    exhausted: dict     # runs at whose end the vCPUs had no fresh memory left


# How many touches, of a hundred, took no longer than what is printed.
SHARES = ("50", "90", "99", "99.9", "100")


def parse(lines):
    found = Found({}, {}, {}, {})
    for fields in (line.split(",") for line in lines):
        if fields[0] == "progress" and len(fields) == 6:
            found.rates[fields[1]] = float(fields[5])
        elif fields[0] == "latency" and len(fields) == 2 + len(SHARES):
            found.latencies[fields[1]] = dict(zip(SHARES, map(float, fields[2:])))
        elif fields[0] == "exhausted":
            found.exhausted[fields[1]] = int(fields[2])
        elif fields[0] == "lock" and len(fields) == 9:
            taken, longest, total, waited, longest_wait, total_wait = map(float, fields[3:])
            found.holds[fields[1], fields[2]] = Hold(int(taken), longest, total, int(waited), longest_wait, total_wait)
    return found


def measure(src, target, kernel, test, variant="", exact=False, turn=0):
    """The test with a kernel; what was measured before with the same kernel and test is remembered, for each turn."""
    tree = src if kernel == "patched" else source.unpatched(src)
    image = build.kernel(tree, target, variant)
    selftests = build.selftests(src, target.arch)
    key = boot.keys(image, selftests, [test], str(exact), boot.thread_of(target, THREAD), str(turn))[test.title]
    path = CACHE / "bench" / f"{target.name}-{variant or 'progress'}-{kernel}-{key}.txt"
    for attempt in range(TRIES):
        if path.exists():
            break
        result = boot.boot(target, image, selftests, [test], variant, exact=exact, thread=THREAD)
        lines = [line for line in result.results[0].output if line.startswith(("progress,", "latency,", "exhausted,", "lock,"))]
        if result.ok and lines:
            write_atomic(path, "\n".join(lines) + "\n")
        elif exact or attempt + 1 == TRIES or target.name not in boot.TCG_THREAD or result.panicked or result.splats:
            bench.no_result(target, kernel, test, result)
        else:
            say(f"{target.name}: {kernel}: {result.trouble or 'the test failed'}; once more, as the emulator does that with threads")
    found = parse(path.read_text().splitlines())
    for op, times in found.exhausted.items():
        say(f"{target.name}: {kernel}: {op}: in {times} runs the vCPUs had touched all of their memory before the end")
    return found


def _test(mib, fresh, memory, runs, more=""):
    return Test(PROGRAM, f"-b {mib}M -f {fresh}M -n {runs} -s {MEMORY[memory]}{more}", timeout=TIMEOUT)


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


def flat(target, found, **fixed):
    """For a CSV: a line for each thing that was measured."""
    for size, by_kernel in found.items():
        for kernel, one in by_kernel.items():
            row = {"target": target.name, "MiB": str(size), **fixed, "kernel": kernel}
            for op, rate in one.rates.items():
                yield row | {"operation": op, "quantity": "pages touched a second", "value": f"{rate:.0f}"}
            for op, took in one.latencies.items():
                for share, ns in took.items():
                    yield row | {"operation": op, "quantity": f"nanoseconds for a touch, {share} %", "value": f"{ns:.0f}"}
            for (op, how), hold in one.holds.items():
                for quantity, value in vars(hold).items():
                    yield row | {"operation": op, "quantity": f"{how}: {quantity}", "value": f"{value:g}"}


def locks(args, src, every):
    """How long the mmu_locks are held, exactly, at each size; and waited for, with two CPUs."""
    sizes = sorted(set(args.sizes or SIZES))
    for name in dict.fromkeys(args.targets):
        target = TARGETS[name]
        for model, variant in MODELS.items():
            for memory in MEMORY:
                say(f"{name}, {model}, {memory}: {(len(sizes) + 1) * len(KERNELS)} boots, some minutes each")
                found = {size: {kernel: measure(src, target, kernel, _test(size, 64, memory, 3, " -l"), variant, exact=True)
                                for kernel in KERNELS} for size in sizes}
                every += flat(target, found, memory=memory, model=model, clock="instructions")
                _print(f"{name}, {model}, {memory}, 1 CPU: microseconds of 1000 instructions", found, HELD)
                parallel = {sizes[-1]: {kernel: measure(src, target, kernel, _test(sizes[-1], 256, memory, 3, " -l"), variant)
                                        for kernel in KERNELS}}
                every += flat(target, parallel, memory=memory, model=model, clock="machine")
                _print(f"{name}, {model}, {memory}, 2 CPUs: microseconds of the machine's clock", parallel, WAITED)


def _print(title, found, tables):
    for what, how, quantity in tables:
        print(f"\n{title}: {what}", *run.table(list(lock_rows(found, how, quantity))), sep="\n", flush=True)


# Of Found, by operation, what is shown of the runs; what more is better is a ratio above 1.
SHOWN = {"pages a second that {who} touch{es} meanwhile": lambda found: found.rates,
         "microseconds in which half of the touches were done": lambda found: _share(found, "50"),
         "microseconds in which 99 % of the touches were done": lambda found: _share(found, "99")}


def _share(found, share):
    return {op: took[share] / 1000 for op, took in found.latencies.items()}


def progress(args, src, every):
    """How many pages vCPUs touch while something is done to other memory: each kernel in turn, so many times."""
    size = (args.sizes or [SIZES[-1]])[0]
    for name, vcpus in itertools.product(dict.fromkeys(args.targets), args.vcpus or [1]):
        target = TARGETS[name]
        for memory in MEMORY:
            runs = {kernel: [] for kernel in KERNELS}
            for turn in range(args.progress):
                for kernel in KERNELS:
                    say(f"{name}, {memory}, vCPUs: {vcpus}: {kernel}, {turn + 1} of {args.progress}")
                    test = _test(size, 256, memory, 10, f" -v {vcpus}" if vcpus > 1 else "")
                    found = measure(src, target, kernel, test, turn=turn + 1)
                    runs[kernel].append(found)
                    every += flat(target, {size: {kernel: found}}, memory=memory, model="PREEMPT", clock="machine",
                                  vcpus=str(vcpus), turn=str(turn + 1))
            for what, value in SHOWN.items():
                what = what.format(who=f"{vcpus} vCPUs" if vcpus > 1 else "a vCPU", es="" if vcpus > 1 else "es")
                print(f"\n{name}, {memory}, {size} MiB, 2 CPUs: {what};"
                      f" medians (smallest-largest) of {args.progress} runs in turn",
                      *run.table(list(run_rows(runs, value))), sep="\n", flush=True)


def run_rows(runs, value):
    """A row for each operation, of {kernel: [Found, ...]}."""
    for op in runs["unpatched"][0].rates:
        # An operation can end before a vCPU begins to touch anything.
        values = {kernel: [value(one)[op] for one in found if op in value(one)] for kernel, found in runs.items()}
        if all(values.values()):
            yield {"operation": op, **run.medians(values)}


def contention_cmd(args):
    for name in args.targets:
        if name not in TARGET_NAMES:
            die(f"{name}: --locks and --progress are for {', '.join(TARGET_NAMES)}", status=2)
    sizes = args.sizes or SIZES
    if max(sizes) > LARGEST or args.progress and len(args.sizes or ()) > 1:
        die(f"--locks takes sizes up to {LARGEST} MiB, --progress one of them", status=2)
    if max(args.vcpus or [1]) > VCPUS:
        die(f"--vcpus takes up to {VCPUS}", status=2)
    src = series.patched(source.get(args))
    path = Path(args.csv) if args.csv else CACHE / "results" / time.strftime("contention-%Y%m%d-%H%M%S.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    every = []
    try:
        if args.locks:
            locks(args, src, every)
        if args.progress:
            progress(args, src, every)
    finally:
        if every:
            run.write_csv(path, every)
            print(f"\nCSV: {path}", flush=True)
    sys.stdout.flush()
    return 0
