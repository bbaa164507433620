"""What every part of the workbench shares: places, errors, progress, processes, locks."""

import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


def _cache():
    own = os.environ.get("TDP_CACHE")
    if own:
        return Path(own).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache").absolute() / "kvm-tdp"


CACHE = _cache()
JOBS = len(os.sched_getaffinity(0))


class Error(SystemExit):
    """What a user can do something about. Uncaught, Python prints it and exits 1."""

    def __init__(self, msg, status=1):
        super().__init__(f"tdp: {msg}")
        self.msg = msg
        self.status = status

    def __str__(self):
        return self.msg


def die(msg, status=1):
    raise Error(msg, status)


def say(msg):
    """One line of progress. Results go to stdout, progress goes to stderr."""
    # In one piece: boots run beside each other.
    sys.stderr.write(f"tdp: {msg}\n")
    sys.stderr.flush()


def took(seconds):
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60:02} s"


@contextlib.contextmanager
def step(title, about=""):
    """A long step: one line when it starts (about: how long it takes), one when it is done."""
    say(f"{title} ..." + (f" (about {about})" if about else ""))
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{title}: stopped after {took(time.monotonic() - start)}")
        raise
    say(f"{title}: done in {took(time.monotonic() - start)}")


def stop_group(proc):
    """Ends a process started in its own group, and all that it started."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(proc.pid, sig)
        with contextlib.suppress(subprocess.TimeoutExpired):
            proc.wait(timeout=10)
            return


def last_lines(path, count=20):
    try:
        with open(path, "rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 65536))
            lines = f.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-count:])


class Failed(Error):
    """A command that ended with an error; log is the Path of its output."""

    def __init__(self, what, log, status):
        text = f"{what} failed ({'signal ' + str(-status) if status < 0 else 'status ' + str(status)})"
        tail = last_lines(log)
        free = shutil.disk_usage(Path(log).parent).free
        if "No space left on device" in tail or free < 64 << 20:
            text += f"; no disk space left under {Path(log).parent}: free some, or set TDP_CACHE"
        text += f"; the whole log: {log}"
        super().__init__(text + ("\n" + tail if tail else ""))
        self.log = log


def run(cmd, log, what=None, timeout=None, ok=(0,), progress=None, **kw):
    """Runs a command with its output in a log file; says so every minute that it goes on, and progress() or the last line.

    Nothing of it stays behind, however this ends: the command has a process group of its own.
    """
    cmd = [str(c) for c in cmd]
    what = what or Path(cmd[0]).name
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with open(log, "wb") as out:
        proc = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                process_group=0, **kw)
        try:
            while True:
                try:
                    status = proc.wait(timeout=60)
                    break
                except subprocess.TimeoutExpired:
                    spent = time.monotonic() - start
                    if timeout and spent > timeout:
                        die(f"{what} did not end within {took(timeout)}; its output: {log}\n{last_lines(log)}")
                    says = progress() if progress else last_lines(log, 1).strip()[:80]
                    say(f"  {what}: {took(spent)} so far: {says}")
        except BaseException:
            stop_group(proc)
            raise
    if status not in ok:
        raise Failed(what, log, status)
    return status


def capture(cmd, stdin=None, ok=(0,), text=True, what=None, **kw):
    """The output of a short command, fed with a string, bytes or a file; an Error with its own words if it fails."""
    cmd = [str(c) for c in cmd]
    given = {"input": stdin} if isinstance(stdin, (str, bytes)) else {"stdin": stdin or subprocess.DEVNULL}
    try:
        done = subprocess.run(cmd, capture_output=True, text=text, **given, **kw)
    except FileNotFoundError as e:
        if shutil.which(cmd[0]) is None:
            die(f"the program {cmd[0]} is missing")
        raise e
    if done.returncode not in ok:
        err = done.stderr if text else done.stderr.decode(errors="replace")
        die(f"{what or ' '.join(cmd[:3])} failed: {err.strip()}")
    return done.stdout


def read_patterns(path, form):
    """The lines of a file whose fields are patterns, and at last what is to be said where they match; form: names of the fields."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            fields = [field.strip() for field in line.split("|")]
            if len(fields) != form.count("|") + 1 or not all(fields):
                die(f"{path}:{number}: not of the form {form}")
            found.append(fields)
    return found


def matching(found, *what):
    """What the first of read_patterns() that match says, or None."""
    return next((said for *each, said in found if all(map(fnmatch.fnmatchcase, what, each))), None)


def write_atomic(path, data, mode=0o644):
    """The file has its old content or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.tdp-new")
    try:
        tmp.write_bytes(data.encode() if isinstance(data, str) else data)
        tmp.chmod(mode)
        tmp.rename(path)
    finally:
        tmp.unlink(missing_ok=True)


def read_or(path, default=""):
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return default


def digest(*parts):
    """A short hash of strings and bytes, each delimited."""
    h = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        h.update(b"%d\n" % len(part))
        h.update(part)
    return h.hexdigest()[:24]


_held = threading.local()


@contextlib.contextmanager
def lock(name):
    """Keeps other tdp processes and threads out of one part of the cache; may be taken again by its holder."""
    held = _held.__dict__
    if held.get(name):
        held[name] += 1
        try:
            yield
        finally:
            held[name] -= 1
        return
    path = CACHE / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # For a moment, if it is a boot beside this one.
            if threading.current_thread() is threading.main_thread():
                say(f"another tdp works on {name}; waiting for it")
            fcntl.flock(f, fcntl.LOCK_EX)
        held[name] = 1
        try:
            yield
        finally:
            held[name] = 0


def check_space(path, gib):
    """Ends with a clear error unless there is room for gib GiB under path, which may not exist yet."""
    path = Path(path)
    at = path
    while not at.exists():
        at = at.parent
    free = shutil.disk_usage(at).free / (1 << 30)
    if free < gib:
        die(f"not enough disk space under {path}: {free:.1f} GiB free, {gib} GiB needed;"
            " free some, or set TDP_CACHE to a directory with more")


def memory_free():
    """GiB that new processes can take without swapping."""
    return int(re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(), re.M)[1]) / (1 << 20)


def no_space(e):
    return isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT)
