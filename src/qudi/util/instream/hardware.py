"""The streaming device as the distributor sees it: what it is set to, and its samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from qudi.interface.data_instream_interface import SampleTiming, StreamingMode

from qudi.util.instream.clock import SampleClock
from qudi.util.instream.guard import StartGuard
from qudi.util.instream.remote import RemoteStreamer, is_remote
from qudi.util.instream.settings import StreamSettings

__all__ = ['StreamHardware']

# Size of the array between hardware and rings (bytes): it should stay in the processor's cache
_STAGING_BYTES = 2**21


class StreamHardware:
    """A hardware module, and what is known about the stream that was started on it.

    Not safe for use by several threads at once, except for the properties that only ask.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module.
    """

    def __init__(self, streamer: Any) -> None:
        constraints = streamer.constraints
        self._is_remote = is_remote(constraints)
        self._streamer = RemoteStreamer(streamer, constraints) if self._is_remote else streamer
        self.name = str(self._streamer.module_name)
        # Nothing can be put in front of a method in another process
        self._guard = None if self._is_remote else StartGuard(streamer, self.name)
        self.constraints = self._streamer.constraints
        self.rate_is_hint = self.constraints.sample_timing is not SampleTiming.CONSTANT
        self.has_timestamps = self.constraints.sample_timing is SampleTiming.TIMESTAMP
        # The request it was last configured with, and what it reported right after
        self.applied: StreamSettings | None = None
        self._reported: StreamSettings | None = None
        self.samples_taken = 0  # since its start
        self._buffer_size = 0  # samples per channel that it holds at most, since its start
        self._clock: SampleClock | None = None  # of its stream, if that is regular
        # When it answered how many samples it has (by perf_counter), and whether more were foreseen
        self.asked_at = 0.0
        self.asked_too_early = False
        self._staging = np.empty((0, 1))
        self._staging_timestamps: np.ndarray | None = None

    @property
    def is_running(self) -> bool:
        """Whether it streams, whoever has started it."""
        return self._state == 'locked'

    @property
    def _state(self) -> str:
        return str(self._streamer.module_state())

    @property
    def sample_rate(self) -> float:
        """Its live sample rate in Hz."""
        return float(self._streamer.sample_rate)

    @property
    def active_channels(self) -> list[str]:
        """The channels that it delivers, in its own order."""
        return list(self._streamer.active_channels)

    @property
    def available_samples(self) -> int:
        """Number of samples per channel that it can deliver at once."""
        return int(self._streamer.available_samples)

    def reported(self) -> StreamSettings:
        """Return what it says that it is set to; the rate may be rounded or measured."""
        return StreamSettings(
            tuple(self.active_channels),
            StreamingMode(self._streamer.streaming_mode.value),
            self._streamer.channel_buffer_size,
            self.sample_rate,
        )

    def held(self) -> StreamSettings:
        """Return the request that it holds, or what it reports if others changed it since."""
        now = self.reported()
        is_as_left = self._reported is not None and now.is_same_as(
            self._reported, self.rate_is_hint
        )
        if self.applied is None or not is_as_left:
            self.applied = self._reported = now
        return self.applied

    def configure(self, request: StreamSettings) -> None:
        """Configure it; its errors pass unchanged."""
        self._streamer.configure(
            active_channels=list(request.channels),
            streaming_mode=request.streaming_mode,
            channel_buffer_size=request.channel_buffer_size,
            sample_rate=request.sample_rate,
        )
        self.applied = request
        self._reported = self.reported()

    def start(self) -> None:
        """Start it; its errors pass unchanged.

        Raises
        ------
        RuntimeError
            If it does not run afterwards.
        """
        channel_count = len(self.active_channels)
        dtype = np.dtype(self.constraints.data_type)
        rows = max(1, _STAGING_BYTES // (channel_count * dtype.itemsize))
        self._staging = np.empty((rows, channel_count), dtype=dtype)
        self._staging_timestamps = np.empty(rows) if self.has_timestamps else None
        self.samples_taken = 0
        self._buffer_size = int(self._streamer.channel_buffer_size)
        (self._guard or self._streamer).start_stream()
        started_at = time.perf_counter()
        self._check_running()
        self._clock = None
        if not self.rate_is_hint:
            rate = self.sample_rate
            if 0 < rate < math.inf:
                self._clock = SampleClock(rate, started_at)

    def stop(self) -> None:
        """Stop it if it runs, and not for somebody else; its errors pass unchanged."""
        is_of_others = self._guard is not None and self._guard.is_of_others
        try:
            if not is_of_others and self.is_running:
                self._streamer.stop_stream()
        finally:
            if self._guard is not None:
                self._guard.release()

    def starting(self) -> AbstractContextManager[None]:
        """Keep others in this process from starting it meanwhile.

        Raises
        ------
        RuntimeError
            If somebody else is about to start it.
        """
        return nullcontext() if self._guard is None else self._guard.starting()

    def leave(self) -> None:
        """Give it back as it was."""
        if self._guard is not None:
            self._guard.remove()

    def time_of_next(self, count: float) -> float:
        """Return when it will have the next `count` samples, by `perf_counter`.

        -inf, which means as soon as may be, for none, or if that cannot be known. May be called
        from any thread.
        """
        clock = self._clock
        if clock is None or count <= 0:
            return -math.inf
        return clock.time_of(self.samples_taken + count)

    @property
    def half_of_buffer(self) -> int:
        """Number of samples that fill half of its own buffer, at least 1."""
        return max(1, self._buffer_size // 2)

    def read(
        self,
        limit: float,
        lend: Callable[[int], tuple[np.ndarray, np.ndarray | None] | None],
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Take what it has, at most `limit` samples per channel.

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
            If it does not run, or did not any more after a read.
        Exception
            What it raises itself.
        """
        # First: what a device has after it went idle is all that there will be
        is_running = self.is_running
        before = time.perf_counter()
        available = self.available_samples
        self.asked_at = time.perf_counter()
        self.asked_too_early = self._clock is not None and not self._clock.look(
            self.samples_taken + available, before, self.asked_at
        )
        # A device may go idle when its finite acquisition is complete, with samples to fetch
        is_complete = self.applied is not None and self.applied.is_finite and available > 0
        if not is_running and not is_complete:
            self._check_running()
        # Some devices break when they are asked for more than they have
        rest = int(min(available, self._buffer_size, limit))
        while rest > 0:
            wanted = min(rest, len(self._staging))
            if self._is_remote:  # it cannot write here
                samples, timestamps = self._streamer.read_data(wanted)
                samples = samples.reshape(wanted, self._staging.shape[1])
            else:
                samples, timestamps = lend(wanted) or self._own_place(wanted)
                self._streamer.read_data_into_buffer(
                    data_buffer=samples.reshape(-1),
                    samples_per_channel=len(samples),
                    timestamp_buffer=timestamps,
                )
            count = len(samples)
            # Some devices stop themselves after an error and return as if all were well
            if is_running and not self.is_running and not self._is_complete_with(count):
                self._check_running()
            self.samples_taken += count
            yield samples, timestamps
            rest -= count

    def _is_complete_with(self, count: int) -> bool:
        """Whether a finite acquisition is, with `count` more samples and those still to fetch."""
        if self.applied is None or not self.applied.is_finite:
            return False
        in_all = self.samples_taken + count + self.available_samples
        return in_all >= self.applied.channel_buffer_size

    def _own_place(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        timestamps = self._staging_timestamps
        return self._staging[:count], None if timestamps is None else timestamps[:count]

    def _check_running(self) -> None:
        state = self._state
        if state != 'locked':
            raise RuntimeError(
                f'"{self.name}" is {state} instead of running: somebody else has stopped it, or it '
                f'has stopped itself after an error that its own log lines tell'
            )
