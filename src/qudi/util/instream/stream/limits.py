"""For how long a buffer waits, in one place. Few laboratories need others; tests shorten them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ['TimeLimits']


@dataclass(frozen=True)
class TimeLimits:
    """Time limits of one buffer, in seconds. Those of the device are of its first buffer.

    Parameters
    ----------
    patience : float
        How long a call of the device may take until its callers give up. It takes milliseconds;
        one that takes this long hangs, and a window should not freeze for longer.
    longest_rest : float
        How long the device is left alone when no program needs a sample: faults are noticed late.
    quitting_read : float
        How long a read may go on waiting for samples while qudi quits.
    grace, grace_step : float
        How long a read waits for a poll after the time when silence is a fault. Counted in short
        waits: a pause of the process, or of the machine, costs one of them.
    between_reads : float
        A thread that has just read reads again within this time, and a stop waits for that.
    longest_stop, longest_stop_of_failed_read : float
        How long a read waits for the stop that has let it finish.
    longest_copy : float
        How long new samples wait for the room that a read makes, since a thread may get no time.
        A poll waits no longer for all streams together that drop their oldest samples, and for none
        longer than half of the device's buffer lasts.
    watching : float
        A program that looks without waiting for samples is expected to look again within this time.
    between_signals, between_log_lines : float
        Between two signals of a kind, and between two log lines about lost samples.
    """

    patience: float = 5.0
    longest_rest: float = 1.0
    quitting_read: float = 2.0
    grace: float = 5.0
    grace_step: float = 0.5
    between_reads: float = 0.5
    longest_stop: float = 5.0
    longest_stop_of_failed_read: float = 0.25
    longest_copy: float = 0.1
    watching: float = 10.0
    between_signals: float = 1.0
    between_log_lines: float = 10.0
