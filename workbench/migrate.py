"""tdp migrate: real QEMU in a patched host migrates guests that write, from one process to another.

The host is a guest of an emulator, as everywhere here. Its initramfs has Debian's QEMU; guest/migrate.py drives two of
them, as a test that is no selftest, and guest/load.c is all that the migrated guest runs.
"""

import importlib.util
import math
import re
import statistics
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import boot, build, gitcmd, initramfs, migrated, plot, rootfs, run, series, source
from .boot import Test
from .common import CACHE, REPO, die, digest, say
from .gitcmd import git
from .migrated import CPUS
from .targets import TARGETS

GUEST = Path(__file__).resolve().parent / "guest"
DRIVER, LOAD, OLD_LOG = GUEST / "migrate.py", GUEST / "load.c", GUEST / "old_log.c"
# Guests of a guest: on x86.
NESTED = {"x86": (GUEST / "nested.h", GUEST / "nested.c"), "arm64": (GUEST / "nested.h",)}
QEMU = {"x86": "qemu-system-x86", "arm64": "qemu-system-arm"}

TIMEOUT = 1200          # seconds for one migration, with its guest's boot
PATIENCE = 240          # and for one thing to happen in it: guest/migrate.py's, which an instrumented host multiplies


@dataclass(frozen=True)
class Move:
    """What guest/migrate.py does once."""
    scenario: str
    vcpus: int = 2
    backing: str = "4k"
    log: str = "all-set"
    nested: bool = False    # a guest of the guest writes
    more: str = ""

    @property
    def test(self):
        words = f"{self.scenario} --vcpus {self.vcpus} --backing {self.backing} --log {self.log} {'--nested ' * self.nested}{self.more}"
        return Test("migrate", words.strip(), TIMEOUT)


VCPUS = (1, 2, 4)
BACKINGS = ("4k", "thp", "hugetlb")
LOGS = ("all-set", "manual", "get", "ring")
HOSTS = tuple(CPUS)
EVERY = (
    *(Move("precopy", v, b, log) for v in VCPUS for b in BACKINGS for log in LOGS),
    *(Move(s, v, b) for s in ("postcopy", "hybrid", "cancel", "killed") for v in VCPUS for b in BACKINGS),
    *(Move(s, 2, b, "ring") for s in ("hybrid", "cancel", "killed") for b in BACKINGS),
    *(Move("ten", 2, b) for b in BACKINGS),
    *(Move("precopy", v, b, log, nested=True) for v in VCPUS[:2] for b in BACKINGS for log in ("all-set", "get", "ring")),
    *(Move(s, 2, b, nested=True) for s in ("postcopy", "hybrid", "cancel", "killed") for b in BACKINGS),
    Move("ten", 2, nested=True),
)
SCENARIOS = tuple(dict.fromkeys(m.scenario for m in EVERY))
# What the guest gets done while it is migrated, as fast as it can; and what a migration takes.
COMPARED = (
    *(Move("pressure", 2, b, more="--rate 0 --mbps 60 --track") for b in ("4k", "thp")),
    *(Move("postcopy", 2, b, more="--rate 0 --mbps 60 --track") for b in ("4k", "thp")),
    *(Move("precopy", 2, b) for b in ("4k", "thp")),
)

# Of the sabotages of the tests on the host, what loses writes in every schedule. A flush that is left out is not seen here:
# QEMU drops all that it has cached of a guest at each of its exits, on x86 (VMRUN) and on arm64 (HCR_EL2.VM).
MUTANTS = REPO / "tools/testing/kvm_tdp/mutants_mmu.txt"
SABOTAGES = ("- a fast fault does not mark its page dirty", "- a clear leaves out the last page")
SABOTAGED = (Move("precopy", more="--rate 4000"),) * 3


class Content:
    """What the host's initramfs has besides the tests: QEMU, the driver as a test, and a guest's kernel and initramfs."""

    programs = ("migrate",)

    def __init__(self, target, kernel):
        self.root = rootfs.of(target.arch, (QEMU[target.arch], "python3"))
        self.load = initramfs.guest_program(target, LOAD, parts=NESTED[target.arch])
        self.old_log = initramfs.guest_program(target, OLD_LOG, "-shared", "-fPIC")
        self.kernel = Path(kernel)
        stat = self.kernel.stat()
        self.key = digest(str(self.root), DRIVER.read_bytes(), self.load.name, self.old_log.name,
                          f"{kernel} {stat.st_size} {stat.st_mtime_ns}")

    def add(self, cpio):
        rootfs.add(cpio, self.root)
        cpio.file("kselftest/kvm/migrate", DRIVER.read_bytes())
        cpio.file("guest/kernel", self.kernel.read_bytes())
        cpio.file("guest/initramfs", initramfs.small(self.load))
        cpio.file("guest/old_log.so", self.old_log.read_bytes())


