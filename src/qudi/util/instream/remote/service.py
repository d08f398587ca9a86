"""What a buffer does for a `RemoteDevice` in another process. Only plain values come and go."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from qudi.interface.data_instream_interface import StreamingMode

from qudi.util.instream.host import calling_connection, channel_of
from qudi.util.instream.remote.client import RemoteClient, calling_client
from qudi.util.instream.remote.values import plain, plain_constraints, plain_settings
from qudi.util.instream.remote.wire import PlainChannel
from qudi.util.instream.stream import BufferedStream, StreamEnd, StreamTaker

__all__ = ['PROTOCOL', 'StreamService']

# Changes whenever requests or replies do
PROTOCOL = 2

Owner = tuple[str, int]

# An array that is not larger goes with the reply, in one packet
_SMALL_BYTES = 2**14

# Errors that are raised again in the client; others become RuntimeError
_KINDS = (ValueError, TypeError, OverflowError, MemoryError, TimeoutError)


class _Started(NamedTuple):
    """A stream that was started for a client."""

    owner: Owner  # the client, and which of its starts
    stream: BufferedStream
    taker: StreamTaker
    client: RemoteClient | None  # the connection that it was started over


class StreamService:
    """The requests of clients to one buffer.

    Nothing is kept of a client but the stream that was started for it, so that it may come back
    over another connection.

    Parameters
    ----------
    buffer : DataInStreamBuffer
        Kept weakly.
    """

    def __init__(self, buffer: Any) -> None:
        self._buffer = weakref.ref(buffer)
        # One value, since each connection has a thread of its own
        self._started: _Started | None = None
        self._requests: dict[str, Callable[..., Any]] = {
            'join': self._join,
            'describe': self._describe,
            'configure': self._configure,
            'status': self._tell_status,
            'start': self._start,
            'fetch': self._fetch,
            'hurry': self._hurry,
            'stop': self._stop,
        }

    def call(self, request: str, *values: Any) -> tuple[Any, ...]:
        """Do what a client asks for.

        Parameters
        ----------
        request : str
            What to do.
        *values
            Plain values: numbers, texts, None, and tuples of them.

        Returns
        -------
        tuple
            True and the result, or False with class and text of an error: rpyc would add to the
            text, and lose that of some classes.
        """
        try:
            return True, self._requests[request](*values)
        except Exception as error:
            kind = next((kind for kind in _KINDS if isinstance(error, kind)), RuntimeError)
            return False, kind.__name__, str(error)

    @property
    def _module(self) -> Any:
        buffer = self._buffer()
        if buffer is None:
            raise RuntimeError('the buffer was reloaded, start the stream again')
        return buffer

    # ---------------------------------------------------------------- requests

    def _join(self) -> None:
        """Have what is sent over one more connection of a client go out at once."""
        calling_client()

    def _describe(self) -> tuple[Any, ...]:
        self._join()
        module = self._module
        return (
            PROTOCOL,
            plain_constraints(module.constraints),
            np.dtype(module.constraints.data_type).str,
            plain_settings(module),
        )

    def _tell_status(self) -> tuple[Any, ...]:
        """Return names and values of a StreamStatus."""
        self._join()
        return tuple((name, plain(value)) for name, value in vars(self._module.status).items())

    def _configure(
        self, channels: tuple[Any, ...], mode: str, size: int, rate: float
    ) -> tuple[Any, ...]:
        self._module.configure(channels, StreamingMode[mode], size, rate)
        return plain_settings(self._module)

    def _start(self, owner: Owner, request: tuple[Any, ...] | None) -> tuple[Any, ...]:
        """Start a stream for a client, configured as it has requested."""
        earlier = self._started
        if earlier is not None and earlier.owner[0] == owner[0]:
            self._end(earlier)
        module = self._module
        if request is not None and plain_settings(module) != request:
            if self._is_taken:  # a start tells who has it
                module.start_stream()
            self._configure(*request)
        module.start_stream()
        stream = module.stream
        self._started = stream and _Started(owner, stream, StreamTaker(stream), calling_client())
        return plain_settings(self._module)

    @property
    def _is_taken(self) -> bool:
        stream = self._module.stream
        return stream is not None and not stream.has_ended and not stream.is_abandoned

    def _started_by(self, owner: Owner) -> _Started | None:
        """Return the stream of that start of a client, None if it is over or another's by now."""
        started = self._started
        return started if started is not None and started.owner == owner else None

    def _forget(self, started: _Started) -> None:
        if self._started is started:  # else another client's start came before
            self._started = None

    def _end(self, started: _Started) -> None:
        """End the stream of a client, which may come back over another connection."""
        self._forget(started)
        started.stream.end(StreamEnd.STOPPED, 'its client has stopped it')

    def _stop(self, owner: Owner) -> None:
        started = self._started_by(owner)
        if started is None:
            return
        _hurry(started)
        # One that has ended by itself may make way for another program's at this moment
        was_running = not started.stream.has_ended
        client = calling_client()
        if client is None or started.client is None or not started.client.is_same_as(client):
            self._end(started)  # whatever connection it was started over
        self._forget(started)
        if was_running and self._module.stream is started.stream:
            self._module.stop_stream()

    def _fetch(self, owner: Owner, wanted: int, most: int, seconds: float) -> tuple[Any, ...]:
        """Wait for samples for a time, and hand over what is there then, oldest first.

        Parameters
        ----------
        owner : tuple of str and int
            The client, and which of its starts it means. A request that comes late must not take
            samples of the next stream.
        wanted : int
            For how many samples per channel to wait.
        most : int
            How many it takes at most.
        seconds : float
            How long to wait at most.

        Returns
        -------
        samples : bytes or True
            Values of the channels side by side. True for many, which are sent as an array before.
        timestamps : bytes, True or None
            float64 values in s.
        left : int
            Samples per channel that are unread then.
        lost : int
            Samples per channel that were overwritten unread since the start; of an overflow at the
            end, `end` tells.
        silent_for : float
            Seconds since the device was asked last.
        rate : float
            Sample rate in Hz.
        end : tuple or None
            If there will be no more samples: value of the StreamEnd, and why.
        """
        started = self._started_by(owner)
        if started is None:
            return b'', None, 0, 0, 0.0, 0.0, ('stopped', 'it was started again')
        samples, timestamps = started.taker.take(wanted, most, seconds)
        status = started.stream.status()
        end = None
        if status.state != 'running' and (not status.samples_unread or status.state == 'stopped'):
            end = (status.state, status.message)
        return (
            self._sent(samples),
            None if timestamps is None else self._sent(timestamps),
            status.samples_unread,
            0 if status.state == 'overflow' else status.samples_lost,
            time.perf_counter() - started.stream.polled_at,
            self._rate(),
            end,
        )

    def _sent(self, array: np.ndarray) -> bytes | bool:
        """Return bytes of an array for the reply, or send them before it."""
        connection = calling_connection() if array.nbytes > _SMALL_BYTES else None
        channel = None if connection is None else channel_of(connection)
        if not isinstance(channel, PlainChannel):
            return array.tobytes()
        channel.send_array(array)
        return True

    def _rate(self) -> float:
        try:
            rate = float(self._module.sample_rate)
        except Exception:  # it is being deactivated
            return 0.0
        return rate if math.isfinite(rate) else 0.0

    def _hurry(self, owner: Owner) -> None:
        """Have a `fetch` that waits return with what is there."""
        started = self._started_by(owner)
        if started is not None:
            _hurry(started)


def _hurry(started: _Started) -> None:
    with started.stream.lock:
        started.stream.readers.hurry()
