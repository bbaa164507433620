#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Sabotage the code under test, one line at a time: the tests must notice.

Each entry of mutants*.txt is applied to a private copy of the sources, which is
built and run.  A sabotage is caught if all the tests that it names fail, with
some format.  That they pass without it is the first result.  Arguments: only the
entries whose titles, or files, contain one of these.  Output in KTAP, status 1 if
one was not caught.
"""

import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
KTREE = HERE.parents[2]
NEEDED = [HERE.relative_to(KTREE), "virt/kvm/mmu", "include/linux/kvm_tdp_types.h",
          *(f.relative_to(KTREE) for f in KTREE.glob("arch/*/kvm/tdp_pgtable.h"))]
# The fastest first.
FORMATS = ["toy", "x86", "riscv", "arm64-4k", "s390"]
# Nobody else can notice what is wrong with an architecture's.
OWN = {"arch/x86": ["x86"], "arch/riscv": ["riscv"], "arch/arm64": ["arm64-4k", "arm64-16k", "arm64-64k"]}
# In which threads find the most; the others take their time.
THREADS = ["toy", "x86"]
# Which program has the tests that the entries of a file name.
PROGRAMS = {"mutants.txt": "test", "mutants_mmu.txt": "mmu", "mutants_kvm.txt": "mmu",
            "mutants_threads.txt": "threads"}
# How a program is built, other than without sanitizers.
FLAGS = {"threads": ["SAN=-DTDP_THREADS", "COVER=-fsanitize=thread"]}
# What has to start it, other than nothing: see the Makefile.
RUN = {"threads": os.environ.get("RUN_THREADS", "").split()}
# A run takes some seconds; what takes this long hangs.  All that are named, together, take minutes.
TIMEOUT = 60
TIMEOUT_ALL = 1800


def parse(path):
    """Entries as dicts: title, file, old, new, tests."""
    entries = []
    for nr, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if not entries or "tests" in entries[-1]:
            entries.append({"title": line, "where": f"{path.name}:{nr}", "program": PROGRAMS[path.name],
                            "old": [], "new": []})
            continue
        entry, mark, text = entries[-1], line[0], line[2:]
        if mark == "@":
            entry["file"] = text
        elif mark == "-":
            entry["old"].append(text)
        elif mark == "+":
            entry["new"].append(text)
        elif mark == "=":
            entry["tests"] = text.split()
        else:
            sys.exit(f"{path}:{nr}: expected '@', '-', '+' or '='")
    if not all({"file", "tests"} <= entry.keys() for entry in entries):
        sys.exit(f"{path}: an entry has no file or no tests")
    return entries


def apply(entry, text):
    """The text with the sabotage; a ValueError unless what it replaces is there once."""
    old = "\n".join(entry["old"])
    if text.count(old) != 1:
        raise ValueError(f"the text to replace is {text.count(old)} times in {entry['file']}")
    return text.replace(old, "\n".join(entry["new"]))


def stale(entry):
    """What is wrong with an entry, before anything is built; empty if it fits the sources."""
    try:
        apply(entry, (KTREE / entry["file"]).read_text())
        return ""
    except (OSError, ValueError) as e:
        return f"{entry['where']}: {e}"


def formats_for(entry):
    """The formats whose tests may notice a sabotage."""
    if entry["program"] == "threads":
        return THREADS
    return next((own for arch, own in OWN.items() if entry["file"].startswith(arch + "/")), FORMATS)


class Tree:
    """A private copy of the sources with its build."""

    def __init__(self, where):
        self.top = where / "tree"
        self.objects = where / "build"
        for name in NEEDED:
            dst = self.top / name
            dst.parent.mkdir(parents=True, exist_ok=True)
            if (KTREE / name).is_dir():
                shutil.copytree(KTREE / name, dst, ignore=shutil.ignore_patterns("build"))
            else:
                shutil.copy(KTREE / name, dst)

    def path(self, program):
        """Where a program is built: objects are shared only by those that are built alike."""
        kind = program.split("-")[0]
        return self.objects / (kind if kind in FLAGS else "") / program

    def build(self, program):
        """What make says if it fails."""
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        path = self.path(program)
        make = subprocess.run(["make", "-s", "-C", self.top / NEEDED[0], f"O={path.parent}", "OPT=-O0",
                               *FLAGS.get(program.split("-")[0], ["SAN="]), path],
                              env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return make.returncode and make.stdout

    def run(self, program, tests=(), timeout=TIMEOUT):
        """Whether all tests, or these, pass, and their results by name."""
        try:
            run = subprocess.run([*RUN.get(program.split("-")[0], []), self.path(program), *tests],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout)
            out, passed = run.stdout, not run.returncode
        except subprocess.TimeoutExpired as e:
            out, passed = e.stdout or b"", False
        return passed, {name: verdict == "ok" for verdict, name in
                re.findall(r"^ *(ok|not ok) \d+ (\S+)(?: #.*)?$", out.decode(), re.M)}

    def sabotage(self, entry, normal):
        """Returns what is wrong with the tests; empty if it was caught."""
        path = self.top / entry["file"]
        good = path.read_text()
        try:
            path.write_text(apply(entry, good))
            missed = set(entry["tests"])
            for program in (f"{entry['program']}-{fmt}" for fmt in formats_for(entry)):
                errors = self.build(program)
                if errors:
                    return "does not build:\n" + errors
                _, results = self.run(program, sorted(missed))
                # Those without a result crashed or hung, or would have come after one that did.
                missed -= {test for test in set(missed) for name, ok in normal[program].items()
                           if name.startswith(test + ".") and ok and not results.get(name)}
                if not missed:
                    return ""
            return f"not noticed by {', '.join(sorted(missed))}"
        finally:
            path.write_text(good)


def main():
    entries = [e for path in sorted(HERE.glob("mutants*.txt")) for e in parse(path) if
               len(sys.argv) < 2 or any(a in e["title"] or a in e["where"] for a in sys.argv[1:])]
    start = time.monotonic()
    print("KTAP version 1")
    # All of them at once, before minutes are spent.
    if unfit := [wrong for wrong in map(stale, entries) if wrong]:
        print("1..1", *(f"# {wrong}" for wrong in unfit), "not ok 1 the sabotages fit the sources", sep="\n")
        return 1
    print(f"1..{len(entries) + 1}", flush=True)

    with tempfile.TemporaryDirectory(prefix="kvm-tdp-mutants-") as tmp:
        trees = queue.SimpleQueue()
        workers = len(os.sched_getaffinity(0))
        made = [Tree(Path(tmp) / str(i)) for i in range(workers)]

        def work(entry):
            tree = trees.get()
            try:
                return tree.sabotage(entry, normal)
            finally:
                trees.put(tree)

        with ThreadPoolExecutor(workers) as pool:
            normal, failing = {}, []
            programs = sorted({f"{e['program']}-{fmt}" for e in entries for fmt in formats_for(e)})
            for program in programs:
                errors = list(pool.map(lambda tree: tree.build(program), made))[0]
                if errors:
                    sys.exit("Bail out! the code does not build as it is:\n" + errors)

            def run_all(program):
                named = {test for e in entries if program.startswith(e["program"] + "-") for test in e["tests"]}
                return made[0].run(program, sorted(named), TIMEOUT_ALL)

            for program, (passed, results) in zip(programs, pool.map(run_all, programs)):
                normal[program] = results
                if not passed:
                    failing.append(program)
            for tree in made:
                trees.put(tree)
            if failing:
                print("# not those of", ", ".join(failing))
            print(f"{'not ok' if failing else 'ok'} 1 tests pass without a sabotage", flush=True)
            survived = 0
            for nr, (entry, wrong) in enumerate(zip(entries, pool.map(work, entries)), 2):
                if wrong:
                    survived += 1
                    print(f"# {entry['where']}:", wrong.strip().replace("\n", "\n# "))
                print(f"{'not ok' if wrong else 'ok'} {nr} {entry['title']}", flush=True)

    print(f"# {len(entries) - survived} of {len(entries)} caught in {time.monotonic() - start:.0f} s")
    return survived > 0 or bool(failing)


if __name__ == "__main__":
    sys.exit(main())
