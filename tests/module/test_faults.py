"""Faults beyond the table: starts and stops that fail, hanging calls, two faults at once."""

import re
import threading
import time

import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.util.instream.device import registry
from qudi.util.instream.stream import TimeLimits
from qudi_host import running_threads


def test_a_fault_of_one_device_leaves_another_one_alone(bench, qudi, wait_until):
    qudi.add('hardware', 'healthy', 'instream_buffer.simulator.InStreamSimulator')
    qudi.add(
        'hardware',
        'healthy_buffer',
        'instream_buffer.buffer.DataInStreamBuffer',
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
    bench.assert_streams(buffer)


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
    with pytest.raises(OSError, match='lost its cable'):
        second.start_stream()  # what the device holds by now is not known
    bench.device.faults.clear()
    bench.assert_streams(second)


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
    with pytest.raises(RuntimeError, match='was already started'):
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


@pytest.mark.parametrize('succeeds', [True, False], ids=['succeeds', 'fails'])
@pytest.mark.parametrize('which', [0, 1])
def test_a_stop_waits_until_the_device_is_stopped_after_the_last_sample(
    bench, background, monkeypatch, wait_until, succeeds, which
):
    """The end of a finite acquisition stops the device by itself, which may take a while."""
    buffers = bench.buffers(2)
    for one in buffers:
        configure(one, mode=StreamingMode.FINITE, size=10)
    buffer = buffers[which]
    stop_device, stopping, go_on = bench.device.stop_stream, threading.Event(), threading.Event()

    def stop_slowly():
        stopping.set()
        assert go_on.wait(10)
        stop_device()

    monkeypatch.setattr(bench.device, 'stop_stream', stop_slowly)
    for one in buffers:
        one.start_stream()
    bench.device.produce(10)
    assert stopping.wait(10)
    if not succeeds:
        bench.device.faults.add('raise in stop')
    stop = background(buffer.stop_stream)
    (distributor,) = registry.distributors()
    wait_until(lambda: stop.done() or len(distributor.thread.jobs), 'the stop was queued')
    assert not stop.done(), 'stop_stream returned while the device was being stopped'
    go_on.set()
    if succeeds:
        stop.result(5)
    else:
        assert 'does not stop' in str(stop.exception(5)), 'the program is not told'
        bench.device.faults.clear()
        buffer.stop_stream()
    assert bench.device.module_state() == 'idle'


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


def test_a_hanging_read_freezes_nobody_for_long(make_bench, background, wait_until):
    bench = make_bench(limits={'patience': 0.2})
    first, second = bench.buffers(2)
    first.start_stream()
    second.start_stream()
    future = background(second.read_data, 10)
    bench.wait_for_reader(second)
    bench.device.faults.add('block in read')
    bench.device.produce(5)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
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
    make_bench, background, wait_until, hang
):
    bench = make_bench(limits={'patience': 0.1})
    (buffer,) = bench.buffers(1)
    if hang == 'block in read':
        buffer.start_stream()
        bench.device.produce(5)
    bench.device.faults.add(hang)
    if hang != 'block in read':
        background(buffer.start_stream)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    (distributor,) = registry.distributors()
    bench.qudi.deactivate('buffer1')
    assert registry.distributors() == []
    with pytest.raises(RuntimeError, match='"streamer" cannot be used: one of its calls, from'):
        registry.acquire(bench.device, TimeLimits(patience=0.1))
    bench.device.faults.clear()
    bench.device.released.set()
    wait_until(distributor.wait_until_left, 'the device was left')
    assert bench.device.module_state() == 'idle', 'the device was not stopped'
    bench.qudi.activate('buffer1').start_stream()
    bench.produce(5)
    bench.assert_delivers(buffer, 0, 5)
    buffer.stop_stream()


