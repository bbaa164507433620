#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run litmus/*.litmus against the kernel's memory model, or what comes closest.

	litmus.py PROGRAM

With herd7 in PATH (or $HERD7; from herdtools7, in Debian unstable) and
tools/memory-model in the kernel's tree (or $LKMM), herd7 decides; the result must
be what the test says in its "Result:" line.  Without them, the same shapes run as
the tests of the harness's scheduler, in PROGRAM, with stores that are seen late:
less than the model allows, as loads are not reordered.

Output in KTAP, status 1 if a result is another than expected.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
HERD = os.environ.get("HERD7") or shutil.which("herd7")
MODEL = Path(os.environ.get("LKMM") or HERE.parents[1] / "memory-model")
# Each takes less than a second.
TIMEOUT = 120


def herd(path):
    """What is wrong with a test's result, or nothing."""
    expected = re.search(r"^ \* Result: (\w+)$", path.read_text(), re.M)
    try:
        out = subprocess.run([HERD, "-conf", "linux-kernel.cfg", path], cwd=MODEL, text=True, timeout=TIMEOUT,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    except subprocess.TimeoutExpired:
        return "takes too long"
    found = re.search(rf"^Observation {re.escape(path.stem)} (\w+)", out, re.M)
    if not expected or not found:
        return out.strip() or "no result"
    if "Flag data-race" in out:
        return "has a data race"
    return "" if found[1] == expected[1] else f"{found[1]}, not {expected[1]}"


def main():
    tests = sorted((HERE / "litmus").glob("*.litmus"))
    if HERD and (MODEL / "linux-kernel.cfg").is_file():
        version = subprocess.run([HERD, "-version"], text=True, stdout=subprocess.PIPE).stdout.split(",")[0]
        print(f"# herd7 {version}, the kernel's memory model")
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            wrong = dict(zip(tests, pool.map(herd, tests)))
    else:
        missing = [what for what, there in (("herd7", HERD), ("tools/memory-model", MODEL.is_dir())) if not there]
        print(f"# no {' and no '.join(missing)}: by the scheduler of the tests, which delays stores")
        out = subprocess.run([sys.argv[1], "litmus_"], text=True, stdout=subprocess.PIPE).stdout
        results = {name: verdict == "ok" for verdict, name in
                   re.findall(r"^ *(ok|not ok) \d+ litmus_(\S+)\.\S+$", out, re.M)}
        wrong = {t: "" if results.get(t.stem) else "not run" if t.stem not in results else out for t in tests}
    print(f"KTAP version 1\n1..{len(tests)}")
    for nr, test in enumerate(tests, 1):
        if wrong[test]:
            print("#", wrong[test].replace("\n", "\n# "))
        print(f"{'not ok' if wrong[test] else 'ok'} {nr} litmus_{test.stem}")
    return any(wrong.values())


if __name__ == "__main__":
    sys.exit(main())
