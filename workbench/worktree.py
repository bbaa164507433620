"""tdp tree and tdp refresh: the series as commits of a git work tree to edit, and back.

A tree remembers in .git/tdp.json what it was made from: the base, the commit of each step, and a hash of each file of
the repository that went into them. So refresh can tell an edit made in the tree from one made in the repository.
"""

import hashlib
import json
import re
import shutil
import signal
import tempfile
from pathlib import Path

from . import common, gitcmd, series, source
from .common import die
from .gitcmd import git


def _place(args):
    return Path(args.dir).expanduser().absolute() if args.dir else common.CACHE / "tree"


def _sha(path):
    """What the repository's file holds, with its mode; None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() + series.mode_of(path)[3:]
    except FileNotFoundError:
        return None


def _series_files(root, name):
    return [f"series/{name}/{part}" for part in series.PARTS if (root / "series" / name / part).exists()]


def _snapshot(src, root):
    """What a tree that is made now is made from."""
    paths = [p for step, _ in src.steps for p in (*_series_files(root, step.dir), *step.files)]
    return {"version": src.version, "base": src.base, "steps": [[s.dir, c] for s, c in src.steps],
            "files": {p: _sha(root / p) for p in paths}}


def _info(tree):
    """What a tree was made from, or None where it is none of ours."""
    try:
        return json.loads((tree / ".git/tdp.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _tip(info):
    return info["steps"][-1][1] if info["steps"] else info["base"]


def _require_settled(tree):
    """The commit of branch tdp, or an error if the tree holds anything that is no commit of it."""
    for state in ("rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"):
        if (tree / ".git" / state).exists():
            die(f"{tree} is in the middle of a rebase, merge or pick: finish or abort it first")
    branch = git(None, "symbolic-ref", "-q", "--short", "HEAD", cwd=tree, ok=(0, 1))
    if branch != "tdp":
        die(f"{tree} is on {'branch ' + branch if branch else 'no branch'}: `git checkout tdp` first")
    dirty = git(None, "status", "--porcelain", cwd=tree)
    if dirty:
        first = dirty.split("\n")[0][3:]
        die(f"{tree} has changes that are not committed ({first}{', ...' if chr(10) in dirty else ''}):"
            " commit them (amend or rebase the step they belong to) or remove them first")
    return git(None, "rev-parse", "HEAD", cwd=tree)


def tree_cmd(args):
    """tdp tree [DIR]"""
    tree = _place(args)
    with common.lock("user-tree"):
        make(tree, series.commits(source.get(args)))


def make(tree, src, root=common.REPO, only=None):
    """Makes or updates a work tree with branch tdp. only: a list of files to check out, for the checks."""
    info = _info(tree)
    git(src.repo, "update-ref", "refs/heads/tdp", src.commit)
    if info is None:
        if tree.exists() and (not tree.is_dir() or any(tree.iterdir())):
            die(f"{tree} exists and is not a tree that tdp made: name an empty or new directory")
        _clone(tree, src, root, only)
        what = "made"
    else:
        what = "moved" if _update(tree, info, src, root) else "is as the repository has it"
    if only is None:
        print(f"{tree}: {what}: branch tdp, {len(src.steps)} commits on Linux {src.version} (branch base)\n"
              f"edit and amend or rebase there, then: tdp refresh{'' if tree == common.CACHE / 'tree' else f' {tree}'}")


def _clone(tree, src, root, only):
    if only is None:
        common.check_space(tree, 3)
    new = tree.with_name(f".{tree.name}.tdp-new")
    shutil.rmtree(new, ignore_errors=True)
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        git(None, "clone", "-q", "--no-checkout", "--branch", "tdp", src.repo, new)
        git(None, "branch", "-q", "--no-track", "-f", "base", src.base, cwd=new)
        git(None, "remote", "remove", "origin", cwd=new)
        git(None, "config", "core.autocrlf", "false", cwd=new)
        if only is not None:
            git(None, "config", "core.sparseCheckout", "true", cwd=new)
            (new / ".git/info").mkdir(exist_ok=True)
            (new / ".git/info/sparse-checkout").write_text("".join(f"/{p}\n" for p in only))
            git(None, "read-tree", "-mu", src.commit, cwd=new)
        else:
            with common.step(f"checking out {tree}", "half a minute"):
                git(None, "checkout", "-q", "-f", "tdp", cwd=new)
        common.write_atomic(new / ".git/tdp.json", json.dumps(_snapshot(src, root), indent=1))
        new.rename(tree)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _update(tree, info, src, root):
    """Moves a tree to what the repository has now, unless that would lose something. Whether it moved."""
    head = _require_settled(tree)
    if head != _tip(info) and head != src.commit and not _same_effect(tree, info["base"], head, src):
        die(f"{tree} has commits that are not in the repository: `tdp refresh {tree}` takes them back;"
            " or name another directory")
    moved = head != src.commit
    if moved:
        git(None, "fetch", "-q", "--no-tags", src.repo, "refs/heads/tdp", cwd=tree)
        git(None, "checkout", "-q", "-B", "tdp", src.commit, cwd=tree)
        git(None, "branch", "-q", "-f", "base", src.base, cwd=tree)
    common.write_atomic(tree / ".git/tdp.json", json.dumps(_snapshot(src, root), indent=1))
    return moved


def _same_effect(tree, base, head, src):
    """Whether the tree's commits are those of the repository, but for their hashes."""
    def effects(gitdir, rev_base, revs):
        return [(git(gitdir, "rev-parse", f"{r}^{{tree}}"), series.normal_message(gitcmd.message(gitdir, r)))
                for r in [rev_base, *revs]]
    gitdir = tree / ".git"
    revs = git(gitdir, "rev-list", "--reverse", f"{base}..{head}").split()
    return effects(gitdir, base, revs) == effects(src.repo, src.base, [c for _, c in src.steps])


