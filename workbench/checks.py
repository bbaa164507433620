"""What must hold for the series and its patches, besides the tests in boots.

Each check takes the patched source and returns a list of (name, ok, detail); ok is None where it could not be done
here, and the detail says why. Detail is empty, or some lines.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from . import build, common, gitcmd, series, source, worktree
from .gitcmd import git
from .targets import CONFIGS, TARGETS

_IDENTITY = ("Workbench", "workbench@example.org")


def _result(name, errors, good=""):
    """One result out of a list of complaints."""
    return name, not errors, "\n".join(errors) if errors else good


def _remembered(src, kind, key, work):
    """The result of work(), or what it gave when it last ran with this key. Only a pass is remembered."""
    stamp = src.builds / "checks" / f"{kind}-{key}"
    if stamp.is_file():
        return []
    errors = work()
    if not errors:
        common.write_atomic(stamp, "")
    return errors


def overlay_owned(src):
    """Each new file in the repository belongs to exactly one step."""
    try:
        steps = series.load()
    except common.Error as e:
        return [("series: each new file is in one step", False, e.msg)]
    return [("series: each new file is in one step", True, f"{len(steps)} steps")]


# -- other 6.12.y --------------------------------------------------------------------------------------------------

def _offered():
    """The versions of Debian's source that apt offers, oldest first."""
    out = common.capture(["apt-cache", "madison", source.PACKAGE], env=os.environ | {"LC_ALL": "C"})
    versions = {line.split("|")[1].strip() for line in out.splitlines() if line.count("|") == 2 and "Packages" in line}
    return sorted(versions, key=lambda v: [int(n) for n in re.findall(r"\d+", v)])


def _tarball(version, where):
    """Writes Debian's tarball of one version to stdout of the process that this returns."""
    if version == source.installed_version() and source.TARBALL.is_file():
        return subprocess.Popen(["cat", source.TARBALL], stdout=subprocess.PIPE)
    debs = list(where.glob("*.deb"))
    if not debs:
        common.check_space(where, 1)
        with common.step(f"downloading {source.PACKAGE} {version}", "a minute"):
            new = where / "download"
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            common.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", f"{source.PACKAGE}={version}"],
                       where / "download.log", what=f"downloading {source.PACKAGE} {version}", cwd=new)
            for deb in new.glob("*.deb"):
                deb.rename(where / deb.name)
        debs = list(where.glob("*.deb"))
    fsys = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", debs[0]], stdout=subprocess.PIPE)
    inner = subprocess.Popen(["tar", "-xOf", "-", f".{source.TARBALL}"], stdin=fsys.stdout, stdout=subprocess.PIPE)
    fsys.stdout.close()
    return inner


def _files_of(version, paths):
    """A Source whose base has only the given paths (those that there are), of one of Debian's versions."""
    where = common.CACHE / "versions" / re.sub(r"[^\w.+-]", "-", version)
    repo = where / ("git-" + common.digest(*paths)[:12])
    if not repo.is_dir():
        where.mkdir(parents=True, exist_ok=True)
        with common.step(f"unpacking {len(paths)} files of {source.PACKAGE} {version}", "half a minute"), \
                tempfile.TemporaryDirectory(dir=where) as tmp:
            files = Path(tmp) / "files"
            files.mkdir()
            top = source.TARBALL.name.removesuffix(".tar.xz")
            packed = _tarball(version, where)
            # tar fails for what is not in the archive, as the files that the series adds.
            common.capture(["tar", "-xJf", "-", "-C", files, "--strip-components=1",
                            *(f"{top}/{p}" for p in ["Makefile", *paths])], stdin=packed.stdout, ok=(0, 2), text=False)
            packed.stdout.close()
            packed.wait()
            new = Path(tmp) / "git"
            source.commit_files(new, files, version)
            new.rename(repo)
    return source.open_repo(repo, f"{source.PACKAGE} {version}")


_ROUND_TRIP = "series: tree then refresh changes nothing on {}"


