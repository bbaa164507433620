"""tdp run: one boot, one table. tdp shell: the same kernel and tests, by hand."""

import csv
import io
import re
import statistics
import sys

from . import boot, build, initramfs, series, source
from .boot import Test
from .common import die, say, write_atomic
from .targets import TARGETS

# Memory of a vCPU, plain and with userfaultfd: some seconds each. Bochs has one slow CPU.
MEMORY = {"ept": ("8M", "4M")}
MEMORY_QEMU = ("64M", "16M")
RATE = re.compile(r"Overall demand paging rate:\s*([\d.]+) pgs/sec")


def demand_paging(target, vcpus=(1, 2, 4)):
    """The main job: demand_paging_test with and without userfaultfd."""
    plain, uffd = MEMORY.get(target.name, MEMORY_QEMU)
    # arm64's "max" CPU has guest modes by the dozen; 0 is the default one, 4K pages.
    mode = "-m 0 " if target.arch == "arm64" else ""
    return [Test("demand_paging_test", f"{mode}{args} -v {n}", timeout=600)
            for args in (f"-b {plain}", f"-b {uffd} -u MISSING") for n in vcpus]


def find_test(selftests, name):
    """The path of a selftest; an error that lists them all if there is none such."""
    path = initramfs.resolve(selftests, name)
    if not path:
        names = "\n".join(f"  {t}" for t in initramfs.available(selftests))
        die(f"no selftest {name!r} for this target; there are:\n{names}", status=2)
    return path


def arguments(words):
    """The arguments of a test as one string. The kselftest harness splits it at blanks and has no quoting."""
    for word in words:
        if not re.fullmatch(r"[\w.,:=/+@%-]+", word):
            die(f"the argument {word!r} cannot be passed on: the kselftest harness has no quoting", status=2)
    return " ".join(words)


def mmu_name(target, result):
    """Who handled the faults of a test."""
    if result.faults:
        return "virt/kvm/mmu"
    return f"{target.arch}'s own"


def row(target, result):
    rate = next((m[1] for m in map(RATE.search, result.output) if m), None)
    vcpus = re.search(r"-v (\d+)", result.args)
    return {
        "target": target.name,
        "test": result.name.split("/")[-1] + " " + re.sub(r"-v \d+ ?", "", result.args).strip(),
        "vCPUs": vcpus[1] if vcpus else "-",
        "faults/s": f"{float(rate):.0f}" if rate else "-",
        "by the new core": "-" if result.faults is None else str(result.faults),
        "MMU": mmu_name(target, result),
        "seconds": f"{result.seconds:.1f}",
        "verdict": f"{result.verdict} ({result.detail})" if result.detail else result.verdict,
    }


def table(rows):
    """Lines of a table; numbers to the right."""
    heads = list(rows[0])
    cells = [heads] + [[r[h].strip() for h in heads] for r in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
    right = [all(re.fullmatch(r"[\d.]+|-", line[i]) for line in cells[1:]) for i in range(len(heads))]
    for line in cells:
        yield "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right)).rstrip()


def medians(values):
    """Cells of a table: the median and the spread of each kernel's values, and the ratio of the medians to the unpatched one."""
    middle = {kernel: statistics.median(v) for kernel, v in values.items()}
    shown = {kernel: f"{middle[kernel]:.0f} ({min(v):.0f}-{max(v):.0f})" for kernel, v in values.items()}
    return shown | {"ratio": f"{middle['patched'] / middle['unpatched']:.2f}" if middle["unpatched"] else "-"}


def write_csv(path, rows):
    """The rows of a table, which need not have all the same columns, as a file that programs read."""
    text = io.StringIO(newline="")
    out = csv.DictWriter(text, fieldnames=list(dict.fromkeys(head for row in rows for head in row)), restval="")
    out.writeheader()
    out.writerows(rows)
    write_atomic(path, text.getvalue())


def ktap(results):
    """The results as a KTAP document, with each test's output."""
    lines = ["KTAP version 1", f"1..{len(results)}"]
    for number, r in enumerate(results, 1):
        lines += [f"# {text}" for text in r.output]
        if r.faults is not None:
            lines.append(f"# kvm_tdp_faults: {r.faults}")
        directive = "SKIP " if r.verdict == "skip" else ""
        detail = r.detail.removeprefix("SKIP").strip()
        lines.append(f"{'not ok' if r.verdict == 'not ok' else 'ok'} {number} {r.title} # {directive}"
                     f"{detail + ' ' if detail else ''}time={r.seconds:.3f}s")
    return "\n".join(lines) + "\n"


def targets_of(args):
    names = args.target or ["npt"]
    names = list(TARGETS) if "all" in names else list(dict.fromkeys(names))
    return [TARGETS[n] for n in names]


def run_cmd(args):
    src = series.patched(source.get(args))
    cmdline = args.cmdline
    jobs = []
    for target in targets_of(args):
        selftests = build.selftests(src, target.arch)
        if args.test:
            tests = [Test(find_test(selftests, args.test), arguments(args.args), timeout=1800)]
        else:
            tests = demand_paging(target)
        jobs.append((target, selftests, tests))

    rows, good = [], True
    for target, selftests, tests in jobs:
        variant = args.variant if target.has(args.variant) else ""
        image = build.kernel(src, target, variant)
        result = boot.boot(target, image, selftests, tests, variant, cmdline,
                           on_result=lambda r: say(f"  {r.verdict}: {r.title} ({r.seconds:.1f} s)"))
        write_atomic(result.console.with_name("results.ktap"), ktap(result.results))
        rows += [row(target, r) for r in result.results]
        good = good and result.ok
        for r in result.results:
            if r.verdict == "not ok" or args.test:
                print(f"{r.title}:", *(f"    {line}" for line in r.output), sep="\n")
        if result.trouble:
            print(result.explain())
        print(f"console: {result.console}", f"KTAP:    {result.console.with_name('results.ktap')}", sep="\n")

    print()
    print(*table(rows), sep="\n")
    if any(r["target"] == "ept" for r in rows):
        print("ept: faults/s are by Bochs's clock, which counts instructions; compare them with each other only")
    if args.csv:
        write_csv(args.csv, rows)
        print(f"CSV:     {args.csv}")
    sys.stdout.flush()
    return 0 if good else 1


def shell_cmd(args):
    if not sys.stdin.isatty():
        die("tdp shell needs a terminal; tdp run --test NAME runs a test without one")
    src = series.patched(source.get(args))
    target = TARGETS[args.target]
    selftests = build.selftests(src, target.arch)
    image = build.kernel(src, target, args.variant)
    return boot.boot(target, image, selftests, None, args.variant, args.cmdline,
                     interactive=True)
