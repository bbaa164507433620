"""What `tdp migrate` has found: rows, tables, and the page of a directory of its CSV files."""

import csv
from pathlib import Path

from . import page, run
from .common import REPO, die, write_atomic
from .targets import TARGETS

# With two CPUs QEMU 7.2 delivers an interrupt that KVM injects a second time, into code that has them disabled: a timer's was
# found on top of one, in the scheduler, by the stacks of guests that hung, with either kernel. Probably exception_index is
# still set when a CPU is kicked for the other's sake before the guest exits again. Guests of the selftests take few
# interrupts; a Linux does not come far.
CPUS = {"npt": 1, "arm64": 2, "arm64-nvhe": 2}

# Each as (name, title, what is better: less (-1) or more (1) of it).
FIGURES = (("total_ms", "total ms", -1), ("downtime_ms", "downtime ms", -1), ("rounds", "rounds", -1),
           ("sent_mib", "MiB sent", -1), ("dirty_pps", "dirty pages/s", 1), ("before_pps", "pages/s before", 1),
           ("during_pps", "pages/s during", 1), ("stall_us", "longest stall us", -1))
# Of the mmu_locks of both ends, on a kernel that has lock statistics, which make each hold longer.
LOCK_FIGURES = (("w_holds", "write holds", -1), ("w_longest_us", "longest write hold us", -1),
                ("w_total_us", "all write holds us", -1), ("wait_us", "longest wait for the lock us", -1))
LOCK_VARIANT = "lock-stat"
KERNELS = ("unpatched", "patched")
TRACK = "track"


def row(target, kernel, variant, o, turn=""):
    """Of an Outcome; turn: of a comparison."""
    figures = {title: "-" if o.figure(name) is None else f"{o.figure(name):.0f}" for name, title, _ in FIGURES}
    figures |= {title: f"{o.figure(name):.0f}" for name, title, _ in LOCK_FIGURES if o.figure(name) is not None}
    return {"host": target.name, "kernel": kernel, "variant": variant or "-", "turn": str(turn) or "-",
            "migration": o.move.scenario, "vCPUs": str(o.move.vcpus), "memory": o.move.backing, "log": o.move.log,
            "writer": "nested" if o.move.nested else "guest", "verdict": o.verdict, **figures}


def beside(rows):
    """A row for each figure of each migration that was done in turns: medians and spread of both kernels."""
    rows = [r for r in rows if r["turn"] != "-"]
    for host, migration, memory in dict.fromkeys((r["host"], r["migration"], r["memory"]) for r in rows):
        of = [r for r in rows if (r["host"], r["migration"], r["memory"]) == (host, migration, memory)]
        for variant, figures in (("-", FIGURES), (LOCK_VARIANT, LOCK_FIGURES)):
            for _, title, better in figures:
                values = {kernel: [float(r[title]) for r in of if (r["kernel"], r["variant"]) == (kernel, variant)
                                   and r.get(title, "-") not in ("-", "")] for kernel in KERNELS}
                if all(values.values()):
                    yield {"host": host, "migration": migration, "memory": memory, "": title, **run.medians(values),
                           "turns": str(min(map(len, values.values()))), "worse": _worse(values, better)}


def _worse(values, better):
    """Whether the patched kernel is worse in each turn, or only by the median."""
    old, new = ([better * v for v in values[kernel]] for kernel in KERNELS)
    if max(new) < min(old):
        return "in each turn"
    middle = run.medians(values)["ratio"]
    return "by the median" if middle != "-" and better * float(middle) < better else "-"


def ways(rows):
    """What became of each way to migrate, a row for those that differ only in the guest's size and memory."""
    rows = [r for r in rows if r["turn"] == "-" and r["kernel"] == "patched"]
    columns = list(dict.fromkeys((r["vCPUs"], r["memory"]) for r in rows))
    for key in dict.fromkeys((r["migration"], r["log"], r["writer"]) for r in rows):
        of = [r for r in rows if (r["migration"], r["log"], r["writer"]) == key]
        yield {"migration": key[0], "log": key[1], "writer": key[2],
               **{f"{vcpus}, {memory}": _became([r["verdict"] for r in of if (r["vCPUs"], r["memory"]) == (vcpus, memory)])
                  for vcpus, memory in columns}}


