"""A QTimer in a thread of its own that says when the hardware is to be polled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from qudi.core.logger import get_logger

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

__all__ = ['StreamPoller']

_log = get_logger(__name__)

_LONGEST_TIMER = 2**31 - 1  # ms; Qt takes a signed 32 bit number

# Pollers whose thread did not end in time: a QThread must not be destroyed while it runs
_stuck: list[StreamPoller] = []


class StreamPoller:
    """Calls `poll` from a thread of its own, at most so many times a second as it is told.

    All methods may be called from any thread and none waits for a poll, except `close`.

    Parameters
    ----------
    name : str
        Name of the thread.
    poll : callable
        Called without arguments; must not raise.
    """

    def __init__(self, name: str, poll: Callable[[], None]) -> None:
        self._thread = QtCore.QThread()
        self._thread.setObjectName(name)
        self._beat = _Beat(poll)
        self._beat.moveToThread(self._thread)
        self._thread.start()

    def set_rate(self, rate: float | None) -> None:
        """Poll at most `rate` times a second from now on, or not at all with None."""
        self._beat.sigSetRate.emit(rate)

    def close(self, patience: float = 5.0) -> bool:
        """End the thread and wait until it has ended, for at most `patience` seconds.

        Returns
        -------
        bool
            Whether it has ended; otherwise it ends as soon as the poll in progress returns.
        """
        self._beat.sigQuit.emit()
        if QtCore.QThread.currentThread() is self._thread:
            return False
        if self._thread.wait(int(patience * 1000)):
            return True
        _stuck.append(self)
        _log.warning(
            f'Thread "{self._thread.objectName()}" is still waiting for the hardware after '
            f'{patience:g} s and is left to end on its own.'
        )
        return False


class _Beat(QtCore.QObject):
    """The part of the poller that lives in its thread."""

    sigSetRate = QtCore.Signal(object)
    sigQuit = QtCore.Signal()

    def __init__(self, poll: Callable[[], None]) -> None:
        super().__init__()
        self._poll = poll
        self._interval: float | None = None  # seconds, None while nothing is to be polled
        self._last_poll = -math.inf
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
        self._interval = None if rate is None else 1 / rate
        self._schedule()

    @QtCore.Slot()
    def _tick(self) -> None:
        if self._interval is None:
            return
        now = time.monotonic()
        if now >= self._last_poll + self._interval:
            self._last_poll = now
            self._poll()
        self._schedule()

    def _schedule(self) -> None:
        if self._interval is None:
            self._timer.stop()
            return
        delay = max(0.0, self._last_poll + self._interval - time.monotonic())
        # Rounded up: a timer of whole milliseconds must not beat the rate
        self._timer.start(math.ceil(min(delay * 1000, _LONGEST_TIMER)))

    @QtCore.Slot()
    def _quit(self) -> None:
        self._timer.stop()
        self._interval = None
        self._poll = _nothing  # no cycle of references is left to the garbage collector
        QtCore.QThread.currentThread().quit()


def _nothing() -> None:
    pass
