#!/usr/bin/python3
"""Inside a patched host: migrates a guest from one QEMU to another while it writes (load.c), and verifies its memory.

Prints KTAP, and lines that a program can read:

    # migrate: KEY=VALUE ...    for each migration: what it took
    # track: MS PAGES           with --track: pages written since the start, by milliseconds since the migration began

The guest has no network and no disk: a kernel, load.c as its init, a serial line, and QMP beside it.
"""

import argparse
import contextlib
import glob
import json
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from typing import NamedTuple

GUEST = "/guest"            # the guest's kernel and initramfs
LOCK_STAT = "/proc/lock_stat"
RUN = "/tmp/migrate"
PATIENCE = 240              # seconds for one thing to happen; the machine is emulated, and slow at times
MBPS, SLOW_MBPS = 200, 8    # MiB a second that are sent; and where something is to happen before all of them are
KSFT_SKIP = 4
HUGE_MIB = 2


class Machine(NamedTuple):
    """What a guest is made of on an architecture."""
    qemu: str
    options: str
    cpu: str
    nested_cpu: str     # of a guest that has guests
    console: str
    ram: int            # its address
    clock: bool         # KVM writes clocks to its memory


MACHINE = {
    # On an emulated x86 host a guest with all that the CPU has does not come far.
    "x86_64": Machine("qemu-system-x86_64", "-machine pc", "kvm64", "kvm64,+svm,+npt,+nrip-save", "console=ttyS0", 0, True),
    "aarch64": Machine("qemu-system-aarch64", "-machine virt,gic-version=host", "host", "", "console=ttyAMA0", 0x40000000, False),
}[platform.machine()]
LINE = 64                   # bytes; a vCPU's clock has one


class Wrong(Exception):
    """What a scenario must not do."""


class Skip(Exception):
    """What cannot be had here."""


def now_ms():
    return int(time.monotonic() * 1000)


def wait_for(what, ready):
    """What ready() returns once it is true."""
    end = time.monotonic() + PATIENCE
    while True:
        if found := ready():
            return found
        if time.monotonic() > end:
            raise Wrong(f"{what}: not within {PATIENCE} s")
        time.sleep(0.05)


def read(path):
    with open(path) as f:
        return f.read()


def lock_stat_reset():
    if os.path.exists(LOCK_STAT):
        with open(LOCK_STAT, "w") as f:
            f.write("0")


def lock_stat():
    """How often the mmu_locks were held for write since the reset, for how long in all and at most; and the longest wait for
    one of them. Of all VMs; nothing where the kernel does not say."""
    if not os.path.exists(LOCK_STAT):
        return {}
    # Of what was never held or waited for there is no line.
    found = dict.fromkeys(("w_holds", "w_longest_us", "w_total_us", "wait_us"), 0)
    for line in read(LOCK_STAT).splitlines():
        if not (m := re.match(r" *&\(kvm\)->mmu_lock-([WR]):(.*)", line)):
            continue
        # Bounces, times, shortest, longest, total, average of waits, and of holds.
        _, _, _, wait, _, _, _, times, _, longest, total, _ = map(float, m[2].split())
        if m[1] == "W":
            found |= {"w_holds": round(times), "w_longest_us": round(longest), "w_total_us": round(total)}
        found["wait_us"] = max(found["wait_us"], round(wait))
    return found


