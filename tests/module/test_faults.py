"""Faults beyond the table: starts and stops that fail, hanging calls, two faults at once."""

import math
import time

import pytest

from bench import configure
from qudi.util.instream import registry


def test_a_fault_of_one_device_leaves_another_one_alone(bench, qudi, wait_until):
    qudi.add('hardware', 'healthy', 'instream_simulator.InStreamSimulator')
    qudi.add(
        'hardware',
        'healthy_buffer',
        'interfuse.instream_buffer.DataInStreamBuffer',
        {'max_poll_rate': 1000},
        {'streamer': 'healthy'},
    )
    healthy = qudi.activate('healthy_buffer')
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    healthy.start_stream()
    bench.device.faults.add('raise in read')
    bench.device.produce(5)
    wait_until(lambda: buffer.module_state() == 'idle', 'the fault was noticed')
    qudi['healthy'].produce(50)
    bench.assert_delivers(healthy, 0, 50)
    healthy.stop_stream()


def test_a_start_that_fails_leaves_everything_idle(bench):
    (buffer,) = bench.buffers(1)
    bench.device.faults.add('raise in start')
    with pytest.raises(OSError, match='does not start'):
        buffer.start_stream()
    assert buffer.module_state() == 'idle'
    with pytest.raises(RuntimeError, match='"buffer1" is not streaming, call start_stream'):
        buffer.read_data(1)
    bench.device.faults.clear()
    buffer.start_stream()
    bench.produce(5)
    bench.assert_delivers(buffer, 0, 5)
    buffer.stop_stream()


def test_a_device_that_runs_although_its_start_failed_is_stopped(bench):
    (buffer,) = bench.buffers(1)
    bench.device.faults.add('raise after start')
    with pytest.raises(OSError, match='started in vain'):
        buffer.start_stream()
    assert bench.device.module_state() == buffer.module_state() == 'idle'


def test_a_start_and_the_stop_after_it_may_both_fail(bench):
    (buffer,) = bench.buffers(1)
    bench.device.faults |= {'raise after start', 'raise in stop'}
    with pytest.raises(OSError, match='started in vain'):
        buffer.start_stream()
    assert buffer.module_state() == 'idle'
    bench.device.faults.clear()
    buffer.start_stream()
    assert (bench.device.starts, bench.device.stops) == (2, 1), 'the first start was not made good'
    buffer.stop_stream()


def test_a_device_that_cannot_be_configured_at_the_start_says_so(bench):
    first, second = bench.buffers(2)
    configure(first, rate=10)
    configure(second, rate=20)
    bench.device.faults.add('raise in configure')
    with pytest.raises(OSError, match='lost its cable'):
        first.start_stream()
    assert bench.device.module_state() == first.module_state() == 'idle'
    second.start_stream()
    bench.produce(5)
    bench.assert_delivers(second, 0, 5)
    second.stop_stream()


def test_a_device_that_does_not_run_after_its_start_is_a_failed_start(bench):
    (buffer,) = bench.buffers(1)
    bench.device.faults.add('stop itself in start')
    with pytest.raises(RuntimeError, match='"streamer" is idle instead of running'):
        buffer.start_stream()
    assert buffer.module_state() == 'idle'


def test_a_stop_that_fails_is_told_and_made_up_for_by_the_next_start(bench):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    bench.device.faults.add('raise in stop')
    with pytest.raises(OSError, match='does not stop'):
        buffer.stop_stream()
    assert buffer.module_state() == 'idle'
    with pytest.raises(OSError, match='does not stop'):
        buffer.start_stream()
    bench.device.faults.clear()
    buffer.start_stream()
    assert bench.device.starts == 2
    bench.produce(5)
    bench.assert_delivers(buffer, 0, 5)
    buffer.stop_stream()


def test_a_device_that_refuses_one_stop_is_stopped_with_its_last_buffer(bench):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    bench.device.faults.add('raise in one stop')
    bench.qudi.deactivate('buffer1')
    assert bench.device.module_state() == 'idle', 'the device was left running'
    bench.qudi.activate('buffer1').start_stream()
    buffer.stop_stream()


