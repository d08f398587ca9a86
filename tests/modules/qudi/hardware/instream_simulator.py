"""A streaming device that can be foretold: every value names its sample and its channel.

A gap, a repeat or a mix-up of channels shows in the values themselves. It can also be made to
fail, in the ways in which real devices do.
"""

from __future__ import annotations

import threading
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

__all__ = ['InStreamSimulator', 'foretold_samples', 'foretold_timestamps']

_CHANNELS = ('a', 'b', 'c', 'd')


def foretold_samples(first, count, channels=_CHANNELS, dtype=np.float64):
    """The samples from index `first` on, shape (count, channels): 16 * index + channel number.

    Integer types wrap around.
    """
    index = np.arange(first, first + count, dtype=np.int64)
    numbers = np.array([_CHANNELS.index(channel) for channel in channels])
    return (16 * index[:, np.newaxis] + numbers).astype(dtype)


def foretold_timestamps(first, count):
    """Their timestamps in seconds; none is a whole number, so that a cast to integers shows."""
    return 1e-3 * np.arange(first, first + count) + 1e-4


class InStreamSimulator(DataInStreamInterface):
    """Simulated streaming device.

    Example config for copy-paste:

    instream_simulator:
        module.Class: 'instream_simulator.InStreamSimulator'
        options:
            channels: ['a', 'b']  # optional, some of a, b, c, d (default: all)
            data_type: 'float64'  # optional
            sample_timing: 'CONSTANT'  # optional, CONSTANT, TIMESTAMP or RANDOM
            clocked: False  # optional, True makes sample_rate samples a second, False as many
                            # as `produce` is told to
            wait_for_missing: False  # optional, True for programs that are connected to it and ask
                                     # for more than there is, which buffers must not
    """

    _channels = ConfigOption('channels', default=list(_CHANNELS))
    _data_type = ConfigOption(
        'data_type', default='float64', constructor=lambda name: np.dtype(name)
    )
    _sample_timing = ConfigOption(
        'sample_timing', default='CONSTANT', constructor=lambda name: SampleTiming[name]
    )
    _clocked = ConfigOption('clocked', default=False)
    _wait_for_missing = ConfigOption('wait_for_missing', default=False)

    # Every instance that streams, for a look after a test
    running: set[InStreamSimulator] = set()  # noqa: RUF012

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._first = 0  # index of the first sample since the start
        self._taken = 0
        self._produced = 0
        self._started_at = 0.0
        # What was done to the device
        self.configure_calls = []
        self.starts = 0
        self.stops = 0
        self.polls = []  # time of each look at available_samples
        self.reader_threads = set()
        self.read_sizes = []  # samples per channel of each read
        # What is wrong with the device: any of the words that `_fails` is asked for below
        self.faults = set()
        self.blocked = False
        self.released = threading.Event()  # ends a call that hangs

    def on_activate(self):
        self._constraints = DataInStreamConstraints(
            channel_units=dict.fromkeys(self._channels, 'V'),
            sample_timing=self._sample_timing,
            streaming_modes=[StreamingMode.CONTINUOUS, StreamingMode.FINITE],
            data_type=self._data_type.type,
            channel_buffer_size=ScalarConstraint(default=1000, bounds=(1, 2**30), enforce_int=True),
            sample_rate=ScalarConstraint(default=100.0, bounds=(0.01, 2e6)),
        )
        self._settings = (list(self._channels), StreamingMode.CONTINUOUS, 1000, 100.0)

    def on_deactivate(self):
        if not self._fails('hang for good'):
            self.released.set()
        if self.module_state() == 'locked':
            self.stop_stream()

    def _fails(self, fault):
        return fault in self.faults

    def _hang(self):
        self.blocked = True
        self.released.wait()
        self.blocked = False

    # ---------------------------------------------------------------- for the test

    def produce(self, count):
        """Make `count` more samples available."""
        with self._lock:
            self._produced += count

    @property
    def taken(self):
        """Index of the next sample that a read would deliver."""
        return self._taken

    # ---------------------------------------------------------------- the interface

    @property
    def constraints(self):
        return self._constraints

    @property
    def active_channels(self):
        return list(self._settings[0])

    @property
    def streaming_mode(self):
        return self._settings[1]

    @property
    def channel_buffer_size(self):
        return 1000 if self._fails('small buffer') else self._settings[2]

    @property
    def sample_rate(self):
        rate = self._settings[3]
        if self._fails('rate 0'):
            return 0.0
        if self._fails('measure rate'):
            return rate * (1 + 0.01 * np.random.default_rng().random())
        if self._fails('round rate'):
            return float(round(rate))
        return rate

    def configure(self, active_channels, streaming_mode, channel_buffer_size, sample_rate):
        if self.module_state() == 'locked':
            raise RuntimeError('simulator runs, configure refused')
        if self._fails('configure slowly'):
            self._hang()
        if self._fails('raise in configure'):
            raise OSError('simulator lost its cable')
        unknown = set(active_channels) - set(self._channels)
        if unknown:
            raise ValueError(f'simulator has no channels {unknown}')
        self._constraints.channel_buffer_size.check(channel_buffer_size)
        self._constraints.sample_rate.check(sample_rate)
        if self._fails('one channel only') and len(active_channels) > 1:
            raise ValueError('simulator has one channel only')
        # In the device's own order, whatever was asked for
        channels = [channel for channel in self._channels if channel in active_channels]
        if self._fails('reverse channels'):
            channels.reverse()
        if self._fails('ignore channels'):
            channels = self._settings[0]
        self._settings = (channels, StreamingMode(streaming_mode), channel_buffer_size, sample_rate)
        self.configure_calls.append(self._settings)

    def start_stream(self):
        if self._fails('raise in start'):
            raise OSError('simulator does not start')
        if self._fails('start slowly'):
            self._hang()
        with self._lock:
            self.module_state.lock()
            self.starts += 1
            self._first = self._produced if self._fails('count on') else 0
            self._taken = self._produced = self._first
            self._started_at = time.perf_counter()
        InStreamSimulator.running.add(self)
        if self._fails('stop itself in start'):
            self.stop_stream()
        if self._fails('raise after start'):
            raise OSError('simulator started in vain')

    def stop_stream(self):
        if self._fails('raise in stop'):
            raise OSError('simulator does not stop')
        if self._fails('raise in one stop'):
            self.faults.discard('raise in one stop')
            raise OSError('simulator does not stop at once')
        assert self.module_state() == 'locked', 'stopped a simulator that does not stream'
        self.stops += 1
        InStreamSimulator.running.discard(self)
        self.module_state.unlock()
        if self._fails('raise after stop'):
            raise OSError('simulator stopped with a complaint')

    @property
    def available_samples(self):
        self.polls.append(time.perf_counter())
        if self._fails('raise in available_samples'):
            raise OSError('simulator lost its cable')
        if self.module_state() != 'locked' and not self._fails('idle when complete'):
            return 0
        with self._lock:
            if self._clocked and not self._fails('stall'):
                elapsed = time.perf_counter() - self._started_at
                self._produced = self._first + int(elapsed * self._settings[3])
            if self._fails('idle when complete') and self._produced >= self._settings[2]:
                self._produced = self._settings[2]
                if self.module_state() == 'locked':
                    self.stop_stream()
            waiting = self._produced - self._taken
            if self._fails('overflow') and waiting > self._settings[2]:
                raise OverflowError(f'simulator has room for {self._settings[2]} samples only')
            return waiting

    def read_data_into_buffer(self, data_buffer, samples_per_channel, timestamp_buffer=None):
        self.reader_threads.add(threading.get_ident())
        self.read_sizes.append(samples_per_channel)
        channels, dtype = self._settings[0], self._data_type
        if self._fails('raise in read'):
            raise OSError('simulator lost its cable')
        if self._fails('rubbish'):
            data_buffer[:] = -1
            self.stop_stream()
            return
        if self._fails('block in read'):
            self._hang()
        is_complete = self._fails('idle when complete')
        assert is_complete or self.module_state() == 'locked', 'read from an idle simulator'
        while self._wait_for_missing and self.available_samples < samples_per_channel:
            time.sleep(0.001)
        with self._lock:
            count = samples_per_channel
            assert 0 < count <= self._produced - self._taken, 'more was asked for than there is'
            assert data_buffer.dtype == dtype
            assert data_buffer.ndim == 1
            samples = foretold_samples(self._taken, count, channels, dtype)
            data_buffer[: count * len(channels)] = samples.reshape(-1)
            if self._sample_timing is SampleTiming.TIMESTAMP:
                timestamp_buffer[:count] = foretold_timestamps(self._taken, count)
            self._taken += count

    def read_available_data_into_buffer(self, data_buffer, timestamp_buffer=None):
        count = min(self.available_samples, len(data_buffer) // len(self._settings[0]))
        self.read_data_into_buffer(data_buffer, count, timestamp_buffer)
        return count

    def read_data(self, samples_per_channel=None):
        count = self.available_samples if samples_per_channel is None else samples_per_channel
        data = np.empty(count * len(self._settings[0]), dtype=self._data_type)
        timestamps = np.empty(count) if self._sample_timing is SampleTiming.TIMESTAMP else None
        self.read_data_into_buffer(data, count, timestamps)
        return data, timestamps

    def read_single_point(self):
        data, timestamps = self.read_data(1)
        return data, None if timestamps is None else timestamps[0]
