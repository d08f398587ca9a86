"""One program never costs another anything: large reads, idle buffers, errors, logs, slots."""

import logging
import threading
import time

import numpy as np
import pytest

from qudi.hardware.instream_buffer.simulator import foretold_samples

# isort: split
from qtpy import QtCore

from bench import configure

DIRECT = QtCore.Qt.ConnectionType.DirectConnection

# -------------------------------------------------------------------- large reads


class Worst:
    """The longest time (s) that a call took, over many calls."""

    def __init__(self):
        self.seconds = 0.0

    def measure(self, call):
        began = time.perf_counter()
        call()
        self.seconds = max(self.seconds, time.perf_counter() - began)


def test_a_large_read_of_one_program_delays_no_look_and_loses_nothing(make_bench, background):
    bench = make_bench(channels=['a', 'b'])
    record, live = bench.buffers(2)
    configure(record, size=10_000_000)
    configure(live, size=300_000)
    for buffer in (record, live):
        buffer.start_stream()
    piece, pieces = 125_000, 50  # 100 MB
    for number in range(pieces):
        bench.produce(piece)
        bench.assert_delivers(live, number * piece, piece)
    backlog = piece * pieces
    read = background(record.read_data)
    looks, received, parts = Worst(), backlog, []
    while not read.done():
        bench.device.produce(1000)
        for buffer in (record, live):
            looks.measure(lambda buffer=buffer: buffer.available_samples)
            looks.measure(lambda buffer=buffer: buffer.status)
        parts.append(live.read_data()[0])
        time.sleep(0.001)
    data, _ = read.result()
    assert looks.seconds < 0.1, (
        f'a look took {looks.seconds:.2f} s while another program read 100 MB'
    )
    samples = np.concatenate(parts).reshape(-1, 2)
    assert (samples == foretold_samples(received, len(samples), 'ab')).all(), 'samples are lost'
    for first in range(0, backlog, piece):
        part = data[2 * first : 2 * (first + piece)].reshape(-1, 2)
        assert (part == foretold_samples(first, piece, 'ab')).all(), f'wrong from {first} on'
    assert (live.status.state, live.status.samples_lost) == ('running', 0)
    record.stop_stream()
    live.stop_stream()


def test_a_large_backlog_delays_no_look_while_it_goes_in(make_bench, wait_until):
    bench = make_bench(channels=['a', 'b'])
    record, live = bench.buffers(2)
    configure(record, size=10_000_000)
    configure(live, ['a'], size=10_000_000)
    for buffer in (record, live):
        buffer.start_stream()
    backlog = 6_250_000  # 100 MB
    bench.device.produce(backlog)
    looks = Worst()
    end = time.perf_counter() + 30
    while live.available_samples < backlog and time.perf_counter() < end:
        for buffer in (record, live):
            looks.measure(lambda buffer=buffer: buffer.available_samples)
            looks.measure(lambda buffer=buffer: buffer.status)
        time.sleep(0.001)
    assert looks.seconds < 0.1, f'a look took {looks.seconds:.2f} s while 100 MB came in'
    wait_until(lambda: record.available_samples == backlog, 'all samples came')
    record.stop_stream()
    live.stop_stream()


