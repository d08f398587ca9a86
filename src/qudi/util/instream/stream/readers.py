"""The reads of one stream: which wait, which one copies, and how a stop lets them finish."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from qudi.util.instream.stream.limits import TimeLimits

__all__ = ['Readers', 'WaitingRead']

# A stop lets reads finish whose samples are due within this time (s), as devices do, and waits a
# little longer for the poll that brings them.
_DUE_WITHIN, _POLL_DELAY = 1.0, 0.5

# Such a read returns a moment after the stop (s). By then, the program has noted its stop, and does
# not take the end of the stream for a fault.
_AFTER_STOP = 0.05

# Waits are made of steps (s): Windows lets Ctrl-C through between two of them only
_STEP = 1.0

_LIMITS = TimeLimits()


@dataclass(eq=False)
class WaitingRead:
    """A read that waits, or is about to."""

    enough: int  # unread samples that it waits for
    since: float  # by perf_counter
    can_go_on: threading.Condition
    until: float = math.inf  # by perf_counter
    is_given_up: bool = False  # because of silence
    grace: int = 0  # short waits that it has still got


class Readers:
    """The reads of one stream. All methods are called with the lock of the stream held.

    Parameters
    ----------
    lock : threading.Lock
        The lock of the stream.
    silence_limit : float, optional
        Seconds after which a poll that finds no new sample ends a waiting read. No limit by
        default.
    poll_interval : float
        Seconds between two polls.
    last_thread : int
        Identifier of the thread that read the buffer's stream before this one; 0 for none.
    is_quitting : callable, optional
        Tells whether qudi quits. It only looks.
    limits : TimeLimits
        For how long threads wait.
    clock : callable, optional
        Returns the time in seconds, as `time.perf_counter`.
    """

    def __init__(
        self,
        lock: threading.Lock,
        silence_limit: float | None = None,
        poll_interval: float = 0.0,
        last_thread: int = 0,
        is_quitting: Callable[[], bool] | None = None,
        limits: TimeLimits = _LIMITS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._limits = limits
        self._now = clock
        self._lock = lock
        self._is_quitting = is_quitting or (lambda: False)
        # A read has made room, or has returned; a poll has come; the stream has ended
        self._changed = threading.Condition(lock)
        self._silence_limit = math.inf if silence_limit is None else silence_limit
        self._grace = math.ceil(min((limits.grace + poll_interval) / limits.grace_step, 1e6))
        self._reading: set[int] = set()  # identifiers of the threads whose reads have begun
        self.returned = 0  # how many reads that wait for samples have returned
        self.waiting: list[WaitingRead] = []  # for samples
        self._others = 0  # threads that wait for anything else
        self.promised = 0  # unread samples that the read in progress will take
        self.copier = 0  # identifier of the thread that copies without the lock, 0 for none
        self.overwritten = 0  # how often unread samples were overwritten
        self._is_stopping = False
        self.last_thread = last_thread  # that has read
        self._read_at = self._now()

    # ---------------------------------------------------------------- waiting

    @property
    def is_empty(self) -> bool:
        """Whether no thread waits for anything. May be called without the lock."""
        return not self.waiting and not self._others

    def wait_for(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        """Wait until something has changed so that a condition holds, or the time is over."""
        end = math.inf if timeout is None else self._now() + timeout
        while not condition():
            left = end - self._now()
            if left <= 0:
                return
            self._wait(left)

    def _wait(self, timeout: float) -> None:
        self._others += 1
        try:
            self._changed.wait(min(timeout, _STEP))
        finally:
            self._others -= 1

    @property
    def is_reading(self) -> bool:
        """Whether a read has begun that has not returned."""
        return bool(self.waiting or self._reading)

    def begin(self) -> None:
        """Note that a read begins, or goes on after it has copied a part."""
        self.end_copy()
        self._reading.add(threading.get_ident())

    def end(self) -> None:
        """Note that a read returns."""
        self.end_copy()
        self._reading.discard(threading.get_ident())
        self._changed.notify_all()

    def forget(self) -> None:
        """Forget reads that make no room: until they go on, nothing waits for them."""
        self._reading.clear()

    def new_read(self, enough: int, timeout: float = math.inf) -> WaitingRead:
        """Return a read that is going to wait for so many unread samples, or for so long (s)."""
        now = self._now()
        return WaitingRead(enough, now, threading.Condition(self._lock), now + timeout)

    def hurry(self) -> None:
        """Have reads that wait for a limited time return with what is there."""
        for read in self.waiting:
            if read.until < math.inf:
                read.until = -math.inf
                read.can_go_on.notify()

    def wait(self, read: WaitingRead, received_at: float) -> None:
        """Wait until something has changed for a read.

        Parameters
        ----------
        read : WaitingRead
            The read.
        received_at : float
            When the newest sample came, by perf_counter.
        """
        timeout = max(read.since, received_at) + self._silence_limit - self._now()
        if timeout > 0:
            read.grace = self._grace
        else:
            # Polls tell whether it is silent. If none comes any more, the device hangs.
            read.grace -= 1
            read.is_given_up = read.grace < 0
            timeout = self._limits.grace_step
        self.waiting.append(read)
        try:
            timeout = min(timeout, _STEP, read.until - self._now())
            read.can_go_on.wait(max(0.0, timeout))
        finally:
            self.waiting.remove(read)

    def keeps_from_quitting(self, read: WaitingRead) -> bool:
        """Whether a read has waited long while qudi, which waits for its thread, quits."""
        has_waited = self._now() - read.since
        return has_waited >= self._limits.quitting_read and self._is_quitting()

    def wake(self, unread: int) -> None:
        """Wake the reads that so many unread samples are enough for."""
        for read in self.waiting:
            if unread >= read.enough:
                read.can_go_on.notify()

    def wake_all(self) -> None:
        """Wake all that wait for anything, since the stream has ended."""
        for read in self.waiting:
            read.can_go_on.notify()
        self._changed.notify_all()

    def polled(self, asked_at: float, received_at: float) -> None:
        """Give up the reads for which a poll, with no sample since `received_at`, came too late."""
        for read in self.waiting:
            if asked_at - max(read.since, received_at) > self._silence_limit:
                read.is_given_up = True
                read.can_go_on.notify()
        self._changed.notify_all()

    def missing(self, unread: int) -> float:
        """Return with how many more samples the first read can go on; inf if none waits."""
        return min((r.enough - unread for r in self.waiting if unread < r.enough), default=math.inf)

    # ---------------------------------------------------------------- copying

    def begin_copy(self, count: int) -> None:
        """Keep other reads away from the oldest samples."""
        self.promised, self.copier = count, threading.get_ident()
        self._reading.add(self.copier)

    def made_room(self, count: int) -> None:
        """Note that the read in progress has copied so many samples."""
        self.promised -= count
        self._changed.notify_all()

    def end_copy(self) -> None:
        """Let other reads go on; without effect for a thread that does not copy.

        Also called before a read begins: an interrupted one may have left its mark.
        """
        if self.copier == threading.get_ident():
            self.copier, self.promised = 0, 0
            self._changed.notify_all()

    def done(self) -> None:
        """Return from a read, when no stop keeps it back."""
        self._return(self._limits.longest_stop)

    def fail(self) -> None:
        """Let a read that has failed return."""
        self._return(self._limits.longest_stop_of_failed_read)

    def _return(self, longest_stop: float) -> None:
        self.last_thread, self._read_at = threading.get_ident(), self._now()
        self.returned += 1
        self.end()
        if self._is_stopping:
            self.wait_for(lambda: not self._is_stopping, longest_stop)
            self.wait_for(lambda: False, _AFTER_STOP)

    # ---------------------------------------------------------------- stopping

    def begin_stop(
        self, due_at: Callable[[WaitingRead], float], has_ended: Callable[[], bool]
    ) -> None:
        """Wait for reads whose samples are due soon, before the stream is stopped.

        Parameters
        ----------
        due_at : callable
            Returns when the samples of a waiting read will be there, by perf_counter.
        has_ended : callable
            Whether the stream has ended, so that there is nothing to wait for.
        """
        self._is_stopping = True
        self.end()  # what a read of this thread has left that was interrupted
        began = self._now()
        while not has_ended():
            now = self._now()
            if self.is_reading or self.copier:
                wait_until = max([due_at(read) for read in self.waiting], default=now)
                if wait_until > began + _DUE_WITHIN:
                    return
                wait_until += _POLL_DELAY
            elif self._read_at > began or self.last_thread in (0, threading.get_ident()):
                return
            else:
                wait_until = self._read_at + self._limits.between_reads
            if now >= min(wait_until, began + _DUE_WITHIN + _POLL_DELAY):
                return
            self._wait(wait_until - now)

    def end_stop(self) -> None:
        """Note that the stop is complete, with the device."""
        self._is_stopping = False
        self._changed.notify_all()
