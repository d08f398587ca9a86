"""DeviceThread alone: its jobs, who waits for them and how long, its polls, and its end."""

import ctypes
import gc
import math
import threading
import time
import weakref
from contextlib import suppress

import numpy as np
import pytest

# isort: split
from qtpy import QtCore

from qudi.util.instream.device.thread import DeviceThread
from qudi_host import running_threads


class Hang:
    """A call that hangs until it is released."""

    def __init__(self):
        self.has_begun, self._go_on = threading.Event(), threading.Event()

    def __call__(self):
        self.has_begun.set()
        assert self._go_on.wait(20)

    def release(self):
        self._go_on.set()


class Bench:
    """A thread with polls that are counted, and what it was told late."""

    def __init__(self, patience=5.0):
        self.polls = []
        self.threads = set()
        self.wanted, self.latest = [-math.inf], math.inf
        self.demands = 0
        self.act = lambda: None
        self.too_early = False
        self.late = []
        self.thread = DeviceThread(self._poll, self._demand, self.late.append, patience)
        self.thread.run(lambda: self.thread.set_name('device'), 'The test')

    def _poll(self):
        now = time.perf_counter()
        self.polls.append(now)
        self.threads.add(threading.get_ident())
        self.act()
        return now, self.too_early

    def _demand(self):
        return self.demand()

    def demand(self):
        self.demands += 1
        return self.wanted, self.latest

    def set_pace(self, rate, longest_rest=1.0, slowest_call=0.0, rests_first=False):
        self.thread.run(
            lambda: self.thread.set_pace(rate, longest_rest, slowest_call, rests_first), 'The test'
        )

    def run(self, call, **options):
        return self.thread.run(call, 'It cannot be done', **options)

    def assert_sleeps(self):
        """Check that its thread does not wake up by itself for a while."""
        polls, demands = self.run(lambda: (len(self.polls), self.demands))
        time.sleep(0.1)
        assert len(self.polls) == polls, 'a poll comes that nobody wants'
        assert self.demands <= demands + 1, 'the thread wakes up for nothing'  # one by the job


@pytest.fixture
def make_bench(qapp):
    benches = []

    def make(**options):
        benches.append(Bench(**options))
        return benches[-1]

    yield make
    for one in benches:
        with suppress(RuntimeError):  # it was closed by the test
            one.thread.close(lambda: None, 'The test')
    end = time.perf_counter() + 10
    while running_threads():
        assert time.perf_counter() < end, 'a thread does not end'
        time.sleep(0.001)


@pytest.fixture
def bench(make_bench):
    return make_bench()


@pytest.fixture
def thread(bench):
    return bench.thread


@pytest.fixture
def hang(background, wait_until):
    """Keep a thread busy until the end of the test, or until it is released."""
    hangs = []

    def begin(bench):
        hangs.append(Hang())
        background(swallow, bench.run, hangs[-1])
        wait_until(hangs[-1].has_begun.is_set, 'the thread hangs')
        return hangs[-1]

    yield begin
    for one in hangs:
        one.release()


def swallow(function, *arguments):
    """Call it, whatever it raises."""
    try:
        return function(*arguments)
    except BaseException as error:
        return error


# -------------------------------------------------------------------- jobs


def test_all_calls_come_from_one_thread_of_its_own(bench, background, wait_until):
    bench.set_pace(1000)
    for _ in range(20):
        bench.threads.add(bench.run(threading.get_ident))
        bench.threads.add(background(bench.run, threading.get_ident).result(5))
    wait_until(lambda: len(bench.polls) > 20, 'polls came')
    assert len(bench.threads) == 1
    assert threading.get_ident() not in bench.threads
    assert threading.get_native_id() != bench.run(threading.get_native_id)


def test_a_job_returns_the_result_of_its_call(bench):
    assert bench.run(lambda: 'result') == 'result'
    assert bench.run(lambda: None) is None


def test_jobs_run_in_the_order_in_which_they_came(bench, hang, background, wait_until):
    hanging, order = hang(bench), []
    jobs = []
    for number in range(20):
        jobs.append(background(bench.run, lambda number=number: order.append(number)))
        wait_until(lambda n=number: len(bench.thread.jobs) == n + 1, 'the job was queued')
    hanging.release()
    for job in jobs:
        job.result(5)
    assert order == list(range(20))


class Panic(BaseException):
    """As of a driver in another language."""


