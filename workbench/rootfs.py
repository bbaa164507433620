"""Debian user space for the guests: what a program needs to run in one, from Debian's packages for its architecture."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import common
from .common import CACHE, die, digest

DEBIAN_ARCH = {"x86": "amd64", "arm64": "arm64"}
# Nothing that runs reads these.
USELESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/iso-codes", "usr/share/xml",
           "usr/share/zoneinfo", "usr/share/perl5", "usr/share/lintian", "usr/share/bash-completion", "usr/share/icons",
           "usr/share/applications", "usr/share/alsa", "usr/share/debconf", "usr/share/pam", "usr/include", "etc", "var")
# Where a system of today has links into /usr; packages of Debian 12 still have files there.
MERGED = ("bin", "sbin", "lib", "lib64")

UNUSED = 14 * 86400         # seconds after which a directory goes


def _apt(where, arch):
    """apt-get with a state of its own, in which nothing is installed, and the machine's own sources."""
    options = {"Dir::State": where / "state", "Dir::State::status": where / "status", "Dir::Cache": where / "cache",
               "APT::Architecture": arch, "APT::Architectures": arch, "APT::Install-Recommends": "false",
               "APT::Sandbox::User": "root"}
    return ["apt-get", "-q", "-y", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _download(where, arch, packages, log):
    for part in ("state/lists/partial", "cache/archives/partial"):
        (where / part).mkdir(parents=True)
    (where / "status").touch()
    apt = _apt(where, arch)
    # A source that has nothing for this architecture is no reason to stop: the packages are.
    lists = log.with_name(f"{log.stem}-lists.log")
    common.run([*apt, "update"], lists, what=f"reading the list of Debian's packages for {arch}", ok=(0, 100))
    try:
        common.run([*apt, "--download-only", "install", *packages], log, what=f"downloading {' '.join(packages)} for {arch}")
    except common.Failed as e:
        die(f"{e.msg}\nof the lists of packages apt-get said:\n{common.last_lines(lists, 5)}")
    return sorted((where / "cache/archives").glob("*.deb"))


def _unpack(deb, root):
    packed = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    done = subprocess.run(["tar", "-xf", "-", "-C", root, "--keep-directory-symlink", "--no-same-owner",
                           *(f"--exclude=./{name}" for name in USELESS)], stdin=packed.stdout, capture_output=True, text=True)
    packed.stdout.close()
    if packed.wait() or done.returncode:
        die(f"{deb.name} cannot be unpacked: {done.stderr.strip()}")


def of(arch, packages):
    """The directory with these packages, and all that they depend on, unpacked; none of their scripts has run."""
    debian = DEBIAN_ARCH[arch]
    # Another release, or point release, of Debian has other packages.
    release = common.read_or("/etc/os-release") + common.read_or("/etc/debian_version")
    root = CACHE / "rootfs" / f"{arch}-{digest(Path(__file__).read_bytes(), release, *packages)}"
    with common.lock("rootfs"):
        if root.is_dir():
            os.utime(root)
            return root
        if shutil.which("apt-get") is None:
            die("no apt-get on this system: the guests' QEMU comes from Debian's packages")
        root.parent.mkdir(parents=True, exist_ok=True)
        common.check_space(root.parent, 2)
        for old in root.parent.glob(f"{arch}-*"):
            # Not what another checkout still uses.
            if old.is_dir() and time.time() - old.stat().st_mtime > UNUSED:
                shutil.rmtree(old)
        with common.step(f"{', '.join(packages)} of Debian for {arch}", "half a minute"), \
                tempfile.TemporaryDirectory(dir=root.parent, prefix="new-") as tmp:
            new = Path(tmp) / "root"
            for name in MERGED:
                (new / "usr" / name).mkdir(parents=True)
                (new / name).symlink_to(f"usr/{name}")
            for deb in _download(Path(tmp), debian, packages, root.parent / f"{arch}.log"):
                _unpack(deb, new)
            new.rename(root)
    return root


def add(cpio, root):
    """All of a directory's files, to an initramfs."""
    for at, dirs, files in os.walk(root):
        for name in sorted((*dirs, *files)):
            path = Path(at) / name
            inside = str(path.relative_to(root))
            if path.is_symlink():
                # The guests' own /bin stays, with its shell.
                if inside not in ("bin", "sbin"):
                    cpio.link(inside, os.readlink(path))
            elif path.is_file():
                cpio.file(inside, path.read_bytes(), path.stat().st_mode & 0o777)
