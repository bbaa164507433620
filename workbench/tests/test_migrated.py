"""The tables of what tdp migrate has found, and the page that is kept is that of the CSV files beside it."""

import tempfile
import unittest
from pathlib import Path

from .. import migrated, page
from ..common import REPO
from ..migrate import Move, Outcome
from ..targets import TARGETS

KEPT = REPO / "docs/migration"


def row(kernel, turn, verdict="ok", variant="", scenario="precopy", **figures):
    return migrated.row(TARGETS["npt"], kernel, variant, Outcome(Move(scenario), verdict, 1.0, figures=[figures]), turn)


def turns(name, unpatched, patched, variant=""):
    """The rows of a comparison."""
    return [row(kernel, turn, variant=variant, **{name: value}) for kernel, values in (("unpatched", unpatched), ("patched", patched))
            for turn, value in enumerate(values, 1)]


class Beside(unittest.TestCase):
    def test_what_is_worse(self):
        def worse(*args):
            found, = migrated.beside(turns(*args))
            return found["worse"]
        self.assertEqual(worse("total_ms", (10, 11, 12), (9, 10, 11)), "-")
        self.assertEqual(worse("total_ms", (10, 11, 12), (11, 12, 13)), "by the median")
        self.assertEqual(worse("total_ms", (10, 11, 12), (13, 14, 15)), "in each turn")
        self.assertEqual(worse("during_pps", (10, 11, 12), (7, 8, 9)), "in each turn")
        self.assertEqual(worse("during_pps", (10, 11, 12), (13, 14, 15)), "-")

    def test_figures(self):
        found, = migrated.beside(turns("stall_us", (10, 20, 30), (5, 10, 90)))
        self.assertEqual((found["unpatched"], found["patched"], found["ratio"], found["turns"]), ("20 (10-30)", "10 (5-90)", "0.50", "3"))

    def test_locks_are_of_their_own_kernel(self):
        rows = turns("w_holds", (10, 10), (1, 1), "lock-stat") + turns("w_holds", (99, 99), (99, 99))
        self.assertEqual([(r[""], r["unpatched"]) for r in migrated.beside(rows)], [("write holds", "10 (10-10)")])

    def test_migrations_without_turns_are_not_compared(self):
        self.assertEqual(list(migrated.beside([row("patched", "", total_ms=1), row("unpatched", "", total_ms=1)])), [])


class Ways(unittest.TestCase):
    def test_one_that_failed_shows(self):
        found, = migrated.ways([row("patched", "")])
        self.assertEqual(found["2, 4k"], "ok")
        found, = migrated.ways([row("patched", "", "not ok")])
        self.assertEqual(found["2, 4k"], "**FAILED**")
        found, = migrated.ways([row("patched", "", "not ok"), row("patched", "")])
        self.assertEqual(found["2, 4k"], "**1 of 2**")


class Csv(unittest.TestCase):
    def test_what_is_done_again_is_replaced(self):
        with tempfile.TemporaryDirectory() as where:
            path = Path(where) / "npt.csv"
            migrated.keep(path, [row("patched", "", "not ok", total_ms=1), row("patched", "", scenario="hybrid", total_ms=2)])
            migrated.keep(path, [row("patched", "", total_ms=3), row("patched", "", scenario="ten", total_ms=4)])
            self.assertEqual([(r["migration"], r["verdict"], r["total ms"]) for r in migrated.read(path)],
                             [("precopy", "ok", "3"), ("hybrid", "ok", "2"), ("ten", "ok", "4")])


@unittest.skipUnless(KEPT.is_dir(), "there is none")
class Kept(unittest.TestCase):
    def test_page(self):
        self.assertTrue(migrated.text(KEPT) == (KEPT / page.PAGE).read_text(),
                        f"it is not what the CSV files say: ./tdp migrate --page {KEPT.relative_to(REPO)}")


if __name__ == "__main__":
    unittest.main()
