"""What is known of one activated buffer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from qudi.util.instream.device.hardware import LiveRate, StreamHardware
from qudi.util.instream.device.offers import room_for_polls
from qudi.util.instream.device.plan import interval_of
from qudi.util.instream.device.reports import BufferReports
from qudi.util.instream.remote import RemoteClient
from qudi.util.instream.stream import (
    BufferedStream,
    BufferOptions,
    SampleRing,
    Selection,
    StreamEnd,
    StreamSettings,
    same_rate,
)

__all__ = ['Member']

_HERE = 'a program of this qudi'


@dataclass(eq=False)
class Member:
    """One activated buffer.

    Parameters
    ----------
    options : BufferOptions
        Name and options of the buffer.
    reports : BufferReports
        Told what becomes of its streams.
    is_quitting : callable
        Tells whether qudi quits, so that reads must not wait long. It only looks.
    """

    options: BufferOptions
    reports: BufferReports
    is_quitting: Callable[[], bool]
    request: StreamSettings | None = None  # from its first configure on
    # Live rates it was told lately that stand for a request
    rates_told: deque[LiveRate] = field(default_factory=lambda: deque(maxlen=16))
    stream: BufferedStream | None = None  # the latest one, which may have ended
    lost_told: int = 0  # samples of that stream
    is_stopping: bool = False  # a job that stops it is on its way
    starts: int = 0  # calls of start in progress
    last_thread: int = 0  # that read from its last stream
    client: RemoteClient | None = None  # in another process, that its stream was started for

    @property
    def name(self) -> str:
        """Name of the buffer."""
        return self.options.name

    @property
    def settings(self) -> StreamSettings | None:
        """What it asked for, or streams without having asked; None if there is neither."""
        stream, request = self.stream, self.request  # in this order: `configure` sets it first
        return stream.settings if request is None and stream and not stream.is_stopped else request

    @property
    def poll_interval(self) -> float:
        """Seconds between two polls at most."""
        return interval_of(self.options.max_poll_rate)

    def check_owner(self, client: RemoteClient | None, change: str) -> None:
        """Raise RuntimeError if its stream is that of another program, which needs it."""
        stream, owner = self.stream, self.client
        if stream is None or stream.has_ended or stream.is_abandoned or owner is client:
            return
        if owner is not None and (owner.has_gone or (client and owner.is_same_as(client))):
            return
        raise RuntimeError(
            f'"{self.name}" cannot be {change} for {client or _HERE}, since it streams for '
            f'{owner or _HERE}. Give each program a buffer of its own'
        )

    def requested_rate(self, rate: float) -> float:
        """Turn a live rate that was told and comes back into the rate that was requested.

        A device may round or measure its rate, and logics pass what they read into `configure`.
        """
        # A copy, since another thread may be told a rate meanwhile
        for told, requested in list(self.rates_told):
            if requested is not None and same_rate(rate, told):
                return requested
        return rate

    def begin_stream(
        self,
        settings: StreamSettings,
        ring: SampleRing,
        hardware: StreamHardware,
        request_poll: Callable[[float], None],
        samples_to_skip: int = 0,
        timestamp_offset: float = 0.0,
    ) -> None:
        """Make a stream for samples of the hardware.

        Raises
        ------
        RuntimeError
            If the hardware does not deliver all its channels.
        """
        delivered = hardware.channels
        missing = [channel for channel in settings.channels if channel not in delivered]
        if missing:
            raise RuntimeError(
                f'"{self.name}" cannot start: it needs the channels {list(settings.channels)}, '
                f'but "{hardware.name}" delivers {delivered}, whatever it was configured for'
            )
        is_all = delivered == list(settings.channels)
        silence_limit, first_limit = self._time_limits(settings, hardware)
        self.lost_told = 0
        self.stream = BufferedStream(
            self.name,
            ring,
            settings=settings,
            selection=Selection(
                None if is_all else [delivered.index(channel) for channel in settings.channels],
                samples_to_skip,
                timestamp_offset,
            ),
            allow_overwrite=self.options.allow_overwrite,
            silence_limit=silence_limit,
            first_limit=first_limit,
            poll_interval=self.poll_interval,
            samples_to_acquire=settings.channel_buffer_size if settings.is_finite else None,
            last_thread=self.last_thread,
            time_of_next=hardware.time_of_next,
            request_poll=request_poll,
            is_quitting=self.is_quitting,
            limits=self.options.limits,
        )

    def make_ring(self, settings: StreamSettings, hardware: StreamHardware) -> SampleRing:
        """Make a ring for a stream with these settings.

        Raises
        ------
        MemoryError
            If there is no memory for it.
        """
        size = settings.channel_buffer_size
        if not self.options.allow_overwrite and not settings.is_finite:
            # A smaller one would overflow however fast its program reads
            size = max(size, room_for_polls(hardware, settings, self.poll_interval))
        try:
            return SampleRing(
                size,
                len(settings.channels),
                hardware.constraints.data_type,
                with_timestamps=hardware.has_timestamps,
            )
        except (MemoryError, ValueError) as error:
            raise MemoryError(
                f'"{self.name}" cannot start: there is no memory for a channel_buffer_size of '
                f'{settings.channel_buffer_size} samples of the channels '
                f'{list(settings.channels)}. Configure a smaller channel_buffer_size'
            ) from error

    def _time_limits(
        self, settings: StreamSettings, hardware: StreamHardware
    ) -> tuple[float | None, float | None]:
        """Seconds without a sample that are a fault, and that a look waits for the first one.

        The periods of samples and of polls are added to the option.
        """
        timeout, rate = self.options.read_timeout, settings.sample_rate
        if timeout is None:
            return None, None
        limit = timeout + self.poll_interval
        if hardware.rate_is_hint or rate <= 0:
            return None, limit
        return limit + 1 / rate, limit + 1 / rate

    def end_stream(self, message: str) -> None:
        """End its stream as stopped, if it has one."""
        if self.stream is not None:
            self.stream.end(StreamEnd.STOPPED, message)
