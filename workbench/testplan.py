"""tdp test: everything that must pass. PLAN and LONG are the plans of the boots; the checks without one are in checks.py."""

import contextlib
import fnmatch
import functools
import itertools
import re
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from . import boot, build, checks, initramfs, jobs, migrate, run, series, source
from .boot import Test
from .common import CACHE, REPO, Error, die, matching, read_patterns, say, took, write_atomic
from .migrate import Move
from .targets import TARGETS

KNOWN_FAILURES = Path(__file__).resolve().parent / "known-failures"

# Names that `tdp test` takes besides those of targets: checks that need no boot.
PSEUDO = {
    "host": checks.HOST,
    "series": checks.SERIES,
}

# Slow machines are no reason to fail; a test that hangs costs so many seconds once.
TIMEOUT = 900

# What an ordinary VM's life asks of the MMU; small enough for the slow variants, too.
CORE = """
    demand_paging_test -b 32M -v 1
    demand_paging_test -b 32M -v 2
    demand_paging_test -b 32M -v 4
    demand_paging_test -b 8M -u MISSING -v 1
    demand_paging_test -b 8M -u MISSING -v 2
    demand_paging_test -b 8M -u MISSING -v 4
    demand_paging_test -b 8M -u MINOR -s shmem -v 2
    set_memory_region_test
    dirty_log_test -M clear-log -i 3 -I 10
    dirty_log_perf_test -b 16M -v 2
    dirty_log_perf_test -b 16M -v 2 -s anonymous_thp
    memslot_modification_stress_test -i 20 -v 2
    kvm_page_table_test -b 16M -v 2
    kvm_page_table_test -b 16M -v 2 -s anonymous_thp
    access_tracking_perf_test -b 8M -v 2
    smm_test
    state_test
    svm_vmcall_test
    svm_int_ctl_test
    svm_nested_shutdown_test
    nested_exceptions_test
    hyperv_svm_test
"""

NPT = CORE + """
    dirty_log_test -M dirty-log -i 3 -I 10
    dirty_log_test -M dirty-ring -i 3 -I 10
    dirty_log_copy_test
    dirty_log_copy_test -s anonymous_thp
    dirty_ring_reset_test
    unmap_race_test
    unmap_race_test -v 2 -s anonymous_thp
    dirty_log_perf_test -b 16M -v 2 -s anonymous_thp -e
    dirty_log_perf_test -b 16M -v 2 -g
    kvm_page_table_test -b 16M -v 2 -s anonymous_hugetlb_2mb
    dirty_log_page_splitting_test -b 64M -s anonymous_hugetlb_2mb
    dirty_log_page_splitting_test -b 64M -s anonymous_thp
    tdp_mmu_cost -b 16
    tdp_mmu_cost -m -b 16
    mmu_progress_test -b 4M -f 32M -n 2
    max_guest_memory_test -m 1 -s 1 -c 2
    pre_fault_memory_test
    guest_memfd_test
    private_mem_conversions_test
    private_mem_kvm_exits_test
    svm_nested_soft_inject_test
    triple_fault_event_test
    hyperv_tlb_flush
    sync_regs_test
    set_sregs_test
    exit_on_emulation_failure_test
    kvm_binary_stats_test
    kvm_create_max_vcpus
    coalesced_io_test
    xen_vmcall_test
"""

NX_TEST = """
    nx_huge_pages_test -t 887563923 -p 100 -r
"""

NX = NX_TEST + """
    demand_paging_test -b 32M -v 2
    demand_paging_test -b 8M -u MISSING -v 2
    kvm_page_table_test -b 16M -v 2
    kvm_page_table_test -b 16M -v 2 -s anonymous_thp
    kvm_page_table_test -b 16M -v 2 -s anonymous_hugetlb_2mb
    dirty_log_perf_test -b 16M -v 2 -s anonymous_thp
    tdp_mmu_cost -b 16
    state_test
    svm_vmcall_test
"""

EPT = """
    demand_paging_test -b 8M -v 1
    demand_paging_test -b 4M -v 2
    demand_paging_test -b 4M -u MISSING -v 1
    demand_paging_test -b 2M -u MISSING -v 2
    dirty_log_perf_test -b 4M -v 1
    dirty_log_perf_test -b 4M -v 1 -s anonymous_thp
    kvm_page_table_test -b 4M -v 1
    vmx_dirty_log_test
    vmx_apic_access_test
    vmx_close_while_nested_test
    vmx_invalid_nested_guest_state
    vmx_tsc_adjust_test
    vmx_set_nested_state_test
    nested_exceptions_test
    state_test
    smm_test
    hyperv_evmcs
    triple_fault_event_test
    pre_fault_memory_test
    private_mem_kvm_exits_test
"""