@pytest.mark.parametrize(
    'error', [ValueError('wrong'), Panic('deep'), KeyboardInterrupt(), SystemExit(3)]
)
def test_an_exception_of_any_kind_reaches_the_caller_and_the_thread_goes_on(bench, error):
    def fail():
        raise error

    with pytest.raises(type(error)) as caught:
        bench.run(fail)
    assert caught.value is error
    assert bench.run(lambda: 1) == 1
    assert bench.late == []


def test_a_call_from_the_thread_itself_runs_at_once(bench):
    order = []

    def outer():
        order.append('outer begins')
        result = bench.run(lambda: order.append('inner') or 'inner result')
        order.append('outer ends')
        return result

    assert bench.run(outer) == 'inner result'
    assert order == ['outer begins', 'inner', 'outer ends']

    def fail():
        raise Panic

    with pytest.raises(Panic):
        bench.run(lambda: bench.run(fail))


def test_jobs_run_between_two_polls_and_not_within_one(bench, background, wait_until):
    bench.set_pace(1000)
    hanging = Hang()
    bench.act = hanging
    wait_until(hanging.has_begun.is_set, 'a poll')
    done = []
    job = background(bench.run, lambda: done.append(True))
    wait_until(lambda: len(bench.thread.jobs), 'the job was queued')
    assert not done
    bench.act = lambda: None
    hanging.release()
    job.result(5)
    assert done


# -------------------------------------------------------------------- patience


def test_a_caller_gives_up_a_call_that_hangs(make_bench):
    bench = make_bench(patience=0.3)
    hanging = Hang()
    began = time.perf_counter()
    with pytest.raises(
        RuntimeError,
        match='^It cannot be done: a call of the hardware module "device" has not returned for '
        r'0\.3 s\. Check the connection to the device$',
    ):
        bench.run(hanging)
    assert 0.3 <= time.perf_counter() - began < 1.5
    hanging.release()


def test_callers_share_the_patience_which_counts_from_the_beginning_of_the_call(
    make_bench, hang, wait_until
):
    bench = make_bench(patience=1.0)
    hang(bench)
    wait_until(lambda: bench.thread.patience_left < 0.5, 'half of the patience is used')
    began = time.perf_counter()
    with pytest.raises(RuntimeError, match='has not returned for 1 s'):
        bench.run(lambda: None)
    assert time.perf_counter() - began < 1.0, 'it began to count when it was called'
    for _ in range(5):
        with pytest.raises(RuntimeError, match='has not returned for 1 s'):
            bench.run(lambda: None)
    assert time.perf_counter() - began < 2.5, 'each caller has a patience of its own'


def test_who_waits_for_several_short_calls_does_not_give_up(make_bench, background):
    bench = make_bench(patience=0.6)
    jobs = [background(bench.run, lambda: time.sleep(0.3)) for _ in range(4)]
    assert bench.run(lambda: 'done') == 'done'
    for job in jobs:
        job.result(5)


def test_a_poll_that_hangs_counts_as_a_call(make_bench, wait_until):
    bench = make_bench(patience=0.3)
    hanging = Hang()
    bench.act = hanging
    bench.set_pace(1000)
    wait_until(hanging.has_begun.is_set, 'a poll')
    with pytest.raises(RuntimeError, match=r'has not returned for 0\.3 s'):
        bench.run(lambda: None)
    bench.act = lambda: None
    hanging.release()
    assert bench.run(lambda: 1) == 1


def test_a_slow_device_has_more_of_it(make_bench):
    bench = make_bench(patience=0.2)
    bench.set_pace(None, slowest_call=1.0)
    assert bench.run(lambda: time.sleep(0.7) or 'done') == 'done'
    bench.set_pace(None)
    hanging = Hang()
    with pytest.raises(RuntimeError, match=r'has not returned for 0\.2 s'):
        bench.run(hanging)
    hanging.release()


# -------------------------------------------------------------------- jobs given up


def test_a_job_that_has_not_begun_is_withdrawn_when_its_caller_gives_up(make_bench, hang):
    bench = make_bench(patience=0.2)
    hanging, ran, undone = hang(bench), [], []
    with pytest.raises(RuntimeError):
        bench.run(lambda: ran.append(1), undo=lambda: undone.append(1))
    hanging.release()
    bench.run(lambda: None)
    assert ran == undone == bench.late == []


