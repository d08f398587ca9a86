"""Reads one streaming device and hands every sample to each of its active consumers."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from qudi.core.logger import get_logger

from qudi.util.instream.client import RemoteClient
from qudi.util.instream.consumer import StreamConsumer, StreamEnd, StreamStatus
from qudi.util.instream.errors import naming
from qudi.util.instream.guard import is_refusal, who_connects_to_what
from qudi.util.instream.hardware import StreamHardware
from qudi.util.instream.poller import StreamPoller, interval_of
from qudi.util.instream.reports import StreamReports
from qudi.util.instream.ring import SampleRing
from qudi.util.instream.settings import BufferOptions, StreamSettings, same_rate

__all__ = ['StreamDistributor']

_log = get_logger(__name__)

# How long a hardware call may take until start, stop and configure stop waiting for it (s). It
# takes milliseconds; one that takes this long hangs, and a window should not freeze for longer.
_PATIENCE = 5.0

# How long the hardware is left alone when nobody needs a sample (s): its faults are noticed late
_LONGEST_REST = 1.0

# How long a read may go on waiting for samples while qudi quits (s)
_WAIT_WHILE_QUITTING = 2.0

# Over how many seconds the rate of polls is measured, and over how many polls at most
_RATE_SPAN, _RATE_POLLS = 5.0, 256


@dataclass(eq=False)
class _Member:
    """What the distributor knows of one activated buffer."""

    options: BufferOptions
    tell_changed: Callable[[], None]
    is_quitting: Callable[[], bool]
    reports: StreamReports
    request: StreamSettings | None = None  # from its first configure on
    # Live rates it was told lately, each with the rate of the request that it stood for
    rates_told: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=16))
    # Its latest stream, which may have ended, and what that one was started with
    consumer: StreamConsumer | None = None
    stream_settings: StreamSettings | None = None
    is_wanted: bool = False  # to stream, by the latest start or stop
    client: RemoteClient | None = None  # in another process, that its stream was started for

    @property
    def name(self) -> str:
        return self.options.name

    def stop_stream(self, message: str) -> None:
        if self.consumer is not None:
            self.consumer.end(StreamEnd.STOPPED, message)

    def requested_rate(self, rate: float) -> float:
        """Turn a live rate that was told and comes back into the rate that was requested.

        A device may round or measure its rate, and logics pass what they read into `configure`.
        """
        # A copy, since another thread may be told a rate meanwhile
        told_lately = list(self.rates_told)
        requested = (asked for told, asked in told_lately if same_rate(rate, told))
        return next(requested, rate)


class StreamDistributor:
    """The one place that starts, reads, stops and configures a streaming device.

    Its members are the activated buffers, known by name. A member is active from its start until
    its stream ends, for whatever reason.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module.
    """

    def __init__(self, streamer: Any) -> None:
        self._hardware = hardware = StreamHardware(streamer)
        self._members: dict[str, _Member] = {}
        self._active: tuple[_Member, ...] = ()  # in the order of their start
        self._changed: list[_Member] = []  # became active or inactive and were not told yet
        self._news: list[Callable[[], None]] = []  # reports to be made afterwards
        self._polls: deque[float] = deque(maxlen=_RATE_POLLS)  # when the last ones came
        # The member whose end should have stopped the hardware, if that failed
        self._unstopped_by: _Member | None = None
        self._tell_left: Callable[[], None] | None = None  # once it is closed
        # Guards all of the above, and every call of the hardware that does not only ask. It is
        # taken before a consumer's lock and never held while waiting for samples, for a thread or
        # for the registry, nor while anybody is told anything.
        self._lock = threading.Lock()
        self._held_since = math.inf  # by perf_counter; changed under the lock, read without
        self._poller = poller = StreamPoller(f'instream-{hardware.name}', self._poll, self._wishes)
        # Without self: consumers keep it, and a reference cycle is left to the garbage collector
        self._tell_needs = lambda samples: poller.hear(hardware.time_of_next(samples))

    def attach(
        self,
        options: BufferOptions,
        tell_changed: Callable[[], None],
        is_quitting: Callable[[], bool],
        reports: StreamReports,
    ) -> None:
        """Make a buffer a member.

        Parameters
        ----------
        options : BufferOptions
            Name and options of the buffer.
        tell_changed : callable
            Called after the buffer has become active or inactive, from any thread.
        is_quitting : callable
            Tells whether qudi quits, so that reads must not wait long. Called from the poller's
            thread with the lock held: it only looks.
        reports : StreamReports
            Told what becomes of the streams, from any thread.
        """
        self._members[options.name] = _Member(options, tell_changed, is_quitting, reports)

    def detach(self, name: str) -> None:
        """End the stream of a member and forget it.

        Raises
        ------
        Exception
            As `stop` does.
        """
        # First, so that a start in another thread either is stopped below or finds it gone
        self._stop(self._members.pop(name))

    def close(self, tell_left: Callable[[], None]) -> None:
        """End the polling thread. There must be no member left.

        Parameters
        ----------
        tell_left : callable
            Called when no call of the hardware is in progress any more: before this returns, or
            by the thread whose call hangs, when it returns at last.
        """

        def leave() -> None:
            self._hardware.leave()
            tell_left()

        self._tell_left = leave
        with (
            suppress(RuntimeError),
            self._exclusive(f'"{self.streamer_name}" cannot be left'),
        ):
            if self._unstopped_by is not None:
                self._stop_hardware_quietly(self._unstopped_by)
        self._poller.close()

    @property
    def streamer_name(self) -> str:
        """Name of the hardware module."""
        return self._hardware.name

    @property
    def constraints(self) -> Any:
        """The hardware's DataInStreamConstraints."""
        return self._hardware.constraints

    @property
    def active_names(self) -> list[str]:
        """Names of the active buffers in the order of their start."""
        return [member.name for member in self._active]

    def consumer(self, name: str) -> StreamConsumer | None:
        """Return the latest stream of a member, None if it has none."""
        return self._member(name).consumer

    def status(self, name: str) -> StreamStatus:
        """How the latest stream of a member is doing. Never waits, and never asks the hardware."""
        member = self._member(name)
        consumer = member.consumer
        settings = member.request if consumer is None else member.stream_settings
        others: dict[str, Any] = {
            'streamer': self.streamer_name,
            'shared_with': tuple(other for other in self.active_names if other != name),
        }
        if settings is not None:
            others.update(
                channels=settings.channels,
                sample_rate=settings.sample_rate,
                streaming_mode=settings.streaming_mode.name,
            )
        if consumer is not None:
            return consumer.status(**others, poll_rate=self._poll_rate_of(consumer))
        return StreamStatus(
            **others,
            ring_size=0 if settings is None else settings.channel_buffer_size,
            allow_overwrite=member.options.allow_overwrite,
        )

    def _poll_rate_of(self, consumer: StreamConsumer) -> float:
        if consumer.has_ended:
            return 0.0
        polls = list(self._polls)  # at once, since the poller adds to it; a tuple would not be
        now = time.perf_counter()
        since = max(now - _RATE_SPAN, consumer.started_at)
        if len(polls) == _RATE_POLLS:
            since = max(since, polls[0])
        return (len(polls) - bisect_right(polls, since)) / (now - since) if now > since else 0.0

    def _member(self, name: str) -> _Member:
        try:
            return self._members[name]
        except KeyError:
            raise RuntimeError(f'"{name}" is not activated, activate it in qudi first') from None

    # ---------------------------------------------------------------- settings

    def settings(self, name: str) -> StreamSettings:
        """What a member asked for or, before its first `configure`, what the hardware holds.

        The rate is the hardware's live value while the hardware holds this member's rate.
        """
        member = self._member(name)
        consumer, applied = member.consumer, self._hardware.applied
        settings = member.request
        if settings is None and consumer is not None and not consumer.is_stopped:
            settings = member.stream_settings
        if settings is None:
            settings = self._hardware.reported()
        elif applied is not None and same_rate(settings.sample_rate, applied.sample_rate):
            settings = replace(settings, sample_rate=self._hardware.sample_rate)
        else:
            return settings
        if applied is not None:
            member.rates_told.append((settings.sample_rate, applied.sample_rate))
        return settings

    def configure(self, name: str, request: StreamSettings) -> None:
        """Set what a member wants to stream, and configure the hardware if nobody uses it.

        Raises
        ------
        RuntimeError
            If the buffer is active, or others are and their stream cannot serve the request. The
            text names them and each setting that differs. Also if the hardware hangs.
        ValueError
            If there is no channel or one is named twice, or if others are active and the
            constraints do not allow the ring size or the rate.
        Exception
            What the hardware raises in its own `configure`.
        """
        consequence = f'"{name}" cannot be configured'
        with naming(consequence):
            request.check_channels()
        with self._exclusive(consequence):
            member = self._member(name)
            if member in self._active:
                raise RuntimeError(f'{consequence} while it is streaming, stop its stream first')
            request = replace(request, sample_rate=member.requested_rate(request.sample_rate))
            if self._active:
                with naming(consequence):
                    request.check_against(self.constraints)
                request = self._served(member.options, request)
            else:
                self._make_up_for_failed_stop()
                self._hardware.configure(request)
            member.request = request
            member.rates_told.clear()
            member.consumer = None

    def _served(self, options: BufferOptions, request: StreamSettings) -> StreamSettings:
        """Return the request as the running stream serves it, or raise RuntimeError."""
        running = self._hardware.applied
        assert running is not None
        conflicts = request.conflicts_with(running, self._hardware.rate_is_hint)
        if not conflicts:
            return request
        followed = request.following(running)
        can_follow = not followed.conflicts_with(running, self._hardware.rate_is_hint)
        if can_follow and options.follow_running:
            _log.info(
                f'"{options.name}" follows the running stream of "{self.streamer_name}" '
                f'({"; ".join(conflicts)}).'
            )
            return followed
        cure = f'Stop {self._active_text} first or request the running values'
        if can_follow:
            cure += f'. The option follow_running: True makes "{options.name}" adopt them'
        raise RuntimeError(
            f'"{options.name}" cannot stream as requested while {self._active_text} streams from '
            f'"{self.streamer_name}" with other settings ({"; ".join(conflicts)}). {cure}'
        )

    @property
    def _active_text(self) -> str:
        return ', '.join(f'"{name}"' for name in self.active_names)

    # ---------------------------------------------------------------- start and stop

    def start(self, name: str, client: RemoteClient | None = None) -> None:
        """Begin a fresh stream for a member; the first active one starts the hardware.

        A stream that was started by a client in another process ends when that has gone.

        Raises
        ------
        RuntimeError
            If others are active and their stream cannot serve the member's request, if the
            hardware is used by somebody else, or if it hangs.
        Exception
            What the hardware raises in `configure` or `start_stream`.
        """
        # Before the lock is there: a stop from now on counts, however long this start has to wait
        self._member(name).is_wanted = True
        with self._exclusive(f'"{name}" cannot start'):
            member = self._member(name)
            member.stop_stream('it was started anew')
            member.client = client
            self._retire()
            if self._active:
                self._join(member)
            else:
                self._start_hardware(member)
            self._active += (member,)
            self._changed.append(member)
            self._news.append(partial(member.reports.started, self._started_text(member)))
            self._set_pace()
            # The device may have taken its time, and whoever wanted this has stopped waiting
            if not member.is_wanted or self._members.get(name) is not member:
                member.stop_stream('it was stopped while it started')
                self._retire()

    def _started_text(self, member: _Member) -> str:
        settings = member.stream_settings
        assert settings is not None
        others = [f'"{name}"' for name in self.active_names if name != member.name]
        return (
            f'"{member.name}" streams from "{self.streamer_name}": '
            f'channels {", ".join(settings.channels)}; {settings.sample_rate:.10g} Hz; '
            f'{settings.streaming_mode.name}; a ring of {settings.channel_buffer_size} samples; '
            + (f'shared with {", ".join(others)}.' if others else 'no other buffer streams.')
        )

    def stop(self, name: str) -> None:
        """End the stream of a member; the last one to end stops the hardware.

        Raises
        ------
        RuntimeError
            If the hardware hangs; it is stopped as soon as its call returns.
        Exception
            What the hardware raises in `stop_stream`.
        """
        self._stop(self._member(name))

    def _stop(self, member: _Member) -> None:
        # Before the lock is there: a waiting read returns at once, whatever the hardware does
        member.is_wanted = False
        member.stop_stream('it was stopped')
        with self._exclusive(f'"{member.name}" has stopped, but "{self.streamer_name}" has not'):
            member.stop_stream('it was stopped')  # it may have started meanwhile
            self._retire()
            # The poller may have retired it, and be about to tell it: true when this returns
            self._changed.append(member)
            if self._unstopped_by is member:
                self._stop_hardware(member)

    def _start_hardware(self, member: _Member) -> None:
        self._make_up_for_failed_stop()
        with self._hardware.starting():
            if self._hardware.is_running:
                raise RuntimeError(
                    f'"{member.name}" cannot start: "{self.streamer_name}" is running already, and '
                    f'not for a buffer of this qudi. Two readers would each get a part of the '
                    f'stream. Stop the program that is connected to "{self.streamer_name}" itself, '
                    f'in this qudi or in another one. {who_connects_to_what(self.streamer_name)}'
                )
            own = self._configure_for_start(member)
            channels = self._hardware.active_channels
            self._begin_stream(member, own)
            try:
                self._hardware.start()
                if self._hardware.active_channels != channels:
                    raise RuntimeError(
                        f'"{member.name}" cannot start: somebody else has configured '
                        f'"{self.streamer_name}" for other channels while it was started. '
                        f'{who_connects_to_what(self.streamer_name)}'
                    )
            except BaseException as error:  # also Ctrl-C in a script
                member.consumer = None
                if not is_refusal(error):  # else what runs is not ours
                    self._stop_hardware_quietly(member)
                raise

    def _configure_for_start(self, member: _Member) -> StreamSettings:
        """Make the hardware hold what the member streams, and return that."""
        held = self._hardware.held()
        if member.request is not None:
            own = member.request
        else:
            own = replace(held, channels=tuple(self._hardware.active_channels))
            if not own.channels:
                own = replace(own, channels=tuple(self.constraints.channel_units))
        both = self._with_needs_of_others(own)
        channels_only = replace(both, channel_buffer_size=own.channel_buffer_size)
        for wanted in dict.fromkeys((both, channels_only, own)):
            try:
                if not wanted.is_same_as(held):
                    self._hardware.configure(wanted)
                break
            except Exception:
                if wanted == own:
                    raise
        return own

    def _with_needs_of_others(self, own: StreamSettings) -> StreamSettings:
        """Add what the other members asked for, since these may join while the stream runs.

        The largest buffer, so that a pause which the largest ring survives does not overflow the
        device. The channels of all, with constant timing only: elsewhere more of them can make a
        device slower.
        """
        is_hint = self._hardware.rate_is_hint
        channels, size = set(own.channels), own.channel_buffer_size
        for member in list(self._members.values()):
            other = member.request
            if other and not replace(other, channels=own.channels).conflicts_with(own, is_hint):
                if not is_hint:
                    channels.update(other.channels)
                if not own.is_finite:
                    size = max(size, other.channel_buffer_size)
        if channels != set(own.channels):
            ordered = tuple(ch for ch in self.constraints.channel_units if ch in channels)
            own = replace(own, channels=ordered)
        return replace(own, channel_buffer_size=size)

    def _join(self, member: _Member) -> None:
        """Begin a stream on the hardware that runs already."""
        running = self._hardware.applied
        assert running is not None
        own = member.request or replace(running, channels=tuple(self._hardware.active_channels))
        settings = self._served(member.options, own)
        if settings.is_finite and self._hardware.samples_taken > 0:
            raise RuntimeError(
                f'"{member.name}" cannot join the finite acquisition of {self._active_text}: its '
                f'first {self._hardware.samples_taken} samples have been taken already. Start all '
                f'buffers before the first sample, or wait until {self._active_text} has finished'
            )
        # What waits in the hardware is older than this stream
        waiting = 0 if settings.is_finite else self._hardware.available_samples
        self._begin_stream(member, settings, waiting)
        if member.request is not None:
            member.request = settings

    def _begin_stream(
        self, member: _Member, settings: StreamSettings, samples_to_skip: int = 0
    ) -> None:
        delivered = self._hardware.active_channels
        missing = [channel for channel in settings.channels if channel not in delivered]
        if missing:
            raise RuntimeError(
                f'"{member.name}" cannot start: it needs the channels {list(settings.channels)}, '
                f'but "{self.streamer_name}" delivers {delivered}, whatever it was configured for'
            )
        member.stream_settings = settings  # first: a status has the settings of its stream
        member.consumer = StreamConsumer(
            member.name,
            SampleRing(
                settings.channel_buffer_size,
                len(settings.channels),
                self.constraints.data_type,
                with_timestamps=self._hardware.has_timestamps,
            ),
            columns=[delivered.index(channel) for channel in settings.channels]
            if delivered != list(settings.channels)
            else None,
            allow_overwrite=member.options.allow_overwrite,
            silence_limit=self._silence_limit(member.options, settings),
            samples_to_acquire=settings.channel_buffer_size if settings.is_finite else None,
            samples_to_skip=samples_to_skip,
            tell_needs=self._tell_needs,
        )

    def _silence_limit(self, options: BufferOptions, settings: StreamSettings) -> float | None:
        """Seconds without a sample that are a fault: beyond the periods of samples and of polls."""
        is_regular = not self._hardware.rate_is_hint and settings.sample_rate > 0
        if options.read_timeout is None or not is_regular:
            return None
        return options.read_timeout + 1 / settings.sample_rate + interval_of(options.max_poll_rate)

    def _retire(self) -> None:
        """Let go of the members whose stream has ended. The last one stops the hardware."""
        ended = [m for m in self._active if m.consumer is None or m.consumer.has_ended]
        if not ended:
            return
        self._active = tuple(member for member in self._active if member not in ended)
        self._changed += ended
        self._news += [partial(m.reports.ended, m.consumer) for m in ended if m.consumer]
        self._set_pace()
        if not self._active:
            self._stop_hardware(ended[-1])

    def _stop_hardware(self, member: _Member) -> None:
        self._unstopped_by = member
        try:
            self._hardware.stop()
        except Exception:
            with suppress(Exception):  # what cannot be asked may still run
                if not self._hardware.is_running:
                    self._unstopped_by = None
            raise
        self._unstopped_by = None

    def _make_up_for_failed_stop(self) -> None:
        if self._unstopped_by is not None:
            self._stop_hardware(self._unstopped_by)

    def _stop_hardware_quietly(self, member: _Member) -> None:
        """Stop the hardware where the exception that matters is on its way already."""
        try:
            self._stop_hardware(member)
        except Exception:
            _log.warning(f'"{self.streamer_name}" could not be stopped:', exc_info=True)

    def _set_pace(self) -> None:
        options = [member.options for member in self._active]
        timeouts = [option.read_timeout for option in options if option.read_timeout is not None]
        self._poller.set_pace(
            max((option.max_poll_rate for option in options), default=None),
            # Samples that came must be noticed before a read gives up
            min([_LONGEST_REST] + [timeout / 2 for timeout in timeouts]),
        )

    @contextmanager
    def _exclusive(self, consequence: str = '') -> Iterator[None]:
        """Hold the lock, and tell the members that have changed as soon as it is free again.

        With a consequence to name, give up when the hardware hangs.
        """
        while not self._lock.acquire(timeout=self._patience_left if consequence else -1):
            if self._patience_left == 0:
                raise RuntimeError(
                    f'{consequence}: a call of the hardware module "{self.streamer_name}" has not '
                    f'returned for {_PATIENCE:g} s. Check the connection to the device'
                )
        self._held_since = time.perf_counter()
        try:
            yield
        finally:
            changed, self._changed = self._changed, []
            news, self._news = self._news, []
            self._held_since = math.inf
            self._lock.release()
            for tell in [*(member.tell_changed for member in changed), *news]:
                try:
                    tell()
                except Exception:  # it was reloaded meanwhile, for example; others are told anyhow
                    _log.warning('A buffer could not be told how it is doing:', exc_info=True)
            tell_left, self._tell_left = self._tell_left, None
            if tell_left is not None:
                tell_left()

    @property
    def _patience_left(self) -> float:
        """Seconds until the call in progress counts as hanging, whoever waits for it since when."""
        return max(0.0, min(_PATIENCE, self._held_since + _PATIENCE - time.perf_counter()))

    # ---------------------------------------------------------------- polling

    def _wishes(self) -> tuple[list[float], float]:
        """When readers can be served, and when a poll should come at the latest.

        Runs in the poller's thread.
        """
        consumers = [member.consumer for member in self._active if member.consumer is not None]
        needs = [consumer.samples_needed for consumer in consumers]
        at_the_latest = min([self._hardware.half_of_buffer, *(latest for _, latest in needs)])
        return (
            [self._hardware.time_of_next(wished) for wished, _ in needs],
            self._hardware.time_of_next(at_the_latest),
        )

    def _poll(self) -> tuple[float, bool]:
        """Hand what the hardware has to all consumers. Runs in the poller's thread.

        Returns
        -------
        asked_at : float
            When the hardware was asked, by `time.perf_counter`.
        too_early : bool
            Whether it had fewer samples than foreseen.
        """
        with self._exclusive():
            consumers = [member.consumer for member in self._active if member.consumer is not None]
            if not consumers:
                return time.perf_counter(), False
            try:
                limit = max(consumer.samples_missing for consumer in consumers)
                for samples, timestamps in self._hardware.read(limit, partial(_lend, consumers)):
                    for consumer in consumers:
                        consumer.put(samples, timestamps)
            except Exception as error:
                self._fail(consumers, error)
            self._polls.append(self._hardware.asked_at)
            for member in self._active:
                if member.consumer and member.consumer.has_untold_loss and member.reports.is_open:
                    self._news.append(partial(member.reports.lost, member.consumer))
            self._end_unwanted_streams()
            try:
                self._retire()
            except Exception:
                _log.warning(f'"{self.streamer_name}" could not be stopped:', exc_info=True)
            return self._hardware.asked_at, self._hardware.asked_too_early

    def _end_unwanted_streams(self) -> None:
        """End streams whose client has gone, and those whose reads wait long while qudi quits.

        The thread that reads cannot be deactivated before its read returns, and qudi waits for it.
        """
        for member in self._active:
            if member.client is not None and member.client.has_gone:
                member.stop_stream('its client in another process has gone')
            consumer = member.consumer
            if consumer is None or consumer.longest_wait < _WAIT_WHILE_QUITTING:
                continue
            if member.is_quitting():
                member.stop_stream('qudi quits')

    def _fail(self, consumers: list[StreamConsumer], error: Exception) -> None:
        message = f'the hardware failed with {type(error).__name__}: {error}'
        _log.warning(f'All streams of "{self.streamer_name}" end, {message}', exc_info=error)
        for consumer in consumers:
            consumer.end(StreamEnd.FAULT, message, error)


def _lend(
    consumers: list[StreamConsumer], count: int
) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return the place for the next samples in the ring of the first consumer that has one."""
    for consumer in consumers:
        place = consumer.lend(count)
        if place is not None and 2 * len(place[0]) > count:  # else the device is read in slivers
            return place
    return None