# -m 0: the default guest mode; the CPU has many.
ARM64 = """
    demand_paging_test -m 0 -b 16M -v 1
    demand_paging_test -m 0 -b 16M -v 2
    demand_paging_test -m 0 -b 16M -v 4
    demand_paging_test -m 0 -b 4M -u MISSING -v 1
    demand_paging_test -m 0 -b 4M -u MISSING -v 2
    demand_paging_test -m 0 -b 4M -u MISSING -v 4
    kvm_page_table_test -m 0 -b 16M -v 2
    kvm_page_table_test -m 0 -b 16M -v 2 -s anonymous_thp
    dirty_log_copy_test
    dirty_log_copy_test -s anonymous_thp
    dirty_ring_reset_test
    unmap_race_test
    unmap_race_test -v 2 -s anonymous_thp
    dirty_log_perf_test -m 0 -b 16M -v 2
    access_tracking_perf_test -m 0 -b 8M -v 2
    dirty_log_perf_test -m 0 -b 16M -v 2 -s anonymous_thp
    dirty_log_test -m 0 -M dirty-ring -i 3 -I 10
    mmu_progress_test -b 4M -f 32M -n 2
    set_memory_region_test
"""

# CPUs that are older: no FEAT_S2FWB, no ranges in TLB maintenance; and of one of them that sets no access flag, and
# has few VMIDs.  -m 6: what all can do.
ARM64_OLD = """
    demand_paging_test -m 6 -b 16M -v 2
    demand_paging_test -m 6 -b 4M -u MISSING -v 2
    kvm_page_table_test -m 6 -b 16M -v 2 -s anonymous_thp
    dirty_log_copy_test -b 8M -r 40
    unmap_race_test -b 8M -r 50
    dirty_log_perf_test -m 6 -b 16M -v 2 -s anonymous_thp
    access_tracking_perf_test -m 6 -b 8M -v 2
    tdp_mmu_trace_test
"""
# What takes a minute each.
ARM64_SLOW = """
    memslot_modification_stress_test -m {mode} -i 10 -v 2
    tdp_mmu_trace_test
    dirty_log_test -m {mode} -M dirty-log -i 3 -I 10
    dirty_log_test -m {mode} -M clear-log -i 3 -I 10
"""

# The common tests, all kinds of memory.
ARM64_ALL = ARM64.replace("-m 0", "-m {mode}") + ARM64_SLOW + """
    tdp_mmu_cost -b 16
    page_fault_test -m {mode} -s anonymous
    demand_paging_test -m {mode} -b 32M -v 2 -s anonymous_thp
    demand_paging_test -m {mode} -b 32M -v 2 -s shmem
    demand_paging_test -m {mode} -b 32M -u MINOR -v 2 -s shmem
    demand_paging_test -m {mode} -b 32M -v 2 -s anonymous_hugetlb
    demand_paging_test -m {mode} -b 32M -u MINOR -v 2 -s shared_hugetlb
    dirty_log_perf_test -m {mode} -b 32M -v 2 -s anonymous_hugetlb
    dirty_log_perf_test -m {mode} -b 32M -v 2 -s anonymous_thp -g
    dirty_log_perf_test -m {mode} -b 32M -v 2 -s shmem
    access_tracking_perf_test -m {mode} -b 32M -v 2 -s anonymous_thp
    kvm_page_table_test -m {mode} -b 32M -v 2 -s anonymous_hugetlb
    kvm_page_table_test -m {mode} -b 32M -v 2 -s shmem
    page_fault_test -m {mode} -s anonymous_thp
    page_fault_test -m {mode} -s shmem
    memslot_perf_test -s 64 -l 1
"""

ARM64_STRESS = ARM64 + ARM64_SLOW.format(mode=0) + """
    tdp_mmu_alloc_fail_test
    tdp_mmu_cost -b 16
    kvm_page_table_test -m 0 -b 32M -v 2 -s anonymous_hugetlb
    dirty_log_perf_test -m 0 -b 32M -v 2 -s anonymous_thp -g
    page_fault_test -m 0 -s shmem
"""

RISCV = """
    demand_paging_test -b 16M -v 1
    demand_paging_test -b 16M -v 2
    demand_paging_test -b 16M -v 4
    demand_paging_test -b 4M -u MISSING -v 1
    demand_paging_test -b 4M -u MISSING -v 2
    demand_paging_test -b 4M -u MISSING -v 4
    kvm_page_table_test -b 16M -v 2
    set_memory_region_test
"""


