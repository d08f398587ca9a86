"""StreamPoller alone: its rate, its thread, and its end."""

import gc
import math
import threading
import time

import pytest

from conftest import running_threads
from qudi.util.instream import poller as poller_module
from qudi.util.instream.poller import StreamPoller


def timed(poll):
    """A poll as the poller wants it, which tells when it was."""

    def timed_poll():
        now = time.perf_counter()
        poll()
        return now, False

    return timed_poll


@pytest.fixture
def make_poller(qapp):
    pollers = []

    def make(poll):
        pollers.append(StreamPoller('test', timed(poll), lambda: ([-math.inf], math.inf)))
        return pollers[-1]

    yield make
    for poller in pollers:
        poller.close()


def test_it_polls_in_one_thread_of_its_own_and_only_while_it_has_a_rate(make_poller, wait_until):
    threads = []
    poller = make_poller(lambda: threads.append(threading.get_ident()))
    time.sleep(0.05)
    assert threads == []
    poller.set_pace(1000)
    wait_until(lambda: len(threads) > 20, 'polls came')
    poller.set_pace(None)
    poller.close()
    count = len(threads)
    assert set(threads) != {threading.get_ident()}
    assert len(set(threads)) == 1
    time.sleep(0.05)
    assert len(threads) == count


def test_the_first_poll_comes_one_interval_after_the_start(make_poller, wait_until):
    times = []
    poller = make_poller(lambda: times.append(time.perf_counter()))
    for _ in range(3):
        times.clear()
        began = time.perf_counter()
        poller.set_pace(5)
        wait_until(lambda: times, 'the first poll')
        assert 0.2 <= times[0] - began < 0.4
        poller.set_pace(None)


@pytest.mark.parametrize('rate', [1e-320, 1e-9, 0.001])
def test_a_tiny_rate_costs_nothing_and_can_be_changed(make_poller, wait_until, rate):
    times = []
    poller = make_poller(lambda: times.append(time.perf_counter()))
    poller.set_pace(rate)
    used = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - used < 0.15, 'the thread spins'
    assert times == []
    poller.set_pace(1000)
    wait_until(lambda: times, 'a poll at the new rate')


def test_a_timer_that_fires_too_early_does_not_poll(qapp):
    polls = []
    timer = poller_module._PollTimer(lambda: polls.append(0), lambda: ([-math.inf], math.inf))
    timer._set_pace(1.0, 1.0)
    timer._tick()
    assert polls == []
    assert timer._timer.isActive(), 'the poll that is due later was forgotten'
    timer._set_pace(None, 1.0)
    timer._tick()
    assert polls == []


@pytest.mark.qt_no_exception_capture
def test_polls_go_on_after_one_that_raised(make_poller, wait_until):
    polls = []

    def poll():
        polls.append(len(polls))
        if len(polls) == 1:
            raise ValueError('the first poll fails')

    make_poller(poll).set_pace(1000)
    wait_until(lambda: len(polls) > 3, 'more polls came')


def test_it_can_be_closed_from_its_own_thread(make_poller, wait_until):
    results = []
    poller = make_poller(lambda: results.append(poller.close()))
    poller.set_pace(1000)
    wait_until(lambda: results, 'the poll')
    assert results == [False]
    gc.collect()
    assert poller.close()
    assert not running_threads()


def test_a_thread_that_hangs_is_left_to_end_on_its_own(make_poller, wait_until):
    hanging, release = threading.Event(), threading.Event()

    def poll():
        hanging.set()
        release.wait()

    poller = make_poller(poll)
    poller.set_pace(1000)
    wait_until(hanging.is_set, 'the poll hangs')
    assert not poller.close(patience=0.1)
    assert poller in poller_module._running, 'it may be destroyed while it runs'
    release.set()
    assert poller.close()
    assert poller not in poller_module._running


def test_a_wish_that_comes_while_others_are_asked_for_is_heard(qapp, wait_until):
    polls, asked = [], []

    def wishes():
        asked.append(0)
        if len(asked) == 1:
            poller.hear(time.perf_counter())  # as by another thread, whose wish is not in the list
            return [math.inf], math.inf
        return [-math.inf], math.inf

    poller = StreamPoller('test', timed(lambda: polls.append(0)), wishes)
    try:
        poller.set_pace(100, longest_rest=60.0)
        wait_until(lambda: polls, 'a poll for the new wish', timeout=5)
    finally:
        poller.close()


def test_a_wish_that_changes_nothing_wakes_nobody(qapp, wait_until):
    asked, wished = [], [math.inf]

    def wishes():
        asked.append(0)
        return wished, math.inf

    poller = StreamPoller('test', timed(lambda: None), wishes)
    try:
        poller.set_pace(0.1, longest_rest=60.0)
        wait_until(lambda: asked, 'it asked for the wishes')
        wait_until(lambda: poller._timer.moved_by_wishes_before < math.inf, 'it made its plan')
        for _ in range(100):
            poller.hear(time.perf_counter() + 100.0)
        time.sleep(0.05)
        assert len(asked) == 1
        wished[0] = -math.inf
        for _ in range(100):
            poller.hear(time.perf_counter())
        wait_until(lambda: len(asked) > 1, 'it heard an early wish')
        time.sleep(0.05)
        assert len(asked) == 2, 'the ceiling allows nothing earlier, however many wishes come'
    finally:
        poller.close()
