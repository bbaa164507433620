"""N vCPUs on paper: a discrete-event simulation of who holds and who waits for what, by service times that were measured.

A thread is a generator that yields what it does next: run, take or release a lock, change a cache line that others change
too, hand something over. Threads share CPUs as the kernel's do: who holds a spinning lock, or spins for one, is not
preempted, and who wakes up does not wait for others' slices. Locks are fair: first come, first served, and readers together.
(A qrwlock lets readers pass a writer that is not the head of its queue yet, and takes one or two changes more of the line
where it is contended: this is simpler than that.)
"""

import heapq
import itertools
from collections import deque

SLICE = 3e6         # nanoseconds that a thread runs while others want its CPU
PIECE = 1e5         # and that it runs at least before it is asked for it


class Line:
    """A cache line that CPUs change in turn: a change takes as long as the line does to come from who changed it last."""

    def __init__(self, name, remote):
        self.name, self.remote = name, remote
        self.free_at = self.busy = 0.0
        self.owner = None

    def change(self, now, thread):
        """Returns when it is done."""
        cost = self.remote if self.owner is not thread else 0.0
        self.owner, self.free_at = thread, max(now, self.free_at) + cost
        self.busy += cost
        return self.free_at


class Lock:
    """A fair spinning lock, for readers or one writer, whose word is a cache line."""

    def __init__(self, name, remote=0.0):
        self.line = Line(f"cache line of {name}", remote)
        self.name, self.readers, self.writer = name, 0, None
        self.waiting = deque()
        self.longest_wait = self.held_for_write = 0.0

    def grants(self, how):
        return self.writer is None and (how == "read" or not self.readers)


class Mailbox:
    """What some hand over and others fetch, who sleep while it is empty."""

    def __init__(self):
        self.full, self.fetching = deque(), deque()


class Thread:
    def __init__(self, program):
        self.program = program(self)
        self.done = 0               # it counts its work here
        self.pinned = False         # holds a lock or spins for one
        self.since = 0.0            # when it got its CPU
        self.asked_at = self.held_since = 0.0
        self.left = 0.0             # of what it was running when its slice was over
        self.got = None             # out of a mailbox
        self.ended = False


class Machine:
    """So many CPUs, and threads."""

    def __init__(self, cpus):
        self.free, self.now = cpus, 0.0
        self.events, self.order = [], itertools.count()
        self.ready = deque()
        self.urgent = 0         # of those that are ready: the first, who take the next CPU that can be had

    def add(self, program, urgent=False):
        thread = Thread(program)
        (self._wake if urgent else self._want_cpu)(thread)
        return thread

    def run(self, until=float("inf"), while_running=None):
        """Up to a time, or as long as one thread runs."""
        while self.events and self.events[0][0] <= until and not (while_running and while_running.ended):
            self.now, _, do, args = heapq.heappop(self.events)
            do(*args)
        if until != float("inf"):
            self.now = max(self.now, until)

    def _at(self, when, do, *args):
        heapq.heappush(self.events, (when, next(self.order), do, args))

    def _want_cpu(self, thread):
        if self.free:
            self.free -= 1
            self._dispatch(thread)
        else:
            self.ready.append(thread)

    def _wake(self, thread):
        if self.free:
            self._want_cpu(thread)
        else:
            self.ready.insert(self.urgent, thread)
            self.urgent += 1

    def _dispatch(self, thread):
        thread.since = self.now
        self._at(self.now, self._step, thread)

    def _give_cpu(self):
        if self.ready:
            self.urgent = max(0, self.urgent - 1)
            self._dispatch(self.ready.popleft())
        else:
            self.free += 1

    def _step(self, thread):
        if self.ready and not thread.pinned and (self.urgent or self.now - thread.since >= SLICE):
            self.ready.append(thread)
            self._give_cpu()
            return
        if thread.left:
            self._run(thread, thread.left)
            return
        step = next(thread.program, None)
        if step is None:
            thread.ended = True
            self._give_cpu()
        else:
            getattr(self, "_" + step[0])(thread, *step[1:])

    def _run(self, thread, ns):
        piece = ns if thread.pinned else min(ns, PIECE)
        thread.left = ns - piece
        self._at(self.now + piece, self._step, thread)

    def _stop(self, thread, ns):
        """Nobody else gets on meanwhile."""
        self.events = [(when + ns, *event) for when, *event in self.events]
        self._at(self.now + ns, self._step, thread)

    def _change(self, thread, line):
        self._at(line.change(self.now, thread), self._step, thread)

    def _sleep(self, thread, ns):
        self._give_cpu()
        self._at(self.now + ns, self._wake, thread)

    def _lock(self, thread, lock, how):
        thread.pinned, thread.asked_at = True, self.now
        if lock.waiting or not lock.grants(how):
            lock.waiting.append((thread, how))
        else:
            self._grant(lock, thread, how)

    def _grant(self, lock, thread, how):
        if how == "read":
            lock.readers += 1
        else:
            lock.writer = thread
        lock.longest_wait = max(lock.longest_wait, self.now - thread.asked_at)
        thread.held_since = self.now
        self._at(lock.line.change(self.now, thread), self._step, thread)

    def _unlock(self, thread, lock, how):
        self._at(lock.line.change(self.now, thread), self._unlocked, thread, lock, how)

    def _unlocked(self, thread, lock, how):
        if how == "read":
            lock.readers -= 1
        else:
            lock.writer = None
            lock.held_for_write += self.now - thread.held_since
        thread.pinned = False
        while lock.waiting and lock.grants(lock.waiting[0][1]):
            self._grant(lock, *lock.waiting.popleft())
        self._step(thread)

    def _put(self, thread, box, what):
        if box.fetching:
            waiter = box.fetching.popleft()
            waiter.got = what
            self._wake(waiter)
        else:
            box.full.append(what)
        self._at(self.now, self._step, thread)

    def _get(self, thread, box):
        if box.full:
            thread.got = box.full.popleft()
            self._at(self.now, self._step, thread)
        else:
            box.fetching.append(thread)
            self._give_cpu()