# Shadow paging: with TDP but not the common MMU, and without TDP.
SHADOW = """
    demand_paging_test -b 8M -v 2
    dirty_log_copy_test -b 8M -r 40
    unmap_race_test -b 8M -r 50
    dirty_log_perf_test -b 8M -v 2
    dirty_log_perf_test -b 8M -v 2 -s anonymous_thp
    kvm_page_table_test -b 16M -v 2
    memslot_modification_stress_test -i 10 -v 2
    set_memory_region_test
    tdp_mmu_cost -b 8
"""

LA57 = """
    demand_paging_test -b 16M -v 2
    demand_paging_test -b 8M -u MISSING -v 2
    dirty_log_perf_test -b 16M -v 2 -s anonymous_thp
    dirty_log_page_splitting_test -b 64M -s anonymous_thp
    kvm_page_table_test -b 16M -v 2 -s anonymous_thp
    memslot_modification_stress_test -i 10 -v 2
    tdp_mmu_cost -b 16
    svm_vmcall_test
"""

# Without A/D bits leaves are access-tracked; without PML writes are caught by W.
EPT_LEAVES = """
    demand_paging_test -b 4M -v 1
    dirty_log_perf_test -b 4M -v 1
    kvm_page_table_test -b 4M -v 1
    access_tracking_perf_test -b 2M -v 1
    vmx_dirty_log_test
    tdp_mmu_cost -b 2
"""


# The tests that take a kind of memory, with each. A page of 1 GiB is the least that they take.
BACKED = """
    demand_paging_test -b {size} -v 2 -s {memory}
    dirty_log_perf_test -b {size} -v {vcpus} -s {memory}
    dirty_log_perf_test -b {size} -v {vcpus} -s {memory} -g
    access_tracking_perf_test -b {size} -v {vcpus} -s {memory}
    kvm_page_table_test -b {size} -v {vcpus} -s {memory}
"""
UFFD = """
    demand_paging_test -b 16M -u MISSING -v 2 -s {memory}
    demand_paging_test -b 16M -u MINOR -v 2 -s {memory}
"""
SMALL = ("anonymous", "anonymous_thp", "shmem", "anonymous_hugetlb_2mb", "shared_hugetlb")
HUGE = ("anonymous_hugetlb_1gb",)


def backed(small=SMALL, huge=HUGE):
    lines = [BACKED.format(size="32M", vcpus=2, memory=m) for m in small]
    lines += [BACKED.format(size="1G", vcpus=1, memory=m).replace("-v 2", "-v 1") for m in huge]
    lines += [UFFD.format(memory=m) for m in small if m in ("shmem", "shared_hugetlb")]
    lines += [f"dirty_log_page_splitting_test -b 64M -s {m}" for m in small if m not in ("anonymous", "shmem")]
    return "\n".join(lines) + """
    dirty_log_test -M dirty-log -i 3 -I 10
    dirty_log_test -M clear-log -i 3 -I 10
    dirty_log_test -M dirty-ring -i 3 -I 10
    memslot_modification_stress_test -i 20 -v 2
    memslot_perf_test -s 64 -l 1
    pre_fault_memory_test
    guest_memfd_test
    private_mem_conversions_test
    private_mem_conversions_test -s shmem
    private_mem_kvm_exits_test
    set_memory_region_test
    max_guest_memory_test -m 1 -s 1 -c 2
    smm_test
    state_test
    tdp_mmu_cost -b 16
    svm_vmcall_test
    svm_int_ctl_test
    svm_nested_shutdown_test
"""


# More than an hour of one test on an emulator shows no more than minutes.
STRESS = CORE + """
    tdp_mmu_alloc_fail_test
    tdp_mmu_cost -b 16
    dirty_log_page_splitting_test -b 64M -s anonymous_thp
    kvm_page_table_test -b 16M -v 2 -s anonymous_hugetlb_2mb
    private_mem_conversions_test
    guest_memfd_test
    pre_fault_memory_test
"""


# What changes memslots, logs, unmaps and ages at random, while vCPUs run: a round; and as many as an hour has on a debug kernel.
RANDOM = """
    dirty_log_test {mode} -M dirty-log -i 10 -I 10
    dirty_log_test {mode} -M clear-log -i 10 -I 10
    dirty_log_test {mode} -M dirty-ring -i 10 -I 10
    dirty_log_copy_test -r 50
    dirty_log_copy_test -r 50 -s anonymous_thp
    dirty_ring_reset_test
    unmap_race_test -r 50
    unmap_race_test -r 50 -v 2 -s anonymous_thp
    memslot_modification_stress_test {mode} -i 20 -v 2
    access_tracking_perf_test {mode} -b 8M -v 2
    access_tracking_perf_test {mode} -b 8M -v 2 -s anonymous_thp
"""
RANDOM_ROUNDS = 6


