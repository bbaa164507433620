"""What tdp bench measures survives its CSV, and the page that is kept is that of the CSV files beside it."""

import tempfile
import unittest
from collections import Counter
from pathlib import Path

from .. import contention, costs, page, run
from ..common import REPO
from ..costs import Cost
from ..count import Span
from ..targets import TARGETS

KEPT = REPO / "docs/performance"


def one(instructions, handler, **more):
    return Cost("fault", 10, instructions + 5, Span(instructions, handled=10, handler=handler, locks=Counter({("read", "fault"): 10}),
                                                    held=Counter(read=100), longest=Counter(read=11), **more))


def in_csv(rows):
    """As read from a file."""
    with tempfile.TemporaryDirectory() as where:
        path = Path(where) / "npt.csv"
        run.write_csv(path, [{"target": "npt", "part": "costs", "MiB": "4"} | row for row in rows])
        return page.read(path)


class Csv(unittest.TestCase):
    def test_costs(self):
        found = {"unpatched": {("4K", "exit"): Cost("exit", 4, 9, Span(8)), ("4K", "fault"): one(1000, 500, mmap=3)},
                 "patched": {("4K", "exit"): Cost("exit", 4, 9, Span(8)),
                             ("4K", "fault"): one(900, 400, tlb=Counter({"IPAS2E1IS": 2}), work=7)}}
        self.assertEqual(costs.unflat(in_csv(costs.flat(found))), found)

    def test_costs_by_the_clock(self):
        found = {"unpatched": {("4K", "exit"): Cost("exit", 4, 9)}}
        self.assertEqual(costs.unflat(in_csv(costs.flat(found))), found)

    def test_bytes(self):
        found = {"patched": {("all mapped", "page tables"): 4096, ("all unmapped", "page tables"): 0}}
        self.assertEqual(costs.unflat_bytes(in_csv(costs.flat_bytes(found))), found)

    def test_parallel(self):
        found = contention.parse(["progress,clear log,10,20000,300,15000000", "latency,clear log,1,2,3,4,5", "exhausted,clear log,1",
                                  "lock,clear log,read,7,1.5,3,2,0.5,0.75"])
        self.assertEqual(found.took, {"clear log": 2000})
        rows = in_csv([row for turn in (1, 2) for row in contention.flat("4k", 2, turn, 64, "patched", found)])
        self.assertEqual(contention.unflat(rows, "memory", "vCPUs"), {("4k", "2"): {"patched": [found, found]}})


class Slower(unittest.TestCase):
    def test_what_is_slower_is_said(self):
        rows = in_csv(costs.flat({"unpatched": {("4K", "a"): one(1000, 500), ("4K", "b"): one(1000, 500)},
                                  "patched": {("4K", "a"): one(1010, 400), ("4K", "b"): one(1000, 600)}}))
        self.assertEqual([(row["operation"], row["what"], row["ratio"]) for row in page.slower([page.Measured("npt", rows)])],
                         [("a", "whole", "1.010"), ("b", "in the fault handler", "1.200")])

    def test_another_default_has_rows_of_its_own(self):
        def of(start, write, stop):
            return {"exit": one(7, 0), "log start": one(start, 0), "write": one(write, 0), "log stop": one(stop, 0)}
        found = {kernel: {(memory, what): cost for memory, costs_of in every.items() for what, cost in costs_of.items()}
                 for kernel, every in {"unpatched": {"2M": of(500, 20, 9), "2M lazy": of(10, 800, 9)},
                                       "patched": {"2M": of(400, 20, 9), "2M lazy": of(10, 700, 9)}}.items()}
        rows = [(row["operation"], row["unpatched"], row["patched"]) for row in costs.default_rows(TARGETS["arm64"], found)]
        self.assertEqual(rows, [("log start", "10", "400"), ("write", "800", "20"),
                                ("all from log start to log stop", "819", "429")])
        self.assertEqual(list(costs.default_rows(TARGETS["npt"], found)), [])

    def test_longer_write_holds_at_the_largest_size_are_said(self):
        def holding(read, write):
            return contention.parse(["progress,unmap,10,20000,300,15000000", f"lock,unmap,read,7,{read},{read},0,0,0",
                                     f"lock,unmap,write,7,{write},{write},0,0,0"])
        rows = in_csv([row for mib, own in ((64, 9), (128, 3))
                       for kernel, one in (("unpatched", holding(1, 2)), ("patched", holding(5, own)))
                       for row in contention.flat("4k", 1, 1, mib, kernel, one, "PREEMPT", "instructions")])
        every = contention.unflat(rows, "model", "memory", "clock", "MiB")
        self.assertEqual([(row["what"], row["ratio"]) for row in contention.worse_locks(every)],
                         [("longest hold for write, lock statistics, PREEMPT", "1.500"),
                          ("all holds for write, lock statistics, PREEMPT", "1.500")])

    def test_an_operation_may_be_missing(self):
        rows = in_csv(costs.flat({"unpatched": {("4K", "a"): one(1000, 500)}, "patched": {("4K", "b"): one(1000, 600)}}))
        for _, table in page.tables("npt", rows):
            if table:
                self.assertEqual([row["operation"] for row in table], ["a", "b"])

    def test_turns_that_overlap_say_nothing(self):
        def runs(*rates):
            return [contention.Found({"age": rate}, {"age": 1.0}, {}, {}, {}) for rate in rates]
        self.assertEqual(list(contention.worse({"unpatched": runs(5, 7, 9), "patched": runs(3, 4, 6)})), [])
        self.assertEqual([row["ratio"] for row in contention.worse({"unpatched": runs(5, 7, 9), "patched": runs(3, 3, 4)})], ["0.43"])


class Kept(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.page = page.Page(KEPT)

    def test_page(self):
        self.assertTrue(self.page.text == (KEPT / page.PAGE).read_text(),
                        f"it is not what the CSV files say: ./tdp bench --page {KEPT.relative_to(REPO)}")
        for name, _, _ in self.page.drawn:
            self.assertTrue((KEPT / f"{name}.svg").exists(), f"{name}.svg is missing")

    def test_causes(self):
        for row in self.page.slower:
            self.assertNotEqual(row["cause"], page.UNKNOWN, f"no cause is known for {row}: see workbench/causes")


if __name__ == "__main__":
    unittest.main()