class Vm:
    """A QEMU, its monitor and its guest's serial line."""

    every = []

    def __init__(self, options, incoming=None, paused=False):
        Vm.every.append(self)
        self.name = f"vm{len(Vm.every)}"
        self.lines, self.track = [], []
        self.since = now_ms()       # the guest has been left alone from then on
        self.verbose = options.verbose
        where = f"{RUN}/{self.name}"
        os.makedirs(where)
        accel = "kvm,dirty-ring-size=4096" if options.log == "ring" else "kvm"
        ram = "memory-backend-memfd,hugetlb=on,hugetlbsize=2M,share=off" if options.backing == "hugetlb" else "memory-backend-ram"
        cpu = MACHINE.nested_cpu if options.nested else MACHINE.cpu
        words = [MACHINE.qemu, "-accel", accel, "-cpu", cpu, *MACHINE.options.split(), "-smp", str(options.vcpus),
                 "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", f"{options.memory}M",
                 "-object", f"{ram},id=ram,size={options.memory}M", "-machine", "memory-backend=ram",
                 "-kernel", f"{GUEST}/kernel", "-initrd", f"{GUEST}/initramfs", "-append",
                 f"{MACHINE.console} {'' if options.verbose else 'quiet '}panic=-1 "
                 f"LOAD_MIB={options.load} LOAD_RATE={options.rate} LOAD_NESTED={options.nested:d}",
                 "-chardev", f"socket,id=serial,path={where}/serial,server=on,wait=off", "-serial", "chardev:serial",
                 "-qmp", f"unix:{where}/qmp,server=on,wait=off"]
        if incoming:
            words += ["-incoming", incoming]
        if paused:
            words += ["-S"]
        modes = {"get": "0", "manual": "1"}.get(options.log)
        preload = {"LD_PRELOAD": f"{GUEST}/old_log.so", "LOG_MODES": modes} if modes else {}
        self.log = f"{where}/log"
        with open(self.log, "w") as log:
            self.qemu = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | preload)
        self.monitor = self._connect(f"{where}/qmp")
        self.monitor.settimeout(PATIENCE)
        self.answers = self.monitor.makefile("rw")
        self._answer("QMP")
        self.do("qmp_capabilities")
        if "dirty ring not available" in self.said():
            raise Skip("this QEMU has no dirty ring here")
        if preload and "old_log:" not in self.said():
            raise Wrong(f"{self.name}: QEMU's log modes cannot be taken away: {self.said()}")
        self.serial = self._connect(f"{where}/serial")
        threading.Thread(target=self._listen, daemon=True).start()

    def _connect(self, path):
        def ready():
            self.alive()
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(path)
            except OSError:
                end.close()
                return None
            return end
        return wait_for(f"{self.name}: {os.path.basename(path)}", ready)

    def alive(self):
        """A guest that panics ends its QEMU."""
        if self.qemu.poll() is not None:
            raise Wrong(f"{self.name}: QEMU ended: {self.said()}")
        if broken := next((text for text in self.lines if re.search(r"Kernel panic|BUG:|Oops|load: (memory|threads|nested)", text)), None):
            raise Wrong(f"{self.name}: the guest broke: {broken}")

    def said(self):
        return read(self.log).strip() or f"status {self.qemu.poll()}"

    def _listen(self):
        """Lines of the guest, with the time at which they came."""
        rest = b""
        with contextlib.suppress(OSError):
            while data := self.serial.recv(4096):
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    text = line.decode(errors="replace").strip()
                    if self.verbose:
                        print(f"# {self.name} {now_ms()} {text}", flush=True)
                    self.lines.append(text)
                    if m := re.match(r"load: (\d+) (\d+) (\d+)$", text):
                        self.track.append((now_ms(), *map(int, m.groups())))

    def _answer(self, key):
        while True:
            try:
                line = self.answers.readline()
            except OSError as e:
                raise Wrong(f"{self.name}: QEMU does not answer ({e}): {self.said()}") from e
            if not line:
                raise Wrong(f"{self.name}: QEMU is gone: {self.said()}")
            found = json.loads(line)
            if "error" in found:
                raise Wrong(f"{self.name}: {found['error']['desc']}")
            if key in found:
                return found[key]

    def do(self, command, **arguments):
        try:
            self.answers.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            self.answers.flush()
        except OSError as e:
            raise Wrong(f"{self.name}: QEMU is gone: {self.said()}") from e
        return self._answer("return")

    def said_line(self, pattern, since=0):
        """The first line from number since on that matches."""
        def ready():
            self.alive()
            return next((m for m in (re.match(pattern, text) for text in self.lines[since:]) if m), None)
        try:
            return wait_for(f"{self.name}: the guest says {pattern}", ready)
        except Wrong as e:
            raise Wrong(f"{e}; it said {self.lines[-5:]}") from e

    def check(self):
        """Verifies all of the guest's memory, by the guest."""
        since = len(self.lines)
        self.serial.send(b"check\n")
        found = self.said_line(r"load: check (?:(ok) (\d+)|(\d+) lines lost.*)", since)
        if not found[1]:
            lost = [text for text in self.lines if text.startswith("load: lost")]
            raise Wrong(f"{self.name}: {found[0]}: {'; '.join(lost)}")
        self.since = now_ms()

    def progress(self, number=3):
        """Waits until the guest has said so often how far it is."""
        before = len(self.track)

        def ready():
            self.alive()
            return len(self.track) >= before + number
        wait_for(f"{self.name}: the guest goes on", ready)

    def dump(self, memory):
        """All of RAM, while the guest stands still."""
        path = f"{RUN}/{self.name}/ram"
        self.do("pmemsave", val=MACHINE.ram, size=memory << 20, filename=path)
        return path

    def huge_pages(self):
        """2M leaves of the VM's page tables; None if nobody counts them (arm64's own MMU)."""
        found = [int(read(path)) for path in glob.glob(f"/sys/kernel/debug/kvm/{self.qemu.pid}-*/pages_*")
                 if re.search("pages_(2m|pmd)$", path)]
        return sum(found) if found else None

    def kill(self):
        self.qemu.kill()
        self.qemu.wait()

    def end(self):
        if self.qemu.poll() is None:
            with contextlib.suppress(Wrong, OSError):
                self.do("quit")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.qemu.wait(30)
        self.kill()


