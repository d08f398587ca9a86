"""A qudi of its own that does what it is told, in a process of its own.

`main` is what that process runs. Each request is a number and a Python expression, evaluated in a
thread of its own; the answer is the number and either the value or the error. The process ends
with its connection.
"""

import ctypes
import faulthandler
import json
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import lean_imports  # noqa: F401

# isort: split
import numpy as np
from qudi.core.application import Qudi
from qudi.interface.data_instream_interface import StreamingMode
from qudi.util.network import netobtain
from rpyc.core import consts

from qudi.hardware.instream_buffer.simulator import foretold_samples

# isort: split
from qtpy import QtCore, QtWidgets

from qudi.util.instream.remote.secured import accept_only
from tracing import trace_qt_threads

records = {}
_KINDS = {value: name for name, value in vars(consts).items() if name.startswith('HANDLE_')}


class Record:
    """Looks whether the samples that a program got are in order and complete."""

    def __init__(self, channels, checked=True):
        self.channels = channels
        self._checked = checked
        self.restart()

    def restart(self):
        self.first = self.next = None
        self.faults = []
        self.frames = 0
        self.count = 0  # after the first frame
        self.first_at = self.last_at = 0.0

    def add(self, data, _timestamps=None):
        samples = np.asarray(data).reshape(-1, len(self.channels))
        if self.first is None:
            self.first = self.next = int(samples[0, 0]) // 16 if self._checked else 0
            self.first_at = time.perf_counter()
            self.count = -len(samples)
        if self._checked:
            self._check(samples)
        self.next += len(samples)
        self.count += len(samples)
        self.frames += 1
        self.last_at = time.perf_counter()

    def _check(self, samples):
        expected = foretold_samples(self.next, len(samples), self.channels, samples.dtype)
        if not np.array_equal(samples, expected):
            self.faults.append([self.next, samples[0].tolist(), len(samples)])
            self.next = int(samples[0, 0]) // 16

    @property
    def summary(self):
        seconds = self.last_at - self.first_at
        return {
            'first': self.first,
            'next': self.next,
            'frames': self.frames,
            'faults': self.faults[:3],
            'rate': self.count / seconds if seconds > 0 else 0.0,
        }


def module(name):
    # Not its `instance`: that waits as long as the main thread waits for a remote module, which
    # rpyc 5 may keep waiting until the next answer comes for another thread
    return qudi.module_manager[name]._instance


def managed(name):
    return qudi.module_manager[name]


def state(name):
    return qudi.module_manager[name].state


def in_main_thread(thing, slot):
    """Have a slot called by the thread of the thing."""
    QtCore.QMetaObject.invokeMethod(thing, slot, QtCore.Qt.ConnectionType.QueuedConnection)


def start(logic, checked=True):
    """Start a trace, and a record of the samples that it gets."""
    records[logic] = Record(module(logic).active_channel_names, checked)
    _connect_once(logic)
    in_main_thread(module(logic), 'start_reading')


_connected = set()


def _connect_once(logic):
    if logic not in _connected:
        _connected.add(logic)
        module(logic).sigNewRawData.connect(
            lambda data, times: records[logic].add(data, times),
            QtCore.Qt.ConnectionType.DirectConnection,
        )


def stop(logic):
    in_main_thread(module(logic), 'stop_reading')


def record(logic):
    return records[logic].summary


def read(buffer, count, channels):
    """Read from a buffer as a program without logic would."""
    data, _ = module(buffer).read_data(count)
    one = records.setdefault(buffer, Record(channels))
    one.add(data)
    return one.summary