def applies(src):
    """The series applies without fuzz to the oldest and the newest 6.12.y that apt offers; tree and refresh agree."""
    name = "series: applies without fuzz to {}"
    if shutil.which("apt-cache") is None:
        return [(name.format("the oldest and newest 6.12.y of apt"), None, "no apt on this system")]
    versions = _offered()
    if not versions:
        return [(name.format("the oldest and newest 6.12.y of apt"), None, f"apt offers no {source.PACKAGE}")]
    results = []
    for version in dict.fromkeys((versions[0], versions[-1])):
        try:
            other = _files_of(version, series.changed_files(src))
        except common.Failed as e:
            results.append((name.format(version), None, f"could not be had: {e.msg}"))
            continue
        try:
            series.commits(other)
            left_out = f", {', '.join(other.left_out)} left out" if other.left_out else ""
            results.append((name.format(version), True, f"{len(other.steps)} steps{left_out}"))
        except common.Error as e:
            results.append((name.format(version), False, e.msg))
            continue
        if other.left_out:
            results.append((_ROUND_TRIP.format(other.version), None, "tdp refresh takes no tree that steps are left out of"))
        elif other.version != src.version:
            results += round_trip(other)
    return results


# -- tree, refresh, series -----------------------------------------------------------------------------------------

def _contents(root):
    paths = [*series.overlay(root), *(str(f.relative_to(root)) for f in (root / "series").rglob("*") if f.is_file())]
    return {p: ((root / p).read_bytes(), series.mode_of(root / p)) for p in paths}


def round_trip(src):
    """A tree made of the series and taken back changes no byte, neither as it is nor with other commit hashes."""
    name = _ROUND_TRIP.format(src.version)
    if not src.steps:
        return [(name, True, "no steps yet")]
    with tempfile.TemporaryDirectory(prefix="tdp-check-") as tmp:
        root, tree = Path(tmp) / "repo", Path(tmp) / "tree"
        before = _contents(common.REPO)
        for path, (data, mode) in before.items():
            common.write_atomic(root / path, data, int(mode[3:], 8))
        try:
            worktree.make(tree, src, root, only=series.changed_files(src))
            worktree.refresh(tree, root)
            tip = src.base
            for step, made in src.steps:
                tip = gitcmd.commit(tree / ".git", git(src.repo, "rev-parse", f"{made}^{{tree}}"), [tip], step.message,
                                    _IDENTITY)
            git(None, "reset", "-q", "--hard", tip, cwd=tree)
            worktree.refresh(tree, root)
        except common.Error as e:
            return [(name, False, e.msg)]
        after = _contents(root)
    errors = [f"{p} changed" for p in sorted(before.keys() | after.keys()) if before.get(p) != after.get(p)]
    return [_result(name, errors)]


def git_am(src):
    """The output of `tdp series` goes in by git am on the pristine source and gives the same files and messages."""
    name = f"series: git am applies it to Linux {src.version}"
    if not src.steps:
        return [(name, True, "no steps yet")]
    with tempfile.TemporaryDirectory(prefix="tdp-check-") as tmp:
        tree = Path(tmp) / "tree"
        patches = series.format_patches(src, Path(tmp) / "out", _IDENTITY)
        worktree.make(tree, src, only=series.changed_files(src))
        git(None, "reset", "-q", "--hard", src.base, cwd=tree)
        who = dict(zip(("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"), _IDENTITY))
        try:
            git(None, "am", "-q", *patches[1:], cwd=tree, env=who)
        except common.Error as e:
            return [(name, False, e.msg)]
        made = git(None, "rev-list", "--reverse", f"{src.base}..HEAD", cwd=tree).split()
        errors = []
        if len(made) != len(src.steps):
            errors.append(f"{len(made)} commits for {len(src.steps)} steps")
        sign = f"Signed-off-by: {_IDENTITY[0]} <{_IDENTITY[1]}>\n".encode()
        for rev, (step, commit) in zip(made, src.steps):
            if git(tree / ".git", "rev-parse", f"{rev}^{{tree}}") != git(src.repo, "rev-parse", f"{commit}^{{tree}}"):
                errors.append(f"{step.dir}: other files than the step's")
            got = gitcmd.message(tree / ".git", rev)
            if got not in (step.message + b"\n" + sign, step.message + sign):
                errors.append(f"{step.dir}: git am changes its message")
        return [_result(name, errors, f"{len(made)} patches")]