# What logs, clears, ages, splits and recovers: with tdp_locks it is seen who does that under the write lock.
LOCKS = """
    demand_paging_test -b 8M -v 2
    dirty_log_perf_test -b 16M -v 2
    dirty_log_perf_test -b 16M -v 2 -s anonymous_thp
    access_tracking_perf_test -b 8M -v 2
"""
# What vCPUs do, starting, clearing and stopping a log, and aging do without it. Unmapping is common code's.
LOCKLESS = re.compile(r"kvm_handle_guest_abort|kvm_mmu_page_fault|kvm_arch_commit_memory_region|kvm_log_clear"
                      r"|kvm_mmu_notifier_(?:test|clear|clear_flush)_young")
# Or they wait, for no longer than others hold it for read, until these have flushed what they unmapped.
UNMAPPING = re.compile(r"kvm_mmu_notifier_invalidate_range|kvm_mmu_change_mmu_pages|kvm_tdp_wait_unpaid")


# A short one before the guest moves, and one that goes on after; `tdp migrate` does all.
MOVES = (Move("precopy"), Move("hybrid", backing="thp"))


@dataclass(frozen=True)
class Boot:
    name: str
    target: str
    tests: str
    variant: str = ""
    cmdline: str = ""
    cpu: str = ""
    smp: int = 2
    shadow: bool = False    # the common MMU is switched off
    compare: bool = False   # with the unpatched kernel's verdicts beside: what passes there passes, for no reason may it fail
    rest: int = 0           # and all other selftests, as they are, for so many seconds
    locks: bool = False     # who takes an mmu_lock for write is counted
    moves: tuple = ()       # instead of selftests: migrations

    @property
    def append(self):
        """To the kernel's command line."""
        return self.cmdline + " tdp_locks=1" * self.locks


NX_FORCE = ("kvm.nx_huge_pages=force kvm.nx_huge_pages_recovery_ratio=1 kvm.nx_huge_pages_recovery_period_ms=100"
            " hugepages=128")

PLAN = (
    Boot("npt", "npt", NPT, cmdline="hugepages=128"),
    Boot("npt-nx", "npt", NX, cmdline=NX_FORCE),
    Boot("npt-la57", "npt", LA57, cpu=",+la57"),
    Boot("npt-no-tdp-mmu", "npt", SHADOW, cmdline="kvm.tdp_mmu=N", shadow=True),
    Boot("npt-no-npt", "npt", SHADOW, cmdline="kvm_amd.npt=0", shadow=True),
    Boot("npt-lockdep", "npt", CORE, variant="lockdep"),
    Boot("npt-preempt-none", "npt", CORE, variant="preempt-none"),
    Boot("ept", "ept", EPT),
    Boot("ept-no-ad", "ept", EPT_LEAVES, cmdline="kvm_intel.eptad=0"),
    Boot("ept-no-pml", "ept", EPT_LEAVES, cmdline="kvm_intel.pml=0"),
    Boot("arm64", "arm64", ARM64 + ARM64_SLOW.format(mode=0)),
    Boot("arm64-nvhe", "arm64-nvhe", ARM64),
    Boot("arm64-a76", "arm64", ARM64_OLD + "    memslot_modification_stress_test -m 6 -i 10 -v 2",
         cpu=" -cpu cortex-a76"),
    Boot("arm64-a72", "arm64", ARM64_OLD + "    vmid_rollover_test", cpu=" -cpu cortex-a72"),
    Boot("arm64-gicv2", "arm64", ARM64_OLD, cpu=" -machine gic-version=2"),
    Boot("arm64-protected", "arm64", ARM64_OLD, cmdline="kvm-arm.mode=protected"),
    Boot("riscv", "riscv", RISCV),
    Boot("arm64-migrate", "arm64", "", smp=migrate.CPUS["arm64"], moves=MOVES),
    Boot("npt-migrate", "npt", "", smp=migrate.CPUS["npt"], moves=(*MOVES, Move("precopy", nested=True))),
)

ARM64_HUGETLB = " hugepagesz=2M hugepages=100"
HUGETLB = " hugepagesz=1G hugepages=2 hugepagesz=2M hugepages=160"

