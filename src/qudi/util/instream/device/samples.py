"""The samples of a device, from its start to its stop: when they come, and how they are read."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from qudi.util.instream.device.clock import SampleClock
from qudi.util.instream.device.state import DeviceState

__all__ = ['DeviceSamples', 'DeviceTime', 'Piece']

Piece = tuple[np.ndarray, np.ndarray | None]  # samples of shape (count, channels), timestamps (s)

# Size of the array between hardware and rings (bytes): it should stay in the processor's cache
_STAGING_BYTES = 2**21

# A poll goes on for so long while there is more to fetch (s)
_LONGEST_POLL = 0.1

# Some devices fetch samples only inside a read. One that has shown none for so long is asked to,
# and asked again after twice that time (s)
_FETCH_INTERVAL = 1.0

# A device is polled often for so long after its start (s), since it may be faster than it says
_PROVING_TIME = 0.25

# How fast the computer's clock and that of a device may drift apart
_DRIFT = 1e-4


class DeviceTime:
    """What was taken from a device since its start, and what time it is by its own clock."""

    def __init__(self) -> None:
        self.taken = 0  # samples since the start
        self.lost_before = 0  # samples that are missing before those that come next
        self._started_at = time.perf_counter()
        # When the device's own time was 0, by perf_counter, as far as timestamps tell
        self._zero_at = math.inf
        self._zero_seen_at = 0.0
        # When the device had told how many samples it has, and before it was asked (by
        # perf_counter)
        self.asked_at = self.asked_from = self._started_at

    @property
    def own_time(self) -> float:
        """Seconds that have passed by the device's own time, which its timestamps tell."""
        now = time.perf_counter()
        return now - (self._started_at if math.isinf(self._zero_at) else self._zero_at)

    def forget_demand(self) -> None:
        """Forget for how many samples `time_of_next` was asked; what is still wanted follows."""

    def _note_taken(self, count: int, timestamps: np.ndarray | None) -> None:
        self.taken += count
        if timestamps is not None and count:
            # The later a sample is seen, the later its own time seems to have begun
            now = time.perf_counter()
            drifted = self._zero_at + _DRIFT * (now - self._zero_seen_at)
            self._zero_at = min(drifted, now - float(timestamps[count - 1]))
            self._zero_seen_at = now