class Move:
    """A migration from one QEMU to another."""

    def __init__(self, options, source, postcopy=False, paused=False, mbps=None, downtime=None):
        self.source = source
        uri = f"unix:{RUN}/{source.name}/migration"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(uri[5:])
        self.dest = Vm(options, incoming=uri, paused=paused)
        for vm in (source, self.dest):
            vm.do("migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": postcopy}])
        rate = (options.mbps or mbps or MBPS) << 20
        source.do("migrate-set-parameters", **{"max-bandwidth": rate, "max-postcopy-bandwidth": rate,
                                               "downtime-limit": downtime or options.downtime})
        self.before = [t for t in source.track if t[0] >= source.since]
        self.start = self.end = now_ms()
        self.locks, self.dirty_pps = {}, 0
        lock_stat_reset()
        source.do("migrate", uri=uri)

    def query(self):
        found = self.source.do("query-migrate")
        # Once all is through QEMU no longer says.
        self.dirty_pps = found.get("ram", {}).get("dirty-pages-rate") or self.dirty_pps
        return found

    def active(self):
        """As query(), of a migration that must not be through yet."""
        found = self.query()
        if found["status"] not in ("setup", "active"):
            raise Wrong(f"the migration is {found['status']} too early")
        return found

    def status(self, *wanted, failed=("failed", "cancelled", "postcopy-paused")):
        """Waits for a status."""
        def ready():
            found = self.query()
            if found["status"] in failed and found["status"] not in wanted:
                raise Wrong(f"the migration has {found['status']}: {found.get('error-desc', '')} {self.dest.said()}")
            return found if found["status"] in wanted else None
        wait_for(f"migration {' or '.join(wanted)}", ready)
        self.end = now_ms()
        self.locks = lock_stat()
        if "completed" in wanted and self.query()["status"] == "completed":
            # Before that it has not summed up.
            wait_for("the source is through", lambda: self.source.do("query-status")["status"] == "postmigrate")
        return self.query()

    def sent(self, mib):
        """Waits until so much has been sent."""
        def ready():
            return self.active().get("ram", {}).get("transferred", 0) >= mib << 20
        wait_for(f"{mib} MiB sent", ready)


