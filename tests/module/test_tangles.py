"""Calls within calls, and calls that meet each other at a bad moment."""

import math
import threading
import time
from contextlib import suppress

import pytest
from qudi.interface.data_instream_interface import StreamingMode

# isort: split
from qtpy import QtCore

from bench import configure
from qudi.util.instream.device import registry
from qudi.util.instream.device.thread import DeviceThread
from qudi.util.instream.stream import TimeLimits

QUEUED_PATIENCE = 0.3  # s


class Gate:
    """A call that waits until it is let through."""

    def __init__(self):
        self.has_begun, self._go_on = threading.Event(), threading.Event()

    def __call__(self, *_):
        self.has_begun.set()
        assert self._go_on.wait(20)

    def open(self):
        self._go_on.set()


@pytest.fixture
def thread(qapp):
    """A device's thread that never polls."""
    thread = DeviceThread(
        lambda: (time.perf_counter(), False),
        lambda: ([], math.inf),
        lambda error: None,
        QUEUED_PATIENCE,
    )
    yield thread
    with suppress(RuntimeError):  # it was closed by the test
        thread.close(lambda: None, 'The test')


# -------------------------------------------------------------------- hanging calls


def test_no_caller_waits_for_ever_behind_an_undo_that_hangs(thread, background):
    start, undo = Gate(), Gate()
    with pytest.raises(RuntimeError, match='has not returned'):
        thread.run(start, 'It cannot start', undo=undo)
    start.open()
    assert undo.has_begun.wait(10)
    error = background(thread.run, lambda: None, 'It cannot stop').exception(5)
    undo.open()
    assert isinstance(error, RuntimeError)


def test_a_job_that_waits_while_the_thread_ends_has_an_error(thread, background):
    slow = Gate()
    background(thread.run, slow, 'The test')
    assert slow.has_begun.wait(10)
    waiting = background(thread.run, lambda: None, 'It cannot start')
    while not len(thread.jobs):
        time.sleep(0.001)
    quitting = background(thread.quit, 10)
    error = waiting.exception(5)
    slow.open()
    quitting.result(10)
    assert isinstance(error, RuntimeError)


def test_an_idle_buffer_stops_at_once_while_the_start_of_another_one_hangs(
    bench, background, wait_until
):
    buffer, idle = bench.buffers(2)
    bench.device.faults.add('start slowly')
    start = background(buffer.start_stream)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    began = time.perf_counter()
    idle.stop_stream()
    took = time.perf_counter() - began
    bench.device.released.set()
    start.result(10)
    buffer.stop_stream()
    assert took < 1.0, f'the idle buffer waited {took:.2f} s for the device'


def test_a_slow_device_may_take_a_sample_period_to_stop(make_bench, monkeypatch):
    bench = make_bench(limits={'patience': 0.3})
    (buffer,) = bench.buffers(1)
    configure(buffer, rate=1.0)
    buffer.start_stream()
    stop = bench.device.stop_stream

    def stop_slowly():
        time.sleep(0.8)
        stop()

    monkeypatch.setattr(bench.device, 'stop_stream', stop_slowly)
    buffer.stop_stream()
    assert bench.device.module_state() == 'idle'


def test_a_read_of_a_stream_whose_start_fails_ends(make_bench, background):
    bench = make_bench(sample_timing='TIMESTAMP')
    (buffer,) = bench.buffers(1)
    gate = Gate()

    def fail():
        gate()
        return OSError('the device does not start')

    bench.device.make_error = fail
    bench.device.faults.add('raise in start')
    start = background(buffer.start_stream)
    assert gate.has_begun.wait(10)
    read = background(buffer.read_data, 10)
    bench.wait_for_reader(buffer)
    gate.open()
    assert isinstance(start.exception(10), OSError)
    assert isinstance(read.exception(10), RuntimeError), 'the read waits for ever'


def test_ctrl_c_in_a_stop_leaves_no_device_running(bench, monkeypatch, wait_until):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    (distributor,) = registry.distributors()
    with monkeypatch.context() as patch:
        patch.setattr(distributor.thread, 'run', interrupt)
        with pytest.raises(KeyboardInterrupt):
            buffer.stop_stream()
    wait_until(lambda: bench.device.module_state() == 'idle', 'a poll has stopped the device')


