"""The thread that owns a device: it runs jobs, and polls at the times that a plan says."""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

from qudi.util.instream.device.jobs import Job, JobQueue
from qudi.util.instream.device.plan import PollPlan
from qudi.util.instream.stream import TimeLimits

__all__ = ['DeviceThread']

Result = TypeVar('Result')

# The timer resolves 1 ms, so it fires this many seconds early and the thread sleeps until the poll.
# Not where a sleep may last for 15 ms.
_NAP = 0.0 if os.name == 'nt' and sys.version_info < (3, 11) else 0.002

# Threads that run: a QThread must not be destroyed before it has ended
_running: set[DeviceThread] = set()


class DeviceThread:
    """Makes all calls of one device, one after the other.

    Parameters
    ----------
    poll : callable
        Called without arguments. Returns the time at which it has asked the device, by
        `time.perf_counter`, and whether a read goes on waiting for samples that were foreseen.
    demand : callable
        Called without arguments. Returns the times at which waiting reads can be served, -inf for
        as soon as may be, and the time at which a poll should come at the latest.
    report_late : callable
        Called with the exception of a job whose caller has given up.
    patience : float
        Seconds that a call of the device may take until its callers give up.
    """

    def __init__(
        self,
        poll: Callable[[], tuple[float, bool]],
        demand: Callable[[], tuple[Sequence[float], float]],
        report_late: Callable[[BaseException], None],
        patience: float = TimeLimits.patience,
    ) -> None:
        self._thread = QtCore.QThread()
        self._worker = _Worker(poll, demand)
        self.jobs = JobQueue(self._worker.wake, report_late, patience)
        self._worker.jobs = self.jobs
        self._worker.moveToThread(self._thread)
        # Of a copy, since other threads close theirs meanwhile
        _running.difference_update([t for t in tuple(_running) if t._thread.isFinished()])
        _running.add(self)
        self._thread.start()

    # ---------------------------------------------------------------- from any thread

    @property
    def device_name(self) -> str:
        """Name of the device; empty until it is known."""
        return self.jobs.device_name

    @property
    def is_current(self) -> bool:
        """Whether the caller is in this very thread."""
        return QtCore.QThread.currentThread() is self._thread

    def run(self, call: Callable[[], Result], consequence: str, **options: Any) -> Result:
        """Make a call in this thread and return its result; in this very thread, at once.

        Parameters
        ----------
        call, consequence, **options
            As of a `Job`.

        Raises
        ------
        RuntimeError
            If the device hangs, or the thread is closed.
        BaseException
            What the call raises.
        """
        if self.is_current:
            return call()
        result: Result = self.jobs.run(Job(call, consequence, **options))
        return result

    def request_poll(self, by: float) -> None:
        """Ask for a poll at that time, by perf_counter, if none is planned earlier."""
        self._worker.request_poll(by)

    @property
    def patience_left(self) -> float:
        """Seconds until the call in progress counts as hanging."""
        return self.jobs.patience_left

    def close(self, leave: Callable[[], None], consequence: str) -> bool:
        """Run a last job and end the thread; wait for that as long as patience lasts.

        Returns
        -------
        bool
            Whether it has ended. Otherwise it ends as soon as the call in progress returns.
        """

        def leave_and_quit() -> None:
            try:
                leave()
            finally:
                self.jobs.close()
                self._worker.quit()

        if self.is_current:
            leave_and_quit()
            return False
        job = Job(leave_and_quit, consequence, must_run=True)
        try:
            self.jobs.run(job, is_last=True)
        except RuntimeError:
            if job.is_given_up:
                return False
            raise
        if self._thread.wait(1000):
            _running.discard(self)
        return True

    def quit(self, patience: float) -> None:
        """End the thread of a program that ends, without a last job."""
        self._worker.must_quit = True
        self._worker.wake()
        self.jobs.close()
        if not self._thread.wait(int(patience * 1000)):
            # Python would destroy it at exit, and Qt aborts when a running thread is destroyed.
            # From now on it belongs to Qt, which has no time left for it.
            self._thread.deleteLater()
            self._worker.deleteLater()

    # ---------------------------------------------------------------- from the device's thread

    def set_name(self, name: str) -> None:
        """Name the device, in errors and for debuggers."""
        self.jobs.device_name = name
        self._thread.setObjectName(f'instream-{name}')

    def set_pace(
        self, rate: float | None, longest_rest: float, slowest_call: float, rests_first: bool
    ) -> None:
        """Poll at most `rate` times a second from now on, or not at all with None.

        Parameters
        ----------
        rate : float or None
            Upper limit of polls per second.
        longest_rest : float
            Seconds after which a poll comes unasked.
        slowest_call : float
            Seconds that a call of the device may take anyway, beyond which it hangs.
        rests_first : bool
            Whether the first poll comes one interval from now at the earliest.
        """
        self.jobs.set_slowest_call(slowest_call)
        self._worker.set_pace(rate, longest_rest, rests_first)