def start(options):
    vm = Vm(options)
    vm.said_line("load: filled")
    huge = vm.huge_pages()
    if options.backing != "4k" and huge is not None and huge < options.load // HUGE_MIB // 2:
        raise Wrong(f"{vm.name}: {huge} huge pages for {options.load} MiB of {options.backing}")
    # So that there is something to compare with.
    vm.since = now_ms()
    vm.progress(6)
    return vm


def is_clock(before, after, vcpus):
    """A line of the guest's kvmclock that KVM writes as a vCPU is restored: a vCPU's, whose version and times change but not
    its scale, or the wall clock, with each of them: version, seconds, nanoseconds."""
    if before[24:29] == after[24:29] != bytes(5) and before[LINE // 2:] == after[LINE // 2:]:
        return True
    at = next(i for i in range(0, LINE, 4) if before[i:i + 4] != after[i:i + 4])
    if at > LINE - 12:
        return False
    old, = struct.unpack_from("<I", before, at)
    new, _, nanoseconds = struct.unpack_from("<III", after, at)
    return before[at + 12:] == after[at + 12:] and new in range(old + 2, old + 2 * vcpus + 1, 2) and nanoseconds < 10 ** 9


def same_memory(source, dest, options):
    """Both stand still: nothing may differ but, in one page, the clocks."""
    paths = source.dump(options.memory), dest.dump(options.memory)
    differ, clocks = [], []
    with open(paths[0], "rb") as mine, open(paths[1], "rb") as other:
        for number in range(options.memory << 8):
            a, b = mine.read(4096), other.read(4096)
            for i in range(0, 4096, LINE) if a != b else ():
                before, after = a[i:i + LINE], b[i:i + LINE]
                if before == after:
                    continue
                if MACHINE.clock and is_clock(before, after, options.vcpus) and len(clocks) <= options.vcpus \
                        and clocks[:1] in ([], [number]):
                    clocks.append(number)
                else:
                    differ.append(f"{number:#x}+{i:#x}: {before.hex()}, {after.hex()}")
    for path in paths:
        os.unlink(path)
    if differ:
        raise Wrong(f"{len(differ)} lines of RAM differ at the switch-over, the first: {'; '.join(differ[:4])}")


def precopy(options, source):
    move = Move(options, source, paused=True)
    found = move.status("completed")
    wait_for("the destination has loaded", lambda: move.dest.do("query-status")["status"] == "paused")
    same_memory(source, move.dest, options)
    move.dest.do("cont")
    return finish(options, move, found)


def postcopy(options, source):
    """Switched over at once: every page but those of the first moments is faulted in."""
    # Slowly, so that the guest asks for some before they come, however slow it is.
    move = Move(options, source, postcopy=True, mbps=SLOW_MBPS)
    wait_for("the migration to begin", lambda: move.query()["status"] != "setup")
    return switched_over(options, move)


def switched_over(options, move):
    """The guest goes on at its destination, and asks for pages that are not there yet."""
    move.source.do("migrate-start-postcopy")
    found = move.status("completed")
    if not found["ram"].get("postcopy-requests"):
        raise Wrong("the guest has asked for no page: there was no post-copy")
    return finish(options, move, found)


def hybrid(options, source):
    """Pre-copy, and post-copy for what is left after one round or more."""
    # Pre-copy must not get through, nor may all be there before the guest asks for it, however late the rounds are looked at.
    move = Move(options, source, postcopy=True, downtime=1, mbps=SLOW_MBPS)

    def much_is_left():
        ram = move.active().get("ram", {})
        return ram.get("dirty-sync-count", 0) >= 2 and ram["remaining"] >= options.load << 20 >> 4
    wait_for("a round of pre-copy that leaves a sixteenth of what the guest writes", much_is_left)
    return switched_over(options, move)


def finish(options, move, found):
    """The guest runs at its destination, and has all that it had."""
    move.dest.progress(2)
    move.dest.check()
    move.source.end()
    ram = found["ram"]
    report(total_ms=found["total-time"], downtime_ms=found["downtime"], postcopy_requests=ram.get("postcopy-requests", 0),
           **rounds(move, ram), **guest_rates(options, move), **move.locks)
    return move.dest


def rounds(move, ram):
    """What QEMU says of RAM that it has sent; the dirty rate is the last round's that had one."""
    return {"rounds": ram["dirty-sync-count"], "pages": ram["normal"] + ram["duplicate"], "sent_mib": ram["transferred"] >> 20,
            "dirty_pps": move.dirty_pps}


def guest_rates(options, move):
    """Pages a second that the guest wrote, before and during the migration, and its longest stall."""
    every = sorted(move.source.track + move.dest.track)
    during = [t for t in every if move.start < t[0] <= move.end]
    if options.track:
        print(*(f"# track: {t[0] - move.start} {t[2]}" for t in every), sep="\n")

    def rate(points):
        return round(1000 * (points[-1][2] - points[0][2]) / max(1, points[-1][0] - points[0][0]))
    rates = {"before_pps": move.before, "during_pps": move.before[-1:] + during}
    found = {name: rate(points) for name, points in rates.items() if len(points) > 1}
    # The guest's clock may jump when it is restored: what it took for a stall then is none.
    stalls = [t[3] for t in during if t[3] <= 1000 * (move.end - move.start)]
    return found | ({"stall_us": max(stalls)} if stalls else {})


def pressure(options, source):
    """Pre-copy that gets nowhere, for a while: what does the guest get done meanwhile?"""
    # However little the guest gets done, more is left than can be sent in that time.
    move = Move(options, source, downtime=1)
    time.sleep(options.seconds)
    found = move.query()
    source.do("migrate_cancel")
    move.status("cancelled", "completed")
    if found["status"] != "active":
        raise Wrong(f"the migration was {found['status']} within {options.seconds} s")
    move.dest.end()
    source.check()
    report(**rounds(move, found["ram"]), **guest_rates(options, move), **move.locks)
    return source


def interrupted(options, source, stop, status):
    """A migration that is stopped half-way; the guest stays, and so do its huge pages."""
    huge = source.huge_pages()
    move = Move(options, source, mbps=SLOW_MBPS)
    move.sent(options.memory // 4)
    split(options, source, huge)
    stop(move)
    move.status(status)
    move.dest.end()
    stays(options, source, huge)
    report(**guest_rates(options, move), **move.locks)
    return source


def cancel(options, source):
    return interrupted(options, source, lambda move: source.do("migrate_cancel"), "cancelled")


def killed(options, source):
    """The destination is gone."""
    return interrupted(options, source, lambda move: move.dest.kill(), "failed")


def split(options, source, huge):
    """What is logged page by page is mapped page by page."""
    if options.backing != "4k" and huge is not None:
        wait_for("huge pages are split", lambda: source.huge_pages() < huge)


def stays(options, source, huge):
    wait_for("the guest goes on where it was", lambda: source.do("query-status")["status"] == "running")
    source.progress(2)
    source.check()
    if options.backing != "4k" and huge is not None:
        wait_for(f"{huge} huge pages again", lambda: source.huge_pages() >= huge * 9 // 10)


def back_and_forth(options, source):
    for _ in range(10):
        source = precopy(options, source)
    return source


SCENARIOS = {"pressure": pressure, "precopy": precopy, "postcopy": postcopy, "hybrid": hybrid, "cancel": cancel, "killed": killed,
             "ten": back_and_forth}


def report(**values):
    print("# migrate: " + " ".join(f"{key}={value}" for key, value in values.items()), flush=True)


def tables_kib():
    """Of all VMs' page tables, exactly."""
    # Otherwise a CPU may have something that is not in the sum yet.
    read("/proc/sys/vm/stat_refresh")
    return int(re.search(r"^SecPageTables: *(\d+) kB", read("/proc/meminfo"), re.M)[1])


def no_vms():
    """Those of a QEMU are gone, whichever it was."""
    return not [path for path in glob.glob("/sys/kernel/debug/kvm/*-*")
                if os.path.exists(f"/proc/{os.path.basename(path).split('-')[0]}/comm")
                and read(f"/proc/{os.path.basename(path).split('-')[0]}/comm").startswith("qemu")]


def prepare(options):
    shutil.rmtree(RUN, ignore_errors=True)
    os.makedirs(RUN)
    if options.nested and not MACHINE.nested_cpu:
        raise Skip("guests have no guests here")
    if options.backing != "4k" and os.sysconf("SC_PAGESIZE") != 4096:
        raise Skip("huge pages of 2 MiB are for hosts with pages of 4 KiB")
    with open("/sys/kernel/mm/transparent_hugepage/enabled", "w") as f:
        f.write("always" if options.backing == "thp" else "never")
    # For both ends of a migration.
    need = (options.memory + 8) * 2 // HUGE_MIB if options.backing == "hugetlb" else 0
    pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    if os.path.exists(pool):
        with open(pool, "w") as f:
            f.write(str(need))
        if int(read(pool)) < need:
            with open(pool, "w") as f:
                f.write("0")
            raise Wrong(f"no {need} huge pages")
    wait_for("no VM is left of what was before", no_vms)


def main():
    global PATIENCE
    p = argparse.ArgumentParser()
    p.add_argument("scenario", choices=SCENARIOS)
    p.add_argument("--vcpus", type=int, default=1)
    p.add_argument("--memory", type=int, default=128, help="MiB of the guest")
    p.add_argument("--load", type=int, default=0, help="MiB that it writes to")
    p.add_argument("--rate", type=int, default=2000, help="pages a second that it writes; 0: all it can")
    p.add_argument("--nested", action="store_true", help="a guest of the guest writes")
    p.add_argument("--backing", choices=("4k", "thp", "hugetlb"), default="4k")
    p.add_argument("--log", choices=("all-set", "manual", "get", "ring"), default="all-set", help="of what was written:"
                   " a bitmap that is cleared apart, all set at first or not; one that is cleared as it is read; a ring")
    p.add_argument("--mbps", type=int, default=0, help=f"MiB a second that are sent; otherwise {MBPS}, and {SLOW_MBPS} where"
                   " something is to happen before all of them are")
    p.add_argument("--downtime", type=int, default=500, help="ms that QEMU may stop the guest")
    p.add_argument("--seconds", type=int, default=8, help="that a migration goes on which is not to end (pressure)")
    p.add_argument("--track", action="store_true", help="what the guest wrote, twice a second")
    p.add_argument("--verbose", action="store_true", help="all that the guests print")
    p.add_argument("--patience", type=int, default=PATIENCE, help="seconds for one thing to happen")
    options = p.parse_args()
    PATIENCE = options.patience
    options.load = options.load or options.memory * 5 // 8
    print("TAP version 13\n1..1")
    try:
        prepare(options)
        before = tables_kib()
        vm = start(options)
        if tables_kib() <= before:
            raise Wrong(f"no page tables are counted for a guest: {tables_kib()} kB, {before} kB before")
        SCENARIOS[options.scenario](options, vm).end()
        wait_for("the VMs are gone", no_vms)
        wait_for(f"the VMs' page tables are freed ({before} kB before)", lambda: tables_kib() <= before)
    except Skip as e:
        print(f"# {e}\nok 1 {options.scenario} # SKIP {e}")
        return KSFT_SKIP
    except Exception as e:
        for vm in Vm.every:
            print(*(f"# guest: {vm.name}: {text}" for text in vm.lines[-8:]), sep="\n")
        if not isinstance(e, Wrong):
            print(*(f"# {line}" for line in traceback.format_exc().splitlines()), sep="\n")
        print(f"# {e}\nnot ok 1 {options.scenario}")
        return 1
    finally:
        for vm in Vm.every:
            vm.kill()
    print(f"ok 1 {options.scenario}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
