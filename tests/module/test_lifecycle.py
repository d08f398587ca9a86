"""Activation, deactivation and reload in every order; many threads at once; nothing left over."""

import gc
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref

import psutil
import pytest

# isort: split
from qtpy import QtCore

from bench import configure
from qudi.util.instream.device import BufferReports, registry
from qudi.util.instream.stream import TimeLimits
from qudi_host import running_threads

OUR_FILES = [
    tracemalloc.Filter(True, f'*/{part}.py') for part in ('util/instream/*', 'instream_buffer*')
]


def test_all_buffers_of_a_device_share_one_distributor(bench):
    bench.buffers(3)
    assert len(registry.distributors()) == 1
    bench.qudi.deactivate('buffer2')
    assert len(registry.distributors()) == 1
    bench.qudi.deactivate('buffer1')
    bench.qudi.deactivate('buffer3')
    assert registry.distributors() == []


def test_buffers_that_are_activated_at_once_share_one_distributor(bench, background):
    asked, answer = threading.Semaphore(0), threading.Event()

    class Streamer:
        module_uuid, module_name = bench.device.module_uuid, 'streamer'

        def __getattr__(self, name):
            return getattr(bench.device, name)

        @property
        def constraints(self):
            asked.release()
            answer.wait(10)
            return bench.device.constraints

        def start_stream(self):
            pass

    futures = [background(registry.acquire, Streamer(), TimeLimits()) for _ in range(2)]
    assert asked.acquire(timeout=10)
    asked.acquire(timeout=1)  # nobody else asks, or a second distributor is being made
    answer.set()
    first, second = (future.result(10) for future in futures)
    for distributor in (first, second):
        registry.release(distributor)
    assert first is second


@pytest.mark.parametrize('running', [True, False])
def test_reloading_a_buffer_leaves_the_others_streaming(bench, running):
    first, second = bench.buffers(2)
    second.start_stream()
    bench.produce(10)
    if running:
        first.start_stream()
    bench.qudi.module_manager.reload_module('buffer1')
    reloaded = bench.qudi['buffer1']
    assert reloaded is not first
    assert bench.device.starts == 1
    reloaded.start_stream()
    assert bench.device.starts == 1, 'the reloaded buffer has a distributor of its own'
    bench.produce(10)
    bench.assert_delivers(reloaded, 10, 10)
    bench.assert_delivers(second, 0, 20)
    second.stop_stream()
    reloaded.stop_stream()


def test_deactivating_a_running_buffer_is_a_stop(bench, background):
    first, second = bench.buffers(2)
    first.start_stream()
    second.start_stream()
    future = background(first.read_data, 10)
    bench.wait_for_reader(first)
    bench.qudi.deactivate('buffer1')
    assert isinstance(future.exception(5), RuntimeError)
    bench.produce(10)
    bench.assert_delivers(second, 0, 10)
    bench.qudi.deactivate('buffer2')
    assert bench.device.module_state() == 'idle', 'the last one left the device running'


def test_a_deactivated_buffer_says_that_it_is(bench):
    (buffer,) = bench.buffers(1)
    bench.qudi.deactivate('buffer1')
    for use in (buffer.start_stream, lambda: buffer.sample_rate, lambda: buffer.read_data(1)):
        with pytest.raises(RuntimeError, match='"buffer1" is not activated, activate it in qudi'):
            use()


def test_a_call_that_was_late_for_a_deactivation_says_so(bench):
    bench.buffers(2)
    (distributor,) = registry.distributors()
    bench.qudi.deactivate('buffer1')
    for call in (distributor.stream, distributor.start, distributor.settings):
        with pytest.raises(RuntimeError, match='"buffer1" is not activated, activate it in qudi'):
            call('buffer1')


def test_deactivating_the_device_under_running_buffers_can_be_undone(bench):
    for buffer in bench.buffers(2):
        buffer.start_stream()
    bench.qudi.deactivate('streamer')
    assert bench.device.module_state() == 'deactivated'
    for name in ('buffer1', 'buffer2'):
        buffer = bench.qudi.activate(name)
        configure(buffer)
        buffer.start_stream()
    bench.produce(10)
    for name in ('buffer1', 'buffer2'):
        bench.assert_delivers(bench.qudi[name], 0, 10)
        bench.qudi[name].stop_stream()


