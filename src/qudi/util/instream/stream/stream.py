"""One stream of one buffer: what is not read yet, what happens when it is full, why it ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from qudi.util.instream.stream.limits import TimeLimits
from qudi.util.instream.stream.overflow import put_all, put_rest, put_while_read
from qudi.util.instream.stream.readers import Readers, WaitingRead
from qudi.util.instream.stream.ring import SampleRing
from qudi.util.instream.stream.selection import Selection
from qudi.util.instream.stream.settings import StreamSettings
from qudi.util.instream.stream.status import StreamEnd, StreamEnding, StreamStatus
from qudi.util.instream.stream.tally import Attention, Tally

__all__ = ['BufferedStream', 'end_for_quitting']

_LIMITS = TimeLimits()


class BufferedStream:
    """One stream of one buffer, from its start to its end.

    The device's thread puts samples in; programs take them out with a `StreamReader`.

    Parameters
    ----------
    name : str
        Name of the buffer, for messages.
    ring : SampleRing
        Empty ring for the unread samples.
    settings : StreamSettings, optional
        What the stream was started with.
    selection : Selection, optional
        What of the samples put in goes into the ring. All by default.
    allow_overwrite : bool
        Whether a full ring drops its oldest samples; otherwise the stream ends with an overflow.
    silence_limit : float, optional
        Seconds after which a poll without a new sample ends a waiting read. No limit by default.
    first_limit : float, optional
        Seconds that a look at the newest sample waits for the first one. No limit by default.
    poll_interval : float
        Seconds between two polls.
    samples_to_acquire : int, optional
        Samples per channel after which the stream is finished. Endless by default.
    last_thread : int
        Identifier of the thread that read the buffer's stream before this one; 0 for none.
    time_of_next : callable, optional
        Called with a number of samples; returns when the device has them, -inf if unknown.
    request_poll : callable, optional
        Called with the time by which a poll is of use. The lock is held.
    is_quitting : callable, optional
        Tells whether qudi quits, so that reads must not wait long. It only looks.
    limits : TimeLimits
        For how long threads wait.
    """

    def __init__(
        self,
        name: str,
        ring: SampleRing,
        *,
        settings: StreamSettings | None = None,
        selection: Selection | None = None,
        allow_overwrite: bool = False,
        silence_limit: float | None = None,
        first_limit: float | None = None,
        poll_interval: float = 0.0,
        samples_to_acquire: int | None = None,
        last_thread: int = 0,
        time_of_next: Callable[[float], float] | None = None,
        request_poll: Callable[[float], None] | None = None,
        is_quitting: Callable[[], bool] | None = None,
        limits: TimeLimits = _LIMITS,
    ) -> None:
        self.name, self.ring, self.settings = name, ring, settings
        self.silence_limit = math.inf if silence_limit is None else silence_limit
        self.first_limit = first_limit
        self.selection = selection or Selection()
        self._allow_overwrite, self._longest_copy = allow_overwrite, limits.longest_copy
        self.samples_to_acquire = math.inf if samples_to_acquire is None else samples_to_acquire
        self._time_of_next = time_of_next or _at_once
        self._request_poll = request_poll or _ignore
        self.tally, self.attention = Tally(), Attention(limits.watching)
        self._last_read: tuple[np.ndarray, np.float64 | None] | None = None
        self._ending: StreamEnding | None = None
        self.started_at = self.polled_at = self.tally.received_at
        self.is_read = False  # not only looked at its newest sample
        self.is_snapshot = False  # its newest sample was looked at
        self.is_abandoned = False  # a read gave up because of silence, and no other has been there
        # Guards everything above, and writing to the ring. Taken with no other lock held, and given
        # back while a read waits or copies.
        self.lock = threading.Lock()
        self.readers = Readers(
            self.lock, self.silence_limit, poll_interval, last_thread, is_quitting, limits
        )

    def lend(self, count: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Return arrays for the next samples that spare a copy if they are put in afterwards.

        As `SampleRing.lend`; None if the samples will not go into the ring as they are.
        """
        if self._ending is not None or not self.selection.is_all:
            return None
        with self.lock:
            if not self.readers.copier:
                self.ring.rewind()
        return self.ring.lend(count)

    def put(
        self,
        samples: np.ndarray,
        timestamps: np.ndarray | None = None,
        waited: float = 0.0,
        longest_wait: float = math.inf,
    ) -> float:
        """Take over samples; where a read makes room for them, wait for that.

        The lock is held while they are copied: they should be a few MB at most.

        Parameters
        ----------
        samples, timestamps : numpy.ndarray
            Array of shape (count, channels of the device), and of (count,) in seconds.
        waited : float
            How long the poll has waited for streams that drop their oldest samples (s). One of
            these waits for so much less.
        longest_wait : float
            How long the device can spare (s).

        Returns
        -------
        float
            The same, with the time for this stream.
        """
        if self._ending is not None:
            return waited
        samples, timestamps = self.selection.apply(samples, timestamps, self.samples_missing)
        if not len(samples):
            return waited
        with self.lock:
            if not self.readers.copier:
                self.ring.rewind()
            fits = len(samples) <= self.ring.free
            if not fits and self.readers.is_reading:
                limit = min(self._longest_copy, longest_wait)
                samples, timestamps, waited = put_while_read(
                    self, samples, timestamps, waited, limit
                )
            if self._ending is None:  # it may have ended meanwhile
                put = put_all if fits else put_rest
                put(self, samples, timestamps)
        return waited

    def write(self, samples: np.ndarray, timestamps: np.ndarray | None, lost: int = 0) -> None:
        """Write samples, count them and others that are lost, wake reads. The lock is held."""
        self.ring.write(samples, timestamps)
        unread = len(self.ring)
        self.tally.receive(len(samples) + lost, lost, unread)
        if self.readers.waiting:
            self.readers.wake(unread)

    @property
    def drops_oldest(self) -> bool:
        """Whether a full ring drops its oldest samples. Otherwise the stream ends."""
        # A program that only looks at the newest sample reads nothing, so nothing can be missing
        return self._allow_overwrite or (self.is_snapshot and not self.is_read)

    def polled(self, asked_at: float) -> None:
        """Note that a poll has handed over all it has found.

        Parameters
        ----------
        asked_at : float
            When the device was asked, by perf_counter.
        """
        self.polled_at = asked_at
        if not self.readers.is_empty:
            with self.lock:
                self.readers.polled(asked_at, self.tally.received_at)

    @property
    def demand(self) -> tuple[float, float]:
        """With how many new samples per channel the hardware should be polled.

        Returns
        -------
        wanted : int or inf
            With how many the first waiting read can go on; 0 asks for all polls that there may be,
            inf if no read waits.
        at_the_latest : int or inf
            With how many half of the free space is filled, or a finite acquisition is complete.
        """
        with self.lock:
            if self.has_ended:
                return math.inf, math.inf
            wanted = self.selection.samples_to_skip + self.readers.missing(self.unread)
            if self.attention.is_watched:
                wanted = 0
            free = self.ring.capacity if self.drops_oldest else self.ring.free
            latest = min(max(1, free // 2), self.samples_missing)
            return wanted, self.selection.samples_to_skip + latest

    def end(self, cause: StreamEnd, message: str, error: BaseException | None = None) -> None:
        """End the stream and wake all waiting reads; without effect if it has ended already.

        Parameters
        ----------
        cause : StreamEnd
            Why it ends. After any cause but STOPPED unread samples remain readable.
        message : str
            What happened, to continue "the stream of <name> has ended: ".
        error : BaseException, optional
            The exception behind it; later reads raise theirs from it.
        """
        with self.lock:
            if not self.has_ended:
                self.finish(cause, message, error)

    def finish(self, cause: StreamEnd, message: str, error: BaseException | None = None) -> None:
        """End the stream as `end` does. The lock is held, and the stream has not ended."""
        self._ending = StreamEnding(cause, message.rstrip('.'), error)
        # An ended stream keeps nothing of the device's thread alive
        self._request_poll, self._time_of_next = _ignore, _at_once
        self.readers.wake_all()

    def begin_stop(self) -> None:
        """Wait for reads whose samples are due within a second, before their program's stop."""
        with self.lock:
            self.readers.begin_stop(self._due_at, lambda: self.has_ended)

    def _due_at(self, read: WaitingRead) -> float:
        """When a waiting read will have its samples, as far as known."""
        missing = read.enough - self.unread
        if missing <= 0:
            return time.perf_counter()
        due = self._time_of_next(self.selection.samples_to_skip + missing)
        if math.isfinite(due):
            return due
        if self.tally.received == 0:
            return math.inf
        period = (self.tally.received_at - self.started_at) / self.tally.received
        return self.tally.received_at + missing * period

    @property
    def has_ended(self) -> bool:
        """Whether no more samples will come."""
        return self._ending is not None

    @property
    def is_stopped(self) -> bool:
        """Whether the buffer itself ended the stream: nothing can be read any more."""
        return self._ending is not None and self._ending.cause is StreamEnd.STOPPED

    @property
    def unread(self) -> int:
        """Number of samples that can be read."""
        return len(self.ring)

    @property
    def samples_read(self) -> int:
        """Samples per channel that were read since the start."""
        return self.tally.received - self.tally.lost - self.unread

    @property
    def samples_missing(self) -> float:
        """Samples per channel still to come until the stream is finished; infinite if endless."""
        return self.samples_to_acquire - self.tally.received

    def status(self, **others: Any) -> StreamStatus:
        """How the stream is doing, consistent within itself; `others` are fields not known here."""
        with self.lock:
            now, ending = time.perf_counter(), self._ending
            return StreamStatus(
                state='running' if ending is None else ending.cause.value,
                message='' if ending is None else ending.message,
                ring_size=self.ring.capacity,
                allow_overwrite=self._allow_overwrite,
                running_time=(now if ending is None else ending.at) - self.started_at,
                age=now - self.tally.received_at if self.tally.received else None,
                timestamp_offset=self.selection.timestamp_offset,
                **self.tally.numbers(self.unread),
                **others,
            )

    def end_exception(self, lost: int = 0) -> Exception:
        """Return what a read of the ended stream raises, with which so many samples are lost."""
        assert self._ending is not None
        return self._ending.exception(self.name, self.samples_read - lost, self.unread, lost)

    def look(self, at_newest: bool = False) -> None:
        """Note that a program looks for samples without waiting for them."""
        if self.attention.look(at_newest):
            self._request_poll(-math.inf)

    def wait(self, read: WaitingRead) -> None:
        """Wait until something has changed for a read; end the stream if qudi quits meanwhile."""
        self.attention.end()
        missing = self.selection.samples_to_skip + read.enough - self.unread
        self._request_poll(self._time_of_next(missing))
        self.readers.wait(read, self.tally.received_at)
        end_for_quitting(self, read)

    @property
    def newest(self) -> tuple[np.ndarray, np.float64 | None] | None:
        """The newest sample and its timestamp; None if there was none yet."""
        return self.ring.newest() if self.unread else self._last_read

    def took(self, samples: np.ndarray, timestamps: np.ndarray | None) -> None:
        """Count samples as read that were copied out of the ring."""
        count = len(samples)
        if count:
            self.tally.note_read()
            if count == self.unread:
                timestamp = None if timestamps is None else timestamps[-1]
                self._last_read = samples[-1].copy(), timestamp
            self.ring.drop(count)


def end_for_quitting(stream: BufferedStream, read: WaitingRead) -> bool:
    """End the stream if qudi quits and waits for this read; return whether it has ended."""
    if not stream.has_ended and stream.readers.keeps_from_quitting(read):
        stream.finish(StreamEnd.STOPPED, 'qudi quits')
    return stream.has_ended


def _ignore(by: float) -> None:
    pass


def _at_once(count: float) -> float:
    return -math.inf
