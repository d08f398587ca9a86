"""A QTimer in a thread of its own that polls the hardware when that is of use to somebody.

PollPlan      when the next poll is due
StreamPoller  the timer and its thread
"""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qudi.core.logger import get_logger

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

__all__ = ['PollPlan', 'StreamPoller', 'interval_of']

_log = get_logger(__name__)

_HIGHEST_RATE = 1000  # polls per second; more would keep a core busy with nothing
_RETRIES = 0.05  # of the polls of a second, and at least one
_LONGEST_INTERVAL = 1e6  # s; a QTimer takes 2**31 ms at the most

# The timer resolves 1 ms, so it fires this many seconds early and the thread sleeps until the poll.
# Not where a sleep may last for 15 ms.
_NAP = 0.0 if os.name == 'nt' and sys.version_info < (3, 11) else 0.002

# Pollers whose thread runs: a QThread must not be destroyed before it has ended
_running: set[StreamPoller] = set()


def interval_of(rate: float) -> float:
    """Return the seconds between polls at that ceiling: a full second has whole polls only."""
    return min(
        1 / rate if rate < 1 else 1 / min(math.floor(rate), _HIGHEST_RATE), _LONGEST_INTERVAL
    )


@dataclass(frozen=True)
class _Step:
    planned: float  # what the one after it counts from
    due: float
    is_late: bool  # by the ceiling, for the readers that it serves
    is_sat_out: bool  # it was put off by an interval


class PollPlan:
    """When the next poll is due: as late as it is of use, and never above the ceiling.

    The ceiling is `rate` polls in any full second. Polls are planned at least one interval apart.
    One that comes late keeps its place in the plan, so that the next may follow it sooner, but not
    sooner than half an interval; the same holds for one that came too early. All times are in
    seconds of one clock, which the caller reads.
    """

    def __init__(self) -> None:
        self._rate = self._interval = self._longest_rest = 1.0
        self._planned = -math.inf  # when the last poll was to come
        self._polls: deque[float] = deque()  # when polls came, the last second of them
        self._was_late = False  # the last one, because the ceiling did not allow it sooner
        self._sat_out_at = -math.inf  # when a poll was last put off by an interval
        # When polls were allowed another try, the last ones
        self._retries: deque[float] = deque(maxlen=round(_RETRIES * _HIGHEST_RATE))
        self._is_retry = False  # the next one

    def set_pace(self, rate: float, longest_rest: float) -> None:
        """Set the ceiling (polls per second), and after how many seconds a poll needs no wish."""
        self._interval = interval_of(rate)
        self._rate = 1 / self._interval
        self._longest_rest = longest_rest

    def begin(self, now: float) -> None:
        """Let the first poll come one interval from now: there is nothing to fetch yet."""
        self._planned = max(self._planned, now)

    @property
    def not_before(self) -> float:
        """When the ceiling allows the next poll."""
        most = max(1, round(self._rate))
        is_full = len(self._polls) >= most
        return max(
            self._planned + self._interval,
            self._polls[-1] + self._interval / 2 if self._polls else -math.inf,
            self._polls[-most] + 1.0 if is_full else -math.inf,
        )

    def due(self, wishes: Sequence[float], deadline: float = math.inf) -> float:
        """Return when the next poll is due.

        Parameters
        ----------
        wishes : sequence of float
            When each reader can be served; -inf for as soon as may be.
        deadline : float
            When it should come at the latest.
        """
        return self._next(wishes, deadline).due

    def polled(
        self, wishes: Sequence[float], deadline: float, now: float, too_early: bool = False
    ) -> None:
        """Note that the poll for these wishes came now, maybe too early for its samples."""
        step = self._next(wishes, deadline)
        self._was_late = step.is_late
        if step.is_sat_out:
            self._sat_out_at = now
        # For those who wait, and not too often: samples that are long in coming must not use up the
        # polls of a second
        is_wished = min(wishes, default=math.inf) <= now
        most = max(1, round(_RETRIES * self._rate))
        is_often = len(self._retries) >= most and self._retries[-most] > now - 1.0
        self._is_retry = too_early and is_wished and not is_often
        if self._is_retry:
            self._retries.append(now)  # and its place in the plan is left to the next one
        else:
            self._planned = max(step.planned, now - self._interval / 2)
        self._polls.append(now)
        while self._polls[0] <= now - 1.0:
            self._polls.popleft()

    def _next(self, wishes: Sequence[float], deadline: float) -> _Step:
        first = min(wishes, default=math.inf)
        # Two readers are served together rather than one in time and the other an interval later
        wish = max((w for w in wishes if w <= first + self._interval / 2), default=math.inf)
        latest = min(deadline, self._planned + self._longest_rest)
        planned = max(min(wish, latest), self._planned + self._interval)
        due = max(planned, self.not_before)
        is_late = 0.1 * self._interval < due - wish < self._interval and not self._is_retry
        # Where every poll is wished that there may be, each is as late as the latest one so far.
        # Sitting one out, once a second at most, brings them back to their time.
        put_off = wish + self._interval
        if is_late and self._was_late and put_off <= latest and due > self._sat_out_at + 1.0:
            return _Step(put_off, put_off, is_late, is_sat_out=True)
        return _Step(planned, due, is_late, is_sat_out=False)


