"""tdp prove: pairs of operations of the MMU in all schedules with few preemptions, and more at random; hours if asked."""

import re
import shlex

from . import build, common

PLACE = common.REPO / "tools/testing/kvm_tdp"
_RACE = re.compile(r" *# (\S+) x (\S+): (\d+) schedules, bound (-?\d+), (\d+) cases cut short$")
_TRIPLES = re.compile(r" *# any two x any: (\d+) schedules")
_RESULT = re.compile(r" *(ok|not ok) \d+ (\S+)\.(\S+?)(?: #.*)?$")
_PLAN = re.compile(r" *1\.\.(\d+)$")


class Format:
    """What was explored with one variant of a format."""

    def __init__(self):
        self.pairs = {}             # (operation, operation) -> schedules, passed
        self.others = {}            # test -> schedules, passed
        self.cut = 0


def parse(lines):
    """The results by format, and the lines that say what failed."""
    formats, failures, notes = {}, [], []
    for line in lines:
        notes.append(line)
        if not (m := _RESULT.match(line)):
            continue
        passed, test = m[1] == "ok", m[2]
        form = formats.setdefault(m[3], Format())
        pair = schedules = None
        for note in notes:
            if r := _TRIPLES.match(note):
                schedules = int(r[1])
            elif r := _RACE.match(note):
                pair, schedules = (r[1], r[2]), int(r[3])
                form.cut += int(r[5])
        if pair:
            form.pairs[pair] = schedules, passed
        else:
            form.others[test] = schedules, passed
        if not passed:
            failures += notes
        notes = []
    return formats, failures


def short(number):
    return str(number) if number < 10000 else f"{number // 1000}k" if number < 10**7 else f"{number // 10**6}M"


def matrix(name, form):
    """Operations by operations: schedules, with a mark where there was a violation."""
    ops = list(dict.fromkeys(op for pair in form.pairs for op in pair))
    rows = [[name, *(str(i) for i in range(1, len(ops) + 1))]]
    for i, op in enumerate(ops, 1):
        row = [f"{i:2} {op}"]
        for other in ops[:i]:
            found = form.pairs.get((other, op)) or form.pairs.get((op, other))
            row.append("-" if not found else short(found[0]) + ("" if found[1] else "!"))
        rows.append(row + [""] * (len(ops) - i))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))]).rstrip()


def done(path):
    """How many results a program has written so far, and how many there will be."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return (sum(bool(_RESULT.match(line)) for line in lines),
            next((int(m[1]) for line in lines if (m := _PLAN.match(line))), None))


def prove_cmd(args):
    out = common.CACHE / "prove"
    out.mkdir(parents=True, exist_ok=True)
    # Three times as fast; the short form has the sanitizers.
    make = ["make", "-C", PLACE, f"-j{common.JOBS}", "--no-print-directory", f"O={out}", "SAN=", "OPT=-O2 -g"]
    with common.lock("prove"):
        common.run(make, out / "make.log", what="make in tools/testing/kvm_tdp", env=build.environ())
        formats, failures, died = {}, [], []
        programs = sorted(p for p in out.glob("mmu-*") if p.is_file() and not p.suffix)
        logs = [p.with_suffix(".ktap") for p in programs]
        for log in logs:
            log.unlink(missing_ok=True)
        options = f"--bound {args.bound} --effort {args.effort} {shlex.join(args.names or ['race_', 'ops_'])}"
        with common.step(f"{len(programs)} programs: {args.bound} preemptions, effort {args.effort}"):
            common.run([*make, f"ARGS={options}", *reversed(logs)], out / "prove.log", what="explored",
                       env=build.environ(),
                       progress=lambda: ", ".join(f"{log.stem} {n} of {of}" for log in logs
                                                  for n, of in [done(log)] if of and n < of))
        for log in logs:
            more, wrong = parse(log.read_text(errors="replace").splitlines())
            formats |= more
            failures += wrong
            n, of = done(log)
            if n != of:
                died.append(f"{log.stem} ended after {n} tests of {of}; its output: {log}\n{common.last_lines(log)}")

    print(*failures, *died, sep="\n", end="\n" if failures or died else "")
    schedules = violations = cut = 0
    for name, form in formats.items():
        results = [*form.pairs.values(), *form.others.values()]
        schedules += sum(n or 0 for n, _ in results)
        violations += sum(not passed for _, passed in results)
        cut += form.cut
        if form.pairs:
            print("", *matrix(name, form), sep="\n")
        for test, (n, passed) in form.others.items():
            print(f"{test}.{name}: {'passed' if passed else 'failed'}" + (f", {n} schedules" if n else ""))
    print(f"\n{schedules} schedules, {violations} tests with violations, {cut} cases cut short"
          f" (a number is that of schedules; ! marks violations)")
    return 0 if formats and not violations and not died else 1
