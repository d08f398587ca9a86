"""StreamPoller alone: its rate, its thread, and its end."""

import gc
import threading
import time

import pytest

from conftest import running_threads
from qudi.util.instream import poller as poller_module
from qudi.util.instream.poller import StreamPoller


@pytest.fixture
def make_poller(qapp):
    pollers = []

    def make(poll):
        pollers.append(StreamPoller('test', poll))
        return pollers[-1]

    yield make
    for poller in pollers:
        poller.close()


def test_it_polls_in_one_thread_of_its_own_and_only_while_it_has_a_rate(make_poller, wait_until):
    threads = []
    poller = make_poller(lambda: threads.append(threading.get_ident()))
    time.sleep(0.05)
    assert threads == []
    poller.set_rate(1000)
    wait_until(lambda: len(threads) > 20, 'polls came')
    poller.set_rate(None)
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
        poller.set_rate(5)
        wait_until(lambda: times, 'the first poll')
        assert 0.2 <= times[0] - began < 0.4
        poller.set_rate(None)


@pytest.mark.parametrize('rate', [1e-320, 1e-9, 0.001])
def test_a_tiny_rate_costs_nothing_and_can_be_changed(make_poller, wait_until, rate):
    times = []
    poller = make_poller(lambda: times.append(time.perf_counter()))
    poller.set_rate(rate)
    used = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - used < 0.15, 'the thread spins'
    assert times == []
    poller.set_rate(1000)
    wait_until(lambda: times, 'a poll at the new rate')


def test_a_timer_that_fires_too_early_does_not_poll(qapp):
    polls = []
    timer = poller_module._PollTimer(lambda: polls.append(time.perf_counter()))
    timer._set_rate(1.0)
    timer._tick()
    assert polls == []
    assert timer._timer.isActive(), 'the poll that is due later was forgotten'
    timer._set_rate(None)
    timer._tick()
    assert polls == []


@pytest.mark.qt_no_exception_capture
def test_polls_go_on_after_one_that_raised(make_poller, wait_until):
    polls = []

    def poll():
        polls.append(len(polls))
        if len(polls) == 1:
            raise ValueError('the first poll fails')

    make_poller(poll).set_rate(1000)
    wait_until(lambda: len(polls) > 3, 'more polls came')


def test_it_can_be_closed_from_its_own_thread(make_poller, wait_until):
    results = []
    poller = make_poller(lambda: results.append(poller.close()))
    poller.set_rate(1000)
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
    poller.set_rate(1000)
    wait_until(hanging.is_set, 'the poll hangs')
    assert not poller.close(patience=0.1)
    assert poller in poller_module._running, 'it may be destroyed while it runs'
    release.set()
    assert poller.close()
    assert poller not in poller_module._running