# What takes hours.
LONG = (
    Boot("npt-all", "npt", NPT, cmdline="hugepages=128", compare=True, rest=300),
    Boot("npt-memory", "npt", backed(), cmdline=HUGETLB, compare=True),
    Boot("npt-memory-nx", "npt", backed() + NX_TEST, cmdline=NX_FORCE.removesuffix(" hugepages=128") + HUGETLB, compare=True),
    Boot("npt-memory-la57", "npt", backed(), cmdline=HUGETLB, cpu=",+la57", compare=True),
    Boot("npt-memory-smp4", "npt", backed(), cmdline=HUGETLB, smp=4, compare=True),
    Boot("npt-debug", "npt", STRESS, variant="debug", cmdline="hugepages=64"),
    Boot("npt-debug-nx", "npt", STRESS, variant="debug", cmdline=NX_FORCE),
    Boot("npt-kcsan", "npt", STRESS, variant="kcsan", cmdline=NX_FORCE),
    Boot("npt-none-memory", "npt", backed(huge=()), variant="preempt-none", cmdline="hugepages=160"),
    # What takes longer takes hours on Bochs.
    Boot("ept-all", "ept", EPT, compare=True, rest=100),
    Boot("ept-all-no-ad", "ept", EPT + EPT_LEAVES, cmdline="kvm_intel.eptad=0", compare=True),
    Boot("ept-all-no-pml", "ept", EPT + EPT_LEAVES, cmdline="kvm_intel.pml=0", compare=True),
    Boot("arm64-all", "arm64", ARM64_ALL.format(mode=0), cmdline=ARM64_HUGETLB, compare=True, rest=300),
    Boot("arm64-nvhe-all", "arm64-nvhe", ARM64_ALL.format(mode=0), cmdline=ARM64_HUGETLB, compare=True, rest=300),
    Boot("arm64-protected-all", "arm64", ARM64_ALL.format(mode=0), cmdline="kvm-arm.mode=protected" + ARM64_HUGETLB,
         compare=True, rest=300),
    Boot("arm64-mte-all", "arm64", ARM64_ALL.format(mode=0), cpu=" -machine mte=on", cmdline=ARM64_HUGETLB, compare=True,
         rest=300),
    Boot("arm64-no-lpa2", "arm64", ARM64_ALL.format(mode=3), cpu=",lpa2=off", cmdline=ARM64_HUGETLB, compare=True),
    Boot("arm64-a76-all", "arm64", ARM64_ALL.format(mode=6), cpu=" -cpu cortex-a76", cmdline=ARM64_HUGETLB, compare=True,
         rest=300),
    Boot("arm64-a72-all", "arm64", ARM64_ALL.format(mode=6) + "    vmid_rollover_test", cpu=" -cpu cortex-a72",
         cmdline=ARM64_HUGETLB, compare=True, rest=300),
    Boot("arm64-gicv2-all", "arm64", ARM64_ALL.format(mode=0), cpu=" -machine gic-version=2", cmdline=ARM64_HUGETLB,
         compare=True, rest=300),
    Boot("arm64-bbml2", "arm64", ARM64_ALL.format(mode=0), cmdline="kvm-arm.bbml2_noabort=1" + ARM64_HUGETLB),
    Boot("arm64-16k-all", "arm64", ARM64_ALL.format(mode=0), variant="16k", compare=True, rest=300),
    Boot("arm64-64k-all", "arm64", ARM64_ALL.format(mode=0), variant="64k", compare=True, rest=300),
    Boot("arm64-debug", "arm64", ARM64_STRESS, variant="debug", cmdline=ARM64_HUGETLB),
    Boot("arm64-kcsan", "arm64", ARM64_STRESS, variant="kcsan", cmdline=ARM64_HUGETLB),
    Boot("arm64-none", "arm64", ARM64_ALL.format(mode=0), variant="preempt-none", cmdline=ARM64_HUGETLB),
    Boot("npt-random", "npt", RANDOM.format(mode="") * RANDOM_ROUNDS, variant="debug"),
    Boot("arm64-random", "arm64", RANDOM.format(mode="-m 0") * RANDOM_ROUNDS, variant="debug"),
    Boot("npt-locks", "npt", LOCKS, variant="lockdep", compare=True, locks=True),
    Boot("npt-locks-voluntary", "npt", LOCKS, variant="voluntary", locks=True),
    Boot("arm64-locks", "arm64", LOCKS.replace("-b", "-m 0 -b"), variant="lockdep", compare=True, locks=True),
    Boot("arm64-locks-voluntary", "arm64", LOCKS.replace("-b", "-m 0 -b"), variant="voluntary", locks=True),
    Boot("ept-shadow", "ept", EPT_LEAVES, cmdline="kvm_intel.ept=0", shadow=True),
    Boot("ept-no-tdp-mmu", "ept", EPT_LEAVES, cmdline="kvm.tdp_mmu=N", shadow=True),
)


