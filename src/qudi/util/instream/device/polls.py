"""One poll of a device: its samples go to every stream, and what is found then."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import deque
from functools import partial

import numpy as np

from qudi.util.instream.device.changes import Changes, carry_out
from qudi.util.instream.device.members import Member
from qudi.util.instream.device.reports import with_calls
from qudi.util.instream.device.streams import DeviceStreams
from qudi.util.instream.remote import RemoteStreamError
from qudi.util.instream.stream import BufferedStream, StreamEnd, skip

__all__ = ['DevicePolls']

# Over how many seconds the rate of polls is measured, and over how many polls at most
_RATE_SPAN, _RATE_POLLS = 5.0, 256

# While the rate of a device is not proven, a poll comes after so many intervals at the latest, or
# after this time (s) if that is longer. After one interval, polls would come at a beat of their
# own, and late for the reads.
_PROVING_INTERVALS, _PROVING_REST = 2, 0.02


class DevicePolls:
    """Polls a device for its streams. For the device's thread, but for `rate_of`.

    Parameters
    ----------
    streams : DeviceStreams
        The streams, and the hardware.
    """

    def __init__(self, streams: DeviceStreams) -> None:
        self._streams = streams
        self._hardware = streams.hardware
        self._polls: deque[float] = deque(maxlen=_RATE_POLLS)  # when the last ones came
        self._enough = math.inf  # samples since the start that the first waiting read waits for
        self.is_rate_wanted = False  # by a program that has asked since the last poll

    def rate_of(self, stream: BufferedStream) -> float:
        """Return how many polls a second a stream gets. From any thread."""
        if stream.has_ended:
            return 0.0
        polls = list(self._polls)  # at once, since a poll adds to it; a tuple would not be
        now = time.perf_counter()
        since = max(now - _RATE_SPAN, stream.started_at)
        if len(polls) == _RATE_POLLS:
            since = max(since, polls[0])
        return (len(polls) - bisect_right(polls, since)) / (now - since) if now > since else 0.0

    def demand(self) -> tuple[list[float], float]:
        """Return when waiting reads can be served, and when a poll should come at the latest."""
        hardware, samples = self._hardware, self._hardware.samples
        if samples is None:
            return [], math.inf
        wanted, needed, fill, latest = [], [], [hardware.half_of_buffer], [math.inf]
        samples.forget_demand()
        for member in self._streams.active:
            if member.stream is None:
                continue
            missing, count = member.stream.demand
            fill.append(count)
            if missing == 0:  # a program looks: at all polls there may be
                allowed_at = member.stream.started_at + member.poll_interval
                latest.append(samples.time_of_look(allowed_at))
            elif missing < math.inf:
                wanted.append(samples.time_of_next(missing))
                needed.append(missing)
            if not samples.is_rate_proven:
                interval = max(_PROVING_INTERVALS * member.poll_interval, _PROVING_REST)
                latest.append(samples.asked_at + interval)
        self._enough = samples.taken + min(needed, default=math.inf)
        latest.append(samples.time_of_filling(min(fill)))
        return wanted, min(latest)

    def poll(self) -> tuple[float, bool]:
        """Hand what the hardware has to all streams.

        Returns
        -------
        asked_at : float
            When the hardware was asked, by `time.perf_counter`.
        too_early : bool
            Whether a read goes on waiting, because it had fewer samples than foreseen.
        """
        changes: Changes = []
        hardware, samples, active = self._hardware, self._hardware.samples, self._streams.active
        pairs = [(member, member.stream) for member in active if member.stream is not None]
        if not pairs or samples is None:
            return time.perf_counter(), False
        streams = [stream for _, stream in pairs]
        waited, longest_wait = 0.0, hardware.spare_time
        try:
            limit = max(stream.samples_missing for stream in streams)
            for values, timestamps in samples.read(limit, partial(_lend, streams)):
                lost = samples.lost_before
                for stream in streams:
                    try:
                        if lost:
                            skip(stream, lost)
                        waited = stream.put(values, timestamps, waited, longest_wait)
                    except Exception as error:  # is no fault of the others
                        _let_go(error)
                        message = f'its samples could not be stored, {_text_of(error)}'
                        stream.end(StreamEnd.FAULT, message, error)
            if self.is_rate_wanted or (hardware.rate_is_hint and hardware.is_rate_old()):
                self.is_rate_wanted = False
                hardware.update_rate()
        except BaseException as error:  # a driver may raise anything
            _fail(active, error, hardware.name, changes)
        self._polls.append(samples.asked_at)
        for member, stream in pairs:
            stream.polled(samples.asked_from)
            if stream.tally.lost != member.lost_told:
                _tell_lost(member, stream, changes)
            if member.client is not None and member.client.has_gone:
                member.end_stream('its client in another process has disconnected')
        try:
            self._streams.retire(changes, leaves_stops=True)
        except BaseException as error:
            text = f'"{hardware.name}" could not be stopped:'
            changes.append(partial(active[-1].reports.warn, with_calls(text, error)))
        carry_out(changes)
        goes_on = samples.taken < self._enough < math.inf
        return samples.asked_at, samples.asked_too_early and goes_on


def _lend(streams: list[BufferedStream], count: int) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return the place for the next samples in the ring of the first stream that has one."""
    for stream in streams:
        place = stream.lend(count)
        if place is not None and 2 * len(place[0]) > count:  # else the device is read in slivers
            return place
    return None


def _let_go(error: BaseException | None) -> None:
    """Have an error hold nothing that its calls used: a stream keeps it, and they its ring."""
    if error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        _let_go(error.__cause__)
        _let_go(error.__context__)


def _fail(active: tuple[Member, ...], error: BaseException, device: str, changes: Changes) -> None:
    cause = StreamEnd.FAULT
    message = f'the device failed with {_text_of(error)}'
    if isinstance(error, RemoteStreamError):
        message = f'that of {device} has ended: {error}'
        if error.end != StreamEnd.STOPPED.value:  # which was not done by programs here
            cause = StreamEnd(error.end)
    for member in active:
        if member.stream is not None:
            member.stream.end(cause, message, error)
    text = with_calls(f'All streams of "{device}" end, {message}', error)
    changes.append(partial(active[0].reports.warn, text))
    _let_go(error)


def _text_of(error: BaseException) -> str:
    """Class and text of an exception, to stand within a sentence; some texts have several lines."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = ' | '.join(line for line in lines if line).rstrip('.')
    return f'{type(error).__name__}: {text}'


def _tell_lost(member: Member, stream: BufferedStream, changes: Changes) -> None:
    if not stream.has_ended:  # else its end tells
        member.lost_told = stream.tally.lost
        changes.append(partial(member.reports.lost, stream))