class StreamPoller:
    """Calls `poll` from a thread of its own when it is wished and the ceiling allows.

    All methods may be called from any thread and none waits for a poll, except `close`.

    Parameters
    ----------
    name : str
        Name of the thread.
    poll : callable
        Called without arguments. Returns the time at which it has asked the hardware, by
        `time.perf_counter`, and whether fewer samples were there than foreseen. What it raises is
        printed by Qt, and the polls go on.
    wishes : callable
        Called without arguments, from the thread: returns the times at which readers can be served,
        -inf for as soon as may be, and the time at which a poll should come at the latest.
    """

    def __init__(
        self,
        name: str,
        poll: Callable[[], tuple[float, bool]],
        wishes: Callable[[], tuple[Sequence[float], float]],
    ) -> None:
        self._thread = QtCore.QThread()
        self._thread.setObjectName(name)
        self._timer = _PollTimer(poll, wishes)
        self._timer.moveToThread(self._thread)
        # Of a copy, since other threads close theirs meanwhile
        _running.difference_update([p for p in tuple(_running) if p._thread.isFinished()])
        _running.add(self)
        self._thread.start()

    def set_pace(self, rate: float | None, longest_rest: float = 1.0) -> None:
        """Poll at most `rate` times a second from now on, or not at all with None.

        Also without any wish, a poll comes `longest_rest` seconds after the last one at the
        latest, if the rate allows.
        """
        self._timer.sigSetPace.emit(rate, longest_rest)

    def hear(self, wish: float) -> None:
        """Ask for the wishes again if this new one is earlier than the next poll could be."""
        if wish < self._timer.moved_by_wishes_before:
            self._timer.moved_by_wishes_before = -math.inf  # once is enough
            self._timer.sigWishesChanged.emit()

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

    sigSetPace = QtCore.Signal(object, float)
    sigWishesChanged = QtCore.Signal()
    sigQuit = QtCore.Signal()

    def __init__(
        self,
        poll: Callable[[], tuple[float, bool]],
        wishes: Callable[[], tuple[Sequence[float], float]],
    ) -> None:
        super().__init__()
        self._poll = poll
        self._wishes = wishes
        self._plan = PollPlan()
        self._is_on = False
        # A wish for a time before this one changes the plan. Written by any thread: the poller's
        # sets it to inf before it asks for the wishes, so a new one is either seen or heard.
        self.moved_by_wishes_before = -math.inf
        # A child, so that it moves to the thread with this object
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self.sigSetPace.connect(self._set_pace, queued)
        self.sigWishesChanged.connect(self._schedule, queued)
        self.sigQuit.connect(self._quit, queued)

    @QtCore.Slot(object, float)
    def _set_pace(self, rate: float | None, longest_rest: float) -> None:
        if rate is not None:
            self._plan.set_pace(rate, longest_rest)
            if not self._is_on:
                self._plan.begin(time.perf_counter())
        self._is_on = rate is not None
        self._schedule()

    @QtCore.Slot()
    def _tick(self) -> None:
        """Poll if that is due by now."""
        if not self._is_on:
            return
        wishes, deadline = self._wishes()
        rest = self._plan.due(wishes, deadline) - time.perf_counter()
        if rest > _NAP:
            self._schedule()
            return
        time.sleep(max(0.0, rest))
        asked_at, too_early = time.perf_counter(), False
        try:
            asked_at, too_early = self._poll()
        finally:  # whatever happened, the next poll must come
            self._plan.polled(wishes, deadline, asked_at, too_early)
            self._schedule()

    @QtCore.Slot()
    def _schedule(self) -> None:
        if not self._is_on:
            self._timer.stop()
            return
        self.moved_by_wishes_before = math.inf
        due = self._plan.due(*self._wishes())
        self.moved_by_wishes_before = due if due > self._plan.not_before else -math.inf
        delay = max(0.0, due - time.perf_counter() - _NAP)
        self._timer.start(math.ceil(delay * 1000))

    @QtCore.Slot()
    def _quit(self) -> None:
        self._timer.stop()
        self._is_on = False
        self.moved_by_wishes_before = -math.inf
        # No cycle of references is left to the garbage collector
        self._poll, self._wishes = _no_poll, _no_wishes
        QtCore.QThread.currentThread().quit()


def _no_poll() -> tuple[float, bool]:
    return time.perf_counter(), False


def _no_wishes() -> tuple[Sequence[float], float]:
    return (), math.inf


@atexit.register
def _close_all() -> None:
    """End the threads of a program that ends without deactivating its modules."""
    for poller in tuple(_running):
        if not poller.close(patience=1.0):
            poller.abandon()
