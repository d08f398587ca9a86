"""A streaming device that can be foretold: every value names its sample and its channel.

A gap, a repeat or a mix-up of channels shows in the values themselves. It can also be made to
fail, in the ways in which real devices do, and it can have the habits of real devices.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from enum import Enum
from functools import partial

import numpy as np
from qudi.core.configoption import ConfigOption
from qudi.interface.data_instream_interface import (
    DataInStreamConstraints,
    DataInStreamInterface,
    SampleTiming,
    StreamingMode,
)
from qudi.util.constraints import ScalarConstraint

__all__ = [
    'FIXED_RATE',
    'InStreamSimulator',
    'OwnSampleTiming',
    'OwnStreamingMode',
    'foretold_samples',
    'foretold_timestamps',
]

# The last three are names as YAML makes them of numbers and of "yes"
_CHANNELS = ('a', 'b', 'c', 'd', 1.5, 2, True)

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


def foretold_samples(first, count, channels=_CHANNELS[:4], dtype=np.float64):
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
            channels: ['a', 'b']  # optional, some of a, b, c, d, 1.5, 2, True (default: a to d)
            data_type: 'float64'  # optional
            sample_timing: 'CONSTANT'  # optional, CONSTANT, TIMESTAMP or RANDOM
            clocked: False  # optional, True makes sample_rate samples a second, False as many
                            # as `produce` is told to
            wait_for_missing: False  # optional, True for programs that are connected to it and ask
                                     # for more than there is, which buffers must not
            speed: 1.0  # optional, a clocked device is so many times as fast as it says
            block_time: 0.0  # optional, a clocked device shows its samples every so many seconds
            room: null  # optional, samples that its buffer is allowed to have; it overflows then
                        # (default: as many as anybody wants, and its queue has no limit)
            habits: []  # optional, words of the first list below

    Habits, which a device has from the beginning:
        'continuous only'    its constraints have no FINITE; it does not check that itself
        'fetch in reads'     available_samples is always 0, samples come out of reads only
        'fixed rate'         it makes and reports FIXED_RATE, whatever is asked
        'never lock'         its module_state stays idle while it streams
        'own enums'          streaming mode and sample timing are classes of its own
        'request order'      it reports channels in the order of the request, and delivers them
                             in the order of its configuration
        'size is fill level' it reports the samples that wait as its buffer size
        'size zero'          it reports a buffer size of 0
        'slow reads'         each read takes a sample period

    Faults, which a test adds to `faults` and removes while it runs:
        'raise in ...'       configure, start, stop, one stop, read, available_samples: `make_error`
        'raise after ...'    start, stop: an error, although it was done
        'rubbish'            a read returns nonsense and stops the device, without an error
        'overflow'           as with `room`: more samples than its buffer has are an error
        'stall'              a clocked device makes no more samples
        'block in read'      a read hangs until `released` is set
        'block queries'      so do all properties while a call hangs
        'hang for good'      a deactivation does not end a call that hangs
        'configure slowly', 'start slowly'         these calls hang
        'stop itself in start'                     it does not run after its start
        'one channel only', 'small memory only'    configure refuses more
        'reserve one channel', 'reserve 1000'      start refuses more channels, a larger buffer
        'reverse channels', 'ignore channels'      what becomes of the channels that are asked for
        'small buffer'                             it reports 1000 samples whatever is asked
        'rate 0', 'measure rate', 'round rate'     what it reports as its rate
        'rate of no channels'                      ... and that fails without an active channel
        'count on'                                 samples are counted on over a restart
        'idle when complete'                       it goes idle when its acquisition is complete
    """

    _channels = ConfigOption('channels', default=list(_CHANNELS[:4]))
    _data_type = ConfigOption(
        'data_type', default='float64', constructor=lambda name: np.dtype(name)
    )
    _sample_timing = ConfigOption(
        'sample_timing', default='CONSTANT', constructor=lambda name: SampleTiming[name]
    )
    _clocked = ConfigOption('clocked', default=False)
    _wait_for_missing = ConfigOption('wait_for_missing', default=False)
    _speed = ConfigOption('speed', default=1.0)
    _block_time = ConfigOption('block_time', default=0.0)
    _room = ConfigOption('room', default=None)
    _habits = ConfigOption('habits', default=[])

    # Every instance that streams, for a look after a test
    running: set[InStreamSimulator] = set()  # noqa: RUF012

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._is_streaming = False
        self._first = 0  # index of the first sample since the start
        self._taken = 0
        self._produced = 0
        self._started_at = 0.0
        # What was done to the device
        self.configure_calls = []
        self.starts = 0
        self.stops = 0
        self.polls = []  # time of each look at available_samples
        self.queries = Counter()  # how often each setting was asked for
        self.reader_threads = set()
        self.read_sizes = []  # samples per channel of each read
        # What is wrong with the device
        self.faults = set()
        self.make_error = partial(OSError, 'simulator lost its cable')
        self.blocked = False
        self.released = threading.Event()  # ends a call that hangs

    def on_activate(self):
        modes = [StreamingMode.CONTINUOUS, StreamingMode.FINITE]
        if self._has('continuous only'):
            modes.remove(StreamingMode.FINITE)
        most = self._room or 2**30
        self._constraints = DataInStreamConstraints(
            channel_units=dict.fromkeys(self._channels, 'V'),
            sample_timing=self._sample_timing,
            streaming_modes=modes,
            data_type=self._data_type.type,
            channel_buffer_size=ScalarConstraint(
                default=min(1000, most), bounds=(1, most), enforce_int=True
            ),
            sample_rate=ScalarConstraint(default=100.0, bounds=(0.01, 2e6)),
        )
        if self._has('own enums'):  # no constructor of qudi's would take them
            self._constraints._sample_timing = OwnSampleTiming[self._sample_timing.name]
            self._constraints._streaming_modes = [OwnStreamingMode[mode.name] for mode in modes]
        mode = self._constraints.streaming_modes[0]
        self._settings = (list(self._channels), mode, min(1000, most), 100.0)

    def on_deactivate(self):
        if not self._fails('hang for good'):
            self.released.set()
        if self._is_streaming:
            self.stop_stream()

    def _has(self, habit):
        return habit in self._habits

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

    @property
    def rate_queries(self):
        """How often it was asked for its sample rate."""
        return self.queries['sample_rate']

    # ---------------------------------------------------------------- the interface

    @property
    def constraints(self):
        self._note_query('constraints')
        return self._constraints

    @property
    def active_channels(self):
        self._note_query('active_channels')
        return list(self._settings[0])

    @property
    def streaming_mode(self):
        self._note_query('streaming_mode')
        return self._settings[1]

    @property
    def channel_buffer_size(self):
        self._note_query('channel_buffer_size')
        if self._has('size zero'):
            return 0
        if self._has('size is fill level'):
            return self._produced - self._taken
        return 1000 if self._fails('small buffer') else self._settings[2]

    @property
    def sample_rate(self):
        self._note_query('sample_rate')
        rate = self._rate
        if self._fails('rate of no channels') and not self._settings[0]:
            raise ZeroDivisionError('simulator has no active channel to measure')
        if self._fails('rate 0'):
            return 0.0
        if self._fails('measure rate'):
            return rate * (1 + 0.01 * np.random.default_rng().random())
        if self._fails('round rate'):
            return float(round(rate))
        return rate

    @property
    def _rate(self):
        return FIXED_RATE if self._has('fixed rate') else self._settings[3]

    def _note_query(self, name):
        self.queries[name] += 1
        if self.blocked and self._fails('block queries'):
            self.released.wait()

    def configure(self, active_channels, streaming_mode, channel_buffer_size, sample_rate):
        if self._is_streaming:
            raise RuntimeError('simulator runs, configure refused')
        if self._fails('configure slowly'):
            self._hang()
        if self._fails('raise in configure'):
            raise self.make_error()
        unknown = set(active_channels) - set(self._channels)
        if unknown:
            raise ValueError(f'simulator has no channels {unknown}')
        self._constraints.channel_buffer_size.check(channel_buffer_size)
        self._constraints.sample_rate.check(sample_rate)
        if self._fails('one channel only') and len(active_channels) > 1:
            raise ValueError('simulator has one channel only')
        if self._fails('small memory only') and channel_buffer_size > 1000:
            raise ValueError('simulator has room for 1000 samples only')
        if self._has('own enums'):
            if not isinstance(streaming_mode, OwnStreamingMode):
                raise TypeError(f'simulator does not know the streaming mode {streaming_mode!r}')
        else:
            streaming_mode = StreamingMode(streaming_mode)
        # In the device's own order, whatever was asked for
        channels = [channel for channel in self._channels if channel in active_channels]
        if self._has('request order'):
            channels = list(active_channels)
        if self._fails('reverse channels'):
            channels.reverse()
        if self._fails('ignore channels'):
            channels = self._settings[0]
        self._settings = (channels, streaming_mode, channel_buffer_size, sample_rate)
        self.configure_calls.append(self._settings)

    def start_stream(self):
        if self._fails('raise in start'):
            raise OSError('simulator does not start')
        if self._fails('reserve one channel') and len(self._settings[0]) > 1:
            raise OSError('simulator has no available counter')
        if self._fails('reserve 1000') and self._settings[2] > 1000:
            raise OSError('simulator has no memory for that')
        if self._fails('start slowly'):
            self._hang()
        with self._lock:
            if not self._has('never lock'):
                self.module_state.lock()
            self._is_streaming = True
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
        assert self._is_streaming, 'stopped a simulator that does not stream'
        self.stops += 1
        self._is_streaming = False
        InStreamSimulator.running.discard(self)
        if not self._has('never lock'):
            self.module_state.unlock()
        if self._fails('raise after stop'):
            raise OSError('simulator stopped with a complaint')

    @property
    def available_samples(self):
        self.polls.append(time.perf_counter())
        if self._fails('raise in available_samples'):
            raise self.make_error()
        return 0 if self._has('fetch in reads') else self._count_waiting()

    def _count_waiting(self):
        """Let a clocked device make its samples; return how many were not read yet."""
        if not self._is_streaming and not self._fails('idle when complete'):
            return 0
        with self._lock:
            if self._clocked and not self._fails('stall'):
                elapsed = time.perf_counter() - self._started_at
                if self._block_time:
                    elapsed -= elapsed % self._block_time
                self._produced = self._first + int(elapsed * self._rate * self._speed)
            if self._fails('idle when complete') and self._produced >= self._settings[2]:
                self._produced = self._settings[2]
                if self._is_streaming:
                    self.stop_stream()
            waiting = self._produced - self._taken
            if (self._fails('overflow') or self._room) and waiting > self._settings[2]:
                raise OverflowError(f'simulator has room for {self._settings[2]} samples only')
            return waiting

    def read_data_into_buffer(self, data_buffer, samples_per_channel, timestamp_buffer=None):
        self.reader_threads.add(threading.get_ident())
        self.read_sizes.append(samples_per_channel)
        if self._fails('raise in read'):
            raise self.make_error()
        if self._fails('rubbish'):
            data_buffer[:] = -1
            self.stop_stream()
            return
        if self._fails('block in read'):
            self._hang()
        if self._has('slow reads'):
            self.blocked = True
            self.released.wait(1 / self._rate)
            self.blocked = False
        is_complete = self._fails('idle when complete')
        assert is_complete or self._is_streaming, 'read from an idle simulator'
        while self._waits_for_missing and self._count_waiting() < samples_per_channel:
            time.sleep(0.001)
        self._take(data_buffer, samples_per_channel, timestamp_buffer)

    @property
    def _waits_for_missing(self):
        may_wait = self._wait_for_missing or self._has('fetch in reads')
        return may_wait and (self._is_streaming or self._wait_for_missing)

    def _take(self, data_buffer, count, timestamp_buffer):
        # In the order of its configuration; what it reports may be another one
        channels, dtype = self._settings[0], self._data_type
        if self._has('request order'):
            channels = [channel for channel in self._channels if channel in channels]
        with self._lock:
            assert 0 < count <= self._produced - self._taken, 'more was asked for than there is'
            assert data_buffer.dtype == dtype
            assert data_buffer.ndim == 1
            samples = foretold_samples(self._taken, count, channels, dtype)
            data_buffer[: count * len(channels)] = samples.reshape(-1)
            if self._sample_timing is SampleTiming.TIMESTAMP:
                timestamp_buffer[:count] = foretold_timestamps(self._taken, count)
            self._taken += count

    def read_available_data_into_buffer(self, data_buffer, timestamp_buffer=None):
        count = min(self._count_waiting(), len(data_buffer) // len(self._settings[0]))
        if count or self._fails('raise in read'):
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
