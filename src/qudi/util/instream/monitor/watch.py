"""Looks at the status of many buffers, here and in other processes, without waiting for any.

BufferRow     what there is to see of one buffer
History       what was to see of it lately
fill_level    how much of a buffer is to be read
LocalBuffer   a buffer of this process
RemoteBuffer  a module of another process, asked in a thread of its own
"""

from __future__ import annotations

import math
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlparse

import numpy as np

from qudi.util.instream.remote import Address, ServiceConnection
from qudi.util.instream.stream import StreamStatus

__all__ = ['BufferRow', 'History', 'LocalBuffer', 'RemoteBuffer', 'fill_level', 'is_buffer']

_RATE_SPAN = 5.0  # seconds over which the rate of samples is measured
_POINTS = 1000  # fill levels that are kept at most
_CLOCK_ERROR = 1e-6  # seconds by which the difference of two clock readings may be wrong

_PATIENCE = 10.0  # seconds for an answer


def is_buffer(module: Any) -> bool:
    """Whether a qudi module of this process is a stream buffer.

    By what its class is called and has: the class itself is another one after qudi has reloaded the
    module. And not by its `status`, since that of other modules may ask their device.
    """
    return any(
        cls.__name__ == 'DataInStreamBuffer' and hasattr(cls, 'sigSamplesLost')
        for cls in module.__class__.__mro__
    )


def fill_level(status: StreamStatus) -> float:
    """Return how much of the ring is unread, 0 to 1. What a stop has left cannot be read."""
    if not status.ring_size or status.state == 'stopped':
        return 0.0
    return status.samples_unread / status.ring_size


@dataclass(frozen=True)
class BufferRow:
    """What there is to see of one buffer."""

    name: str
    status: StreamStatus  # the latest one that it told
    is_remote: bool = False
    silent_for: float = 0.0  # seconds for which it has not answered, 0 if it does
    sample_rate: float = 0.0  # samples per channel that came per second, lately
    # Fill levels (0 to 1) of the last minutes, and one from before that. How many seconds ago they
    # were; oldest first
    ages: np.ndarray = field(default_factory=lambda: np.empty(0))
    fills: np.ndarray = field(default_factory=lambda: np.empty(0))


class History:
    """Latest figures of a buffer: fill levels, and the rate at which samples come.

    Parameters
    ----------
    span : float
        Seconds for which fill levels are kept: the highest of those that are close together.
    """

    def __init__(self, span: float) -> None:
        self._span = span
        # Twice as long as needed, so that the latest ones are moved to the front now and then only
        self._points = np.empty((2, 2 * _POINTS))  # times and fill levels
        self._end = 0
        # (time, number) at which samples came
        self._arrivals: deque[tuple[float, int]] = deque()

    def add(self, status: StreamStatus, now: float) -> None:
        """Note a status, and when it was told, by perf_counter."""
        fill, last = fill_level(status), self._end - 1
        if self._end and now - self._points[0, last] < self._span / _POINTS:
            self._points[1, last] = max(fill, self._points[1, last])
        else:
            if self._end == self._points.shape[1]:
                self._points[:, :_POINTS] = self._points[:, _POINTS:]
                self._end = _POINTS
            self._points[:, self._end] = now, fill
            self._end += 1
        if status.state != 'running' or status.age is None:
            self._arrivals.clear()
            return
        arrival = (status.running_time - status.age, status.samples_received)
        if self._arrivals:
            since, before = self._arrivals[-1]
            if arrival[0] < since - _CLOCK_ERROR or arrival[1] < before:  # another stream
                self._arrivals.clear()
        self._arrivals.append(arrival)
        while self._arrivals[0][0] < status.running_time - _RATE_SPAN:
            if len(self._arrivals) == 1:
                break
            self._arrivals.popleft()

    def row(self, name: str, status: StreamStatus, now: float, is_remote: bool) -> BufferRow:
        """Return what there is to see of the buffer."""
        first = np.searchsorted(self._points[0, : self._end], now - self._span)
        times, fills = self._points[:, max(0, first - 1) : self._end]
        return BufferRow(
            name,
            status,
            is_remote,
            sample_rate=self._sample_rate,
            ages=now - times,
            fills=fills.copy(),
        )

    @property
    def _sample_rate(self) -> float:
        if not self._arrivals:
            return 0.0
        (since, before), (until, now) = self._arrivals[0], self._arrivals[-1]
        return (now - before) / (until - since) if until > since else 0.0