def test_a_job_that_must_run_runs_later(make_bench, hang):
    bench = make_bench(patience=0.2)
    hanging, ran = hang(bench), []
    with pytest.raises(RuntimeError):
        bench.run(lambda: ran.append(1), must_run=True)
    assert ran == []
    hanging.release()
    bench.run(lambda: None)
    assert ran == [1]
    assert bench.late == []


def test_what_a_given_up_job_did_is_undone(make_bench):
    bench = make_bench(patience=0.2)
    hanging, undone = Hang(), []
    with pytest.raises(RuntimeError):
        bench.run(hanging, undo=lambda: undone.append(threading.get_ident()))
    assert undone == [], 'it is not done yet'
    hanging.release()
    own = bench.run(threading.get_ident)
    assert undone == [own], 'not once, or from another thread than all calls of the device'


def test_a_job_whose_caller_waited_is_not_undone(bench):
    undone = []
    bench.run(lambda: None, undo=lambda: undone.append(1))
    with pytest.raises(ZeroDivisionError):
        bench.run(lambda: 1 / 0, undo=lambda: undone.append(1))
    bench.run(lambda: None)
    assert undone == []


@pytest.mark.parametrize('where', ['in the call', 'in undo'])
def test_an_error_that_nobody_waits_for_is_reported(make_bench, wait_until, where):
    bench = make_bench(patience=0.2)
    hanging, undone = Hang(), []
    error = Panic('late')

    def fail():
        raise error

    def call():
        hanging()
        if where == 'in the call':
            fail()

    def undo():
        undone.append(1)
        fail()

    with pytest.raises(RuntimeError):
        bench.run(call, undo=undo)
    hanging.release()
    wait_until(lambda: bench.late, 'the error was reported')
    assert bench.late == [error]
    assert undone == ([] if where == 'in the call' else [1]), 'what failed needs no undo'


@pytest.mark.parametrize('state', ['waits for its turn', 'has begun'])
def test_ctrl_c_in_the_waiting_caller_gives_the_job_up(bench, hang, background, wait_until, state):
    ran, undone, ids = [], [], []
    hanging = hang(bench) if state == 'waits for its turn' else Hang()

    def call():
        if state == 'has begun':
            hanging()
        ran.append(1)

    def wait():
        ids.append(threading.get_ident())
        return bench.run(call, undo=lambda: undone.append(1))

    caller = background(wait)
    if state == 'has begun':
        wait_until(hanging.has_begun.is_set, 'the job has begun')
    else:
        wait_until(lambda: len(bench.thread.jobs), 'the job was queued')
    interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert interrupt(ctypes.c_ulong(ids[0]), ctypes.py_object(KeyboardInterrupt)) == 1
    assert isinstance(caller.exception(3), KeyboardInterrupt)
    hanging.release()
    bench.run(lambda: None)
    if state == 'has begun':
        assert (ran, undone) == ([1], [1]), 'it goes on without its caller'
    else:
        assert (ran, undone) == ([], [])
    assert bench.late == []


# -------------------------------------------------------------------- polls


def test_it_polls_only_while_it_has_a_rate(bench, wait_until):
    bench.assert_sleeps()
    bench.set_pace(1000)
    wait_until(lambda: len(bench.polls) > 20, 'polls came')
    bench.set_pace(None)
    bench.assert_sleeps()
    count = len(bench.polls)
    bench.set_pace(1000)
    wait_until(lambda: len(bench.polls) > count, 'polls came again')


@pytest.mark.parametrize('rate', [7, 40, 200])
def test_never_more_polls_in_a_second_than_allowed_whatever_else_happens(bench, rate):
    bench.set_pace(rate)
    end = time.perf_counter() + 2.2
    while time.perf_counter() < end:
        bench.thread.request_poll(-math.inf)
        bench.run(lambda: None)
        bench.set_pace(None)
        bench.set_pace(rate)
        time.sleep(0.003)
    times = np.array(bench.polls)
    in_a_second = np.searchsorted(times, times + 1.0 - 1e-9) - np.arange(len(times))
    assert rate / 2 < in_a_second.max() <= rate


def test_the_first_poll_comes_one_interval_after_a_start_that_rests_first(bench, wait_until):
    began = time.perf_counter()
    bench.set_pace(5, rests_first=True)
    wait_until(lambda: bench.polls, 'the first poll')
    assert bench.polls[0] - began >= 0.2


def test_the_first_poll_comes_at_once_otherwise(bench, wait_until):
    bench.set_pace(0.02)  # the interval is 50 s
    wait_until(lambda: bench.polls, 'the first poll')


