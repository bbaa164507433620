"""The initramfs of a boot: our init, the tests of its list, and on x86 a shell with the kselftest harness."""

import gzip
import os
import shutil
import stat
import subprocess
from pathlib import Path

from . import build
from .common import CACHE, capture, die, digest, lock, run, write_atomic

INIT_SOURCE = Path(__file__).resolve().parent / "guest" / "init.c"
KEEP = 24               # images; the longest unused go first


def available(selftests):
    """The selftests there are, as paths below the directory: demand_paging_test, x86_64/state_test, ..."""
    selftests = Path(selftests)
    return sorted(str(f.relative_to(selftests)) for f in selftests.rglob("*") if build.is_test(f, selftests))


def resolve(selftests, name):
    """The path of a test given by its path or its bare name; None if there is none."""
    tests = available(selftests)
    if name in tests:
        return name
    matches = [t for t in tests if Path(t).name == name]
    return matches[0] if len(matches) == 1 else None


def _is_static(path):
    """No program interpreter, as the first bytes of a dynamic executable name one."""
    with open(path, "rb") as f:
        return b"ld-linux" not in f.read(4096)


def _busybox():
    path = shutil.which("busybox")
    if not path or not _is_static(path):
        die("a static busybox is needed for the x86 guests: install the package busybox-static")
    return Path(path)


def _fingerprint(path):
    st = os.stat(path)
    return f"{path} {st.st_size} {st.st_mtime_ns}"


class _Cpio:
    """A newc archive whose bytes depend on nothing but what is put in."""

    def __init__(self):
        self.data = bytearray()
        self.names = set()

    def _add(self, name, mode, content=b"", rdev=(0, 0)):
        raw = name.encode() + b"\0"
        fields = (len(self.names) + 1, mode, 0, 0, 1, 0, len(content), 0, 0, *rdev, len(raw), 0)
        self.data += b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        self.data += b"\0" * (-len(self.data) % 4) + content
        self.data += b"\0" * (-len(self.data) % 4)
        self.names.add(name)

    def _parents(self, name):
        for parent in reversed(Path(name).parents):
            if str(parent) not in self.names and str(parent) != ".":
                self.dir(str(parent))

    def dir(self, name):
        self._parents(name)
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name, content, mode=0o755):
        self._parents(name)
        self._add(name, stat.S_IFREG | mode, content)

    def link(self, name, to):
        self._parents(name)
        self._add(name, stat.S_IFLNK | 0o777, to.encode())

    def node(self, name, major, minor):
        self._parents(name)
        self._add(name, stat.S_IFCHR | 0o600, rdev=(major, minor))

    def end(self):
        self._add("TRAILER!!!", 0)
        return bytes(self.data)


def _stripped(target, path):
    """The program without its debug information, which is most of it."""
    done = subprocess.run([f"{target.cross}objcopy", "--strip-all", path, "/dev/stdout"],
                          capture_output=True)
    # The tests include scripts, too.
    return done.stdout if done.stdout[:4] == b"\x7fELF" else Path(path).read_bytes()


def _prune(directory, pattern, keep=KEEP):
    images = sorted(directory.glob(pattern), key=lambda p: p.stat().st_atime)
    for old in images[:-keep]:
        old.unlink(missing_ok=True)


def guest_program(target, source, *how, parts=()):
    """One of our programs for guests: static, or as the compiler's options say. Parts: other sources and headers of it."""
    how = how or ("-static", "-pthread")
    key = digest(source.read_bytes(), *(part.read_bytes() for part in parts), target.cross, *how)
    out = CACHE / "boot" / f"{source.stem}-{target.arch}-{key}"
    with lock("initramfs"):
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            new = out.with_suffix(".new")
            run([f"{target.cross}gcc", "-O2", "-Wall", "-Wextra", *how, "-s", "-o", new, source,
                 *(part for part in parts if part.suffix == ".c")],
                log=out.with_suffix(".log"), what=f"compiling {source.name} for {target.arch}")
            new.rename(out)
            # Those of before; another checkout may use the last ones.
            for old in sorted(out.parent.glob(f"{source.stem}-{target.arch}-*"), key=lambda p: p.stat().st_mtime)[:-KEEP]:
                old.unlink()
    return out


def small(program):
    """An initramfs, uncompressed, with one program as its init."""
    cpio = _Cpio()
    cpio.node("dev/console", 5, 1)
    cpio.file("init", Path(program).read_bytes())
    return cpio.end()


def image(target, selftests, tests, more=None):
    """Path of the initramfs with these tests; with tests None all of them, for an interactive boot. More: what else is
    in it, with a key, the programs by which tests may be named, and add(), which gets the archive."""
    selftests = Path(selftests)
    names = available(selftests) if tests is None else \
        sorted({t.name for t in tests} - ({*more.programs} if more else set()))
    if missing := [n for n in names if not (selftests / n).is_file()]:
        die(f"no selftest {', '.join(missing)} in {selftests}")
    lines = None if tests is None else "".join(f"{t.timeout} {t.name} {t.args}".rstrip() + "\n" for t in tests)
    runner = selftests / "kselftest" / "runner.sh"
    shell = target.arch == "x86"

    with lock("initramfs"):
        init = guest_program(target, INIT_SOURCE)
        sources = [init] + [selftests / n for n in names] + ([_busybox(), runner] if shell else [])
        key = digest(Path(__file__).read_bytes(), lines or "", *map(_fingerprint, sources), more.key if more else "")
        # What is large and read once is not worth the time that a guest takes to unpack it.
        out = CACHE / "boot" / f"initramfs-{target.arch}-{key}.cpio{'' if more else '.gz'}"
        if out.exists():
            os.utime(out)
            return out

        cpio = _Cpio()
        cpio.node("dev/console", 5, 1)
        for name in ("dev/pts", "dev/shm", "proc", "sys", "tmp"):
            cpio.dir(name)
        cpio.file("init", init.read_bytes())
        if shell:
            cpio.file("bin/busybox", _busybox().read_bytes())
            for applet in capture([_busybox(), "--list"]).split():
                # Not busybox's timeout: the harness wants --foreground. init serves as it, and as stdbuf.
                if applet not in ("busybox", "init", "timeout", "linuxrc"):
                    cpio.link(f"bin/{applet}", "busybox")
            cpio.link("usr/bin/timeout", "/init")
            cpio.link("usr/bin/stdbuf", "/init")
            cpio.file("kselftest/kselftest/runner.sh", runner.read_bytes())
        for name in names:
            cpio.file(f"kselftest/kvm/{name}", _stripped(target, selftests / name))
            # By hand a bare name must do; the tests open their own file by it.
            if tests is None and "/" in name and Path(name).name not in names:
                cpio.link(f"kselftest/kvm/{Path(name).name}", name)
        if lines is not None:
            cpio.file("tests", lines.encode(), 0o644)
        if more:
            more.add(cpio)
            write_atomic(out, cpio.end())
            _prune(out.parent, "initramfs-*.cpio", KEEP // 8)
        else:
            write_atomic(out, gzip.compress(cpio.end(), compresslevel=1 if tests is None else 6, mtime=0))
            _prune(out.parent, "initramfs-*.cpio.gz")
        return out
