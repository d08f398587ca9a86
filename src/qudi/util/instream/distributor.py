"""Reads one streaming device and hands every sample to each of its active consumers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from qudi.core.logger import get_logger
from qudi.interface.data_instream_interface import SampleTiming, StreamingMode
from qudi.util.network import netobtain

from qudi.util.instream.consumer import StreamConsumer, StreamEnd
from qudi.util.instream.poller import StreamPoller
from qudi.util.instream.ring import SampleRing
from qudi.util.instream.settings import ConsumerOptions, StreamSettings, same_rate

__all__ = ['StreamDistributor']

_log = get_logger(__name__)

# How long start, stop and configure wait for a hardware call in progress (s). Such a call takes
# milliseconds; one that takes this long hangs, and a window should not freeze for longer.
_PATIENCE = 5.0

# Size of the array between hardware and rings (bytes): it should stay in the processor's cache.
_STAGING_BYTES = 2**20


@dataclass(eq=False)
class _Member:
    """What the distributor knows of one activated buffer."""

    options: ConsumerOptions
    tell_active: Callable[[bool], None]
    request: StreamSettings | None = None  # from its first configure on
    # The live rate it was last told, and the rate of the request that this stood for
    rate_told: tuple[float, float] | None = None
    consumer: StreamConsumer | None = None  # its latest stream, which may have ended

    @property
    def name(self) -> str:
        return self.options.name

    def end_stream(self, message: str) -> None:
        if self.consumer is not None:
            self.consumer.end(StreamEnd.STOPPED, message)


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
        self._streamer = streamer
        self.streamer_name = str(netobtain(streamer.module_name))
        self.constraints = netobtain(streamer.constraints)
        self._rate_is_hint = self.constraints.sample_timing is not SampleTiming.CONSTANT

        self._members: dict[str, _Member] = {}
        self._active: tuple[_Member, ...] = ()  # in the order of their start
        # The request that the hardware was last configured with, and what it reported right after
        self._applied: StreamSettings | None = None
        self._reported: StreamSettings | None = None
        self._started = False  # the hardware was started here and has not been stopped since
        self._samples_taken = 0  # since the hardware was started
        self._staging = np.empty((0, 1))
        self._staging_timestamps: np.ndarray | None = None

        # Guards all that changes above, and every call of the hardware that is no plain query. It
        # is taken before a consumer's lock, and never held while waiting for samples, for a
        # thread or for the registry. Recursive, since whoever is told that a buffer became
        # inactive may start it again.
        self._lock = threading.RLock()
        self._poller = StreamPoller(f'instream-{self.streamer_name}', self._poll)

    def attach(self, options: ConsumerOptions, tell_active: Callable[[bool], None]) -> None:
        """Make a buffer a member.

        Parameters
        ----------
        options : ConsumerOptions
            Name and options of the buffer.
        tell_active : callable
            Called with True before the first sample of a stream and with False after its end,
            from any thread.
        """
        with self._lock:
            self._members[options.name] = _Member(options, tell_active)

    def detach(self, name: str) -> None:
        """End the stream of a member and forget it.

        Raises
        ------
        Exception
            As `stop` does.
        """
        self._stop(self._members.pop(name))

    def close(self) -> None:
        """End the polling thread. There must be no member left."""
        self._poller.close()

    @property
    def active_names(self) -> list[str]:
        """Names of the active buffers in the order of their start."""
        return [member.name for member in self._active]

    def consumer(self, name: str) -> StreamConsumer | None:
        """Return the latest stream of a member, None if it has none."""
        return self._member(name).consumer

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
        request, applied = member.request, self._applied
        if request is None:
            settings = self._read_back()
        elif applied is not None and same_rate(request.sample_rate, applied.sample_rate):
            settings = replace(request, sample_rate=netobtain(self._streamer.sample_rate))
        else:
            return request
        if applied is not None:
            member.rate_told = settings.sample_rate, applied.sample_rate
        return settings

    def configure(self, name: str, request: StreamSettings) -> None:
        """Set what a member wants to stream, and configure the hardware if nobody uses it.

        Raises
        ------
        RuntimeError
            If the buffer is active, or others are and their stream cannot serve the request. The
            text names them and each setting that differs. Also if the hardware hangs.
        ValueError
            If others are active and the constraints do not allow the ring size.
        Exception
            What the hardware raises in its own `configure`.
        """
        with self._exclusive(f'"{name}" cannot be configured'):
            member = self._member(name)
            if member in self._active:
                raise RuntimeError(
                    f'"{name}" cannot be configured while it is streaming, stop its stream first'
                )
            if member.rate_told is not None and same_rate(request.sample_rate, member.rate_told[0]):
                # A device may round or measure its rate, and logics pass back what they read
                request = replace(request, sample_rate=member.rate_told[1])
            if self._active:
                self.constraints.channel_buffer_size.check(request.channel_buffer_size)
                request = self._served(member.options, request)
            else:
                self._apply(request)
            member.request = request
            member.consumer = None

    def _served(self, options: ConsumerOptions, request: StreamSettings) -> StreamSettings:
        """Return the request as the running stream serves it, or raise RuntimeError."""
        running = self._applied
        assert running is not None
        conflicts = request.conflicts_with(running, self._rate_is_hint)
        if conflicts and options.follow_running:
            request = request.following(running)
            _log.info(
                f'"{options.name}" follows the running stream of "{self.streamer_name}" '
                f'({"; ".join(conflicts)}).'
            )
            conflicts = request.conflicts_with(running, self._rate_is_hint)
        if conflicts:
            raise RuntimeError(
                f'"{options.name}" cannot stream as requested while {self._active_text} streams '
                f'from "{self.streamer_name}" with other settings ({"; ".join(conflicts)}). Stop '
                f'{self._active_text} first, request the running values, or set '
                f'follow_running: True for "{options.name}" to adopt rate and mode'
            )
        return request

    @property
    def _active_text(self) -> str:
        return ', '.join(f'"{name}"' for name in self.active_names)

    def _apply(self, settings: StreamSettings) -> None:
        self._applied = None
        self._streamer.configure(
            active_channels=list(settings.channels),
            streaming_mode=settings.streaming_mode,
            channel_buffer_size=settings.channel_buffer_size,
            sample_rate=settings.sample_rate,
        )
        self._reported = self._read_back()
        self._applied = settings

    def _held(self) -> StreamSettings:
        """What the hardware is set to: the last request, unless somebody else changed it since."""
        now = self._read_back()
        if (
            self._applied is None
            or self._reported is None
            or not now.is_same_as(self._reported, self._rate_is_hint)
        ):
            self._applied = self._reported = now
        return self._applied

    def _read_back(self) -> StreamSettings:
        return StreamSettings(
            netobtain(self._streamer.active_channels),
            StreamingMode(netobtain(self._streamer.streaming_mode).value),
            netobtain(self._streamer.channel_buffer_size),
            netobtain(self._streamer.sample_rate),
        )

    # ---------------------------------------------------------------- start and stop

    def start(self, name: str) -> None:
        """Begin a fresh stream for a member; the first active one starts the hardware.

        Raises
        ------
        RuntimeError
            If others are active and their stream cannot serve the member's request, if the
            hardware is used by somebody else, or if it hangs.
        Exception
            What the hardware raises in `configure` or `start_stream`.
        """
        with self._exclusive(f'"{name}" cannot start'):
            member = self._member(name)
            member.end_stream('it was started anew')
            self._retire()
            consumer = self._join(member) if self._active else self._start_hardware(member)
            member.consumer = consumer
            self._active += (member,)
            self._set_poll_rate()
            member.tell_active(True)

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
        member.end_stream('it was stopped')
        with self._exclusive(f'"{member.name}" has stopped, but "{self.streamer_name}" has not'):
            member.end_stream('it was stopped')  # it may have been started in between
            self._retire()

    def _start_hardware(self, member: _Member) -> StreamConsumer:
        if self._streamer.module_state() == 'locked':
            raise RuntimeError(
                f'"{member.name}" cannot start: "{self.streamer_name}" is running already, but no '
                f'buffer of this qudi has started it. Two readers would each get a part of the '
                f'stream. Stop it there, and connect every program to a buffer of its own instead '
                f'of to "{self.streamer_name}"'
            )
        self._configure_for_start(member)
        consumer = self._new_consumer(member.options, self._own_settings(member))
        self._prepare_staging()
        self._samples_taken = 0
        self._started = True
        try:
            self._streamer.start_stream()
            self._check_running()
        except Exception:
            self._stop_hardware_quietly()
            raise
        return consumer

    def _configure_for_start(self, member: _Member) -> None:
        held = self._held()
        own = member.request or held
        wanted = self._with_channels_of_others(own)
        if wanted.is_same_as(held):
            return
        try:
            self._apply(wanted)
        except Exception:
            if wanted is own:
                raise
            self._apply(own)

    def _with_channels_of_others(self, own: StreamSettings) -> StreamSettings:
        """Add the channels of the other members, so that these can join while the stream runs.

        With constant timing only: elsewhere more channels can make a device slower.
        """
        if self._rate_is_hint:
            return own
        wanted = set(own.channels)
        for member in self._members.values():
            other = member.request
            if other and not replace(other, channels=own.channels).conflicts_with(own, False):
                wanted.update(other.channels)
        if wanted == set(own.channels):
            return own
        return replace(
            own, channels=tuple(ch for ch in self.constraints.channel_units if ch in wanted)
        )

    def _own_settings(self, member: _Member) -> StreamSettings:
        """What a member streams: its request or, without one, all that the hardware delivers."""
        assert self._applied is not None
        if member.request is not None:
            return member.request
        return replace(self._applied, channels=netobtain(self._streamer.active_channels))

    def _join(self, member: _Member) -> StreamConsumer:
        """Make a consumer of the stream that runs already."""
        settings = self._served(member.options, self._own_settings(member))
        if settings.is_finite and self._samples_taken > 0:
            raise RuntimeError(
                f'"{member.name}" cannot join the finite acquisition of {self._active_text}: its '
                f'first {self._samples_taken} samples have been taken already. Start all buffers '
                f'before the first sample, or wait until {self._active_text} has finished'
            )
        if member.request is not None:
            member.request = settings
        # What waits in the hardware is older than this stream
        waiting = 0 if settings.is_finite else int(netobtain(self._streamer.available_samples))
        return self._new_consumer(member.options, settings, samples_to_skip=waiting)

    def _new_consumer(
        self, options: ConsumerOptions, settings: StreamSettings, samples_to_skip: int = 0
    ) -> StreamConsumer:
        delivered = list(netobtain(self._streamer.active_channels))
        missing = [channel for channel in settings.channels if channel not in delivered]
        if missing:
            raise RuntimeError(
                f'"{options.name}" cannot start: "{self.streamer_name}" was configured for '
                f'channels {list(settings.channels)}, but delivers {delivered} without {missing}'
            )
        silence_limit = None
        if options.read_timeout is not None and not self._rate_is_hint:
            silence_limit = options.read_timeout + 1 / settings.sample_rate
        return StreamConsumer(
            options.name,
            SampleRing(
                settings.channel_buffer_size,
                len(settings.channels),
                self.constraints.data_type,
                with_timestamps=self._has_timestamps,
            ),
            columns=[delivered.index(channel) for channel in settings.channels],
            allow_overwrite=options.allow_overwrite,
            silence_limit=silence_limit,
            samples_to_acquire=settings.channel_buffer_size if settings.is_finite else None,
            samples_to_skip=samples_to_skip,
        )

    @property
    def _has_timestamps(self) -> bool:
        return self.constraints.sample_timing is SampleTiming.TIMESTAMP

    def _prepare_staging(self) -> None:
        channel_count = len(netobtain(self._streamer.active_channels))
        dtype = np.dtype(self.constraints.data_type)
        rows = max(1, _STAGING_BYTES // (channel_count * dtype.itemsize))
        self._staging = np.empty((rows, channel_count), dtype=dtype)
        self._staging_timestamps = np.empty(rows) if self._has_timestamps else None

    def _retire(self) -> None:
        """Let go of the members whose stream has ended. The last one stops the hardware."""
        ended = [m for m in self._active if m.consumer is None or m.consumer.has_ended]
        if ended:
            self._active = tuple(member for member in self._active if member not in ended)
            self._set_poll_rate()
        try:
            if self._started and not self._active:
                self._stop_hardware()
        finally:
            for member in ended:
                member.tell_active(False)

    def _stop_hardware(self) -> None:
        if self._streamer.module_state() == 'locked':
            self._streamer.stop_stream()
        self._started = False

    def _stop_hardware_quietly(self) -> None:
        """Stop the hardware where the exception that matters is on its way already."""
        try:
            self._stop_hardware()
        except Exception:
            _log.warning(f'"{self.streamer_name}" could not be stopped:', exc_info=True)

    def _set_poll_rate(self) -> None:
        rates = [member.options.max_poll_rate for member in self._active]
        self._poller.set_rate(max(rates, default=None))

    @contextmanager
    def _exclusive(self, consequence: str) -> Iterator[None]:
        if not self._lock.acquire(timeout=_PATIENCE):
            raise RuntimeError(
                f'{consequence}: a call of the hardware module "{self.streamer_name}" has not '
                f'returned for {_PATIENCE:g} s. Check the connection to the device'
            )
        try:
            yield
        finally:
            self._lock.release()

    # ---------------------------------------------------------------- polling

    def _poll(self) -> None:
        """Hand what the hardware has to all consumers. Runs in the poller's thread."""
        with self._lock:
            if not self._active:
                return
            try:
                self._transfer()
            except Exception as error:
                self._fail(error)
            try:
                self._retire()
            except Exception:
                _log.warning(f'"{self.streamer_name}" could not be stopped:', exc_info=True)

    def _transfer(self) -> None:
        consumers = [member.consumer for member in self._active if member.consumer is not None]
        rest = int(netobtain(self._streamer.available_samples))
        self._check_running()
        rest = min(rest, int(netobtain(self._streamer.channel_buffer_size)))
        rest = int(min(rest, max(consumer.samples_missing for consumer in consumers)))
        while rest > 0:
            count = min(rest, len(self._staging))
            samples = self._staging[:count]
            timestamps = None
            if self._staging_timestamps is not None:
                timestamps = self._staging_timestamps[:count]
            self._streamer.read_data_into_buffer(
                data_buffer=samples.reshape(-1),
                samples_per_channel=count,
                timestamp_buffer=timestamps,
            )
            # Some devices stop themselves after an error and return with rubbish in the array
            self._check_running()
            self._samples_taken += count
            for consumer in consumers:
                consumer.put(samples, timestamps)
            rest -= count

    def _check_running(self) -> None:
        state = self._streamer.module_state()
        if state != 'locked':
            raise RuntimeError(
                f'"{self.streamer_name}" is {state} instead of running: somebody else has stopped '
                f'it, or it has stopped itself after an error that its own log lines tell'
            )

    def _fail(self, error: Exception) -> None:
        message = f'the hardware failed with {type(error).__name__}: {error}'
        _log.warning(f'All streams of "{self.streamer_name}" end, {message}', exc_info=error)
        for member in self._active:
            if member.consumer is not None:
                member.consumer.end(StreamEnd.FAULT, message, error)