class _Commit:
    """A commit of the tree and what it does to its parent."""

    def __init__(self, gitdir, rev, parent):
        self.gitdir, self.rev, self.parent = gitdir, rev, parent
        self.message = series.normal_message(gitcmd.message(gitdir, rev))
        self.subject = self.message.decode(errors="replace").split("\n", 1)[0]
        self.name = f"commit {rev[:12]} ({self.subject})"
        self.added, self.changed, self.removed = {}, {}, []
        raw = gitcmd.nul_list(git(gitdir, "diff-tree", "-r", "-z", "--raw", "--no-renames", parent, rev, text=False))
        for fields, path in zip(raw[::2], raw[1::2]):
            _, mode, _, blob, status = fields.split()
            if status == "D":
                self.removed.append(path)
                continue
            if mode not in ("100644", "100755"):
                die(f"{self.name}: {path} is no ordinary file")
            (self.added if status == "A" else self.changed)[path] = (mode, blob)

    @property
    def touched(self):
        return {*self.added, *self.changed, *self.removed}

    def edits(self):
        if not self.changed:
            return None
        # Little context, so that the edits fit every 6.12.y; the check `applies` watches over it.
        diff = git(self.gitdir, "diff", "-U1", "--no-renames", "--no-ext-diff", "--no-textconv",
                   self.parent, self.rev, "--", *(f":(literal){p}" for p in self.changed), text=False)
        # Hashes of upstream's files say nothing to a reader and differ between 6.12.y.
        return re.sub(rb"(?m)^index [0-9a-f]+\.\.[0-9a-f]+( \d+)?\n", b"", diff)

    def patch_id(self):
        """The edits but for line numbers."""
        return re.sub(rb"(?m)^@@ .*$", b"", self.edits() or b"")


def _commits(gitdir, base, head):
    """The commits of a tree from its base, checked: what they do can be kept as steps."""
    lines = [line.split() for line in git(gitdir, "rev-list", "--reverse", "--topo-order", "--parents",
                                          f"{base}..{head}").splitlines()]
    parent, made, adder = base, [], {}
    if git(gitdir, "merge-base", base, head, ok=(0, 1)) != base:
        die(f"branch tdp does not start at its base any more (branch base, {base[:12]}): rebase it onto that")
    for rev, *parents in lines:
        if parents != [parent]:
            die(f"commit {rev[:12]} is a merge, or branch tdp is not linear: rebase it onto branch base")
        c = _Commit(gitdir, rev, parent)
        if not c.touched:
            die(f"{c.name} changes nothing: drop it")
        for path in c.added:
            if not path.startswith(tuple(r + "/" for r in series.ROOTS)):
                die(f"{c.name} adds {path}: the repository keeps new files only under {', '.join(series.ROOTS)}")
        for path in {*c.changed, *c.removed} & adder.keys():
            die(f"{c.name} changes {path}, which {adder[path].name} adds: squash it into that one")
        adder.update(dict.fromkeys(c.added, c))
        made.append(c)
        parent = rev
    return made


def _match(new, old):
    """For each new commit the index of the step that it was, or None."""
    found = [None] * len(new)
    left = set(range(len(old)))

    def by(same):
        for i, c in enumerate(new):
            if found[i] is None:
                # Of several, the nearest to where the one before it was.
                after = next((found[j] for j in range(i - 1, -1, -1) if found[j] is not None), -1)
                hits = [k for k in left if same(c, old[k])]
                if hits:
                    found[i] = min(hits, key=lambda k: (k < after, abs(k - after)))
                    left.discard(found[i])
    by(lambda c, o: c.rev == o.rev)
    by(lambda c, o: c.message == o.message)
    by(lambda c, o: c.subject == o.subject)
    by(lambda c, o: not c.added.keys().isdisjoint(o.added))
    by(lambda c, o: c.touched == o.touched)
    return found


