"""Tells what becomes of a buffer's streams, in states, signals and log lines."""

from __future__ import annotations

import atexit
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from qudi.core.logger import get_logger

from qudi.util.instream.stream import BufferedStream, StreamStatus, TimeLimits

__all__ = ['BufferReports', 'with_calls']

_log = get_logger(__name__)

_CLOSE_PATIENCE = 0.2  # s for which the last reports are waited for
_EXIT_PATIENCE = 1.0  # the same for those of all buffers, when a program ends

# Whose threads run
_running: set[BufferReports] = set()


class _Limiter:
    """Tells a value at most once per interval, and what came meanwhile together after it."""

    def __init__(
        self,
        interval: float,
        nothing: Any,
        add: Callable[[Any, Any], Any],
        tell: Callable[[Any], None],
    ) -> None:
        self._interval = interval
        self._nothing = self._untold = nothing
        self._add = add
        self._tell = tell
        self._allowed_at = -math.inf

    def add(self, value: Any) -> None:
        self._untold = self._add(self._untold, value)

    def drop(self) -> None:
        self._untold = self._nothing

    @property
    def due(self) -> float:
        """When it has to tell something, by perf_counter."""
        return math.inf if self._untold == self._nothing else self._allowed_at

    def tell_if_due(self, now: float) -> None:
        if self._untold != self._nothing and self._allowed_at <= now:
            value, self._untold = self._untold, self._nothing
            try:
                self._tell(value)
            finally:  # a slot may take its time
                self._allowed_at = time.perf_counter() + self._interval


class BufferReports:
    """Reports about one buffer, made in a thread of its own.

    Log handlers and slots of users run there. They may take their time, and call the buffer: no
    other thread waits for them. All methods may be called from any thread and return at once.

    Parameters
    ----------
    name : str
        Name of the buffer.
    follow_state : callable
        Called without arguments after a stream of the buffer has begun or ended.
    tell_ended : callable
        Called with the value of the StreamEnd, at most once a second.
    tell_lost : callable
        Called with the number of samples per channel that were lost, at most once a second.
    limits : TimeLimits
        The shortest times between reports of a kind.
    """

    def __init__(
        self,
        name: str,
        follow_state: Callable[[], None],
        tell_ended: Callable[[str], None],
        tell_lost: Callable[[int], None],
        limits: TimeLimits,
    ) -> None:
        self._name = name
        self._follow_state = follow_state
        self._reports: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ends = _Limiter(limits.between_signals, '', lambda _, end: end, tell_ended)
        self._losses = _Limiter(limits.between_signals, 0, int.__add__, tell_lost)
        self._logged_losses = _Limiter(
            limits.between_log_lines, 0, int.__add__, partial(_log_lost, name)
        )
        self._limiters = (self._ends, self._losses, self._logged_losses)
        self._lost_told: tuple[BufferedStream | None, int] = (None, 0)  # of the latest stream
        # A daemon: a slot that hangs must not keep the process
        self._thread = threading.Thread(target=self._run, name=f'instream-{name}', daemon=True)
        self._thread.start()
        _running.add(self)

    def changed(self) -> None:
        """Tell that the buffer has become active or inactive."""
        self._reports.put(self._follow_state)

    def inform(self, text: str) -> None:
        """Tell what may be of interest, for example that a stream has started."""
        self._reports.put(lambda: _log.info(text))

    def warn(self, text: str) -> None:
        """Tell what went wrong."""
        self._reports.put(lambda: _log.warning(text))

    def lost(self, stream: BufferedStream) -> None:
        """Tell that a stream, which goes on, has lost samples since the last time."""
        self._reports.put(lambda: self._add_lost(stream, stream.tally.lost))

    def ended(self, stream: BufferedStream) -> None:
        """Tell that a stream has ended."""
        status = stream.status()
        self._reports.put(lambda: self._tell_end(stream, status))

    def close(self) -> None:
        """Make the last reports and end the thread; without waiting for a slow slot."""
        self.end()
        self.wait(_CLOSE_PATIENCE)

    def end(self) -> None:
        """End the thread after the last reports. Does not wait."""
        self._reports.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until the thread has ended, for so long at most."""
        if threading.current_thread() is not self._thread:
            self._thread.join(seconds)

    # ---------------------------------------------------------------- in its thread

    def _run(self) -> None:
        while True:
            due = min(limiter.due for limiter in self._limiters)
            timeout = None if math.isinf(due) else max(0.0, due - time.perf_counter())
            try:
                report = self._reports.get(timeout=timeout)
            except queue.Empty:
                report = _nothing
            if report is None:
                self._tell_due(math.inf)
                _running.discard(self)
                return
            self._make(report)
            self._tell_due(time.perf_counter())

    def _tell_due(self, now: float) -> None:
        for limiter in self._limiters:
            self._make(lambda limiter=limiter: limiter.tell_if_due(now))  # type: ignore[misc]

    def _make(self, report: Callable[[], None]) -> None:
        try:
            report()
        except Exception:  # of a slot, or the buffer was reloaded meanwhile
            _log.warning(f'A report about "{self._name}" has failed:', exc_info=True)

    def _add_lost(self, stream: BufferedStream, lost: int) -> None:
        told = self._lost_told[1] if self._lost_told[0] is stream else 0
        self._lost_told = stream, lost
        self._losses.add(lost - told)
        self._logged_losses.add(lost - told)

    def _tell_end(self, stream: BufferedStream, status: StreamStatus) -> None:
        self._add_lost(stream, stream.tally.lost)  # it may have grown since the end
        self._lost_told = None, 0  # keeps no stream alive
        self._logged_losses.drop()  # the text below has them
        tell = _log.warning if status.state == 'overflow' else _log.info
        # Of a fault, the distributor has warned for all buffers at once
        tell(
            f'The stream of "{self._name}" has ended: {status.message}. '
            f'({status.samples_received} samples per channel were received, '
            f'{status.samples_read} read, {status.samples_unread} are unread, '
            f'{status.samples_lost} lost.)'
        )
        self._ends.add(status.state)


def with_calls(text: str, error: BaseException) -> str:
    """Return a text with the exception below it, and the calls that it came through.

    A log that got the exception itself would keep alive what these calls use.
    """
    return '\n'.join([text, *traceback.format_exception(error)]).rstrip()


def _log_lost(name: str, count: int) -> None:
    _log.warning(
        f'"{name}" has lost {count} samples per channel: its program reads too slowly, or a read '
        f'of more than its ring holds has failed. Read faster, or configure a larger '
        f'channel_buffer_size; allow_overwrite: False ends the stream instead of losing samples'
    )


def _nothing() -> None:
    pass


@atexit.register
def _end_all() -> None:
    """End the threads that run when a program ends.

    Qt then deletes the objects that log lines and signals go through.
    """
    reports, end = tuple(_running), time.perf_counter() + _EXIT_PATIENCE
    for one in reports:
        one.end()
    for one in reports:
        one.wait(max(0.0, end - time.perf_counter()))
