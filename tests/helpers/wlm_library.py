"""The library of a HighFinesse wavemeter, replaced: qudi's own modules run on it unmodified.

WlmLibrary        what the manufacturer's program measures, and how it fails
replaced_library  the fixture `wlm_library`: the library is there, with a thread of its own
WavemeterBench    qudi's proxy and wavemeter on it, and buffers on these

Every wavelength names its switch channel and its turn: a swapped channel, a gap and a repetition
show.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from qudi.interface.data_instream_interface import StreamingMode
from scipy.constants import speed_of_light

__all__ = ['WavemeterBench', 'WlmLibrary', 'configure', 'replaced_library', 'wavelength_nm']

# Numbers of the manufacturer's interface, as in its manual
_INSTALL_CALLBACK, _REMOVE_CALLBACK = 4, 1
_MODE_OPERATION = 16  # "the measurement was started or stopped"
_MODE_WAVELENGTH = dict(zip(range(1, 9), (42, 43, 90, 91, 92, 93, 94, 95), strict=True))
_NO_CHANNEL = -10
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int,
    *(ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_double, ctypes.c_long),
)

NO_VALUE, NO_SIGNAL, LOW_SIGNAL, BIG_SIGNAL = 0, -1, -3, -4  # results in place of a wavelength

# Wavelengths: the channel gives the range, the turn the place in it (nm)
_FIRST, _PER_CHANNEL, _PER_TURN = 400.0, 50.0, 1e-4


def wavelength_nm(channel, turn):
    """The wavelength that the library measures, from the number of the channel and of the turn."""
    return _FIRST + _PER_CHANNEL * channel + _PER_TURN * turn


class _Function:
    """One function of the library; qudi's wrapper sets the types of its arguments."""

    argtypes: tuple | list = ()
    restype = ctypes.c_long

    def __init__(self, name, call):
        self._name = name
        self._call = call

    def __call__(self, *arguments):
        if len(arguments) < len(self.argtypes):
            raise TypeError(f'{self._name} takes {len(self.argtypes)} arguments')
        for argument, kind in zip(arguments, self.argtypes, strict=False):
            kind.from_param(argument)  # as ctypes checks it
        return self._call(self._name, arguments)


class _Dll:
    """All functions of the library by name, as ctypes loads it."""

    def __init__(self, call):
        self._call = call

    def __getattr__(self, name):
        if name.startswith('_'):
            raise AttributeError(name)
        function = _Function(name, self._call)
        setattr(self, name, function)
        return function