def _became(verdicts):
    if not verdicts:
        return ""
    return {"ok": "ok", "skip": "-"}.get(verdicts[0], "**FAILED**") if len(set(verdicts)) == 1 else \
        f"**{verdicts.count('ok')} of {len(verdicts)}**"


INTRO = """\
# Live migration

Written by `./tdp migrate --page {place}` out of the CSV files beside it: QEMU migrates guests that write, from one process to
another, in the patched kernel under emulation. Each migration ends with all of the guest's memory verified by the guest, and
with the page tables of both ends freed; pre-copy with RAM compared at the switch-over, too. The README's *Live-migrate on it*
says more.

    ./tdp migrate HOST --csv {place}/HOST.csv                          all ways
    ./tdp migrate HOST --compare 5 --csv {place}/HOST-compare.csv      beside the unpatched kernel, each in turn

Figures are by the machine's clock, which emulators and whoever else runs there share: medians (smallest-largest) of the turns.
"""
MEANING = """\
*pressure* is pre-copy for some seconds while the guest writes all it can, *postcopy* the same from the switch-over on; *precopy* has
a guest that writes at a set rate, and ends. *Pages/s* are those that the guest has written, each verified first; *before* and
*during* the migration. What is said of the mmu_locks is of both QEMUs' VMs, by kernels with lock statistics.
"""


def read(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"host", "migration", "turn", "verdict"} <= rows[0].keys():
        die(f"{path} is not what tdp migrate writes")
    return rows


def keep(path, rows):
    """Writes rows to a CSV; of those that it has the same are replaced, and others stay."""
    def key(r):
        return tuple(r[head] for head in ("host", "kernel", "variant", "turn", "migration", "vCPUs", "memory", "log", "writer"))
    new = {}
    for r in rows:
        new.setdefault(key(r), []).append(r)
    replaced, kept = set(new), []
    for r in read(path) if path.exists() else ():
        kept += new.pop(key(r), []) if key(r) in replaced else [r]
    run.write_csv(path, kept + [r for left in new.values() for r in left])


def text(where):
    """The page of a directory."""
    rows = [r for path in sorted(where.glob("*.csv")) for r in read(path)]
    if not rows:
        die(f"{where} has no results of tdp migrate: HOST.csv")
    place = where.resolve().relative_to(REPO) if where.resolve().is_relative_to(REPO) else where
    lines = [INTRO.format(place=place)]
    compared = list(beside(rows))
    worse = [r for r in compared if r["worse"] != "-"]
    if compared:
        lines += [f"## Worse than unpatched: {len(worse)}\n", *(page.markdown(worse) if worse else ()), ""]
    for host in dict.fromkeys(r["host"] for r in rows):
        own = [r for r in rows if r["host"] == host]
        once = [r for r in own if r["turn"] == "-"]
        lines.append(f"## {host}: {TARGETS[host].description.split(',')[0]}, a host with {CPUS[host]} CPU{'s' * (CPUS[host] > 1)}\n")
        if once:
            count = {v: sum(r["verdict"] == v for r in once) for v in ("ok", "not ok", "skip")}
            lines += [f"### {host}, all ways: {count['ok']} went as they must, {count['not ok']} did not, {count['skip']} cannot be had"
                      " there (-); by vCPUs and memory\n", *page.markdown(list(ways(own))), ""]
        figures = [{k: v for k, v in r.items() if k not in ("host", "worse")} for r in compared if r["host"] == host]
        if figures:
            lines += [f"### {host}, beside the unpatched kernel\n", MEANING, *page.markdown(figures), ""]
            lines += [f"![{host}: pages that the guest writes]({plot.name})\n" for plot in sorted(where.glob(f"{host}-*.svg"))]
    return "\n".join(lines).rstrip() + "\n"


def write(where):
    """Writes the page of a directory; returns its path."""
    write_atomic(Path(where) / page.PAGE, text(Path(where)))
    return Path(where) / page.PAGE
