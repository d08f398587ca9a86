"""Reads through the qudi module: all timings and data types, waiting, all or nothing."""

import time

import numpy as np
import pytest

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples

TYPES = ['int16', 'uint16', 'int32', 'int64', 'float32', 'float64']


@pytest.mark.parametrize('timing', ['CONSTANT', 'TIMESTAMP', 'RANDOM'])
@pytest.mark.parametrize('dtype', TYPES)
def test_every_way_of_reading_delivers_the_stream(make_bench, timing, dtype):
    bench = make_bench(sample_timing=timing, data_type=dtype)
    (buffer,) = bench.buffers(1)
    configure(buffer, ['c', 'a'])
    buffer.start_stream()
    bench.produce(500)
    assert buffer.available_samples == 500
    bench.assert_delivers(buffer, 0, 200)

    data, times = np.zeros((150, 2), dtype), np.zeros(150)
    buffer.read_data_into_buffer(data, 100, times)
    assert (data[:100] == foretold_samples(200, 100, 'ca', dtype)).all()
    assert (data[100:] == 0).all()
    assert buffer.read_available_data_into_buffer(data, times) == 150
    assert (data == foretold_samples(300, 150, 'ca', dtype)).all()
    if timing == 'TIMESTAMP':
        assert np.allclose(times, 1e-3 * np.arange(300, 450) + 1e-4)
    else:
        assert (times == 0).all(), 'timestamps of a device that has none'

    point, stamp = buffer.read_single_point()
    assert (point == foretold_samples(499, 1, 'ca', dtype)[0]).all()
    assert point.dtype == dtype
    assert stamp == pytest.approx(0.4991) if timing == 'TIMESTAMP' else stamp is None

    bench.assert_delivers(buffer, 450, 50)
    rest, _ = buffer.read_data()
    assert rest.shape == (0,)
    buffer.stop_stream()


def test_reads_before_a_start_say_what_to_do(bench):
    (buffer,) = bench.buffers(1)
    assert buffer.available_samples == 0
    for read in (
        lambda: buffer.read_data(1),
        buffer.read_data,
        buffer.read_single_point,
        lambda: buffer.read_data_into_buffer(np.empty(4), 1),
        lambda: buffer.read_available_data_into_buffer(np.empty(4)),
    ):
        with pytest.raises(RuntimeError, match='"buffer1" is not streaming, call start_stream'):
            read()


def test_reads_after_a_stop_raise(bench):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    bench.produce(10)
    buffer.stop_stream()
    with pytest.raises(RuntimeError, match='"buffer1" has ended: it was stopped'):
        buffer.read_data(1)


def test_configure_drops_what_an_ended_stream_left(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer, size=10)
    buffer.start_stream()
    bench.produce(20)
    assert buffer.available_samples == 10
    configure(buffer, ['a'])
    assert buffer.available_samples == 0
    with pytest.raises(RuntimeError, match='call start_stream'):
        buffer.read_data(1)


def test_a_waiting_read_gets_its_samples_in_the_main_thread(bench, background):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()

    def produce_when_it_waits():
        while not buffer.stream.readers.waiting:
            time.sleep(0.001)
        bench.device.produce(100)

    producer = background(produce_when_it_waits)
    bench.assert_delivers(buffer, 0, 100)  # nobody processes Qt's events meanwhile
    producer.result()
    buffer.stop_stream()


@pytest.mark.parametrize('stop_from', ['main thread', 'another thread'])
def test_a_stop_wakes_a_waiting_read_and_nobody_else(bench, background, stop_from):
    first, second = bench.buffers(2)
    first.start_stream()
    second.start_stream()
    futures = [background(first.read_data, 10), background(second.read_data, 10)]
    bench.wait_for_reader(first)
    bench.wait_for_reader(second)
    if stop_from == 'main thread':
        first.stop_stream()
    else:
        background(first.stop_stream).result(5)
    assert isinstance(futures[0].exception(5), RuntimeError)
    bench.produce(10)
    assert (futures[1].result(5)[0].reshape(-1, 4) == foretold_samples(0, 10)).all()
    second.stop_stream()


def test_no_property_waits_for_a_waiting_read(bench, background):
    first, second = bench.buffers(2)
    first.start_stream()
    future = background(first.read_data, 10)
    bench.wait_for_reader(first)
    began = time.perf_counter()
    for buffer in (first, second):
        assert buffer.available_samples == 0
        assert buffer.sample_rate == 100
        assert buffer.channel_buffer_size == 1000
        assert buffer.active_channels == ['a', 'b', 'c', 'd']
        assert buffer.streaming_mode.name == 'CONTINUOUS'
        assert buffer.constraints.sample_rate.default == 100
    assert first.status.samples_unread == 0
    assert time.perf_counter() - began < 1
    first.stop_stream()
    assert isinstance(future.exception(5), RuntimeError)


def test_silence_with_constant_timing_is_a_timeout_and_the_stream_goes_on(bench):
    buffer = bench.buffer('buffer', read_timeout=0.1)
    configure(buffer, ['a'], rate=100)
    buffer.start_stream()
    bench.produce(3)
    with pytest.raises(TimeoutError, match=r'no new sample for 0\.111 s'):  # 0.1, a sample, a poll
        buffer.read_data(5)
    assert buffer.module_state() == 'locked'
    bench.produce(2)
    bench.assert_delivers(buffer, 0, 5)
    buffer.stop_stream()


@pytest.mark.parametrize(
    ('timing', 'poll_rate', 'limit'), [('CONSTANT', 1000, '0.601'), ('TIMESTAMP', 5, '0.3')]
)
def test_the_newest_sample_has_as_much_time_to_come_as_a_read(make_bench, timing, poll_rate, limit):
    bench = make_bench(sample_timing=timing)
    buffer = bench.buffer('buffer', read_timeout=0.1, max_poll_rate=poll_rate)
    configure(buffer, ['a'], rate=2.0)
    buffer.start_stream()
    with pytest.raises(TimeoutError, match=f'no new sample for {limit} s'):
        buffer.read_single_point()
    assert buffer.module_state() == 'locked'
    buffer.stop_stream()


def test_a_read_timeout_below_the_poll_interval_is_no_fault(make_bench):
    bench = make_bench(clocked=True)
    buffer = bench.buffer('buffer', read_timeout=0.3, max_poll_rate=2)
    configure(buffer, ['a'], size=100_000, rate=10_000)
    buffer.start_stream()
    bench.assert_delivers(buffer, 0, 9000)
    buffer.stop_stream()


@pytest.mark.parametrize(('timing', 'timeout'), [('TIMESTAMP', 0.05), ('CONSTANT', None)])
def test_silence_that_is_normal_or_allowed_is_waited_for(
    make_bench, background, qtbot, timing, timeout
):
    bench = make_bench(sample_timing=timing)
    buffer = bench.buffer('buffer', read_timeout=timeout)
    buffer.start_stream()
    future = background(buffer.read_data, 1)
    bench.wait_for_reader(buffer)
    qtbot.wait(200)
    assert not future.done()
    bench.produce(1)
    assert future.result(5)[0].size == 4
    buffer.stop_stream()
