"""BufferedStream: what it tells of itself, and of whom it asks what."""

import math
import threading
import time

import numpy as np
import pytest

from qudi.util.instream.stream import (
    BufferedStream,
    SampleRing,
    Selection,
    StreamEnd,
    StreamReader,
    TimeLimits,
)
from waiting import wait_for_reader, wait_until


def make(capacity=100, timestamps=False, **options):
    return BufferedStream('buffer1', SampleRing(capacity, 2, float, timestamps), **options)


def put(stream, first, count, times=None):
    stream.put(np.arange(2.0 * first, 2.0 * (first + count)).reshape(-1, 2), times)


def read(stream, count=None):
    return StreamReader(stream).read(count)


# -------------------------------------------------------------------- the status


def test_the_status_has_the_settings_of_the_stream():
    for capacity, allow_overwrite in ((100, False), (7, True)):
        status = make(capacity, allow_overwrite=allow_overwrite).status(streamer='counter')
        assert status.ring_size == capacity
        assert status.allow_overwrite is allow_overwrite
        assert status.streamer == 'counter', 'a value that others know'
        assert (status.state, status.message) == ('running', '')


def test_a_running_stream_tells_how_long_it_runs_and_an_ended_one_how_long_it_ran():
    stream = make()
    stream.started_at -= 5.0
    assert 5.0 <= stream.status().running_time < 6.0
    stream.end(StreamEnd.FAULT, 'the cable broke')
    ran = stream.status().running_time
    time.sleep(0.02)
    assert stream.status().running_time == ran
    assert (stream.status().state, stream.status().message) == ('fault', 'the cable broke')


def test_the_age_is_the_one_of_the_newest_sample():
    stream = make()
    assert stream.status().age is None
    put(stream, 0, 1)
    stream.tally.received_at -= 5.0
    assert 5.0 <= stream.status().age < 6.0
    put(stream, 1, 1)
    assert 0.0 <= stream.status().age < 1.0


def test_the_highest_fill_level_stays():
    stream = make(capacity=10)
    for first, count in ((0, 4), (4, 3), (7, 2)):
        put(stream, first, count)
        if first == 4:
            read(stream, 6)
    assert stream.status().peak_fill == 7


@pytest.mark.parametrize('message', ['the cable broke', 'the cable broke.', 'no channel X', 'X.'])
def test_the_end_is_told_without_a_full_stop(message):
    stream = make()
    stream.end(StreamEnd.FAULT, message)
    assert stream.status().message == message.removesuffix('.')


def test_an_ended_stream_tells_how_many_samples_can_still_be_read():
    stream = make(capacity=10)
    put(stream, 0, 12)
    read(stream, 4)
    with pytest.raises(OverflowError, match='4 samples per channel were read, 6 more can be read'):
        read(stream, 7)


# -------------------------------------------------------------------- the newest sample


def test_the_newest_sample_keeps_its_timestamp_after_it_was_read():
    stream = make(timestamps=True)
    put(stream, 0, 3, np.array([0.5, 1.5, 2.5]))
    read(stream)
    sample, timestamp = stream.newest
    assert sample.tolist() == [4.0, 5.0]
    assert timestamp == 2.5


def test_a_sample_that_was_read_earlier_is_not_the_newest_while_others_are_unread():
    stream = make()
    put(stream, 0, 3)
    read(stream, 2)
    assert stream.newest[0].tolist() == [4.0, 5.0]
    put(stream, 3, 2)
    assert stream.newest[0].tolist() == [8.0, 9.0]


# -------------------------------------------------------------------- whom it asks


def test_without_a_clock_a_read_that_waits_asks_for_a_poll_at_once(background):
    asked = []
    stream = make(request_poll=asked.append)
    waiting = background(read, stream, 5)
    wait_for_reader(stream)
    put(stream, 0, 5)
    waiting.result(5)
    assert asked == [-math.inf]