# What checkpatch says of idioms that it does not know, by type: the files, and why it stays.
_TRACE = r"virt/kvm/mmu/trace\.h$|arch/arm64/kvm/trace_arm\.h$"
_SHIM = r"tools/testing/kvm_tdp/(shim/.*|tdp_deps_user)\.h$"
_CHECKPATCH_EXCEPTIONS = {
    # A loop macro names its iterator in each of the three parts of a for.
    "MACRO_ARG_REUSE": re.compile(r"virt/kvm/mmu/(iter|walk)\.h$|tools/testing/kvm_tdp/map\.c$|" + _SHIM),
    # TRACE_EVENT() looks like this everywhere, and TRACE_INCLUDE_PATH is a path.
    "OPEN_ENDED_LINE": re.compile(_TRACE),
    "PARENTHESIS_ALIGNMENT": re.compile(_TRACE),
    # And _Generic(), in which a colon follows a type.
    "SPACING": re.compile(_TRACE + "|" + _SHIM),
    # Arm's name of a kind of memory is in the name of a macro.
    "CAMELCASE": re.compile(r"arch/arm64/kvm/tdp_s2\.c$|" + _SHIM),
    # The shim has the kernel's names for what it stands in for: types, and macros with arguments of no use there.
    "NEW_TYPEDEFS": re.compile(_SHIM),
    "MACRO_ARG_UNUSED": re.compile(_SHIM),
    "MACRO_ARG_PRECEDENCE": re.compile(_SHIM),
    "PREFER_DEFINED_ATTRIBUTE_MACRO": re.compile(_SHIM),
    # Nor does a barrier say there what it is for.
    "MEMORY_BARRIER": re.compile(_SHIM),
}
_COMPLAINT = re.compile(r"(?:ERROR|WARNING|CHECK):(\w+): .*\n#\d+: FILE: ([^:\n]+):\d+:")


def _complaints(said):
    """What checkpatch printed, without the exceptions. Complaints are paragraphs."""
    kept = []
    for paragraph in said.split("\n\n"):
        match = _COMPLAINT.match(paragraph.lstrip("\n"))
        known = match and _CHECKPATCH_EXCEPTIONS.get(match[1])
        if paragraph.strip() and not (known and known.search(match[2])):
            kept.append(paragraph)
    return "\n\n".join(kept)


def checkpatch(src):
    """checkpatch.pl --strict has nothing to say about any patch, but for _CHECKPATCH_EXCEPTIONS."""
    if not src.steps:
        return []
    script = src.tree / "scripts/checkpatch.pl"
    version = build.tree_key(src, src.base, "scripts/checkpatch.pl", "scripts/spelling.txt", "scripts/const_structs.checkpatch")
    results = []
    with tempfile.TemporaryDirectory(prefix="tdp-check-") as tmp, common.step("checkpatch", f"{2 * len(src.steps)} s"):
        patches = series.format_patches(src, tmp, _IDENTITY)[1:]
        for patch, (step, commit) in zip(patches, src.steps, strict=True):
            def work():
                # Its own directory as the current one: no .checkpatch.conf of the user's.
                done = subprocess.run(["perl", script, f"--root={src.tree}", "--strict", "--quiet", "--no-summary",
                                       "--show-types", "--ignore=FILE_PATH_CHANGES", patch], cwd=tmp, text=True,
                                      stdin=subprocess.DEVNULL, capture_output=True, env=os.environ | {"HOME": tmp})
                said = _complaints(done.stdout) + done.stderr.strip()
                # Status 1: it had something to say, if only what is known.
                return [said or f"checkpatch.pl: status {done.returncode}"] if said or done.returncode > 1 else []
            errors = _remembered(src, "checkpatch", common.digest(commit, version), work)
            results.append(_result(f"checkpatch --strict: {step.dir}", errors))
    return results


# -- builds --------------------------------------------------------------------------------------------------------

# Whose KVM the series changes.
_ARCHS = {arch: TARGETS[target] for arch, target in (("x86", "npt"), ("arm64", "arm64"), ("riscv", "riscv"))}
# Not a part of KVM, and not built with it: see kunit().
_KUNIT = "virt/kvm/mmu/tests"


