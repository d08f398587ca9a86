"""When the next poll of a device is due. Free of Qt; the caller reads the clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ['PollPlan', 'interval_of']

_HIGHEST_RATE = 1000  # polls per second; more would keep a core busy with nothing
_RETRIES = 0.05  # of the polls of a second, and at least one
_LONGEST_INTERVAL = 1e6  # s; a QTimer takes 2**31 ms at the most


def interval_of(rate: float) -> float:
    """Return the seconds between polls at that limit: a full second has whole polls only."""
    return min(
        1 / rate if rate < 1 else 1 / min(math.floor(rate), _HIGHEST_RATE), _LONGEST_INTERVAL
    )


@dataclass(frozen=True)
class _Step:
    planned: float  # what the one after it counts from
    due: float
    is_late: bool  # because of the limit, for the reads that it serves
    is_skipped: bool  # it was put off by an interval


class PollPlan:
    """When the next poll is due: as late as it is of use, and never above the limit.

    The limit is `rate` polls in any full second. It is kept by a leaky bucket (GCRA) with a
    tolerance of half an interval: polls are planned at least one interval apart, and one that comes
    late keeps its place in the plan, so that the next may follow it sooner, but not sooner than
    half an interval. Three rules are added, each for reads that would be late otherwise: another
    try after a poll that came too early, one poll for two reads, and a skipped poll where each one
    is late. All times are in seconds of one clock, which the caller reads.
    """

    def __init__(self) -> None:
        self._rate = self._interval = self._longest_rest = 1.0
        self._planned = -math.inf  # when the last poll was to come
        self._polls: deque[float] = deque()  # when polls came, the last second of them
        self._was_late = False  # the last one, because the limit did not allow it sooner
        self._skipped_at = -math.inf  # when a poll was last put off by an interval
        # When polls were allowed another try, the last ones
        self._retries: deque[float] = deque(maxlen=round(_RETRIES * _HIGHEST_RATE))
        self._is_retry = False  # the next one

    def set_pace(self, rate: float, longest_rest: float) -> None:
        """Set the limit (polls per second), and after how many seconds a poll comes unasked."""
        self._interval = interval_of(rate)
        self._rate = 1 / self._interval
        self._longest_rest = longest_rest

    def begin(self, now: float, rests_first: bool) -> None:
        """Begin to poll; the first poll comes one interval from now if it `rests_first`."""
        interval = 0.0 if rests_first else self._interval
        self._planned = max(self._planned, now - interval)

    @property
    def not_before(self) -> float:
        """When the limit allows the next poll."""
        most = max(1, round(self._rate))
        is_full = len(self._polls) >= most
        return max(
            self._planned + self._interval,
            self._polls[-1] + self._interval / 2 if self._polls else -math.inf,
            self._polls[-most] + 1.0 if is_full else -math.inf,
        )

    def due(self, wanted: Sequence[float], latest: float = math.inf) -> float:
        """Return when the next poll is due.

        Parameters
        ----------
        wanted : sequence of float
            When each reader can be served; -inf for as soon as may be.
        latest : float
            When it should come at the latest.
        """
        return self._next(wanted, latest).due

    def polled(
        self, wanted: Sequence[float], latest: float, now: float, too_early: bool = False
    ) -> None:
        """Note that the poll for this demand came now, maybe too early for its samples."""
        step = self._next(wanted, latest)
        self._was_late = step.is_late
        if step.is_skipped:
            self._skipped_at = now
        # For those who wait, and not too often: samples that are long in coming must not use up the
        # polls of a second
        is_wanted = min(wanted, default=math.inf) <= now
        most = max(1, round(_RETRIES * self._rate))
        # At a low limit, one of twenty polls at most
        span = max(1.0, self._interval / _RETRIES)
        is_often = len(self._retries) >= most and self._retries[-most] > now - span
        self._is_retry = too_early and is_wanted and not is_often
        if self._is_retry:
            self._retries.append(now)  # and its place in the plan is left to the next one
        else:
            self._planned = max(step.planned, now - self._interval / 2)
        self._polls.append(now)
        while self._polls[0] <= now - 1.0:
            self._polls.popleft()

    def _next(self, wanted: Sequence[float], latest: float) -> _Step:
        first = min(wanted, default=math.inf)
        # Two readers are served together rather than one in time and the other an interval later
        served = max((w for w in wanted if w <= first + self._interval / 2), default=math.inf)
        latest = min(latest, self._planned + self._longest_rest)
        planned = max(min(served, latest), self._planned + self._interval)
        due = max(planned, self.not_before)
        is_late = 0.1 * self._interval < due - served < self._interval and not self._is_retry
        # Where every poll is wanted that there may be, each is as late as the latest one so far.
        # Skipping one, once a second at most, brings them back to their time.
        put_off = served + self._interval
        if is_late and self._was_late and put_off <= latest and due > self._skipped_at + 1.0:
            return _Step(put_off, put_off, is_late, is_skipped=True)
        return _Step(planned, due, is_late, is_skipped=False)