def arrivals(buffer, count, blocks, channels):
    """Read blocks; return the index of the last sample of each, and when it was there (s)."""
    found = []
    for _ in range(blocks):
        data, _ = module(buffer).read_data(count)
        found.append((int(data[-len(channels)]) // 16, time.perf_counter()))
    return found


def configure(buffer, channels, size, rate):
    records.pop(buffer, None)
    module(buffer).configure(channels, StreamingMode.CONTINUOUS, size, rate)


def activate(name):
    qudi.module_manager.activate_module(name)


def threads(words):
    """Names of the running threads that have these words."""
    return [thread.name for thread in threading.enumerate() if words in thread.name]


class RequestCount:
    """Counts what a connection asks the other side, by kind."""

    def __init__(self, name):
        self._connection = object.__getattribute__(module(name), '____conn__')
        self.kinds = Counter()

    def __enter__(self):
        request = self._connection._async_request

        def counted(handler, arguments=(), *others, **more):
            kind = _KINDS[handler]
            if kind == 'HANDLE_PICKLE':
                kind += f' {object.__getattribute__(arguments[0], "____id_pack__")[0]}'
            self.kinds[kind] += 1
            return request(handler, arguments, *others, **more)

        self._connection._async_request = counted
        return self.kinds

    def __exit__(self, *_):
        del self._connection._async_request


def count_requests(name, seconds, frames=lambda: 0):
    """Count the requests on the connection of a remote module, and frames, for some seconds."""
    with RequestCount(name) as kinds:
        before = frames()
        time.sleep(seconds)
        return {'frames': frames() - before, **kinds}


class Heart(QtCore.QObject):
    """Beats in the main thread, and knows for how long it has stood still."""

    def __init__(self):
        super().__init__()
        self._timer = None
        self._look = None

    def begin(self, look=None):
        """Begin to measure; `look` is called at each beat."""
        self._look = look
        in_main_thread(self, '_begin')

    @QtCore.Slot()
    def _begin(self):
        if self._timer is None:
            self._timer = QtCore.QTimer(self)
            self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
            self._timer.timeout.connect(self._beat)
        self._longest, self._last = 0.0, time.perf_counter()
        self._timer.start(5)

    @QtCore.Slot()
    def _beat(self):
        if self._look is not None:
            self._look()
        now = time.perf_counter()
        self._longest = max(self._longest, now - self._last - 0.005)
        self._last = now

    def end(self):
        """Return for how long the main thread has stood still at most (s)."""
        count = self._last
        while self._last == count:  # it may do so just now
            time.sleep(0.005)
        return self._longest


def look_every(seconds, look):
    """Return a function for a heart that looks only so often."""
    last = [0.0]

    def look_if_due():
        if time.perf_counter() > last[0] + seconds:
            last[0] = time.perf_counter()
            look()

    return look_if_due


def consume(buffer, rate, block, seconds):
    """Read a stream in blocks for so long; return what came, and how far it lags behind (s)."""
    one = module(buffer)
    channels = list(one.constraints.channel_units)
    one.configure(channels, StreamingMode.CONTINUOUS, max(1000, int(rate)), rate)
    blocks, count, error = [], 0, ''
    one.start_stream()
    end = time.perf_counter() + seconds
    try:
        while time.perf_counter() < end:
            if rate < 1 and not one.available_samples:
                time.sleep(0.1)
                continue
            data = netobtain(one.read_data(block)[0])
            count += block
            blocks.append((time.perf_counter(), float(data[-1])))
        lag = one.available_samples / rate
    except Exception as raised:
        lag, error = 0.0, f'{type(raised).__name__}: {raised}'
    with suppress(Exception):
        one.stop_stream()
    return {'count': count, 'lag': lag, 'blocks': blocks[len(blocks) // 3 :], 'error': error}


def log(words='', level=''):
    """The lines of qudi's log that have these words."""
    with open(os.path.join(qudi.log_dir, 'qudi.log'), encoding='utf-8') as file:
        return [line.rstrip() for line in file if words in line and level in line]


class Answers:
    """Takes requests from a connection and answers them."""

    def __init__(self, connection):
        self._connection = connection
        self._lock = threading.Lock()  # one answer at a time

    def listen(self):
        """Answer requests until the connection has ended, then end the process."""
        while True:
            try:
                number, code = self._connection.recv()
            except (EOFError, OSError):
                os._exit(9)  # the process that began this one has gone
            threading.Thread(target=self._answer, args=(number, code), daemon=True).start()

    def _answer(self, number, code):
        try:
            reply = {'value': eval(code, globals())}
        except BaseException as error:
            reply = {'error': f'{type(error).__name__}: {error}'}
        self.send(number, reply)

    def send(self, number, reply):
        with self._lock:
            self._connection.send((number, json.loads(json.dumps(reply, default=str))))


def _enter(network):
    """Move this process into a network namespace. Linux, as root."""
    with open(f'/run/netns/{network}') as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0):
            raise OSError(ctypes.get_errno(), f'cannot enter the network {network}')


def main(connection, config, environment, accepted=None, with_windows=False, network=None):
    """Run qudi with a configuration, and do what comes over a connection."""
    global qudi, heart
    os.environ.update(environment)
    errors = os.open(Path(config).with_name('errors.txt'), os.O_WRONLY | os.O_CREAT)
    for number in (1, 2):  # also what libraries print
        os.dup2(errors, number)
    faulthandler.enable()
    if network is not None:
        _enter(network)
    trace_qt_threads()
    if accepted is not None:
        accept_only(accepted)
    _application = (QtWidgets.QApplication if with_windows else QtCore.QCoreApplication)([])
    qudi = Qudi(no_gui=not with_windows, config_file=str(config))
    heart = Heart()
    answers = Answers(connection)

    def begin():
        threading.Thread(target=answers.listen, daemon=True).start()
        answers.send(0, {'value': True})

    QtCore.QTimer.singleShot(0, begin)
    qudi.run()
