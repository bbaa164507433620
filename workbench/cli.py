"""The command line: ./tdp COMMAND. What a command does is in the module that it imports when it runs."""

import argparse
import difflib
import os
import signal
import sys

from . import common
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

    bench = command("bench", "Count the instructions that operations cost, beside the unpatched kernel; print a table.",
                    "  tdp bench\n  tdp bench npt arm64 --csv costs.csv\n  tdp bench arm64 --sizes 16,64,256",
                    "One CPU, whose clock is its instructions: the numbers are exact. Log start, log stop and slot"
                    " deletion wait for\nSRCU, too, for longer or shorter as it happens: those vary, by 15"
                    " percent where it was seen. What was measured\nwith the same kernel is remembered: an interrupted run goes on"
                    " where it stopped.\n\n"
                    f"targets:\n{_TARGET_LINES}")
    bench.add_argument("--csv", metavar="FILE", help="where to write what was measured, besides; plots go beside it")
    bench.add_argument("--sizes", metavar="MIB,MIB...", type=numbers, help="guest memory (64; 4 on Bochs); with more than one, how"
                       " costs grow with it, too")
    bench.add_argument("targets", nargs="*", metavar="TARGET", type=one_of("target", list(TARGETS)), default=["npt"],
                       help="what to measure on (npt)")
    bench.add_argument("--memory", action="store_true", help="instead, what page tables take for a GiB that is mapped by 4K, and how"
                       " much of it stays when parts are unmapped")
    bench.add_argument("--locks", action="store_true", help="instead, how long operations hold the mmu_lock, in instructions, and"
                       " wait for it, while a vCPU faults; on PREEMPT and PREEMPT_NONE kernels")
    bench.add_argument("--progress", metavar="N", type=int, default=0, help="instead, how far a vCPU gets during each operation,"
                       " N times with each kernel in turn, and how long its faults take")
    bench.add_argument("--vcpus", metavar="N,N...", type=numbers, help="with --progress: so many vCPUs fault (1)")

    migrate = command("migrate", "Let QEMU migrate guests that write, inside the patched host; print a table.",
                      "  tdp migrate\n  tdp migrate npt arm64 --scenario precopy --scenario postcopy --vcpus 2\n"
                      "  tdp migrate arm64 --compare 5",
                      "Debian's QEMU runs twice in the host, with accel=kvm; the guest verifies all that it has written,"
                      " and after pre-copy\nthe RAM of both ends is compared. Each scenario with 1, 2 and 4 vCPUs, memory of 4K"
                      " pages, THP and hugetlb,\nand four kinds of dirty log, as far as they matter.\n\n"
                      f"targets:\n{_target_lines(HOSTS)}")
    migrate.add_argument("--scenario", metavar="S", action="append", type=one_of("scenario", SCENARIOS),
                         help="only precopy, postcopy (at once), hybrid (after one round), cancel, killed (the destination),"
                         " or ten (back and forth); may be given again")
    migrate.add_argument("--vcpus", metavar="N", type=int, choices=VCPUS, action="append", help="only guests with 1, 2 or 4 vCPUs")
    migrate.add_argument("--memory", metavar="M", action="append", type=one_of("kind of memory", BACKINGS),
                         help="only 4k, thp or hugetlb")
    migrate.add_argument("--log", metavar="L", action="append", type=one_of("log", LOGS),
                         help="only all-set, manual, get (bitmaps) or ring")
    migrate.add_argument("--variant", metavar="V", default="", type=one_of("variant", VARIANTS),
                         help="another build of the host's kernel")
    migrate.add_argument("--compare", metavar="N", type=int, default=0, help="instead, measure what guests get done meanwhile,"
                         " N times in turn with the unpatched kernel; medians, spread and plots")
    migrate.add_argument("--sabotage", action="store_true", help="instead, build kernels that lose what guests write: are they"
                         " caught?")
    migrate.add_argument("--csv", metavar="FILE", help="where to write what was measured, besides; plots go beside it")
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
    if args.command == "bench" and sum(map(bool, (args.memory, args.locks, args.progress))) > 1:
        top.error("--memory, --locks or --progress: one of them")
    if args.command == "bench" and args.progress < 0:
        top.error("--progress takes how many times")
    if args.command == "bench" and args.vcpus and not args.progress:
        top.error("--vcpus goes with --progress")
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
        from . import bench, contention
        return (contention.contention_cmd if args.locks or args.progress else bench.bench_cmd)(args)
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
