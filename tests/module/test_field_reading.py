"""The current value, and a stop beside a read: as directly at a device."""

import time

import numpy as np
import pytest

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples

TIMINGS = ['CONSTANT', 'TIMESTAMP', 'RANDOM']


def assert_point(buffer, index, channels='ab'):
    """The current value is this sample."""
    point, timestamp = buffer.read_single_point()
    expected = foretold_samples(index, 1, channels)[0]
    assert point.shape == expected.shape
    assert (point == expected).all(), f'the current value is {point}, the newest one is {expected}'
    return timestamp


# -------------------------------------------------------------------- the current value


@pytest.mark.parametrize('timing', TIMINGS)
def test_the_current_value_is_the_newest_sample_and_stays_unread(make_bench, timing):
    bench = make_bench(channels=['a', 'b'], sample_timing=timing)
    (buffer,) = bench.buffers(1)
    configure(buffer, ['b', 'a'])
    buffer.start_stream()
    for made in (10, 20):
        bench.produce(10)
        for _ in range(3):
            timestamp = assert_point(buffer, made - 1, 'ba')
            if timing == 'TIMESTAMP':
                assert type(timestamp) is np.float64
                device_time = timestamp + buffer.status.timestamp_offset
                assert device_time == pytest.approx(1e-3 * (made - 1) + 1e-4, abs=1e-9)
            else:
                assert timestamp is None
    status = buffer.status
    assert (status.samples_read, status.samples_unread) == (0, 20), 'a look has read something'
    data, _ = buffer.read_data(20)
    assert (data.reshape(-1, 2) == foretold_samples(0, 20, 'ba')).all()
    buffer.stop_stream()


@pytest.mark.parametrize('timing', TIMINGS)
def test_the_current_value_is_there_in_the_dark_after_all_was_read(make_bench, background, timing):
    bench = make_bench(channels=['a', 'b'], sample_timing=timing)
    (buffer,) = bench.buffers(1)
    configure(buffer)
    buffer.start_stream()
    bench.produce(10)
    buffer.read_data(10)
    for _ in range(2):
        background(assert_point, buffer, 9).result(1)
    assert buffer.available_samples == 0
    buffer.stop_stream()


@pytest.mark.parametrize('timing', TIMINGS)
def test_a_current_value_that_does_not_come_is_a_timeout(make_bench, background, timing):
    bench = make_bench(sample_timing=timing)
    buffer = bench.buffer('buffer', read_timeout=0.5)
    buffer.start_stream()
    began = time.perf_counter()
    error = background(buffer.read_single_point).exception(3)
    assert isinstance(error, TimeoutError)
    assert '"buffer"' in str(error)
    assert 0.4 < time.perf_counter() - began < 1.5
    assert buffer.status.state == 'running'
    bench.produce(1)
    assert_point(buffer, 0, 'abcd')
    buffer.stop_stream()


@pytest.mark.parametrize('timing', TIMINGS)
def test_a_first_current_value_is_waited_for(make_bench, background, qtbot, timing):
    bench = make_bench(channels=['a', 'b'], sample_timing=timing)
    (buffer,) = bench.buffers(1)
    configure(buffer)
    buffer.start_stream()
    look = background(assert_point, buffer, 0)
    qtbot.wait(100)
    assert not look.done()
    bench.device.produce(1)
    look.result(2)
    buffer.stop_stream()


@pytest.mark.parametrize('timing', TIMINGS)
@pytest.mark.parametrize('how', ['stop', 'deactivate'])
def test_a_current_value_in_the_dark_delays_no_stop(make_bench, background, qtbot, timing, how):
    bench = make_bench(sample_timing=timing)
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    look = background(buffer.read_single_point)
    qtbot.wait(100)
    began = time.perf_counter()
    if how == 'stop':
        buffer.stop_stream()
    else:
        bench.qudi.deactivate('buffer1')
    # By its clock, the first sample of a device with constant timing may be waited for
    is_due = timing == 'CONSTANT' and how == 'stop'
    assert time.perf_counter() - began < (2 if is_due else 0.5)
    assert isinstance(look.exception(1), RuntimeError)


def test_a_program_that_only_shows_the_current_value_never_overflows(bench):
    viewer, reader = bench.buffers(2)
    configure(viewer, size=50)
    configure(reader, size=1000)
    for buffer in (viewer, reader):
        buffer.start_stream()
    for number in range(1, 11):
        bench.produce(30)
        assert_point(viewer, 30 * number - 1)
    assert (viewer.status.state, viewer.module_state()) == ('running', 'locked')
    bench.assert_delivers(reader, 0, 300)
    for buffer in (viewer, reader):
        buffer.stop_stream()


