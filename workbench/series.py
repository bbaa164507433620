"""The ordered series: its steps, the commits they give, the private work tree, the patches to send."""

import json
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import common, gitcmd
from .common import die
from .gitcmd import git

# Where the repository keeps new kernel files. All that lies here belongs to a step.
ROOTS = ("arch", "virt", "include", "tools/testing", "Documentation")
PARTS = ("message", "files", "edits.patch", "removes", "since")
_BACKUP = re.compile(r"(~|\.swp|\.orig|\.rej|\.tdp-new)$")


@dataclass
class Step:
    dir: str                # NN-slug
    message: bytes
    files: list             # new files, whole
    edits: bytes            # a patch to existing files
    removes: list           # existing files that go
    since: str = ""         # left out of older sources, which have other code in its place

    def fits(self, version):
        return not self.since or _number(self.since) <= _number(version)

    @property
    def edited(self):
        return edited_files(self.edits)

    @property
    def touched(self):
        return sorted({*self.files, *self.edited, *self.removes})

    @property
    def subject(self):
        return self.message.decode().split("\n", 1)[0]


def _number(version):
    return [int(n) for n in re.findall(r"\d+", version)[:3]]


def edited_files(edits):
    return [os.fsdecode(f) for f in re.findall(rb"^diff --git a/(\S+) b/\S+$", edits, re.M)]


def normal_message(raw):
    """A commit message as git keeps it: exactly one newline at the end."""
    return raw.rstrip() + b"\n"


def overlay(root=common.REPO):
    """Every new kernel file that the repository holds, ignored and backup files apart."""
    if (root / ".git").exists():
        found = gitcmd.nul_list(git(None, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *ROOTS,
                                    cwd=root, text=False))
    else:
        found = [str(f.relative_to(root)) for r in ROOTS for f in (root / r).rglob("*") if not f.is_dir()]
    return sorted({f for f in found if not _BACKUP.search(f) and os.path.lexists(root / f)})


def step_dirs(root=common.REPO):
    """The names of the step directories, in order."""
    if not (root / "series").is_dir():
        die(f"{root} has no series/ directory")
    names = [d.name for d in (root / "series").iterdir() if d.is_dir()]
    for name in names:
        if not re.fullmatch(r"\d+-[a-z0-9][a-z0-9._-]*", name):
            die(f"series/{name}: a step's directory is called NN-slug, as 03-walk")
    return sorted(names, key=lambda n: (int(n.split("-")[0]), n))


def _path_list(root, name, part):
    raw = common.read_or(root / "series" / name / part)
    paths = raw.splitlines()
    where = f"series/{name}/{part}"
    for path in paths:
        if not path or path != path.strip() or os.path.normpath(path) != path or path.startswith(("/", "../")):
            die(f"{where}: bad path {path!r}")
    if paths != sorted(set(paths)):
        die(f"{where}: not sorted, or a path listed twice")
    return paths


def _load_step(root, name):
    where = f"series/{name}"
    for f in (root / where).iterdir():
        if f.name not in PARTS and not _BACKUP.search(f.name):
            die(f"{where}/{f.name}: not a part of a step ({', '.join(PARTS)})")
    try:
        message = normal_message((root / where / "message").read_bytes())
        lines = message.decode().split("\n")
    except FileNotFoundError:
        die(f"{where}/message is missing")
    except UnicodeDecodeError:
        die(f"{where}/message is not UTF-8")
    if not lines[0].strip() or lines[1]:
        die(f"{where}/message: a subject line, then an empty line, then the body")
    edits = (root / where / "edits.patch").read_bytes() if (root / where / "edits.patch").exists() else b""
    since = common.read_or(root / where / "since").strip()
    if since and not re.fullmatch(r"\d+\.\d+\.\d+", since):
        die(f"{where}/since: a version of Linux, as 6.12.117, and not {since!r}")
    step = Step(name, message, _path_list(root, name, "files"), edits, _path_list(root, name, "removes"), since)
    if edits and not step.edited:
        die(f"{where}/edits.patch holds no `diff --git a/... b/...`")
    if bad := re.search(rb"^(new file mode|deleted file mode|rename from|copy from|GIT binary patch).*$", edits, re.M):
        die(f"{where}/edits.patch: `{bad[0].decode()}`: new files go to `files`, deleted ones to `removes`")
    if not step.touched:
        die(f"{where} changes nothing")
    return step


