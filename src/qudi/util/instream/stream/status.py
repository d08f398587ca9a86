"""How a buffer's stream is doing, and why it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

__all__ = ['StreamEnd', 'StreamEnding', 'StreamStatus']


class StreamEnd(Enum):
    """Why a stream ended."""

    STOPPED = 'stopped'  # by its buffer: stop, deactivation, or another start
    OVERFLOW = 'overflow'  # unread samples would have been overwritten
    FINISHED = 'finished'  # a finite acquisition is complete
    FAULT = 'fault'  # the device failed


@dataclass(frozen=True)
class StreamEnding:
    """The end of a stream: why, what happened, the exception behind it, and when."""

    cause: StreamEnd
    message: str
    error: BaseException | None = None
    at: float = field(default_factory=time.perf_counter)

    def exception(self, name: str, read: int, unread: int, lost: int = 0) -> Exception:
        """Return what a read raises: how many samples were read, are left, and lost with it."""
        counts = f'{read} samples per channel were read'
        if lost:
            counts += f', {lost} more are lost with this read'
        if unread and self.cause is not StreamEnd.STOPPED:
            counts += f', {unread} more can be read'
        kind = OverflowError if self.cause is StreamEnd.OVERFLOW else RuntimeError
        exception = kind(
            f'The stream of "{name}" has ended: {self.message}. ({counts}; start_stream begins a '
            f'new stream.)'
        )
        exception.__cause__ = self.error
        return exception


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
    # Add it to a timestamp of this buffer to get the device's own (s); buffers of one device can
    # so be brought to one time
    timestamp_offset: float = 0.0