def _step_archs(step, on_core):
    """Where to build a step: where it has something of the architecture's own; with what is everybody's, where the common
    MMU is in use already."""
    own = {arch for arch in _ARCHS if any(path.startswith(f"arch/{arch}/") for path in step.touched)}
    common_code = any(not path.startswith(("arch/", "tools/", "Documentation/")) for path in step.touched)
    return sorted(own | (on_core if common_code else set()))


def _goals(step, arch):
    """What to build for a step: all of KVM, and on x86 each other source file that the step touches."""
    def elsewhere(path):
        return path.endswith(".c") and not path.startswith(("arch/", "virt/kvm/", "tools/", "Documentation/", "samples/"))
    return [f"arch/{arch}/kvm/",
            *(p[:-2] + ".o" for p in step.touched if arch == "x86" and elsewhere(p) and p not in step.removes)]


def _warnings(log, files):
    """The compiler's complaints in a log that name one of some files, wherever the build ran."""
    found = []
    for line in Path(log).read_text(errors="replace").splitlines():
        m = re.match(r"(?:\./|\.\./)*(\S+?):\d+(?::\d+)?: (?:warning|error|fatal error)", line)
        if m and any(("/" + os.path.normpath(m[1])).endswith("/" + f) for f in files) and line not in found:
            found.append(line)
    return found


def steps_build(src):
    """Each step builds with W=1, with no warning in a file that it touches, and compiles what it adds."""
    if not src.steps:
        return []
    tree = common.CACHE / "work" / f"{src.id}-steps"
    results = []
    tools = {arch: common.digest(build.compiler(target.cross), repr(sorted(build.merged(target.fragments()).items())))
             for arch, target in _ARCHS.items()}
    with common.lock(f"tree-{tree.name}"), common.step(f"building each of {len(src.steps)} steps with W=1",
                                                       "half a minute for each that changed"):
        on_core = {"x86"}
        for step, commit in src.steps:
            on_core |= {arch for arch in _ARCHS if f"arch/{arch}/kvm/Kconfig" in step.touched}
            errors = []
            for arch in _step_archs(step, on_core):
                def work(arch=arch):
                    common.say(f"  {step.dir} ({arch})")
                    return _build_step(src, step, commit, tree, arch)
                key = common.digest(build.kernel_key(src, commit, arch), *step.touched, tools[arch])
                errors += _remembered(src, f"step-{arch}", key, work)
            results.append(_result(f"step builds with W=1: {step.dir}", errors))
    return results


def _build_step(src, step, commit, tree, arch):
    target = _ARCHS[arch]
    out = src.builds / f"steps-{arch}"
    common.check_space(out, 2)
    series.checkout(src, commit, tree)
    # So that they are compiled now, with their warnings in this log, whatever was built before.
    for path in {*step.files, *step.edited}:
        os.utime(tree / path)
        out.joinpath(path).with_suffix(".o").unlink(missing_ok=True)
    log = out.with_name(f"{out.name}-{step.dir}.log")
    try:
        build.configure(src, commit, tree, out, arch, target.cross, target.fragments(), without=("CONFIG_WERROR",))
        common.run([*build.make(tree, out, arch, target.cross, *_goals(step, arch)), "W=1"], log,
                   what=f"building step {step.dir} ({arch})", env=build.environ())
    except common.Failed as e:
        return [e.msg]
    errors = _warnings(log, step.touched)
    built = (f"arch/{arch}/kvm/", *(["virt/kvm/"] if arch == "x86" else []))
    for path in step.files:
        if path.endswith(".c") and path.startswith(built) and not path.startswith(_KUNIT) and \
                not out.joinpath(path).with_suffix(".o").is_file():
            errors.append(f"{path} is not compiled in the step that adds it")
    return errors


# Who else has KVM, which the series must leave as it is: name, make's ARCH, compiler, the directory in arch/.
_OTHERS = (
    ("32-bit x86", "i386", "", "x86"),
    ("MIPS, where mmu_lock is a spinlock,", "mips", "mips64el-linux-gnuabi64-", "mips"),
)