# -------------------------------------------------------------------- calls within calls


def test_a_driver_that_runs_an_event_loop_gets_no_call_within_its_call(
    make_bench, background, monkeypatch
):
    bench = make_bench(clocked=True)
    first, second = bench.buffers(2, max_poll_rate=500)
    for buffer in (first, second):
        configure(buffer, ('a', 'b', 'c', 'd'), size=100_000, rate=20_000.0)
    read = bench.device.read_data_into_buffer
    inside, deepest = [], []

    def read_with_events(*arguments, **options):
        inside.append(1)
        deepest.append(len(inside))
        loop, end = QtCore.QEventLoop(), time.perf_counter() + 0.01
        while time.perf_counter() < end:
            loop.processEvents()
        read(*arguments, **options)
        inside.pop()

    monkeypatch.setattr(bench.device, 'read_data_into_buffer', read_with_events)
    first.start_stream()
    is_over = threading.Event()

    def start_and_stop():
        while not is_over.is_set():
            second.start_stream()
            second.stop_stream()

    cycles = background(start_and_stop)
    try:
        for number in range(20):
            bench.assert_delivers(first, number * 500, 500)
    finally:
        is_over.set()
        cycles.result(10)
    assert max(deepest) == 1
    first.stop_stream()


def test_a_slot_that_stops_while_the_device_stops_changes_nothing(bench, monkeypatch):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    stop, stops = bench.device.stop_stream, []

    def stop_with_slot():
        stops.append(1)
        buffer.stop_stream()
        stop()

    monkeypatch.setattr(bench.device, 'stop_stream', stop_with_slot)
    buffer.stop_stream()
    assert len(stops) == 1
    assert bench.device.module_state() == 'idle'


def test_a_slot_that_starts_while_the_device_stops_is_refused(bench):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    errors = []

    def start_again(_):
        if bench.device.module_state() == 'idle' and not errors:
            with pytest.raises(RuntimeError) as error:
                buffer.start_stream()
            errors.append(str(error.value))

    signal = bench.device.module_state.sigStateChanged
    signal.connect(start_again, QtCore.Qt.ConnectionType.DirectConnection)
    buffer.stop_stream()
    signal.disconnect(start_again)
    assert 'is being stopped, try again' in errors[0]
    buffer.start_stream()
    with pytest.raises(RuntimeError, match='a second time'):
        bench.device.start_stream()
    buffer.stop_stream()


# -------------------------------------------------------------------- odd devices


@pytest.mark.parametrize('rate', [0.0, math.inf, math.nan])
def test_a_measured_rate_that_no_samples_can_have_harms_nothing(make_bench, monkeypatch, rate):
    bench = make_bench(sample_timing='TIMESTAMP')
    (buffer,) = bench.buffers(1)
    configure(buffer)
    monkeypatch.setattr(type(bench.device), 'sample_rate', property(lambda _: rate))
    buffer.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    assert math.isfinite(buffer.sample_rate)
    buffer.stop_stream()
    assert bench.device.module_state() == 'idle'


def test_a_finite_acquisition_of_a_device_that_hides_its_samples_is_complete(make_bench):
    bench = make_bench(clocked=True, habits=['fetch in reads'])
    bench.device.faults.add('idle when complete')
    (buffer,) = bench.buffers(1, read_timeout=5.0)
    configure(buffer, mode=StreamingMode.FINITE, size=1500, rate=1000.0)
    buffer.start_stream()
    bench.assert_delivers(buffer, 0, 1500)
    with pytest.raises(RuntimeError, match='all 1500 samples were acquired'):
        buffer.read_data(1)


