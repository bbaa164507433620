"""git as plumbing: the same on every machine, whatever the user's git configuration says."""

import os

from . import common

# Fixed, so that one source and one series give the same commit hashes everywhere.
IDENTITY = ("KVM TDP MMU workbench", "tdp@localhost")
EPOCH = 1731888000      # the week Linux 6.12 came out

_CONFIG = ["safe.directory=*", "gc.auto=0", "maintenance.auto=false", "core.autocrlf=false",
           "core.quotePath=false", "core.hooksPath=/dev/null", "advice.detachedHead=false"]


def environ(**extra):
    """The environment without what a git hook or a user's configuration would add."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_NOSYSTEM="1", LC_ALL="C.UTF-8", **extra)
    return env


def command(gitdir, *args, config=()):
    cmd = ["git"]
    for setting in [*_CONFIG, *config]:
        cmd += ["-c", setting]
    if gitdir:
        cmd += ["--git-dir", str(gitdir)]
    return cmd + [str(a) for a in args]


def git(gitdir, *args, stdin=None, ok=(0,), text=True, env=None, cwd=None, config=()):
    """The output of a git command, its last newline removed if it is text."""
    out = common.capture(command(gitdir, *args, config=config), what=f"git {args[0]}", stdin=stdin, ok=ok, text=text,
                         env=environ(**(env or {})), cwd=cwd or gitdir or common.REPO)
    return out.rstrip("\n") if text else out


def commit(gitdir, tree, parents, message, author=None, when=EPOCH):
    """Makes a commit object with exactly this message (bytes) and returns its hash."""
    who = "%s <%s> %d +0000" % (*(author or IDENTITY), when)
    head = f"tree {tree}\n" + "".join(f"parent {p}\n" for p in parents)
    head += f"author {who}\ncommitter {who}\n\n"
    return git(gitdir, "hash-object", "-t", "commit", "-w", "--stdin",
               stdin=head.encode() + message, text=False).decode().strip()


def message(gitdir, rev):
    """A commit's message, as bytes, exactly."""
    return git(gitdir, "cat-file", "commit", rev, text=False).split(b"\n\n", 1)[1]


def nul_list(raw):
    """The fields of NUL-terminated output, as str."""
    return [os.fsdecode(f) for f in raw.split(b"\0")[:-1]]


def index_removals(paths):
    """Input for update-index -z --index-info that removes paths; --remove itself wants a work tree."""
    return "".join(f"0 {'0' * 40}\t{p}\0" for p in paths)


def blob(gitdir, rev, path):
    return git(gitdir, "cat-file", "blob", f"{rev}:{path}", text=False)
