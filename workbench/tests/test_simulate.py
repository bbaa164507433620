"""The simulator against what queueing theory says exactly."""

import unittest

from ..scale import Host, Service, rate
from ..simulate import SLICE, Lock, Machine, Mailbox


class Exact(Host):
    """Where all times are as they are said to be."""

    def varied(self, ns):
        return ns


def work(fault, vcpus, cpus, line=0.0, until=1e6):
    """Faults in a nanosecond."""
    host = Exact(cpus, line)
    for _ in range(vcpus):
        host.vcpu(fault)
    host.machine.run(until)
    return host.done / until


class Faults(unittest.TestCase):
    def near(self, got, wanted, share=0.01):
        self.assertLess(abs(got / wanted - 1), share, f"{got} is not {wanted}")

    def test_one_vcpu_waits_for_nobody(self):
        self.near(work(Service(300, (("write", 700),)), 1, 1, line=50), 1 / 1000)

    def test_writers_are_served_one_by_one(self):
        fault = Service(300, (("write", 700),))
        self.near(work(fault, 8, 8), 1 / 700)
        # The lock's word comes from the last one each time, and stays for the release.
        self.near(work(fault, 8, 8, line=50), 1 / 750)

    def test_readers_are_not(self):
        self.near(work(Service(300, (("read", 700),)), 8, 8), 8 / 1000)

    def test_readers_share_a_cache_line(self):
        # Two changes each, and seldom twice by the same.
        self.near(work(Service(300, (("read", 700),)), 64, 64, line=100), 1 / 200, 0.03)

    def test_without_a_lock_all_cpus_count(self):
        self.near(work(Service(1000), 416, 416, line=100), 416 / 1000)

    def test_mmap_lock_is_a_cache_line_as_well(self):
        self.near(work(Service(1000, mmap=1), 64, 64, line=100), 1 / 200, 0.03)

    def test_cpus_are_shared(self):
        self.near(work(Service(1000), 8, 2, until=20 * SLICE), 2 / 1000)
        host = Exact(2)
        for _ in range(8):
            host.vcpu(Service(1000))
        host.machine.run(40 * SLICE)
        done = [t.done for t in host.threads]
        self.assertLess(max(done) / min(done), 1.3)

    def test_rate_is_of_vcpus_with_a_cpu_each(self):
        self.near(rate(Service(500, (("read", 500),)), 16, 0.0)[0], 16 / 1000, 0.02)

    def test_what_vcpus_wait_for_is_busy_all_the_time(self):
        shares = rate(Service(500, (("write", 500),)), 16, 100.0)[1]
        self.near(shares["mmu_lock held for write"], 1)
        shares = rate(Service(500, (("read", 500),)), 64, 100.0)[1]
        self.near(shares["cache line of mmu_lock"], 1)

    def test_an_operation_has_a_cpu_when_it_begins(self):
        for vcpus in (1, 2, 4, 8):
            host = Exact(2)
            for _ in range(vcpus):
                host.vcpu(Service(10e3, (("read", 2e3),)))
            host.machine.run(5.3 * SLICE)
            took, done = host.once(Service(0, (("write", 2e6),)))
            self.near(took, 2e6, 0.02)
            self.assertLess(done, 2 * vcpus + 1)

    def test_an_operation_without_a_lock_shares_cpus(self):
        host = Exact(2)
        for _ in range(8):
            host.vcpu(Service(10e3))
        host.machine.run(5.3 * SLICE)
        took, done = host.once(Service(60e6))
        self.near(took, 60e6 * 9 / 2, 0.1)
        self.near(done / took, 8 / 9 * 2 / 10e3, 0.1)

    def test_a_hold_breaks_where_others_wait(self):
        host = Exact(2)
        host.vcpu(Service(1e3, (("read", 1e3),)))
        host.machine.run(1e5)
        took, done = host.once(Service(0, (("write", 1e6),), breaks=1e4))
        self.near(took, 1e6 + 1e3 * done, 0.2)
        self.assertGreater(done, 90)

    def test_a_writer_gets_in_between_readers(self):
        host = Exact(9)
        for _ in range(8):
            host.vcpu(Service(1, (("read", 1000),)))
        host.machine.run(1e4)
        took, _ = host.once(Service(0, (("write", 5e4),)))
        # No longer than the holds of those who were in already.
        self.assertLess(host.mmu_lock.longest_wait, 5.1e4)
        self.assertLess(took, 1.1e3 + 5e4)
        self.near(host.mmu_lock.held_for_write, 5e4)

    def test_who_holds_a_lock_is_not_preempted(self):
        machine, lock, ends = Machine(1), Lock("lock"), []

        def holder(thread):
            yield "lock", lock, "write"
            for _ in range(10):
                yield "run", SLICE
            ends.append("holder")
            yield "unlock", lock, "write"

        def other(thread):
            yield "run", 1
            ends.append("other")
        machine.add(holder)
        machine.add(other)
        machine.run()
        self.assertEqual(ends, ["holder", "other"])

    def test_what_is_handed_over_is_fetched_once(self):
        machine, box, got = Machine(2), Mailbox(), []

        def put(thread):
            for i in range(100):
                yield "run", 7 + i % 3
                yield "put", box, i

        def get(thread):
            while True:
                yield "get", box
                got.append(thread.got)
                yield "run", 20
        machine.add(put)
        for _ in range(3):
            machine.add(get)
        machine.run()
        self.assertEqual(sorted(got), list(range(100)))


if __name__ == "__main__":
    unittest.main()