def test_reloading_the_device_brings_the_buffers_back(bench):
    bench.buffers(2)[0].start_stream()
    bench.qudi.module_manager.reload_module('streamer')
    buffer = bench.qudi['buffer1']
    assert buffer.module_state() == 'idle'
    buffer.start_stream()
    bench.device = bench.qudi['streamer']
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_deactivation_in_every_order_leaves_everything_idle(bench):
    bench.buffers(3)
    modules = ['streamer', 'buffer1', 'buffer2', 'buffer3']
    for starts, order in enumerate(itertools.permutations(modules), 1):
        for name in modules[1:]:
            bench.qudi.activate(name).start_stream()
        bench.produce(5)
        for name in order:
            bench.qudi.deactivate(name)
        states = [bench.qudi[name].module_state() for name in modules]
        assert states == ['deactivated'] * 4, f'deactivated in the order {order}'
        assert bench.device.starts == bench.device.stops == starts
        assert registry.distributors() == []
    assert not running_threads()


@pytest.fixture
def no_log_lines():
    """Make none: pytest would keep them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize('count', [60, pytest.param(180, marks=pytest.mark.long)])
def test_cycles_leave_no_threads_no_objects_and_no_memory(bench, dies, no_log_lines, count):
    bench.buffers(2)
    distributor = weakref.ref(registry.distributors()[0])
    consumer = None

    def cycles(count):
        nonlocal consumer
        for _ in range(count):
            for name in ('buffer1', 'buffer2'):
                bench.qudi.activate(name).start_stream()
            consumer = weakref.ref(bench.qudi['buffer1'].stream)
            bench.produce(5)
            for name in ('buffer1', 'buffer2'):
                bench.assert_delivers(bench.qudi[name], 0, 5)
                bench.qudi[name].stop_stream()
                bench.qudi.deactivate(name)
        bench.device.polls.clear()
        gc.collect()
        # What our own code has allocated: qudi keeps its state machines
        ours = tracemalloc.take_snapshot().filter_traces(OUR_FILES)
        memory = sum(trace.size for trace in ours.traces)
        return memory, psutil.Process().num_threads()

    tracemalloc.start()
    try:
        memory_before, threads_before = cycles(20)
        memory, threads = cycles(count)
    finally:
        tracemalloc.stop()
    assert threads <= threads_before
    assert not running_threads()
    # Frames that Python keeps and names that Qt keeps come and go, whatever the number of cycles
    growth = (memory - memory_before - 6000) / count
    assert growth < 200, f'{growth:.0f} bytes are left by each cycle'
    dies(distributor)
    dies(consumer)
    buffer = weakref.ref(bench.qudi['buffer1'])
    bench.qudi.module_manager.remove_module('buffer1')
    dies(buffer)


def test_two_first_starts_at_once_start_the_device_once(bench, background):
    buffers = bench.buffers(6)
    for _ in range(20):
        starts = bench.device.starts
        together = threading.Barrier(len(buffers))

        def start(buffer, together=together):
            together.wait(10)
            buffer.start_stream()

        for future in [background(start, buffer) for buffer in buffers]:
            future.result(10)
        assert bench.device.starts == starts + 1
        for future in [background(buffer.stop_stream) for buffer in buffers]:
            future.result(10)
        assert bench.device.module_state() == 'idle'
        assert bench.device.stops == bench.device.starts


def test_a_start_that_races_with_a_deactivation_leaves_nothing_running(bench, background):
    for _ in range(20):
        (buffer,) = (
            bench.buffers(1)
            if 'buffer1' not in bench.qudi.module_manager
            else (bench.qudi.activate('buffer1'),)
        )
        future = background(buffer.start_stream)
        bench.qudi.deactivate('buffer1')
        error = future.exception(10)
        assert error is None or isinstance(error, RuntimeError)
        assert bench.device.module_state() == 'idle'


def test_a_buffer_deactivated_during_a_slow_start_does_not_stream(
    make_bench, background, wait_until
):
    bench = make_bench(limits={'patience': 0.3})
    (buffer,) = bench.buffers(1)
    bench.device.faults.add('start slowly')
    future = background(buffer.start_stream)
    wait_until(lambda: bench.device.blocked, 'the device is about to start')
    bench.qudi.deactivate('buffer1')
    assert buffer.module_state() == 'deactivated'
    assert isinstance(future.exception(10), RuntimeError)
    bench.device.released.set()
    wait_until(lambda: not running_threads(), 'the device was left')
    assert bench.device.module_state() == 'idle'
    assert bench.device.stops == bench.device.starts == 1
    assert buffer.module_state() == 'deactivated'


def test_a_buffer_reloaded_during_a_slow_start_leaves_no_ghost(make_bench, background, wait_until):
    bench = make_bench(limits={'patience': 0.3})
    buffer, other = bench.buffers(2)
    configure(buffer, rate=10)
    configure(other, rate=20)
    bench.device.faults.add('configure slowly')
    future = background(buffer.start_stream)
    wait_until(lambda: bench.device.blocked, 'the device takes its time')
    bench.qudi.deactivate('buffer1')
    try:
        bench.qudi.activate('buffer1')
        assert isinstance(future.exception(10), RuntimeError)
    finally:
        bench.device.released.set()
    bench.let_poll_finish()
    (distributor,) = registry.distributors()
    assert distributor.active_names == [], 'a stream that nobody can stop'
    assert bench.device.module_state() == bench.qudi['buffer1'].module_state() == 'idle'


@pytest.mark.parametrize('change', ['ends', 'starts'])
def test_a_buffer_can_be_deactivated_while_its_stream_begins_or_ends(bench, background, change):
    buffer, other = bench.buffers(2)
    configure(buffer, size=10)
    changing, go_on = threading.Event(), threading.Event()

    def in_the_middle_of_the_change(_):
        if threading.current_thread() is not threading.main_thread():
            changing.set()
            go_on.wait(10)

    for state in ('idle', 'locked'):
        setattr(buffer.module_state, f'onleave{state}', in_the_middle_of_the_change)
    if change == 'ends':
        other.start_stream()
        buffer.start_stream()
        bench.device.produce(20)  # overflows
    else:
        background(buffer.start_stream)
    assert changing.wait(10)
    threading.Timer(0.2, go_on.set).start()
    bench.qudi.deactivate('buffer1')
    assert buffer.module_state() == 'deactivated'
    bench.qudi.activate('buffer1')
    other.stop_stream()
    assert bench.device.module_state() == 'idle'


def test_nobody_changes_the_state_while_qudi_deactivates(bench, background, wait_until):
    buffer, other = bench.buffers(2)
    (distributor,) = registry.distributors()
    other.start_stream()
    configure(buffer, size=10)
    deactivate, states = buffer.module_state.on_before_deactivate, []

    def deactivate_while_another_thread_stops(event):
        background(buffer.stop_stream).result(5)
        states.append(buffer.module_state())
        return deactivate(event)

    buffer.module_state.on_before_deactivate = deactivate_while_another_thread_stops
    with bench.start_with_slow_log(buffer):
        bench.device.produce(20)  # overflows
        wait_until(lambda: 'buffer1' not in distributor.active_names, 'the buffer is inactive')
        bench.qudi.deactivate('buffer1')
    assert states == ['locked'], 'another thread changed the state during a deactivation'
    assert buffer.module_state() == 'deactivated'
    other.stop_stream()


@pytest.mark.parametrize('fault', [None, 'raise in start', 'raise in read'])
def test_a_removed_buffer_and_its_threads_are_freed_at_once(bench, fault, wait_until):
    buffer = bench.buffer('buffer')
    (distributor,) = registry.distributors()
    gc.collect()
    gc.disable()  # first of all: what an error leaves must not need it
    if fault == 'raise in start':
        bench.device.faults.add(fault)
        with pytest.raises(OSError, match='does not start'):
            buffer.start_stream()
        bench.device.faults.clear()
    buffer.start_stream()
    bench.produce(5)
    if fault == 'raise in read':
        bench.device.faults.add(fault)
        bench.device.produce(5)
        wait_until(lambda: bench.qudi['buffer'].status.state == 'fault', 'the stream has ended')
    reports = [thing for thing in gc.get_objects() if type(thing) is BufferReports]
    assert reports
    mortals = [weakref.ref(thing) for thing in (buffer, distributor, distributor.thread, *reports)]
    del buffer, distributor, reports
    try:
        bench.qudi.deactivate('buffer')
        bench.qudi.module_manager.remove_module('buffer')
        left = [mortal() for mortal in mortals if mortal() is not None]
        assert not left, 'left to the garbage collector, whatever thread that runs in'
    finally:
        gc.enable()


@pytest.mark.parametrize('timing', ['CONSTANT', 'TIMESTAMP'])
def test_a_read_that_waits_long_does_not_keep_qudi_from_quitting(
    make_bench, background, monkeypatch, qtbot, timing
):
    bench = make_bench(limits={'quitting_read': 0.5}, sample_timing=timing)
    dark, dim, other = bench.buffers(3, read_timeout=None)
    for buffer in (dark, dim, other):
        buffer.start_stream()
    reads = [background(buffer.read_data, 1000) for buffer in (dark, dim)]
    for buffer in (dark, dim):
        bench.wait_for_reader(buffer)
    monkeypatch.setattr(bench.qudi, '_shutting_down', True, raising=False)
    monkeypatch.setattr(bench.qudi, 'watchdog', object(), raising=False)
    for _ in range(8):  # the user is asked, and samples trickle in
        bench.produce(1)
        qtbot.wait(100)
    assert [buffer.status.state for buffer in (dark, dim, other)] == ['running'] * 3, (
        'a question of qudi has ended a stream'
    )
    monkeypatch.setattr(bench.qudi, 'watchdog', None)
    for read in reads:
        with pytest.raises(RuntimeError, match='has ended: qudi quits'):
            read.result(5)
    assert other.status.state == 'running', 'a stream ended that nobody waits for'
    other.stop_stream()


def test_a_look_at_the_newest_sample_does_not_keep_qudi_from_quitting(
    make_bench, background, monkeypatch, wait_until
):
    bench = make_bench(limits={'quitting_read': 0.1})
    (dark,) = bench.buffers(1, read_timeout=None)
    dark.start_stream()
    look = background(dark.read_single_point)
    wait_until(lambda: not dark.stream.readers.is_empty, 'the look waits for a first sample')
    monkeypatch.setattr(bench.qudi, '_shutting_down', True, raising=False)
    monkeypatch.setattr(bench.qudi, 'watchdog', None, raising=False)
    with pytest.raises(RuntimeError, match='has ended: qudi quits'):
        look.result(5)


@pytest.mark.parametrize('slow', ['configure slowly', 'start slowly'])
def test_a_stop_during_a_slow_start_is_obeyed(bench, background, wait_until, slow):
    buffer, other = bench.buffers(2)
    configure(buffer, rate=10)
    configure(other, rate=20)
    bench.device.faults.add(slow)
    start = background(buffer.start_stream)
    wait_until(lambda: bench.device.blocked, 'the device takes its time')
    (distributor,) = registry.distributors()
    stop = background(buffer.stop_stream)
    wait_until(lambda: len(distributor.thread.jobs), 'the stop was called')
    bench.device.released.set()
    start.result(10)
    stop.result(10)
    assert buffer.module_state() == bench.device.module_state() == 'idle'


def test_buffers_come_and_go_while_another_one_starts_and_stops(bench, background):
    buffer = bench.buffer('buffer')
    for number in range(6):
        configure(bench.buffer(f'other{number}'))
    configure(buffer)

    def start_and_stop():
        for _ in range(100):
            buffer.start_stream()
            buffer.stop_stream()

    future = background(start_and_stop)
    while not future.done():
        bench.qudi.deactivate('other0')
        bench.qudi.activate('other0')
    future.result()


@pytest.mark.parametrize('others', [0, 1])
def test_a_slot_may_start_a_buffer_again_that_is_being_stopped(bench, others, wait_until):
    buffer, other = bench.buffers(2, max_poll_rate=5)
    if others:
        other.start_stream()
    buffer.start_stream()
    restarted = []

    def start_again(_):
        if buffer.module_state() == 'idle' and not restarted:
            restarted.append(True)
            buffer.start_stream()

    buffer.module_state.sigStateChanged.connect(
        start_again, QtCore.Qt.ConnectionType.DirectConnection
    )
    buffer.stop_stream()
    # The slot runs in this thread, or in the one that reports
    wait_until(lambda: restarted and buffer.module_state() == 'locked', 'the slot started it again')
    buffer.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()
    other.stop_stream()
    assert bench.device.module_state() == 'idle'


def test_a_slot_in_another_thread_may_deactivate_a_buffer(bench, wait_until):
    buffer, other = bench.buffers(2)
    other.start_stream()
    configure(buffer, ['a'], size=10)
    buffer.start_stream()
    buffer.module_state.sigStateChanged.connect(
        lambda _: bench.qudi.deactivate('buffer1'), QtCore.Qt.ConnectionType.DirectConnection
    )
    began = time.perf_counter()
    bench.device.produce(20)  # overflows
    wait_until(lambda: buffer.module_state() == 'deactivated', 'the slot deactivated the buffer')
    assert time.perf_counter() - began < 5
    bench.assert_delivers(other, 0, 20)
    other.stop_stream()


# The log line of a start comes when the program has come to its end, which takes its time
SLOW_LOG = """\
import logging, time
from unittest.mock import MagicMock
class SlowHandler(logging.Handler):
    def createLock(self):
        self.lock = MagicMock()  # which locks nothing
    def emit(self, record):
        time.sleep(0.2)
    def flush(self):
        time.sleep(0.8)