def test_a_late_buffer_on_a_device_that_hides_its_samples_gets_no_older_ones(make_bench, qtbot):
    bench = make_bench(clocked=True, habits=['fetch in reads'])
    first, late = bench.buffers(2, max_poll_rate=2)
    for buffer in (first, late):
        configure(buffer, size=10_000, rate=1000.0)
    first.start_stream()
    first.read_data(2500)
    qtbot.wait(450)
    started_at = time.perf_counter() - bench.device.started_at
    late.start_stream()
    sample = late.read_data(100)[0][0] / 16 / 1000
    assert sample > started_at - 0.05, f'the first sample is {started_at - sample:.2f} s too old'
    first.stop_stream()
    late.stop_stream()


def test_a_refused_start_configures_the_device_of_another_program_no_further(bench):
    buffer, idle = bench.buffers(2)
    configure(idle, ['c'], size=5000)
    configure(buffer, ['a'])
    calls = len(bench.device.configure_calls)

    def refusal():  # as of a guard in another process
        error = RuntimeError('it is taken')
        error.streamer_is_taken = True
        return error

    bench.device.make_error = refusal
    bench.device.faults.add('raise in start')
    with pytest.raises(RuntimeError, match='it is taken'):
        buffer.start_stream()
    assert len(bench.device.configure_calls) == calls + 1
    bench.device.faults.clear()
    bench.device.start_stream()  # the other program may
    bench.device.stop_stream()


def test_a_follower_joins_an_abandoned_stream_instead_of_ending_it(make_bench):
    bench = make_bench(clocked=True)
    silent = bench.buffer('silent', read_timeout=0.2)
    follower = bench.buffer('follower', follow_running=True)
    configure(silent, rate=100.0)
    configure(follower, rate=50.0)
    bench.device.faults.add('stall')
    silent.start_stream()
    with pytest.raises(TimeoutError):
        silent.read_data(5)
    bench.device.faults.discard('stall')
    follower.start_stream()
    assert silent.status.state == 'running'
    assert follower.sample_rate == 100
    follower.stop_stream()
    silent.stop_stream()


def test_buffers_come_and_go_in_many_threads_at_once(bench, background):
    end = time.perf_counter() + 1.5

    def come_and_go():
        count = 0
        while time.perf_counter() < end:
            registry.release(registry.acquire(bench.device, TimeLimits()))
            count += 1
        return count

    cycles = [background(come_and_go) for _ in range(4)]
    assert all(cycle.result(20) > 10 for cycle in cycles)


def test_a_poll_goes_on_while_a_device_tells_of_a_part_only(make_bench, monkeypatch, wait_until):
    bench = make_bench()
    device = type(bench.device)
    available = device.available_samples.fget
    buffer = bench.buffer('buffer1', max_poll_rate=2)
    configure(buffer, size=10_000)
    monkeypatch.setattr(device, 'available_samples', property(lambda d: min(available(d), 10_000)))
    buffer.start_stream()
    bench.device.produce(25_000)
    taken = []
    wait_until(lambda: taken.append(bench.device.taken) or taken[-1] > 0, 'the first poll')
    wait_until(lambda: bench.device.taken == 25_000, 'the same poll took the rest', timeout=0.4)
    buffer.stop_stream()


def test_a_device_that_fails_when_it_is_asked_to_fetch_streams_nevertheless(
    make_bench, monkeypatch, qtbot
):
    bench = make_bench()
    (buffer,) = bench.buffers(1)
    asked = []

    def fail(*_, **__):
        asked.append(1)
        raise ValueError('it cannot read without samples')

    monkeypatch.setattr(bench.device, 'read_available_data_into_buffer', fail)
    buffer.start_stream()
    qtbot.waitUntil(lambda: bool(asked), timeout=5000)
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    assert len(asked) == 1
    buffer.stop_stream()


def test_a_device_that_cannot_be_asked_can_be_used_later(bench, qudi, monkeypatch):
    def fail(device):
        raise OSError('the device is switched off')

    with monkeypatch.context() as patch:
        patch.setattr(type(bench.device), 'active_channels', property(fail))
        with pytest.raises(RuntimeError):
            bench.buffer('buffer1')
    assert registry.distributors() == []
    buffer = qudi.activate('buffer1')
    buffer.start_stream()
    bench.produce(5)
    bench.assert_delivers(buffer, 0, 5)
    buffer.stop_stream()