def _slug(subject):
    words = re.findall(r"[a-z0-9]+", subject.split(": ")[-1].lower())
    slug = ""
    for word in words:
        if slug and len(slug) + len(word) > 36:
            break
        slug += ("-" if slug else "") + word
    return slug or "step"


def _names(found, dirs, subjects):
    """The directory of each new step; they are numbered anew only if steps came, went or moved."""
    if found == list(range(len(dirs))):
        return list(dirs)
    width = max(2, len(str(len(found))))
    slugs = [_slug(s) if k is None else dirs[k].split("-", 1)[1] for k, s in zip(found, subjects)]
    return [f"{i:0{width}}-{slug}" for i, slug in enumerate(slugs, 1)]


class _Taker:
    """Decides file by file what refresh writes: path to (bytes, mode), or to None where the file goes."""

    def __init__(self, info, root):
        self.info, self.root = info, root
        self.writes, self.clashes, self.ahead = {}, [], []

    def edited_here(self, path):
        """Whether the repository's file is no more what the tree was made from."""
        return _sha(self.root / path) != self.info["files"].get(path)

    def take(self, path, content, changed, mode="100644"):
        """The tree has content for path; changed: that is not what the tree was made with."""
        sha = None if content is None else hashlib.sha256(content).hexdigest() + mode[3:]
        if _sha(self.root / path) == sha:
            return
        if not changed:
            if self.edited_here(path):
                self.ahead.append(path)
        elif self.edited_here(path):
            self.clashes.append(path)
        else:
            self.writes[path] = None if content is None else (content, mode)


def _listing(paths):
    return "".join(f"{p}\n" for p in sorted(paths)).encode() if paths else None


def _take_step(taker, index, c, o, dir):
    """Takes commit c back to the step in series/<dir>; o is the commit that the step was, or None."""
    at = f"series/{dir}"
    taker.take(f"{at}/message", c.message, o is None or c.message != o.message)
    taker.take(f"{at}/files", _listing(c.added), o is None or c.added.keys() != o.added.keys())
    taker.take(f"{at}/removes", _listing(c.removed), o is None or c.removed != o.removed)
    path = f"{at}/edits.patch"
    same = o is not None and (c.rev == o.rev or taker.edited_here(path) and c.patch_id() == o.patch_id())
    if not same and _gives(index, c, common.read_or(taker.root / path).encode()):
        return      # though its line numbers may be those of another 6.12.y
    taker.take(path, c.edits(), not same)


def _gives(index, c, edits):
    """Whether a patch does to the commit's parent just what the commit does to existing files."""
    if set(series.edited_files(edits)) != c.changed.keys():
        return False
    if not edits:
        return True
    index.read(c.parent)
    index.at = None
    try:
        index.apply(edits)
    except common.Error:
        return False
    got = index.git("ls-files", "-s", "--", *(f":(literal){p}" for p in c.changed)).splitlines()
    return {line.split("\t")[1]: tuple(line.split()[:2]) for line in got} == c.changed


def refresh_cmd(args):
    """tdp refresh [DIR]"""
    tree = _place(args)
    with common.lock("user-tree"):
        for line in refresh(tree):
            print(line)