def load(root=common.REPO):
    """The steps in order, checked: each overlay file belongs to exactly one step."""
    steps = [_load_step(root, name) for name in step_dirs(root)]
    number = {}
    owner = {}
    for step in steps:
        if (n := int(step.dir.split("-")[0])) in number:
            die(f"series/{number[n]} and series/{step.dir} have the same number")
        number[n] = step.dir
        for path in step.files:
            if path in owner:
                die(f"{path} is in the files of both {owner[path]} and {step.dir}")
            owner[path] = step.dir
            if not path.startswith(tuple(r + "/" for r in ROOTS)):
                die(f"series/{step.dir}/files: {path} is not under {', '.join(ROOTS)}")
            if not (root / path).is_file() or (root / path).is_symlink():
                die(f"series/{step.dir}/files: {path} is no file in the repository")
        for path in (*step.edited, *step.removes):
            if path in owner:
                die(f"series/{step.dir} changes {path}, which {owner[path]} adds: new files are whole from the start")
    for path in overlay(root):
        if path not in owner:
            die(f"{path} is in no step's files (series/NN-*/files)")
    return steps


def cover(root=common.REPO):
    """Subject and body of the cover letter."""
    try:
        subject, _, body = (root / "series/cover").read_text().partition("\n")
    except FileNotFoundError:
        die("series/cover is missing")
    if not subject.strip() or not subject.isascii() or body[:1] != "\n" or not body.strip():
        die("series/cover: a subject line in ASCII, then an empty line, then the body")
    return subject.strip(), body.strip() + "\n"


class Index:
    """A private git index, for making trees without a work tree."""

    def __init__(self, repo):
        self.repo = repo
        self.dir = tempfile.TemporaryDirectory(prefix="tdp-index-", dir=repo)
        self.env = {"GIT_INDEX_FILE": f"{self.dir.name}/index"}
        self.at = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.dir.cleanup()

    def git(self, *args, **kw):
        return git(self.repo, *args, env=self.env, cwd=self.repo, **kw)

    def read(self, rev):
        if self.at != rev:
            self.git("read-tree", rev)
            self.at = rev

    def apply(self, edits):
        """Applies a patch without fuzz; raises common.Error with git's words if it does not apply."""
        self.git("apply", "--cached", "--whitespace=nowarn", "-", stdin=edits, text=False)

    def has(self, paths):
        if not paths:
            return set()
        return set(gitcmd.nul_list(self.git("ls-files", "-z", "--", *(f":(literal){p}" for p in paths), text=False)))


def mode_of(path):
    return "100755" if os.access(path, os.X_OK) else "100644"


def _misapplied(step, version, words):
    """Says which file and hunk of a step do not apply, from what git apply said."""
    if m := re.search(r"patch failed: (\S+):(\d+)", words):
        path, line = m.groups()
        part = step.edits.decode(errors="replace").split(f"diff --git a/{path} ")[1].split("\ndiff --git ")[0]
        hunk = re.search(rf"^@@ -{line}[, ].*$", part, re.M)
        return f"{path}, hunk {hunk[0] if hunk else 'at line ' + line}"
    if m := re.search(r"error: (\S+): (does not exist in index|No such file.*)", words):
        return f"{m[1]} is not in this source"
    return words


def _make_commit(index, root, step, parent, version):
    """The commit of one step on top of parent."""
    index.read(parent)
    index.at = None
    repo = index.repo
    clash = index.has(step.files)
    if clash:
        die(f"step {step.dir} adds {min(clash)}, but Linux {version} has that file already; nothing was changed")
    missing = set(step.removes) - index.has(step.removes)
    if missing:
        die(f"step {step.dir} removes {min(missing)}, but Linux {version} has no such file; nothing was changed")
    if step.edits:
        try:
            index.apply(step.edits)
        except common.Error as e:
            die(f"step {step.dir} does not apply to Linux {version}: {_misapplied(step, version, e.msg)};"
                " nothing was changed")
    lines = gitcmd.index_removals(step.removes)
    if step.files:
        hashes = git(repo, "hash-object", "-w", "--no-filters", "--stdin-paths",
                     stdin="".join(f"{root / p}\n" for p in step.files)).split()
        lines += "".join(f"{mode_of(root / p)} {h}\t{p}\0" for p, h in zip(step.files, hashes))
    if lines:
        index.git("update-index", "-z", "--add", "--index-info", stdin=lines)
    made = gitcmd.commit(repo, index.git("write-tree"), [parent], step.message, when=gitcmd.EPOCH)
    index.at = made
    return made