class WlmLibrary:
    """A wavemeter with a switch: one channel after the other, turn by turn.

    Set what it is before qudi's modules are activated; light, errors and hanging at any time.
    """

    def __init__(self):
        self.exposures = {1: 2, 2: 2}  # ms, of each channel that the switch has
        self.switching = 12.0  # ms from one channel to the next; qudi's module counts on 12
        self.is_on = dict.fromkeys(range(1, 9), True)  # channels of the switch
        self.is_dark = False  # no result comes at all; see go_dark
        self.results = {}  # error code instead of a wavelength, by channel
        self.failing = {}  # what a function returns, or the exception that it raises
        self.calls = Counter()  # of each function
        self.in_progress = Counter()  # calls that have not returned
        self.dll = _Dll(self._call)
        self._lock = threading.Lock()  # guards what is above and below, in all threads
        self._gates = {}
        self._callback = None
        self._is_measuring = True
        self._times = {}  # ms, by channel and turn
        self._first = {}  # turn since the callback was installed, by channel
        self._between_turns = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._measure, name='wlmData', daemon=True)

    def load(self, _path=None):
        """What ctypes loads; the wavemeter measures from now on."""
        if self._thread.ident is None:
            self._thread.start()
        return self.dll

    def close(self):
        """End the thread and let every hanging call return."""
        for gate in list(self._gates.values()):
            gate.set()
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join(10)
        assert not self._thread.is_alive(), 'A callback into qudi never returned'

    # ---------------------------------------------------------------- what tests do and ask

    @property
    def has_callback(self):
        return self._callback is not None

    def rate(self, *channels):
        """What qudi's module tells as the rate while these channels are on (Hz)."""
        return 1e3 / sum(self.exposures[channel] + 12 for channel in channels)

    def first_turn(self, channel):
        """The first turn in which a program that listens got a result of this channel."""
        return self._first[channel]

    def time_of(self, channel, turn):
        """When this was measured, by the clock of the library (s)."""
        return 1e-3 * self._times[channel, turn]

    def go_dark(self):
        """No result comes any more, from the end of this turn on; returns then."""
        self.is_dark = True
        self._between_turns.clear()
        assert self._between_turns.wait(5), 'A callback into qudi does not return'

    @contextmanager
    def hanging(self, function):
        """Calls of this function do not return before the end of the block."""
        gate = self._gates[function] = threading.Event()
        try:
            yield
        finally:
            del self._gates[function]
            gate.set()

    def press_stop(self):
        """The measurement is stopped in the window of the manufacturer's program."""
        self._is_measuring = False
        self._tell(_MODE_OPERATION, 0, 0.0)

    # ---------------------------------------------------------------- functions of the library

    def _call(self, name, arguments):
        with self._lock:
            self.calls[name] += 1
            self.in_progress[name] += 1
        try:
            gate = self._gates.get(name)
            if gate is not None:
                gate.wait(60)
            failure = self.failing.get(name)
            if isinstance(failure, BaseException):
                raise failure
            return getattr(self, f'_{name}')(*arguments) if failure is None else failure
        finally:
            with self._lock:
                self.in_progress[name] -= 1

    def _GetWLMVersion(self, part):
        return (8, 999, 7000, 1)[part]

    def _SetSwitcherMode(self, _mode):
        return 0

    def _GetSwitcherMode(self, _mode):
        return 1

    def _GetSwitcherSignalStates(self, channel, use, show):
        there = channel in self.exposures
        use._obj.value = show._obj.value = int(there and self.is_on[channel])
        return 0 if there else _NO_CHANNEL

    def _SetSwitcherSignalStates(self, channel, use, _show):
        if channel not in self.exposures:
            return _NO_CHANNEL
        self.is_on[channel] = bool(use)
        return 0

    def _GetExposureNum(self, channel, _array, _exposure):
        return self.exposures[channel]

    def _SetExposureNum(self, channel, _array, exposure):
        self.exposures[channel] = exposure
        return 0

    def _Operation(self, operation):
        self._is_measuring = operation != 0
        return 0

    def _Instantiate(self, _reason, mode, function, _priority):
        with self._lock:
            if mode == _INSTALL_CALLBACK:
                self._first.clear()
                # The pointer keeps the callback alive while the thread is in it
                self._callback = (function, ctypes.cast(function, _CALLBACK))
            elif mode == _REMOVE_CALLBACK:
                self._callback = None  # a call that is in progress goes on

    # ---------------------------------------------------------------- the library's own thread

    def _measure(self):
        begin, now, turn = time.perf_counter(), 0.0, 0
        while not self._end.is_set():
            is_on = any(self.is_on[number] for number in self.exposures)
            if self.is_dark or not self._is_measuring or not is_on:
                self._between_turns.set()
                self._end.wait(0.005)
                now = 1e3 * (time.perf_counter() - begin)
                continue
            for channel in sorted(self.exposures):
                if self.is_on[channel]:
                    now += self.exposures[channel] + self.switching
                    self._end.wait(max(0.0, begin + 1e-3 * now - time.perf_counter()))
                    self._tell_result(channel, turn, round(now))
            turn += 1

    def _tell_result(self, channel, turn, milliseconds):
        with self._lock:
            if self._callback is None:
                return
            self._times[channel, turn] = milliseconds
            self._first.setdefault(channel, turn)
        result = float(self.results.get(channel, wavelength_nm(channel, turn)))
        self._tell(_MODE_WAVELENGTH[channel], milliseconds, result)

    def _tell(self, mode, integer, result):
        callback = self._callback
        if callback is not None:
            callback[1](0, mode, integer, result, 0)


_windll = SimpleNamespace()  # of ctypes; qudi's wrapper keeps it from its first import on


@pytest.fixture(name='wlm_library')
def replaced_library(monkeypatch):
    """A wavemeter is there. Ask for it before `qudi`, which calls it until the end."""
    library = WlmLibrary()
    monkeypatch.setattr(_windll, 'LoadLibrary', library.load, raising=False)
    on_windows_only = {
        'windll': _windll,
        'WINFUNCTYPE': ctypes.CFUNCTYPE,
        'WinDLL': ctypes.CDLL,
    }
    # No longer than for this import: other packages take it for Windows then
    with monkeypatch.context() as patch:
        for name, replacement in on_windows_only.items():
            patch.setattr(ctypes, name, replacement, raising=False)
        importlib.import_module('qudi.hardware.wavemeter.high_finesse_proxy')
        wrapper = importlib.import_module('qudi.hardware.wavemeter.high_finesse_wrapper')
    monkeypatch.setattr(wrapper, 'windll', _windll)
    yield library
    library.close()