@pytest.mark.parametrize('rate', [1e-320, 1e-9, 0.001])
def test_a_tiny_rate_costs_nothing_and_can_be_changed(bench, wait_until, rate):
    bench.set_pace(rate, longest_rest=1e9, rests_first=True)
    bench.assert_sleeps()
    bench.set_pace(1000)
    wait_until(lambda: bench.polls, 'a poll at the new rate')


def test_a_timer_that_fires_too_early_does_not_poll(bench, wait_until):
    begin = time.perf_counter()

    def demand():  # it is later each time that the thread asks, until the last one
        bench.demands += 1
        return [begin + min(0.1 * bench.demands, 0.5)], math.inf

    bench.demand = demand
    bench.set_pace(100, longest_rest=60.0)
    wait_until(lambda: bench.polls, 'the poll that is due later')
    assert bench.polls[0] - begin > 0.498


def test_a_timer_that_fires_within_a_call_does_not_poll(bench):
    """Some drivers run an event loop inside a call."""
    fired = []

    def process_events():
        time.sleep(0.05)
        QtCore.QCoreApplication.processEvents()
        fired.append(len(bench.polls))

    bench.wanted = [time.perf_counter() + 0.03]
    bench.set_pace(1000, longest_rest=60.0)
    bench.run(process_events)
    assert fired == [0]
    bench.set_pace(None)
    bench.assert_sleeps()


def test_a_poll_comes_when_it_is_wanted(bench, wait_until):
    begin = time.perf_counter()
    bench.wanted = [begin + 0.5]
    bench.set_pace(100, longest_rest=60.0)
    wait_until(lambda: bench.polls, 'the poll')
    assert 0.498 < bench.polls[0] - begin < 10, 'it came with the longest rest, unasked'


def test_without_a_wish_a_poll_comes_at_the_deadline_or_after_the_longest_rest(bench, wait_until):
    bench.wanted = []
    bench.set_pace(100, longest_rest=0.3)
    wait_until(lambda: len(bench.polls) > 3, 'polls came', timeout=5)
    assert np.diff(bench.polls).min() > 0.25
    bench.set_pace(None)
    bench.polls.clear()
    began = time.perf_counter()
    bench.latest = began + 0.2
    bench.set_pace(100, longest_rest=60.0)
    wait_until(lambda: bench.polls, 'a poll')
    assert 0.19 < bench.polls[0] - began < 10, 'it came with the longest rest, unasked'


def test_a_request_brings_a_poll_forward(bench, wait_until):
    bench.wanted = []
    bench.set_pace(100, longest_rest=60.0)
    bench.assert_sleeps()
    bench.wanted = [-math.inf]
    bench.thread.request_poll(-math.inf)
    wait_until(lambda: bench.polls, 'the poll that was asked for', timeout=5)


def test_a_request_that_comes_while_others_are_asked_for_is_heard(bench, wait_until):
    def demand():
        bench.demands += 1
        if bench.demands == 1:
            bench.thread.request_poll(time.perf_counter())  # by another thread, not in the list
            return [math.inf], math.inf
        return [-math.inf], math.inf

    bench.demand = demand
    bench.set_pace(100, longest_rest=60.0)
    wait_until(lambda: bench.polls, 'a poll for the new request', timeout=5)


def test_a_request_that_changes_nothing_wakes_nobody(bench):
    bench.wanted = []
    bench.set_pace(0.1, longest_rest=60.0, rests_first=True)
    bench.run(lambda: None)  # the plan is made
    demands = bench.run(lambda: bench.demands)
    for _ in range(100):
        bench.thread.request_poll(time.perf_counter() + 100.0)
    # This job looks before it makes a plan of its own, as each does
    assert bench.run(lambda: bench.demands) <= demands + 1
    bench.wanted = [-math.inf]
    demands = bench.run(lambda: bench.demands)
    for _ in range(100):
        bench.thread.request_poll(time.perf_counter())
    assert demands < bench.run(lambda: bench.demands) <= demands + 3, (
        'the ceiling allows nothing earlier, however many requests come'
    )


@pytest.mark.qt_no_exception_capture
def test_polls_go_on_after_one_that_raised(bench, wait_until):
    def fail_once():
        if len(bench.polls) == 1:
            raise ValueError('the first poll fails')

    bench.act = fail_once
    bench.set_pace(1000)
    wait_until(lambda: len(bench.polls) > 3, 'more polls came')
    assert bench.run(lambda: 1) == 1


# -------------------------------------------------------------------- its end


