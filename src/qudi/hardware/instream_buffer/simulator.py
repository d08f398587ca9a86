"""A streaming device that can be foretold: every value names its sample and its channel.

A gap, a repeat or a mix-up of channels shows in the values themselves. It can also be made to
fail, in the ways in which real devices do, and it can have the habits of real devices.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from qudi.core.configoption import ConfigOption
from qudi.interface.data_instream_interface import (
    DataInStreamConstraints,
    DataInStreamInterface,
    SampleTiming,
)

from qudi.util.instream.simulation import (
    CHANNELS,
    FIXED_RATE,
    OwnSampleTiming,
    OwnStreamingMode,
    SampleSource,
    SimulatedSettings,
    foretold_samples,
    foretold_timestamps,
)

__all__ = [
    'FIXED_RATE',
    'InStreamSimulator',
    'OwnSampleTiming',
    'OwnStreamingMode',
    'foretold_samples',
    'foretold_timestamps',
]

_MOST_RECORDS = 100_000  # of a kind; old ones are forgotten then

Record = TypeVar('Record')


class InStreamSimulator(DataInStreamInterface):
    """Simulated streaming device, with the habits and the faults of real ones.

    The values of its samples are those of `foretold_samples`. docs/simulator.md explains the
    options, habits and faults, and what it notes about its use.

    Example config for copy-paste:

    instream_simulator:
        module.Class: 'instream_buffer.simulator.InStreamSimulator'
        options:
            channels: ['a', 'b']  # optional, some of a, b, c, d, 1.5, 2, True (default: a to d)
            data_type: 'float64'  # optional
            sample_timing: 'CONSTANT'  # optional, CONSTANT, TIMESTAMP or RANDOM
            clocked: True  # optional (default: False), makes sample_rate samples a second
            wait_for_missing: True  # optional (default: False), for programs without a buffer
            speed: 1.0  # optional, a clocked device is so many times as fast as it says
            block_time: 0.0  # optional, a clocked device shows its samples every so many seconds
            jitter: 0.0  # optional, a clocked device shows samples up to so many seconds late
            room: null  # optional, samples that its buffer can have at most; it overflows then
            habits: []  # optional, what it does from the beginning
            faults: []  # optional, what is wrong with it
    """

    _channels = ConfigOption('channels', default=list(CHANNELS[:4]))
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
    _jitter = ConfigOption('jitter', default=0.0)
    _room = ConfigOption('room', default=None)
    _habits = ConfigOption('habits', default=list[str]())
    _first_faults = ConfigOption('faults', default=list[str]())

    # Every instance that streams, for a look after a test
    running: ClassVar[weakref.WeakSet[InStreamSimulator]] = weakref.WeakSet()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._is_streaming = False
        self._source = SampleSource(self._clocked, self._speed, self._block_time, self._jitter)
        # What was done to the device
        self.configure_calls: list[tuple[list[Any], Any, int, float]] = []
        self.starts = 0
        self.stops = 0
        self.polls: list[float] = []  # time of each look at available_samples
        self.queries: Counter[str] = Counter()  # how often each setting was asked for
        self.reader_threads: set[int] = set()
        self.read_sizes: list[int] = []  # samples per channel of each read
        # What is wrong with the device
        self.faults = set(self._first_faults)
        self.make_error: Callable[[], BaseException] | None = None
        self.blocked = False
        self.released = threading.Event()  # ends a call that hangs

    def on_activate(self) -> None:
        """Begin idle, with default settings."""
        self._settings = SimulatedSettings(
            self._channels,
            self._sample_timing,
            self._data_type,
            self._room,
            self._habits,
            self.faults,
        )

    def on_deactivate(self) -> None:
        """End a call that hangs, and stop."""
        if not self._fails('hang for good'):
            self.released.set()
        if self._is_streaming:
            self.stop_stream()

    def _has(self, habit: str) -> bool:
        return habit in self._habits

    def _fails(self, fault: str) -> bool:
        return fault in self.faults

    def _error(self, text: str) -> BaseException:
        return OSError(f'simulator {text}') if self.make_error is None else self.make_error()

    # ---------------------------------------------------------------- for the test

    def produce(self, count: int) -> None:
        """Make so many more samples per channel available."""
        with self._lock:
            self._source.produce(count)

    def hang(self, seconds: float | None = None) -> None:
        """Keep the caller until `released` is set, or for so long."""
        self.blocked = True
        self.released.wait(seconds)
        self.blocked = False

    @property
    def produced(self) -> int:
        """Index of the next sample that it will make."""
        return self._source.produced

    @property
    def taken(self) -> int:
        """Index of the next sample that a read would deliver."""
        return self._source.taken

    @property
    def started_at(self) -> float:
        """When it was started, by `time.perf_counter`."""
        return self._source.started_at

    # ---------------------------------------------------------------- its settings

    @property
    def constraints(self) -> DataInStreamConstraints:
        """What it can be set to."""
        self._note_query('constraints')
        return self._settings.constraints

    @property
    def active_channels(self) -> list[Any]:
        """Names of the channels that it measures."""
        self._note_query('active_channels')
        return list(self._settings.channels)

    @property
    def streaming_mode(self) -> Any:
        """CONTINUOUS or FINITE, of qudi's enum or of its own."""
        self._note_query('streaming_mode')
        return self._settings.mode

    @property
    def channel_buffer_size(self) -> int:
        """Samples per channel that it has room for, or makes with FINITE."""
        self._note_query('channel_buffer_size')
        return self._settings.reported_size(self._source.waiting)

    @property
    def sample_rate(self) -> float:
        """Samples per second, as far as it knows."""
        self._note_query('sample_rate')
        return self._settings.reported_rate(self._is_streaming)

    def _note_query(self, name: str) -> None:
        self.queries[name] += 1
        if self.blocked and self._fails('block queries'):
            self.released.wait()

    def configure(
        self,
        active_channels: Sequence[Any],
        streaming_mode: Any,
        channel_buffer_size: int,
        sample_rate: float,
    ) -> None:
        """Set it; see the interface of qudi."""
        if self._is_streaming:
            raise RuntimeError('simulator runs, configure refused')
        if self._fails('configure slowly'):
            self.hang()
        if self._fails('raise in configure'):
            raise self._error('lost its cable')
        settings = self._settings
        settings.set(active_channels, streaming_mode, channel_buffer_size, sample_rate)
        _note(self.configure_calls, (settings.channels, settings.mode, settings.size, sample_rate))

    # ---------------------------------------------------------------- start and stop

    def start_stream(self) -> None:
        """Start it."""
        if self._fails('raise in start'):
            raise self._error('does not start')
        if self._fails('reserve one channel') and len(self._settings.channels) > 1:
            raise OSError('simulator has no available counter')
        if self._fails('reserve 1000') and self._settings.size > 1000:
            raise OSError('simulator has no memory for that')
        if self._fails('start slowly'):
            self.hang()
        with self._lock:
            if not self._has('never lock'):
                self.module_state.lock()
            self._is_streaming = True
            self.starts += 1
            self._source.begin(self._source.produced if self._fails('count on') else 0)
        InStreamSimulator.running.add(self)
        if self._fails('stop itself in start'):
            self.stop_stream()
        if self._fails('raise after start'):
            raise self._error('started in vain')

    def stop_stream(self) -> None:
        """Stop it."""
        if self._fails('raise in stop'):
            raise self._error('does not stop')
        if self._fails('raise in one stop'):
            self.faults.discard('raise in one stop')
            raise self._error('does not stop at once')
        assert self._is_streaming, 'stopped a simulator that does not stream'
        self.stops += 1
        self._is_streaming = False
        InStreamSimulator.running.discard(self)
        if not self._has('never lock'):
            self.module_state.unlock()
        if self._fails('raise after stop'):
            raise self._error('stopped with a complaint')

    # ---------------------------------------------------------------- samples

    @property
    def available_samples(self) -> int:
        """Samples per channel that wait."""
        _note(self.polls, time.perf_counter())
        if self._fails('raise in available_samples'):
            raise self._error('lost its cable')
        return 0 if self._has('fetch in reads') else self._count_waiting()

    def _count_waiting(self) -> int:
        """Let a clocked device make its samples; return how many were not read yet."""
        if not self._is_streaming and not self._fails('idle when complete'):
            return 0
        with self._lock:
            if not self._fails('stall'):
                self._source.tick(self._settings.rate)
            if self._fails('idle when complete') and self._source.produced >= self._settings.size:
                self._source.produced = self._settings.size
                if self._is_streaming:
                    self.stop_stream()
            waiting = self._source.waiting
            if (self._fails('overflow') or self._room) and waiting > self._settings.size:
                raise OverflowError(f'simulator has room for {self._settings.size} samples only')
            return waiting

    def read_data_into_buffer(
        self,
        data_buffer: np.ndarray,
        samples_per_channel: int,
        timestamp_buffer: np.ndarray | None = None,
    ) -> None:
        """Read so many samples per channel; see the interface of qudi."""
        self.reader_threads.add(threading.get_ident())
        _note(self.read_sizes, samples_per_channel)
        if self._fails('raise in read'):
            raise self._error('lost its cable')
        if self._fails('rubbish'):
            data_buffer[:] = -1
            self.stop_stream()
            return
        if self._fails('block in read'):
            self.hang()
        if self._has('slow reads'):
            self.hang(1 / self._settings.rate)
        is_complete = self._fails('idle when complete')
        assert is_complete or self._is_streaming, 'read from an idle simulator'
        while self._waits_for_missing and self._count_waiting() < samples_per_channel:
            time.sleep(0.001)
        assert data_buffer.dtype == self._data_type
        assert data_buffer.ndim == 1
        channels = self._settings.delivered_channels
        with self._lock:
            if self._sample_timing is SampleTiming.TIMESTAMP:
                assert timestamp_buffer is not None
                stamps = foretold_timestamps(self._source.taken, samples_per_channel)
                timestamp_buffer[:samples_per_channel] = stamps
            samples = self._source.take(samples_per_channel, channels, self._data_type)
        data_buffer[: samples_per_channel * len(channels)] = samples.reshape(-1)

    @property
    def _waits_for_missing(self) -> bool:
        may_wait = self._wait_for_missing or self._has('fetch in reads')
        return bool(may_wait and (self._is_streaming or self._wait_for_missing))

    def read_available_data_into_buffer(
        self, data_buffer: np.ndarray, timestamp_buffer: np.ndarray | None = None
    ) -> int:
        """Read what is there; return the number of samples per channel."""
        count = min(self._count_waiting(), len(data_buffer) // len(self._settings.channels))
        if count or self._fails('raise in read'):
            self.read_data_into_buffer(data_buffer, count, timestamp_buffer)
        return count

    def read_data(
        self, samples_per_channel: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read so many samples per channel, or what is there, into new arrays."""
        count = self.available_samples if samples_per_channel is None else samples_per_channel
        data = np.empty(count * len(self._settings.channels), dtype=self._data_type)
        timestamps = np.empty(count) if self._sample_timing is SampleTiming.TIMESTAMP else None
        self.read_data_into_buffer(data, count, timestamps)
        return data, timestamps

    def read_single_point(self) -> tuple[np.ndarray, Any]:
        """Read one sample per channel."""
        data, timestamps = self.read_data(1)
        return data, None if timestamps is None else timestamps[0]


def _note(records: list[Record], record: Record) -> None:
    records.append(record)
    if len(records) > _MOST_RECORDS:
        del records[: _MOST_RECORDS // 2]
