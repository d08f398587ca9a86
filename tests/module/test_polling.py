"""The device is polled no more often than the active buffers allow, and not at all without one."""

import numpy as np
import pytest


def polls_in_worst_second(times):
    times = np.asarray(times)
    return max(np.searchsorted(times, times + 1.0) - np.arange(len(times)))


@pytest.mark.parametrize('rate', [7, 30, 100])
def test_never_more_polls_in_any_second_than_allowed(bench, qtbot, rate):
    buffer = bench.buffer('buffer', max_poll_rate=rate)
    buffer.start_stream()
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


def test_a_poll_takes_no_more_than_the_device_holds_at_once(make_bench, wait_until):
    bench = make_bench()
    buffer = bench.buffer('buffer', max_poll_rate=20)
    buffer.start_stream()
    bench.device.produce(2500)  # the device's buffer is set to 1000 samples
    wait_until(lambda: bench.device.taken > 0, 'the first poll')
    assert bench.device.taken == 1000
    bench.assert_delivers(buffer, 0, 1000)
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
