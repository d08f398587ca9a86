"""What one program asks for, and whether a stream that runs already can serve it.

BufferOptions is the part that stands in the qudi configuration, StreamSettings the part that
programs set with `configure`. Both need nothing but the standard library.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

from qudi.util.instream.stream.limits import TimeLimits

__all__ = ['BufferOptions', 'StreamSettings', 'same_rate']


def same_rate(first: float, second: float) -> bool:
    """Whether two sample rates (Hz) are equal within one part in a million."""
    return math.isclose(first, second, rel_tol=1e-6)


@dataclass(frozen=True)
class StreamSettings:
    """One request for a stream, as it was passed to `configure`.

    It does not matter whether a request was written with a list or a tuple, an int or a float.

    Parameters
    ----------
    channels : iterable
        Channel names in the order in which the program wants their samples: the keys of the
        device's constraints, which are texts, or numbers where a configuration has numbers.
    streaming_mode : enum.Enum
        Member of qudi's StreamingMode.
    channel_buffer_size : int
        Samples per channel that the buffer's ring holds; in FINITE mode also the number of
        samples per channel to acquire.
    sample_rate : float
        Sample rate in Hz.

    Raises
    ------
    TypeError
        If the channels are a single text instead of a list of texts.
    ValueError
        If the buffer size is no whole number.
    """

    channels: tuple[Hashable, ...]
    streaming_mode: Enum
    channel_buffer_size: int
    sample_rate: float

    def __post_init__(self) -> None:
        if isinstance(self.channels, str):
            raise TypeError(
                f'active_channels must be a list of channel names, got the text {self.channels!r}'
            )
        size = self.channel_buffer_size
        if not math.isfinite(size) or size != int(size):
            raise ValueError(f'channel_buffer_size must be a whole number of samples, got {size}')
        object.__setattr__(self, 'channels', tuple(self.channels))
        object.__setattr__(self, 'channel_buffer_size', int(size))
        object.__setattr__(self, 'sample_rate', float(self.sample_rate))

    def check_channels(self) -> None:
        """Raise ValueError if there is no channel, or one is named twice."""
        if not self.channels:
            raise ValueError('active_channels is empty, at least one channel is needed')
        if len(set(self.channels)) < len(self.channels):
            raise ValueError(f'active_channels {list(self.channels)} names a channel twice')

    def check_against(self, constraints: Any) -> None:
        """Raise ValueError if DataInStreamConstraints do not allow the request."""
        self.check_mode(constraints)
        unknown = [channel for channel in self.channels if channel not in constraints.channel_units]
        if unknown:
            known = list(constraints.channel_units)
            raise ValueError(f'active_channels {unknown} are unknown, there are {known}')
        constraints.channel_buffer_size.check(self.channel_buffer_size)
        if not 0 < self.sample_rate < math.inf:
            raise ValueError(f'sample_rate must be a positive number of Hz, got {self.sample_rate}')
        least, most = constraints.sample_rate.bounds
        is_allowed = least <= self.sample_rate <= most
        # Elsewhere it is a hint, and devices ignore it
        if constraints.sample_timing.name == 'CONSTANT' and not is_allowed:
            raise ValueError(
                f'sample_rate {self.sample_rate:.10g} Hz is not allowed, the device takes '
                f'{least:.10g} to {most:.10g} Hz'
            )

    def check_mode(self, constraints: Any) -> None:
        """Raise ValueError if DataInStreamConstraints do not allow the streaming mode."""
        allowed = [mode.name for mode in constraints.streaming_modes]
        if self.streaming_mode.name not in allowed:
            raise ValueError(
                f'streaming_mode {self.streaming_mode.name} is not allowed, the device takes '
                f'{", ".join(allowed)}'
            )

    def updated(
        self, modes: type[Enum], channels: Any, mode: Any, size: Any, rate: Any
    ) -> StreamSettings:
        """Return a request with other values, as they come from a program.

        Parameters
        ----------
        modes : type
            qudi's StreamingMode. Devices may have a class of their own with the same names.
        channels, mode, size, rate
            The new values; None for as it is.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be used.
        """
        if mode is not None:
            name = str(getattr(mode, 'name', ''))
            mode = modes[name] if name in modes.__members__ else modes(getattr(mode, 'value', mode))
        return StreamSettings(
            self.channels if channels is None else channels,
            self.streaming_mode if mode is None else mode,
            self.channel_buffer_size if size is None else size,
            self.sample_rate if rate is None else rate,
        )

    def with_channels(self, channels: Iterable[Hashable]) -> StreamSettings:
        """Return this request with other channels."""
        return replace(self, channels=tuple(channels))

    @property
    def is_finite(self) -> bool:
        """Whether `channel_buffer_size` samples are to be acquired instead of an endless stream."""
        return self.streaming_mode.name == 'FINITE'

    def is_same_as(self, other: StreamSettings, rate_is_hint: bool = False) -> bool:
        """Whether both are the same, the order of channels included.

        The rate does not count where it is a hint only.
        """
        return (
            self.channels == other.channels
            and self.streaming_mode == other.streaming_mode
            and self.channel_buffer_size == other.channel_buffer_size
            and (rate_is_hint or same_rate(self.sample_rate, other.sample_rate))
        )

    def conflicts_with(
        self, running: StreamSettings, are_same_rates: Callable[[float, float], bool]
    ) -> list[str]:
        """List what keeps a stream running with other settings from serving this request.

        Parameters
        ----------
        running : StreamSettings
            The request that the hardware runs with.
        are_same_rates : callable
            Called with two requested rates; whether the device does the same for both.

        Returns
        -------
        list of str
            One text per setting with both values; empty if the stream can serve this request.
        """
        conflicts = []

        def differs(setting: str, requested: object, found: object) -> None:
            conflicts.append(f'{setting}: {requested} requested, {found} running')

        if not set(self.channels) <= set(running.channels):
            differs('channels', list(self.channels), list(running.channels))
        if self.streaming_mode != running.streaming_mode:
            differs('streaming mode', self.streaming_mode.name, running.streaming_mode.name)
        elif self.is_finite and self.channel_buffer_size > running.channel_buffer_size:
            differs('samples to acquire', self.channel_buffer_size, running.channel_buffer_size)
        if not are_same_rates(self.sample_rate, running.sample_rate):
            differs('sample rate', f'{self.sample_rate:.10g} Hz', f'{running.sample_rate:.10g} Hz')
        return conflicts

    def following(self, running: StreamSettings) -> StreamSettings:
        """Return this request with the rate and the mode of a running stream.

        Of a finite acquisition it takes no more samples than there are.
        """
        size = self.channel_buffer_size
        if running.is_finite:
            size = min(size, running.channel_buffer_size)
        return StreamSettings(self.channels, running.streaming_mode, size, running.sample_rate)


@dataclass(frozen=True)
class BufferOptions:
    """What the qudi configuration says about one buffer.

    Parameters
    ----------
    name : str
        Name of the buffer, as errors and log lines call it.
    allow_overwrite : bool
        Whether a full ring drops its oldest samples (True) or ends the stream (False).
    max_poll_rate : float
        Upper limit for the number of hardware reads in any second while this buffer is active.
    follow_running : bool
        Whether to adopt rate and mode of a stream that runs already, where they differ.
    read_timeout : float or None
        Seconds without one new sample after which a waiting read gives up (constant sample
        timing only); None waits for ever.
    time_limits : mapping, optional
        Fields of a `TimeLimits` that differ from its defaults.

    Raises
    ------
    ValueError
        If an option has a value that is not allowed. The text names option, value and what is
        allowed.
    """

    name: str
    allow_overwrite: bool = False
    max_poll_rate: float = 30.0
    follow_running: bool = False
    read_timeout: float | None = 10.0
    time_limits: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for option in ('allow_overwrite', 'follow_running'):
            if not isinstance(getattr(self, option), bool):
                self._refuse(option, 'True or False, without quotes')
        if not _is_positive_number(self.max_poll_rate):
            self._refuse('max_poll_rate', 'a finite number of polls per second above 0')
        if self.read_timeout is not None and not _is_positive_number(self.read_timeout):
            self._refuse('read_timeout', 'a finite number of seconds above 0, or null for no limit')
        limits = {} if self.time_limits is None else self.time_limits
        known = [field.name for field in fields(TimeLimits)]
        if not isinstance(limits, Mapping) or not all(
            name in known and _is_positive_number(seconds) for name, seconds in limits.items()
        ):
            self._refuse('time_limits', f'seconds above 0 for some of {", ".join(known)}')

    @property
    def limits(self) -> TimeLimits:
        """For how long threads wait."""
        return TimeLimits(**(self.time_limits or {}))

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> BufferOptions:
        """Make the options of buffer `name` from what its configuration says.

        Raises
        ------
        ValueError
            If an option is unknown, which qudi itself would ignore, or its value not allowed.
        """
        known = [field.name for field in fields(cls) if field.name != 'name']
        for option in config:
            if option not in known:
                similar = difflib.get_close_matches(str(option), known, n=1)
                hint = (
                    f'did you mean "{similar[0]}"?' if similar else f'it knows {", ".join(known)}'
                )
                raise ValueError(f'"{name}" has no option "{option}", {hint}')
        return cls(name, **config)

    def _refuse(self, option: str, allowed: str) -> None:
        value = getattr(self, option)
        raise ValueError(f'Option "{option}" of "{self.name}" is {value!r}, but must be {allowed}')


def _is_positive_number(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return 0 < float(value) < math.inf
    except OverflowError:
        return False