def test_a_stop_with_a_complaint_is_a_stop(bench):
    first, second = bench.buffers(2)
    first.start_stream()
    bench.device.faults.add('raise after stop')
    with pytest.raises(OSError, match='stopped with a complaint'):
        first.stop_stream()
    bench.device.faults.clear()
    bench.device.start_stream()  # by somebody else
    first.stop_stream()
    with pytest.raises(RuntimeError, match='is running already'):
        second.start_stream()
    assert bench.device.module_state() == 'locked', "somebody else's stream was stopped"
    bench.device.stop_stream()


def test_a_device_that_needs_a_moment_to_stop_is_stopped_once(bench, monkeypatch, wait_until):
    first, _ = bench.buffers(2)
    stops, stop = [], bench.device.stop_stream
    monkeypatch.setattr(bench.device, 'stop_stream', lambda: stops.append(1))
    first.start_stream()
    first.stop_stream()
    stop()  # a moment later it is idle
    bench.device.start_stream()  # by somebody else
    first.stop_stream()
    assert len(stops) == 1, "somebody else's stream may have been stopped"
    stop()


def test_an_idle_buffer_does_not_make_up_for_the_failed_stop_of_another(bench):
    first, idle = bench.buffers(2)
    idle.start_stream()
    idle.stop_stream()
    first.start_stream()
    bench.device.faults.add('raise in stop')
    with pytest.raises(OSError, match='does not stop'):
        first.stop_stream()
    bench.device.faults.clear()
    idle.stop_stream()
    assert bench.device.module_state() == 'locked', "somebody else's stream may have been stopped"
    first.stop_stream()
    assert bench.device.module_state() == 'idle'


def test_a_fault_during_a_fault_is_survived(bench, wait_until):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    bench.device.faults |= {'raise in read', 'raise in stop'}
    bench.device.produce(5)
    wait_until(lambda: buffer.module_state() == 'idle', 'the fault was noticed')
    with pytest.raises(RuntimeError, match='lost its cable'):
        buffer.read_data(1)
    bench.device.faults.clear()
    buffer.start_stream()
    buffer.stop_stream()


def test_a_start_beside_a_device_that_fails_is_refused(bench, wait_until):
    first = bench.buffer('first', max_poll_rate=1)
    second = bench.buffer('second')
    first.start_stream()
    bench.produce(1)
    bench.device.faults.add('raise in available_samples')
    with pytest.raises(OSError, match='lost its cable'):
        second.start_stream()
    assert second.module_state() == 'idle'
    wait_until(lambda: first.module_state() == 'idle', 'the fault was noticed')


def test_a_hanging_read_freezes_nobody_for_long(bench, background, monkeypatch, wait_until):
    first, second = bench.buffers(2)
    first.start_stream()
    second.start_stream()
    future = background(second.read_data, 10)
    bench.wait_for_reader(second)
    bench.device.faults.add('block in read')
    bench.device.produce(5)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    monkeypatch.setattr('qudi.util.instream.distributor._PATIENCE', 0.2)
    began = time.perf_counter()
    assert first.available_samples == 0
    assert first.sample_rate == 100
    with pytest.raises(RuntimeError, match='"buffer2" has stopped, but "streamer" has not: a call'):
        second.stop_stream()
    assert isinstance(future.exception(1), RuntimeError), 'the waiting read hangs too'
    with pytest.raises(RuntimeError, match='"buffer2" cannot start: a call of the hardware'):
        second.start_stream()
    with pytest.raises(RuntimeError):
        first.stop_stream()
    assert time.perf_counter() - began < 5
    bench.device.faults.clear()
    bench.device.released.set()
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device was stopped later')
    wait_until(lambda: first.module_state() == second.module_state() == 'idle', 'both idle')


