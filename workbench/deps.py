"""The packages that a command needs: installed when we may, named when we may not."""

import os
import re
import shutil
from pathlib import Path

from . import common
from .common import die, say

LIST = Path(__file__).resolve().parent / "packages"
SECURITY = Path("/etc/apt/sources.list.d/tdp-security.sources")
_APT = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=600"]


def wanted(groups):
    """The lines of the package list that belong to some groups: (alternatives, program or file)."""
    lines = [line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return [(package.split("|"), program) for group, package, program in lines if group in groups]


def ensure(groups):
    """Returns when every package of the groups is there; installs what is missing, or says exactly what is."""
    needs = wanted(groups)
    if shutil.which("dpkg-query") and shutil.which("apt-get"):
        _ensure_debian(needs)
    else:
        _ensure_elsewhere(needs)


def _ensure_elsewhere(needs):
    missing = [program for _, program in needs if program != "-" and not
               (Path(program).exists() if program.startswith("/") else shutil.which(program))]
    if missing:
        die("this is not Debian; install these first (by whatever package your system has them in): "
            + " ".join(missing))


def _installed(names):
    """Those of the packages that are installed."""
    out = common.capture(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names], ok=(0, 1))
    return {line.split()[0] for line in out.splitlines() if line.endswith(" installed")}


def _candidates(names):
    """Those of the packages that apt could install now."""
    out = common.capture(["apt-cache", "policy", *names], env=os.environ | {"LC_ALL": "C"})
    return {m[1] for m in re.finditer(r"^(\S+?)(?::\w+)?:\n  Installed: .*\n  Candidate: (?!\(none\))", out, re.M)}


def _missing(needs):
    have = _installed([name for names, _ in needs for name in names])
    return [names for names, _ in needs if not have.intersection(names)]


def _choose(missing, available):
    """For each need the first of its alternatives that is available; then the needs with none."""
    chosen, lost = [], []
    for names in missing:
        can = [name for name in names if name in available]
        chosen += can[:1]
        lost += [] if can else ["|".join(names)]
    return chosen, lost


def _apt(*args):
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    common.run([*_APT, *args], common.CACHE / f"apt-{args[0]}.log", what=f"apt-get {args[0]}", env=env)


def _ensure_debian(needs):
    missing = _missing(needs)
    if not missing:
        return
    names = [name for alternatives in missing for name in alternatives]
    chosen, lost = _choose(missing, _candidates(names))
    if os.geteuid() != 0:
        line = " ".join(chosen + [alternatives.split("|")[-1] for alternatives in lost])
        hint = f" (apt knows no {', '.join(lost)}: `apt-get update` first; {_BY_HAND})" if lost else ""
        die(f"packages are missing; as root: apt-get install --no-install-recommends {line}{hint}")
    updated = False
    if lost:
        with common.step("updating the package lists", "half a minute"):
            _apt("update")
        updated = True
        chosen, lost = _choose(missing, _candidates(names))
    if lost:
        _add_security(lost)
        chosen, lost = _choose(missing, _candidates(names))
    if lost:
        die(f"apt has no package {', '.join(lost)}; {_BY_HAND}")
    with common.step(f"installing {len(chosen)} packages: {' '.join(chosen)}", "2 minutes and the download"):
        try:
            _apt("install", "--no-install-recommends", *chosen)
        except common.Failed:
            if updated:
                raise
            # Old package lists name versions that the mirror has no more.
            _apt("update")
            _apt("install", "--no-install-recommends", *chosen)


_BY_HAND = "Debian 12 and 13 have them all, Debian 12 some only in its security suite (bookworm-security main): " \
           "add it to apt's sources, and for linux-source-6.12 --src DIR does as well"


def _sources():
    """apt's sources as (URI, suites, components, Signed-By)."""
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for f in files:
        text = common.read_or(f)
        if f.suffix == ".list":
            for m in re.finditer(r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)[ \t]+(.*)$", text, re.M):
                signed = re.search(r"signed-by=(\S+)", m[1] or "", re.I)
                yield m[2], [m[3]], m[4].split(), signed and signed[1]
        elif f.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = {m[1].lower(): m[2] for m in re.finditer(r"^([\w-]+):[ \t]*(\S.*)$", stanza, re.M)}
                if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no":
                    for uri in fields.get("uris", "").split():
                        yield uri, fields.get("suites", "").split(), fields.get("components", "").split(), \
                            fields.get("signed-by")


def _add_security(lost):
    """Adds the security and updates suites of the mirror that apt uses, for what is only there."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', common.read_or("/etc/os-release"), re.M))
    codename = release.get("VERSION_CODENAME", "")
    known = list(_sources())
    main = [s for s in known if codename in s[1] and "main" in s[2] and re.search(r"/debian(/|$)", s[0])]
    suites = {suite for s in known for suite in s[1]}
    if release.get("ID") != "debian" or not main or f"{codename}-security" in suites:
        return
    uri, _, _, signed = main[0]
    signed = signed or "/usr/share/keyrings/debian-archive-keyring.gpg"
    stanzas = [(re.sub(r"/debian(?=/|$)", "/debian-security", uri), f"{codename}-security")]
    if f"{codename}-updates" not in suites:
        stanzas.append((uri, f"{codename}-updates"))
    say(f"apt knows no {', '.join(lost)}: adding {' and '.join(s for _, s in stanzas)} of the same mirror ({SECURITY})")
    common.write_atomic(SECURITY, "\n".join(
        f"Types: deb\nURIs: {at}\nSuites: {suite}\nComponents: main\nSigned-By: {signed}\n" for at, suite in stanzas))
    try:
        with common.step("updating the package lists", "half a minute"):
            _apt("update", "-o", "APT::Update::Error-Mode=any")
    except BaseException as e:
        SECURITY.unlink(missing_ok=True)
        if isinstance(e, common.Failed):
            die(f"the mirror has no {stanzas[0][1]} at {stanzas[0][0]} (see {e.log}); {_BY_HAND}")
        raise
