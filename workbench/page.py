"""The page of what `tdp bench` has measured: Markdown and plots, out of the CSV files of a directory and nothing else."""

import csv
from functools import partial
from pathlib import Path

from . import contention, costs, plot, run, scale
from .common import REPO, die, matching, read_patterns, write_atomic
from .targets import TARGETS

CAUSES = Path(__file__).resolve().parent / "causes"
PAGE = "README.md"


def read(path):
    """The rows of a CSV."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"target", "part", "quantity", "value"} <= rows[0].keys():
        die(f"{path} is not what tdp bench writes")
    return rows


class Measured:
    """What the rows of a target say, by part."""

    def __init__(self, name, rows):
        self.name, self.target = name, TARGETS[name]
        part, growth = {}, {}
        self.about = {row["quantity"]: row["value"] for row in rows if row["part"] == "about"}
        for row in rows:
            part.setdefault(row["part"], []).append(row)
        self.mib = {kind: int(of[0]["MiB"]) for kind, of in part.items()}
        self.costs = costs.unflat(part.get("costs", []))
        self.again = costs.unflat(part.get("again", []))
        for row in part.get("growth", []):
            growth.setdefault(int(row["MiB"]), []).append(row)
        self.growth = {mib: costs.unflat(of) for mib, of in sorted(growth.items())}
        self.bytes = costs.unflat_bytes(part.get("memory", []))
        self.parallel = {(memory, int(vcpus)): kernels for (memory, vcpus), kernels
                         in contention.unflat(part.get("parallel", []), "memory", "vCPUs").items()}
        self.locks = contention.unflat(part.get("locks", []), "model", "memory", "clock", "MiB")
        self.counted = any(cost.span for cost in self.costs.get("patched", {}).values())

    def tables(self):
        """(title, rows) of each table."""
        if self.costs:
            for title, rows in costs.tables(self.target, self.costs, self.counted):
                yield f"{self.mib['costs']} MiB: {title}", rows
        if self.again:
            rows = list(costs.again_rows(self.costs, self.again))
            number = sum(map(len, self.costs.values()))
            waiting = sum(row["without what waits for SRCU"] not in ("-", "") for row in rows)
            yield (f"two runs: {number - len(rows)} of {number} costs agree to {100 * costs.AGREE} %; of the others {waiting} wait for"
                   " SRCU, for longer or shorter"), rows
        if self.growth:
            yield (f"{costs.unit(self.counted)} by size for each page that is touched, which is one in {costs.SPARSE}: what is done for"
                   " each page table is spread over 8 of them, so that these are not the costs above. 2M is a window of 64 MiB of"
                   " hugetlb pages, mapped again and again. All of it grows with this power of the memory",
                   list(costs.growth_rows(self.growth)))
        if self.bytes:
            yield f"bytes for {self.mib['memory']} MiB that are mapped by 4K, beside those before", list(costs.memory_rows(self.bytes))
        yield from contention.parallel_tables(self.parallel)
        yield from contention.locks_tables(self.locks)

    def plots(self):
        """Each as (name of its files, title, what draws it to a path)."""
        if self.costs:
            yield (f"{self.name}-ratios", f"{self.name}, {self.mib['costs']} MiB: {costs.unit(self.counted)}, unpatched = 1",
                   partial(costs.draw_ratios, found=self.costs))
        for memory, panels in costs.growth_panels(self.growth).items():
            yield (f"{self.name}-growth-{memory.replace(' ', '-')}",
                   f"{self.name}, {memory}: {costs.unit(self.counted)} by MiB of guest memory, and the power of it that they grow with",
                   partial(plot.growth, panels=panels))
        if self.parallel:
            memory = next(iter(self.parallel))[0]
            yield (f"{self.name}-parallel", f"{self.name}, {memory}: pages that vCPUs touch meanwhile, unpatched = 1 (more is better)",
                   partial(contention.draw, memory=memory, every=self.parallel))


def tables(name, rows):
    """(title, rows) of each table of what was measured on a target."""
    return Measured(name, rows).tables()


def _worse(m):
    """A row for each thing that is slower or bigger on a target."""
    yield from costs.worse(m.costs) if m.costs else ()
    yield from _worse_sparse(m)
    for row in costs.memory_rows(m.bytes) if m.bytes else ():
        if int(row["patched"]) > int(row["unpatched"]):
            yield {"memory": "4K", "operation": row[""], "what": row["what"], "per": "bytes", "unpatched": row["unpatched"],
                   "patched": row["patched"], "ratio": costs.ratio(int(row["patched"]), int(row["unpatched"]))}
    for (memory, vcpus), runs in m.parallel.items():
        for row in contention.worse(runs):
            yield {"memory": memory, "operation": row["operation"], "what": f"{row['what']}, {vcpus} vCPUs", "per": "-",
                   "unpatched": row["unpatched"], "patched": row["patched"], "ratio": row["ratio"]}
    yield from contention.worse_locks(m.locks)


def _worse_sparse(m):
    """Of all sizes the one where it is worst, in instructions; of what waits for SRCU what does not."""
    worst = {}
    for mib, found in m.growth.items():
        for row in costs.worse(found):
            key = row["memory"], row["operation"]
            if row["what"] == ("without what waits for SRCU" if costs.waits(found, row) else "whole"):
                if key not in worst or row["ratio"] != "-" and float(row["ratio"]) > float(worst[key]["ratio"].replace("-", "inf")):
                    worst[key] = row | {"what": f"{row['what']}, sparse, {mib} MiB"}
    return worst.values()


def slower(every):
    """A row for each thing that is slower or bigger than with the unpatched kernel, with its cause."""
    causes = read_patterns(CAUSES, "target | memory | operation | what | cause")
    for m in every:
        for row in _worse(m):
            cause = matching(causes, m.name, row["memory"], row["operation"], row["what"])
            yield {"target": m.name, **row, "cause": cause or UNKNOWN}


UNKNOWN = "**not known**"


def markdown(rows):
    """Lines of a table."""
    heads = list(rows[0])
    yield "| " + " | ".join(head or " " for head in heads) + " |"
    yield "|" + "|".join("---:" if all(_number(row[head]) for row in rows) else "---" for head in heads) + "|"
    for row in rows:
        yield "| " + " | ".join(str(row[head]).replace("|", "\\|") for head in heads) + " |"


def _number(cell):
    return str(cell).replace(".", "").replace("-", "").isdigit() or cell == "-"


INTRO = """\
# What it costs