def others_build(src):
    """KVM builds where nothing of the MMU is used."""
    return [_result(f"{name} builds KVM",
                    _remembered(src, arch, _other_key(src, arch, cross, where),
                                 lambda: _build_other(src, arch, cross, f"arch/{where}/kvm/")))
            for name, arch, cross, where in _OTHERS]


def _other_key(src, arch, cross, where):
    return common.digest(build.kernel_key(src, src.commit, where), repr(sorted(build.merged([CONFIGS / f"{arch}.config"]).items())),
                         build.compiler(cross))


def _build_other(src, arch, cross, goal):
    out = src.builds / arch
    common.check_space(out, 1)
    with common.lock(f"tree-{src.id}"), common.step(f"building KVM for {arch}", "2 minutes"):
        series.checkout(src, src.commit, src.tree)
        try:
            build.configure(src, src.commit, src.tree, out, arch, cross, [CONFIGS / f"{arch}.config"])
            common.run(build.make(src.tree, out, arch, cross, goal), out.with_name(f"{arch}.log"), what=f"building {goal}",
                       env=build.environ())
        except common.Failed as e:
            return [e.msg]
    return _warnings(out.with_name(f"{arch}.log"), series.changed_files(src))


def sparse(src):
    """sparse says nothing about the new .c files, on each architecture that has some."""
    new = sorted(path for step, _ in src.steps for path in step.files
                 if path.endswith(".c") and not path.startswith(_KUNIT))
    results = []
    for arch, target in _ARCHS.items():
        files = [p for p in new if p.startswith(f"arch/{arch}/kvm/") or (arch == "x86" and p.startswith("virt/kvm/"))]
        if not files:
            continue
        key = common.digest(build.kernel_key(src, src.commit, arch), *files, build.compiler(target.cross),
                            repr(sorted(build.merged(target.fragments()).items())))
        errors = _remembered(src, f"sparse-{arch}", key, lambda: _run_sparse(src, arch, target, files))
        results.append(_result(f"sparse: the new files of {arch}", errors, f"{len(files)} files"))
    return results


def _run_sparse(src, arch, target, files):
    # C=2 checks every object of the directory; upstream's own are not the question.
    only = src.builds / f"sparse-{arch}"
    seen = only.with_name(f"{only.name}.seen")
    patterns = "|".join(f"*/{f}" for f in files)
    common.write_atomic(only, "#!/bin/sh\n# Runs sparse on some files only; the last argument is the file.\nn=$#\n"
                        # Debian 12's sparse does not know the extensions that gcc is told of.
                        "for arg; do case $arg in (-march=*) ;; (*) set -- \"$@\" \"$arg\" ;; esac; done\n"
                        "shift $n\nfor file; do :; done\nfile=$(realpath \"$file\")\n"
                        f"case $file in\n({patterns}) echo \"$file\" >>{seen}; exec sparse \"$@\";;\nesac\n", 0o755)
    seen.unlink(missing_ok=True)
    build.kernel(src, target)
    log = src.builds / f"sparse-{arch}.log"
    with common.lock(f"tree-{src.id}"), common.step(f"sparse on {len(files)} files ({arch})", "half a minute"):
        series.checkout(src, src.commit, src.tree)
        try:
            common.run([*build.make(src.tree, src.builds / arch, arch, target.cross, f"arch/{arch}/kvm/"),
                        "C=2", f"CHECK={only}"], log, what="sparse", env=build.environ())
        except common.Failed as e:
            return [e.msg]
    checked = common.read_or(seen)
    errors = [f"{f} was not checked: it is not compiled" for f in files if f"/{f}\n" not in checked]
    return errors + [line for line in log.read_text(errors="replace").splitlines()
                     if re.search(r": (warning|error|note): ", line)]


