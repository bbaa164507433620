"""Builds kernels and KVM selftests out of the private work tree; does nothing when nothing changed."""

import os
import re
import shutil
from pathlib import Path

from . import common, gitcmd, series
from .common import die
from .targets import TARGETS

# Kernel builds see only what is passed to make: not what a calling make or the user's shell has set.
_DROP = re.compile(r"MAKEFLAGS|MFLAGS|MAKELEVEL|ARCH|SUBARCH|CROSS_COMPILE|O|V|W|C|CC|LLVM|K(CPP|C|A)FLAGS|CFLAGS|LDFLAGS"
                   r"|LOCALVERSION|KBUILD_.*|KCONFIG_.*|INSTALL_.*")

# Nothing that changes from one build to the next, so that a build with no change links nothing.
_FIXED = ("LOCALVERSION=", "KBUILD_BUILD_TIMESTAMP=Sun Nov 17 22:15:08 UTC 2024", "KBUILD_BUILD_USER=tdp",
          "KBUILD_BUILD_HOST=tdp", "KBUILD_BUILD_VERSION=1")


def environ():
    return {k: v for k, v in os.environ.items() if not _DROP.fullmatch(k)} | {"LC_ALL": "C.UTF-8"}


def make(tree, out, arch, cross, *goals):
    """The command that builds goals of the kernel in tree into the directory out."""
    if re.search(r"[\s:]", f"{tree}{out}"):
        die(f"the kernel cannot be built under {common.CACHE}: a space or colon is in the name; set TDP_CACHE")
    return ["make", "-C", tree, f"O={out}", f"ARCH={arch}", f"CROSS_COMPILE={cross}", f"-j{common.JOBS}",
            *_FIXED, *goals]


def _symbols(text):
    """The settings of a .config or a fragment: symbol to value, n where it is not set."""
    found = {}
    for line in text.splitlines():
        if m := re.fullmatch(r"(CONFIG_\w+)=(.*)", line):
            found[m[1]] = m[2]
        elif m := re.fullmatch(r"# (CONFIG_\w+) is not set", line):
            found[m[1]] = "n"
    return found


def merged(fragments):
    """One fragment out of several; what comes later wins."""
    wanted = {}
    for fragment in fragments:
        wanted |= _symbols(fragment.read_text())
    return wanted


def compiler(cross):
    gcc = f"{cross}gcc"
    if shutil.which(gcc) is None:
        die(f"the compiler {gcc} is missing")
    return common.capture([gcc, "--version"]).splitlines()[0]


def tree_key(src, commit, *paths):
    """What git knows the contents of some paths by."""
    return gitcmd.git(src.repo, "ls-tree", commit, "--", *paths)


def kernel_key(src, commit, arch):
    """Changes with any file that an architecture's kernel is built from: not with documentation, selftests, and others."""
    # User Mode Linux takes much from what it runs on.
    own = {"arch/Kconfig", f"arch/{arch}", *(["arch/x86"] if arch == "um" else [])}

    def matters(path):
        return path in own if path.startswith("arch/") else path not in ("Documentation", "arch", "tools", "tools/testing")
    lines = [line for paths in ((), ("arch/",), ("tools/",)) for line in tree_key(src, commit, *paths).splitlines()]
    return "\n".join(line for line in lines if matters(line.split("\t")[1]))


def configure(src, commit, tree, out, arch, cross, fragments, without=()):
    """Writes out/.config unless fragments, Kconfig files and compiler are as before; each setting must have taken."""
    wanted = {k: v for k, v in merged(fragments).items() if k not in without}
    kconfigs = gitcmd.git(src.repo, "ls-tree", "-r", commit)
    kconfigs = "\n".join(line for line in kconfigs.splitlines() if "/Kconfig" in line or "\tKconfig" in line)
    key = common.digest(repr(sorted(wanted.items())), kconfigs, compiler(cross))
    stamp = out / ".tdp-config"
    if common.read_or(stamp) == key and (out / ".config").is_file():
        return
    stamp.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    fragment = out / ".tdp-fragment"
    common.write_atomic(fragment, "".join(
        f"# {k} is not set\n" if v == "n" else f"{k}={v}\n" for k, v in wanted.items()))
    common.run([*make(tree, out, arch, cross, "allnoconfig"), f"KCONFIG_ALLCONFIG={fragment}"],
               out.with_name(f"{out.name}.config.log"), what=f"configuring {out.name}", env=environ())
    got = _symbols((out / ".config").read_text())
    lost = [f"{k}={v}" for k, v in wanted.items() if got.get(k, "n") != v]
    if lost:
        die(f"the kernel configuration {out.name} did not take {', '.join(lost)}:"
            f" see workbench/configs and {out / '.config'}")
    common.write_atomic(stamp, key)


