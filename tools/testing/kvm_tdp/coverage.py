#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Which lines and branches of the TDP MMU and its formats do the tests reach?

	coverage.py BUILD PROGRAM...

Runs the programs, which were built in the directory BUILD with --coverage, and
adds up what gcov says of all formats: a line or a branch counts as reached if
any test of any format reaches it.  Prints a table and what was not reached, and
leaves both in BUILD as coverage.csv and uncovered.csv.  Ends with status 1 if
virt/kvm/mmu is below the bar, or has a line that is neither reached nor
explained in coverage.txt.

Branches are those of the code under test, as it is compiled without
optimization: in user space WARN_ON_ONCE(), lockdep_assert_held() and tracepoints
are functions, so that only the conditions that the code gives them have any.  A
line that is compiled into several functions has its branches in each of them.
One edge is left out: to the compiler, a switch without a default has a way past
it for values that the enum does not have.
"""

import csv
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
KTREE = HERE.parents[2]
MMU = "virt/kvm/mmu/"
# What has to be reached of virt/kvm/mmu, in percent.
LINES, BRANCHES = 95, 85


def explanations():
    """What coverage.txt says of lines: (file, line number) -> why."""
    why, source, groups = {}, [], [[]]
    for nr, line in enumerate((HERE / "coverage.txt").read_text().splitlines(), 1):
        mark, text = line[:1], line[2:].strip()
        if mark == "@":
            path, source, groups = text, [s.strip() for s in (KTREE / text).read_text().splitlines()], [[]]
        elif mark == "-":
            groups[-1].append(text)
        elif mark == "=":
            for group in filter(None, groups):
                found = [i for i in range(len(source)) if source[i:i + len(group)] == group]
                why |= {(path, i + j + 1): text for i in found for j in range(len(group))}
            groups = [[]]
        elif not line:
            groups.append([])
        elif mark != "#":
            sys.exit(f"coverage.txt:{nr}: expected '@', '-' or '='")
    return why


def run(program):
    """Whether a program's tests passed."""
    with open(f"{program}.log", "w") as log:
        return subprocess.run([program], stdout=log, stderr=subprocess.STDOUT).returncode == 0


def counts(build):
    """What gcov counted, by (file, line): how often it ran, and its branches in each object."""
    lines, branches = defaultdict(int), defaultdict(list)
    for data in sorted(build.glob("*/*.gcda")):
        out = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", data.resolve()],
                             stdout=subprocess.PIPE, check=True, cwd=build).stdout
        for doc in map(json.loads, out.splitlines()):
            for file in doc["files"]:
                path = os.path.normpath(os.path.join(doc["current_working_directory"], file["file"]))
                name = os.path.relpath(path, KTREE)
                if not name.startswith(MMU) and not name.endswith("tdp_pgtable.h"):
                    continue
                for line in file["lines"]:
                    key = name, line["line_number"]
                    lines[key] += line["count"]
                    if line["branches"]:
                        branches[key].append([b["count"] for b in line["branches"]])
    return lines, branches


def without_default(source, nr, edges):
    """The edges of a switch, in each function that it is compiled into, but for the one that it does not have."""
    body, depth = [], 0
    for line in source[nr - 1:]:
        body.append(line)
        depth += line.count("{") - line.count("}")
        if not depth:
            break
    labels = [label for line in body for label in re.findall(r"\b(case|default)\b[^:]*:|(\S)", line)]
    if any(case == "default" for case, _ in labels):
        return edges
    # Labels in a row are one target.
    targets = sum(case == "case" and (not i or not labels[i - 1][0]) for i, (case, _) in enumerate(labels))
    size = targets + 1
    if len(edges) % size:
        return edges
    copies = [edges[i:i + size] for i in range(0, len(edges), size)]
    return [n for copy in copies for n in (copy[:-1] if not copy[-1] else copy)]


def merge(objects):
    """The branches of a line over all objects.  Where formats differ in what is constant, those of the largest."""
    size = max(map(len, objects))
    return [sum(column) for column in zip(*(o for o in objects if len(o) == size))]


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def main():
    build, programs = Path(sys.argv[1]).resolve(), sys.argv[2:]
    for stale in build.glob("*/*.gcda"):
        stale.unlink()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        failed = [p for p, ok in zip(programs, pool.map(run, programs)) if not ok]

    lines, branches = counts(build)
    why = explanations()
    files = defaultdict(lambda: [0, 0, 0, 0])
    missed, unexplained = [], 0
    for name, nr in sorted(lines):
        source = (KTREE / name).read_text().splitlines()
        text = source[nr - 1].strip()
        edges = merge(branches[name, nr]) if (name, nr) in branches else []
        if text.startswith("switch ("):
            edges = without_default(source, nr, edges)
        reached = sum(map(bool, edges))
        total = files[name]
        total[0] += bool(lines[name, nr])
        total[1] += 1
        total[2] += reached
        total[3] += len(edges)
        if lines[name, nr] and reached == len(edges):
            continue
        reason = why.get((name, nr), "")
        what = f"{len(edges) - reached} of {len(edges)} branches" if lines[name, nr] else "line"
        missed.append((name, nr, what, text, reason))
        unexplained += not reason and not lines[name, nr] and name.startswith(MMU)

    names = sorted(files, key=lambda name: (not name.startswith(MMU), name))
    mmu = [sum(column) for column in zip(*(files[n] for n in names if n.startswith(MMU)))]
    rows = [(n, files[n]) for n in names] + [("all of " + MMU, mmu)]
    for name, nr, what, text, reason in missed:
        print(f"# {name}:{nr}: {what} not reached: {text}" + (f"\n#     {reason}" if reason else ""))
    print(f"# {'file':34} {'lines':>17} {'branches':>19}")
    for name, t in rows:
        print(f"# {name:34} {t[0]:4} of {t[1]:4} {percent(*t[:2]):>7}  {t[2]:4} of {t[3]:4} {percent(*t[2:]):>7}")

    with open(build / "coverage.csv", "w", newline="") as out:
        csv.writer(out).writerows([("file", "lines", "of", "branches", "of"), *((n, *t) for n, t in rows)])
    with open(build / "uncovered.csv", "w", newline="") as out:
        csv.writer(out).writerows([("file", "line", "what", "text", "why"), *missed])

    checks = [(f"coverage_lines above {LINES} %", 100 * mmu[0] > LINES * mmu[1]),
              (f"coverage_branches above {BRANCHES} %", 100 * mmu[2] > BRANCHES * mmu[3]),
              ("coverage_explained", not unexplained),
              ("coverage_tests pass", not failed)]
    print(f"KTAP version 1\n1..{len(checks)}")
    for nr, (name, ok) in enumerate(checks, 1):
        print(f"{'ok' if ok else 'not ok'} {nr} {name}")
    return not all(ok for _, ok in checks)


if __name__ == "__main__":
    sys.exit(main())