def test_it_runs_a_last_job_and_ends(bench, wait_until):
    bench.set_pace(1000)
    wait_until(lambda: bench.polls, 'polls came')
    left = []
    assert bench.thread.close(lambda: left.append(threading.get_ident()), 'It cannot be left')
    assert len(left) == 1
    assert left[0] != threading.get_ident()
    assert not running_threads()


def test_no_job_is_taken_once_it_is_being_closed(make_bench, hang):
    bench = make_bench(patience=0.2)
    hanging, left = hang(bench), []
    assert not bench.thread.close(lambda: left.append(1), 'It cannot be left')
    with pytest.raises(
        RuntimeError,
        match=r'^It cannot be done: the last buffer of its device is being deactivated, try again$',
    ):
        bench.run(lambda: None)
    assert left == []
    hanging.release()


def test_what_waits_before_a_close_is_done_before(bench, hang, background, wait_until):
    hanging, order = hang(bench), []
    stop = background(bench.run, lambda: order.append('stop'))
    wait_until(lambda: len(bench.thread.jobs), 'the stop was queued')
    close = background(bench.thread.close, lambda: order.append('leave'), 'It cannot be left')
    wait_until(lambda: len(bench.thread.jobs) == 2, 'the last job was queued')
    hanging.release()
    stop.result(5)
    assert close.result(5)
    assert order == ['stop', 'leave']


def test_a_last_job_that_fails_ends_it_nevertheless(bench, wait_until):
    def fail():
        raise OSError('it cannot be left')

    with pytest.raises(OSError, match='cannot be left'):
        bench.thread.close(fail, 'It cannot be left')
    wait_until(lambda: not running_threads(), 'it has ended')


def test_it_can_be_closed_from_its_own_thread(bench, wait_until):
    results, left = [], []
    bench.act = lambda: (
        results or results.append(bench.thread.close(lambda: left.append(1), 'It cannot be left'))
    )
    bench.set_pace(1000)
    wait_until(lambda: results, 'the poll')
    assert results == [False]
    wait_until(lambda: not running_threads(), 'it has ended')
    assert left == [1]


def test_it_can_be_closed_in_a_job_of_its_own(bench, wait_until):
    left = []
    result = bench.run(lambda: bench.thread.close(lambda: left.append(1), 'It cannot be left'))
    assert result is False
    wait_until(lambda: not running_threads(), 'it has ended')
    assert left == [1]


def test_a_thread_that_hangs_is_left_to_end_on_its_own(make_bench, wait_until):
    bench = make_bench(patience=0.1)
    hanging, left = Hang(), []
    bench.act = hanging
    bench.set_pace(1000)
    wait_until(hanging.has_begun.is_set, 'the poll hangs')
    assert not bench.thread.close(lambda: left.append(1), 'It cannot be left')
    assert left == []
    hanging.release()
    wait_until(lambda: not running_threads(), 'it has ended')
    assert left == [1]


def test_a_thread_that_nobody_refers_to_lives_until_it_has_ended(
    qapp, make_bench, wait_until, dies
):
    """Qt aborts when a running thread is destroyed."""
    bench, hanging = Bench(patience=0.1), Hang()
    bench.act = hanging
    bench.set_pace(1000)
    wait_until(hanging.has_begun.is_set, 'the poll hangs')
    assert not bench.thread.close(lambda: None, 'It cannot be left')
    thread = weakref.ref(bench.thread)
    del bench
    gc.collect()
    assert thread() is not None, 'it was destroyed while it ran'
    hanging.release()
    wait_until(lambda: not running_threads(), 'it has ended')
    make_bench()  # each new one forgets those that have ended
    dies(thread)


def test_two_devices_do_not_wait_for_each_other(make_bench, background, wait_until):
    first, second = make_bench(), make_bench()
    hanging = Hang()
    job = background(first.run, hanging)
    wait_until(hanging.has_begun.is_set, 'the first one hangs')
    began = time.perf_counter()
    assert second.run(lambda: 'done') == 'done'
    assert time.perf_counter() - began < 1.0
    hanging.release()
    job.result(5)


def test_many_callers_at_once_each_get_their_own_result(bench, background):
    bench.set_pace(1000)

    def call(seed):
        return [bench.run(lambda n=n: (seed, n)) for n in range(100)]

    results = [background(call, seed) for seed in range(8)]
    for seed, result in enumerate(results):
        assert result.result(20) == [(seed, n) for n in range(100)]
