"""A simulated NI X-series card below the real `nidaqmx` package.

The card takes the place of the driver: of nidaqmx's interpreter and of the two functions of the C
library that qudi's NI module calls itself. The package above it and the module are unmodified.

Each value of a sample names its channel and its number, see `made` and `tell`. The fixture `ni` is
qudi's unmodified module on such a card; a test module has it with `pytest_plugins = ['ni_card']`.

What is assumed of the driver: calls of one task wait for each other; the clock's first edge comes
one period after its start; an analog sample is taken at each edge, a counter's sample ends with
each edge but the first; a full buffer ends the acquisition, and reads fail from then on; plugging
the card in again makes earlier tasks invalid.
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager

import nidaqmx._library_interpreter
import numpy as np
import pytest
from nidaqmx._lib import lib_importer
from nidaqmx.constants import ChannelType, TaskMode
from nidaqmx.error_codes import DAQmxErrors
from nidaqmx.errors import DaqError, DaqReadError
from qudi.interface.data_instream_interface import StreamingMode

DEVICE = 'Dev1'
COUNTERS = tuple(f'ctr{number}' for number in range(4))
ANALOG = tuple(f'ai{number}' for number in range(4))
DIGITAL = tuple(f'pfi{number}' for number in range(16))
SLOWEST, FASTEST = 0.01, 1e6  # Hz; the analog inputs share the highest rate

# Attributes that nidaqmx asks for by number
_DEVICE_NAMES, _TASK_NAME, _TASK_CHANNELS = 0x193B, 0x1276, 0x1273
_AI_CHANNELS, _COUNTERS, _TERMINALS = 0x231E, 0x2325, 0x2A40
_FASTEST, _SLOWEST = 0x298D, 0x298E
_CHANNEL_TYPE, _PULSE_FREQUENCY, _AVAILABLE = 0x187F, 0x1178, 0x1223


def _first_value(channel):
    """What the driver returns as sample 0: volts or ticks. No two channels come near each other."""
    if channel in ANALOG:
        return 1e9 * (1 + ANALOG.index(channel))
    return 1e9 * (100 + DIGITAL.index(channel))


def made(channels, first, count, rate):
    """Return what the module delivers of the samples `first` to `first + count`, a column each.

    The module turns the ticks of a digital channel into a rate.
    """
    numbers = np.arange(first, first + count)
    columns = [
        (_first_value(channel) + numbers) * (1.0 if channel in ANALOG else rate)
        for channel in channels
    ]
    return np.stack(columns, axis=1)


def tell(values, rate):
    """Say in words which samples these values are."""
    words = []
    for value in np.ravel(values):
        for channel in ANALOG + DIGITAL:
            number = value / (1.0 if channel in ANALOG else rate) - _first_value(channel)
            if 0 <= number < 1e9:
                words.append(f'{channel} sample {number:.0f}')
                break
        else:
            words.append(f'{value:g}, which the card never made')
    return ', '.join(words)


def assert_made(samples, channels, rate, first=None, reader='the reader'):
    """Compare with what the card made from sample `first` on; return the number of the next one.

    None takes the number from the first value, for a reader that began later than the card.
    """
    rows = np.reshape(samples, (-1, len(channels)))
    if first is None:
        scale = 1.0 if channels[0] in ANALOG else rate
        first = round(rows[0, 0] / scale - _first_value(channels[0]))
        assert 0 <= first < 1e9, (
            f'{reader} asked for {", ".join(channels)}, but got {tell(rows[0], rate)}'
        )
    expected = made(channels, first, len(rows), rate)
    wrong = np.flatnonzero((rows != expected).any(axis=1))
    assert not len(wrong), (
        f'{reader} asked for {", ".join(channels)} and should get '
        f'{tell(expected[wrong[0]], rate)}, but got {tell(rows[wrong[0]], rate)}'
    )
    return first + len(rows)


class _Task:
    def __init__(self, name):
        self.name = name
        self.kind = None
        self.channels = []  # as nidaqmx names them: Dev1/ai0
        self.sources = []  # as this card names them: ai0, pfi8
        self.rate = 0.0
        self.clock = ''  # terminal that makes it sample
        self.size = 0  # samples per channel that its buffer holds
        self.resources = ()  # that are reserved
        self.started = None  # a clock: when, by the card's time; others: at which edge
        self.taken = 0
        self.lock = threading.RLock()  # calls of one task wait for each other


class NICard:
    """Dev1 with ai0 to ai3, PFI0 to PFI15 and four counters.

    Attributes
    ----------
    taken_elsewhere : set of str
        Counters that another program uses.
    waiting : int
        How many reads wait for samples at this moment.
    """

    driver_version = (0, 0, 0)

    def __init__(self):
        self.taken_elsewhere = set()
        self.waiting = 0
        self._tasks = {}
        self._handles = itertools.count(1)
        self._is_plugged = True
        self._speed = 1.0
        self._epoch = time.perf_counter()
        self._skipped = 0.0
        self._changed = threading.Condition(threading.RLock())

    # ---------------------------------------------------------------- what a test does to it

    def install(self, monkeypatch):
        """Put the card in the place of the driver."""
        monkeypatch.setattr(
            nidaqmx._library_interpreter, 'LibraryInterpreter', lambda *_, **__: self
        )
        for library in ('_windll', '_cdll'):
            monkeypatch.setattr(lib_importer, library, self)

    def unplug(self):
        """Pull the plug: every call fails, and the card forgets what it did."""
        with self._changed:
            self._is_plugged = False
            self._changed.notify_all()

    def plug_in(self):
        with self._changed:
            self._is_plugged = True
            self._tasks.clear()

    def skip(self, seconds):
        """Let the card's time go on by some seconds at once."""
        with self._changed:
            self._skipped += seconds
            self._changed.notify_all()

    def run_faster(self, factor):
        """Let the card's time run faster than the computer's, and have always done so."""
        self._speed = factor

    @property
    def tasks(self):
        """Names of the tasks that nobody has closed."""
        return [task.name for task in self._tasks.values()]

    @property
    def counters_in_use(self):
        """Counters that are reserved by the tasks of this card."""
        in_use = {name for task in self._tasks.values() for name in task.resources}
        return sorted(in_use - {'analog inputs'})

    @property
    def acquired(self):
        """The channels that the card acquires now, in the order of its tasks."""
        tasks = [task for task in self._tasks.values() if task.started is not None]
        return [source for task in tasks for source in task.sources]

    # ---------------------------------------------------------------- time and errors

    def _now(self):
        return (time.perf_counter() - self._epoch) * self._speed + self._skipped

    def _edges(self, task):
        """How many edges the clock of a task has made."""
        for clock in list(self._tasks.values()):
            if clock.kind is ChannelType.COUNTER_OUTPUT and clock.clock == task.clock:
                return 0 if clock.started is None else self._edges_of(clock)
        return 0

    def _edges_of(self, clock):
        return int((self._now() - clock.started) * clock.rate)

    def _produced(self, task):
        if task.started is None:
            return 0
        missed = task.started + (task.kind is ChannelType.COUNTER_INPUT)
        return max(0, self._edges(task) - missed)

    def _check_plugged(self):
        if not self._is_plugged:
            raise DaqError(
                'Device cannot be accessed. Possible causes: device is no longer present in the '
                f'system. Device: {DEVICE}',
                DAQmxErrors.DEV_CANNOT_BE_ACCESSED,
            )

    @contextmanager
    def _task(self, handle):
        """Let one call use a task."""
        self._check_plugged()
        try:
            task = self._tasks[handle]
        except KeyError:
            raise DaqError('Task specified is invalid.', DAQmxErrors.INVALID_TASK) from None
        with task.lock:
            self._check_plugged()
            if handle not in self._tasks:  # it was cleared while this call waited
                raise DaqError('Task specified is invalid.', DAQmxErrors.INVALID_TASK)
            yield task

    # ---------------------------------------------------------------- what nidaqmx calls: system

    def get_system_info_attribute_string(self, attribute):
        assert attribute == _DEVICE_NAMES
        return DEVICE if self._is_plugged else ''

    def get_device_attribute_string(self, device, attribute):
        self._check_plugged()
        names = {
            _AI_CHANNELS: [f'{DEVICE}/{name}' for name in ANALOG],
            _COUNTERS: [f'{DEVICE}/{name}' for name in COUNTERS],
            _TERMINALS: [f'/{DEVICE}/{name.upper()}' for name in DIGITAL],
        }
        return ', '.join(names[attribute])

    def get_device_attribute_double(self, device, attribute):
        self._check_plugged()
        return {_FASTEST: FASTEST, _SLOWEST: SLOWEST}[attribute]

    # ---------------------------------------------------------------- tasks

    def create_task(self, name):
        with self._changed:
            if name in self.tasks:
                raise DaqError(
                    f'Task name conflicts with an existing task name. Task name: {name}',
                    DAQmxErrors.DUPLICATE_TASK,
                )
            handle = next(self._handles)
            self._tasks[handle] = _Task(name)
            return handle, True

    def clear_task(self, handle):
        with self._task(handle), self._changed:
            del self._tasks[handle]

    def get_task_attribute_string(self, handle, attribute):
        if attribute == _TASK_NAME:  # no question to the card
            return self._tasks[handle].name
        assert attribute == _TASK_CHANNELS
        with self._task(handle) as task:
            return ', '.join(task.channels)

    def internal_get_last_created_chan(self):
        raise NotImplementedError

    def _add_channels(self, handle, kind, physical_channels):
        with self._task(handle) as task:
            names = [name.strip().strip('/') for name in physical_channels.split(',')]
            task.kind, task.channels = kind, names
            return task

    def create_co_pulse_chan_freq(
        self, handle, counter, name, units, idle_state, initial_delay, frequency, duty_cycle
    ):
        task = self._add_channels(handle, ChannelType.COUNTER_OUTPUT, counter)
        task.rate, task.clock = frequency, f'/{task.channels[0]}InternalOutput'

    def create_ci_period_chan(self, handle, counter, *_):
        self._add_channels(handle, ChannelType.COUNTER_INPUT, counter)

    def create_ai_voltage_chan(self, handle, physical_channels, *_):
        task = self._add_channels(handle, ChannelType.ANALOG_INPUT, physical_channels)
        task.sources = [name.split('/')[-1] for name in task.channels]

    def get_chan_attribute_int32(self, handle, channel, attribute):
        assert attribute == _CHANNEL_TYPE
        with self._task(handle) as task:
            return task.kind.value

    def get_chan_attribute_double(self, handle, channel, attribute):
        assert attribute == _PULSE_FREQUENCY
        with self._task(handle) as task:
            return task.rate

    # Functions of the C library, which return a code instead of raising
    def DAQmxSetCIPeriodTerm(self, handle, channel, terminal):
        with self._task(handle) as task:
            task.clock = terminal.value.decode()
        return 0

    def DAQmxSetCICtrTimebaseSrc(self, handle, channel, terminal):
        with self._task(handle) as task:
            task.sources = [terminal.value.decode().split('/')[-1].lower()]
        return 0

    def cfg_implicit_timing(self, handle, sample_mode, samples_per_channel):
        with self._task(handle) as task:
            task.size = samples_per_channel

    def cfg_samp_clk_timing(self, handle, rate, source, edge, sample_mode, samples_per_channel):
        with self._task(handle) as task:
            task.rate, task.clock, task.size = rate, source, samples_per_channel

    def task_control(self, handle, action):
        assert action == TaskMode.TASK_RESERVE.value
        with self._task(handle) as task:
            self._reserve(task)

    def _reserve(self, task):
        if task.kind is ChannelType.ANALOG_INPUT:
            if task.rate * len(task.sources) > FASTEST:
                raise DaqError(
                    'Sample rate exceeds the maximum for this number of channels. Reduce the '
                    f'rate or the number of channels. Task Name: {task.name}',
                    DAQmxErrors.SAMPLE_RATE_NUM_CHANS_CONVERT_PERIOD_COMBO,
                )
            resources = ('analog inputs',)
        else:
            resources = (task.channels[0].split('/')[-1],)
        with self._changed:
            others = [other for other in self._tasks.values() if other is not task]
            taken = {name for other in others for name in other.resources}
            if not (taken | self.taken_elsewhere).isdisjoint(resources):
                raise DaqError(
                    'The specified resource is reserved. The operation could not be completed as '
                    f'specified. Task Name: {task.name}',
                    DAQmxErrors.PAL_RESOURCE_RESERVED,
                )
            task.resources = resources

    def start_task(self, handle):
        with self._task(handle) as task:
            self._reserve(task)
            is_clock = task.kind is ChannelType.COUNTER_OUTPUT
            task.started = self._now() if is_clock else self._edges(task)
            task.taken = 0

    def is_task_done(self, handle):
        with self._task(handle) as task:
            return task.started is None

    def stop_task(self, handle):
        with self._task(handle) as task:
            task.started = None

    # ---------------------------------------------------------------- samples

    def get_read_attribute_uint32(self, handle, attribute):
        assert attribute == _AVAILABLE
        with self._task(handle) as task:
            return min(self._produced(task) - task.taken, task.size)

    def read_analog_f64(self, handle, count, timeout, fill_mode, target):
        return target, self._read(handle, count, timeout, target)

    def read_counter_f64_ex(self, handle, count, timeout, fill_mode, target):
        return target, self._read(handle, count, timeout, target)

    def read_counter_scalar_f64(self, handle, timeout):
        target = np.empty(1)
        self._read(handle, 1, timeout, target)
        return target[0]

    def _read(self, handle, count, timeout, target):
        with self._task(handle) as task:
            total = count * len(task.sources)
            assert target.dtype == np.float64
            assert target.flags.c_contiguous
            if target.size < total:
                raise DaqError(
                    'Buffer is too small to fit read data.', DAQmxErrors.READ_BUFFER_TOO_SMALL
                )
            self._wait_for(task, task.taken + count, timeout)
            first = [_first_value(source) for source in task.sources]
            numbers = np.arange(task.taken, task.taken + count)
            target.reshape(-1)[:total] = np.add.outer(numbers, first).reshape(-1)
            task.taken += count
            return count

    def _wait_for(self, task, number, timeout):
        """Wait until a task has made so many samples."""
        end = time.perf_counter() + timeout
        with self._changed:
            self.waiting += 1
            try:
                while (produced := self._produced(task)) < number:
                    self._check_plugged()
                    rest = end - time.perf_counter()
                    if rest <= 0:
                        raise DaqReadError(
                            'Some or all of the samples requested have not yet been acquired. '
                            f'Task Name: {task.name}',
                            DAQmxErrors.SAMPLES_NOT_YET_AVAILABLE,
                            0,
                        )
                    self._changed.wait(min(rest, 0.002))
            finally:
                self.waiting -= 1
        if produced - task.taken > task.size:
            raise DaqReadError(
                'The application is not able to keep up with the hardware acquisition. Task Name: '
                f'{task.name}',
                DAQmxErrors.SAMPLES_NO_LONGER_AVAILABLE,
                0,
            )


