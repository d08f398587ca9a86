"""Jobs for the thread that owns a device: they wait for their turn, and their callers for them."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ['Job', 'JobQueue']

# A pause of the process looks like a call that hangs, so a caller waits once more at the end (s)
_LAST_WAIT = 0.2

# Waits are made of steps (s): Windows lets Ctrl-C through between two of them only
_STEP = 1.0


class Job:
    """A call that waits for its turn, is made, and has a result or an error then.

    Parameters
    ----------
    call : callable
        Called without arguments.
    consequence : str
        What has failed if the device hangs, for the error.
    must_run : bool
        Whether it runs also if its caller has given up before it began.
    undo : callable, optional
        Called after it if its caller has given up meanwhile.
    """

    def __init__(
        self,
        call: Callable[[], Any],
        consequence: str,
        must_run: bool = False,
        undo: Callable[[], Any] | None = None,
    ) -> None:
        self.call = call
        self.consequence = consequence
        self.must_run = must_run
        self.undo = undo
        self.put_at = math.inf  # by perf_counter
        self.has_begun = False
        self.is_done = False
        self.is_given_up = False
        self.result: Any = None
        self.error: BaseException | None = None

    def make_call(self) -> None:
        """Make the call and keep what comes of it."""
        try:
            self.result = self.call()
        except BaseException as error:  # whatever a driver raises is for the caller
            self.error = error


class JobQueue:
    """Jobs of one device, first in, first out.

    Callers wait with one patience, counted from the beginning of the call of the device that is in
    progress, also of another caller.

    Parameters
    ----------
    wake : callable
        Called after a job was put in; has the device's thread call `run_all`.
    report_late : callable
        Called with the exception of a job whose caller has given up.
    patience : float
        Seconds that a call of the device may take until its callers give up.
    clock : callable, optional
        Returns the time in seconds, as `time.perf_counter`.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        report_late: Callable[[BaseException], None],
        patience: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._now = clock
        self.device_name = ''  # for errors
        self._wake = wake
        self._report_late = report_late
        self._jobs: deque[Job] = deque()
        self._shortest_patience = self._patience = patience
        self._busy_since = math.inf  # since when the call in progress lasts, by perf_counter
        self._is_closed = False
        # Guards all of the above and the jobs. Nothing is called while it is held, and no other
        # lock is taken.
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)  # a job has begun or ended

    # ---------------------------------------------------------------- from any thread

    def __len__(self) -> int:
        """Number of jobs that wait for their turn."""
        return len(self._jobs)

    def run(self, job: Job, is_last: bool = False) -> Any:
        """Put a job in, wait for it as long as patience lasts, and return its result.

        Parameters
        ----------
        job : Job
            The job.
        is_last : bool
            Whether no other one is taken from now on.

        Raises
        ------
        RuntimeError
            If the device hangs, or the last job was put in already.
        BaseException
            What the job raises.
        """
        try:
            with self._lock:
                if self._is_closed:
                    raise RuntimeError(
                        f'{job.consequence}: the last buffer of its device is being deactivated, '
                        f'try again'
                    )
                self._is_closed = is_last
                job.put_at = self._now()
                self._jobs.append(job)
            self._wake()
            self._wait(job)
        finally:  # also on Ctrl-C in a script
            self._give_up(job)
        if job.is_given_up:
            raise RuntimeError(
                f'{job.consequence}: a call of the hardware module "{self.device_name}" has not '
                f'returned for {self._patience:.3g} s. Check the connection to the device'
            )
        error, job.error = job.error, None
        if error is None:
            return job.result
        try:
            raise error
        finally:
            del error  # which has this frame: a cycle would keep all that the job used

    def _wait(self, job: Job) -> None:
        is_last_wait = False
        with self._lock:
            while not job.is_done:
                left = self._patience_for(job)
                if left <= 0 and is_last_wait:
                    return
                is_last_wait = left <= 0
                self._progress.wait(min(left, _STEP) or _LAST_WAIT)

    def _give_up(self, job: Job) -> None:
        """Give up a job that is not done."""
        with self._lock:
            if job.is_done:
                return
            job.is_given_up = True
            if not job.has_begun and not job.must_run and job in self._jobs:
                self._jobs.remove(job)

    def _patience_for(self, job: Job) -> float:
        is_busy = math.isfinite(self._busy_since)
        since = self._busy_since if is_busy else job.put_at
        return max(0.0, since + self._patience - self._now())

    @property
    def patience_left(self) -> float:
        """Seconds until the call in progress counts as hanging."""
        busy_for = self._now() - self._busy_since
        return max(0.0, min(self._patience, self._patience - busy_for))

    # ---------------------------------------------------------------- from the device's thread

    def run_all(self) -> None:
        """Run the jobs that wait."""
        while True:
            with self._lock:
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                job.has_begun = True
                self._note_busy(True)
            job.make_call()
            with self._lock:
                job.is_done = not job.is_given_up
                self._note_busy(False)
            if job.is_given_up:
                self._clean_up(job)

    def _clean_up(self, job: Job) -> None:
        error = job.error
        if error is None and job.undo is not None:
            undo = Job(job.undo, job.consequence)
            self.call(undo.make_call)
            error = undo.error
        if error is not None:
            self._report_late(error)

    def call(self, call: Callable[[], Any]) -> Any:
        """Make a call that is no job, and be busy meanwhile."""
        with self._lock:
            self._note_busy(True)
        try:
            return call()
        finally:
            with self._lock:
                self._note_busy(False)

    def _note_busy(self, is_busy: bool) -> None:
        self._busy_since = self._now() if is_busy else math.inf
        self._progress.notify_all()

    def set_slowest_call(self, seconds: float) -> None:
        """Say for how long a call of the device may last anyway, before patience begins."""
        with self._lock:
            self._patience = self._shortest_patience + seconds

    def close(self) -> None:
        """Take no more jobs, and finish those that wait. Keeps nothing of its owner alive."""
        with self._lock:
            self._is_closed = True
            for job in self._jobs:
                job.error = RuntimeError(f'{job.consequence}: its device was left')
                job.is_done = not job.is_given_up
            self._jobs.clear()
            self._progress.notify_all()
        self._wake, self._report_late = _nothing, _ignore


def _nothing() -> None:
    pass


def _ignore(error: BaseException) -> None:
    pass