def refresh(tree, root=common.REPO):
    """Takes the commits of a tree back into the repository; returns lines that say what changed."""
    info = _info(tree)
    if info is None:
        die(f"{tree} is not a tree that tdp made: `tdp tree {tree}` makes one")
    head = _require_settled(tree)
    if head == _tip(info):
        return [f"{tree}: no new commits; the repository is as it was"]
    # Complains now about what is wrong in the repository itself.
    if left_out := [step.dir for step in series.load(root) if not step.fits(info["version"])]:
        die(f"{tree} is of Linux {info['version']}, which is too old for {', '.join(left_out)}:"
            " work on a tree of a later source")
    dirs = [d for d, _ in info["steps"]]
    if series.step_dirs(root) != dirs:
        odd = sorted(set(dirs) ^ set(series.step_dirs(root)))
        die(f"steps were added to or removed from the repository's series/ since {tree} was made ({', '.join(odd)}):"
            " put that aside, refresh, then bring it back")
    gitdir = tree / ".git"
    new = _commits(gitdir, info["base"], head)
    parents = [info["base"], *(c for _, c in info["steps"])]
    old = [_Commit(gitdir, c, p) for (_, c), p in zip(info["steps"], parents)]
    found = _match(new, old)
    names = _names(found, dirs, [c.subject for c in new])

    taker = _Taker(info, root)
    steps = []              # (name, what it was called, its writes in series/)
    with series.Index(gitdir) as index:
        for c, k, name in zip(new, found, names):
            was = None if k is None else dirs[k]
            _take_step(taker, index, c, None if k is None else old[k], was or f".new-{name}")
            steps.append((name, was))
    for k in set(range(len(old))) - set(found):
        for path in _series_files(root, dirs[k]):
            taker.take(path, None, True)
    before = {p: v for o in old for p, v in o.added.items()}
    after = {p: v for c in new for p, v in c.added.items()}
    for path in sorted(before.keys() | after.keys()):
        mode, blob = after.get(path, ("100644", None))
        content = None if blob is None else git(gitdir, "cat-file", "blob", blob, text=False)
        taker.take(path, content, before.get(path) != after.get(path), mode)
    if taker.clashes:
        die(f"changed both in the repository (since the tree was made) and in {tree}: {', '.join(taker.clashes)};"
            " nothing was changed: bring the two together by hand")

    with tempfile.TemporaryDirectory(prefix="tdp-refresh-") as stage:
        stage = Path(stage)
        _stage(root, stage, steps, taker)
        src = source.Source(tree.name, gitdir, info["base"], info["version"])
        _verify(src, stage, new, taker)
        lines = _write(root, stage)
    files = {p: _sha(root / p) for n in names for p in _series_files(root, n)} | {p: _sha(root / p) for p in after}
    for path in taker.ahead:        # still only in the repository: not what the tree holds
        files[_renamed(path, steps)] = info["files"].get(path)
    common.write_atomic(gitdir / "tdp.json", json.dumps(
        info | {"steps": [[n, c.rev] for n, c in zip(names, new)], "files": files}, indent=1))
    lines = lines or ["the commits are what the repository has already; nothing changed"]
    if taker.ahead:
        lines.append(f"the repository is ahead of {tree} in {', '.join(taker.ahead)}: `tdp tree {tree}` brings that there")
    return lines


def _renamed(path, steps):
    for name, was in steps:
        if path.startswith(f"series/{was}/"):
            return f"series/{name}/{path.rsplit('/', 1)[1]}"
    return path


def _stage(root, stage, steps, taker):
    """Lays the repository's kernel part out in stage as it will be."""
    for path in series.overlay(root):
        (stage / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, stage / path)
    (stage / "series").mkdir()
    for entry in (root / "series").iterdir():
        if not entry.is_dir():
            shutil.copy2(entry, stage / "series" / entry.name)
    for name, was in steps:
        if was:
            shutil.copytree(root / "series" / was, stage / "series" / name)
        else:
            (stage / "series" / name).mkdir()
    place = {was or f".new-{name}": name for name, was in steps}
    for path, what in taker.writes.items():
        if path.startswith("series/"):
            _, was, part = path.split("/")
            if was not in place:
                continue        # of a step that goes
            path = f"series/{place[was]}/{part}"
        if what is None:
            (stage / path).unlink()
        else:
            common.write_atomic(stage / path, what[0], int(what[1][3:], 8))


def _verify(src, stage, new, taker):
    """The staged repository must give the tree's commits again, before anything is written."""
    series.commits(src, stage)
    if taker.ahead:
        return
    def effect(rev):
        return git(src.repo, "rev-parse", f"{rev}^{{tree}}"), series.normal_message(gitcmd.message(src.repo, rev))
    for c, (step, made) in zip(new, src.steps, strict=True):
        if effect(c.rev) != effect(made):
            die(f"{c.name} and the step made of it differ (a bug of tdp refresh); nothing was changed")


def _write(root, stage):
    """Makes the repository what the stage is; files that are the same are not touched. Returns what it did."""
    def under(top):
        paths = {p for p in series.overlay(root)} if top == root else \
            {str(f.relative_to(top)) for r in series.ROOTS for f in (top / r).rglob("*") if f.is_file()}
        return paths | {str(f.relative_to(top)) for f in (top / "series").rglob("*") if f.is_file()}
    have, want = under(root), under(stage)
    lines = []
    # No half of a refresh: signals wait until all is written.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        for path in sorted(want):
            if _sha(root / path) != _sha(stage / path):
                lines.append(f"{'changed' if path in have else 'new':8} {path}")
                common.write_atomic(root / path, (stage / path).read_bytes(), (stage / path).stat().st_mode & 0o777)
        for path in sorted(have - want):
            lines.append(f"{'removed':8} {path}")
            (root / path).unlink()
            for parent in (root / path).parents:
                if parent == root or any(parent.iterdir()):
                    break
                parent.rmdir()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return lines