class NIBench:
    """Qudi's NI module as the hardware module `streamer`, and buffers on it."""

    rate = 1000.0  # Hz, unless a test asks for another
    assert_made = staticmethod(assert_made)

    def __init__(self, card, qudi):
        self.card = card
        self.qudi = qudi

    def add(self, digital=('PFI8', 'PFI9'), analog=('ai0', 'ai1', 'ai2', 'ai3'), **options):
        """Add the module and activate it."""
        sources = {'digital_sources': list(digital), 'analog_sources': list(analog)}
        self.qudi.add(
            'hardware',
            'streamer',
            'ni_x_series.ni_x_series_in_streamer.NIXSeriesInStreamer',
            {'device_name': DEVICE, **sources, **options},
        )
        return self.qudi.activate('streamer')

    @property
    def device(self):
        return self.qudi['streamer']

    def buffers(self, count, **options):
        """Activated buffers b1, b2, ..."""
        return [self.qudi.add_buffer(f'b{number}', **options) for number in range(1, count + 1)]

    def configure(self, reader, channels, rate=rate, size=10_000):
        reader.configure(channels, StreamingMode.CONTINUOUS, size, rate)

    def in_order(self, channels):
        """Channels in the order of the constraints."""
        return [name for name in self.device.constraints.channel_units if name in channels]

    def assert_reads(self, buffer, count, first=None):
        """Read from a buffer and compare; return the number of the sample that comes next."""
        samples, _ = buffer.read_data(count)
        channels, rate = buffer.active_channels, buffer.sample_rate
        return assert_made(samples, channels, rate, first, buffer.module_name)

    def assert_reads_directly(self, channels, count, rate=rate, size=10_000):
        """Read the module itself, as a program without a buffer does, and return its samples.

        It delivers in the order of its constraints, whatever it was asked for.
        """
        self.configure(self.device, channels, rate, size)
        self.device.start_stream()
        samples, _ = self.device.read_data(count)
        self.device.stop_stream()
        assert_made(samples, self.in_order(channels), rate, 0, 'the module itself')
        return samples.reshape(count, len(channels))


@pytest.fixture
def card(monkeypatch):
    """A simulated card in the place of the driver."""
    card = NICard()
    card.install(monkeypatch)
    yield card
    assert not card.tasks, f'Left on the card: {card.tasks}'


@pytest.fixture
def ni(card, qudi):
    """A qudi on the simulated card; in this order, so that modules leave before the card does."""
    return NIBench(card, qudi)