def kunit(src):
    """The KUnit tests pass on User Mode Linux; W=1 and sparse have nothing to say about them."""
    if not (common.REPO / _KUNIT).is_dir():
        return []
    out = src.builds / "um"
    log = out.with_name("kunit.log")
    key = common.digest(build.kernel_key(src, src.commit, "um"), build.tree_key(src, src.commit, "tools/testing/kunit"),
                        build.compiler(""))
    # It finds its own modules by where it lies.
    env = {k: v for k, v in build.environ().items() if k != "PYTHONSAFEPATH"}

    def work():
        common.check_space(out, 1)
        with common.lock(f"tree-{src.id}"), common.step("KUnit tests on User Mode Linux", "4 minutes"):
            series.checkout(src, src.commit, src.tree)
            try:
                common.run([sys.executable, "tools/testing/kunit/kunit.py", "run", f"--build_dir={out}",
                            f"--kunitconfig={_KUNIT}", f"--jobs={common.JOBS}"], log,
                           what="kunit.py", timeout=3600, env=env, cwd=src.tree)
                common.run(["make", f"O={out}", "ARCH=um", f"-j{common.JOBS}", "W=1", "C=2", f"{_KUNIT}/"],
                           out.with_name("kunit-sparse.log"), what="sparse on the KUnit tests", env=env, cwd=src.tree)
            except common.Failed as e:
                return [e.msg]
        return _warnings(out.with_name("kunit-sparse.log"), series.changed_files(src))
    errors = _remembered(src, "kunit", key, work)
    ran = re.search(r"Ran \d+ tests: .*", common.read_or(log) or "")
    return [_result("KUnit: the tests pass on User Mode Linux", errors, ran[0] if ran else "")]


# What Sphinx says of unpatched documents, too.
_DOCS_EXCEPTIONS = {"Documentation/virt/kvm/api.rst": "Malformed table"}


def docs(src):
    """KVM's documents build without a complaint about a file that the series touches; so does the new files' kernel-doc."""
    name = "docs: KVM's documents and the new files' kernel-doc are clean"
    files = [f for f in series.changed_files(src) if f.endswith((".rst", ".h", ".c"))]
    if not any(f.endswith(".rst") for f in files):
        return []
    if shutil.which("sphinx-build") is None:
        return [(name, None, "sphinx-build is missing")]
    commented = sorted(f for step in series.load() for f in step.files if f.endswith((".c", ".h")))
    key = common.digest(build.tree_key(src, src.commit, "Documentation", "scripts", *commented), *files,
                        common.capture(["sphinx-build", "--version"]))

    def work():
        out = src.builds / "docs"
        log = out.with_name("docs.log")
        with common.lock(f"tree-{src.id}"), common.step("building KVM's documents", "half a minute"):
            series.checkout(src, src.commit, src.tree)
            shutil.rmtree(out, ignore_errors=True)
            try:
                common.run([*build.make(src.tree, out, "x86", "", "htmldocs"), "SPHINXDIRS=virt/kvm"], log,
                           what="building KVM's documents", env=build.environ())
            except common.Failed as e:
                return [e.msg]
        errors = []
        for line in log.read_text(errors="replace").splitlines():
            m = re.match(r"(?:\./)?(\S+?\.(?:rst|[ch])):\d*:? ?(.*)", line.replace(f"{src.tree.resolve()}/", ""))
            if m and m[1] in files and _DOCS_EXCEPTIONS.get(m[1], "\n") not in m[2]:
                errors.append(line)
        made = out / "Documentation/output/virt/kvm"
        errors += [f"{f} was not built" for f in files if f.startswith("Documentation/virt/kvm/") and f.endswith(".rst")
                   and not list(made.rglob(Path(f).with_suffix(".html").name))]
        said = subprocess.run(["perl", src.tree / "scripts/kernel-doc", "-none", *commented], cwd=src.tree,
                              text=True, stdin=subprocess.DEVNULL, capture_output=True)
        return errors + said.stderr.splitlines()
    return [_result(name, _remembered(src, "docs", key, work))]


# -- tests on the host -----------------------------------------------------------------------------------------------

