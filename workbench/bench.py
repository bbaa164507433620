"""tdp bench: what the operations of the MMU cost, in instructions, beside the unpatched kernel."""

import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import boot, build, common, run, series, source
from .boot import Test
from .common import CACHE, die, say, write_atomic
from .targets import TARGETS

# Memory of the guest in MiB.
SIZE = {"ept": 4}
SIZE_QEMU = 64
COST = re.compile(r"cost,(\w+),(.+),(\w+),(\d+),(\d+)$")


@dataclass(frozen=True)
class Kernel:
    name: str
    patched: bool
    cmdline: str = ""


def kernels(target):
    """What is compared; on x86 with the direct MMU of old, too, which has one lock for all."""
    legacy = [Kernel("legacy", False, "kvm.tdp_mmu=N")] if target.arch == "x86" else []
    return [Kernel("unpatched", False), Kernel("patched", True), *legacy]


def costs(lines):
    """What tdp_mmu_cost has printed: (memory, operation) to (unit, how many, instructions)."""
    return {(m[1], m[2]): (m[3], int(m[4]), int(m[5])) for m in map(COST.match, lines) if m}


def measure(target, kernel, src, selftests, test):
    """The costs with a kernel; those that were measured before with the same kernel and test are remembered."""
    tree = src if kernel.patched else source.unpatched(src)
    image = build.kernel(tree, target)
    key = common.digest(image.read_bytes(), (selftests / test.name).read_bytes(), Path(boot.__file__).read_bytes(),
                        test.title, kernel.cmdline)
    path = CACHE / "bench" / f"{target.name}-{kernel.name}-{key}.txt"
    if path.exists():
        return costs(path.read_text().splitlines())
    say(f"{target.name}: the {kernel.name} kernel, {test.title}")
    result = boot.boot(target, image, selftests, [test], cmdline=kernel.cmdline, exact=True)
    if not result.ok or not (found := costs(result.results[0].output)):
        die(f"{target.name}: {test.title} has no result with the {kernel.name} kernel\n"
            + (result.explain() or "\n".join(result.results[0].output[-25:])))
    write_atomic(path, "\n".join(line for line in result.results[0].output if COST.match(line)) + "\n")
    return found


def rows(target, found):
    """One for each operation: instructions a unit with each kernel, and the ratio to the unpatched one."""
    base = found["unpatched"]
    for (memory, what), (unit, number, ticks) in base.items():
        if not ticks:
            continue
        row = {"target": target.name, "memory": memory, "operation": what, "per": unit,
               "unpatched": f"{ticks / number:.1f}"}
        for name, costs_of in found.items():
            if name != "unpatched":
                own = costs_of[memory, what][2]
                row |= {name: f"{own / number:.1f}", "ratio" if name == "patched" else f"ratio of {name}": f"{own / ticks:.3f}"}
        yield row


def bench_cmd(args):
    src = series.patched(source.get(args))
    every = []
    for name in dict.fromkeys(args.targets):
        target = TARGETS[name]
        selftests = build.selftests(src, target.arch)
        test = Test("tdp_mmu_cost", f"-b {SIZE.get(name, SIZE_QEMU)}", timeout=3600)
        compared = kernels(target)
        say(f"{name}: {len(compared)} kernels, {'about a minute' if name in boot.QEMU else 'some minutes'} each")
        found = {kernel.name: measure(target, kernel, src, selftests, test) for kernel in compared}
        table = list(rows(target, found))
        slower = [row for row in table if float(row["ratio"]) > 1]
        print(f"\n{name}: instructions; a ratio is to the unpatched kernel")
        print(*run.table(slower + [row for row in table if row not in slower]), sep="\n")
        print(f"{len(slower)} of {len(table)} operations cost more than with the unpatched kernel"
              + (": the first rows" if slower else ""))
        every += table
    path = Path(args.csv) if args.csv else CACHE / "results" / time.strftime("bench-%Y%m%d-%H%M%S.csv")
    run.write_csv(path, every)
    print(f"\nCSV: {path}")
    sys.stdout.flush()
    return 0