@dataclass
class Outcome:
    """One migration: its verdict and figures."""
    move: Move
    verdict: str
    seconds: float
    why: str = ""
    faults: int | None = None       # that the common MMU handled
    figures: list = field(default_factory=list)     # of each migration in it, by name
    track: list = field(default_factory=list)       # (ms, pages)

    def figure(self, name):
        """The median, if there are more."""
        found = [f[name] for f in self.figures if name in f]
        return statistics.median(found) if found else None


def outcome(move, result):
    """Of a TestResult."""
    lines = [m for m in (re.match(r"(migrate|track): (.*)", line) for line in result.output) if m]
    figures = [{k: float(v) for k, v in (pair.split("=") for pair in m[2].split())} for m in lines if m[1] == "migrate"]
    why = [line for line in result.output if not re.match(r"migrate:|track:|guest:|TAP |1\.\.|ok |not ok ", line)]
    return Outcome(move, result.verdict, result.seconds, " ".join([result.detail, *why]).strip() if result.verdict != "ok" else "",
                   result.faults, figures, [tuple(map(int, m[2].split())) for m in lines if m[1] == "track"])


def migrate(target, image, selftests, guest, moves, variant="", on_outcome=None):
    """Boots a host and does all that, with guests that run the kernel guest; returns the outcomes and the BootResult."""
    found = []
    slow = boot.SLOW_VARIANT.get(variant, 1)
    tests = [replace(m.test, args=f"{m.test.args} --patience {PATIENCE * slow}") if slow > 1 else m.test for m in moves]

    def ended(result):
        found.append(outcome(moves[len(found)], result))
        if on_outcome:
            on_outcome(found[-1])
    result = boot.boot(target, image, selftests, tests, variant, on_result=ended,
                       smp=CPUS[target.name], content=Content(target, guest))
    return found, result


def wanted(args, target):
    """The migrations that the options leave of all that a target has."""
    chosen = [m for m in EVERY if (not args.scenario or m.scenario in args.scenario)
              and (not args.vcpus or m.vcpus in args.vcpus) and (not args.memory or m.backing in args.memory)
              and (not args.log or m.log in args.log) and (not args.nested or m.nested)
              and (not m.nested or target.arch == "x86")]
    if not chosen:
        die(f"{target.name}: no migration is like that: tdp migrate --help says what there is", status=2)
    return chosen


def verdicts(args, src, rows):
    """Each migration once, on the patched kernel; True if all of them went as they must."""
    good = True
    for name in dict.fromkeys(args.targets):
        target = _host(name, src)
        variant = args.variant if target.has(args.variant) else ""
        selftests = build.selftests(src, target.arch)
        image = build.kernel(src, target, variant)
        guest = image if variant in ("", "16k", "64k") else build.kernel(src, target)
        moves = wanted(args, target)
        say(f"{name}: {len(moves)} migrations, up to a minute for most")

        def told(o):
            say(f"  {o.verdict}: {o.move.test.args} ({o.seconds:.0f} s){': ' + o.why if o.why else ''}")
            rows.append(migrated.row(target, "patched", variant, o))
        found, result = migrate(target, image, selftests, guest, moves, variant, told)
        good = _went_well(found, result) and good
        if not any(o.faults for o in found):
            print(f"{name}: the common MMU has handled no fault")
            good = False
    return good


def _host(name, src):
    target = TARGETS[name]
    if target.arch == "arm64" and src.left_out:
        die(f"{name} is not on the common MMU with Linux {src.version}: {', '.join(src.left_out)} need a later one")
    return target


def _went_well(found, result):
    """Says where to look, and what went wrong."""
    print(f"console: {result.console}", flush=True)
    if result.trouble:
        print(result.explain(), flush=True)
    for o in found:
        if o.verdict == "not ok":
            print(f"FAILED  {o.move.test.title}: {o.why}", flush=True)
    return not result.trouble and all(o.verdict != "not ok" for o in found)


def compared(args, src, rows, path):
    """COMPARED on both kernels in turn, and again where locks are watched; True if all went well. Draws what guests wrote over
    time."""
    good, drawn = True, []
    for name in dict.fromkeys(args.targets):
        target = _host(name, src)
        plain, well = _in_turn(src, target, "", args.compare, rows)
        # Slower, and less is left to chance.
        _, well_watched = _in_turn(src, target, migrated.LOCK_VARIANT, math.ceil(args.compare / 3), rows)
        good = good and well and well_watched
        for move in COMPARED:
            tracks = {kernel: found[0].track for kernel, outcomes in plain.items()
                      if (found := [o for o in outcomes if o.move == move and o.track])}
            if tracks:
                base = path.with_name(f"{name}-{move.scenario}-{move.backing}")
                drawn += plot.over_time(base, f"{name}, {move.scenario}, {move.backing}: pages that the guest writes",
                                        "seconds since the migration began", "pages a second",
                                        {kernel: _rates(track) for kernel, track in tracks.items()})
    if summary := list(migrated.beside(rows)):
        print("medians (smallest-largest) of runs in turn", *run.table(summary), sep="\n")
    print(*(f"plot: {p}" for p in drawn), sep="\n")
    return good


