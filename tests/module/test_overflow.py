"""A slow consumer loses its own stream or its oldest samples, and nobody else's."""

import pytest

from bench import configure


def test_a_consumer_that_never_reads_loses_only_its_own_stream(bench):
    reader, sleeper = bench.buffers(2)
    configure(reader, size=10_000)
    configure(sleeper, size=100)
    reader.start_stream()
    sleeper.start_stream()
    read = 0
    for _ in range(20):
        bench.produce(30)
        bench.assert_delivers(reader, read, 30)
        read += 30
    assert sleeper.module_state() == 'idle', 'it counts as inactive from the overflow on'
    assert sleeper.available_samples == 100
    bench.assert_delivers(sleeper, 0, 100)
    with pytest.raises(OverflowError, match='index 100 on are lost'):
        sleeper.read_data(1)
    assert bench.device.module_state() == 'locked'
    reader.stop_stream()
    assert bench.device.module_state() == 'idle'
    configure(reader, ['c'], rate=7)
    sleeper.start_stream()
    bench.produce(10)
    bench.assert_delivers(sleeper, 0, 10)
    sleeper.stop_stream()


def test_the_last_overflow_stops_the_device(bench, wait_until):
    buffers = bench.buffers(2)
    for buffer in buffers:
        configure(buffer, size=100)
        buffer.start_stream()
    bench.device.produce(150)
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device stopped')
    for buffer in buffers:
        bench.assert_delivers(buffer, 0, 100)


@pytest.mark.parametrize('allow_overwrite', [False, True])
@pytest.mark.parametrize('count', [80, 100, 101, 150])
def test_a_read_that_waits_makes_room_for_more_than_the_ring_holds(
    bench, background, wait_until, count, allow_overwrite
):
    buffer = bench.buffer('buffer', allow_overwrite=allow_overwrite)
    configure(buffer, ['a'], size=100)
    buffer.start_stream()
    future = background(bench.assert_delivers, buffer, 0, count)
    bench.wait_for_reader(buffer)
    bench.device.produce(150)
    future.result(5)
    wait_until(lambda: buffer.status.samples_received == 150, 'the rest')
    bench.assert_delivers(buffer, count, 150 - count)
    assert buffer.status.overflow_count == 0
    assert buffer.status.state == 'running'
    buffer.stop_stream()


def test_each_buffer_overflows_as_its_own_option_says(bench):
    strict = bench.buffer('strict', allow_overwrite=False)
    forgetful = bench.buffer('forgetful', allow_overwrite=True)
    for buffer in (strict, forgetful):
        configure(buffer, size=100)
        buffer.start_stream()
    for _ in range(25):
        bench.produce(10)
    bench.assert_delivers(forgetful, 150, 100)
    assert forgetful.status.samples_lost == 150
    bench.assert_delivers(strict, 0, 100)
    with pytest.raises(OverflowError):
        strict.read_data(1)
    forgetful.stop_stream()


def test_overwriting_keeps_samples_and_timestamps_paired(make_bench):
    bench = make_bench(sample_timing='TIMESTAMP', data_type='int16')
    buffer = bench.buffer('buffer', allow_overwrite=True)
    configure(buffer, ['b', 'd'], size=100)
    buffer.start_stream()
    for _ in range(9):
        bench.produce(37)
    bench.assert_delivers(buffer, 233, 100)
    bench.produce(250)
    bench.assert_delivers(buffer, 483, 100)
    buffer.stop_stream()