def test_a_piece_that_is_read_while_its_ring_overflows_has_no_gap(make_bench, background):
    bench = make_bench(channels=['a', 'b'])
    buffer = bench.buffer('buffer', allow_overwrite=True)
    size = 2_000_000
    configure(buffer, size=size)
    buffer.start_stream()
    for _ in range(16):
        bench.produce(size // 16)
    for _ in range(5):
        read = background(buffer.read_data, size)
        while not read.done():
            bench.device.produce(2000)
            time.sleep(0.001)
        data, _ = read.result()
        indices = data.reshape(-1, 2)[:, 0] // 16
        gaps = np.flatnonzero(np.diff(indices) != 1)
        assert not len(gaps), f'after sample {indices[gaps[0]]} came {indices[gaps[0] + 1]}'
        for _ in range(20):
            bench.produce(size // 16)
    assert buffer.status.samples_lost > 0, 'the ring did not overflow, this proves nothing'
    buffer.stop_stream()


# -------------------------------------------------------------------- idle buffers


@pytest.mark.parametrize('refused', ['reserve one channel', 'one channel only'])
def test_channels_that_an_idle_buffer_once_wanted_keep_nobody_from_starting(bench, refused):
    idle, buffer = bench.buffers(2)
    configure(idle, ['a', 'b'])
    configure(buffer, ['a'])
    bench.device.faults.add(refused)  # the others are taken by another program
    buffer.start_stream()
    assert (bench.device.active_channels, bench.device.starts) == (['a'], 1)
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()
    assert bench.device.stops == 1


@pytest.mark.parametrize('refused', ['reserve 1000', 'small memory only'])
def test_a_size_that_an_idle_buffer_once_wanted_keeps_nobody_from_starting(bench, refused):
    idle, buffer = bench.buffers(2)
    configure(idle, size=5000)
    configure(buffer, size=800)
    bench.device.faults.add(refused)
    buffer.start_stream()
    assert bench.device.channel_buffer_size == 800
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_an_idle_buffer_has_the_device_get_no_more_memory_than_is_sensible(bench):
    idle, buffer = bench.buffers(2)
    configure(idle, size=2**30)
    configure(buffer, size=800)
    buffer.start_stream()
    assert 800 < bench.device.channel_buffer_size * 2 * 8 <= 2**28
    buffer.stop_stream()


def test_a_device_has_room_for_the_buffer_that_is_polled_least_often(bench, caplog, wait_until):
    slow, fast = bench.buffer('slow', max_poll_rate=0.5), bench.buffer('fast', max_poll_rate=30)
    for buffer in (slow, fast):
        configure(buffer, size=50)
    fast.start_stream()  # alone; when it stops beside the slow one, polls come every 2 s
    assert bench.device.channel_buffer_size >= 2 * 2 * 100.0
    fast.stop_stream()
    bench.device.faults.add('small memory only')
    configure(fast, size=50, rate=1000.0)
    fast.start_stream()
    configure(slow, size=50, rate=1000.0)
    slow.start_stream()
    text = 'less than come in 3 polls of "slow"'
    wait_until(lambda: text in caplog.text, 'a warning names the buffer that is polled too rarely')
    fast.stop_stream()
    slow.stop_stream()


def test_a_device_that_takes_the_size_but_not_the_channels_of_others_gets_what_it_takes(bench):
    idle, buffer = bench.buffers(2)
    configure(idle, ['a', 'b'], size=5000)
    configure(buffer, ['b'], size=800)
    bench.device.faults |= {'reserve one channel', 'reserve 1000'}
    buffer.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_an_own_request_that_the_device_refuses_at_its_start_is_told_unchanged(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer, ['a', 'b'])
    bench.device.faults.add('reserve one channel')
    with pytest.raises(OSError, match=r'^simulator has no available counter$'):
        buffer.start_stream()
    assert bench.device.module_state() == buffer.module_state() == 'idle'


# -------------------------------------------------------------------- errors of one stream


def test_an_error_in_the_part_of_one_stream_ends_that_stream_only(bench, background, wait_until):
    victim, other = bench.buffers(2)
    for buffer in (victim, other):
        configure(buffer)
    victim.start_stream()
    other.start_stream()
    bench.produce(10)
    read = background(victim.read_data, 100)
    bench.wait_for_reader(victim)

    def fail(*_):
        raise MemoryError('no memory for this ring')

    victim.stream.ring.write = fail
    bench.produce(10)
    error = read.exception(5)
    assert isinstance(error, RuntimeError)
    assert 'MemoryError' in str(error)
    assert 'no memory for this ring' in str(error)
    wait_until(lambda: victim.module_state() == 'idle', 'the victim counts as inactive')
    bench.assert_delivers(victim, 0, 10)
    with pytest.raises(RuntimeError, match='could not be stored, MemoryError: no memory for'):
        victim.read_data(1)
    bench.assert_delivers(other, 0, 20)
    assert (other.status.state, bench.device.starts, bench.device.stops) == ('running', 1, 0)
    victim.start_stream()
    bench.produce(10)
    bench.assert_delivers(victim, 20, 10)
    bench.assert_delivers(other, 20, 10)
    victim.stop_stream()
    other.stop_stream()


# -------------------------------------------------------------------- handlers and slots


class Handler(logging.Handler):
    """Does something for each warning, for example wait."""

    def __init__(self, react):
        super().__init__(logging.WARNING)
        self.react = react
        self.called = threading.Event()

    def emit(self, record):
        self.called.set()
        self.react()


@pytest.fixture
def handle():
    """Have each warning handled by a function; a blocked one is released after the test."""
    handlers = []

    def add(react):
        handlers.append(Handler(react))
        logging.getLogger().addHandler(handlers[-1])
        return handlers[-1]

    yield add
    for handler in handlers:
        logging.getLogger().removeHandler(handler)


@pytest.fixture
def blocked():
    """An event that something waits for; it is set after the test."""
    event = threading.Event()
    yield event
    event.set()


def wait_for_a_fault(bench, buffers, background):
    """Let a read of each buffer wait, and then the device fail; return the reads."""
    reads = [background(buffer.read_data, 100) for buffer in buffers]
    for buffer in buffers:
        bench.wait_for_reader(buffer)
    bench.device.faults.add('raise in read')
    bench.device.produce(5)
    return reads


def assert_told_within_a_second(reads):
    end = time.perf_counter() + 1.0
    for read in reads:
        error = read.exception(max(0.0, end - time.perf_counter()))
        assert isinstance(error, RuntimeError)
        assert 'lost its cable' in str(error)


def test_a_slow_log_handler_delays_no_reader_and_no_stop(bench, background, handle, blocked):
    buffers = bench.buffers(2)
    for buffer in buffers:
        buffer.start_stream()
    handler = handle(lambda: blocked.wait(4))
    reads = wait_for_a_fault(bench, buffers, background)
    assert_told_within_a_second(reads)
    assert handler.called.wait(5), 'nothing was logged, this proves nothing'
    background(buffers[1].stop_stream).result(1)
    blocked.set()


def test_a_slow_log_handler_keeps_no_sample_from_other_buffers(bench, background, handle, blocked):
    full, other = bench.buffers(2)
    configure(full, size=50)
    configure(other, size=1000)
    for buffer in (full, other):
        buffer.start_stream()
    handler = handle(lambda: blocked.wait(4))
    bench.device.produce(60)
    assert handler.called.wait(5), 'the overflow was not logged, this proves nothing'
    bench.device.produce(60)
    samples, _ = background(other.read_data, 120).result(2)
    assert samples.size == 120 * len(other.active_channels)
    blocked.set()
    other.stop_stream()


def test_a_log_handler_that_stops_a_stream_waits_for_nobody(bench, background, handle):
    buffers = bench.buffers(2)
    for buffer in buffers:
        buffer.start_stream()
    stops = []

    def stop():
        began = time.perf_counter()
        buffers[0].stop_stream()
        stops.append(time.perf_counter() - began)

    handler = handle(stop)
    reads = wait_for_a_fault(bench, buffers, background)
    assert_told_within_a_second(reads)
    assert handler.called.wait(5), 'nothing was logged, this proves nothing'
    background(buffers[1].stop_stream).result(1)
    assert all(seconds < 1 for seconds in stops), f'the handler waited for {max(stops):.1f} s'


@pytest.mark.parametrize('signal', ['sigStreamEnded', 'sigStateChanged'])
def test_a_slow_slot_of_one_buffer_delays_no_other(bench, background, blocked, wait_until, signal):
    first = bench.buffer('first')
    second = bench.buffer('second')
    configure(first, size=50)
    configure(second, size=1000)
    for buffer in (first, second):
        buffer.start_stream()
    bench.produce(30)
    entered = threading.Event()

    def wait(*_):
        entered.set()
        blocked.wait(4)

    source = first if signal == 'sigStreamEnded' else first.module_state
    getattr(source, signal).connect(wait, DIRECT)
    read = background(second.read_data, 200)
    bench.wait_for_reader(second)
    bench.device.produce(70)  # the first one overflows
    assert entered.wait(5), 'the slot was not called, this proves nothing'
    bench.device.produce(100)
    data, _ = read.result(1)
    assert (data.reshape(-1, 2) == foretold_samples(0, 200, 'ab')).all()
    background(second.stop_stream).result(1)
    assert second.module_state() == 'idle'
    background(second.start_stream).result(1)
    blocked.set()
    getattr(source, signal).disconnect(wait)
    second.stop_stream()


def test_a_slot_that_starts_its_stream_again_waits_for_nobody(bench, background, wait_until):
    first, second = bench.buffers(2)
    configure(first, size=50)
    configure(second, size=1000)
    for buffer in (first, second):
        buffer.start_stream()
    starts = []

    def start_again(cause):
        if cause == 'overflow':
            began = time.perf_counter()
            first.start_stream()
            starts.append(time.perf_counter() - began)

    first.sigStreamEnded.connect(start_again, DIRECT)
    bench.produce(80)
    wait_until(lambda: starts, 'the slot has started the stream again')
    assert starts[0] < 1, f'the start in a slot took {starts[0]:.1f} s'
    bench.produce(20)
    bench.assert_delivers(second, 0, 100)
    wait_until(lambda: first.module_state() == 'locked', 'the first one streams again')
    for buffer in (first, second):
        buffer.stop_stream()