def _ktap(text):
    """The test points of KTAP output; of those with subtests, only the subtests count."""
    results, notes, last, planned = [], [], -1, {}
    for line in text.splitlines():
        if m := re.match(r"( *)(ok|not ok) (\d+)(?: -)? ?(.*?)(?: *# *(.*))?$", line):
            depth, planned[len(m[1])] = len(m[1]), planned.get(len(m[1]), 0) - 1
            if depth >= last or m[2] == "not ok" and all(ok is not False for _, ok, _ in results):
                skip = m[2] == "ok" and (m[5] or "").upper().startswith("SKIP")
                results.append((f"host: {m[4]}", None if skip else m[2] == "ok",
                                m[5][4:].strip(" :") if skip else "" if m[2] == "ok" else "\n".join(notes)))
            last, notes = depth, []
        elif m := re.match(r"( *)1\.\.(\d+)", line):
            planned[len(m[1])] = planned.get(len(m[1]), 0) + int(m[2])
        elif line.strip():
            notes = [*notes[-19:], line]
    if any(planned.values()):
        results.append(("host: plan", False, "another number of test points than planned: a test program died"))
    return results


def host_tests(src):
    """The user-space harness, and the sabotages that it must catch: each KTAP test point is a result."""
    place = common.REPO / "tools/testing/kvm_tdp"
    if not place.is_dir():
        return []
    key = _host_key(place)
    # The model is upstream's, not ours; without a herd7 the tests' own scheduler does it.
    model = f"LKMM={src.tree / 'tools/memory-model'}"
    return _host_run(place, "check", "tests on the host", "3 minutes") + \
        _host_run(place, "litmus", "litmus tests", "some seconds", None, model) + \
        _host_run(place, "tsan", "operations in threads under ThreadSanitizer", "half a minute") + \
        _host_run(place, "mutants", "sabotages of the code on the host", "5 minutes", key)


def _host_key(place):
    """Changes with anything that the tests on the host are made of."""
    parts = [place, common.REPO / "virt/kvm/mmu", *common.REPO.glob("arch/*/kvm/tdp_pgtable.h"),
             *common.REPO.glob("include/trace/events/kvm_tdp*")]
    files = sorted(f for part in parts for f in ([part] if part.is_file() else part.rglob("*")) if f.is_file())
    return common.digest(build.compiler(""), *(f"{f.relative_to(common.REPO)}".encode() + b"\0" + f.read_bytes() for f in files))


def _host_run(place, goal, title, about, key=None, *variables):
    """Runs a goal of the tests on the host, unless it passed with this key already."""
    out = common.CACHE / "host"
    out.mkdir(parents=True, exist_ok=True)
    log = common.CACHE / f"host-{goal}.log"
    passed = out / f"{goal}.passed"
    if key and common.read_or(passed) == key and log.is_file():
        common.say(f"{title}: passed before, and nothing has changed")
        return _ktap(log.read_text(errors="replace"))
    passed.unlink(missing_ok=True)
    failed = None
    with common.step(title, about):
        try:
            common.run(["make", "-C", place, f"-j{common.JOBS}", "--no-print-directory", f"O={out}", goal,
                        *variables], log,
                       what=f"make {goal} in tools/testing/kvm_tdp", timeout=1800, env=build.environ())
        except common.Error as e:
            failed = e.msg
    results = _ktap(log.read_text(errors="replace"))
    if failed and all(ok is not False for _, ok, _ in results):
        results.append((f"host: make {goal}", False, failed))
    elif not results:
        results.append((f"host: make {goal}", False, f"no test was run; its output: {log}"))
    if key and all(ok is not False for _, ok, _ in results):
        common.write_atomic(passed, key)
    return results


class _Points(unittest.TestResult):
    """Each test as a point."""

    def __init__(self):
        super().__init__()
        self.points = []

    def addSuccess(self, test):
        self.points.append((f"host: {test.id()}", True, ""))

    def addFailure(self, test, err):
        self.points.append((f"host: {test.id()}", False, self._exc_info_to_string(err, test)))

    addError = addFailure


def workbench_tests(src):
    """Of the simulator and the pages of what was measured."""
    points = _Points()
    with common.step("tests of the workbench", "a minute"):
        unittest.defaultTestLoader.loadTestsFromNames(
            [f"workbench.tests.{name}" for name in ("test_simulate", "test_page", "test_migrated")]).run(points)
    return points.points


# In this order: what is quick and says most comes first.
HOST = (workbench_tests, host_tests)
SERIES = (overlay_owned, round_trip, git_am, applies, checkpatch, docs, kunit, steps_build, others_build, sparse)
