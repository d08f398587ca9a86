"""BufferedStream: complete reads, waiting, silence, overflow, the end, wrong arguments, stops."""

import math
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from qudi.util.instream.stream import (
    BufferedStream,
    SampleRing,
    Selection,
    StreamEnd,
    StreamReader,
    TimeLimits,
    skip,
)
from qudi.util.instream.stream.readers import Readers
from waiting import wait_for_reader, wait_until

QUICK_COPY = {'longest_copy': 0.02}


def samples(first, count, channels=2, dtype=np.float64):
    return np.arange(first * channels, (first + count) * channels, dtype=dtype).reshape(
        -1, channels
    )


class ReadStream(BufferedStream):
    """A stream with its reader."""

    def __init__(self, ring, piece_bytes=2**21, limits=None, **options):
        names = ('columns', 'samples_to_skip', 'timestamp_offset')
        selection = Selection(**{name: options.pop(name) for name in names if name in options})
        limits = TimeLimits(**(limits or {}))
        super().__init__('buffer1', ring, selection=selection, limits=limits, **options)
        reader = StreamReader(self, piece_bytes)
        self.read, self.read_into = reader.read, reader.read_into
        self.read_available_into = reader.read_available_into

    @property
    def available_samples(self):
        return StreamReader(self).available_samples

    def look_at_newest(self):
        return StreamReader(self).newest()


def make(capacity=100, channels=2, dtype=np.float64, timestamps=False, **options):
    return ReadStream(SampleRing(capacity, channels, dtype, timestamps), **options)


def assert_adds_up(stream):
    status = stream.status()
    assert status.samples_received == (
        status.samples_read + status.samples_unread + status.samples_lost
    ), status


# -------------------------------------------------------------------- reading


def test_reads_in_the_order_of_writing():
    stream = make()
    stream.put(samples(0, 30))
    stream.put(samples(30, 30))
    assert (stream.read(40)[0] == samples(0, 40).reshape(-1)).all()
    assert (stream.read()[0] == samples(40, 20).reshape(-1)).all()
    assert_adds_up(stream)


def test_a_read_waits_until_everything_is_there_and_takes_it_at_once(background):
    stream = make()
    future = background(stream.read, 50)
    wait_for_reader(stream)
    stream.put(samples(0, 49))
    wait_for_reader(stream)
    assert stream.available_samples == 49, 'the read took a part before the rest was there'
    stream.put(samples(49, 1))
    assert (future.result(10)[0] == samples(0, 50).reshape(-1)).all()


def test_a_read_larger_than_the_ring_streams_through(background):
    stream = make(capacity=10)
    future = background(stream.read, 95)
    for first in range(0, 100, 5):
        while stream.available_samples > 5:
            time.sleep(0.001)
        stream.put(samples(first, 5))
    assert (future.result(10)[0] == samples(0, 95).reshape(-1)).all()
    assert stream.available_samples == 5


def test_a_large_read_of_an_ended_stream_takes_nothing_if_it_cannot_be_complete():
    stream = make(capacity=10)
    stream.put(samples(0, 8))
    stream.end(StreamEnd.FAULT, 'the cable broke')
    with pytest.raises(RuntimeError, match='the cable broke'):
        stream.read(20)
    assert stream.available_samples == 8


def test_each_sample_goes_to_one_of_several_readers(background):
    stream = make(capacity=1000)
    futures = [background(stream.read, 100) for _ in range(4)]
    wait_for_reader(stream, 4)
    for first in range(0, 400, 20):
        stream.put(samples(first, 20))
    parts = sorted((future.result(10)[0] for future in futures), key=lambda part: part[0])
    assert (np.concatenate(parts) == samples(0, 400).reshape(-1)).all()


def test_available_samples_is_answered_while_a_read_waits(background):
    stream = make()
    future = background(stream.read, 50)
    wait_for_reader(stream)
    stream.put(samples(0, 20))
    assert background(lambda: stream.available_samples).result(1) == 20
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    assert isinstance(future.exception(10), RuntimeError)


def test_reading_nothing_takes_nothing():
    stream = make()
    stream.put(samples(0, 5))
    assert stream.read(0)[0].size == 0
    assert stream.available_samples == 5


def test_read_available_takes_what_is_there_and_what_fits():
    stream = make()
    target = np.full(10, -1.0)
    assert stream.read_available_into(target) == 0
    stream.put(samples(0, 8))
    assert stream.read_available_into(target) == 5
    assert (target == samples(0, 5).reshape(-1)).all()
    assert stream.read_available_into(target) == 3
    assert (target[:6] == samples(5, 3).reshape(-1)).all()
    assert stream.read_available_into(np.empty(1)) == 0


def test_columns_select_and_order_the_channels():
    for columns in ([2, 0], [1, 2], [3]):
        stream = make(channels=len(columns), columns=columns)
        stream.put(samples(0, 5, channels=4))
        assert (stream.read(5)[0] == samples(0, 5, 4)[:, columns].reshape(-1)).all(), columns


def test_timestamps_count_from_the_start_of_the_stream():
    stream = make(timestamps=True, timestamp_offset=1000.5)
    assert stream.lend(5) is None, 'they would be written as they are'
    times = np.arange(5) + 1000.75
    stream.put(samples(0, 5), times)
    assert (times == np.arange(5) + 1000.75).all(), 'they belong to the other streams, too'
    assert (stream.read(5)[1] == np.arange(5) + 0.25).all()
    assert stream.status().timestamp_offset == 1000.5
    assert make().status().timestamp_offset == 0


def with_seven_lost(**options):
    """A stream that got samples 0 to 9 and 17 to 19; the seven between were lost on the way."""
    stream = make(**options)
    stream.put(samples(0, 10))
    skip(stream, 7)
    stream.put(samples(17, 3))
    return stream


def numbers_of(stream):
    status = stream.status()
    counts = (status.samples_received, status.samples_lost, status.samples_unread)
    return (status.state, *counts, status.overflow_count, status.peak_fill)


def test_samples_that_were_lost_on_the_way_end_a_strict_stream_after_what_came_before():
    stream = with_seven_lost()
    assert numbers_of(stream) == ('overflow', 17, 7, 10, 1, 10)
    assert (stream.read(10)[0] == samples(0, 10).reshape(-1)).all()
    with pytest.raises(OverflowError) as raised:
        stream.read(1)
    assert (
        '7 samples per channel are missing: they were overwritten before they came here. Configure '
        'a larger channel_buffer_size, or set allow_overwrite: True to go on without them'
    ) in str(raised.value)


def test_samples_that_were_lost_on_the_way_are_counted_where_that_is_allowed():
    stream = with_seven_lost(allow_overwrite=True)
    assert numbers_of(stream) == ('running', 20, 7, 13, 1, 13)
    expected = np.concatenate([samples(0, 10), samples(17, 3)]).reshape(-1)
    assert (stream.read(13)[0] == expected).all()


@pytest.mark.parametrize('wanted', [15, 17, 18])
def test_a_finite_stream_whose_last_samples_are_lost_on_the_way_is_finished(wanted):
    stream = with_seven_lost(allow_overwrite=True, samples_to_acquire=wanted)
    lost = min(7, wanted - 10)
    left = wanted - lost
    assert numbers_of(stream) == ('finished', wanted, lost, left, 1, left)
    assert_adds_up(stream)


def test_what_was_lost_before_the_start_is_no_loss():
    stream = make(samples_to_skip=4)
    stream.put(samples(0, 3))
    skip(stream, 7)
    stream.put(samples(10, 4))
    assert numbers_of(stream) == ('running', 3, 0, 3, 0, 3)
    skip(stream, 7)
    assert stream.status().state == 'overflow'


def test_nothing_is_lost_of_a_stream_that_has_ended():
    stream = make()
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    skip(stream, 7)
    status = stream.status()
    assert (status.samples_received, status.samples_lost, status.state) == (0, 0, 'stopped')