def kernel(src, target, variant=""):
    """Builds the kernel of a target (if it is not built yet) and returns its boot image."""
    name = target.arch + (f"-{variant}" if variant else "")
    out = src.builds / name
    image = out / target.image
    key = common.digest(kernel_key(src, src.commit, target.arch), repr(sorted(merged(target.fragments(variant)).items())),
                        compiler(target.cross), compiler(""))
    stamp = out / ".tdp-built"

    def built():
        return image.is_file() and common.read_or(stamp) == key
    if built():
        return image
    with common.lock(f"tree-{src.id}"):
        if built():
            return image
        series.checkout(src, src.commit, src.tree)
        cold = not image.is_file()
        common.check_space(out, 2 if cold else 1)
        with common.step(f"building the {name} kernel", "4 minutes" if cold else "1 minute"):
            configure(src, src.commit, src.tree, out, target.arch, target.cross, target.fragments(variant))
            stamp.unlink(missing_ok=True)
            common.run(make(src.tree, out, target.arch, target.cross, image.name), out.with_name(f"{name}.log"),
                       what=f"building the {name} kernel", env=environ())
            common.write_atomic(stamp, key)
    return image


def system_map(src, target, variant=""):
    """The symbols of a kernel that kernel() has built."""
    return src.builds / (target.arch + (f"-{variant}" if variant else "")) / "System.map"


SELFTEST_ARCH = {"x86": "x86_64"}


def selftests(src, arch):
    """Builds the KVM selftests, static, and returns their directory; kselftest/ in it has the harness's files."""
    cross = next(t.cross for t in TARGETS.values() if t.arch == arch)
    out = src.builds / f"selftests-{arch}"
    key = common.digest(tree_key(src, src.commit, "tools", "include/uapi", "include/asm-generic", f"arch/{arch}/include",
                                 "scripts", "usr", "Makefile"), compiler(cross))
    stamp = out / ".tdp-built"
    if common.read_or(stamp) == key:
        return out
    with common.lock(f"tree-{src.id}"):
        if common.read_or(stamp) == key:
            return out
        series.checkout(src, src.commit, src.tree)
        common.check_space(out, 1)
        stamp.unlink(missing_ok=True)
        with common.step(f"building the {arch} KVM selftests", "20 seconds"):
            _build_selftests(src, arch, cross, out)
            common.write_atomic(stamp, key)
    return out


def _build_selftests(src, arch, cross, out):
    headers = src.builds / f"headers-{arch}"
    log = out.with_name(f"{out.name}.log")
    common.run(make(src.tree, headers, arch, cross, "headers"), out.with_name(f"{headers.name}.log"),
               what=f"making the {arch} headers", env=environ())
    # A test that is gone from the Makefile must not stay in the directory.
    tests = src.tree / "tools/testing/selftests/kvm"
    listed = common.digest((tests / "Makefile").read_bytes())
    if common.read_or(out / ".tdp-makefile") != listed:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    common.run(["make", "-C", tests, f"-j{common.JOBS}", f"ARCH={SELFTEST_ARCH.get(arch, arch)}",
                f"CROSS_COMPILE={cross}", f"OUTPUT={out}", f"KHDR_INCLUDES=-isystem {headers}/usr/include",
                "LDFLAGS=-static -pthread -no-pie"],
               log, what=f"building the {arch} KVM selftests", env=environ())
    common.write_atomic(out / ".tdp-makefile", listed)
    harness = out / "kselftest"
    harness.mkdir(exist_ok=True)
    for f in (tests.parent / "run_kselftest.sh", *(tests.parent / "kselftest").iterdir()):
        shutil.copy(f, harness / f.name)
    names = sorted(str(f.relative_to(out)) for f in out.rglob("*") if is_test(f, out))
    common.write_atomic(harness / "kselftest-list.txt", "".join(f"kvm:{name}\n" for name in names))


def is_test(path, out):
    """Whether path is a selftest binary in the directory out."""
    inside = Path(path).relative_to(out).parts
    return inside[0] not in ("lib", "kselftest", "tools", "include") and path.suffix == "" \
        and path.is_file() and os.access(path, os.X_OK)