def test_a_stop_asks_the_clock_for_the_samples_that_a_read_misses(background):
    asked = []

    def time_of_next(count):
        asked.append(count)
        return time.perf_counter() + 100.0  # nothing that a stop would wait for

    selection = Selection()
    stream = make(selection=selection, time_of_next=time_of_next)
    put(stream, 0, 4)
    selection.samples_to_skip = 2
    waiting = background(read, stream, 10)
    wait_for_reader(stream)
    asked.clear()
    stream.begin_stop()
    assert asked == [8], 'six samples for the read after two that belong to others'
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    with stream.lock:
        stream.readers.end_stop()
    assert isinstance(waiting.exception(5), RuntimeError)


# -------------------------------------------------------------------- its ring


def test_a_place_is_lent_at_the_beginning_of_a_ring_that_is_nearly_empty():
    stream = make(capacity=1000)
    beginning, _ = stream.lend(20)
    for number in range(100):
        place, _ = stream.lend(5)
        assert np.shares_memory(place, beginning), f'at the {number}th time'
        place[:] = number
        stream.put(place)
        assert (read(stream, 5)[0] == number).all()


def test_samples_stay_where_they_are_while_a_read_copies_them(background):
    class SlowRing(SampleRing):
        def peek_into(self, samples, timestamps=None, first=None):
            is_copying.set()
            assert go_on.wait(10)
            super().peek_into(samples, timestamps, first)

    is_copying, go_on = threading.Event(), threading.Event()
    stream = BufferedStream('buffer1', SlowRing(100, 2, float))
    go_on.set()
    put(stream, 0, 50)
    read(stream, 45)
    is_copying.clear()
    go_on.clear()
    copying = background(StreamReader(stream, piece_bytes=5 * 2 * 8).read, 5)
    assert is_copying.wait(10)
    place, _ = stream.lend(3)
    place[:] = -1.0
    go_on.set()
    assert (copying.result(5)[0] == np.arange(90.0, 100.0)).all()


class PieceByPiece(SampleRing):
    """Has a semaphore that each further copy out of it waits for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.may_copy = threading.Semaphore(0)

    def peek_into(self, samples, timestamps=None, first=None):
        assert self.may_copy.acquire(timeout=10)
        super().peek_into(samples, timestamps, first)


def test_new_samples_go_in_as_soon_as_there_is_room_for_them(background):
    ring = PieceByPiece(100, 2, float)
    stream = BufferedStream('buffer1', ring, limits=TimeLimits(longest_copy=10.0))
    put(stream, 0, 100)
    copying = background(StreamReader(stream, piece_bytes=10 * 2 * 8).read, 100)
    wait_until(lambda: stream.readers.copier, 'a read copies')
    putting = background(put, stream, 100, 20)
    wait_until(lambda: not stream.readers.is_empty, 'they wait for room')
    ring.may_copy.release(2)
    putting.result(5)
    assert not copying.done()
    assert stream.status().overflow_count == 0
    ring.may_copy.release(100)
    assert (copying.result(5)[0] == np.arange(200.0)).all()
    assert (read(stream, 20)[0] == np.arange(200.0, 240.0)).all()


def test_each_read_that_is_overtaken_starts_again():
    class Overtaken(SampleRing):
        def peek_into(self, samples, timestamps=None, first=None):
            super().peek_into(samples, timestamps, first)
            self.pieces += 1
            if self.pieces == 3:
                put(stream, self.next, 100)

    ring = Overtaken(100, 2, float)
    limits = TimeLimits(longest_copy=0.02)
    stream = BufferedStream('buffer1', ring, allow_overwrite=True, limits=limits)
    for first in (0, 200):
        ring.pieces, ring.next = 0, first + 100
        put(stream, first, 100)
        data, _ = StreamReader(stream, piece_bytes=10 * 2 * 8).read(100)
        assert (data == np.arange(2.0 * (first + 100), 2.0 * (first + 200))).all()
