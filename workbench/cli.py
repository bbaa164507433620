"""The command line: ./tdp COMMAND. What a command does is in the module that it imports when it runs."""

import argparse
import difflib
import os
import signal
import sys

from . import common
from .bench import DEFAULT, PARTS
from .contention import TURNS
from .migrate import BACKINGS, HOSTS, LOGS, SCENARIOS, VCPUS
from .targets import TARGETS, VARIANTS

# What `tdp test` takes besides targets: see testplan.PSEUDO.
_CHECKS = {"host": {"build"}, "series": {"build", "checks"}}


def _target_lines(names):
    return "\n".join(f"  {TARGETS[name].name:12}{TARGETS[name].description}" for name in names)


_TARGET_LINES = _target_lines(TARGETS)


class Parser(argparse.ArgumentParser):
    """One clear line for wrong usage, status 2."""

    def error(self, message):
        print(f"tdp: {message}; see {self.prog} --help", file=sys.stderr)
        sys.exit(2)


def one_of(kind, names):
    """An argument type: one of some names; says which there are, and which one was meant."""
    def check(value):
        if value in names:
            return value
        close = difflib.get_close_matches(value, names, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise argparse.ArgumentTypeError(f"no {kind} {value!r}: {meant}there are {', '.join(n for n in names if n)}")
    return check


def numbers(value):
    """An argument type: numbers from 1, with commas."""
    try:
        found = [int(v) for v in value.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a list of numbers from 1, as 16,64,256")
    return found


def parser():
    top = Parser(prog="tdp", formatter_class=argparse.RawDescriptionHelpFormatter, description=(
        "One KVM TDP MMU for every architecture: patches Linux 6.12, builds it, runs it under emulation."),
        epilog=f"targets:\n{_TARGET_LINES}\n\nEverything made is kept in {common.CACHE} (TDP_CACHE sets another place).")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    def command(name, summary, examples, about=""):
        p = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter,
                                description=f"{summary}\n{about}".strip(), epilog=f"examples:\n{examples}")
        if name not in ("refresh", "prove"):    # a tree has its own base; the other needs no kernel
            p.add_argument("--src", metavar="DIR", help="a Linux 6.12.y source (git tree, directory or tarball)"
                           " instead of Debian's linux-source-6.12")
        return p

    def boot_options(p):
        p.add_argument("--cmdline", metavar="TEXT", default="", help="more for the kernel's command line")
        p.add_argument("--variant", metavar="V", default="", type=one_of("variant", VARIANTS),
                       help=f"another build of the kernel, of x86 or arm64: {', '.join(v for v in VARIANTS if v)}")

    run = command("run", "Build the patched kernel, boot it and run a KVM selftest; print one table.",
                  "  tdp run\n  tdp run --target all\n  tdp run --test kvm_page_table_test -- -v 2",
                  f"Without --test: demand_paging_test, with and without userfaultfd, 1, 2 and 4 vCPUs.\n\n"
                  f"targets:\n{_TARGET_LINES}")
    run.add_argument("--target", metavar="T", action="append", type=one_of("target", [*TARGETS, "all"]),
                     help=f"one of {', '.join(TARGETS)} (npt), or all; may be given again")
    boot_options(run)
    run.add_argument("--test", metavar="NAME", help="another KVM selftest")
    run.add_argument("--csv", metavar="FILE", help="write the table to FILE, too")
    run.add_argument("args", nargs="*", metavar="-- ARGS", help="arguments for that test")

    test = command("test", "Everything that must pass; ends with `N passed, N failed`.",
                   "  tdp test\n  tdp test npt arm64\n  tdp test host series\n  tdp test --long npt\n"
                   "  tdp test --long --boot arm64-16k-all",
                   f"targets:\n{_TARGET_LINES}\n  {'host':12}tests that need no kernel\n"
                   f"  {'series':12}checks of the series: applies, builds step by step, checkpatch, sparse")
    test.add_argument("--long", action="store_true", help="instead, what takes hours: every selftest and every kind of"
                      " memory, the verdicts beside those of the unpatched kernel; debug kernels")
    test.add_argument("--boot", metavar="NAME", action="append", help="only this boot of the plan (a pattern, as"
                      " 'npt-memory*'; the names are the first column of the table at the end); may be given again")
    test.add_argument("targets", nargs="*", metavar="TARGET", type=one_of("target", [*TARGETS, *_CHECKS]),
                      help="only what concerns these targets")

    bench = command("bench", "Measure what operations cost beside the unpatched kernel: tables, CSV, plots, a page of them.",
                    "  tdp bench\n  tdp bench npt arm64 --out docs/performance\n  tdp bench arm64 --only costs --size 16\n"
                    "  tdp bench arm64 --only parallel --turns 5 --vcpus 1,4",
                    "What it measures:\n"
                    "  costs     instructions of each operation, one CPU, exact\n"
                    "  growth    how they grow with the guest's memory, of which one page in 64 is touched\n"
                    "  memory    what page tables take for a GiB that is mapped by 4K, and how much stays when parts are unmapped\n"
                    "  parallel  how far 1 to 8 vCPUs (npt: 2) get on 2 CPUs during each operation, and how long their faults take;\n"
                    "            each kernel in turn\n"
                    "  again     costs, once more: do they agree?\n"
                    "  locks     how long operations hold the mmu_lock, in instructions, and wait for it; PREEMPT and PREEMPT_NONE\n"
                    "All but the last two take half an hour. What was measured with the same kernel is remembered: an interrupted run\n"
                    "goes on where it stopped. Log start, log stop and slot deletion wait for SRCU, too, for longer or shorter as it"
                    "\nhappens: those vary, by 15 percent where it was seen.\n\n"
                    f"targets:\n{_TARGET_LINES}")
    bench.add_argument("--only", metavar="PART", action="append", type=one_of("part", PARTS), help=f"{', '.join(PARTS[:-1])} or"
                       f" {PARTS[-1]}; may be given again ({', '.join(DEFAULT)})")
    bench.add_argument("--size", metavar="MIB", type=int, default=0, help="guest memory for what is not about growth (64; 4 on Bochs)")
    bench.add_argument("--sizes", metavar="MIB,MIB...", type=numbers, help="guest memory for growth (64,512,2048,8192; 16,64 on Bochs)")
    bench.add_argument("--vcpus", metavar="N,N...", type=numbers, help="how many run in parallel (1,2,4,8; 1,2 on npt)")
    bench.add_argument("--turns", metavar="N", type=int, default=TURNS, help=f"how often each kernel runs in parallel ({TURNS})")
    bench.add_argument("--out", metavar="DIR", help="where the results go")
    bench.add_argument("--page", metavar="DIR", help="measure nothing; write the page of the CSV files that are there")
    bench.add_argument("targets", nargs="*", metavar="TARGET", type=one_of("target", list(TARGETS)), default=["npt"],
                       help="what to measure on (npt)")

    migrate = command("migrate", "Let QEMU migrate guests that write, inside the patched host; print a table.",
                      "  tdp migrate\n  tdp migrate npt arm64 --scenario precopy --scenario postcopy --vcpus 2\n"
                      "  tdp migrate arm64 --compare 5",
                      "Debian's QEMU runs twice in the host, with accel=kvm; the guest verifies all that it has written,"
                      " and after pre-copy\nthe RAM of both ends is compared. Each scenario with 1, 2 and 4 vCPUs, memory of 4K"
                      " pages, THP and hugetlb,\nand four kinds of dirty log, as far as they matter; on npt some in which a guest"
                      " of the guest writes.\n\n"
                      f"targets:\n{_target_lines(HOSTS)}")
    migrate.add_argument("--scenario", metavar="S", action="append", type=one_of("scenario", SCENARIOS),
                         help="only precopy, postcopy (at once), hybrid (after a round or more), cancel, killed (the destination),"
                         " or ten (back and forth); may be given again")
    migrate.add_argument("--vcpus", metavar="N", type=int, choices=VCPUS, action="append", help="only guests with 1, 2 or 4 vCPUs")
    migrate.add_argument("--memory", metavar="M", action="append", type=one_of("kind of memory", BACKINGS),
                         help="only 4k, thp or hugetlb")
    migrate.add_argument("--log", metavar="L", action="append", type=one_of("log", LOGS),
                         help="only all-set, manual, get (bitmaps) or ring")
    migrate.add_argument("--nested", action="store_true", help="only those whose guest has a guest that writes (npt)")
    migrate.add_argument("--variant", metavar="V", default="", type=one_of("variant", VARIANTS),
                         help="another build of the host's kernel")
    migrate.add_argument("--compare", metavar="N", type=int, default=0, help="instead, measure what guests get done meanwhile,"
                         " N times in turn with the unpatched kernel, and a third as often on kernels with lock statistics; medians, spread"
                         " and plots")
    migrate.add_argument("--sabotage", action="store_true", help="instead, build kernels that lose what guests write: are they"
                         " caught?")
    migrate.add_argument("--csv", metavar="FILE", help="where to write what was found, besides: other rows that it has stay; plots go"
                         " beside it")
    migrate.add_argument("--page", metavar="DIR", help="migrate nothing; write the page of the CSV files that are there")
    migrate.add_argument("targets", nargs="*", metavar="TARGET", type=one_of("target", HOSTS), default=["npt"],
                         help="the hosts (npt)")

    prove = command("prove", "Run operations of the MMU against each other in all schedules; print a matrix.",
                    "  tdp prove\n  tdp prove --bound 3 race_write_log_clear\n  tdp prove --effort 50 ops_ race_triples",
                    "The long form of `tdp test host`, in user space: see Documentation/virt/kvm/tdp-mmu.rst.")
    prove.add_argument("--bound", metavar="N", type=int, default=2,
                       help="preemptions in a schedule (2; one less for formats of real size)")
    prove.add_argument("--effort", metavar="N", type=int, default=4, help="more of what is random (4)")
    prove.add_argument("names", nargs="*", metavar="NAME", help="only tests that have one of these in their names")

    tree = command("tree", "Make the patched kernel as a git work tree: branch tdp, a commit for each step.",
                   "  tdp tree\n  tdp tree ~/linux-tdp",
                   "Run again, it takes in what changed in the repository; nothing of yours is overwritten.")
    refresh = command("refresh", "Take the commits of such a work tree back into the repository.",
                      "  tdp refresh\n  tdp refresh ~/linux-tdp",
                      "Amend or rebase the commits of branch tdp first: a commit is a step. The base is the tree's own.")
    for p in (tree, refresh):
        p.add_argument("dir", nargs="?", metavar="DIR", help=f"the work tree ({common.CACHE / 'tree'})")

    series = command("series", "Write a git format-patch series with a cover letter, signed off by you.",
                     "  tdp series /tmp/out && git -C linux am /tmp/out/000[1-9]*.patch")
    series.add_argument("out", metavar="OUT", help="the directory to write it to")
    series.add_argument("--force", action="store_true", help="replace the patches that are in OUT already")

    shell = command("shell", "Boot the patched kernel with its tests and give a shell on it.",
                    "  tdp shell\n  tdp shell --target ept")
    shell.add_argument("--target", metavar="T", default="npt", type=one_of("target", list(TARGETS)),
                       help=f"one of {', '.join(TARGETS)} (npt)")
    boot_options(shell)
    return top


def parse(argv):
    top = parser()
    if not argv:
        top.print_help()
        sys.exit(2)
    names = [a for action in top._subparsers._group_actions for a in action.choices]
    if not argv[0].startswith("-") and argv[0] not in names:
        try:
            one_of("command", names)(argv[0])
        except argparse.ArgumentTypeError as e:
            top.error(str(e))
    args = top.parse_args(argv)
    if args.command is None:
        top.error("which command?")
    if args.command == "bench" and args.turns < 1:
        top.error("--turns takes 1 or more")
    if getattr(args, "args", None) and not args.test:
        top.error("arguments after -- belong to a --test NAME")
    if getattr(args, "variant", "") and not any(TARGETS[t].has(args.variant) for t in _targets(args)):
        top.error(f"--variant {args.variant} is for {' and '.join(VARIANTS[args.variant][0])},"
                  f" not for {' '.join(_targets(args))}")
    return args


def _targets(args):
    """The targets that a command is for."""
    if args.command == "test":
        return args.targets or [*TARGETS, *_CHECKS]
    if args.command in ("bench", "migrate"):
        return args.targets
    if args.command == "shell":
        return [args.target]
    if args.command != "run":
        return []
    return list(TARGETS) if "all" in (args.target or []) else args.target or ["npt"]


def _groups(args):
    """The groups of packages that a command needs."""
    if args.command == "prove":
        return {"build"}
    groups = {"source"} | (set() if getattr(args, "src", "-") else {"debian"})
    if args.command in ("bench", "migrate"):
        groups.add("bench")
    for name in _targets(args):
        groups.update(_CHECKS.get(name) or TARGETS[name].packages)
    return groups


def _main(args):
    from . import deps
    deps.ensure(_groups(args))
    if args.command in ("run", "shell"):
        from . import run
        return run.run_cmd(args) if args.command == "run" else run.shell_cmd(args)
    if args.command == "test":
        from . import testplan
        return testplan.test_cmd(args)
    if args.command == "migrate":
        from . import migrate
        return migrate.migrate_cmd(args)
    if args.command == "bench":
        from . import bench
        return bench.bench_cmd(args)
    if args.command == "prove":
        from . import prove
        return prove.prove_cmd(args)
    if args.command == "series":
        from . import series
        return series.series_cmd(args)
    from . import worktree
    return worktree.tree_cmd(args) if args.command == "tree" else worktree.refresh_cmd(args)


def _ended(number, frame):
    raise KeyboardInterrupt


def main(argv=None):
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _ended)
    try:
        # A reader that goes away (tdp test | head) must not leave a traceback.
        status = _main(parse(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return int(status or 0)
    except common.Error as e:
        print(f"tdp: {e.msg}", file=sys.stderr)
        return e.status
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\ntdp: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        if common.no_space(e):
            print(f"tdp: no disk space left for {e.filename or common.CACHE}: free some, or set TDP_CACHE", file=sys.stderr)
            return 1
        if isinstance(e, PermissionError):
            print(f"tdp: no permission: {e.filename}", file=sys.stderr)
            return 1
        raise


if __name__ == "__main__":
    sys.exit(main())
