"""As quick and as light as the device: small buffers, long queues, wrong rates, memory."""

import re
import time

import numpy as np
import psutil
import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples


def age_of_newest(bench, data, channel_count, rate):
    """Seconds since a clocked device made the last of these samples."""
    index = int(data[-channel_count]) // 16
    return time.perf_counter() - bench.device.started_at - (index + 1) / rate


# -------------------------------------------------------------------- small, zero, wrong sizes


def test_the_dummy_streams_with_the_smallest_buffer_that_it_allows(qudi, qtbot):
    qudi.add_dummy()
    qudi.activate('streamer')
    # Of three polls, it has room for 0.3 s: a busy machine makes pauses
    buffer = qudi.add_buffer('buffer', allow_overwrite=True, max_poll_rate=10)
    buffer.configure(['APD'], StreamingMode.CONTINUOUS, 128, 10_000)
    buffer.start_stream()
    read, end = 0, time.perf_counter() + 2.0
    while time.perf_counter() < end:
        read += len(buffer.read_data()[0])
        qtbot.wait(10)
    status = buffer.status
    assert status.state == 'running', status.message
    assert 18_000 < status.samples_received < 25_000
    assert read > 1000
    buffer.stop_stream()


def test_a_read_that_makes_no_room_does_not_let_the_device_overflow(make_bench, wait_until):
    bench = make_bench(clocked=True, limits={'longest_copy': 30.0})
    stuck = bench.buffer('stuck', allow_overwrite=True)
    other = bench.buffer('other', allow_overwrite=True)
    for buffer, size in ((stuck, 100), (other, 10_000)):
        configure(buffer, size=size, rate=10_000.0)
    other.start_stream()
    stuck.start_stream()
    with stuck.stream.lock:
        stuck.stream.readers.begin()  # of a thread that gets no time
    wait_until(lambda: other.status.samples_received > 12_000, 'the other one goes on')
    assert (other.status.state, stuck.status.state) == ('running', 'running')


@pytest.mark.parametrize('poll_rate', [10, 30])
def test_the_device_is_asked_for_room_for_three_polls(make_bench, poll_rate):
    bench = make_bench(clocked=True)
    buffer = bench.buffer('buffer', max_poll_rate=poll_rate, allow_overwrite=True)
    configure(buffer, size=100, rate=10_000.0)
    buffer.start_stream()
    assert bench.device.configure_calls[-1][2] >= 3 * 10_000 / poll_rate
    assert (buffer.channel_buffer_size, buffer.status.ring_size) == (100, 100)
    buffer.stop_stream()
    configure(buffer, mode=StreamingMode.FINITE, size=100, rate=10_000.0)
    buffer.start_stream()
    assert bench.device.configure_calls[-1][2] == 100, 'more would be acquired than is wanted'


@pytest.mark.parametrize(('poll_rate', 'warns'), [(100, True), (300, False)])
def test_a_device_without_room_for_three_polls_is_told_once_with_a_cure(
    make_bench, caplog, qtbot, poll_rate, warns
):
    bench = make_bench(room=128, clocked=True)
    buffer = bench.buffer('buffer1', max_poll_rate=poll_rate, allow_overwrite=True)
    configure(buffer, size=128, rate=10_000.0)
    buffer.start_stream()
    buffer.stop_stream()
    qtbot.wait(200)  # it may be logged a little later
    lines = [r.getMessage() for r in caplog.records if r.levelname.upper() == 'WARNING']
    about_room = [line for line in lines if 'max_poll_rate' in line]
    assert len(about_room) == warns, f'warnings at the start: {lines}'
    if warns:
        (line,) = about_room
        assert '10000 Hz' in line
        assert re.search(r'\b128\b', line)
        enough = [float(number) for number in re.findall(r'\d+(?:\.\d+)?', line)]
        assert any(234 <= number < 300 for number in enough), (
            f'3 polls while 128 samples come at 10 kHz need max_poll_rate 235: {line}'
        )


def test_a_device_with_room_for_three_polls_gets_no_warning(bench, caplog, qtbot):
    (buffer,) = bench.buffers(1)
    configure(buffer)
    buffer.start_stream()
    qtbot.wait(200)
    assert not [r.getMessage() for r in caplog.records if r.levelname.upper() == 'WARNING']
    buffer.stop_stream()


def test_a_poll_takes_all_that_the_device_has(bench, wait_until):
    buffer = bench.buffer('buffer', max_poll_rate=2, allow_overwrite=True)
    configure(buffer, size=1000)
    buffer.start_stream()
    bench.device.produce(25_000)  # its queue has no limit
    wait_until(lambda: bench.device.taken > 0, 'the first poll')
    wait_until(lambda: bench.device.taken == 25_000, 'the poll takes all', timeout=0.4)
    bench.let_poll_finish()
    bench.assert_delivers(buffer, 24_000, 1000)
    buffer.stop_stream()