logging.getLogger().handlers.insert(0, SlowHandler())
"""


@pytest.mark.parametrize('streaming', [True, False])
def test_a_program_that_ends_without_deactivating_ends_cleanly(tmp_path, streaming):
    script = tmp_path / 'careless.py'
    script.write_text(
        'from qudi_host import QudiHost\n'
        'from qtpy import QtCore\n'
        'application = QtCore.QCoreApplication([])\n'
        'qudi = QudiHost()\n'
        'qudi.add("hardware", "streamer", "instream_buffer.simulator.InStreamSimulator")\n'
        'buffer = qudi.add_buffer("buffer")\n' + SLOW_LOG + 'buffer.start_stream()\n' * streaming
    )
    result = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, '')


def test_a_start_of_a_running_buffer_tells_what_is_dropped(bench, caplog, wait_until):
    buffer = bench.buffer('buffer1')
    configure(buffer)
    buffer.start_stream()
    bench.produce(30)
    buffer.start_stream()

    def warnings():
        return [r for r in caplog.records if 'is started again' in r.getMessage()]

    wait_until(warnings, 'the log says so')
    (record,) = warnings()
    assert record.levelno == logging.WARNING
    assert '30 unread samples per channel are dropped' in record.getMessage()


def test_an_activation_that_fails_half_way_leaves_the_device_as_it_was(bench, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == 'instream-buffer1':
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', refuse)
        with pytest.raises(RuntimeError, match='Failed to activate'):
            bench.buffers(1)
    assert not registry.distributors()
    assert 'start_stream' not in vars(bench.device), 'the guard of the device is still there'
    bench.qudi.activate('buffer1')
    bench.assert_streams(bench.qudi['buffer1'])


def test_a_device_that_cannot_tell_its_settings_keeps_no_guard(bench, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(type(bench.device), 'streaming_mode', None)
        with pytest.raises(RuntimeError, match='Failed to activate'):
            bench.buffers(1)
    assert 'start_stream' not in vars(bench.device), 'a start would go through a dead guard'
    bench.qudi.activate('buffer1')
    bench.assert_streams(bench.qudi['buffer1'])


def raise_from_another():
    try:
        raise OSError('the simulator lost its cable')
    except OSError as error:
        raise ConnectionError('the driver has lost its cable') from error


@pytest.mark.parametrize('make_error', [None, raise_from_another])
def test_an_error_of_the_device_keeps_no_stream_alive(bench, caplog, wait_until, make_error):
    (buffer,) = bench.buffers(1)
    bench.device.make_error = make_error
    buffer.start_stream()
    ring = weakref.ref(buffer.stream.ring)
    bench.device.faults.add('raise in read')
    gc.collect()
    gc.disable()
    try:
        bench.device.produce(5)
        with pytest.raises(RuntimeError, match='lost its cable'):
            buffer.read_data(10)
        bench.device.faults.clear()
        buffer.start_stream()
        wait_until(lambda: ring() is None, 'the ring of an ended stream is freed, not collected')
        wait_until(lambda: 'in read_data_into_buffer' in caplog.text, 'a log of where it failed')
    finally:
        gc.enable()
    buffer.stop_stream()