_WAKE = QtCore.QEvent.Type(QtCore.QEvent.registerEventType())


class _Worker(QtCore.QTimer):
    """The part of a DeviceThread that lives in the thread: its timer, which other threads can wake.

    It overrides methods of Qt instead of having slots: to call a slot, PySide2 looks its object up
    in a table that it does not lock, and crashes if the main thread makes or drops an object of Qt
    at that moment.
    """

    def __init__(
        self,
        poll: Callable[[], tuple[float, bool]],
        demand: Callable[[], tuple[Sequence[float], float]],
    ) -> None:
        super().__init__()
        self.jobs: JobQueue | None = None
        self._poll = poll
        self._demand = demand
        self._plan = PollPlan()
        self._is_on = False
        self._is_busy = False  # some drivers run an event loop inside a call
        # A poll that is wanted before this time changes the plan. Written by any thread: the
        # device's sets it to inf before it asks for the demand, so a new one is seen or heard.
        self._replan_if_earlier_than = -math.inf
        self.must_quit = False
        self.setTimerType(QtCore.Qt.TimerType.PreciseTimer)

    def wake(self) -> None:
        """Have jobs run, and the next poll planned again. From any thread."""
        QtCore.QCoreApplication.postEvent(self, QtCore.QEvent(_WAKE))

    def request_poll(self, by: float) -> None:
        """Plan again if a poll is wanted earlier than the planned one. From any thread."""
        if by < self._replan_if_earlier_than:
            self._replan_if_earlier_than = -math.inf  # once is enough
            self.wake()

    def set_pace(self, rate: float | None, longest_rest: float, rests_first: bool) -> None:
        """Poll at that rate from the end of this job on."""
        if rate is not None:
            self._plan.set_pace(rate, longest_rest)
            if not self._is_on:
                self._plan.begin(time.perf_counter(), rests_first)
        self._is_on = rate is not None

    def customEvent(self, event: QtCore.QEvent) -> None:
        """Do what another thread has woken this one for."""
        if self.must_quit:
            self.quit()
        else:
            self._work()

    def _work(self) -> None:
        jobs = self.jobs
        if jobs is None or self._is_busy:
            return
        self._is_busy = True
        try:
            jobs.run_all()
        finally:
            self._is_busy = False
            self._schedule()

    def timerEvent(self, event: QtCore.QTimerEvent) -> None:
        """Poll if that is due by now."""
        self.stop()
        jobs = self.jobs
        if not self._is_on or jobs is None or self._is_busy:
            return
        wanted, latest = self._demand()
        rest = self._plan.due(wanted, latest) - time.perf_counter()
        if rest > _NAP:
            self._schedule()
            return
        time.sleep(max(0.0, rest))
        asked_at, too_early = time.perf_counter(), False
        self._is_busy = True
        try:
            asked_at, too_early = jobs.call(self._poll)
            time.sleep(0)  # the reads that it has woken go on first: one thread of Python runs
        finally:  # whatever happened, the next poll must come
            self._is_busy = False
            self._plan.polled(wanted, latest, asked_at, too_early)
            self._work()

    def _schedule(self) -> None:
        if not self._is_on:
            self.stop()
            return
        self._replan_if_earlier_than = math.inf
        wanted, latest = self._demand()
        due = self._plan.due(wanted, latest)
        self._replan_if_earlier_than = due if due > self._plan.not_before else -math.inf
        # Where no read waits, a poll may be late by 1 ms: a nap would keep jobs waiting
        nap = _NAP if wanted else 0.0
        delay = max(0.0, due - time.perf_counter() - nap)
        self.start(math.ceil(delay * 1000))

    def quit(self) -> None:
        """End the thread, after what it does now."""
        self.stop()
        self._is_on = False
        self._replan_if_earlier_than = -math.inf
        # No cycle of references is left to the garbage collector
        self.jobs = None
        self._poll, self._demand = _no_poll, _no_demand
        QtCore.QThread.currentThread().quit()


def _no_poll() -> tuple[float, bool]:
    return time.perf_counter(), False


def _no_demand() -> tuple[Sequence[float], float]:
    return (), math.inf


@atexit.register
def _quit_all() -> None:
    """End the threads of a program that ends without deactivating its modules."""
    for thread in tuple(_running):
        thread.quit(patience=1.0)