def test_a_buffer_does_not_fall_behind_a_device_with_a_long_queue(make_bench, qtbot):
    bench = make_bench(channels=['a', 'b'], clocked=True)
    buffer = bench.buffer('buffer', max_poll_rate=30, allow_overwrite=True)
    configure(buffer, size=1000, rate=100_000.0)
    buffer.start_stream()
    ages = []
    end = time.perf_counter() + 2.0
    while time.perf_counter() < end:
        qtbot.wait(20)
        data, _ = buffer.read_data()
        if len(data):
            ages.append(age_of_newest(bench, data, 2, 100_000.0))
    buffer.stop_stream()
    assert max(ages[len(ages) // 2 :]) < 0.2, f'ages of the newest sample (s): {ages}'


@pytest.mark.parametrize('habit', ['size zero', 'size is fill level'])
def test_a_device_that_reports_a_wrong_size_delivers(make_bench, habit):
    bench = make_bench(habits=[habit])
    first, second = bench.buffers(2)
    configure(first, ['b', 'a'], size=5000)
    configure(second, size=2000)
    for buffer in (first, second):
        buffer.start_stream()
    for position in range(0, 1000, 500):
        bench.produce(500)
        bench.assert_delivers(first, position, 500)
        bench.assert_delivers(second, position, 500)
    assert first.channel_buffer_size == first.status.ring_size == 5000
    for buffer in (first, second):
        buffer.stop_stream()


def test_a_ring_of_one_sample_holds_the_newest(make_bench, qtbot):
    bench = make_bench(channels=['a', 'b'], clocked=True)
    buffer = bench.buffer('buffer', max_poll_rate=30, allow_overwrite=True)
    configure(buffer, size=1, rate=1000.0)
    buffer.start_stream()
    ages = []
    for _ in range(20):
        qtbot.wait(100)
        data, _ = buffer.read_data()
        assert len(data) == 2, 'the ring is empty'
        ages.append(age_of_newest(bench, data, 2, 1000.0))
    buffer.stop_stream()
    assert max(ages) < 0.2, f'ages of the newest sample (s): {ages}'


# -------------------------------------------------------------------- faster than it says


@pytest.mark.parametrize(('speed', 'size'), [(3, 2500), (10, 5000)])
def test_a_device_that_is_faster_than_it_says_overflows_nobody_who_keeps_up(
    make_bench, speed, size
):
    bench = make_bench(channels=['a', 'b'], clocked=True, speed=speed)
    buffer = bench.buffer('buffer', max_poll_rate=50)
    configure(buffer, size=size, rate=1000.0)
    buffer.start_stream()
    position = 0
    for count, seconds in ((20, 1.5), (2000, 3.0)):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            bench.assert_delivers(buffer, position, count)
            position += count
    status = buffer.status
    assert (status.state, status.samples_lost) == ('running', 0)
    assert position > 3.5 * speed * 1000, 'the reader did not keep up, this proves nothing'
    buffer.stop_stream()


# -------------------------------------------------------------------- memory


def test_memory_follows_the_fill_of_a_ring_and_not_its_size(make_bench):
    bench = make_bench(channels=['a', 'b'])
    (buffer,) = bench.buffers(1)
    configure(buffer, size=60_000_000)
    buffer.start_stream()
    block = 20_000
    target = np.zeros(4 * block)
    memory = psutil.Process().memory_info

    def stream(samples):
        """Pass samples through the ring, which is empty after every 20th block only."""
        for number in range(samples // block):
            bench.produce(block)
            unread = buffer.available_samples
            left = 0 if number % 20 == 19 else 100
            buffer.read_data_into_buffer(target, unread - left)

    stream(400_000)  # what everything but the ring needs
    before = memory().rss
    stream(4_000_000)  # 64 MB
    growth = (memory().rss - before) / 1e6
    assert buffer.status.peak_fill < 0.007 * 60_000_000
    assert growth < 20, f'64 MB have passed, and {growth:.0f} MB of memory were used for that'
    bench.produce(1000)
    bench.assert_delivers(buffer, 4_400_000, 1000)
    buffer.stop_stream()


def test_a_ring_that_starts_at_its_beginning_again_mixes_nothing_up(make_bench):
    bench = make_bench(sample_timing='TIMESTAMP', data_type='int32')
    (buffer,) = bench.buffers(1)
    configure(buffer, ['c', 'a'], size=100)
    buffer.start_stream()
    position = 0
    for made, left in ((60, 0), (60, 20), (60, 0), (100, 0), (100, 99), (1, 0), (7, 0)):
        bench.produce(made)
        count = buffer.available_samples - left
        data, timestamps = buffer.read_data(count)
        expected = foretold_samples(position, count, 'ca', 'int32')
        assert (data.reshape(-1, 2) == expected).all()
        assert np.allclose(np.diff(timestamps), 1e-3)
        position += count
    buffer.stop_stream()
