"""When a device with constant sample timing will have its next samples."""

from __future__ import annotations

import math

__all__ = ['SampleClock']

# How far the clock of a device may be off that of the computer: quartz crystals are specified to
# be within 50 parts in a million
_DRIFT = 50e-6

# How late a read becomes by a poll that came too early (s), typically. By more than this the
# estimate is not put back at once: some devices deliver in bursts, and the last sample is no sign
# of the next then.
_LATE = 0.01

# Until this is known (s) the estimate is narrowed down quickly
_ROUGHLY = 0.002

# Samples may come in blocks of so many seconds, and the sample rate is measured until it is known
# well in spite of them, for so many seconds at most
_LONGEST_BLOCK = 0.05
_LONGEST_MEASUREMENT = 30.0

# A silence that is longer than those between two blocks is a pause of the device, if it is so many
# times as long as expected: it says nothing about the rate, and ends a measurement
_PAUSE = 3


class SampleClock:
    """Estimates when a number of samples exists, from looks at how many there are.

    All times are in seconds of one clock, for example `time.perf_counter`. The estimate drifts
    towards earlier times until a look finds fewer samples than foreseen, and is put back a little
    then: otherwise a device that is slightly faster than its rate says would be read a whole
    sample period too late. That is made for devices whose rate is right within 50 parts in a
    million. The rate of others is measured.

    Parameters
    ----------
    sample_rate : float
        Samples per second.
    started_at : float
        When the device was started.
    """

    def __init__(self, sample_rate: float, started_at: float) -> None:
        self._period = 1 / sample_rate
        # Estimate of the time when no sample existed, but the first was to come a period later;
        # the look before the samples came says that it is later than `_too_early`
        self._origin = started_at
        self._too_early = -math.inf
        self._looked_at = self._found_at = started_at
        self._first_step = self._step = min(self._period / 2, 0.001)
        # The measurement of the period began with the first samples that were seen
        self._measured_since: tuple[float, int] | None = None
        self._grown = started_at, 0  # when more samples were seen than ever before, and how many

    def time_of(self, count: float) -> float:
        """Return the time from which on `count` samples exist, in all since the start."""
        return self._origin + count * self._period

    def look(self, count: int, before: float, after: float) -> bool:
        """Learn from the device.

        Parameters
        ----------
        count : int
            How many samples there were since the start, taken or not.
        before, after : float
            When the device was asked, and when it had answered.

        Returns
        -------
        bool
            Whether as many samples were there as foreseen.
        """
        self._measure_period(count, after)
        drift = _DRIFT * (after - self._looked_at)
        self._looked_at = after
        self._origin -= drift
        self._too_early -= drift
        too_early = before - (count + 1) * self._period  # one more sample would have been there
        latest = after - count * self._period
        if self._origin < too_early:
            self._origin = min(self._origin + self._step, latest)
            self._step = min(2 * self._step, _LATE)
            self._too_early = too_early
            return False
        was_in_vain = self._step > self._first_step
        # Larger steps make every read late, smaller ones need more polls that come too early. The
        # best is between them.
        drift_of_a_read = _DRIFT * (after - self._found_at)
        self._first_step = self._step = min(
            self._period / 2, math.sqrt(2 * drift_of_a_read * _LATE)
        )
        self._found_at = after
        if was_in_vain and _LATE < latest - self._too_early < math.inf:
            self._origin = (self._too_early + latest) / 2
        self._origin = min(self._origin, latest)
        self._too_early = max(self._too_early, too_early)
        uncertain = self._origin - self._too_early - self._first_step
        if 0 < uncertain < self._period:
            # Narrowing down takes a poll that comes too early in the end, which makes a read late
            self._origin -= uncertain / (2 if uncertain > _ROUGHLY else 8)
        return True

    def _measure_period(self, count: int, now: float) -> None:
        """Adopt another period where the device is clearly faster or slower than foreseen."""
        grown_at, last_count = self._grown
        if count <= last_count:
            return
        self._grown = now, count
        silence, expected = now - grown_at, (count - last_count) * self._period
        if silence > max(2 * _LONGEST_BLOCK, _PAUSE * expected):
            self._begin_anew(self._period, count, now)
            return
        if self._measured_since is None:
            self._measured_since = now, count
            return
        began, counted = self._measured_since
        gained = count - counted
        period = (now - began) / gained
        # Samples that may be a block early or late, and two more, at either end
        uncertainty = 2 * (_LONGEST_BLOCK / min(period, self._period) + 2) / gained
        if abs(period / self._period - 1) > uncertainty:
            self._begin_anew(period, count, now)
        if now - began > _LONGEST_MEASUREMENT:
            self._measured_since = now, count

    def _begin_anew(self, period: float, count: int, now: float) -> None:
        """Estimate from this look on, as from a start."""
        self._period, self._origin, self._too_early = period, now - count * period, -math.inf
        self._measured_since = now, count