# A machine that one of its tests stops for good, with either kernel, would not get to those behind it.
HANGS = {"ept": {"hardware_disable_test", "hyperv_ipi", "tsc_scaling_sync", "vmx_preemption_timer_test"}}
# The series' own tests are in the plans, with arguments that an emulator can bear.
OWN = {path.stem for path in (REPO / "tools/testing/selftests/kvm").rglob("*_*.c")}


def tests_of(item, selftests):
    """The tests of a boot, their names as paths in the selftests' directory."""
    if item.moves:
        return [move.test for move in item.moves]
    tests = _listed(item, selftests)
    if item.rest:
        left_out = {t.name.split("/")[-1] for t in tests} | HANGS.get(item.target, set()) | OWN
        tests += [Test(name, "", item.rest) for name in initramfs.available(selftests) if name.split("/")[-1] not in left_out]
    return tests


def _listed(item, selftests):
    tests = []
    for line in item.tests.split("\n"):
        name, _, args = line.strip().partition(" ")
        if name:
            tests.append(Test(initramfs.resolve(selftests, name) or name, args, TIMEOUT))
    return tests


def known_failures():
    """Tests that fail for a reason that is known: see common.read_patterns()."""
    return read_patterns(KNOWN_FAILURES, "boot | test with its arguments | reason")


def known_reason(known, item, title):
    return matching(known, item.name, title.split("/")[-1])


class Report:
    """The points of a test run: printed as they come, kept as KTAP, summed up at the end."""

    def __init__(self):
        self.points = []        # (section, name, verdict, note, detail lines)
        self.times = {}
        self.start = time.monotonic()
        self.lock = threading.Lock()

    def point(self, section, name, verdict, note="", detail=()):
        """verdict: ok, not ok or skip."""
        detail = [line for text in detail for line in str(text).splitlines()]
        with self.lock:
            self.points.append((section, name, verdict, note, detail))
            print(f"{verdict:6}  {section}: {name}" + (f"  ({note})" if note else ""), flush=True)
            if verdict == "not ok":
                print(*(f"        {line}" for line in detail), sep="\n", end="\n" if detail else "", flush=True)

    def count(self, verdict, section=None):
        return sum(p[2] == verdict and section in (None, p[0]) for p in self.points)

    def ktap(self):
        lines = ["KTAP version 1", f"1..{len(self.points)}"]
        for number, (section, name, verdict, note, detail) in enumerate(self.points, 1):
            lines += [f"# {line}" for line in detail]
            directive = f" # {'SKIP ' if verdict == 'skip' else ''}{note}".rstrip(" #")
            lines.append(f"{'not ok' if verdict == 'not ok' else 'ok'} {number} {section}: {name}{directive}")
        return "\n".join(lines) + "\n"

    def finish(self):
        path = CACHE / "results" / time.strftime("test-%Y%m%d-%H%M%S.ktap")
        write_atomic(path, self.ktap())
        sections = list(dict.fromkeys(p[0] for p in self.points))
        rows = [{"": s, "passed": str(self.count("ok", s)), "failed": str(self.count("not ok", s)),
                 "skipped": str(self.count("skip", s)), "seconds": f"{self.times.get(s, 0):.0f}"} for s in sections]
        print()
        if rows:
            print(*run.table(rows), sep="\n")
        for section, name, verdict, note, detail in self.points:
            if verdict == "not ok":
                print(f"FAILED  {section}: {name}" + (f"  ({note})" if note else ""))
        print(f"\nKTAP: {path}")
        print(f"{self.count('skip')} skipped, {took(time.monotonic() - self.start)}")
        print(f"{self.count('ok')} passed, {self.count('not ok')} failed", flush=True)
        return 1 if self.count("not ok") else 0


def pages_touched(args):
    """4K pages that demand_paging_test faults in: memory of a vCPU times vCPUs."""
    memory = re.search(r"-b (\d+)M", args)
    vcpus = re.search(r"-v (\d+)", args)
    return int(memory[1]) * 256 * int(vcpus[1] if vcpus else 1)