def _in_turn(src, target, variant, turns, rows):
    """The outcomes on each kernel, and whether all went well."""
    selftests = build.selftests(src, target.arch)
    images = {"unpatched": build.kernel(source.unpatched(src), target, variant), "patched": build.kernel(src, target, variant)}
    guest = build.kernel(src, target)
    every, good = {kernel: [] for kernel in images}, True
    for turn in range(1, turns + 1):
        for kernel, image in images.items():
            say(f"{target.name}: {kernel}{f', {variant}' if variant else ''}, {turn} of {turns}")
            found, result = migrate(target, image, selftests, guest, COMPARED, variant)
            rows += [migrated.row(target, kernel, variant, o, turn) for o in found]
            every[kernel] += found
            good = _went_well(found, result) and good
    return every, good


def _rates(track):
    """(seconds, pages a second) out of (ms, pages so far)."""
    return [((a[0] + b[0]) / 2000, 1000 * (b[1] - a[1]) / (b[0] - a[0])) for a, b in zip(track, track[1:]) if b[0] > a[0]]


def _mutants():
    """The module of the tests on the host that sabotages them."""
    spec = importlib.util.spec_from_file_location("mutants", MUTANTS.with_name("mutants.py"))
    mutants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mutants)
    return mutants


def sabotaged(src, title):
    """The patched source with a sabotage: with a work tree and builds of its own."""
    mutants = _mutants()
    entry = next((entry for entry in mutants.parse(MUTANTS) if entry["title"] == title), None)
    if entry is None:
        die(f"{MUTANTS}: no sabotage {title!r}")
    try:
        text = mutants.apply(entry, gitcmd.blob(src.repo, src.commit, entry["file"]).decode())
    except ValueError as e:
        die(f"{entry['where']}: {e}")
    blob = git(src.repo, "hash-object", "-w", "--stdin", stdin=text)
    with series.Index(src.repo) as index:
        index.read(src.commit)
        index.git("update-index", "--cacheinfo", f"100644,{blob},{entry['file']}")
        tree = index.git("write-tree")
    commit = gitcmd.commit(src.repo, tree, [src.commit], title.encode() + b"\n")
    return source.Source(f"{src.id}-sabotaged", src.repo, src.base, src.version, commit)


def sabotages(args, src, rows):
    """True if migrations notice each sabotage: that they can fail."""
    good = True
    for name in dict.fromkeys(args.targets):
        target = _host(name, src)
        selftests = build.selftests(src, target.arch)
        guest = build.kernel(src, target)
        for title in SABOTAGES:
            say(f"{name}: sabotaged: {title}")
            found, result = migrate(target, build.kernel(sabotaged(src, title), target), selftests, guest, SABOTAGED)
            rows += [migrated.row(target, "sabotaged", "", o) for o in found]
            why = [o.why for o in found if o.verdict == "not ok" and re.search("lines lost|lines of RAM differ", o.why)]
            print(f"console: {result.console}")
            print(f"{'caught' if why else 'NOT CAUGHT'}: {name}: {title.removeprefix('- ')}"
                  + (f"  ({why[0][:200]})" if why else ""), flush=True)
            good = good and bool(why)
    return good


def migrate_cmd(args):
    if args.page:
        print(f"page: {migrated.write(args.page)}")
        return 0
    src = series.patched(source.get(args))
    path = Path(args.csv) if args.csv else CACHE / "results" / time.strftime("migrate-%Y%m%d-%H%M%S.csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        good = sabotages(args, src, rows) if args.sabotage else \
            compared(args, src, rows, path) if args.compare else verdicts(args, src, rows)
    finally:
        if rows:
            print(*([] if args.compare else run.table(rows)), sep="\n")
            migrated.keep(path, rows)
            print(f"CSV: {path}", flush=True)
    if args.sabotage:
        return 0 if good else 1
    count = {verdict: sum(r["verdict"] == verdict for r in rows) for verdict in ("ok", "not ok", "skip")}
    print(f"{count['ok']} migrations went as they must, {count['not ok']} did not, {count['skip']} cannot be had here")
    sys.stdout.flush()
    return 0 if good else 1