Written by `./tdp bench --page {place}` out of the CSV files beside it, which `./tdp bench {names} --out {place}` writes:
everything under emulation, each number beside that of the unpatched kernel of the same source and configuration.
Costs are instructions that one emulated CPU executes (QEMU's `-icount`, and a plugin that counts them; on Bochs, ticks of its clock).
What was done several times is given by its cheapest time, as log start, log stop and slot deletion wait for SRCU, for longer or
shorter as it happens. What is measured with two CPUs is the machine's clock, each kernel in turn, with medians and spread; the
emulator translates code and shares the machine, so that such rows say which kernel lets vCPUs get further, and not how far they get
on hardware.

In the first table are all things that cost more, by more than two runs differ ({agree} %), and what was worse in each turn than in any
of the unpatched kernel's. `workbench/causes` says the causes.
"""


# What the first plot shows: (memory, operation).
HEADLINE = (("4K", "populate by write"), ("4K", "refault by write"), ("4K", "write while logging"), ("2M", "refault by write"),
            ("4K", "clear log"), ("2M", "first write to 2M"), ("2M lazy", "read after it"), ("4K", "age"),
            ("4K", "unmap single pages"), ("4K", "unmap all"), ("4K", "slot deletion"), ("4K", "teardown"))


def _headline(every):
    """As plots() of Measured: some costs on all targets."""
    every = [m for m in every if m.counted]
    rows = []
    for key in HEADLINE:
        ratios = [m.costs["patched"][key].instructions / m.costs["unpatched"][key].instructions
                  if key in m.costs["patched"] and key in m.costs["unpatched"] else 0 for m in every]
        rows.append((": ".join(key), *ratios))
    if every:
        yield ("headline", "What operations cost, in instructions: unpatched 6.12 = 1, less is better",
               lambda path, title: plot.ratios(path, title, rows, [m.name for m in every]))


class Page:
    """The text of a directory's page, and what is to be drawn for it."""

    def __init__(self, out):
        every = [Measured(path.stem, read(path)) for path in sorted(out.glob("*.csv")) if path.stem in TARGETS]
        if not every:
            die(f"{out} has no results of tdp bench: TARGET.csv")
        self.drawn = []
        self.slower = list(slower(every))
        place = out.resolve().relative_to(REPO) if out.resolve().is_relative_to(REPO) else out
        self.lines = [INTRO.format(place=place, names=" ".join(m.name for m in every), agree=100 * costs.AGREE)]
        self._plots(_headline(every))
        self._add(f"## Slower or bigger than unpatched: {len(self.slower)}", self.slower)
        for m in every:
            self.lines.append(f"## {m.name}: {m.target.description}\n")
            self.lines += [", ".join(f"{what}: {value}" for what, value in m.about.items()) + ".\n"] if m.about else []
            self._plots(m.plots())
            for title, rows in m.tables():
                self._add(f"### {m.name}, {title}", rows, always=not rows and "two runs" in title)
        for title, text, rows, plots in scale.sections(every):
            self.lines.append(f"## {title}\n")
            self.lines += [*text, ""] if text else []
            self._plots(plots)
            self.lines += [*markdown(rows), ""] if rows else []
        self.text = "\n".join(self.lines).rstrip() + "\n"

    def _plots(self, plots):
        for name, title, draw in plots:
            self.drawn.append((name, title, draw))
            self.lines.append(f"![{title}]({name}.svg)\n")

    def _add(self, title, rows, always=False):
        if rows or always:
            self.lines += [title + "\n", *(markdown(rows) if rows else ()), ""]


def write(out):
    """Writes the page of a directory, and draws; returns what to print about it."""
    page = Page(out)
    for name, title, draw in page.drawn:
        draw(out / name, title)
    write_atomic(out / PAGE, page.text)
    yield f"page: {out / PAGE}"
    unknown = [row for row in page.slower if row["cause"] == UNKNOWN]
    if unknown:
        yield f"{len(unknown)} rows are slower for no known reason: {CAUSES.name} in the workbench says the reasons"


def page_cmd(out):
    print(*write(out), sep="\n")
    return 0