@pytest.mark.parametrize('is_quitting', [True, False])
def test_a_read_that_has_waited_long_ends_the_stream_when_qudi_quits(background, is_quitting):
    quitting = threading.Event()
    stream = make(is_quitting=quitting.is_set, limits={'quitting_read': 0.05, 'grace_step': 0.01})
    reading = background(stream.read, 10)
    wait_for_reader(stream)
    if is_quitting:
        quitting.set()
        with pytest.raises(RuntimeError, match='has ended: qudi quits'):
            reading.result(10)
        status = stream.status()
        assert (status.state, status.message) == ('stopped', 'qudi quits')
    else:
        time.sleep(0.2)  # longer than a read may wait when qudi quits
        stream.put(samples(0, 10))
        assert len(reading.result(10)[0]) == 20


def test_samples_older_than_the_stream_are_skipped():
    stream = make(samples_to_skip=25)
    stream.put(samples(0, 10))
    stream.put(samples(10, 20))
    stream.put(samples(30, 5))
    assert (stream.read()[0] == samples(25, 10).reshape(-1)).all()
    assert stream.status().samples_received == 10


@pytest.mark.parametrize('dtype', [np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_timestamps_stay_float64_whatever_the_data_type(dtype):
    stream = make(dtype=dtype, timestamps=True)
    times = np.array([0.25, 1.75, 2.125])
    stream.put(samples(0, 3, dtype=dtype), times)
    data, timestamps = stream.read(3)
    assert data.dtype == dtype
    assert timestamps.dtype == np.float64
    assert (timestamps == times).all()


def test_read_available_keeps_samples_and_timestamps_paired_in_small_arrays():
    stream = make(timestamps=True)
    stream.put(samples(0, 9), np.arange(9) + 0.5)
    data, times = np.empty(12), np.empty(4)
    assert stream.read_available_into(data, times) == 4
    assert (times == np.arange(4) + 0.5).all()
    assert (stream.read()[1] == np.arange(4, 9) + 0.5).all()


def test_a_timestamp_buffer_is_left_alone_where_there_are_no_timestamps():
    stream = make()
    stream.put(samples(0, 5))
    times = np.full(2, -1, dtype=np.int8)  # neither long enough nor of the right type
    stream.read_into(np.empty(10), 5, times)
    assert (times == -1).all()


# -------------------------------------------------------------------- silence


def test_a_read_gives_up_when_a_poll_finds_silence_and_the_stream_goes_on(background):
    stream = make(silence_limit=60)
    stream.put(samples(0, 3))
    future = background(stream.read, 5)
    wait_for_reader(stream)
    stream.polled(time.perf_counter() + 59)
    wait_for_reader(stream)
    assert not future.done(), 'it gave up before the limit'
    stream.polled(time.perf_counter() + 61)
    with pytest.raises(TimeoutError, match=r'"buffer1" has received no new sample for 60 s'):
        future.result(5)
    assert stream.available_samples == 3, 'the read that failed has consumed samples'
    stream.put(samples(3, 2))
    assert (stream.read(5)[0] == samples(0, 5).reshape(-1)).all()


def test_silence_counts_from_the_newest_sample(background):
    stream = make(silence_limit=0.5)
    future = background(stream.read, 90)
    for first in range(0, 90, 10):  # takes longer than the limit, but is never silent for so long
        wait_for_reader(stream)
        time.sleep(0.1)
        stream.polled(time.perf_counter())
        stream.put(samples(first, 10))
    assert (future.result(10)[0] == samples(0, 90).reshape(-1)).all()


def test_silence_counts_from_the_beginning_of_a_read(background):
    """The program may have paused, and a device may have waited for it."""
    stream = make(silence_limit=0.2)
    time.sleep(0.3)
    future = background(stream.read, 5)
    wait_for_reader(stream)
    stream.polled(time.perf_counter())
    time.sleep(0.05)
    assert not future.done(), 'it was given no time'
    stream.put(samples(0, 5))
    assert future.result(5)[0].size == 10


def test_a_pause_without_polls_is_no_silence(background):
    stream = make(silence_limit=0.05)
    future = background(stream.read, 5)
    wait_for_reader(stream)
    time.sleep(0.7)  # nobody asks the device meanwhile
    assert not future.done(), 'it takes a pause of this process for silence of the device'
    stream.put(samples(0, 5))
    stream.polled(time.perf_counter())
    assert future.result(5)[0].size == 10


def test_a_pause_of_the_process_costs_a_read_one_short_wait():
    now, lock = 1000.0, threading.Lock()
    limits = TimeLimits(grace=0.05, grace_step=0.01)
    readers = Readers(lock, silence_limit=0.2, limits=limits, clock=lambda: now)
    with lock:
        read = readers.new_read(5)
        readers.wait(read, received_at=now)
        now += 3600.0
        for _ in range(5):
            readers.wait(read, received_at=1000.0)
            assert not read.is_given_up, 'an hour passed, but the process had no time'
        readers.wait(read, received_at=1000.0)
    assert read.is_given_up, 'nobody has polled for the whole grace'


def test_a_read_gives_up_by_itself_when_no_poll_comes_any_more(background):
    """The device hangs in a call."""
    limits = {'grace': 0.3, 'grace_step': 0.1}
    for poll_interval, patience in ((0.0, 0.4), (0.5, 0.9)):
        stream = make(silence_limit=0.1, poll_interval=poll_interval, limits=limits)
        began = time.perf_counter()
        error = background(stream.read, 5).exception(10)
        took = time.perf_counter() - began
        assert isinstance(error, TimeoutError), error
        assert patience - 0.01 <= took < patience + 1.0
        assert not stream.has_ended


def test_a_sample_gives_a_waiting_read_its_grace_again(background):
    stream = make(silence_limit=0.2, limits={'grace': 0.4, 'grace_step': 0.1})
    future = background(stream.read, 30)
    for first in range(0, 30, 10):
        time.sleep(0.4)
        stream.put(samples(first, 10))
    assert future.result(5)[0].size == 60


def test_without_a_limit_a_read_waits_until_samples_come(background):
    stream = make(silence_limit=None)
    future = background(stream.read, 1)
    wait_for_reader(stream)
    stream.polled(time.perf_counter() + 1e6)
    time.sleep(0.2)
    assert not future.done()
    stream.put(samples(0, 1))
    assert future.result(10)[0].size == 2


def test_a_stream_is_not_abandoned_while_another_read_waits(background):
    stream = make(first_limit=0.01)
    read = background(stream.read, 50)
    wait_for_reader(stream)
    with pytest.raises(TimeoutError):
        stream.look_at_newest()
    assert not stream.is_abandoned
    stream.put(samples(0, 50))
    assert (read.result(5)[0] == samples(0, 50).reshape(-1)).all()


def test_a_stream_is_not_abandoned_while_a_look_waits(background):
    stream = make(silence_limit=60)
    look = background(stream.look_at_newest)
    wait_until(lambda: not stream.readers.is_empty, 'the look waits')
    read = background(stream.read, 50)
    wait_for_reader(stream)
    stream.polled(time.perf_counter() + 61)
    assert isinstance(read.exception(5), TimeoutError)
    assert not look.done()
    assert not stream.is_abandoned
    stream.polled(time.perf_counter())
    stream.put(samples(0, 1))
    assert (look.result(5)[0] == samples(0, 1)[0]).all()


def test_a_timeout_of_a_read_larger_than_the_ring_tells_what_it_has_taken(background):
    stream = make(silence_limit=60)
    read = background(stream.read, 1000)
    for first in (0, 50, 100):
        stream.put(samples(first, 50))
        wait_until(lambda end=first + 50: stream.samples_read == end, 'the read takes them')
    wait_for_reader(stream)
    stream.polled(time.perf_counter() + 61)
    text = '1000 wanted, 0 unread; 150 were read before and are lost with this read'
    with pytest.raises(TimeoutError, match=text):
        read.result(5)
    assert stream.status().samples_lost == 150
    assert stream.status().samples_read == 0
    assert_adds_up(stream)


@pytest.mark.parametrize('cause', [StreamEnd.FAULT, StreamEnd.STOPPED])
def test_what_a_read_larger_than_the_ring_had_taken_is_lost_when_the_stream_ends(background, cause):
    stream = make()
    stream.put(samples(0, 30))
    stream.read(30)

    def deliver_and_end():
        for first in (30, 80):
            wait_for_reader(stream)
            stream.put(samples(first, 50))
            wait_until(lambda end=first + 50: stream.samples_read == end, 'the read takes them')
        wait_for_reader(stream)
        stream.end(cause, 'something happened')

    background(deliver_and_end)
    text = r'\(30 samples per channel were read, 100 more are lost with this read'
    with pytest.raises(RuntimeError, match=text):
        stream.read(1000)
    assert (stream.status().samples_read, stream.status().samples_lost) == (30, 100)
    assert_adds_up(stream)


def test_a_stream_is_abandoned_after_a_timeout_until_somebody_reads(background):
    def read_in_vain():
        future = background(stream.read, 50)
        wait_for_reader(stream)
        stream.polled(time.perf_counter() + 61)
        assert isinstance(future.exception(5), TimeoutError)

    stream = make(silence_limit=60)
    assert not stream.is_abandoned
    read_in_vain()
    assert stream.is_abandoned
    stream.polled(time.perf_counter())
    stream.put(samples(0, 5))
    assert stream.is_abandoned, 'samples alone are no reader'
    for read in (lambda: stream.read(1), stream.read, stream.look_at_newest):
        stream.polled(time.perf_counter())
        read()
        assert not stream.is_abandoned
        read_in_vain()
        assert stream.is_abandoned
    future = background(stream.read, 50)
    wait_for_reader(stream)
    assert not stream.is_abandoned, 'a read waits'
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    assert isinstance(future.exception(5), RuntimeError)


# -------------------------------------------------------------------- the newest sample


def test_the_newest_sample_stays_unread():
    stream = make(timestamps=True, columns=[1, 0], timestamp_offset=5.0)
    for first in (0, 7):
        stream.put(samples(first, 7), np.arange(first, first + 7) + 5.25)
        for _ in range(3):
            point, timestamp = stream.look_at_newest()
            assert point.tolist() == samples(first + 6, 1)[0, [1, 0]].tolist()
            assert timestamp == first + 6.25
    assert stream.status().samples_read == 0
    assert (stream.read(14)[0].reshape(-1, 2) == samples(0, 14)[:, [1, 0]]).all()
    assert stream.look_at_newest()[0].tolist() == [27, 26], 'it is still the newest one'
    assert make_filled().look_at_newest()[1] is None


def make_filled(**options):
    stream = make(**options)
    stream.put(samples(0, 3))
    return stream


def test_the_newest_sample_belongs_to_the_program():
    stream = make(capacity=4)
    place, _ = stream.lend(4)
    place[:] = samples(0, 4)
    stream.put(place)
    point, _ = stream.look_at_newest()
    point[:] = -1
    assert stream.look_at_newest()[0].tolist() == [6, 7]
    stream.read(4)
    place, _ = stream.lend(4)
    place[:] = -1  # the device writes to the ring, and has not told of it
    assert stream.look_at_newest()[0].tolist() == [6, 7]


def test_the_newest_sample_is_waited_for_if_there_is_none_yet(background):
    stream = make(first_limit=10)
    future = background(stream.look_at_newest)
    time.sleep(0.2)
    assert not future.done()
    stream.put(samples(0, 1))
    stream.polled(time.perf_counter())
    assert future.result(5)[0].tolist() == [0, 1]


def test_without_a_sample_the_newest_one_is_a_timeout_and_the_stream_goes_on():
    stream = make(first_limit=0.2)
    began = time.perf_counter()
    with pytest.raises(TimeoutError, match=r'"buffer1" has received no new sample for 0\.2 s'):
        stream.look_at_newest()
    assert 0.2 <= time.perf_counter() - began < 2
    stream.put(samples(0, 1))
    assert stream.look_at_newest()[0].tolist() == [0, 1]


def test_the_newest_sample_is_none_once_polls_find_silence():
    stream = make_filled(silence_limit=60, first_limit=10)
    stream.look_at_newest()
    stream.polled(time.perf_counter() + 61)
    with pytest.raises(TimeoutError, match='no new sample for 60 s'):
        stream.look_at_newest()
    stream.put(samples(3, 1))
    stream.polled(time.perf_counter())
    assert stream.look_at_newest()[0].tolist() == [6, 7]


@pytest.mark.parametrize(
    ('cause', 'error'),
    [
        (StreamEnd.STOPPED, RuntimeError),
        (StreamEnd.FAULT, RuntimeError),
        (StreamEnd.OVERFLOW, OverflowError),
    ],
)
def test_an_ended_stream_has_no_newest_sample_and_wakes_who_waits_for_it(background, cause, error):
    stream = make()
    future = background(stream.look_at_newest)
    time.sleep(0.15)
    stream.end(cause, 'it is over')
    assert isinstance(future.exception(5), error)
    with pytest.raises(error, match='it is over'):
        stream.look_at_newest()


def test_a_look_at_the_newest_sample_asks_for_a_poll_and_waits_for_it_if_it_is_old(background):
    asked = []
    stream = make_filled(request_poll=asked.append)
    stream.polled(time.perf_counter())
    stream.look_at_newest()
    assert asked == [-math.inf]
    assert stream.demand[0] == 0, 'a program looks'
    time.sleep(0.15)
    future = background(stream.look_at_newest)
    wait_until(lambda: len(asked) == 2, 'it asks again')
    stream.put(samples(3, 1))
    stream.polled(time.perf_counter())
    assert future.result(5)[0].tolist() == [6, 7]
    time.sleep(0.15)
    began = time.perf_counter()
    stream.look_at_newest()
    assert time.perf_counter() - began < 1.0, 'the device hangs, and so does the program'


def test_a_strict_stream_of_which_only_snapshots_are_taken_drops_its_oldest_samples():
    stream = make(capacity=10)
    stream.put(samples(0, 10))
    stream.look_at_newest()
    for first in range(10, 100, 7):
        stream.put(samples(first, 7))
        assert stream.look_at_newest()[0].tolist() == samples(first + 6, 1)[0].tolist()
    assert not stream.has_ended
    assert stream.status().samples_lost == first + 7 - 10
    assert_adds_up(stream)
    # Once it is read, what is missing would be missed
    assert (stream.read(10)[0] == samples(first - 3, 10).reshape(-1)).all()
    stream.put(samples(first + 7, 11))
    assert stream.status().state == 'overflow'
    assert (stream.read(10)[0] == samples(first + 7, 10).reshape(-1)).all()


def test_a_snapshot_beside_reads_loses_nothing():
    stream = make(capacity=10)
    stream.put(samples(0, 5))
    stream.read(5)
    stream.look_at_newest()
    stream.put(samples(5, 11))
    assert stream.status().state == 'overflow'


# -------------------------------------------------------------------- overflow


def test_overflow_ends_the_stream_and_what_was_buffered_stays_readable():
    stream = make(capacity=10)
    stream.put(samples(0, 8))
    stream.read(2)
    stream.put(samples(8, 7))
    assert stream.has_ended
    stream.put(samples(15, 1))
    assert stream.available_samples == 10
    assert (stream.read(4)[0] == samples(2, 4).reshape(-1)).all()
    with pytest.raises(OverflowError, match=r'index 12 on are lost.*6 samples per channel were re'):
        stream.read(7)
    assert (stream.read()[0] == samples(6, 6).reshape(-1)).all()
    for read in (lambda: stream.read(1), stream.read):
        with pytest.raises(OverflowError, match='12 samples per channel were read'):
            read()
    assert stream.status().state == 'overflow'
    assert stream.status().samples_lost == 3
    assert_adds_up(stream)


def test_a_ring_may_be_filled_to_the_brim():
    stream = make(capacity=10)
    stream.put(samples(0, 10))
    assert not stream.has_ended
    assert (stream.read(10)[0] == samples(0, 10).reshape(-1)).all()


@pytest.mark.parametrize('chunk', [1, 3, 7, 10, 11, 25, 40])
def test_overwriting_keeps_the_newest_samples_with_their_timestamps_and_counts_the_lost(chunk):
    stream = make(capacity=10, timestamps=True, allow_overwrite=True)
    for first in range(0, 120, chunk):
        stream.put(samples(first, chunk), np.arange(first, first + chunk) + 0.5)
    end = first + chunk
    status = stream.status()
    assert (status.state, status.samples_received, status.samples_lost) == (
        'running',
        end,
        end - 10,
    )
    data, times = stream.read()
    assert (data == samples(end - 10, 10).reshape(-1)).all()
    assert (times == np.arange(end - 10, end) + 0.5).all()
    assert_adds_up(stream)


@pytest.mark.parametrize('dtype', [np.float64, np.int16])
def test_an_overwriting_ring_of_one_sample_holds_the_newest(dtype):
    stream = make(capacity=1, dtype=dtype, allow_overwrite=True)
    for first in range(0, 30, 3):
        stream.put(samples(first, 3, dtype=dtype))
    assert stream.read()[0].tolist() == samples(29, 1)[0].tolist()
    assert_adds_up(stream)


# -------------------------------------------------------------------- the end


@pytest.mark.parametrize(
    ('cause', 'error'),
    [
        (StreamEnd.STOPPED, RuntimeError),
        (StreamEnd.FAULT, RuntimeError),
        (StreamEnd.OVERFLOW, OverflowError),
    ],
)
def test_the_end_wakes_waiting_readers_at_once(background, cause, error):
    stream = make(silence_limit=60)
    futures = [background(stream.read, count) for count in (10, 20, 200)]
    wait_for_reader(stream, 3)
    stream.end(cause, 'it is over')
    for future in futures:
        assert isinstance(future.exception(5), error)


def test_a_stopped_stream_delivers_nothing_more():
    stream = make()
    stream.put(samples(0, 5))
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    assert stream.available_samples == 0
    for read in (lambda: stream.read(1), stream.read):
        with pytest.raises(RuntimeError, match='"buffer1" has ended: it was stopped'):
            read()
    assert_adds_up(stream)


def test_a_fault_is_chained_from_the_exception_of_the_hardware():
    stream = make()
    stream.put(samples(0, 5))
    cause = OSError('cable')
    stream.end(StreamEnd.FAULT, 'the device failed', cause)
    stream.read(5)
    for read in (lambda: stream.read(1), stream.read):
        with pytest.raises(RuntimeError, match='the device failed') as caught:
            read()
        assert caught.value.__cause__ is cause


@pytest.mark.parametrize(
    ('cause', 'error'),
    [
        (StreamEnd.FAULT, RuntimeError),
        (StreamEnd.OVERFLOW, OverflowError),
        (StreamEnd.FINISHED, RuntimeError),
    ],
)
def test_available_samples_tells_the_cause_once_nothing_is_left(cause, error):
    stream = make()
    stream.put(samples(0, 5))
    behind = OSError('cable')
    stream.end(cause, 'it is over', behind)
    assert stream.available_samples == 5
    stream.read(5)
    for _ in range(2):
        with pytest.raises(error, match='it is over') as caught:
            _ = stream.available_samples
        assert caught.value.__cause__ is behind


def test_available_samples_of_a_stopped_stream_is_0():
    stream = make()
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    assert stream.available_samples == 0


def test_the_text_of_an_end_has_one_full_stop():
    stream = make()
    stream.end(StreamEnd.FAULT, 'the cable broke.')
    with pytest.raises(RuntimeError, match=r'has ended: the cable broke\. \(0 samples'):
        stream.read(1)


def test_the_first_cause_counts():
    stream = make()
    stream.end(StreamEnd.FAULT, 'the device failed')
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    assert stream.status().state == 'fault'
    assert stream.status().message == 'the device failed'


def test_a_finite_stream_has_exactly_as_many_samples_as_asked_for():
    stream = make(samples_to_acquire=25)
    for first in range(0, 40, 10):
        stream.put(samples(first, 10))
    assert stream.status().state == 'finished'
    assert stream.samples_missing == 0
    assert (stream.read(25)[0] == samples(0, 25).reshape(-1)).all()
    with pytest.raises(RuntimeError, match='all 25 samples were acquired'):
        stream.read(1)


def test_a_read_beyond_the_end_of_a_finite_stream_is_refused_at_once_and_takes_nothing():
    stream = make(samples_to_acquire=25)
    stream.put(samples(0, 10))
    stream.read(4)
    with pytest.raises(RuntimeError, match='finite acquisition has 25 samples in all, of which 4'):
        stream.read(22)
    assert stream.available_samples == 6


def test_a_large_read_that_a_loss_makes_impossible_tells_what_is_lost(background):
    stream = make(allow_overwrite=True, samples_to_acquire=400)
    read = background(stream.read, 400)
    wait_for_reader(stream)
    stream.put(samples(0, 100))
    wait_until(lambda: stream.samples_read == 100, 'the read takes them')
    skip(stream, 100)
    stream.put(samples(200, 50))
    with pytest.raises(RuntimeError, match='of which 0 were read and 200 lost already'):
        read.result(5)
    assert stream.status().samples_lost == 200
    assert_adds_up(stream)


def test_a_timeout_beyond_what_the_system_can_wait_for_is_no_error(background):
    stream = make(silence_limit=1e12)
    future = background(stream.read, 5)
    wait_for_reader(stream)
    stream.put(samples(0, 5))
    assert future.result(10)[0].size == 10


# -------------------------------------------------------------------- arguments


class NotAnArray:
    pass


@pytest.mark.parametrize(
    ('target', 'error', 'text'),
    [
        ([0.0] * 10, TypeError, 'data_buffer must be a numpy array of float64, got list'),
        (NotAnArray(), TypeError, 'got NotAnArray'),
        (np.empty(10, dtype=np.float32), TypeError, 'data type float64, got float32'),
        (np.empty(10, dtype='>f8'), TypeError, 'data type float64, got >f8'),
        (np.empty(20)[::2], ValueError, r'data_buffer of shape \(10,\) is not contiguous'),
        (np.empty((5, 2), order='F'), ValueError, 'not contiguous'),
        (np.empty(9), ValueError, 'data_buffer holds 9 values, 10 are needed'),
        (np.broadcast_to(np.empty(10), 10), ValueError, 'read-only'),
    ],
)
def test_a_target_that_cannot_be_filled_is_refused_before_anything_is_consumed(target, error, text):
    stream = make()
    stream.put(samples(0, 5))
    with pytest.raises(error, match=text):
        stream.read_into(target, 5)
    assert stream.available_samples == 5


@pytest.mark.parametrize('shape', [(10,), (5, 2), (2, 5), (1, 10, 1), (4, 5)])
def test_a_target_may_have_any_shape(shape):
    stream = make()
    stream.put(samples(0, 5))
    target = np.full(shape, -1.0)
    stream.read_into(target, 5)
    assert (target.reshape(-1)[:10] == samples(0, 5).reshape(-1)).all()
    assert (target.reshape(-1)[10:] == -1).all(), 'more was written than was asked for'


@pytest.mark.parametrize(
    ('times', 'error', 'text'),
    [
        (None, TypeError, 'timestamp_buffer is missing'),
        (np.empty(5, dtype=int), TypeError, 'timestamp_buffer must have the data type float64'),
        (np.empty(4), ValueError, 'timestamp_buffer holds 4 values, 5 are needed'),
    ],
)
def test_a_timestamp_buffer_that_cannot_be_filled_is_refused(times, error, text):
    stream = make(timestamps=True)
    stream.put(samples(0, 5), np.arange(5.0))
    with pytest.raises(error, match=text):
        stream.read_into(np.empty(10), 5, times)
    assert stream.available_samples == 5


def test_read_available_needs_a_timestamp_buffer_too():
    stream = make(timestamps=True)
    with pytest.raises(TypeError, match='timestamp_buffer is missing'):
        stream.read_available_into(np.empty(10))


@pytest.mark.parametrize(
    ('count', 'error'), [(-1, ValueError), (1.5, TypeError), ('5', TypeError), (None, TypeError)]
)
def test_a_count_that_is_none_is_refused(count, error):
    stream = make()
    with pytest.raises(error, match='samples_per_channel must be'):
        stream.read_into(np.empty(10), count)


def test_a_matrix_is_filled_like_an_array():
    stream = make()
    stream.put(samples(0, 5))
    target = np.empty((5, 2)).view(np.matrix)
    stream.read_into(target, 5)
    assert (np.asarray(target) == samples(0, 5)).all()


def test_a_short_read_beside_a_long_one_does_not_wait_for_it(background):
    stream = make()
    long = background(stream.read, 90)
    wait_for_reader(stream)
    short = background(stream.read, 10)
    wait_for_reader(stream, 2)
    stream.put(samples(0, 10))
    assert short.result(5)[0].size == 20
    stream.put(samples(10, 90))
    assert long.result(5)[0].size == 180


def test_numpy_integers_are_counts():
    stream = make()
    stream.put(samples(0, 5))
    assert stream.read(np.int32(5))[0].size == 10


# -------------------------------------------------------------------- both at once


@pytest.mark.parametrize('allow_overwrite', [False, True])
def test_nothing_is_lost_or_mixed_up_while_one_writes_and_one_reads(allow_overwrite):
    total = 20_000
    stream = make(capacity=total if not allow_overwrite else 64, allow_overwrite=allow_overwrite)

    def write():
        rng = np.random.default_rng(1)
        first = 0
        while first < total:
            count = min(int(rng.integers(1, 40)), total - first)
            stream.put(samples(first, count))
            first += count
        stream.end(StreamEnd.FINISHED, 'done')

    thread = threading.Thread(target=write)
    thread.start()
    indices = []
    while True:
        try:
            data = stream.read()[0].reshape(-1, 2)
        except RuntimeError:
            break
        assert (data[:, 1] == data[:, 0] + 1).all(), 'channels of different samples are paired'
        assert (np.diff(data[:, 0]) == 2).all(), 'one read delivered samples with a gap'
        indices.append(data[:, 0] // 2)
    thread.join()
    indices = np.concatenate(indices)
    assert (np.diff(indices) > 0).all(), 'a sample came twice or out of order'
    assert indices[-1] == total - 1
    assert len(indices) == total - stream.status().samples_lost
    assert allow_overwrite or len(indices) == total
    assert_adds_up(stream)


# -------------------------------------------------------------------- when it needs a poll


def test_it_needs_what_the_first_waiting_read_misses(background):
    stream = make(capacity=1000, samples_to_skip=3)
    long, short = background(stream.read, 100), background(stream.read, 30)
    wait_for_reader(stream, readers=2)
    assert stream.demand[0] == 33
    stream.put(samples(0, 13))
    assert stream.demand[0] == 20
    stream.put(samples(10, 20))
    short.result(10)
    assert stream.demand[0] == 100
    stream.put(samples(30, 100))
    long.result(10)


def test_a_read_larger_than_the_ring_needs_half_of_it_at_a_time(background):
    stream = make(capacity=10)
    future = background(stream.read, 24)
    wait_for_reader(stream)
    assert stream.demand[0] == 5
    stream.put(samples(0, 4))
    assert stream.demand[0] == 1
    stream.put(samples(4, 6))
    while stream.demand[0] != 5:  # it has taken them
        assert not future.done()
    stream.put(samples(10, 10))
    while stream.demand[0] != 4:
        assert not future.done()
    stream.put(samples(20, 4))
    assert (future.result(10)[0] == samples(0, 24).reshape(-1)).all()


@pytest.mark.parametrize(('allow_overwrite', 'needed'), [(False, 250), (True, 500)])
def test_without_a_reader_it_needs_a_poll_when_half_of_the_free_space_is_filled(
    allow_overwrite, needed
):
    stream = make(capacity=1000, allow_overwrite=allow_overwrite)
    assert stream.demand[1] == 500
    stream.put(samples(0, 500))
    assert stream.demand[1] == needed
    stream.put(samples(0, 500))
    assert stream.demand[1] == (500 if allow_overwrite else 1)


def test_it_needs_a_poll_when_its_finite_acquisition_is_complete():
    stream = make(capacity=100, samples_to_acquire=100)
    stream.put(samples(0, 90))
    assert stream.demand[1] == 5
    stream = make(capacity=1000, samples_to_acquire=100)
    stream.put(samples(0, 90))
    assert stream.demand[1] == 10
    stream.put(samples(0, 10))
    assert stream.demand == (np.inf, np.inf), 'an ended stream needs nothing'


def test_it_asks_for_a_poll_when_a_read_begins_to_wait(background):
    asked = []
    stream = make(time_of_next=lambda count: 1000.0 + count, request_poll=asked.append)
    stream.put(samples(0, 10))
    stream.read(4)
    assert asked == []
    future = background(stream.read, 20)
    wait_for_reader(stream)
    assert asked == [1014.0]
    stream.put(samples(0, 14))
    future.result(10)


def test_a_program_that_only_looks_gets_all_polls_there_may_be(background):
    for look in (lambda stream: stream.available_samples, lambda stream: stream.read()):
        asked = []
        stream = make(time_of_next=lambda count: 1000.0 + count, request_poll=asked.append)
        assert stream.demand[0] == 0, 'it may be such a program'
        future = background(stream.read, 10)
        wait_for_reader(stream)
        assert stream.demand[0] == 10, 'it waits'
        stream.put(samples(0, 10))
        future.result(10)
        look(stream)
        assert stream.demand[0] == np.inf, 'it may be about to wait'
        look(stream)
        look(stream)
        assert stream.demand[0] == 0
        assert asked == [1010.0, -math.inf], 'once is enough'


def test_a_program_that_looks_no_more_is_forgotten():
    stream = make(limits={'watching': 0.02})
    assert stream.available_samples == stream.available_samples
    end = time.perf_counter() + 10
    while stream.demand[0] == 0:
        assert time.perf_counter() < end, 'polled as often as possible for nobody'


def test_a_read_is_woken_only_when_it_can_go_on(background):
    wakes = []
    stream = make()
    long, short = background(stream.read, 90), background(stream.read, 10)
    wait_for_reader(stream, readers=2)
    for read in stream.readers.waiting:
        wake = read.can_go_on.notify
        read.can_go_on.notify = lambda wake=wake: wakes.append(1) or wake()
    for first in range(0, 10, 2):
        stream.put(samples(first, 2))
        stream.polled(time.perf_counter())
    short.result(10)
    for first in range(10, 100, 5):
        stream.put(samples(first, 5))
    long.result(10)
    assert len(wakes) == 2, f'{len(wakes)} wakes for two reads'


# -------------------------------------------------------------------- without the lock


class WatchedRing(SampleRing):
    """Calls back whenever samples were copied out of it."""

    copied_out = staticmethod(lambda: None)

    def peek_into(self, samples, timestamps=None, first=None):
        super().peek_into(samples, timestamps, first)
        self.copied_out()


def make_watched(capacity=100, **options):
    """Make a stream that copies 10 samples at a time, and its ring."""
    ring = WatchedRing(capacity, 2, np.float64)
    return ReadStream(ring, piece_bytes=10 * 2 * 8, **options), ring


def test_everything_else_goes_on_while_samples_are_copied(background):
    stream, ring = make_watched(capacity=1000)
    stream.put(samples(0, 500))
    answers = []

    def meanwhile():
        calls = (
            stream.status,
            lambda: stream.available_samples,
            lambda: stream.demand,
            lambda: stream.polled(time.perf_counter()),
            lambda: stream.has_ended,
        )
        answers.append([background(call).result(5) for call in calls])

    ring.copied_out = meanwhile
    assert (stream.read(500)[0] == samples(0, 500).reshape(-1)).all()
    assert len(answers) == 50, 'it was not copied in pieces'
    for status, *_ in answers:
        parts = status.samples_read + status.samples_unread + status.samples_lost
        assert status.samples_received == parts, status


def test_what_a_read_has_claimed_is_not_available_to_others(background):
    stream, ring = make_watched()
    stream.put(samples(0, 70))
    available, reads = [], []

    def meanwhile():
        ring.copied_out = lambda: None
        available.append(stream.available_samples)
        reads.append(background(stream.read))

    ring.copied_out = meanwhile
    assert (stream.read(40)[0] == samples(0, 40).reshape(-1)).all()
    assert available == [30]
    assert (reads[0].result(5)[0] == samples(40, 30).reshape(-1)).all()


def test_what_a_large_read_has_copied_makes_room_for_new_samples():
    stream, ring = make_watched()
    stream.put(samples(0, 100))
    first = 100

    def put_as_many_as_were_copied():
        nonlocal first
        if ring.free:
            stream.put(samples(first, ring.free))
            first += 10

    ring.copied_out = put_as_many_as_were_copied
    assert (stream.read(100)[0] == samples(0, 100).reshape(-1)).all()
    assert not stream.has_ended
    assert first == 190
    ring.copied_out = lambda: None
    assert (stream.read(90)[0] == samples(100, 90).reshape(-1)).all()
    assert_adds_up(stream)


@pytest.mark.parametrize('allow_overwrite', [False, True])
def test_new_samples_wait_for_the_room_that_a_read_is_making(background, allow_overwrite):
    stream, ring = make_watched(allow_overwrite=allow_overwrite, limits={'longest_copy': 10.0})
    stream.put(samples(0, 100))
    is_copying, go_on = threading.Event(), threading.Event()

    def copy_slowly():
        is_copying.set()
        assert go_on.wait(10)

    ring.copied_out = copy_slowly
    read = background(stream.read, 100)
    assert is_copying.wait(10)
    put = background(stream.put, samples(100, 20))
    time.sleep(0.1)
    assert not put.done()
    go_on.set()
    put.result(5)
    assert (read.result(5)[0] == samples(0, 100).reshape(-1)).all()
    assert (stream.read(20)[0] == samples(100, 20).reshape(-1)).all()
    assert stream.status().samples_lost == 0
    assert_adds_up(stream)


@pytest.mark.parametrize('allow_overwrite', [False, True])
@pytest.mark.parametrize('unread', [0, 30, 99])
def test_a_read_of_a_full_ring_gets_it_when_the_last_sample_comes_with_others(
    background, allow_overwrite, unread
):
    stream = make(allow_overwrite=allow_overwrite, timestamps=True, limits={'longest_copy': 10.0})
    stream.put(samples(0, unread), np.arange(unread, dtype=float))
    read = background(stream.read, 100)
    wait_for_reader(stream)
    stream.put(samples(unread, 150 - unread), np.arange(unread, 150, dtype=float))
    values, times = read.result(5)
    assert (values == samples(0, 100).reshape(-1)).all()
    assert (times == np.arange(100)).all()
    assert (stream.read(50)[0] == samples(100, 50).reshape(-1)).all()
    assert not stream.has_ended
    assert stream.status().overflow_count == 0
    assert_adds_up(stream)


@pytest.mark.parametrize('allow_overwrite', [False, True])
def test_a_read_larger_than_the_ring_gets_polls_that_are_larger_too(background, allow_overwrite):
    stream = make(allow_overwrite=allow_overwrite, limits={'longest_copy': 10.0})
    read = background(stream.read, 1000)
    wait_for_reader(stream)
    for first in range(0, 1000, 250):
        stream.put(samples(first, 250))
    assert (read.result(5)[0] == samples(0, 1000).reshape(-1)).all()
    assert stream.status().samples_lost == 0
    assert_adds_up(stream)


def test_a_ring_of_one_sample_carries_a_read_of_many(background):
    stream = make(capacity=1, limits={'longest_copy': 30.0})
    read = background(stream.read, 20)
    wait_for_reader(stream)
    stream.put(samples(0, 20))
    assert (read.result(5)[0] == samples(0, 20).reshape(-1)).all()


@pytest.mark.parametrize('allow_overwrite', [False, True])
def test_a_read_larger_than_the_ring_gets_all_though_its_thread_is_slow(
    background, allow_overwrite
):
    stream = make(allow_overwrite=allow_overwrite, limits={'longest_copy': 30.0})

    def read_slowly():
        # Between two pieces as well, where it neither waits nor copies
        sys.setprofile(lambda frame, event, _: event == 'call' and time.sleep(1e-3))
        try:
            return stream.read(400)[0]
        finally:
            sys.setprofile(None)

    read = background(read_slowly)
    wait_for_reader(stream)
    stream.put(samples(0, 400))
    assert (read.result(30) == samples(0, 400).reshape(-1)).all()
    assert stream.status().samples_lost == 0


def test_an_overwriting_stream_waits_only_for_reads_that_have_begun(background):
    stream = make(capacity=100, allow_overwrite=True, limits={'longest_copy': 30.0})

    def read_on():
        while True:
            stream.read(30)

    reads = background(read_on)
    wait_for_reader(stream)
    background(stream.put, samples(0, 1000)).result(5)
    assert stream.status().samples_lost >= 800, 'the poll has waited for read after read'
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    assert isinstance(reads.exception(5), RuntimeError)


def test_a_poll_waits_for_all_overwriting_streams_no_longer_than_for_one():
    waited, limit = 0.0, QUICK_COPY['longest_copy']
    for allow_overwrite, least, most in (
        (False, 0.0, 0.0),  # which does not leave less for the others
        (True, limit, math.inf),
        (True, 0.0, limit / 2),  # else each slow program would delay the samples of all others
        (False, 0.0, 0.0),
        (True, 0.0, limit / 2),
    ):
        stream = make(capacity=100, allow_overwrite=allow_overwrite, limits=QUICK_COPY)
        stream.readers.waiting.append(stream.readers.new_read(100))  # its thread gets no time
        began = time.perf_counter()
        before, waited = waited, stream.put(samples(0, 150), waited=waited)
        assert stream.status().samples_lost == 50
        assert least <= waited - before <= most
        assert allow_overwrite or time.perf_counter() - began >= limit, 'a strict one waits itself'


def test_a_read_that_takes_what_is_there_does_not_end_the_wait_for_a_large_one(background):
    stream = make(capacity=100, allow_overwrite=True, limits={'longest_copy': 30.0})
    is_over = threading.Event()

    def look():
        while not is_over.wait(1e-3):
            stream.read_available_into(np.empty(0))

    looks = background(look)
    read = background(stream.read, 2000)
    wait_for_reader(stream)
    for first in range(0, 2000, 400):
        stream.put(samples(first, 400))
    assert (read.result(5)[0] == samples(0, 2000).reshape(-1)).all()
    is_over.set()
    looks.result(5)


@pytest.mark.parametrize('allow_overwrite', [False, True])
def test_new_samples_wait_no_longer_than_the_device_can_spare(background, allow_overwrite):
    stream = make(allow_overwrite=allow_overwrite, limits={'longest_copy': 1e6})
    stream.readers.waiting.append(stream.readers.new_read(100))  # its thread gets no time
    background(stream.put, samples(0, 150), None, 0.0, 0.02).result(5)
    assert stream.status().samples_lost == 50


def test_new_samples_wait_once_for_a_read_that_makes_no_room_any_more():
    stream = make(allow_overwrite=True, limits=QUICK_COPY)
    with stream.lock:
        stream.readers.begin()  # of a read that was interrupted where nothing can be mended
    assert stream.put(samples(0, 150)) >= QUICK_COPY['longest_copy']
    assert stream.put(samples(150, 150)) == 0.0
    with stream.lock:
        stream.readers.begin_copy(10)  # it goes on at last
    assert stream.put(samples(150, 150)) >= QUICK_COPY['longest_copy']
    with stream.lock:
        stream.readers.end()
    stream.read(10)
    assert stream.put(samples(300, 150)) == 0.0


def test_a_stream_put_in_alone_waits_as_if_it_were_the_first():
    stream = make(capacity=100, allow_overwrite=True, limits=QUICK_COPY)
    stream.readers.waiting.append(stream.readers.new_read(100))  # its thread gets no time
    began = time.perf_counter()
    waited = stream.put(samples(0, 150))
    assert QUICK_COPY['longest_copy'] <= waited <= time.perf_counter() - began


def test_nothing_goes_into_a_stream_that_ends_while_samples_are_selected_for_it(background):
    is_selecting, go_on = threading.Event(), threading.Event()

    class SlowSelection(Selection):
        def apply(self, *values):
            is_selecting.set()
            assert go_on.wait(10)
            return super().apply(*values)

    stream = BufferedStream(
        'buffer1', SampleRing(100, 2, np.float64), selection=SlowSelection(), samples_to_acquire=10
    )
    put = background(stream.put, samples(0, 10))
    assert is_selecting.wait(10)
    stream.end(StreamEnd.FAULT, 'the device failed')
    go_on.set()
    put.result(5)
    assert (stream.status().samples_received, stream.status().state) == (0, 'fault')


def test_nothing_goes_into_a_stream_that_ends_while_it_waits_for_room(background):
    stream, ring = make_watched(limits={'longest_copy': 10.0})
    stream.put(samples(0, 100))
    is_copying = threading.Event()

    def end_while_new_samples_wait():
        ring.copied_out = lambda: None
        is_copying.set()
        wait_until(lambda: not stream.readers.is_empty, 'new samples wait for room')
        stream.end(StreamEnd.FAULT, 'the device failed')

    ring.copied_out = end_while_new_samples_wait
    read = background(stream.read, 50)
    assert is_copying.wait(10)
    stream.put(samples(100, 50))
    assert (read.result(5)[0] == samples(0, 50).reshape(-1)).all()
    assert stream.status().samples_received == 100
    assert_adds_up(stream)


def test_new_samples_wait_only_for_a_read_that_waits(background):
    stream = make(capacity=100, limits={'longest_copy': 1e6})
    stream.put(samples(0, 60))
    read = background(stream.read, 50)
    assert (read.result(5)[0] == samples(0, 50).reshape(-1)).all()
    background(stream.put, samples(60, 200)).result(5)
    assert stream.status().state == 'overflow'


def test_new_samples_do_not_wait_for_ever_for_a_read_whose_thread_gets_no_time(background):
    stream = make(capacity=100, limits=QUICK_COPY)
    stream.readers.waiting.append(stream.readers.new_read(100))
    background(stream.put, samples(0, 150)).result(5)
    assert stream.status().state == 'overflow'
    assert stream.status().samples_lost == 50


def test_many_small_steps_of_a_read_do_not_keep_the_thread_of_the_device(background):
    stream = make(capacity=1, limits=QUICK_COPY)
    read = background(stream.read, 1_000_000)
    wait_for_reader(stream)
    stream.put(samples(0, 500_000))
    assert stream.status().state == 'overflow', 'all buffers would wait for this one'
    assert isinstance(read.exception(5), OverflowError)


def test_a_read_that_is_overtaken_starts_again_without_a_gap():
    stream, ring = make_watched(allow_overwrite=True, limits=QUICK_COPY)
    stream.put(samples(0, 100))
    pieces = []

    def put_in_the_third_piece():
        pieces.append(len(ring))
        if len(pieces) == 3:
            stream.put(samples(100, 100))

    ring.copied_out = put_in_the_third_piece
    assert (stream.read(100)[0] == samples(100, 100).reshape(-1)).all()
    status = stream.status()
    assert (status.samples_lost, status.samples_read) == (100, 100)
    assert status.overflow_count == 1
    assert_adds_up(stream)


def test_a_look_that_is_overtaken_takes_what_is_there_then():
    stream, ring = make_watched(allow_overwrite=True, limits=QUICK_COPY)
    stream.put(samples(0, 60))

    def put_once():
        ring.copied_out = lambda: None
        stream.put(samples(60, 90))

    ring.copied_out = put_once
    target = np.empty(120)
    assert stream.read_available_into(target) == 60
    assert (target == samples(50, 60).reshape(-1)).all()
    assert (stream.read()[0] == samples(110, 40).reshape(-1)).all()
    assert stream.status().samples_lost == 50
    assert_adds_up(stream)


@pytest.mark.parametrize('overtaken', ['while it copies', 'while it waits'])
def test_a_large_read_that_is_overtaken_starts_again_as_a_whole(background, overtaken):
    stream, ring = make_watched(capacity=20, allow_overwrite=True, limits=QUICK_COPY)
    future = background(stream.read, 100)
    first = 0

    def put(count):
        nonlocal first
        first += count
        stream.put(samples(first - count, count))

    def put_and_wait(count):
        wait_for_reader(stream)
        put(count)
        wait_until(lambda: future.done() or stream.status().samples_unread == 0, 'it was read')

    def put_too_many():
        ring.copied_out = lambda: None
        put(20)

    put_and_wait(20)
    put_and_wait(20)
    if overtaken == 'while it copies':
        ring.copied_out = put_too_many
        put_and_wait(20)
    else:
        put_and_wait(30)
    while not future.done():
        put_and_wait(10)
    data = future.result(5)[0].reshape(-1, 2)
    assert (data == samples(int(data[0, 0]) // 2, 100)).all(), 'the read has a gap'
    assert stream.status().samples_read == 100
    assert_adds_up(stream)


def test_a_reader_that_gets_no_time_does_not_hold_up_a_strict_stream_for_long():
    stream, ring = make_watched(limits=QUICK_COPY)
    stream.put(samples(0, 100))

    def put_too_many():
        ring.copied_out = lambda: None
        stream.put(samples(100, 20))

    ring.copied_out = put_too_many
    assert (stream.read(100)[0] == samples(0, 100).reshape(-1)).all(), (
        'what it took was overwritten'
    )
    with pytest.raises(OverflowError, match='index 100 on are lost'):
        stream.read(1)
    assert_adds_up(stream)


def test_a_stop_or_a_fault_while_a_read_copies_lets_it_finish():
    for cause in (StreamEnd.STOPPED, StreamEnd.FAULT):
        stream, ring = make_watched()
        stream.put(samples(0, 100))
        ring.copied_out = lambda stream=stream, cause=cause: stream.end(cause, 'it is over')
        assert (stream.read(100)[0] == samples(0, 100).reshape(-1)).all()
        with pytest.raises(RuntimeError, match='it is over'):
            stream.read(1)


def test_the_memory_of_a_ring_follows_its_fill():
    stream = make(capacity=100_000)
    memory, _ = stream.ring.lend(100_000)
    memory[:] = -1
    stream.ring.write(memory[:0])  # gives it back
    for first in range(0, 50_000, 50):
        stream.put(samples(first, 50))
        stream.read(55 if first % 100 else 45)
        stream.polled(time.perf_counter())
    used = np.count_nonzero(memory[:, 0] >= 0)
    assert used < 1000, f'{used} samples of memory for at most 60 unread ones'


# -------------------------------------------------------------------- a stop beside a read


def stop(stream, background):
    """As a buffer stops its stream, in another thread."""

    def stop_now():
        began = time.perf_counter()
        stream.begin_stop()
        waited = time.perf_counter() - began
        stream.end(StreamEnd.STOPPED, 'it was stopped')
        with stream.lock:
            stream.readers.end_stop()
        return waited

    return background(stop_now)


def in_(seconds):
    """The next samples are due then."""
    due = time.perf_counter() + seconds
    return lambda count: due


def test_a_stop_lets_a_read_finish_whose_samples_are_due(background):
    stream = make(time_of_next=in_(0.3))
    read = background(stream.read, 10)
    wait_for_reader(stream)
    stopping = stop(stream, background)
    time.sleep(0.2)
    assert not stopping.done()
    assert not read.done()
    stream.put(samples(0, 10))
    assert read.result(5)[0].size == 20
    assert stopping.result(5) < 1.0


def test_a_stop_does_not_wait_for_samples_that_are_not_due_soon(background):
    for options in ({'time_of_next': in_(5.0)}, {}):  # nobody knows, and none came yet
        stream = make(**options)
        read = background(stream.read, 10)
        wait_for_reader(stream)
        assert stop(stream, background).result(5) < 0.25
        assert isinstance(read.exception(5), RuntimeError)


def test_a_stop_does_not_wait_for_long_if_the_samples_do_not_come(background):
    for due_in in (0.0, 0.9):
        stream = make(time_of_next=in_(due_in))
        read = background(stream.read, 1)
        wait_for_reader(stream)
        waited = stop(stream, background).result(5)
        assert due_in < waited < due_in + 0.8
        assert isinstance(read.exception(5), RuntimeError)


@pytest.mark.parametrize(('period', 'is_due'), [(0.05, True), (1.0, False)])
def test_where_nobody_knows_when_samples_come_a_stop_goes_by_those_that_came(
    background, period, is_due
):
    stream = make()
    stream.put(samples(0, 10))
    stream.started_at = time.perf_counter() - 10 * period
    read = background(stream.read, 20)
    wait_for_reader(stream)
    stopping = stop(stream, background)
    time.sleep(0.2)
    assert stopping.done() is not is_due
    stream.put(samples(10, 10))
    stopping.result(5)
    assert (read.exception(5) is None) is is_due


def test_a_stop_lets_a_thread_that_has_just_read_read_once_more(background):
    stream = make(time_of_next=in_(0.5), limits={'between_reads': 1.0})
    stream.put(samples(0, 10))
    go_on = threading.Event()

    def read_twice():
        stream.read(10)
        go_on.wait(10)
        return stream.read(10)

    reads = background(read_twice)
    wait_until(lambda: stream.status().samples_read == 10, 'the first read')
    stopping = stop(stream, background)
    time.sleep(0.1)
    assert not stopping.done(), 'it stopped between two reads of a program that reads on'
    go_on.set()
    wait_for_reader(stream)
    stream.put(samples(10, 10))
    assert reads.result(5)[0].size == 20
    stopping.result(5)


def test_a_stop_of_the_thread_that_read_last_comes_at_once():
    stream = make_filled(limits={'between_reads': 5.0})
    stream.read(3)
    began = time.perf_counter()
    stream.begin_stop()
    assert time.perf_counter() - began < 0.25


def test_a_stop_of_a_stream_that_has_ended_or_is_not_read_comes_at_once():
    for end in (True, False):
        stream = make_filled()
        if end:
            stream.end(StreamEnd.FAULT, 'the cable broke')
        began = time.perf_counter()
        stream.begin_stop()
        assert time.perf_counter() - began < 0.25


def test_a_read_beside_a_stop_returns_when_that_is_complete(background):
    """A program hears of its own stop before the samples of the read make it read again."""
    asked, foresee = [], in_(0.2)
    stream = make(time_of_next=lambda count: asked.append(count) or foresee(count))
    read = background(stream.read, 10)
    wait_for_reader(stream)
    asked.clear()
    stopping = background(stream.begin_stop)
    wait_until(lambda: asked, 'the stop has begun')
    stream.put(samples(0, 10))
    wait_until(lambda: stream.status().samples_read == 10, 'the read took its samples')
    stopping.result(5)
    time.sleep(0.1)
    assert not read.done()
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    time.sleep(0.1)
    assert not read.done(), 'the device is still being stopped'
    with stream.lock:
        stream.readers.end_stop()
    assert read.result(1)[0].size == 20


def test_a_read_beside_a_stop_that_hangs_returns_nevertheless(background):
    limits = {'longest_stop': 0.2, 'longest_stop_of_failed_read': 0.1}
    stream = make(silence_limit=60, limits=limits)
    served, failed = background(stream.read, 10), background(stream.read, 20)
    wait_for_reader(stream, 2)
    stream.begin_stop()
    stream.put(samples(0, 10))
    wait_until(lambda: stream.status().samples_read == 10, 'the read took its samples')
    stream.end(StreamEnd.STOPPED, 'it was stopped')
    began = time.perf_counter()
    assert isinstance(failed.exception(5), RuntimeError)
    assert served.result(5)[0].size == 20
    assert time.perf_counter() - began < 2.0


# -------------------------------------------------------------------- Ctrl-C, and bad timing


def interrupted_at(number, call):
    """Raise KeyboardInterrupt at the n-th place of the package where Python may; whether it did.

    That is where a function begins, and where one of C has returned.
    """
    places = 0
    package = Path(sys.modules[BufferedStream.__module__].__file__).parent

    def profile(frame, event, argument):
        nonlocal places
        is_ours = Path(frame.f_code.co_filename).parent == package
        if is_ours and event in ('call', 'c_return'):
            places += 1
            if places == number:
                sys.setprofile(None)
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return places >= number


@pytest.mark.parametrize('way', ['read', 'read_available'])
def test_a_read_works_after_one_that_was_interrupted_anywhere(way, background):
    place = 0
    is_interrupted = True
    while is_interrupted:
        place += 1
        stream = make(capacity=10)
        stream.put(samples(0, 8))
        count = 4 if way == 'read' else None
        is_interrupted = interrupted_at(place, lambda s=stream, c=count: s.read(c))
        assert not stream.lock.locked(), f'place {place} left the lock'
        stream.put(samples(8, 2))
        assert_adds_up(stream)
        left = stream.status().samples_unread
        rest = stream.read(left)[0].reshape(-1, 2)
        assert (rest == samples(10 - left, left)).all(), f'place {place}: not the newest samples'
        assert not stream.readers.copier
        stream.end(StreamEnd.STOPPED, 'it was stopped')
    assert place > 20, 'hardly a place was interrupted'


def test_a_read_that_is_overtaken_before_it_copies_starts_again(background):
    stream, ring = make_watched(allow_overwrite=True)
    stream.put(samples(0, 100))
    slow, go_on = threading.Event(), threading.Event()

    def look_and_wait():
        slow.set()
        go_on.wait(10)

    ring.copied_out = look_and_wait
    read = background(stream.read, 100)
    assert slow.wait(10)
    stream.put(samples(100, 50))
    assert stream.available_samples >= 0
    go_on.set()
    assert (read.result(10)[0].reshape(-1, 2) == samples(50, 100)).all()
    assert_adds_up(stream)


def test_no_timestamp_is_below_zero_though_a_sample_was_on_its_way_at_the_start():
    stream = make(timestamps=True, timestamp_offset=5.0)
    stream.put(samples(0, 3), np.array([4.75, 5.25, 5.5]))
    assert stream.read(3)[1].tolist() == [0.0, 0.5, 0.75]
    assert stream.status().timestamp_offset == 4.75