def test_a_program_that_reads_besides_is_told_of_an_overflow(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer, size=50)
    buffer.start_stream()
    for number in range(1, 5):
        bench.produce(30)
        assert_point(buffer, 30 * number - 1)
    bench.assert_delivers(buffer, 70, 10)  # the oldest ones have made room
    bench.produce(10)
    assert_point(buffer, 129)
    bench.produce(20)
    bench.assert_delivers(buffer, 80, 50)
    with pytest.raises(OverflowError):
        buffer.read_data(1)


def test_a_program_that_never_looked_for_the_current_value_is_told_of_an_overflow(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer, size=50)
    buffer.start_stream()
    bench.produce(80)
    bench.assert_delivers(buffer, 0, 50)
    with pytest.raises(OverflowError):
        buffer.read_data(1)


def test_the_current_value_of_a_stream_that_was_stopped_is_an_error(bench):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    bench.produce(10)
    buffer.stop_stream()
    with pytest.raises(RuntimeError, match='it was stopped'):
        buffer.read_single_point()


# -------------------------------------------------------------------- a stop beside a read


@pytest.fixture
def clocked(make_bench):
    """A device that makes 100 samples a second, and a buffer that has read its first ones."""
    bench = make_bench(channels=['a', 'b'], clocked=True)
    buffer, _ = bench.buffers(2)
    configure(buffer, size=10_000)
    buffer.start_stream()
    bench.assert_delivers(buffer, 0, 10)
    return bench


def begin_read(bench, background, count):
    """Let a read wait for so many samples."""
    read = background(bench.qudi['buffer1'].read_data, count)
    bench.wait_for_reader(bench.qudi['buffer1'])
    return read


@pytest.mark.parametrize('stop_from', ['main thread', 'another thread'])
@pytest.mark.parametrize('beside', ['alone', 'beside another buffer'])
def test_a_stop_lets_a_read_finish_whose_samples_are_due(clocked, background, stop_from, beside):
    buffer, other = (clocked.qudi[name] for name in ('buffer1', 'buffer2'))
    if beside != 'alone':
        configure(other, size=10_000)
        other.start_stream()
    read = begin_read(clocked, background, 50)
    if stop_from == 'main thread':
        buffer.stop_stream()
    else:
        background(buffer.stop_stream).result(5)
    assert (buffer.module_state(), buffer.status.state) == ('idle', 'stopped')
    data, _ = read.result(2)
    assert (data.reshape(-1, 2) == foretold_samples(10, 50, 'ab')).all()
    assert clocked.device.module_state() == ('idle' if beside == 'alone' else 'locked')
    with pytest.raises(RuntimeError, match='it was stopped'):
        buffer.read_data(1)
    if beside != 'alone':
        assert len(other.read_data(20)[0]) == 40
        other.stop_stream()


def test_a_stop_ends_a_read_at_once_whose_samples_are_not_due(clocked, background):
    buffer = clocked.qudi['buffer1']
    read = begin_read(clocked, background, 3000)  # due in 30 s
    began = time.perf_counter()
    stop = background(buffer.stop_stream)
    error = read.exception(1)
    assert isinstance(error, RuntimeError)
    assert 'it was stopped' in str(error)
    stop.result(1)
    assert time.perf_counter() - began < 0.5


def test_a_stop_ends_a_read_whose_samples_are_due_but_do_not_come(clocked, background):
    buffer = clocked.qudi['buffer1']
    read = begin_read(clocked, background, 50)
    clocked.device.faults.add('stall')
    began = time.perf_counter()
    stop = background(buffer.stop_stream)
    error = read.exception(3)
    assert isinstance(error, RuntimeError)
    assert 'it was stopped' in str(error)
    stop.result(1)
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize('how', ['deactivate', 'reload'])
def test_a_deactivation_does_not_wait_for_a_read(clocked, background, how):
    read = begin_read(clocked, background, 80)
    began = time.perf_counter()
    if how == 'deactivate':
        clocked.qudi.deactivate('buffer1')
    else:
        clocked.qudi.module_manager.reload_module('buffer1')
    assert time.perf_counter() - began < 0.5
    assert isinstance(read.exception(1), RuntimeError)
    assert clocked.device.module_state() == 'idle'


def test_a_program_that_stops_and_starts_beside_its_reader_misses_no_read(clocked, background):
    buffer = clocked.qudi['buffer1']
    for _ in range(5):
        read = begin_read(clocked, background, 20)
        buffer.stop_stream()
        configure(buffer, size=10_000)
        buffer.start_stream()
        assert len(read.result(2)[0]) == 40
    buffer.stop_stream()
