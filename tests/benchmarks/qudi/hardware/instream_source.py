"""A streaming device for benchmarks: it costs one memory copy, and knows how old a sample is."""

from __future__ import annotations

import math
import time

import numpy as np
from qudi.core.configoption import ConfigOption
from qudi.interface.data_instream_interface import (
    DataInStreamConstraints,
    DataInStreamInterface,
    SampleTiming,
    StreamingMode,
)
from qudi.util.constraints import ScalarConstraint

__all__ = ['InStreamSource']

_LENGTH = 2**17  # samples that it has; it delivers them again and again


class InStreamSource(DataInStreamInterface):
    """Streaming device with constant sample timing. The value of a sample is its index, modulo
    `len(samples)`.

    Example config for copy-paste:

    instream_source:
        module.Class: 'instream_source.InStreamSource'
        options:
            channel_count: 2  # optional
            clocked: True  # optional, True makes sample_rate samples a second, False as many
                           # as `produce` is told to
            block: 0.0  # optional, shows its samples in pieces of so many seconds
    """

    _channel_count = ConfigOption('channel_count', default=2)
    _clocked = ConfigOption('clocked', default=True)
    _block = ConfigOption('block', default=0.0)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.looks = []  # time of each look at available_samples
        self.clock_delay = 0.0  # seconds from the start to the first tick of the sample clock
        self._clock_start = 0.0
        self._produced = 0
        self._taken = 0

    def on_activate(self):
        index = np.arange(_LENGTH, dtype=np.float64)
        self.samples = np.repeat(index[:, np.newaxis], self._channel_count, axis=1)
        self._channels = [f'channel {number}' for number in range(1, self._channel_count + 1)]
        self._constraints = DataInStreamConstraints(
            channel_units=dict.fromkeys(self._channels, 'V'),
            sample_timing=SampleTiming.CONSTANT,
            streaming_modes=[StreamingMode.CONTINUOUS],
            data_type=np.float64,
            channel_buffer_size=ScalarConstraint(default=1000, bounds=(1, 2**40), enforce_int=True),
            sample_rate=ScalarConstraint(default=100.0, bounds=(0.001, 1e12)),
        )
        self._buffer_size, self._rate = 1000, 100.0

    def on_deactivate(self):
        if self.module_state() == 'locked':
            self.stop_stream()

    # ---------------------------------------------------------------- for the benchmark

    def produce(self, count):
        """Make `count` more samples available."""
        self._produced += count

    def make_noise(self):
        """Deliver values that cannot be compressed; they name no samples."""
        self.samples = np.random.default_rng(1).standard_normal(self.samples.shape)

    def ages(self, times, values):
        """Seconds that samples, known by their values, had existed at certain times.

        A value names one sample in `len(samples)`; the newest that existed by then is meant.
        """
        times, values = np.asarray(times), np.asarray(values)
        newest = np.floor((times - self._clock_start) * self._rate) - 1
        index = values + _LENGTH * np.floor((newest - values) / _LENGTH)
        return times - self._clock_start - (index + 1) / self._rate

    # ---------------------------------------------------------------- the interface

    @property
    def constraints(self):
        return self._constraints

    @property
    def active_channels(self):
        return list(self._channels)

    @property
    def streaming_mode(self):
        return StreamingMode.CONTINUOUS

    @property
    def channel_buffer_size(self):
        return self._buffer_size

    @property
    def sample_rate(self):
        return self._rate

    def configure(self, active_channels, streaming_mode, channel_buffer_size, sample_rate):
        assert list(active_channels) == self._channels
        self._buffer_size, self._rate = channel_buffer_size, sample_rate

    def start_stream(self):
        self.module_state.lock()
        self._produced = self._taken = 0
        self._clock_start = time.perf_counter() + self.clock_delay

    def stop_stream(self):
        self.module_state.unlock()

    @property
    def available_samples(self):
        now = time.perf_counter()
        self.looks.append(now)
        if self._clocked:
            elapsed = now - self._clock_start
            if self._block:
                elapsed -= elapsed % self._block
            self._produced = max(0, int(elapsed * self._rate))
            if self._produced - self._taken > self._buffer_size:
                raise OverflowError(f'the device has room for {self._buffer_size} samples only')
        return self._produced - self._taken

    def read_data_into_buffer(self, data_buffer, samples_per_channel, timestamp_buffer=None):
        end = self._taken + samples_per_channel
        if end > self._produced:
            assert self._clocked, 'more was asked for than there is'
            due = end / self._rate
            if self._block:
                due = self._block * math.ceil(due / self._block - 1e-9)
            time.sleep(max(0.0, self._clock_start + due - time.perf_counter()))
        target = data_buffer.reshape(-1, self._channel_count)
        done = 0
        while done < samples_per_channel:
            begin = self._taken % _LENGTH
            count = min(samples_per_channel - done, _LENGTH - begin)
            target[done : done + count] = self.samples[begin : begin + count]
            self._taken += count
            done += count

    def read_available_data_into_buffer(self, data_buffer, timestamp_buffer=None):
        count = min(self.available_samples, data_buffer.size // self._channel_count)
        self.read_data_into_buffer(data_buffer, count)
        return count

    def read_data(self, samples_per_channel=None):
        count = self.available_samples if samples_per_channel is None else samples_per_channel
        data = np.empty(count * self._channel_count)
        self.read_data_into_buffer(data, count)
        return data, None

    def read_single_point(self):
        return self.read_data(1)
