"""One consumer of a stream: what it has not read yet, how it waits, and why its stream ended."""

from __future__ import annotations

import math
import operator
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, SupportsIndex

import numpy as np

from qudi.util.instream.errors import naming
from qudi.util.instream.ring import SampleRing

__all__ = ['StreamConsumer', 'StreamEnd', 'StreamStatus']


class StreamEnd(Enum):
    """Why a consumer's stream ended."""

    STOPPED = 'stopped'  # by its buffer: stop, deactivation, or another start
    OVERFLOW = 'overflow'  # unread samples would have been overwritten
    FINISHED = 'finished'  # a finite acquisition is complete
    FAULT = 'fault'  # the hardware failed


# A program that looks without waiting for samples is expected to look again within this time (s)
_ATTENTION = 10.0

_EXCEPTIONS: dict[StreamEnd, type[Exception]] = {
    StreamEnd.STOPPED: RuntimeError,
    StreamEnd.OVERFLOW: OverflowError,
    StreamEnd.FINISHED: RuntimeError,
    StreamEnd.FAULT: RuntimeError,
}


@dataclass(frozen=True)
class StreamStatus:
    """How a buffer's stream is doing: plain values, which can be sent to another process.

    All numbers count from the start of the stream, samples per channel. `samples_received` is
    always the sum of `samples_read`, `samples_unread` and `samples_lost`.
    """

    state: str = 'idle'  # before a start, 'running', or the value of a StreamEnd
    message: str = ''  # why the stream ended, empty before
    streamer: str = ''  # name of the hardware module
    shared_with: tuple[str, ...] = ()  # names of the other buffers that stream from it now
    channels: tuple[str, ...] = ()  # empty if nothing was asked for yet, as are the next three
    sample_rate: float | None = None  # as asked for (Hz)
    streaming_mode: str = ''  # 'CONTINUOUS' or 'FINITE'
    ring_size: int = 0  # samples that the buffer holds
    allow_overwrite: bool = False
    running_time: float = 0.0  # from the start of the stream to its end, or until now (s)
    samples_received: int = 0
    samples_read: int = 0
    samples_unread: int = 0
    samples_lost: int = 0
    overflow_count: int = 0  # gaps in what is read; one lasts until something is read again
    peak_fill: int = 0  # most samples that were unread at once
    poll_rate: float = 0.0  # polls that reached the stream, per second of the last five
    age: float | None = None  # seconds since the newest sample came, None before the first


@dataclass(frozen=True)
class _WaitingRead:
    enough: int  # unread samples that it waits for
    since: float  # by perf_counter
    can_go_on: threading.Condition