def check_core(report, item, src, result):
    """The common MMU handles the faults of an ordinary VM: all of them, so at least one for each page."""
    arch = TARGETS[item.target].arch
    if arch == "riscv" or item.shadow or item.moves or item.variant in ("16k", "64k") or (arch == "arm64" and src.left_out):
        return
    runs = [r for r in result.results if r.name == "demand_paging_test" and r.verdict == "ok"
            and not re.search("thp|hugetlb", r.args)]
    lines = [f"{r.title}: {r.faults} faults by virt/kvm/mmu for {pages_touched(r.args)} pages"
             for r in runs if (r.faults or 0) < pages_touched(r.args)]
    if not runs:
        lines = ["no demand_paging_test has passed"]
    report.point(item.name, "the faults are handled by virt/kvm/mmu", "not ok" if lines else "ok",
                 f"{sum(r.faults or 0 for r in runs)} faults", lines)


def check_locks(report, item, result, name):
    """Who takes an mmu_lock for write; none of what is LOCKLESS does. For the unpatched kernel it is only shown."""
    takers, wrong, lost = Counter(), [], 0
    for test in result.results:
        for times, stack in test.locks:
            own = [f for f in stack if not re.search("lock_acquire|_raw_write_lock|^trace_", f)]
            text = " ".join(own)
            takers[" < ".join(own[:2])] += times
            lost += 0 if own else times
            if LOCKLESS.search(text) and not UNMAPPING.search(text):
                wrong.append(f"{test.title}: {times} times: {' < '.join(own)}")
    # That they are found is shown by the other kernel.
    bad = lost or not takers or bool(wrong) == (name == "patched")
    say(f"{item.name}: mmu_lock for write with the {name} kernel:")
    for who, times in takers.most_common():
        say(f"  {times:6} {who}")
    report.point(item.name, f"who takes mmu_lock for write, {name}", "not ok" if bad else "ok",
                 f"{sum(takers.values())} times, {len(wrong)} stacks of vCPUs, log start and stop, aging",
                 [f"{lost} times by who knows", *wrong] if lost else
                 wrong or ["nobody was seen to take it for what the patched kernel does without it"])


def unpatched_verdicts(report, item, src, selftests, tests):
    """What the unpatched kernel, same configuration, makes of the tests of a boot: verdicts by title. One that does not
    end is "slow" if there was little time for it. That kernel does not change: its verdicts are remembered."""
    target = TARGETS[item.target]
    image = build.kernel(source.unpatched(src), target, item.variant)
    keys = boot.keys(image, selftests, tests, target.name, item.append, item.cpu, str(item.smp))
    files = {title: CACHE / "verdicts" / key for title, key in keys.items()}
    verdicts = {} if item.locks else {title: path.read_text() for title, path in files.items() if path.exists()}
    missing = [test for test in tests if test.title not in verdicts]
    say(f"{item.name}: the unpatched kernel: {len(verdicts)} verdicts are known, {len(missing)} tests to run")
    if not missing:
        return verdicts

    def remember(r):
        slow = "TIMEOUT" in r.detail and not r.args and 0 < item.rest < TIMEOUT
        verdicts[r.title] = "slow" if slow else r.verdict
        if r.ended:
            write_atomic(files[r.title], verdicts[r.title])
        say(f"  unpatched: {r.verdict}: {r.title} ({r.seconds:.1f} s)")
    result = boot.boot(target, image, selftests, missing, item.variant, item.append, cpu=item.cpu, smp=item.smp,
                       on_result=remember)
    report.point(item.name, "the unpatched kernel boots, ends, no kernel warning", "not ok" if result.trouble else "ok",
                 result.trouble or took(result.seconds), [result.explain()])
    if item.locks:
        check_locks(report, item, result, "unpatched")
    return verdicts


def content_of(item, image):
    """What the initramfs of a boot needs besides selftests; the migrated guests run the host's kernel."""
    return migrate.Content(TARGETS[item.target], image) if item.moves else None


def prepare(item, src):
    """Builds what a boot needs."""
    target = TARGETS[item.target]
    for source_of in (*([source.unpatched(src)] if item.compare else []), src):
        image = build.kernel(source_of, target, item.variant)
    build.selftests(src, target.arch)
    content_of(item, image)