class LocalBuffer:
    """A buffer in this process.

    Parameters
    ----------
    name : str
        Name of the module.
    module : DataInStreamBuffer
        Kept weakly.
    history : float
        For how many seconds a row has fill levels.
    """

    def __init__(self, name: str, module: Any, history: float) -> None:
        self._name = name
        self._module = weakref.ref(module)
        self._history = History(history)

    def is_of(self, module: object) -> bool:
        """Whether this is the module."""
        return self._module() is module

    def row(self) -> BufferRow | None:
        """Return what there is to see now; None if the buffer is not activated."""
        status = self._status()
        if status is None:
            return None
        now = time.perf_counter()
        self._history.add(status, now)
        return self._history.row(self._name, status, now, is_remote=False)

    def _status(self) -> StreamStatus | None:
        module = self._module()
        try:
            return None if module is None else module.status
        except RuntimeError:  # it is not activated, or not any more
            return None

    def close(self) -> None:
        """Nothing has to be given back."""


class RemoteBuffer:
    """A module in another process, which may turn out to be a buffer.

    It is asked over a connection of its own: that of qudi serves one call at a time, and a read may
    wait in it. What does not answer keeps only the thread waiting that asks.

    Parameters
    ----------
    name : str
        Name of the module here.
    address : tuple of str or None
        URL, certificate and key, as qudi's `get_remote_module_instance` takes them.
    history : float
        For how many seconds a row has fill levels.
    retry_interval : float
        Seconds until a process that cannot be reached, or has no such active buffer, is asked
        again.
    """

    def __init__(
        self, name: str, address: tuple[str, Any, Any], history: float, retry_interval: float
    ) -> None:
        self._name = name
        self._retry_interval = retry_interval
        self._address = address
        self._history = History(history)
        self._row: BufferRow | None = None  # replaced as a whole, by the thread
        self._answered_at = math.inf
        self._is_asked = True  # and has not answered yet
        self._wake = threading.Event()
        self._closing = threading.Event()
        # A daemon: one that hangs in the network must not keep the process
        threading.Thread(target=self._run, name=f'instream-watch-{name}', daemon=True).start()

    def is_of(self, address: object) -> bool:
        """Whether this is its address."""
        return self._address == address

    def row(self) -> BufferRow | None:
        """Return what it told last, and ask again; None if it is no active buffer, as far as known.

        Never waits.
        """
        row, answered_at, is_asked = self._row, self._answered_at, self._is_asked
        self._wake.set()
        if row is None or not is_asked:
            return row
        silent_for = max(0.0, time.perf_counter() - answered_at)
        return replace(row, silent_for=silent_for, sample_rate=0.0, ages=row.ages + silent_for)

    def close(self) -> None:
        """End the thread as soon as the call in progress returns. Does not wait."""
        self._closing.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._closing.is_set():
            # Whatever keeps it from answering, it is tried again and shown as silent meanwhile
            with suppress(Exception):
                self._watch()
            self._is_asked = True
            self._closing.wait(self._retry_interval)

    def _watch(self) -> None:
        """Connect, and ask for the status whenever it is to be shown."""
        connection = ServiceConnection(self._address_of_buffer, _PATIENCE)
        try:
            while not self._closing.is_set():
                self._is_asked = True
                try:
                    status = StreamStatus(**dict(connection.call('status', seconds=_PATIENCE)))
                except (RuntimeError, TypeError):  # not activated, no buffer, or of another version
                    # Over the same connection, since qudi there logs each new one
                    self._answer(None)
                    connection.forget_buffer()
                    self._closing.wait(self._retry_interval)
                    continue
                self._answer(status)
                self._wake.wait()
                self._wake.clear()
        finally:
            connection.close()

    @property
    def _address_of_buffer(self) -> Address:
        url, certfile, keyfile = self._address
        parsed = urlparse(url)
        return Address(
            str(parsed.hostname), int(parsed.port or 0), parsed.path.strip('/'), certfile, keyfile
        )

    def _answer(self, status: StreamStatus | None) -> None:
        now = time.perf_counter()
        if status is None:
            self._row = None
        else:
            self._history.add(status, now)
            self._row = self._history.row(self._name, status, now, is_remote=True)
        self._answered_at = now
        self._is_asked = False
