"""The device is polled no more often than the active buffers allow, and not at all without one."""

import time
from functools import partial

import numpy as np
import pytest

from bench import configure


def polls_in_worst_second(times):
    times = np.asarray(times)
    return max(np.searchsorted(times, times + 1.0) - np.arange(len(times)))


@pytest.mark.parametrize('rate', [7, 30, 100])
def test_never_more_polls_in_any_second_than_allowed(bench, qtbot, rate):
    buffer = bench.buffer('buffer', max_poll_rate=rate)
    buffer.start_stream()
    bench.device.produce(1)  # a device that shows none is asked in another way, too
    qtbot.wait(2200)
    buffer.stop_stream()
    worst = polls_in_worst_second(bench.device.polls)
    assert rate / 2 <= worst <= rate, f'{worst} polls in one second, {rate} are allowed'


def test_the_highest_rate_of_the_active_buffers_counts(bench, qtbot, wait_until):
    slow = bench.buffer('slow', max_poll_rate=2)
    fast = bench.buffer('fast', max_poll_rate=200)
    polls = bench.device.polls
    slow.start_stream()
    qtbot.wait(600)
    assert len(polls) <= 3
    fast.start_stream()
    before = len(polls)
    wait_until(lambda: len(polls) > before + 20, 'fast polls while the fast buffer is active', 2)
    fast.stop_stream()
    qtbot.wait(20)
    before = len(polls)
    qtbot.wait(600)
    assert len(polls) <= before + 2
    slow.stop_stream()


def test_no_poll_while_no_buffer_is_active(bench, qtbot):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    qtbot.wait(20)
    buffer.stop_stream()
    before = len(bench.device.polls)
    qtbot.wait(100)
    assert len(bench.device.polls) == before > 0


@pytest.mark.parametrize('size', [1000, 7, 0])
def test_a_poll_takes_all_that_the_device_has_whatever_its_size(
    bench, wait_until, monkeypatch, size
):
    monkeypatch.setattr(type(bench.device), 'channel_buffer_size', property(lambda _: size))
    buffer = bench.buffer('buffer', max_poll_rate=5)
    configure(buffer, size=10_000)
    buffer.start_stream()
    bench.device.produce(2500)
    wait_until(lambda: bench.device.taken > 0, 'the first poll')
    bench.let_poll_finish()
    assert bench.device.taken == 2500
    bench.assert_delivers(buffer, 0, 2500)
    buffer.stop_stream()


def test_a_device_with_no_room_for_three_polls_is_told_of_once(bench, caplog, wait_until):
    buffer = bench.buffer('buffer', max_poll_rate=20)
    bench.device.faults.add('small buffer')  # 1000 samples, whatever is asked for
    configure(buffer, size=100, rate=100_000)
    text = (
        '"streamer" holds 1000 samples at 100000 Hz, less than come in 3 polls of "buffer". Set '
        'its max_poll_rate to 300 or more, or a lower sample rate'
    )
    buffer.start_stream()
    wait_until(lambda: text in caplog.text, 'the log says so')
    buffer.stop_stream()
    bench.device.faults.clear()
    caplog.clear()
    configure(buffer, size=100, rate=100_000)
    buffer.start_stream()
    assert 15_000 <= bench.device.channel_buffer_size <= 15_001, (
        'it was not asked for room for three polls'
    )
    wait_until(lambda: 'streams from' in caplog.text, 'the log says that it streams')
    assert 'max_poll_rate' not in caplog.text
    buffer.stop_stream()