@pytest.mark.parametrize('when', ['before it begins', 'while it hangs'])
def test_a_stop_during_a_hanging_start_is_obeyed_later(make_bench, background, wait_until, when):
    bench = make_bench(limits={'patience': 1.0})
    buffer, other = bench.buffers(2)
    configure(buffer, rate=10)
    configure(other, rate=20)
    (distributor,) = registry.distributors()
    if when == 'before it begins':
        at_work, go_on = threading.Event(), threading.Event()

        def work():  # as a call of another buffer
            at_work.set()
            assert go_on.wait(10)

        background(distributor.thread.run, work, 'The test')
        assert at_work.wait(10)
    bench.device.faults.add('configure slowly')
    start = background(buffer.start_stream)
    if when == 'before it begins':  # a stop counts also while the start still waits for the device
        wait_until(lambda: len(distributor.thread.jobs), 'the start was called')
        with pytest.raises(RuntimeError, match='"buffer1" has stopped, but "streamer" has not'):
            buffer.stop_stream()
        error = start.exception(10)
        go_on.set()
    else:
        wait_until(lambda: bench.device.blocked, 'the device hangs')
        with pytest.raises(RuntimeError, match='"buffer1" has stopped, but "streamer" has not'):
            buffer.stop_stream()
        error = start.exception(10)
        bench.device.released.set()
    assert re.match('"buffer1" cannot start: a call of the hardware module "streamer"', str(error))
    bench.let_poll_finish()
    wait_until(lambda: buffer.module_state() == 'idle', 'the reports of both have been made')
    assert bench.device.module_state() == 'idle'
    assert distributor.active_names == []
    assert bench.device.starts == bench.device.stops == int(when == 'while it hangs')
    with pytest.raises(RuntimeError):
        buffer.read_data(1)
    bench.device.faults.clear()
    bench.assert_streams(buffer)


@pytest.mark.parametrize('slow', ['configure slowly', 'start slowly'])
def test_a_start_whose_caller_gave_up_stops_what_it_started(make_bench, wait_until, slow):
    bench = make_bench(limits={'patience': 0.3})
    buffer, other = bench.buffers(2)
    configure(buffer, rate=10)
    configure(other, rate=20)
    bench.device.faults.add(slow)
    with pytest.raises(RuntimeError, match='"buffer1" cannot start: a call of the hardware modu'):
        buffer.start_stream()
    bench.device.released.set()
    bench.let_poll_finish()
    assert bench.device.starts == bench.device.stops == 1
    assert bench.device.module_state() == 'idle'
    assert buffer.module_state() == other.module_state() == 'idle'
    assert buffer.status.state in ('idle', 'stopped')
    bench.device.faults.clear()
    bench.assert_streams(other)


def test_configure_and_start_that_have_not_begun_are_withdrawn(make_bench, background, wait_until):
    bench = make_bench(limits={'patience': 0.3})
    hanging, other = bench.buffers(2)
    configure(other, rate=20)
    configure(hanging, rate=10)
    bench.device.faults.add('configure slowly')
    first = background(configure, hanging, ['a'], 0, 100, 30)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    with pytest.raises(RuntimeError, match='"buffer2" cannot start: a call of the hardware module'):
        other.start_stream()
    with pytest.raises(RuntimeError, match='"buffer2" cannot be configured: a call of the hardwa'):
        configure(other, ['c'], rate=40)
    assert isinstance(first.exception(10), RuntimeError)
    bench.device.released.set()
    bench.let_poll_finish()
    assert bench.device.starts == 0, 'a start was made whose caller had given up'
    assert other.active_channels == ['a', 'b'], 'a request counts whose caller had given up'
    assert [call[3] for call in bench.device.configure_calls] == [20, 10, 30]


@pytest.mark.parametrize('act', ['configure', 'start', 'stop', 'rate'])
def test_the_first_caller_of_a_hanging_device_waits_no_longer_than_its_patience(
    make_bench, monkeypatch, wait_until, act
):
    bench = make_bench(limits={'patience': 0.5})
    (buffer,) = bench.buffers(1)
    configure(buffer)
    if act == 'stop':
        buffer.start_stream()
    method = {'configure': 'configure', 'start': 'start_stream', 'stop': 'stop_stream'}.get(act)
    if method:
        original = getattr(bench.device, method)

        def hang(*args, **kwargs):
            bench.device.hang()
            original(*args, **kwargs)

        if act == 'start':
            bench.device.faults.add('start slowly')
        else:
            monkeypatch.setattr(bench.device, method, hang)
    else:
        monkeypatch.setattr(
            type(bench.device), 'sample_rate', property(lambda device: device.hang() or 100.0)
        )
        time.sleep(0.05)  # the last value gets old
    call = {
        'configure': lambda: configure(buffer, rate=20),
        'start': buffer.start_stream,
        'stop': buffer.stop_stream,
        'rate': lambda: buffer.sample_rate,
    }[act]
    began = time.perf_counter()
    with pytest.raises(RuntimeError, match='a call of the hardware module "streamer" has not ret'):
        call()
    took = time.perf_counter() - began
    assert 0.4 < took < 2.0
    # What is known here is told at once
    began = time.perf_counter()
    assert buffer.channel_buffer_size == 1000
    assert buffer.active_channels == ['a', 'b']
    assert buffer.streaming_mode.name == 'CONTINUOUS'
    assert buffer.constraints.sample_rate.default == 100
    assert buffer.status.streamer == 'streamer'
    assert time.perf_counter() - began < 0.1
    began = time.perf_counter()
    bench.qudi.deactivate('buffer1')
    assert time.perf_counter() - began < 2.0
    assert buffer.module_state() == 'deactivated'
    bench.device.released.set()
    wait_until(lambda: not running_threads(), 'the device was left')


