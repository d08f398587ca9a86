"""What a simulated device is set to, and what it says about that."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum
from typing import Any

import numpy as np
from qudi.interface.data_instream_interface import (
    DataInStreamConstraints,
    SampleTiming,
    StreamingMode,
)
from qudi.util.constraints import ScalarConstraint

__all__ = ['FIXED_RATE', 'OwnSampleTiming', 'OwnStreamingMode', 'SimulatedSettings']

FIXED_RATE = 30517.58  # Hz, of a device with that habit


class OwnStreamingMode(Enum):
    """Streaming mode of a device that brings enums of its own; the values differ from qudi's."""

    CONTINUOUS = 1
    FINITE = 2


class OwnSampleTiming(Enum):
    """Sample timing of a device that brings enums of its own."""

    CONSTANT = 1
    TIMESTAMP = 2
    RANDOM = 3


class SimulatedSettings:
    """Channels, mode, size and rate of a simulated device.

    Parameters
    ----------
    channels : sequence
        Names of all channels, in the order of the device.
    sample_timing : SampleTiming
        Its timing.
    data_type : numpy.dtype
        Type of its samples.
    room : int or None
        Most samples that its buffer can be set to.
    habits, faults : collection of str
        As of the simulated device; looked at anew in each call.

    Attributes
    ----------
    constraints : DataInStreamConstraints
        What it can be set to.
    channels : list
        The channels that are set, as it reports them.
    mode : StreamingMode or OwnStreamingMode
        The mode that is set.
    size : int
        The size of its buffer that is set.
    """

    def __init__(
        self,
        channels: Sequence[Any],
        sample_timing: SampleTiming,
        data_type: np.dtype,
        room: int | None,
        habits: Collection[str],
        faults: Collection[str],
    ) -> None:
        self._all_channels = list(channels)
        self._habits, self._faults = habits, faults
        most = room or 2**30
        modes = [StreamingMode.CONTINUOUS, StreamingMode.FINITE]
        if 'continuous only' in habits:
            modes.remove(StreamingMode.FINITE)
        self.constraints = DataInStreamConstraints(
            channel_units=dict.fromkeys(channels, 'V'),
            sample_timing=sample_timing,
            streaming_modes=modes,
            data_type=data_type.type,
            channel_buffer_size=ScalarConstraint(
                default=min(1000, most), bounds=(1, most), enforce_int=True
            ),
            sample_rate=ScalarConstraint(default=100.0, bounds=(0.01, 2e6)),
        )
        if 'own enums' in habits:  # no constructor of qudi's would take them
            self.constraints._sample_timing = OwnSampleTiming[sample_timing.name]
            self.constraints._streaming_modes = [OwnStreamingMode[mode.name] for mode in modes]
        self.channels = list(channels)
        self.mode: Any = self.constraints.streaming_modes[0]
        self.size = min(1000, most)
        self._asked_rate = 100.0
        self._last_rate = 0.0  # of its latest stream

    @property
    def delivered_channels(self) -> list[Any]:
        """The channels in the order in which it delivers them."""
        if 'request order' in self._habits:
            return [channel for channel in self._all_channels if channel in self.channels]
        return self.channels

    @property
    def rate(self) -> float:
        """The rate that it has (Hz)."""
        return FIXED_RATE if 'fixed rate' in self._habits else self._asked_rate

    def reported_rate(self, is_streaming: bool) -> float:
        """Return the rate that it says it has (Hz)."""
        if is_streaming:
            self._last_rate = self.rate
        elif 'rate when running' in self._habits:
            return self._last_rate
        if 'rate of no channels' in self._faults and not self.channels:
            raise ZeroDivisionError('simulator has no active channel to measure')
        if 'rate 0' in self._faults:
            return 0.0
        if 'measure rate' in self._faults:
            return self.rate * (1 + 0.01 * np.random.default_rng().random())
        if 'round rate' in self._faults:
            return float(round(self.rate))
        return self.rate

    def reported_size(self, waiting: int) -> int:
        """Return the size that it says its buffer has, while so many samples wait."""
        if 'size zero' in self._habits:
            return 0
        if 'size is fill level' in self._habits:
            return waiting
        return 1000 if 'small buffer' in self._faults else self.size

    def set(self, channels: Sequence[Any], mode: Any, size: int, rate: float) -> None:
        """Set all, or raise what is wrong with that."""
        unknown = set(channels) - set(self._all_channels)
        if unknown:
            raise ValueError(f'simulator has no channels {unknown}')
        self.constraints.channel_buffer_size.check(size)
        self.constraints.sample_rate.check(rate)
        if 'one channel only' in self._faults and len(channels) > 1:
            raise ValueError('simulator has one channel only')
        if 'small memory only' in self._faults and size > 1000:
            raise MemoryError('simulator has room for 1000 samples only')
        if 'own enums' not in self._habits:
            mode = StreamingMode(mode)
        elif not isinstance(mode, OwnStreamingMode):
            raise TypeError(f'simulator does not know the streaming mode {mode!r}')
        if 'ignore channels' not in self._faults:
            self.channels = self._ordered(channels)
        self.mode, self.size, self._asked_rate = mode, size, rate

    def _ordered(self, channels: Sequence[Any]) -> list[Any]:
        if 'request order' in self._habits:
            ordered = list(channels)
        else:  # in the device's own order, whatever was asked for
            ordered = [channel for channel in self._all_channels if channel in channels]
        return ordered[::-1] if 'reverse channels' in self._faults else ordered