def test_a_device_that_shows_samples_only_inside_a_read_is_read(bench, monkeypatch):
    device = bench.device
    look = type(device).available_samples.fget
    monkeypatch.setattr(
        type(device), 'available_samples', property(lambda device: 0 * look(device))
    )

    def fetch(data_buffer, timestamp_buffer=None):
        count = min(look(device), len(data_buffer) // 2)
        if count:
            device.read_data_into_buffer(data_buffer, count, timestamp_buffer)
        return count

    monkeypatch.setattr(device, 'read_available_data_into_buffer', fetch)
    buffer = bench.buffer('buffer', read_timeout=3.0)
    configure(buffer)
    buffer.start_stream()
    device.produce(50)
    bench.assert_delivers(buffer, 0, 50)
    began = time.perf_counter()
    device.produce(50)
    bench.assert_delivers(buffer, 50, 50)
    assert time.perf_counter() - began < 0.5, 'it is known by now'
    buffer.stop_stream()


@pytest.mark.parametrize('factor', [3, 10])
@pytest.mark.parametrize('block', [50, 500])
def test_a_device_that_is_faster_than_it_says_does_not_overflow(
    clocked, monkeypatch, factor, block
):
    # The ring lasts for half a second at least, since machines pause
    monkeypatch.setattr(type(clocked.device), 'sample_rate', property(lambda _: 200.0))
    buffer = clocked.buffer('buffer', max_poll_rate=100)
    configure(buffer, size=1000, rate=200.0 * factor)
    buffer.start_stream()
    for first in range(0, 500 * factor, block):
        clocked.assert_delivers(buffer, first, block)
    assert buffer.status.state == 'running'
    buffer.stop_stream()


def test_a_poll_rate_that_timers_do_not_reach_is_no_error(bench):
    never = bench.buffer('never', max_poll_rate=1e-9)
    never.start_stream()
    eager = bench.buffer('eager', max_poll_rate=1e6)
    eager.start_stream()
    bench.produce(10)
    bench.assert_delivers(eager, 0, 10)
    bench.assert_delivers(never, 0, 10)
    never.stop_stream()
    eager.stop_stream()


def test_large_backlogs_are_moved_in_pieces_without_a_seam(make_bench):
    bench = make_bench()
    (buffer,) = bench.buffers(1)
    buffer.configure(['a', 'b', 'c'], 0, 200_000, 100.0)
    buffer.start_stream()
    bench.produce(150_000)  # 3.6 MB, more than the array between device and ring
    bench.assert_delivers(buffer, 0, 150_000)
    buffer.stop_stream()


# -------------------------------------------------------------------- when it is of use


@pytest.fixture
def make_clocked(make_bench):
    """Make a bench whose device makes samples by its clock."""
    return partial(make_bench, channels=['a', 'b'], clocked=True)


@pytest.fixture
def clocked(make_clocked):
    """A device that makes samples by its clock."""
    return make_clocked()


def read_blocks(buffer, count, seconds):
    """Read blocks as they come; return how many."""
    data, reads = np.empty((count, 2)), 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        buffer.read_data_into_buffer(data, count)
        reads += 1
    return reads


def test_a_read_returns_as_soon_as_its_samples_are_there(clocked):
    buffer = clocked.buffer('buffer', max_poll_rate=10)
    configure(buffer, size=10_000, rate=1000.0)
    buffer.start_stream()
    buffer.read_data(37)  # so that the blocks are not in time with the start
    clocked.device.polls.clear()
    reads = read_blocks(buffer, 200, seconds=3)
    buffer.stop_stream()
    polls = len(clocked.device.polls)
    # At a fixed beat of 10/s there would be two, at times that do not fit
    assert polls <= reads + 3, f'{polls} polls for {reads} reads: not made for them'


def test_samples_are_noticed_before_a_read_gives_up(clocked):
    buffer = clocked.buffer('buffer', max_poll_rate=100, read_timeout=0.6)
    configure(buffer, size=10_000, rate=100.0)
    buffer.start_stream()
    assert len(buffer.read_data(150)[0]) == 300  # takes 1.5 s
    buffer.stop_stream()


def test_readers_below_the_ceiling_cause_no_more_polls_than_they_need(clocked, background):
    buffers = [clocked.buffer(name, max_poll_rate=100) for name in ('buffer1', 'buffer2')]
    for buffer in buffers:
        configure(buffer, size=10_000, rate=1000.0)
    for buffer in buffers:
        buffer.start_stream()
    reads = [background(read_blocks, b, 50, 2.0) for b in buffers]
    for read in reads:
        read.result(20)
    for buffer in buffers:
        buffer.stop_stream()
    rate = len(clocked.device.polls) / 2
    assert 15 < rate <= 45, f'{rate:.1f} polls a second for 20 reads a second'


def test_a_small_ring_does_not_overflow_while_its_reader_waits(clocked):
    buffer = clocked.buffer('buffer', max_poll_rate=2)
    # Full after 1.3 intervals of the polls, and each poll is half an interval later than wished
    configure(buffer, size=650, rate=1000.0)
    buffer.start_stream()
    reads = read_blocks(buffer, 250, seconds=3)
    buffer.stop_stream()
    assert reads > 8


def test_a_first_look_shows_what_came_since_the_start(clocked, qtbot):
    buffer = clocked.buffer('buffer', max_poll_rate=100)
    configure(buffer, size=100_000, rate=1000.0)
    buffer.start_stream()
    qtbot.wait(900)
    assert len(buffer.read_data()[0]) > 2 * 700
    buffer.stop_stream()


@pytest.mark.parametrize(('rate', 'timeout', 'count'), [(4, 0.2, 300), (1.9, 0.3, 10)])
def test_rare_polls_are_no_silence(clocked, rate, timeout, count):
    buffer = clocked.buffer('buffer', max_poll_rate=rate, read_timeout=timeout)
    configure(buffer, size=10_000, rate=1000.0)
    buffer.start_stream()
    assert len(buffer.read_data(count)[0]) == 2 * count
    buffer.stop_stream()


def test_a_stream_that_nobody_reads_is_polled_once_in_a_while(make_clocked, qtbot):
    clocked = make_clocked(limits={'watching': 1e-6})  # nobody has looked for long
    buffer = clocked.buffer('buffer', max_poll_rate=100)
    configure(buffer, size=100_000, rate=1000.0)
    buffer.start_stream()
    qtbot.wait(2600)
    buffer.stop_stream()
    # At first it is looked at how fast samples come
    polls = [poll for poll in clocked.device.polls if poll > clocked.device.polls[0] + 0.3]
    assert 1 <= len(polls) <= 3, f'{len(polls)} polls in more than two seconds without a reader'
    assert buffer.status.samples_received > 1900


def test_a_device_is_polled_before_more_than_half_of_its_buffer_is_filled(make_clocked, qtbot):
    clocked = make_clocked(limits={'watching': 1e-6})
    buffer = clocked.buffer('buffer', max_poll_rate=50)
    clocked.device.faults.add('small buffer')  # full after 100 ms
    configure(buffer, size=100_000, rate=10_000.0)
    buffer.start_stream()
    qtbot.wait(2000)
    buffer.stop_stream()
    polls = len(clocked.device.polls)
    assert 20 < polls < 60, f'{polls} polls in 2 s, of which one is wanted every 50 ms'
    assert buffer.status.samples_received > 0.95 * clocked.device.produced


def test_a_program_that_looks_for_samples_sees_them_at_the_rate_that_is_allowed(clocked, qtbot):
    buffer = clocked.buffer('buffer', max_poll_rate=50)
    configure(buffer, size=100_000, rate=1000.0)
    buffer.start_stream()
    buffer.read_data(10)
    qtbot.wait(200)
    shown = set()
    for _ in range(50):
        shown.add(buffer.available_samples)
        qtbot.wait(20)
    buffer.stop_stream()
    assert len(shown) > 25, f'in 50 looks in one second, only {len(shown)} numbers were seen'


@pytest.mark.parametrize('timing', ['TIMESTAMP', 'RANDOM'])
def test_samples_at_times_that_nobody_knows_are_fetched_at_the_rate_that_is_allowed(
    make_bench, qtbot, timing
):
    bench = make_bench(channels=['a', 'b'], sample_timing=timing, clocked=True)
    buffer = bench.buffer('buffer', max_poll_rate=50)
    buffer.start_stream()
    qtbot.wait(1500)
    buffer.stop_stream()
    # Beside other load, fewer of them come
    assert 10 < polls_in_worst_second(bench.device.polls) <= 50


def test_a_device_that_says_it_makes_no_samples_is_polled_nevertheless(clocked, qtbot):
    buffer = clocked.buffer('buffer', max_poll_rate=50)
    clocked.device.faults.add('rate 0')
    buffer.start_stream()
    qtbot.wait(500)
    buffer.stop_stream()
    assert len(clocked.device.polls) > 10


def test_blocks_at_the_ceiling_are_in_time_and_below_it(clocked, background):
    buffer = clocked.buffer('buffer', max_poll_rate=20)
    configure(buffer, size=10_000, rate=1000.0)
    buffer.start_stream()
    buffer.read_data(23)
    read_blocks(buffer, 50, seconds=2)
    buffer.stop_stream()
    worst = polls_in_worst_second(clocked.device.polls)
    assert worst <= 20, f'{worst} polls in one second, 20 are allowed'
    assert np.diff(clocked.device.polls).min() > 0.025