def test_a_hanging_device_costs_its_patience_once_for_all_buffers(make_bench, wait_until):
    bench = make_bench(limits={'patience': 1.0})
    buffers = bench.buffers(5)
    for buffer in buffers:
        configure(buffer, rate=1000)
    for buffer in buffers:
        buffer.start_stream()
    bench.device.faults.add('block in read')
    bench.device.produce(5)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    began = time.perf_counter()
    for buffer in buffers:
        with pytest.raises(RuntimeError, match=r'has not returned for 1(\.001)? s'):
            buffer.stop_stream()
    assert time.perf_counter() - began < 3, 'each buffer waits anew'
    bench.device.released.set()
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device was stopped later')


def test_a_stop_waits_on_when_another_call_follows_the_one_it_waited_for(make_bench, background):
    bench = make_bench(limits={'patience': 1.0})
    buffer = bench.buffer('buffer', max_poll_rate=1e-3)
    buffer.start_stream()
    (distributor,) = registry.distributors()
    for _ in range(3):  # calls of other buffers, each shorter than the patience
        background(distributor.thread.run, lambda: time.sleep(0.6), 'The test')
    began = time.perf_counter()
    while not len(distributor.thread.jobs):
        assert time.perf_counter() - began < 5
    buffer.stop_stream()
    assert time.perf_counter() - began > 1.2, 'it did not wait, this proves nothing'
    assert bench.device.module_state() == 'idle'


def test_a_call_that_lasts_as_long_as_a_sample_does_not_hang(make_bench, background):
    bench = make_bench(limits={'patience': 0.2})
    buffer = bench.buffer('buffer', max_poll_rate=10)
    configure(buffer, rate=1.0)
    buffer.start_stream()
    (distributor,) = registry.distributors()
    patience = distributor.thread.patience_left
    slow = background(distributor.thread.run, lambda: time.sleep(0.9), 'The test')
    began = time.perf_counter()
    while distributor.thread.patience_left == patience:
        assert time.perf_counter() - began < 5
    buffer.stop_stream()
    slow.result(5)
    assert bench.device.module_state() == 'idle'


class Panic(BaseException):
    """As of a driver in another language."""


def test_an_exception_of_any_kind_out_of_a_start_or_stop_reaches_its_caller(bench):
    (buffer,) = bench.buffers(1)
    bench.device.make_error = lambda: Panic('overflow in line 7')
    bench.device.faults.add('raise in start')
    with pytest.raises(Panic):
        buffer.start_stream()
    bench.device.faults.clear()
    assert buffer.module_state() == bench.device.module_state() == 'idle'
    buffer.start_stream()
    bench.device.faults.add('raise in one stop')
    with pytest.raises(Panic):
        buffer.stop_stream()
    assert buffer.module_state() == 'idle'
    bench.assert_streams(buffer)


def test_a_text_of_several_lines_is_readable_and_ends_with_one_full_stop(bench, monkeypatch):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()

    def fail(*_, **__):
        raise OSError('Device is gone.\n\n  Status Code: -200279.\n')

    monkeypatch.setattr(bench.device, 'read_data_into_buffer', fail)
    bench.device.produce(1)
    with pytest.raises(RuntimeError) as caught:
        buffer.read_data(1)
    assert (
        'the device failed with OSError: Device is gone. | Status Code: -200279. (0 samples'
    ) in str(caught.value)


def test_what_another_program_stops_in_a_read_is_told(bench, background):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    read = background(buffer.read_data, 10)
    bench.wait_for_reader(buffer)
    bench.device.stop_stream()
    with pytest.raises(RuntimeError, match='another program has stopped it, or it stopped itself'):
        read.result(5)


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