class WavemeterBench:
    """qudi's HighFinesseProxy and HighFinesseWavemeter on the library, and buffers on them.

    Channels by name; `red` is told in metres, all others in hertz.
    """

    # s. qudi's watchdog of the switch holds no lock: a start or stop during one of its looks may
    # be taken for a change by hand, so that it stops everything. Hence no more looks than needed.
    watchdog_interval = 0.5

    def __init__(self, qudi, wait_until, library, switch_channels=None):
        self.qudi = qudi
        self.library = library
        self.wait_until = wait_until
        self.switch_channels = switch_channels or {'red': 1, 'green': 2}
        qudi.add(
            'hardware',
            'wavemeter_proxy',
            'wavemeter.high_finesse_proxy.HighFinesseProxy',
            {'watchdog_interval': self.watchdog_interval},
        )
        channels = {
            name: {
                'switch_ch': number,
                'unit': 'm' if name == 'red' else 'Hz',
                'exposure': library.exposures[number],
            }
            for name, number in self.switch_channels.items()
        }
        qudi.add(
            'hardware',
            'streamer',
            'wavemeter.high_finesse_wavemeter.HighFinesseWavemeter',
            {'channels': channels},
            {'proxy': 'wavemeter_proxy'},
        )
        self.device = qudi.activate('streamer')

    def close(self):
        """Deactivate what was added here; the buffers must have stopped the wavemeter."""
        modules = self.qudi.module_manager.modules
        devices = ('wavemeter_proxy', 'streamer')
        for name, module in modules.items():
            if name not in devices:
                module.deactivate()
        device = self.qudi['streamer']
        left_running = device is not None and device.module_state() == 'locked'
        for name in reversed(devices):
            modules[name].deactivate()
        assert not left_running, 'No buffer is left, but the wavemeter still runs'
        assert not self.library.has_callback, 'The callback is left installed in the library'

    def buffers(self, count, **options):
        """Activated buffers, each of them configured with all channels."""
        buffers = [self.qudi.add_buffer(f'buffer{n}', **options) for n in range(1, count + 1)]
        for buffer in buffers:
            configure(buffer, list(self.switch_channels))
        return buffers

    def wait_for(self, streamer, count):
        """Wait until this many samples can be read."""
        self.wait_until(
            lambda: streamer.available_samples >= count,
            f'{streamer.module_name} has {count} samples',
        )

    def read(self, streamer, count):
        """Wait for samples, read them and compare them with what the library made.

        Returns the turns of the library in which they were made, and their timestamps (s).
        """
        self.wait_for(streamer, count)
        return self.check(streamer, *streamer.read_data(count))

    def check(self, streamer, samples, timestamps):
        """Compare samples of a stream with what the library made; see `read`."""
        name, channels = streamer.module_name, streamer.active_channels
        assert samples.dtype == timestamps.dtype == np.float64
        rows = samples.reshape(-1, len(channels))
        assert len(rows) == len(timestamps), f'{name}: not one timestamp for each sample'
        numbers = [self.switch_channels[channel] for channel in channels]
        wavelengths = np.where(rows < 1, rows, speed_of_light / rows) * 1e9
        found = ((wavelengths - _FIRST) // _PER_CHANNEL).astype(int)
        turns = np.rint((wavelengths - _FIRST - _PER_CHANNEL * found) / _PER_TURN).astype(int)
        names = {number: channel for channel, number in self.switch_channels.items()}
        for column, (channel, number) in enumerate(zip(channels, numbers, strict=True)):
            wrong = np.flatnonzero(found[:, column] != number)
            assert not len(wrong), (
                f'{name}: {len(wrong)} of {len(rows)} samples under the name {channel!r} are those '
                f'of {names.get(found[wrong[0], column])!r}'
            )
        expected = turns[0, 0] + np.arange(len(rows))
        for column, (channel, number) in enumerate(zip(channels, numbers, strict=True)):
            wrong = np.flatnonzero(turns[:, column] != expected)
            assert not len(wrong), (
                f'{name}, {channel!r}: sample {wrong[0]} was made in turn '
                f'{turns[wrong[0], column]} of the wavemeter, right is {expected[wrong[0]]}'
            )
            made = self._made(channel, number, expected)
            assert (rows[:, column] == made).all(), f'{name}, {channel!r}: values were changed'
        return expected, timestamps

    def time_of(self, turns):
        """When the wavemeter measured these samples, by its own clock (s)."""
        first_channel = min(self.switch_channels.values())
        return np.array([self.library.time_of(first_channel, turn) for turn in turns])

    def _made(self, channel, number, turns):
        metres = 1e-9 * wavelength_nm(number, turns)
        return metres if channel == 'red' else speed_of_light / metres


def configure(streamer, channels=('red', 'green'), size=1000, rate=50.0):
    streamer.configure(list(channels), StreamingMode.CONTINUOUS, size, rate)
