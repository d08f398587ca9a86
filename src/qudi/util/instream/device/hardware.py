"""The streaming device as its buffers see it: what it is set to, its start and its stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from qudi.interface.data_instream_interface import DataInStreamConstraints, StreamingMode

from qudi.util.instream.device.arrivals import ArrivedSamples
from qudi.util.instream.device.guard import StartGuard
from qudi.util.instream.device.samples import DeviceSamples
from qudi.util.instream.device.state import DeviceState
from qudi.util.instream.host import RemoteSource, is_remote
from qudi.util.instream.remote import RemoteDevice, RemoteStreamer
from qudi.util.instream.stream import StreamSettings, same_rate

__all__ = ['LiveRate', 'StreamHardware']

# How old the live rate may be (s): a program may ask for it once in a night
_LONGEST_RATE_AGE = 1.0

# By how much the rate that a device measures may differ from the one that it is set to
_MEASURING_ERROR = 0.05


class LiveRate(NamedTuple):
    """What the hardware told about its sample rate, and the request it answers; both in Hz.

    One value, since another thread that read them one after the other could pair the rate of a new
    request with an old request.
    """

    told: float
    requested: float | None  # None if it is not known


class StreamHardware:
    """A hardware module, and what is known about the stream that was started on it.

    All methods are for one thread, but for `time_of_next` and those that only compare rates. The
    attributes are for any thread.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module.
    source : RemoteSource, optional
        Where it comes from, if it is in another process.
    """

    def __init__(self, streamer: Any, source: RemoteSource | None = None) -> None:
        constraints = streamer.constraints
        self._is_remote = is_remote(constraints)
        # A buffer in another qudi, whose samples come by themselves
        self._device = streamer if isinstance(streamer, RemoteDevice) else None
        self._streamer = streamer
        if self._is_remote:
            self._streamer = RemoteStreamer(streamer, constraints, source)
        self.name = str(self._streamer.module_name)
        self.constraints: DataInStreamConstraints = self._streamer.constraints
        # By name, since some devices bring enums of their own
        timing = self.constraints.sample_timing.name
        self.rate_is_hint = timing != 'CONSTANT'
        self.has_timestamps = timing == 'TIMESTAMP'
        self.live_rate = LiveRate(float(self.constraints.sample_rate.default), None)
        self._rate_asked_at = -math.inf
        self._rates: dict[float, float] = {}  # that it told, by the rates that were requested
        # The request it was last configured with; None if that failed, which may leave anything
        self.applied: StreamSettings | None = None
        self.update_rate()
        self.reported = self._report()
        self._take_as_reported()
        self.state = DeviceState(self._streamer, self.name)
        self.samples: DeviceSamples | ArrivedSamples | None = None  # since its latest start
        # Nothing can be put in front of a method in another process. Last, since a device that
        # could not tell how it is set keeps no guard.
        is_here = not self._is_remote and self._device is None
        self._guard = StartGuard(streamer, self.name) if is_here else None

    # ---------------------------------------------------------------- settings

    @property
    def channels(self) -> list[Hashable]:
        """The channels that it delivers, in its own order."""
        return list(self.reported.channels)

    @property
    def sample_rate(self) -> float:
        """Its live sample rate, in Hz, as last told."""
        return self.live_rate.told

    @property
    def asked_channels(self) -> list[Hashable]:
        """The channels that it reports now."""
        return list(self._streamer.active_channels)

    @property
    def available_samples(self) -> int:
        """Number of samples per channel that it can deliver at once."""
        return int(self._streamer.available_samples)

    def update_rate(self) -> bool:
        """Ask it for its live sample rate; one that cannot tell keeps the last one.

        Returns
        -------
        bool
            Whether it has told a rate that samples can have.
        """
        self._rate_asked_at = time.perf_counter()
        try:
            rate = float(self._streamer.sample_rate)
        except ConnectionError:
            raise
        except Exception:  # for example with all channels off
            return False
        if math.isfinite(rate):
            requested = None if self.applied is None else self.applied.sample_rate
            self.live_rate = LiveRate(rate, requested)
        return 0 < rate < math.inf

    def is_rate_old(self, age: float = _LONGEST_RATE_AGE) -> bool:
        """Whether the live rate was last asked for more than `age` seconds, or 1 s, ago."""
        return time.perf_counter() - self._rate_asked_at > min(age, _LONGEST_RATE_AGE)

    def _report(self) -> StreamSettings:
        """Ask it what it is set to, but for the rate, which may be rounded or measured."""
        return StreamSettings(
            tuple(self._streamer.active_channels),
            StreamingMode[self._streamer.streaming_mode.name],
            self._streamer.channel_buffer_size,
            self.sample_rate,
        )

    @property
    def own_settings(self) -> StreamSettings:
        """What it is set to when no program has configured it: all channels, if it has none."""
        channels = self.channels or list(self.constraints.channel_units)
        return self.ordered(self.reported.with_channels(channels))

    def held(self) -> StreamSettings | None:
        """Return the request that it holds, or what it reports if others changed it since.

        None if that is not known, since its last `configure` has failed.
        """
        self.update_rate()
        self.reported = self._report()
        if self.applied is None:
            return None
        if not self.reported.is_same_as(self._reported_after, self.rate_is_hint):
            self._take_as_reported()
        return self.applied

    def _take_as_reported(self) -> None:
        self.applied = self._reported_after = self.reported
        self.live_rate = self.live_rate._replace(requested=self.applied.sample_rate)

    def ordered(self, request: StreamSettings) -> StreamSettings:
        """Return a request with its channels in the order of the constraints.

        Some devices report the order of the request and deliver another one; for this order both
        are the same.
        """
        known = list(self.constraints.channel_units)
        channels = [channel for channel in known if channel in request.channels]
        channels += [channel for channel in request.channels if channel not in known]
        return request.with_channels(channels)

    def configure(self, request: StreamSettings) -> None:
        """Configure it, with the channels in the order of the constraints; its errors pass."""
        request = self.ordered(request)
        self.applied = None  # until it succeeds
        mode = request.streaming_mode
        modes = {member.name: member for member in self.constraints.streaming_modes}
        self._streamer.configure(
            active_channels=list(request.channels),
            streaming_mode=modes.get(mode.name, mode),
            channel_buffer_size=request.channel_buffer_size,
            sample_rate=request.sample_rate,
        )
        self.applied = request
        # Until it tells one, it is believed to do what was requested
        told = self.sample_rate if self.rate_is_hint else request.sample_rate
        self.live_rate = LiveRate(told, request.sample_rate)
        if self.update_rate() and not self.rate_is_hint:
            self._rates[request.sample_rate] = self.sample_rate
        self.reported = self._reported_after = self._report()

    def are_same_rates(self, first: float, second: float) -> bool:
        """Whether it does the same for two requested rates, as far as it has shown."""
        return (
            self.rate_is_hint
            or same_rate(first, second)
            or same_rate(self._rates.get(first, first), self._rates.get(second, second))
        )

    def answers(self, rate: float, live: LiveRate) -> bool:
        """Whether that live rate is what a request for `rate` gets."""
        if self.rate_is_hint:
            return True
        return live.requested is not None and self.are_same_rates(rate, live.requested)

    def stands_for_request(self, live: LiveRate) -> bool:
        """Whether a program that passes that live rate back means the request.

        It does where the device rounds or measures its rate, or tells none while it is idle. A
        rate that is far from the request may answer another one.
        """
        if live.requested is None:
            return False
        is_near = math.isclose(live.told, live.requested, rel_tol=_MEASURING_ERROR)
        return is_near or live.told <= 0 or self.rate_is_hint

    # ---------------------------------------------------------------- start and stop

    def start(self) -> None:
        """Start it; its errors pass unchanged.

        Raises
        ------
        RuntimeError
            If it does not run afterwards.
        """
        with self.state.starting():
            (self._guard or self._streamer).start_stream()
        to_acquire = math.inf
        if self.applied is not None and self.applied.is_finite:
            to_acquire = self.applied.channel_buffer_size
        # A short acquisition may be complete by now, with its samples to fetch
        if not (self.state.is_running or (to_acquire < math.inf and self.available_samples)):
            self.state.check_running()
        if self.update_rate() and self.applied is not None:
            told = self._rates.get(self.applied.sample_rate, self.sample_rate)
            if not math.isclose(told, self.sample_rate, rel_tol=_MEASURING_ERROR):
                self._rates.clear()  # what it tells while it is idle answers no request
        if self._device is not None:
            self.samples = ArrivedSamples(self._device)
            return
        is_regular = not self.rate_is_hint and 0 < self.sample_rate < math.inf
        self.samples = DeviceSamples(
            self._streamer,
            self.state,
            channel_count=len(self.reported.channels),
            dtype=np.dtype(self.constraints.data_type),
            has_timestamps=self.has_timestamps,
            is_remote=self._is_remote,
            sample_rate=self.sample_rate if is_regular else None,
            samples_to_acquire=to_acquire,
            buffer_size=self.reported.channel_buffer_size,
        )

    def stop(self) -> None:
        """Stop what was started here, unless another program has started it since.

        Its errors pass unchanged.
        """
        is_elsewhere = self._guard is not None and self._guard.started_elsewhere
        try:
            # One in another qudi may stream on although nothing comes from it any more
            if not is_elsewhere and (self._device is not None or self.state.is_running):
                self._streamer.stop_stream()
            self.state.stopped()
        finally:
            if self._guard is not None:
                self._guard.release()

    def starting(self) -> AbstractContextManager[None]:
        """Keep others in this process from starting it meanwhile.

        Raises
        ------
        RuntimeError
            If another program is about to start it.
        """
        return nullcontext() if self._guard is None else self._guard.starting()

    def refused(self) -> None:
        """Note that it was not started, since another program uses it."""
        self.state.stopped()
        if self._guard is not None:
            self._guard.release()

    def leave(self) -> None:
        """Give it back as it was."""
        if self._guard is not None:
            self._guard.remove()
        if self._device is not None:
            self._device.close()

    def poll_on_arrival(self, request_poll: Callable[[float], None]) -> None:
        """Have a poll requested whenever samples come by themselves."""
        if self._device is not None:
            self._device.arrived = lambda: request_poll(-math.inf)

    def time_of_next(self, count: float) -> float:
        """Return when it will have the next `count` samples, -inf if that is not known.

        Any thread, also with the lock of a stream held: it asks nobody.
        """
        samples = self.samples
        return samples.time_of_next(count) if isinstance(samples, DeviceSamples) else -math.inf

    @property
    def half_of_buffer(self) -> float:
        """Number of samples that fill half of its own buffer, at least 1; inf if not known."""
        size = self.reported.channel_buffer_size
        return max(1, size // 2) if size > 0 else math.inf

    @property
    def spare_time(self) -> float:
        """Seconds for which a poll may wait, in which half of its own buffer is filled."""
        rate = self.live_rate.told
        if self._device is not None or rate <= 0:  # of another qudi, a thread fetches
            return math.inf
        return self.half_of_buffer / rate
