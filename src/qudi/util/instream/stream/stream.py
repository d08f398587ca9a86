"""One stream of one buffer: what is not read yet, what happens when it is full, why it ended."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from qudi.util.instream.stream.limits import TimeLimits
from qudi.util.instream.stream.readers import Readers, WaitingRead
from qudi.util.instream.stream.ring import SampleRing
from qudi.util.instream.stream.selection import Selection
from qudi.util.instream.stream.status import StreamEnd, StreamEnding, StreamStatus
from qudi.util.instream.stream.tally import Attention, Tally

__all__ = ['BufferedStream', 'skip']

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
        self.name = name
        self.ring = ring
        self.silence_limit = math.inf if silence_limit is None else silence_limit
        self.first_limit = first_limit
        self._selection = selection or Selection()
        self._allow_overwrite = allow_overwrite
        self._longest_copy = limits.longest_copy
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
        if self._ending is not None or not self._selection.is_all:
            return None
        with self.lock:
            if not self.readers.is_copying:
                self.ring.rewind()
        return self.ring.lend(count)

    def put(self, samples: np.ndarray, timestamps: np.ndarray | None = None) -> None:
        """Take over samples of shape (count, channels of the device), and timestamps (s).

        The lock is held while they are copied: they should be a few MB at most.
        """
        if self._ending is not None:
            return
        samples, timestamps = self._selection.apply(samples, timestamps, self.samples_missing)
        if not len(samples):
            return
        with self.lock:
            if not self.readers.is_copying:
                self.ring.rewind()
            if len(samples) > self.ring.free:
                samples, timestamps = _put_while_read(self, samples, timestamps)
            if self._ending is None:  # it may end while the ring waits for room
                self._put_rest(samples, timestamps)

    def _put_rest(self, samples: np.ndarray, timestamps: np.ndarray | None) -> None:
        """Put in samples; if they do not fit, the stream overflows."""
        ring, count = self.ring, len(samples)
        kept = slice(0, count)
        if count > ring.free:
            kept = _overflow(self, count)
            samples, timestamps = samples[kept], None if timestamps is None else timestamps[kept]
        lost = count - (kept.stop - kept.start)
        self._write(samples, timestamps, lost)
        if lost and not self._drops_oldest:
            message = (
                f'its ring of {ring.capacity} samples was full, the samples from index '
                f'{self.tally.received - lost} on are lost. Read faster, configure a larger '
                f'channel_buffer_size, or set allow_overwrite: True to lose the oldest samples '
                f'instead'
            )
            self._finish(StreamEnd.OVERFLOW, message)
        elif self.tally.received >= self.samples_to_acquire:
            message = f'all {self.tally.received} samples were acquired'
            self._finish(StreamEnd.FINISHED, message)

    def _write(self, samples: np.ndarray, timestamps: np.ndarray | None, lost: int = 0) -> None:
        """Write samples, count them with those that are lost after them, and wake reads."""
        self.ring.write(samples, timestamps)
        self.tally.receive(len(samples) + lost, lost, len(self.ring))
        self.readers.wake(len(self.ring))

    @property
    def _drops_oldest(self) -> bool:
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
        if self.readers.is_empty:
            return
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
            wanted = self._selection.samples_to_skip + self.readers.missing(self.unread)
            if self.attention.is_watched:
                wanted = 0
            free = self.ring.capacity if self._drops_oldest else self.ring.free
            latest = min(max(1, free // 2), self.samples_missing)
            return wanted, self._selection.samples_to_skip + latest

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
                self._finish(cause, message, error)

    def _finish(self, cause: StreamEnd, message: str, error: BaseException | None = None) -> None:
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
        due = self._time_of_next(self._selection.samples_to_skip + missing)
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
                timestamp_offset=self._selection.timestamp_offset,
                **self.tally.numbers(self.unread),
                **others,
            )

    def end_exception(self) -> Exception:
        """Return what a read of the ended stream raises."""
        assert self._ending is not None
        return self._ending.exception(self.name, self.samples_read, self.unread)

    def look(self, at_newest: bool = False) -> None:
        """Note that a program looks for samples without waiting for them."""
        if self.attention.look(at_newest):
            self._request_poll(-math.inf)

    def wait(self, read: WaitingRead) -> None:
        """Wait until something has changed for a read; end the stream if qudi quits meanwhile."""
        self.attention.end()
        self._request_poll(
            self._time_of_next(self._selection.samples_to_skip + read.enough - self.unread)
        )
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
                self._last_read = (
                    samples[-1].copy(),
                    None if timestamps is None else timestamps[-1],
                )
            self.ring.drop(count)


def _put_while_read(
    stream: BufferedStream, samples: np.ndarray, timestamps: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Put in what fits as long as reads make room for more; return the rest."""
    ring, readers = stream.ring, stream.readers
    until = time.perf_counter() + stream._longest_copy
    while len(samples) > ring.free and readers.take_from(len(ring) + ring.free):
        here, rest = slice(0, ring.free), slice(ring.free, None)
        stream._write(samples[here], None if timestamps is None else timestamps[here])
        samples, timestamps = samples[rest], None if timestamps is None else timestamps[rest]
        readers.wait_for(
            lambda: ring.free > 0 or not readers.take_from(len(ring)),
            until - time.perf_counter(),
        )
        if not ring.free or stream.has_ended:
            break
    return samples, timestamps


def _overflow(stream: BufferedStream, count: int) -> slice:
    """Decide what is lost of new samples and unread ones; return which go into the ring."""
    ring = stream.ring
    excess = count - ring.free
    if not stream._drops_oldest:
        stream.tally.overflow()
        return slice(0, count - excess)
    dropped = min(excess, len(ring))
    ring.drop(dropped)
    stream.tally.overflow(dropped)
    stream.readers.overwritten += 1
    return slice(max(0, count - ring.capacity), count)


def end_for_quitting(stream: BufferedStream, read: WaitingRead) -> bool:
    """End the stream if qudi quits and waits for this read; return whether it has ended."""
    if not stream.has_ended and stream.readers.keeps_from_quitting(read):
        stream._finish(StreamEnd.STOPPED, 'qudi quits')
    return stream.has_ended


def skip(stream: BufferedStream, count: int) -> None:
    """Note that so many samples were lost before they came here, and before those put in next."""
    with stream.lock:
        if not stream.has_ended:
            stream.tally.receive(count, count, stream.unread)
            stream.tally.overflow()
            if not stream._drops_oldest:
                message = (
                    f'{count} samples per channel are missing: they were overwritten before they '
                    f'came here. Configure a larger channel_buffer_size, or set allow_overwrite: '
                    f'True to go on without them'
                )
                stream._finish(StreamEnd.OVERFLOW, message)


def _ignore(by: float) -> None:
    pass


def _at_once(count: float) -> float:
    return -math.inf