class DeviceSamples(DeviceTime):
    """The samples of one run of a device. For the device's thread, but for `time_of_next`.

    Parameters
    ----------
    streamer : DataInStreamInterface or RemoteStreamer
        The hardware module, which has just been started.
    state : DeviceState
        Its state.
    channel_count : int
        Number of values of a sample.
    dtype : numpy.dtype
        Data type of the samples.
    has_timestamps : bool
        Whether a timestamp belongs to each sample.
    is_remote : bool
        Whether it is in another process, and cannot write into arrays here.
    sample_rate : float, optional
        Samples per second, if they come regularly.
    samples_to_acquire : float
        Samples per channel after which it may stop by itself; infinite if endless.
    buffer_size : int
        Samples per channel that it says it can hold; 0 if it does not tell.
    """

    def __init__(
        self,
        streamer: Any,
        state: DeviceState,
        channel_count: int,
        dtype: np.dtype,
        has_timestamps: bool = False,
        is_remote: bool = False,
        sample_rate: float | None = None,
        samples_to_acquire: float = math.inf,
        buffer_size: int = 0,
    ) -> None:
        super().__init__()
        self._streamer = streamer
        self._state = state
        self._is_remote = is_remote
        self._to_acquire = samples_to_acquire
        self._buffer_size = buffer_size
        rows = max(1, _STAGING_BYTES // (channel_count * dtype.itemsize))
        self._staging = np.empty((rows, channel_count), dtype=dtype)
        self._timestamps = np.empty(rows) if has_timestamps else None
        self._clock = None if sample_rate is None else SampleClock(sample_rate, self._started_at)
        self.asked_too_early = False  # more were foreseen
        self._has_shown_any = False
        self.hides_some = False  # they come out of reads only
        self._fetch_interval = _FETCH_INTERVAL
        self._fetch_at = self._started_at + _FETCH_INTERVAL

    # ---------------------------------------------------------------- time

    def time_of_next(self, count: float) -> float:
        """Return when the device will have the next `count` samples, by `perf_counter`.

        -inf, which means as soon as may be, for none, or if that cannot be known. May be called
        from any thread.
        """
        if self._clock is None or count <= 0:
            return -math.inf
        return self._clock.time_of(self.taken + count)

    def time_of_look(self, allowed_at: float) -> float:
        """Return when a poll is of use for a program that takes whatever is there."""
        return allowed_at

    def time_of_filling(self, count: float) -> float:
        """Return when the device will have so many samples, for which no read waits."""
        return self.time_of_next(count)

    @property
    def is_rate_proven(self) -> bool:
        """Whether it is known how fast samples come, so far as that can be known."""
        return self._clock is None or self.asked_at > self._started_at + _PROVING_TIME

    # ---------------------------------------------------------------- reading

    def read(self, limit: float, lend: Callable[[int], Piece | None]) -> Iterator[Piece]:
        """Take what the device has, at most `limit` samples per channel.

        Parameters
        ----------
        limit : int or inf
            How many samples to take at most.
        lend : callable
            Called with a number of samples, may return arrays for some or all of them, to be used
            instead of its own.

        Yields
        ------
        samples : numpy.ndarray
            Array of shape (count, channels), valid until the next one is asked for.
        timestamps : numpy.ndarray or None
            Their float64 timestamps in seconds.

        Raises
        ------
        RuntimeError
            If the device does not run, or did not any more after a read.
        BaseException
            What it raises itself.
        """
        # First: what a device has after it went idle is all that there will be
        is_running = self._state.is_running
        available = self._ask()
        # A device may go idle when its finite acquisition is complete, with samples to fetch
        is_over = available == 0 and not self.hides_some
        if not is_running and (math.isinf(self._to_acquire) or is_over):
            self._state.check_running()
        is_fetch_due = not self._has_shown_any and self.asked_at > self._fetch_at
        if self.hides_some or (is_fetch_due and not self._is_remote):
            yield from self._fetch(limit, is_running)
            return
        while available > 0:
            # Some devices break when they are asked for more than they have
            rest = int(min(available, limit))
            limit -= rest
            while rest > 0:
                samples, timestamps = self._take(min(rest, len(self._staging)), lend, is_running)
                yield samples, timestamps
                rest -= len(samples)
                if time.perf_counter() > self.asked_at + _LONGEST_POLL:
                    return
            # What takes long leaves more behind, and some devices tell of a part only
            is_backlog = available >= len(self._staging) or 0 < self._buffer_size <= available
            if not is_backlog or limit <= 0:
                return
            available = int(self._streamer.available_samples)

    def _ask(self) -> int:
        """Ask the device how many samples it has, and learn from that when they come."""
        before = time.perf_counter()
        available = int(self._streamer.available_samples)
        after = time.perf_counter()
        self.asked_from, self.asked_at = before, after
        self.asked_too_early = False
        if not self.hides_some:
            self._learn(available)
        self._has_shown_any = self._has_shown_any or available > 0
        return available

    def _learn(self, available: int) -> None:
        """Learn when samples come from how many there are, taken or not, since it was asked."""
        if self._clock is not None:
            count = self.taken + available
            self.asked_too_early = not self._clock.look(count, self.asked_from, time.perf_counter())

    def _take(self, count: int, lend: Callable[[int], Piece | None], is_running: bool) -> Piece:
        """Read so many samples, or fewer where less room is lent."""
        if self._is_remote:
            samples, timestamps = self._streamer.read_data(count)
            samples = samples.reshape(count, self._staging.shape[1])
        else:
            samples, timestamps = lend(count) or self._own_place(count)
            self._streamer.read_data_into_buffer(
                data_buffer=samples.reshape(-1),
                samples_per_channel=len(samples),
                timestamp_buffer=timestamps,
            )
        # Some devices stop themselves after an error and return as if all were well
        if is_running and not self._state.is_running and not self._is_complete_with(len(samples)):
            self._state.check_running()
        self._note_taken(len(samples), timestamps)
        return samples, timestamps

    def _is_complete_with(self, count: int) -> bool:
        """Whether a finite acquisition is, with `count` more samples and those still to fetch."""
        if math.isinf(self._to_acquire):
            return False
        missing = self._to_acquire - self.taken - count
        return missing <= 0 or int(self._streamer.available_samples) >= missing

    def _fetch(self, limit: float, is_running: bool) -> Iterator[Piece]:
        """Take what a device has that tells of samples only inside a read."""
        self._fetch_interval *= 2  # it costs some devices a lot
        self._fetch_at = self.asked_at + self._fetch_interval
        while limit > 0 and time.perf_counter() < self.asked_at + _LONGEST_POLL:
            rows = int(min(len(self._staging), limit))
            samples, timestamps = self._own_place(rows)
            try:
                count = int(
                    self._streamer.read_available_data_into_buffer(
                        data_buffer=samples.reshape(-1), timestamp_buffer=timestamps
                    )
                )
            except Exception:
                if self.hides_some:
                    raise
                self._fetch_at = math.inf  # it does not fetch like this
                return
            if count == 0 or not (is_running or self._is_complete_with(count)):
                self._state.check_running()
            if count == 0:
                return
            self.hides_some = True
            if count < rows:  # that is all there was
                self._learn(count)
            timestamps = None if timestamps is None else timestamps[:count]
            self._note_taken(count, timestamps)
            yield samples[:count], timestamps
            if count < rows:
                return
            limit -= count

    def _own_place(self, count: int) -> Piece:
        timestamps = self._timestamps
        return self._staging[:count], None if timestamps is None else timestamps[:count]