class StreamConsumer:
    """One stream of one buffer, from its start to its end.

    One thread puts samples in, any number of threads take them out.

    Parameters
    ----------
    name : str
        Name of the buffer, for messages.
    ring : SampleRing
        Empty ring for the unread samples. Its channels, data type and timestamps are those of
        the stream.
    columns : list of int, optional
        Which columns of the samples put in go into the ring, and in which order. All by default.
    allow_overwrite : bool
        Whether a full ring drops its oldest samples; otherwise the stream ends with an overflow.
    silence_limit : float, optional
        Seconds without a new sample after which a waiting read gives up. No limit by default.
    samples_to_acquire : int, optional
        Samples per channel after which the stream is finished. Endless by default.
    samples_to_skip : int
        Samples per channel at the very beginning that are older than this stream.
    tell_needs : callable, optional
        Called with the new number of samples wished, when a read begins to wait or a program looks
        again and again. The lock is held: it only posts a message.
    """

    def __init__(
        self,
        name: str,
        ring: SampleRing,
        *,
        columns: list[int] | None = None,
        allow_overwrite: bool = False,
        silence_limit: float | None = None,
        samples_to_acquire: int | None = None,
        samples_to_skip: int = 0,
        tell_needs: Callable[[float], None] | None = None,
    ) -> None:
        self.name = name
        self._ring = ring
        self._columns = None if columns is None else _as_slice(columns)
        self._allow_overwrite = allow_overwrite
        self._silence_limit = silence_limit
        self._samples_to_acquire = math.inf if samples_to_acquire is None else samples_to_acquire
        self._samples_to_skip = samples_to_skip
        self._tell_needs = tell_needs or _tell_nobody

        self._received = 0
        self._read = 0
        self._lost = 0
        self._lost_told = 0
        self._overflow_count = 0
        self._is_overflowing = False  # since samples were lost, until something is read
        self._peak_fill = 0
        self._end: StreamEnd | None = None
        self._message = ''
        self._error: BaseException | None = None
        self.started_at = self._received_at = time.perf_counter()
        self._ended_at = math.inf
        self._awaited: list[_WaitingRead] = []
        # When a program looked last, since the last read that had to wait; until one has waited,
        # it may be one that only looks
        self._looked_at = self._received_at
        self._is_watched_until = self._looked_at + _ATTENTION
        # Guards everything above. It is taken last of all locks, and given back while a read waits.
        self._lock = threading.Lock()

    # ---------------------------------------------------------------- putting in

    def lend(self, count: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Return arrays for the next samples that spare a copy if they are put in afterwards.

        Parameters
        ----------
        count : int
            Number of samples wanted.

        Returns
        -------
        tuple or None
            As `SampleRing.lend`; None if the samples will not go into the ring as they are.
        """
        with self._lock:
            if self._end is None and self._columns is None and self._samples_to_skip == 0:
                return self._ring.lend(count)
        return None

    def put(self, samples: np.ndarray, timestamps: np.ndarray | None = None) -> None:
        """Take over samples that came from the hardware; without effect once the stream ended.

        Parameters
        ----------
        samples : numpy.ndarray
            Array of shape (count, channels of the hardware).
        timestamps : numpy.ndarray, optional
            Their timestamps in seconds, shape (count,).
        """
        with self._lock:
            if self._end is not None:
                return
            first = min(self._samples_to_skip, len(samples))
            self._samples_to_skip -= first
            last = int(min(len(samples), first + self._samples_to_acquire - self._received))
            if first == last:
                return
            if last - first < len(samples):
                samples = samples[first:last]
                timestamps = None if timestamps is None else timestamps[first:last]
            self._store(samples if self._columns is None else samples[:, self._columns], timestamps)
            self._received_at = time.perf_counter()
            if self._received == self._samples_to_acquire:
                self._finish(StreamEnd.FINISHED, f'all {self._received} samples were acquired')
            for read in self._awaited:
                if len(self._ring) >= read.enough:
                    read.can_go_on.notify()

    def _store(self, samples: np.ndarray, timestamps: np.ndarray | None) -> None:
        """Put samples into the ring. What happens when they do not fit is decided here."""
        count = len(samples)
        self._received += count
        excess = count - self._ring.free
        if excess > 0:
            self._lost += excess
            self._overflow_count += not self._is_overflowing
            self._is_overflowing = True
            if self._allow_overwrite:
                self._ring.drop(min(excess, len(self._ring)))
                kept = slice(max(0, count - self._ring.capacity), None)
            else:
                kept = slice(count - excess)
            samples = samples[kept]
            timestamps = None if timestamps is None else timestamps[kept]
        self._ring.write(samples, timestamps)
        if len(self._ring) > self._peak_fill:
            self._peak_fill = len(self._ring)
        if excess > 0 and not self._allow_overwrite:
            self._finish(
                StreamEnd.OVERFLOW,
                f'its ring of {self._ring.capacity} samples was full, the samples from index '
                f'{self._received - excess} on are lost. Read faster, configure a larger '
                f'channel_buffer_size, or set allow_overwrite: True to lose the oldest samples '
                f'instead',
            )

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
        with self._lock:
            if self._end is None:
                self._finish(cause, message, error)

    def _finish(self, cause: StreamEnd, message: str, error: BaseException | None = None) -> None:
        self._end = cause
        self._ended_at = time.perf_counter()
        self._message = message
        self._error = error
        self._tell_needs = _tell_nobody  # an ended stream keeps nothing of the poller alive
        for read in self._awaited:
            read.can_go_on.notify()

    # ---------------------------------------------------------------- looking

    @property
    def has_ended(self) -> bool:
        """Whether no more samples will come."""
        return self._end is not None

    @property
    def is_stopped(self) -> bool:
        """Whether the buffer itself ended the stream, so that nothing can be read any more."""
        return self._end is StreamEnd.STOPPED

    @property
    def samples_missing(self) -> float:
        """Samples per channel still to come until the stream is finished; infinite if endless."""
        return self._samples_to_acquire - self._received

    @property
    def available_samples(self) -> int:
        """Number of samples per channel that can be read without waiting, 0 after a stop."""
        with self._lock:
            self._look()
            return 0 if self.is_stopped else len(self._ring)

    @property
    def longest_wait(self) -> float:
        """Seconds for which the oldest of the waiting reads has waited, 0 if none waits."""
        awaited = tuple(self._awaited)  # at once, instead of with the lock: this is for every poll
        if not awaited:
            return 0.0
        return time.perf_counter() - min(read.since for read in awaited)

    @property
    def samples_needed(self) -> tuple[float, float]:
        """With how many new samples per channel the hardware should be polled.

        Returns
        -------
        wished : int or inf
            With how many the first waiting read can go on; 0 asks for all polls that there may be,
            inf if nobody waits.
        at_the_latest : int or inf
            With how many half of the free space is filled, or a finite acquisition is complete.
        """
        with self._lock:
            if self._end is not None:
                return math.inf, math.inf
            unread = len(self._ring)
            wished: float = math.inf
            for read in self._awaited:
                if unread < read.enough:
                    wished = min(wished, self._samples_to_skip + read.enough - unread)
            if self._is_watched_until > time.perf_counter():
                wished = 0
            free = self._ring.capacity if self._allow_overwrite else self._ring.free
            latest = min(max(1, free // 2), self._samples_to_acquire - self._received)
            return wished, self._samples_to_skip + latest

    def status(self, **others: Any) -> StreamStatus:
        """How the stream is doing, consistent within itself.

        Parameters
        ----------
        **others
            The fields that are not known here.
        """
        with self._lock:
            now = time.perf_counter()
            return StreamStatus(
                state='running' if self._end is None else self._end.value,
                message=self._message,
                ring_size=self._ring.capacity,
                allow_overwrite=self._allow_overwrite,
                running_time=min(now, self._ended_at) - self.started_at,
                samples_received=self._received,
                samples_read=self._read,
                samples_unread=len(self._ring),
                samples_lost=self._lost,
                overflow_count=self._overflow_count,
                peak_fill=self._peak_fill,
                age=now - self._received_at if self._received else None,
                **others,
            )

    @property
    def has_untold_loss(self) -> bool:
        """Whether samples were lost since `take_lost`, by a stream that goes on."""
        return self._lost > self._lost_told and self._end is None

    def take_lost(self) -> int:
        """Return how many samples per channel were lost since the last call."""
        with self._lock:
            lost, self._lost_told = self._lost - self._lost_told, self._lost
            return lost

    # ---------------------------------------------------------------- taking out

    def read_into(
        self,
        data_buffer: np.ndarray,
        samples_per_channel: int,
        timestamp_buffer: np.ndarray | None = None,
    ) -> None:
        """Wait for samples and take them, oldest first.

        What the ring can hold is taken all at once or, if the read fails, not at all. A larger
        number streams through.

        Parameters
        ----------
        data_buffer : numpy.ndarray
            Array of the stream's data type that holds at least samples_per_channel * channels
            values; filled from its beginning, the channels of one sample side by side.
        samples_per_channel : int
            How many samples to read.
        timestamp_buffer : numpy.ndarray, optional
            float64 array of at least samples_per_channel items for the timestamps in seconds.
            Needed if the stream has timestamps, left alone otherwise.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used; see `_flat_view`.
        TimeoutError
            If not one new sample came within the silence limit. The stream goes on.
        RuntimeError
            If the stream was stopped, is finished, or the hardware failed.
        OverflowError
            If the stream ended with an overflow and fewer samples than that are left.
        """
        with naming(f'"{self.name}" cannot read'):
            count = _checked_count(samples_per_channel)
            samples, timestamps = self._targets(data_buffer, timestamp_buffer, count)
        with self._lock:
            done = 0
            while done < count:
                rest = count - done
                fits = count <= self._ring.capacity
                # The other half of the ring leaves time to come
                self._wait_for(rest if fits else min(rest, self._ring.capacity // 2 or 1), rest)
                taken = slice(done, done + min(rest, len(self._ring)))
                self._take(samples[taken], None if timestamps is None else timestamps[taken])
                done = taken.stop

    def read_available_into(
        self, data_buffer: np.ndarray, timestamp_buffer: np.ndarray | None = None
    ) -> int:
        """Take what is there and fits, without waiting.

        Parameters
        ----------
        data_buffer, timestamp_buffer : numpy.ndarray
            As in `read_into`, of any size.

        Returns
        -------
        int
            Number of samples per channel that were read.

        Raises
        ------
        TypeError, ValueError, RuntimeError, OverflowError
            As in `read_into`; an ended stream raises once nothing is left.
        """
        with naming(f'"{self.name}" cannot read'):
            samples, timestamps = self._targets(data_buffer, timestamp_buffer)
        with self._lock:
            self._look()
            is_empty = len(self._ring) == 0
            if self.is_stopped or (self._end is not None and is_empty):
                raise self._end_exception() from self._error
            count = min(len(samples), len(self._ring))
            if timestamps is not None:
                count = min(count, len(timestamps))
                timestamps = timestamps[:count]
            self._take(samples[:count], timestamps)
            return count

    def read(self, samples_per_channel: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Read samples into new arrays.

        Parameters
        ----------
        samples_per_channel : int, optional
            How many samples to wait for and take. All that are there, without waiting, if left
            out.

        Returns
        -------
        samples : numpy.ndarray
            1D array, the channels of one sample side by side.
        timestamps : numpy.ndarray or None
            1D float64 array in seconds, None if the stream has no timestamps.

        Raises
        ------
        TypeError, ValueError, TimeoutError, RuntimeError, OverflowError
            As in `read_into`.
        """
        if samples_per_channel is None:
            count = len(self._ring)
        else:
            with naming(f'"{self.name}" cannot read'):
                count = _checked_count(samples_per_channel)
        samples = np.empty(count * self._ring.channel_count, dtype=self._ring.dtype)
        timestamps = np.empty(count, dtype=np.float64) if self._ring.has_timestamps else None
        if samples_per_channel is None:
            count = self.read_available_into(samples, timestamps)
        else:
            self.read_into(samples, count, timestamps)
        samples = samples[: count * self._ring.channel_count]
        return samples, None if timestamps is None else timestamps[:count]

    def _wait_for(self, enough: int, still_missing: int) -> None:
        """Wait until `enough` samples are unread for the read to go on.

        Raises as soon as it is clear that not all that it is `still_missing` will come.
        """
        since = time.perf_counter()
        while True:
            is_short = len(self._ring) < still_missing
            if self.is_stopped or (self._end is not None and is_short):
                raise self._end_exception() from self._error
            if still_missing > len(self._ring) + self._samples_to_acquire - self._received:
                raise RuntimeError(
                    f'{still_missing} more samples were to be read from "{self.name}", but its '
                    f'finite acquisition has {self._samples_to_acquire} samples in all, of which '
                    f'{self._read} were read already. Read fewer, or start a new stream'
                )
            if len(self._ring) >= enough:
                return
            patience = None
            if self._silence_limit is not None:
                last_sign = max(since, self._received_at)
                patience = last_sign + self._silence_limit - time.perf_counter()
                patience = min(patience, threading.TIMEOUT_MAX)
                if patience <= 0:
                    raise TimeoutError(
                        f'"{self.name}" has received no new sample for {self._silence_limit:.3g} s '
                        f'({still_missing} wanted, {len(self._ring)} unread). The stream goes on: '
                        f'check the clock or trigger of the hardware and read again, or set a '
                        f'longer read_timeout'
                    )
            this_read = _WaitingRead(enough, since, threading.Condition(self._lock))
            self._awaited.append(this_read)
            try:
                self._looked_at = self._is_watched_until = -math.inf
                self._tell_needs(self._samples_to_skip + enough - len(self._ring))
                this_read.can_go_on.wait(patience)
            finally:
                self._awaited.remove(this_read)

    def _look(self) -> None:
        """Note that a program looks for samples without waiting for them."""
        if self._end is not None:
            return
        now = time.perf_counter()
        if now < self._looked_at + _ATTENTION:  # not only once before it waits
            if now > self._is_watched_until:
                self._tell_needs(0)
            self._is_watched_until = now + _ATTENTION
        self._looked_at = now

    def _take(self, samples: np.ndarray, timestamps: np.ndarray | None) -> None:
        self._ring.read_into(samples, timestamps)
        self._read += len(samples)
        if len(samples):
            self._is_overflowing = False

    def _end_exception(self) -> Exception:
        assert self._end is not None
        left = len(self._ring)
        counts = f'{self._read} samples per channel were read'
        if left and not self.is_stopped:
            counts += f', {left} more can be read'
        return _EXCEPTIONS[self._end](
            f'The stream of "{self.name}" has ended: {self._message}. ({counts}; start_stream '
            f'begins a new stream.)'
        )

    def _targets(
        self,
        data_buffer: np.ndarray,
        timestamp_buffer: np.ndarray | None,
        count: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Check the arrays that a reader handed over and return views of `count` samples.

        Without `count`, of as many samples as fit.
        """
        channel_count = self._ring.channel_count
        values = _flat_view('data_buffer', data_buffer, self._ring.dtype)
        if count is None:
            count_here = values.size // channel_count
        else:
            count_here = count
            _check_size('data_buffer', values, count * channel_count)
        samples = values[: count_here * channel_count].reshape(count_here, channel_count)
        if not self._ring.has_timestamps:
            return samples, None
        if timestamp_buffer is None:
            raise TypeError(
                'timestamp_buffer is missing: this hardware delivers a timestamp with each sample, '
                'a float64 array with one item per sample is needed'
            )
        timestamps = _flat_view('timestamp_buffer', timestamp_buffer, np.dtype(np.float64))
        if count is not None:
            _check_size('timestamp_buffer', timestamps, count)
        return samples, timestamps[:count]


def _tell_nobody(samples: float) -> None:
    pass


def _as_slice(columns: list[int]) -> slice | list[int]:
    """Neighbouring columns as a slice, which costs no copy."""
    first, last = columns[0], columns[-1]
    return slice(first, last + 1) if columns == list(range(first, last + 1)) else columns


def _checked_count(samples_per_channel: SupportsIndex) -> int:
    try:
        count = operator.index(samples_per_channel)
    except TypeError:
        raise TypeError(
            f'samples_per_channel must be an integer, got {samples_per_channel!r}'
        ) from None
    if count < 0:
        raise ValueError(f'samples_per_channel must be 0 or more, got {count}')
    return count


def _flat_view(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the flattened view of an array to fill, whatever its shape.

    Raises
    ------
    TypeError
        If it is no numpy array of that data type.
    ValueError
        If it is read-only, or its flattened view would be a copy.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f'{name} must be a numpy array of {dtype}, got {type(array).__name__}')
    if array.dtype != dtype:
        raise TypeError(f'{name} must have the data type {dtype}, got {array.dtype}')
    if not array.flags.writeable:
        raise ValueError(f'{name} is read-only, a writable array is needed')
    if not array.flags.c_contiguous:
        raise ValueError(
            f'{name} of shape {array.shape} is not contiguous in memory (C order), '
            f'numpy.ascontiguousarray or a new array makes one that is'
        )
    return np.asarray(array).reshape(-1)


def _check_size(name: str, values: np.ndarray, needed: int) -> None:
    if values.size < needed:
        raise ValueError(f'{name} holds {values.size} values, {needed} are needed')
