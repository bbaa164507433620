"""Boots a kernel with a list of selftests under a target's emulator, and says what came of it."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import tty
from dataclasses import dataclass, field
from pathlib import Path

from . import common, initramfs
from .common import CACHE, die, run, say, stop_group, took, write_atomic
from .targets import VARIANTS

BOCHSRC = Path(__file__).resolve().parent / "bochsrc.in"
ISOLINUX = ("/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/syslinux/modules/bios/ldlinux.c32")

stop = threading.Event()    # set: no boot goes on

KEEP_BOOTS = 300        # directories of finished boots; the oldest go first

# The watchdog's patience, in seconds. The guest ends a test that exceeds its own timeout; this is for
# a guest that can no more. Slow machines are no reason to fail, so there is nothing tight here.
BOOT_PATIENCE = 600     # from power on to the first test
TEST_PATIENCE = 300     # for a test, beyond its timeout in real time
PANIC_PATIENCE = 15     # from a panic's first line to the end of its trace
END_PATIENCE = 10       # from the last line to power off

# An instrumented kernel is slower: factor on the tests' timeouts.
SLOW_VARIANT = {"lockdep": 3, "voluntary": 3, "lock-stat": 3, "lock-stat-none": 3, "kasan": 3, "kcsan": 4, "debug": 6}
# In Bochs time is instructions, and a second of the guest's clock (the TSC, 3.5 GHz) takes about so many real ones; up to
# five times as many where a test keeps the CPU busy.
SLOW_CLOCK = {"ept": 50}
BUSY_CLOCK = 6

# A dead kernel ends the emulator; a slow machine is no stall.
CMDLINE = "panic=-1 oops=panic printk.devkmsg=on rcupdate.rcu_cpu_stall_timeout=180"
_PATIENT = "watchdog_thresh=60 sysctl.kernel.hung_task_timeout_secs=600"
CMDLINE_VARIANT = {name: _PATIENT for name, (_, fragments) in VARIANTS.items() if "lockdep" in fragments}
CONSOLE = {
    "npt": "console=ttyS0",
    # Bochs 3.0 (Debian 13) takes no posted-interrupt descriptor at all, so no VM entry succeeds with APICv on.
    "ept": "console=ttyS0 nokaslr mitigations=off tsc=reliable clocksource=tsc no_timer_check lpj=1000000"
           " kvm_intel.enable_apicv=0",
    "arm64": "console=ttyAMA0",
    "arm64-nvhe": "console=ttyAMA0 kvm-arm.mode=nvhe",
    "riscv": "console=ttyS0",
}
# Idle virtual CPUs poll: one that halts wakes through the machine's scheduler, which takes milliseconds when it
# is busy, and a test whose threads take turns (userfaultfd) then needs minutes.
POLL = {"npt": "idle=poll", "arm64": "nohlt", "arm64-nvhe": "nohlt", "riscv": "nohlt"}
QEMU = {
    # With XSAVE, 1 to 4 of 100 runs of state_test get #UD for an AVX instruction that follows one, with either kernel.
    "npt": "qemu-system-x86_64 -machine q35 -cpu EPYC,+svm,+npt,-xsave,-avx,-avx2,-fma,-f16c",
    "arm64": "qemu-system-aarch64 -machine virt,virtualization=on,gic-version=3 -cpu max",
    "arm64-nvhe": "qemu-system-aarch64 -machine virt,virtualization=on,gic-version=3 -cpu max",
    "riscv": "qemu-system-riscv64 -machine virt -cpu rv64,h=true",
}
# The registers at every CPU reset, a triple fault's among them, which leaves no other trace.
RESETS = "resets.log"
RESET_LOG = ["-d", "cpu_reset", "-D", RESETS]
QEMU_COMMON = "-m 4G -nodefaults -display none -no-reboot"
# With a thread for each CPU and on a busy machine, max_guest_memory_test ended once in some 20 runs by a guest that shut
# down or a host that reset itself: QEMU 7.2 with either kernel, 10.0 with the patched one (0 of 37 unpatched).  The one
# VMCB that was dumped held the host's own state, and so did that of a vCPU that never ended with KCSAN.  In one thread
# the CPUs take turns; TDP_TCG_THREAD=multi for parallel.
TCG_THREAD = {"npt": "single"}
# An instruction takes a nanosecond, and nobody waits where the CPU has nothing to do. Faults are not counted (init.c):
# that would be measured, too.
ICOUNT = ["-icount", "shift=0,sleep=off"]
EXACT = "tsc=reliable nokaslr tdp_uncounted=1"

END_MARKER = "# tdp: end of tests"
SPLAT = re.compile(r"""
    \bWARNING:|\bBUG:|\bBUG\ [\w-]+\ \(|\bKASAN:|\bKCSAN:|\bUBSAN:|\bOops\b|\bKernel\ panic|kernel\ BUG\ at
    |general\ protection\ fault|Unable\ to\ handle\ kernel|Internal\ error:|double\ fault
    |possible\ (?:circular|recursive|irq|deadlock)|suspicious\ RCU\ usage|Invalid\ wait\ context
    |DEBUG_LOCKS_WARN_ON|trying\ to\ register\ non-static\ key|held\ lock\ freed|bad\ unlock\ balance
    |scheduling\ while\ atomic|sleeping\ function\ called|INFO:\ task\ .*\ blocked\ for|rcu:?\ INFO:.*\bstall
    |detected\ stalls|soft\ lockup|hard\ LOCKUP|list_(?:add|del)\ corruption|refcount_t:
    |Bad\ page\ (?:state|map)|Bad\ rss-counter|unreferenced\ object""", re.X)
# Warnings of an unpatched kernel, too, about what an emulator does not model.
HARMLESS = {
    "ept": re.compile(r"at arch/x86/kernel/cpu/topology_common\.c:\d+ parse_legacy"   # Bochs's CPUID leaf 4
                      r"|at arch/x86/kernel/fpu/xstate\.c:\d+ fpu__init_system_xstate"),  # and leaf 0xd
}
SPLAT_LINES = 40        # of the console, kept from a splat's first line on


@dataclass(frozen=True)
class Test:
    name: str           # as in the selftests' directory: demand_paging_test, x86_64/state_test
    args: str = ""
    timeout: int = 600  # real seconds

    @property
    def title(self):
        return f"{self.name} {self.args}".strip()


@dataclass
class TestResult:
    name: str
    args: str
    verdict: str = "not ok"     # ok, not ok, skip
    ended: bool = False         # by itself or by its watchdog; not because the machine did
    seconds: float = 0.0        # by the guest's clock, or real ones where that is of no use
    output: list = field(default_factory=list)
    faults: int | None = None   # handled by the common MMU; None: it cannot be counted here
    detail: str = ""            # why: exit=254, signal=6, TIMEOUT 180 seconds, not run
    locks: list = field(default_factory=list)   # (times, functions) that an mmu_lock was taken for write, innermost first

    @property
    def title(self):
        return f"{self.name} {self.args}".strip()


@dataclass
class BootResult:
    target: str
    variant: str
    cmdline: str
    console: Path
    results: list = field(default_factory=list)
    new_core: bool = False      # the kernel has the common MMU's tracepoint
    finished: bool = False      # all tests were run
    panicked: bool = False
    hung: bool = False
    splats: list = field(default_factory=list)  # one text each
    seconds: float = 0.0
    status: int | None = None       # the emulator's, where it ended by itself

    @property
    def trouble(self):
        """What is wrong with the boot itself, whatever its tests say: one line, or nothing."""
        if self.panicked:
            return "the guest kernel panicked"
        if self.hung:
            return "the guest hung and was ended"
        if not self.finished:
            return f"the emulator ended before the tests did: {self._end()}"
        if self.splats:
            first = self.splats[0].splitlines()[0]
            return f"{len(self.splats)} kernel warning{'s' * (len(self.splats) > 1)}, the first: {first}"
        return ""

    def _end(self):
        """How an emulator ended by itself."""
        if self.status:
            return f"signal {-self.status}" if self.status < 0 else f"status {self.status}"
        reset = self.console.parent / RESETS
        return "the host under test reset itself by a triple fault" if reset.exists() and "Triple fault" in \
            reset.read_text(errors="replace") else "the host under test powered off or reset itself"

    @property
    def ok(self):
        return not self.trouble and all(r.verdict != "not ok" for r in self.results)

    def explain(self, lines=25):
        """The lines that show the trouble, and where all the others are."""
        if not self.trouble:
            return ""
        if self.splats:
            shown = self.splats[0].splitlines()[:SPLAT_LINES]
        else:
            shown = console_tail(self.console, lines)
        return "\n".join([f"{self.target}: {self.trouble}"] + [f"    {line}" for line in shown]
                         + [f"    console: {self.console}"])


def console_tail(path, lines=25):
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


class Progress:
    """What runs now, on one line that is rewritten, with what runs beside it; nothing where output is no terminal."""

    tty = sys.stderr.isatty()
    lock = threading.Lock()
    texts = {}

    def show(self, text):
        self._rewrite(text)

    def clear(self):
        self._rewrite("")

    def _rewrite(self, text):
        if not self.tty:
            return
        with self.lock:
            before = any(self.texts.values())
            self.texts[self] = text
            line = " | ".join(filter(None, self.texts.values()))
            if before or line:
                width = shutil.get_terminal_size().columns - 1
                sys.stderr.write(f"\r\033[K{line[:width] if text else ''}")
                sys.stderr.flush()


class Console:
    """Reads a guest's console: the KTAP of our init, and the kernel's lines between."""

    STAMP = re.compile(r"^(?:\[\s*\d+\.\d+\]\s?)?(?:\[\s*[TC]\d+\]\s?)?")
    OUTPUT = re.compile(r"^(?:  )?# (?:# )?(.*)$")
    HARNESS = re.compile(r"^(?:timeout set to|overriding timeout to|selftests: |sh: addr2line)")
    RESULT = re.compile(r"^(ok|not ok) (\d+) (.*?)(?: # (.*))?$")

    def __init__(self, result, tests, on_start, on_result):
        self.result = result
        self.tests = tests
        self.on_start = on_start
        self.on_result = on_result
        self.partial = b""
        self.current = None     # TestResult of the test that runs
        self.faults = None
        self.locks = []
        self.since = time.monotonic()
        self.real_time = result.target in SLOW_CLOCK
        self.splat_room = 0

    def feed(self, data):
        *lines, self.partial = (self.partial + data).split(b"\n")
        for line in lines:
            self.line(self.STAMP.sub("", line.decode(errors="replace").strip("\r"), count=1))

    def line(self, line):
        if line == END_MARKER:
            self.result.finished = True
        elif line.startswith("# kvm_tdp_fault: "):
            self.result.new_core = line.endswith("present")
        elif line.startswith("# kvm_tdp_faults: "):
            self.faults = int(line.split()[-1])
        elif line.startswith("# mmu_lock for write: "):
            times, *stack = line.removeprefix("# mmu_lock for write: ").split()
            self.locks.append((int(times), stack))
        elif match := re.match(r"# start (\d+) ", line):
            self.start(int(match[1]))
        elif match := self.RESULT.match(line):
            self.end(int(match[2]), match[1], match[4] or "")
        elif match := self.OUTPUT.match(line):
            # Of the harness's nested KTAP only what the test said.
            if self.current and not self.HARNESS.match(match[1]):
                self.current.output.append(match[1])
        elif line.startswith(("#", "  ", "1..", "KTAP")) or not line:
            pass
        else:
            self.kernel(line)

    def start(self, number):
        test = self.tests[number - 1]
        self.current = TestResult(test.name, test.args)
        self.since = time.monotonic()
        self.faults = None
        self.locks = []
        self.on_start(number, test)

    def end(self, number, verdict, directive):
        test = self.tests[number - 1]
        result = self.current or TestResult(test.name, test.args)
        result.verdict = "skip" if verdict == "ok" and directive.startswith("SKIP") else verdict
        result.ended = True
        if match := re.search(r"\btime=([\d.]+)s", directive):
            result.seconds = time.monotonic() - self.since if self.real_time else float(match[1])
            directive = (directive[:match.start()] + directive[match.end():]).strip()
        result.detail = directive
        result.faults = self.faults
        result.locks = self.locks
        self.finish(result)

    def finish(self, result):
        self.current = None
        self.result.results.append(result)
        self.on_result(result)

    def kernel(self, line):
        if "Kernel panic" in line:
            self.result.panicked = True
        harmless = HARMLESS.get(self.result.target)
        if harmless and harmless.search(line):
            return
        if SPLAT.search(line) and not self.splat_room:
            where = f" (during {self.current.title})" if self.current else ""
            self.result.splats.append(line + where)
            self.splat_room = SPLAT_LINES
        elif self.splat_room:
            self.splat_room -= 1
            self.result.splats[-1] += "\n" + line
            if "---[ end" in line:
                self.splat_room = 0

    def close(self):
        """Tests that came to no end have failed too."""
        reason = "kernel panic" if self.result.panicked else "hung" if self.result.hung else "the guest ended"
        if self.current:
            self.current.detail = reason
            self.finish(self.current)
        for test in self.tests[len(self.result.results):]:
            self.finish(TestResult(test.name, test.args, detail=f"not run: {reason}"))


def keys(image, selftests, tests, *more):
    """By title, a hash of all that the result of a test depends on, for who remembers results; more: what a boot was told."""
    same = common.digest(image.read_bytes(), Path(__file__).read_bytes(), initramfs.INIT_SOURCE.read_bytes(), *more)
    return {t.title: common.digest(same, (selftests / t.name).read_bytes(), t.title, str(t.timeout)) for t in tests}


def _boot_dir(target, variant):
    """A directory for one boot, so that two never clash."""
    base = CACHE / "boot"
    base.mkdir(parents=True, exist_ok=True)
    # Boots that begin beside each other do not remove the same.
    with common.lock("boots"):
        old = sorted((d for d in base.glob("2*-*") if d.is_dir()), key=lambda d: d.stat().st_mtime)
        for d in old[:-KEEP_BOOTS]:
            shutil.rmtree(d, ignore_errors=True)
    name = time.strftime("%Y%m%d-%H%M%S-") + "-".join(filter(None, (target.name, variant)))
    for suffix in [""] + [f".{i}" for i in range(1, 100)]:
        with contextlib.suppress(FileExistsError):
            (base / (name + suffix)).mkdir()
            return base / (name + suffix)
    die(f"cannot make a directory for the boot in {base}")


def thread_of(target, thread=""):
    """single or multi: what the user has said, or who asks, or what is best for the target."""
    thread = os.environ.get("TDP_TCG_THREAD") or thread or TCG_THREAD.get(target.name, "multi")
    if thread not in ("single", "multi"):
        die(f"TDP_TCG_THREAD is {thread}: say single or multi")
    return thread


def _accel(target, thread):
    """Always given: nothing here may use the machine's own virtualization."""
    return ["-accel", f"tcg,thread={thread_of(target, thread)}"]


def qemu(target):
    """The program that emulates a target, or nothing: Bochs does."""
    return QEMU[target.name].split()[0] if target.name in QEMU else ""


def _qemu(target, image, initrd, cmdline, serial, cpu="", smp=2, exact=False, thread=""):
    accel = ["-accel", "tcg", *ICOUNT] if exact else _accel(target, thread)
    command = (QEMU[target.name] + cpu).split() + accel + QEMU_COMMON.split() + ["-smp", str(smp)] + serial
    if not shutil.which(command[0]):
        die(f"the emulator {command[0]} is missing (./tdp run names the packages)")
    return command + ["-kernel", str(image), "-initrd", str(initrd), "-append", cmdline]


def _bochs(where, image, initrd, cmdline, com1):
    """Bochs boots from a CD: kernel and initramfs under isolinux."""
    if not shutil.which("bochs"):
        die("the emulator bochs is missing (./tdp run names the packages)")
    iso = where / "iso"
    (iso / "isolinux").mkdir(parents=True)
    try:
        for path in ISOLINUX:
            shutil.copy(path, iso / "isolinux")
    except FileNotFoundError as e:
        die(f"{e.filename} is missing: install the packages isolinux and syslinux-common")
    shutil.copy(image, iso / "kernel")
    shutil.copy(initrd, iso / "initrd")
    write_atomic(iso / "isolinux" / "isolinux.cfg",
                 f"default l\nprompt 0\ntimeout 0\nlabel l\n kernel /kernel\n append initrd=/initrd {cmdline}\n")
    run(["xorriso", "-as", "mkisofs", "-quiet", "-o", where / "boot.iso", "-b", "isolinux/isolinux.bin",
         "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", iso],
        log=where / "xorriso.log", what="making the boot CD")
    shutil.rmtree(iso)
    rc = BOCHSRC.read_text().replace("@DIR@", str(where)).replace("@COM1@", com1).replace("@MEGS@", "1024")
    write_atomic(where / "bochsrc", rc)
    return ["bochs", "-q", "-f", str(where / "bochsrc")]


def _openpty():
    """A pseudo-terminal. A fresh chroot has no devpts: as root, mount it."""
    mount = ["mount", "-t", "devpts", "devpts", "/dev/pts"]
    try:
        return os.openpty()
    except OSError as e:
        if os.geteuid() or subprocess.run(mount, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            die(f"Bochs needs a pseudo-terminal, and there is none ({e.strerror}): try {' '.join(mount)}")
    say("mounted devpts on /dev/pts: Bochs needs a pseudo-terminal")
    try:
        return os.openpty()
    except OSError as e:
        die(f"Bochs needs a pseudo-terminal, and there is none: {e.strerror}")


class _Terminal:
    """Bochs wants a terminal, and its debugger a "c" to start: a pty that we read.

    It makes another one for the guest's screen, and stops for good when that is full: we read it, too.
    """

    def __init__(self):
        self.master, self.slave = _openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
        os.set_blocking(self.master, False)
        self.seen = b""
        self.started = False
        self.screen = None

    @staticmethod
    def _read(fd):
        try:
            return os.read(fd, 65536)
        except OSError:         # nothing there, or Bochs is gone
            return b""

    def pump(self):
        while data := self._read(self.master):
            if self.started and self.screen is not None:
                continue
            self.seen += data
            if not self.started and b"<bochs:1>" in self.seen:
                os.write(self.master, b"c\n")
                self.started = True
            name = re.search(rb'connected to screen "([^"]+)"', self.seen)
            if self.screen is None and name:
                self.screen = os.open(name[1], os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
                tty.setraw(self.screen)
        while self.screen is not None and self._read(self.screen):
            pass

    def close(self):
        for fd in filter(None, (self.master, self.slave, self.screen)):
            os.close(fd)


def boot(target, image, selftests, tests, variant="", cmdline="", on_result=None, interactive=False, cpu="", smp=2,
         exact=False, thread="", more=(), content=None):
    """Boots image with the tests (a list of Test) and returns a BootResult; on_result sees each TestResult as
    it comes; cpu: more of QEMU's CPU features (",+la57"); smp: QEMU's CPUs, which can take turns
    (TCG_THREAD, or thread: "single", "multi"). Exact: one CPU, whose clock is the instructions it has executed; on Bochs it
    always is; more: options of QEMU's; content: of the initramfs besides the tests. Interactive: a shell on this terminal,
    all selftests in it, and the exit status of the emulator."""
    slow = SLOW_VARIANT.get(variant, 1)
    clock = SLOW_CLOCK.get(target.name, 1)
    guest_tests = None if interactive else [
        Test(t.name, t.args, max(2, t.timeout * slow // clock)) for t in tests]
    initrd = initramfs.image(target, selftests, guest_tests, content)
    where = _boot_dir(target, variant)
    console = where / "console.log"
    if exact:
        smp = 1
    append = " ".join(filter(None, (CONSOLE[target.name], EXACT if exact else POLL.get(target.name), CMDLINE,
                                    CMDLINE_VARIANT.get(variant), cmdline)))
    if interactive:
        return _interactive(target, image, initrd, append, where, console)

    result = BootResult(target.name, variant, cmdline, console)
    console.touch()
    terminal = None
    name = "-".join(filter(None, (target.name, variant)))
    say(f"booting {name}: {len(tests)} test{'s' * (len(tests) != 1)}; console: {console}")
    if target.name == "ept":
        terminal = _Terminal()
        command = _bochs(where, image, initrd, append, f"file, dev={console}")
        stdio = dict(stdin=terminal.slave, stdout=terminal.slave, stderr=terminal.slave,
                     env={**os.environ, "TERM": "xterm"})
    else:
        command = _qemu(target, image, initrd, append, ["-serial", f"file:{console}", *RESET_LOG], cpu, smp,
                        exact, thread) + list(more)
        stdio = dict(stdin=subprocess.DEVNULL, stdout=open(where / "emulator.log", "wb"), stderr=subprocess.STDOUT)
    write_atomic(where / "command", " ".join(command) + "\n")

    progress = Progress()
    start = time.monotonic()
    state = {"since": start, "limit": BOOT_PATIENCE * slow, "what": "booting"}

    def started(number, test):
        state.update(since=time.monotonic(), limit=test.timeout * slow * (BUSY_CLOCK if clock > 1 else 1) + TEST_PATIENCE,
                     what=f"[{number}/{len(tests)}] {test.title}")

    def ended(test_result):
        state.update(since=time.monotonic(), limit=TEST_PATIENCE * slow, what="between two tests")
        progress.clear()
        if on_result:
            on_result(test_result)

    reader = Console(result, tests, started, ended)
    # A session of its own: Ctrl-C comes to us alone, and we end all of it.
    proc = subprocess.Popen(command, cwd=where, start_new_session=True, **stdio)
    panic_at = end_at = None
    try:
        with open(console, "rb") as f:
            while True:
                running = proc.poll() is None
                if stop.is_set():
                    raise KeyboardInterrupt
                if terminal:
                    terminal.pump()
                reader.feed(f.read())
                if not running:
                    result.status = proc.returncode
                    break
                now = time.monotonic()
                if result.panicked:
                    panic_at = panic_at or now
                    if now > panic_at + PANIC_PATIENCE:
                        break
                elif result.finished:
                    end_at = end_at or now
                    if now > end_at + (END_PATIENCE if target.name in QEMU else 1):
                        break
                elif now > state["since"] + state["limit"]:
                    result.hung = True
                    break
                progress.show(f"{name}: {state['what']} ({now - state['since']:.0f} s)")
                time.sleep(0.2)
    finally:
        progress.clear()
        stop_group(proc)
        if terminal:
            terminal.close()
        else:
            stdio["stdout"].close()
        (where / "boot.iso").unlink(missing_ok=True)
    result.seconds = time.monotonic() - start
    if not console.stat().st_size:
        errors = console_tail(where / "emulator.log") or [
            line for line in console_tail(where / "bochs.log", 10000) if ">>PANIC<<" in line]
        die(f"{target.name}: the emulator ended before the guest printed a line; its files: {where}\n"
            + "\n".join(errors))
    reader.close()
    say(f"{name}: ended after {took(result.seconds)}" + (f": {result.trouble}" if result.trouble else ""))
    return result


def _interactive(target, image, initrd, append, where, console):
    """The guest's console on this terminal, with a copy in a file."""
    if not sys.stdin.isatty():
        die("an interactive boot needs a terminal")
    say(f"booting {target.name}; exit in the guest ends it; console: {console}")
    if target.name == "ept":
        return _interactive_bochs(image, initrd, append, where, console)
    say("Ctrl-A X ends the emulator at once")
    serial = ["-chardev", f"stdio,id=con,mux=on,signal=off,logfile={console}", "-serial", "chardev:con",
              "-mon", "chardev=con"]
    # QEMU's warnings about what the CPU model lacks are for a file.
    with open(where / "emulator.log", "wb") as log:
        status = subprocess.call(_qemu(target, image, initrd, append, serial), stderr=log)
    if status:
        say("\n".join([f"the emulator ended with status {status}", *console_tail(where / "emulator.log", 3)]))
    return status


def _interactive_bochs(image, initrd, append, where, console):
    """Bochs keeps a terminal of its own for the guest's screen; the serial line is a second one, ours."""
    import selectors

    say("Ctrl-] ends the emulator at once; it is slow: the first line comes after some 10 seconds")
    line, line_slave = os.openpty()
    tty.setraw(line_slave)
    terminal = _Terminal()
    command = _bochs(where, image, initrd, append, f"term, dev={os.ttyname(line_slave)}")
    saved = termios.tcgetattr(0)
    proc = subprocess.Popen(command, cwd=where, start_new_session=True, stdin=terminal.slave,
                            stdout=terminal.slave, stderr=terminal.slave, env={**os.environ, "TERM": "xterm"})
    try:
        tty.setraw(0)
        with selectors.DefaultSelector() as sel, open(console, "wb") as log:
            sel.register(0, selectors.EVENT_READ)
            sel.register(line, selectors.EVENT_READ)
            tail = b""
            while proc.poll() is None:
                terminal.pump()
                for key, _ in sel.select(timeout=0.1):
                    data = os.read(key.fd, 4096)
                    if key.fd == 0:
                        if b"\x1d" in data:
                            return 0
                        os.write(line, data)
                    else:
                        os.write(1, data)
                        log.write(data)
                        tail = (tail + data)[-200:]
                # Bochs goes on after the guest has powered itself off.
                if b"reboot: Power down" in tail or b"reboot: System halted" in tail:
                    return 0
        return proc.returncode
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, saved)
        stop_group(proc)
        (where / "boot.iso").unlink(missing_ok=True)
        print()
