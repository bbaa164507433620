"""The pristine kernel source: Debian's tarball, or what --src names, as a git repository."""

import re
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from . import common, gitcmd
from .common import die
from .gitcmd import git

TARBALL = Path("/usr/src/linux-source-6.12.tar.xz")
PACKAGE = "linux-source-6.12"


@dataclass
class Source:
    id: str
    repo: Path              # bare git repository with the pristine source
    base: str               # its one commit
    version: str            # 6.12.y
    commit: str = ""        # what to build: the base, or the last step of the series
    steps: tuple = field(default=(), repr=False)    # (Step, commit) for each step; series.commits fills it
    left_out: tuple = ()    # steps that need a later source; the same fills it

    @property
    def tree(self):
        """The work tree that is built."""
        return common.CACHE / "work" / self.id

    @property
    def builds(self):
        return common.CACHE / "build" / self.id


def unpatched(src):
    """The same source without the series: with a work tree and builds of its own, so that neither rebuilds the other."""
    return Source(f"{src.id}-unpatched", src.repo, src.base, src.version, src.base)


def installed_version():
    out = common.capture(["dpkg-query", "-W", "-f", "${Version}", PACKAGE], ok=(0, 1)) \
        if shutil.which("dpkg-query") else ""
    return out.strip()


def get(args=None):
    """The source that the command line names (args.src), or else Debian's."""
    src = getattr(args, "src", None)
    if src:
        path = Path(src).expanduser().resolve()
        if path.is_dir():
            return _from_directory(path)
        if path.is_file():
            if not tarfile.is_tarfile(path) and path.suffix != ".zst":
                die(f"--src {src} is neither a directory nor a tarball")
            stat = path.stat()
            return _from_tarball(path, "src-" + common.digest(str(path), f"{stat.st_size} {stat.st_mtime_ns}")[:12])
        die(f"--src {src}: no such file or directory")
    version = installed_version()
    if not version or not TARBALL.is_file():
        die(f"no kernel source: install Debian's {PACKAGE}, or name a 6.12 source with --src DIR (or a tarball)")
    return _from_tarball(TARBALL, re.sub(r"[^\w.+-]", "-", version))


def _version(read, where):
    """6.12.y from a top Makefile, or a clear error."""
    try:
        makefile = read("Makefile")
    except (OSError, common.Error):
        die(f"{where} is not a kernel source tree: it has no Makefile")
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL)\s*=\s*(\d+)$", makefile, re.M))
    if len(found) != 3:
        die(f"{where} is not a kernel source tree: its Makefile names no version")
    version = "{VERSION}.{PATCHLEVEL}.{SUBLEVEL}".format(**found)
    if not version.startswith("6.12."):
        die(f"{where} is Linux {version}; the series is for 6.12.y")
    return version


def _read_in(directory):
    return lambda path: (directory / path).read_text()


def open_repo(repo, where):
    """The Source that commit_files left in repo."""
    base = git(repo, "rev-parse", "--verify", "-q", "refs/heads/base")
    version = _version(lambda path: gitcmd.blob(repo, base, path).decode(), where)
    return Source(repo.name, repo, base, version, base)


# One pack at once is several times faster than a loose object for each of 86000 files.
_PACK_AT_ONCE = ("core.bigFileThreshold=1", "core.compression=1")


def _from_tarball(path, ident):
    repo = common.CACHE / "src" / ident
    with common.lock(f"source-{ident}"):
        if repo.is_dir():
            return open_repo(repo, path)
        common.check_space(repo, 5)
        with common.step(f"unpacking {path.name} into {repo}", "a minute"):
            new = repo.with_name(f".{ident}.new")
            shutil.rmtree(new, ignore_errors=True)
            files = new / "files"
            files.mkdir(parents=True)
            try:
                common.run(["tar", "-xf", path, "-C", files, "--no-same-owner"], common.CACHE / "src" / "unpack.log",
                           what=f"unpacking {path}")
                inside = list(files.iterdir())
                top = inside[0] if len(inside) == 1 and inside[0].is_dir() else files
                commit_files(new / "git", top, path)
                (new / "git").rename(repo)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        return open_repo(repo, path)


ADD_ALL = ("add", "-Af", ".")


def commit_files(repo, top, where, add=ADD_ALL, stdin=None):
    """Commits the directory top to the bare repo (made if needed) without writing anything in top."""
    version = _version(_read_in(top), where)
    if not repo.is_dir():
        git(None, "init", "-q", "--bare", "--initial-branch=base", repo)
    (repo / "index.lock").unlink(missing_ok=True)   # of a run that was killed: the caller holds our own lock
    git(repo, "--work-tree", top, *add, stdin=stdin, cwd=top, config=_PACK_AT_ONCE)
    # Debian's .gitignore ignores every file at the top: in a tree to edit, git would not see a new file.
    ignore = (top / ".gitignore").read_bytes() if (top / ".gitignore").is_file() else b""
    if b"\n/*\n" in ignore:
        blob = git(repo, "hash-object", "-w", "--stdin", stdin=ignore.replace(b"\n/*\n", b"\n"), text=False).decode()
        git(repo, "update-index", "-z", "--index-info", stdin=f"100644 {blob.strip()}\t.gitignore\0")
    base = gitcmd.commit(repo, git(repo, "write-tree"), [], f"Linux {version}\n".encode())
    git(repo, "update-ref", "refs/heads/base", base)


def _from_directory(path):
    """A directory, or a git tree with what its work tree holds now. Its id is its place: edits there rebuild little."""
    ident = "src-" + common.digest(str(path))[:12]
    repo = common.CACHE / "src" / ident
    _version(_read_in(path), path)
    with common.lock(f"source-{ident}"):
        if repo.is_dir():
            commit_files(repo, path, path, *_listing(path, repo))
            return open_repo(repo, path)
        common.check_space(repo, 3)
        with common.step(f"reading {path} into {repo}", "a minute"):
            new = repo.with_name(f".{ident}.new")
            shutil.rmtree(new, ignore_errors=True)
            new.parent.mkdir(parents=True, exist_ok=True)
            try:
                commit_files(new, path, path, *_listing(path))
                new.rename(repo)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        return open_repo(repo, path)


def _listing(path, repo=None):
    """How to add what a directory holds: all of it, or of a git tree what git does not ignore there."""
    if not (path / ".git").exists():
        return (ADD_ALL,)
    listed = set(gitcmd.nul_list(git(None, "ls-files", "-z", "--cached", "--others", "--exclude-standard",
                                     cwd=path, text=False)))
    if repo:
        listed.update(gitcmd.nul_list(git(repo, "ls-files", "-z", text=False)))     # some may be gone now
    return ("update-index", "-z", "--add", "--remove", "--stdin"), "".join(f"{p}\0" for p in sorted(listed))
