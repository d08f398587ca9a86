"""A QTimer in a thread of its own that says when the hardware is to be polled."""

from __future__ import annotations

import atexit
import math
import time
from collections.abc import Callable

from qudi.core.logger import get_logger

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

__all__ = ['StreamPoller']

_log = get_logger(__name__)

_LONGEST_INTERVAL = 1e6  # s; a QTimer takes 2**31 ms at the most

# Pollers whose thread runs: a QThread must not be destroyed before it has ended
_running: set[StreamPoller] = set()


class StreamPoller:
    """Calls `poll` from a thread of its own, at most so many times a second as it is told.

    All methods may be called from any thread and none waits for a poll, except `close`.

    Parameters
    ----------
    name : str
        Name of the thread.
    poll : callable
        Called without arguments. What it raises is printed by Qt, and the polls go on.
    """

    def __init__(self, name: str, poll: Callable[[], None]) -> None:
        self._thread = QtCore.QThread()
        self._thread.setObjectName(name)
        self._timer = _PollTimer(poll)
        self._timer.moveToThread(self._thread)
        self._thread.start()
        _running.difference_update([other for other in _running if other._thread.isFinished()])
        _running.add(self)

    def set_rate(self, rate: float | None) -> None:
        """Poll at most `rate` times a second from now on, or not at all with None."""
        self._timer.sigSetRate.emit(rate)

    def close(self, patience: float = 1.0) -> bool:
        """End the thread and wait until it has ended, for at most `patience` seconds.

        Returns
        -------
        bool
            Whether it has ended; otherwise, or when called from this very thread, it ends as soon
            as the poll in progress returns.
        """
        self._timer.sigQuit.emit()
        if QtCore.QThread.currentThread() is self._thread:
            return False
        if self._thread.wait(int(patience * 1000)):
            _running.discard(self)
            return True
        _log.warning(
            f'Thread "{self._thread.objectName()}" is still waiting for the hardware after '
            f'{patience:g} s and is left to end on its own.'
        )
        return False

    def abandon(self) -> None:
        """Leave a thread that hangs to the end of the process.

        Python would destroy it at exit, and Qt aborts when a running thread is destroyed.
        """
        self._thread.deleteLater()  # from now on it belongs to Qt, which has no time left for it
        self._timer.deleteLater()


class _PollTimer(QtCore.QObject):
    """The part of the poller that lives in its thread."""

    sigSetRate = QtCore.Signal(object)
    sigQuit = QtCore.Signal()

    def __init__(self, poll: Callable[[], None]) -> None:
        super().__init__()
        self._poll = poll
        self._interval: float | None = None  # seconds, None while nothing is to be polled
        self._last_poll = 0.0
        # A child, so that it moves to the thread with this object
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self.sigSetRate.connect(self._set_rate, queued)
        self.sigQuit.connect(self._quit, queued)

    @QtCore.Slot(object)
    def _set_rate(self, rate: float | None) -> None:
        if self._interval is None:
            self._last_poll = time.perf_counter()  # there is nothing to fetch yet
        self._interval = None if rate is None else min(1 / rate, _LONGEST_INTERVAL)
        self._schedule()

    @QtCore.Slot()
    def _tick(self) -> None:
        now = time.perf_counter()  # time.monotonic counts in steps of 15 ms on Windows
        try:
            if self._interval is not None and now >= self._last_poll + self._interval:
                self._last_poll = now
                self._poll()
        finally:
            self._schedule()  # whatever happened, the next poll must come

    def _schedule(self) -> None:
        if self._interval is None:
            self._timer.stop()
            return
        delay = max(0.0, self._last_poll + self._interval - time.perf_counter())
        # Rounded up: a timer of whole milliseconds must not beat the rate
        self._timer.start(math.ceil(delay * 1000))

    @QtCore.Slot()
    def _quit(self) -> None:
        self._timer.stop()
        self._interval = None
        self._poll = lambda: None  # no cycle of references is left to the garbage collector
        QtCore.QThread.currentThread().quit()


@atexit.register
def _close_all() -> None:
    """End the threads of a program that ends without deactivating its modules."""
    for poller in tuple(_running):
        if not poller.close(patience=1.0):
            poller.abandon()