@pytest.mark.parametrize('hang', ['block in read', 'start slowly'])
def test_a_device_that_hangs_past_the_deactivation_is_not_used_by_two(
    bench, background, monkeypatch, wait_until, hang
):
    (buffer,) = bench.buffers(1)
    if hang == 'block in read':
        buffer.start_stream()
        bench.device.produce(5)
    bench.device.faults.add(hang)
    if hang != 'block in read':
        background(buffer.start_stream)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    monkeypatch.setattr('qudi.util.instream.distributor._PATIENCE', 0.1)
    bench.qudi.deactivate('buffer1')
    assert registry.distributors() == []
    with pytest.raises(RuntimeError, match='"streamer" cannot be used: one of its calls, from'):
        registry.acquire(bench.device)
    monkeypatch.undo()
    bench.device.faults.clear()
    bench.device.released.set()
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device was stopped later')
    wait_until(lambda: not bench.device.blocked, 'the call returned')
    bench.qudi.activate('buffer1').start_stream()
    bench.produce(5)
    bench.assert_delivers(buffer, 0, 5)
    buffer.stop_stream()


@pytest.mark.parametrize('when', ['before it has the device', 'while it hangs'])
def test_a_stop_during_a_hanging_start_is_obeyed_later(
    bench, background, monkeypatch, wait_until, when
):
    buffer, other = bench.buffers(2)
    configure(buffer, rate=10)
    configure(other, rate=20)
    bench.device.faults.add('configure slowly')
    (distributor,) = registry.distributors()
    with distributor._lock:  # a stop counts also while the start still waits for the device
        start = background(buffer.start_stream)
        wait_until(lambda: distributor._members['buffer1'].is_wanted, 'the start was called')
        if when == 'before it has the device':
            monkeypatch.setattr('qudi.util.instream.distributor._PATIENCE', 0.1)
            distributor._held_since = 0.0
            with pytest.raises(RuntimeError, match='"buffer1" has stopped, but "streamer" has not'):
                buffer.stop_stream()
            distributor._held_since = math.inf
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    if when == 'while it hangs':
        monkeypatch.setattr('qudi.util.instream.distributor._PATIENCE', 0.1)
        with pytest.raises(RuntimeError, match='"buffer1" has stopped, but "streamer" has not'):
            buffer.stop_stream()
    bench.device.released.set()
    start.result(5)
    assert (buffer.module_state(), bench.device.module_state()) == ('idle', 'idle')
    with pytest.raises(RuntimeError, match='it was stopped while it started'):
        buffer.read_data(1)


def test_a_hanging_device_costs_its_patience_once_for_all_buffers(bench, wait_until, monkeypatch):
    buffers = bench.buffers(5)
    for buffer in buffers:
        buffer.start_stream()
    bench.device.faults.add('block in read')
    bench.device.produce(5)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    monkeypatch.setattr('qudi.util.instream.distributor._PATIENCE', 1.0)
    began = time.perf_counter()
    for buffer in buffers:
        with pytest.raises(RuntimeError, match='has not returned for 1 s'):
            buffer.stop_stream()
    assert time.perf_counter() - began < 3, 'each buffer waits anew'
    bench.device.released.set()
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device was stopped later')


def test_a_stop_waits_on_when_another_call_follows_the_one_it_waited_for(
    bench, background, monkeypatch, qtbot
):
    monkeypatch.setattr('qudi.util.instream.distributor._PATIENCE', 1.0)
    buffer = bench.buffer('buffer', max_poll_rate=1e-3)
    buffer.start_stream()
    (distributor,) = registry.distributors()
    with distributor._lock:
        distributor._held_since = time.perf_counter()
        stop = background(buffer.stop_stream)
        qtbot.wait(500)
        distributor._held_since = time.perf_counter()  # as if somebody else had been quicker
        qtbot.wait(600)
        assert not stop.done(), 'it gave up although no call took too long'
        distributor._held_since = math.inf
    stop.result(5)
    assert bench.device.module_state() == 'idle'


def test_a_device_that_stalls_and_recovers_goes_on(make_bench):
    bench = make_bench(clocked=True)
    buffer = bench.buffer('buffer', read_timeout=0.1)
    configure(buffer, size=100_000, rate=1000)
    buffer.start_stream()
    bench.assert_delivers(buffer, 0, 20)
    bench.device.faults.add('stall')
    with pytest.raises(TimeoutError):
        buffer.read_data(50_000)
    bench.device.faults.clear()
    bench.assert_delivers(buffer, 20, 100)
    buffer.stop_stream()