def commits(src, root=common.REPO, steps=None):
    """Fills src.steps with a (Step, commit) for each step on top of the base; the hashes depend on nothing else.

    Steps that need a later source are left out, and named in src.left_out. A step that was applied to the same parent
    before costs nothing.
    """
    steps = load(root) if steps is None else steps
    src.left_out = tuple(step.dir for step in steps if not step.fits(src.version))
    steps = [step for step in steps if step.fits(src.version)]
    remembered = src.repo / "tdp-steps.json"
    with common.lock(f"series-{src.id}"):
        known = json.loads(common.read_or(remembered, "{}"))
        made, used, parent = [], {}, src.base
        with Index(src.repo) as index:
            for step in steps:
                content = [part for p in step.files for part in (p, mode_of(root / p), (root / p).read_bytes())]
                key = common.digest(parent, step.message, step.edits, "\n".join(step.removes), *content)
                parent = used[key] = known.get(key) or _make_commit(index, root, step, parent, src.version)
                made.append((step, parent))
        if not used.keys() <= known.keys():
            # Keep what other checkouts or a former state may need again, within reason.
            common.write_atomic(remembered, json.dumps(dict([*known.items(), *used.items()][-2000:])))
    src.steps, src.commit = tuple(made), parent
    return src


def checkout(src, commit, tree):
    """Moves a private work tree to a commit; only files that differ are written, so that make rebuilds little."""
    state = tree.with_name(tree.name + ".commit")
    index = tree.with_name(tree.name + ".index")
    with common.lock(f"tree-{tree.name}"):
        at = common.read_or(state)
        if at == commit and tree.is_dir():
            return
        interrupted = tree.is_dir() and not at
        state.unlink(missing_ok=True)
        index.with_name(index.name + ".lock").unlink(missing_ok=True)
        fresh = not tree.is_dir()
        tree.mkdir(parents=True, exist_ok=True)

        def move():
            def in_tree(*args):
                git(src.repo, "--work-tree", tree, *args, env={"GIT_INDEX_FILE": str(index)}, cwd=tree)
            in_tree("read-tree", "--reset", "-u", commit)
            if interrupted:
                in_tree("clean", "-fdxq")

        if fresh:
            common.check_space(tree, 3)
            with common.step(f"checking out Linux {src.version} into {tree}", "half a minute"):
                move()
        else:
            move()
        common.write_atomic(state, commit)


def patched(src, root=common.REPO):
    """The source with the whole series applied, in the private work tree src.tree."""
    commits(src, root)
    if src.left_out:
        common.say(f"Linux {src.version} is too old for {', '.join(src.left_out)}: left out")
    checkout(src, src.commit, src.tree)
    return src


def changed_files(src):
    """All that the series touches."""
    return sorted({path for step, _ in src.steps for path in step.touched})


def user_identity():
    """Name and address from the environment or the git configuration of the user."""
    who = []
    for variable, key in (("GIT_AUTHOR_NAME", "user.name"), ("GIT_AUTHOR_EMAIL", "user.email")):
        value = os.environ.get(variable) or \
            common.capture(["git", "config", "--get", key], ok=(0, 1), cwd=common.REPO).strip()
        if not value:
            die(f"git does not know who you are; set it with: git config --global {key} ...")
        who.append(value)
    return tuple(who)


def format_patches(src, out, who, root=common.REPO):
    """Writes the series, signed off by who, with its cover letter, into the directory out; returns the files."""
    subject, body = cover(root)
    tip, now = src.base, int(time.time())
    for step, made in src.steps:
        tip = gitcmd.commit(src.repo, git(src.repo, "rev-parse", f"{made}^{{tree}}"), [tip], step.message, who, now)
    env = {"GIT_COMMITTER_NAME": who[0], "GIT_COMMITTER_EMAIL": who[1]}
    git(src.repo, "format-patch", "-q", "--signoff", "--cover-letter", "--numbered", "--no-renames", "-o", out,
        f"{src.base}..{tip}", env=env)
    patches = sorted(Path(out).glob("[0-9]*.patch"))
    letter = patches[0].read_text()
    letter = letter.replace("*** SUBJECT HERE ***", subject, 1).replace("*** BLURB HERE ***\n", body, 1)
    patches[0].write_text(letter)
    return patches


def series_cmd(args):
    """tdp series OUT"""
    from . import source
    out = Path(args.out).expanduser().absolute()
    if out.exists() and not out.is_dir():
        die(f"{out} is not a directory")
    if out.is_dir() and any(out.iterdir()) and not args.force:
        die(f"{out} is not empty; name another directory, or --force to replace the patches in it")
    who = user_identity()
    src = commits(source.get(args))
    if not src.steps:
        die("series/ has no steps yet")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tdp-", dir=out) as new:
        patches = format_patches(src, new, who)
        for old in out.glob("[0-9][0-9][0-9][0-9]-*.patch"):
            old.unlink()
        for patch in patches:
            shutil.move(patch, out / patch.name)
    print(f"{out}: a cover letter and {len(src.steps)} patches on Linux {src.version}")