def run_boot(report, src, item, known, both=False):
    """One boot of a plan; both: of the two kernels that are compared one runs beside the other."""
    target = TARGETS[item.target]
    selftests = build.selftests(src, target.arch)
    tests = tests_of(item, selftests)

    def unpatched():
        return unpatched_verdicts(report, item, src, selftests, tests)
    before, told = unpatched() if item.compare and not both else {}, []
    image = build.kernel(src, target, item.variant)

    def later(result):
        say(f"  patched: {result.verdict}: {result.title} ({result.seconds:.1f} s)")
        told.append(result)

    def point(result):
        note = f"{result.seconds:.1f} s" + (f", {result.faults} faults" if result.faults is not None else "")
        note += f", {result.detail}" if result.detail else ""
        if result.title in before:
            note += f"; unpatched: {before[result.title]}"
        reason = known_reason(known, item, result.title)
        verdict = result.verdict
        if verdict == "skip" and before.get(result.title) == "ok":
            verdict = "not ok"
        if verdict == "not ok" and before.get(result.title) == "slow" and "TIMEOUT" in result.detail:
            verdict, note = "skip", f"takes more than {item.rest} s with either kernel"
        if reason and verdict == "not ok" and before.get(result.title) != "ok" and not result.detail.startswith("not run"):
            verdict, note = "skip", f"known: {reason}"
        elif reason and verdict == "ok":
            note += "; it passes though it is in known-failures"
        report.point(item.name, result.title, verdict, note, result.output[-15:])

    def patched():
        return boot.boot(target, image, selftests, tests, item.variant, item.append, on_result=later if both else point,
                         cpu=item.cpu, smp=item.smp, content=content_of(item, image))
    if both:
        try:
            result, before = _beside([patched, unpatched], 2)
        finally:
            for one in told:
                point(one)
    else:
        result = patched()
    report.point(item.name, "boots, ends, no kernel warning", "not ok" if result.trouble else "ok",
                 result.trouble or took(result.seconds), [result.explain()])
    check_core(report, item, src, result)
    if item.locks:
        check_locks(report, item, result, "patched")


# Emulators that keep one CPU of the machine busy, whatever they emulate.
ONE_CPU = {"npt", "ept"}


@dataclass(frozen=True)
class Section:
    name: str
    work: object                # a function of the report and the source
    item: Boot | None = None    # the boot that it is

    def goes_beside(self):
        return self.item is not None and self.item.target in ONE_CPU

    def do(self, report, src, **more):
        start = time.monotonic()
        try:
            self.work(report, src, **more)
        except Error as e:
            # One part that cannot be built or started must not hide the others' results.
            report.point(self.name, "can be done", "not ok", detail=[e.msg])
        except Exception:
            # Nor must a mistake of ours.
            report.point(self.name, "can be done", "not ok", detail=[traceback.format_exc()])
        report.times[self.name] = time.monotonic() - start


def sections(args):
    """What to do, in order."""
    wanted = getattr(args, "targets", None) or ([*TARGETS] if getattr(args, "long", False) else [*PSEUDO, *TARGETS])
    known = known_failures()
    patterns = getattr(args, "boot", None)
    todo = []
    for name, functions in () if patterns else PSEUDO.items():
        def run_checks(report, src, name=name, functions=functions):
            for function in functions:
                start = time.monotonic()
                for title, good, detail in function(src):
                    title = title.removeprefix(f"{name}: ")
                    verdict = "skip" if good is None else "ok" if good else "not ok"
                    first = detail.splitlines()[0] if verdict == "skip" and detail else ""
                    report.point(name, title, verdict, first, [detail])
                say(f"{function.__name__}: {took(time.monotonic() - start)}")
        if name in wanted:
            todo.append(Section(name, run_checks))
    plan = [item for item in (LONG if getattr(args, "long", False) else PLAN) if item.target in wanted]
    if patterns:
        for pattern in patterns:
            if not any(fnmatch.fnmatch(item.name, pattern) for item in plan):
                die(f"no boot {pattern!r} in this plan: there are {', '.join(item.name for item in plan)}", status=2)
        plan = [item for item in plan if any(fnmatch.fnmatch(item.name, p) for p in patterns)]
    for item in plan:
        todo.append(Section(item.name, functools.partial(run_boot, item=item, known=known), item))
    return todo


def _do_beside(group, lanes, report, src):
    """Boots some at a time, when all that they need is built; those of two kernels, these beside each other."""
    for section in group:
        # What cannot be built is said by the section.
        with contextlib.suppress(Error):
            prepare(section.item, src)
    for compared, some in itertools.groupby(group, lambda section: section.item.compare):
        if compared:
            for section in some:
                section.do(report, src, both=True)
        else:
            jobs.beside([lambda section=section: section.do(report, src) for section in some], lanes)


def test_cmd(args):
    todo = sections(args)
    if not todo:
        die(f"there are no long tests for {' '.join(args.targets)}", status=2)
    report = Report()
    src = series.patched(source.get(args))
    try:
        for together, group in itertools.groupby(todo, Section.goes_beside):
            lanes = jobs.lanes() if together else 1
            if lanes > 1:
                _do_beside(list(group), lanes, report, src)
            else:
                for section in group:
                    section.do(report, src)
    except KeyboardInterrupt:
        say("interrupted; what was done so far:")
        report.finish()
        raise
    return report.finish()
