"""The streaming device as the distributor sees it: what it is set to, and its samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from qudi.interface.data_instream_interface import SampleTiming, StreamingMode
from qudi.util.network import netobtain

from qudi.util.instream.settings import StreamSettings

__all__ = ['StreamHardware']

# Size of the array between hardware and rings (bytes): it should stay in the processor's cache
_STAGING_BYTES = 2**20


class StreamHardware:
    """A hardware module, and what is known about the stream that was started on it.

    Not safe for use by several threads at once, except for the properties that only ask.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module.
    """

    def __init__(self, streamer: Any) -> None:
        self._streamer = streamer
        self.name = str(netobtain(streamer.module_name))
        self.constraints = netobtain(streamer.constraints)
        self.rate_is_hint = self.constraints.sample_timing is not SampleTiming.CONSTANT
        self.has_timestamps = self.constraints.sample_timing is SampleTiming.TIMESTAMP
        # The request it was last configured with, and what it reported right after
        self.applied: StreamSettings | None = None
        self._reported: StreamSettings | None = None
        self.samples_taken = 0  # since its start
        self._buffer_size = 0  # samples per channel that it holds at most, since its start
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
        return float(netobtain(self._streamer.sample_rate))

    @property
    def active_channels(self) -> list[str]:
        """The channels that it delivers, in its own order."""
        return list(netobtain(self._streamer.active_channels))

    @property
    def available_samples(self) -> int:
        """Number of samples per channel that it can deliver at once."""
        return int(netobtain(self._streamer.available_samples))

    def reported(self) -> StreamSettings:
        """Return what it says that it is set to; the rate may be rounded or measured."""
        return StreamSettings(
            tuple(self.active_channels),
            StreamingMode(netobtain(self._streamer.streaming_mode).value),
            netobtain(self._streamer.channel_buffer_size),
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
        self._buffer_size = int(netobtain(self._streamer.channel_buffer_size))
        self._streamer.start_stream()
        self._check_running()

    def stop(self) -> None:
        """Stop it if it runs; its errors pass unchanged."""
        if self.is_running:
            self._streamer.stop_stream()

    def read(self, limit: float) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Take what it has, at most `limit` samples per channel.

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
        available = self.available_samples
        is_running = self.is_running
        # A device may go idle when its finite acquisition is complete, with samples to fetch
        is_complete = self.applied is not None and self.applied.is_finite and available > 0
        if not is_running and not is_complete:
            self._check_running()
        # Some devices break when they are asked for more than they have
        rest = int(min(available, self._buffer_size, limit))
        while rest > 0:
            count = min(rest, len(self._staging))
            samples = self._staging[:count]
            timestamps = None
            if self._staging_timestamps is not None:
                timestamps = self._staging_timestamps[:count]
            self._streamer.read_data_into_buffer(
                data_buffer=samples.reshape(-1),
                samples_per_channel=count,
                timestamp_buffer=timestamps,
            )
            if is_running:
                # Some devices stop themselves after an error and return as if all were well
                self._check_running()
            self.samples_taken += count
            yield samples, timestamps
            rest -= count

    def _check_running(self) -> None:
        state = self._state
        if state != 'locked':
            raise RuntimeError(
                f'"{self.name}" is {state} instead of running: somebody else has stopped it, or it '
                f'has stopped itself after an error that its own log lines tell'
            )
