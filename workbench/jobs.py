"""Boots beside each other; and boots that measure: each keeps what it has found in files, and is not done again where they are."""

import itertools
import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Callable

from . import boot
from .common import JOBS, memory_free, say, took

BOOT_GIB = 5    # of memory that an emulator takes


def lanes():
    """How many emulators of one CPU to run at a time."""
    return max(1, min(2, JOBS, int(memory_free() / BOOT_GIB)))


def beside(functions, number):
    """What they return; so many run at a time, none goes on if one fails."""
    pool = ThreadPoolExecutor(number)
    try:
        running = [pool.submit(function) for function in functions]
        for ended in wait(running, return_when=FIRST_EXCEPTION).done:
            ended.result()
        return [ended.result() for ended in running]
    finally:
        boot.stop.set()
        pool.shutdown(cancel_futures=True)
        boot.stop.clear()


@dataclass
class Job:
    title: str
    paths: list         # of what it finds
    seconds: float      # that it takes on a machine like ours
    measure: Callable   # writes them
    alone: bool         # it measures time, or takes more than a CPU

    @property
    def done(self):
        return all(path.exists() for path in self.paths)


class _Estimate:
    """Of what is left, corrected by how long the jobs took that are done."""

    def __init__(self, left, number):
        self.left, self.number, self.total = list(left), number, len(left)
        self.begun = self.expected = self.spent = 0
        self.lock = threading.Lock()

    def do(self, job):
        with self.lock:
            self.begun += 1
            factor = self.spent / self.expected if self.expected else 1
            rest = sum(j.seconds / (1 if j.alone else self.number) for j in self.left)
            say(f"{self.begun} of {self.total}: {job.title} (about {took(factor * job.seconds)}; with all that is left"
                f" {took(factor * rest)})")
        start = time.monotonic()
        job.measure()
        with self.lock:
            self.left.remove(job)
            self.spent += time.monotonic() - start
            self.expected += job.seconds


def do(jobs):
    """Does all jobs: those that need not be alone some at a time."""
    left = [job for job in jobs if not job.done]
    if len(left) < len(jobs):
        say(f"{len(jobs) - len(left)} of {len(jobs)} boots were measured before, with the same kernels and tests")
    number = lanes()
    estimate = _Estimate(left, number)
    for alone, group in itertools.groupby(sorted(left, key=lambda job: job.alone), lambda job: job.alone):
        beside([lambda job=job: estimate.do(job) for job in group], 1 if alone else number)
