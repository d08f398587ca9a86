"""DevicePolls alone: what it says about a poll."""

import math
import time
from types import SimpleNamespace

import numpy as np
import pytest

from qudi.util.instream.device.members import Member
from qudi.util.instream.device.polls import DevicePolls
from qudi.util.instream.stream import (
    BufferedStream,
    BufferOptions,
    SampleRing,
    StreamEnd,
    StreamReader,
)


class LateSamples:
    """A device that has fewer samples at each poll than its clock has foreseen."""

    asked_at = asked_from = 0.0
    asked_too_early = True
    is_rate_proven = True
    lost_before = 0

    def __init__(self):
        self.taken = 0
        self.count = 0  # that the next poll finds
        self.pieces = 1  # in so many pieces

    def time_of_next(self, count):
        return count

    time_of_filling = time_of_next

    def time_of_look(self, allowed_at):
        return allowed_at

    def forget_demand(self):
        pass

    def read(self, limit, lend):
        for _ in range(self.pieces):
            self.taken += self.count
            yield np.zeros((self.count, 1)), None


@pytest.fixture
def samples():
    return LateSamples()


@pytest.fixture
def stream():
    stream = BufferedStream('buffer1', SampleRing(100, 1, float))
    stream.attention.end()  # its program waits
    return stream


@pytest.fixture
def member(stream):
    member = Member(BufferOptions('buffer1'), reports=None, is_quitting=lambda: False)
    member.stream = stream
    return member


@pytest.fixture
def polls(samples, member):
    hardware = SimpleNamespace(
        samples=samples,
        half_of_buffer=math.inf,
        spare_time=0.2,
        rate_is_hint=False,
    )
    streams = SimpleNamespace(
        hardware=hardware, active=(member,), retire=lambda changes, leaves_stops: None
    )
    return DevicePolls(streams)


class Waiting:
    """A stream whose put has waited for a second."""

    samples_missing, tally, has_ended = math.inf, SimpleNamespace(lost=0), False

    def __init__(self):
        self.told = []

    def lend(self, count):
        return None

    def put(self, values, timestamps, waited, longest_wait):
        self.told.append((waited, longest_wait))
        return waited + 1.0

    def polled(self, asked_from):
        pass


def test_each_stream_is_told_how_long_the_poll_has_waited_for_others(polls, member, samples):
    samples.count = 5
    member.stream = Waiting()
    polls.poll()
    polls.poll()
    samples.pieces = 3
    polls.poll()
    waits, limits = zip(*member.stream.told, strict=True)
    assert waits == (0.0, 0.0, 0.0, 1.0, 2.0), 'it counts for one poll'
    assert set(limits) == {0.2}, 'the device would overflow meanwhile'


@pytest.fixture
def waiting_read(stream, background, wait_until):
    """A read of 10 samples, in another thread."""
    read = background(StreamReader(stream).read, 10)
    wait_until(lambda: stream.demand[0] == 10, 'the read waits')
    yield read
    stream.end(StreamEnd.STOPPED, 'the test is over')
    read.exception(5)


@pytest.mark.parametrize(('count', 'is_short'), [(9, True), (10, False), (15, False)])
def test_a_poll_was_too_early_only_if_a_read_goes_on_waiting(
    polls, samples, waiting_read, count, is_short
):
    polls.demand()
    samples.count = count
    _, too_early = polls.poll()
    assert too_early == is_short, f'a read of 10 samples, of which {count} had come'


def test_a_poll_is_never_too_early_while_no_read_waits(polls):
    polls.demand()
    assert polls.poll()[1] is False


def test_a_program_that_only_looks_says_when_a_poll_comes_at_the_latest(polls, samples, stream):
    samples.time_of_filling = lambda count: math.inf
    stream.look(at_newest=True)
    interval = 1 / BufferOptions('buffer1').max_poll_rate
    # A read that waits makes the thread of the device sleep until its very time, and calls wait
    assert polls.demand() == ([], stream.started_at + interval)


def test_a_stream_that_no_read_waits_for_wants_no_poll_at_a_certain_time(polls):
    wanted, _ = polls.demand()
    assert wanted == [], 'the thread of the device would sleep before each poll, and calls wait'


def test_reads_say_when_polls_come_while_the_rate_of_the_device_is_not_proven(
    polls, samples, waiting_read
):
    samples.is_rate_proven, samples.asked_at = False, 5.0
    wanted, latest = polls.demand()
    assert wanted == [10.0], 'a poll at another time than that of the read makes the read late'
    interval = 1 / BufferOptions('buffer1').max_poll_rate
    assert latest == pytest.approx(5.0 + 2 * interval), 'a device may be faster than it says'


def test_the_rate_of_polls_is_right_where_more_came_than_are_kept(polls, samples, stream):
    now = time.perf_counter()
    stream.started_at = now - 100
    for number in range(300):
        samples.asked_at = now - 0.001 * (300 - number)
        polls.poll()
    assert math.isclose(polls.rate_of(stream), 1000, rel_tol=0.2)
