"""tdp bench: what the MMU's operations cost beside the unpatched kernel, and how they grow; tables, CSV, plots, a page."""

import time
from pathlib import Path

from . import boot, build, common, contention, costs, jobs, page, run, series, source
from .common import CACHE, die, say
from .targets import TARGETS

# What is measured; by default what takes half an hour.
PARTS = ("costs", "growth", "memory", "parallel", "again", "locks")
DEFAULT = PARTS[:4]


def _check(args, parts):
    """What cannot be measured is said at once."""
    for name in args.targets:
        if name not in costs.TARGET_NAMES:
            die(f"{name}: bench is for {', '.join(costs.TARGET_NAMES)}", status=2)
        if name not in contention.TARGET_NAMES and args.only and parts & {"parallel", "locks"}:
            die(f"{name}: parallel and locks are for {', '.join(contention.TARGET_NAMES)}", status=2)
    vcpus = args.vcpus or contention.VCPUS
    if max(vcpus) > max(contention.VCPUS) or len(set(vcpus)) > len(contention.VCPUS):
        die(f"--vcpus takes {len(contention.VCPUS)} numbers up to {max(contention.VCPUS)}", status=2)
    if args.size < 0 or args.size > contention.LARGEST and parts & {"parallel", "locks"}:
        die(f"--size takes up to {contention.LARGEST} MiB where vCPUs run in parallel", status=2)
    if args.size % 2 or any(size % costs.SPARSE_LEAST for size in args.sizes or ()):
        die(f"--size takes a multiple of 2 MiB, --sizes of {costs.SPARSE_LEAST} MiB", status=2)


def _out(args):
    """The directory for the results, which can be written to."""
    out = Path(args.out) if args.out else CACHE / "results" / time.strftime("bench-%Y%m%d-%H%M%S")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".probe").write_text("")
        (out / ".probe").unlink()
    except OSError as e:
        die(f"--out {out}: {e.strerror}; say another directory", status=2)
    return out


def _kept(path, parts):
    """The rows of an earlier run, of parts that are not measured now."""
    return [row for row in page.read(path) if row["part"] not in parts | {"about"}] if path.exists() else []


def _about(src, target):
    """What the numbers depend on, besides this repository."""
    emulator = boot.qemu(target)
    head = {"target": target.name, "part": "about", "MiB": "0"}
    values = {"kernel": f"Linux {src.version}", "compiler": build.compiler(target.cross),
              "emulator": common.capture([emulator, "--version"]).splitlines()[0] if emulator else "Bochs",
              "measured": time.strftime("%Y-%m-%d")}
    return [head | {"quantity": quantity, "value": value} for quantity, value in values.items()]


def _measure(args, src, name, parts):
    """Yields the rows of a CSV, part by part, as they come."""
    target = TARGETS[name]
    why = costs.why_uncounted(target)
    if why:
        say(f"{name}: time and nothing else is measured: {why}")
    exact = costs.Costs(target, src, not why)
    size = args.size or costs.SIZE.get(name, costs.SIZE_QEMU)
    sizes = sorted(set(args.sizes or costs.SIZES.get(name, costs.SIZES_QEMU)))
    vcpus = sorted(set(args.vcpus or contention.VCPUS_OF.get(name, contention.VCPUS)))
    bytes_mib = costs.MEMORY.get(name, costs.MEMORY_QEMU)
    locks_sizes = sorted({args.size} if args.size else contention.LOCKS_SIZES)
    todo = {}
    if "costs" in parts:
        todo["costs", size] = exact.cost_jobs(size)
    if "again" in parts:
        todo["again", size] = exact.cost_jobs(size, again=True)
    if "growth" in parts:
        todo |= {("growth", mib): exact.cost_jobs(mib, costs.SPARSE) for mib in sizes}
    if "memory" in parts:
        todo["memory", bytes_mib] = exact.memory_jobs(bytes_mib)
    if "parallel" in parts and name in contention.TARGET_NAMES:
        mib = args.size or contention.SIZE
        todo["parallel", mib] = contention.parallel_jobs(src, target, mib, vcpus, args.turns)
    if "locks" in parts and name in contention.TARGET_NAMES:
        todo["locks", locks_sizes[-1]] = contention.locks_jobs(src, target, locks_sizes)
    jobs.do([job for some in todo.values() for job in some.values()])
    for (part, mib), some in todo.items():
        head = {"target": name, "part": part, "MiB": str(mib)}
        if part in ("costs", "growth", "again"):
            rows = costs.flat(exact.found(some))
        elif part == "memory":
            rows = costs.flat_bytes(exact.bytes_found(some))
        elif part == "parallel":
            rows = contention.parallel_rows(some, mib, vcpus)
        else:
            rows = contention.locks_rows(some)
        yield from (head | row for row in rows)


def bench_cmd(args):
    if args.page:
        return page.page_cmd(Path(args.page))
    parts = set(args.only or DEFAULT)
    # What is done again is set beside the first time.
    if "again" in parts:
        parts.add("costs")
    _check(args, parts)
    out = _out(args)
    src = series.patched(source.get(args))
    for name in dict.fromkeys(args.targets):
        path = out / f"{name}.csv"
        measured = list(_measure(args, src, name, parts))
        rows = [*_about(src, TARGETS[name]), *_kept(path, parts), *measured]
        run.write_csv(path, rows)
        print(f"\nCSV: {path}", flush=True)
        for title, table in page.tables(name, measured):
            if table:
                print(f"\n{name}, {title}", *run.table(table), sep="\n", flush=True)
    print(flush=True)
    return page.page_cmd(out)
