"""Devices that never lock their state, that take long for a read, or show samples in reads only."""

import logging
import re
import time

import numpy as np
import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples

# -------------------------------------------------------------------- devices that never lock


@pytest.fixture
def unlocked(make_bench):
    """A device whose module_state stays idle."""
    return make_bench(habits=['never lock'])


def test_a_device_that_never_locks_its_state_streams_and_that_is_said_once(
    unlocked, caplog, wait_until
):
    caplog.set_level(logging.INFO)
    first, second = unlocked.buffers(2)
    first.start_stream()
    second.start_stream()
    unlocked.produce(10)
    for buffer in (first, second):
        unlocked.assert_delivers(buffer, 0, 10)
        assert buffer.module_state() == 'locked'
    first.stop_stream()
    unlocked.produce(10)
    unlocked.assert_delivers(second, 10, 10)
    second.stop_stream()
    assert (unlocked.device.starts, unlocked.device.stops) == (1, 1)

    def lines():
        pattern = re.compile('state.*watch|watch.*state')
        return [record for record in caplog.records if pattern.search(record.getMessage())]

    wait_until(lines, 'a line says that its state cannot be watched', timeout=2)
    assert [record.levelname.upper() for record in lines()] == ['INFO']
    assert '"streamer"' in lines()[0].getMessage()


@pytest.mark.parametrize('how', ['deactivate', 'reload'])
def test_a_device_that_never_locks_its_state_is_stopped_with_its_last_buffer(unlocked, how):
    unlocked.buffers(2)
    for name in ('buffer1', 'buffer2'):
        unlocked.qudi[name].start_stream()
    for stops, name in enumerate(('buffer1', 'buffer2')):
        assert unlocked.device.stops == 0, f'stopped before its last buffer, number {stops}'
        if how == 'deactivate':
            unlocked.qudi.deactivate(name)
        else:
            unlocked.qudi.module_manager.reload_module(name)
    assert unlocked.device.stops == 1


def test_a_fault_of_a_device_that_never_locks_its_state_stops_it(unlocked, wait_until):
    (buffer,) = unlocked.buffers(1)
    buffer.start_stream()
    unlocked.produce(10)
    unlocked.device.faults.add('raise in read')
    unlocked.device.produce(5)
    wait_until(lambda: buffer.module_state() == 'idle', 'the fault was noticed')
    unlocked.assert_delivers(buffer, 0, 10)
    wait_until(lambda: unlocked.device.stops == 1, 'the device was stopped')
    unlocked.device.faults.clear()
    buffer.start_stream()
    unlocked.produce(10)
    unlocked.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_a_finite_acquisition_of_a_device_that_never_locks_its_state_is_complete(
    unlocked, wait_until
):
    (buffer,) = unlocked.buffers(1)
    configure(buffer, mode=StreamingMode.FINITE, size=50)
    buffer.start_stream()
    unlocked.device.produce(80)
    unlocked.assert_delivers(buffer, 0, 50)
    wait_until(lambda: unlocked.device.stops == 1, 'the device was stopped')


# -------------------------------------------------------------------- slow and shy devices


def test_a_read_of_one_sample_period_is_no_device_that_hangs(make_bench, wait_until):
    bench = make_bench(limits={'patience': 0.5}, habits=['slow reads'])
    first, second = bench.buffers(2)
    for buffer in (first, second):
        configure(buffer, rate=0.5)  # a period longer than the patience with a device
        buffer.start_stream()
    bench.device.produce(1)
    wait_until(lambda: bench.device.blocked, 'the device is in a read')
    assert first.status.state == second.status.state == 'running'
    began = time.perf_counter()
    second.stop_stream()
    assert second.status.state == 'stopped'
    wait_until(lambda: not bench.device.blocked, 'the read returned')
    assert time.perf_counter() - began > 1, 'the read was short, this proves nothing'
    assert (first.module_state(), second.module_state()) == ('locked', 'idle')
    bench.assert_delivers(first, 0, 1)
    bench.device.released.set()
    first.stop_stream()


def test_a_device_that_shows_samples_in_reads_only_delivers_them(make_bench, background):
    bench = make_bench(channels=['a', 'b'], habits=['fetch in reads'], clocked=True)
    buffers = bench.buffers(2, read_timeout=2.0)
    for buffer in buffers:
        configure(buffer, size=100_000)
    for buffer in buffers:
        buffer.start_stream()

    def read(buffer):
        parts = [buffer.read_data(100)[0] for _ in range(4)]
        samples = np.concatenate(parts).reshape(-1, 2)
        first = int(samples[0, 0]) // 16
        assert (samples == foretold_samples(first, 400, 'ab')).all()
        return first

    firsts = [future.result(30) for future in [background(read, b) for b in buffers]]
    assert firsts[0] == 0
    for buffer in buffers:
        assert buffer.status.state == 'running'
        buffer.stop_stream()


def test_the_rate_of_a_device_that_shows_samples_in_reads_only_is_learned(make_bench):
    bench = make_bench(habits=['fetch in reads'], clocked=True, speed=1.5)
    buffer = bench.buffer('buffer', max_poll_rate=30)
    configure(buffer, ['a'], size=100_000, rate=1000.0)
    buffer.start_stream()
    for _ in range(50):
        buffer.read_data(100)
    before = len(bench.device.polls)
    for _ in range(30):  # 2 s
        buffer.read_data(100)
    polls = len(bench.device.polls) - before
    assert polls > 10, f'30 blocks came in {polls} polls: reads are late by more than a block'
    buffer.stop_stream()


def test_a_silent_device_that_shows_samples_in_reads_only_is_a_timeout(make_bench, background):
    bench = make_bench(habits=['fetch in reads'])
    buffer = bench.buffer('buffer', read_timeout=0.5)
    buffer.start_stream()
    assert isinstance(background(buffer.read_data, 1).exception(8), TimeoutError)
    bench.device.produce(3)
    data, _ = background(buffer.read_data, 3).result(8)
    assert (data.reshape(-1, 4) == foretold_samples(0, 3)).all()
    buffer.stop_stream()
