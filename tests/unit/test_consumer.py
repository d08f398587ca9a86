"""StreamConsumer: complete reads, waiting, overflow, the end of a stream, and wrong arguments."""

import threading
import time

import numpy as np
import pytest

from qudi.util.instream import consumer as consumer_module
from qudi.util.instream.consumer import StreamConsumer, StreamEnd
from qudi.util.instream.ring import SampleRing


def samples(first, count, channels=2, dtype=np.float64):
    return np.arange(first * channels, (first + count) * channels, dtype=dtype).reshape(
        -1, channels
    )


def make(capacity=100, channels=2, dtype=np.float64, timestamps=False, **options):
    return StreamConsumer('buffer1', SampleRing(capacity, channels, dtype, timestamps), **options)


def wait_for_reader(consumer, readers=1):
    end = time.perf_counter() + 10
    while len(consumer._awaited) < readers:
        assert time.perf_counter() < end, 'no reader began to wait within 10 s'
        time.sleep(0.001)


def assert_adds_up(consumer):
    status = consumer.status()
    assert status.samples_received == (
        status.samples_read + status.samples_unread + status.samples_lost
    ), status


# -------------------------------------------------------------------- reading


def test_reads_in_the_order_of_writing():
    consumer = make()
    consumer.put(samples(0, 30))
    consumer.put(samples(30, 30))
    assert (consumer.read(40)[0] == samples(0, 40).reshape(-1)).all()
    assert (consumer.read()[0] == samples(40, 20).reshape(-1)).all()
    assert_adds_up(consumer)


def test_a_read_waits_until_everything_is_there_and_takes_it_at_once(background):
    consumer = make()
    future = background(consumer.read, 50)
    wait_for_reader(consumer)
    consumer.put(samples(0, 49))
    wait_for_reader(consumer)
    assert consumer.available_samples == 49, 'the read took a part before the rest was there'
    consumer.put(samples(49, 1))
    assert (future.result(10)[0] == samples(0, 50).reshape(-1)).all()


def test_a_read_larger_than_the_ring_streams_through(background):
    consumer = make(capacity=10)
    future = background(consumer.read, 95)
    for first in range(0, 100, 5):
        while consumer.available_samples > 5:
            time.sleep(0.001)
        consumer.put(samples(first, 5))
    assert (future.result(10)[0] == samples(0, 95).reshape(-1)).all()
    assert consumer.available_samples == 5


def test_a_large_read_of_an_ended_stream_takes_nothing_if_it_cannot_be_complete():
    consumer = make(capacity=10)
    consumer.put(samples(0, 8))
    consumer.end(StreamEnd.FAULT, 'the cable broke')
    with pytest.raises(RuntimeError, match='the cable broke'):
        consumer.read(20)
    assert consumer.available_samples == 8


def test_each_sample_goes_to_one_of_several_readers(background):
    consumer = make(capacity=1000)
    futures = [background(consumer.read, 100) for _ in range(4)]
    wait_for_reader(consumer, 4)
    for first in range(0, 400, 20):
        consumer.put(samples(first, 20))
    parts = sorted((future.result(10)[0] for future in futures), key=lambda part: part[0])
    assert (np.concatenate(parts) == samples(0, 400).reshape(-1)).all()


def test_available_samples_is_answered_while_a_read_waits(background):
    consumer = make()
    future = background(consumer.read, 50)
    wait_for_reader(consumer)
    consumer.put(samples(0, 20))
    assert background(lambda: consumer.available_samples).result(1) == 20
    consumer.end(StreamEnd.STOPPED, 'it was stopped')
    assert isinstance(future.exception(10), RuntimeError)


def test_reading_nothing_takes_nothing():
    consumer = make()
    consumer.put(samples(0, 5))
    assert consumer.read(0)[0].size == 0
    assert consumer.available_samples == 5


def test_read_available_takes_what_is_there_and_what_fits():
    consumer = make()
    target = np.full(10, -1.0)
    assert consumer.read_available_into(target) == 0
    consumer.put(samples(0, 8))
    assert consumer.read_available_into(target) == 5
    assert (target == samples(0, 5).reshape(-1)).all()
    assert consumer.read_available_into(target) == 3
    assert (target[:6] == samples(5, 3).reshape(-1)).all()
    assert consumer.read_available_into(np.empty(1)) == 0


def test_columns_select_and_order_the_channels():
    for columns in ([2, 0], [1, 2], [3]):
        consumer = make(channels=len(columns), columns=columns)
        consumer.put(samples(0, 5, channels=4))
        assert (consumer.read(5)[0] == samples(0, 5, 4)[:, columns].reshape(-1)).all(), columns


def test_samples_older_than_the_stream_are_skipped():
    consumer = make(samples_to_skip=25)
    consumer.put(samples(0, 10))
    consumer.put(samples(10, 20))
    consumer.put(samples(30, 5))
    assert (consumer.read()[0] == samples(25, 10).reshape(-1)).all()
    assert consumer.status().samples_received == 10


@pytest.mark.parametrize('dtype', [np.int16, np.uint32, np.int64, np.float32, np.float64])
def test_timestamps_stay_float64_whatever_the_data_type(dtype):
    consumer = make(dtype=dtype, timestamps=True)
    times = np.array([0.25, 1.75, 2.125])
    consumer.put(samples(0, 3, dtype=dtype), times)
    data, timestamps = consumer.read(3)
    assert data.dtype == dtype
    assert timestamps.dtype == np.float64
    assert (timestamps == times).all()


def test_read_available_keeps_samples_and_timestamps_paired_in_small_arrays():
    consumer = make(timestamps=True)
    consumer.put(samples(0, 9), np.arange(9) + 0.5)
    data, times = np.empty(12), np.empty(4)
    assert consumer.read_available_into(data, times) == 4
    assert (times == np.arange(4) + 0.5).all()
    assert (consumer.read()[1] == np.arange(4, 9) + 0.5).all()


def test_a_timestamp_buffer_is_left_alone_where_there_are_no_timestamps():
    consumer = make()
    consumer.put(samples(0, 5))
    times = np.full(2, -1, dtype=np.int8)  # neither long enough nor of the right type
    consumer.read_into(np.empty(10), 5, times)
    assert (times == -1).all()


# -------------------------------------------------------------------- silence


def test_a_waiting_read_gives_up_after_silence_and_the_stream_goes_on():
    consumer = make(silence_limit=0.05)
    consumer.put(samples(0, 3))
    with pytest.raises(TimeoutError, match=r'"buffer1" has received no new sample for 0.05 s'):
        consumer.read(5)
    assert consumer.available_samples == 3, 'the read that failed has consumed samples'
    consumer.put(samples(3, 2))
    assert (consumer.read(5)[0] == samples(0, 5).reshape(-1)).all()


def test_silence_counts_from_the_newest_sample(background):
    consumer = make(silence_limit=0.5)
    future = background(consumer.read, 90)
    for first in range(0, 90, 10):  # takes longer than the limit, but is never silent for so long
        wait_for_reader(consumer)
        time.sleep(0.1)
        consumer.put(samples(first, 10))
    assert (future.result(10)[0] == samples(0, 90).reshape(-1)).all()


def test_without_a_limit_a_read_waits_until_samples_come(background):
    consumer = make(silence_limit=None)
    future = background(consumer.read, 1)
    wait_for_reader(consumer)
    time.sleep(0.2)
    assert not future.done()
    consumer.put(samples(0, 1))
    assert future.result(10)[0].size == 2


# -------------------------------------------------------------------- overflow


def test_overflow_ends_the_stream_and_what_was_buffered_stays_readable():
    consumer = make(capacity=10)
    consumer.put(samples(0, 8))
    consumer.read(2)
    consumer.put(samples(8, 7))
    assert consumer.has_ended
    consumer.put(samples(15, 1))
    assert consumer.available_samples == 10
    assert (consumer.read(4)[0] == samples(2, 4).reshape(-1)).all()
    with pytest.raises(OverflowError, match=r'index 12 on are lost.*6 samples per channel were re'):
        consumer.read(7)
    assert (consumer.read()[0] == samples(6, 6).reshape(-1)).all()
    for read in (lambda: consumer.read(1), consumer.read):
        with pytest.raises(OverflowError, match='12 samples per channel were read'):
            read()
    assert consumer.status().state == 'overflow'
    assert consumer.status().samples_lost == 3
    assert_adds_up(consumer)


def test_a_ring_may_be_filled_to_the_brim():
    consumer = make(capacity=10)
    consumer.put(samples(0, 10))
    assert not consumer.has_ended
    assert (consumer.read(10)[0] == samples(0, 10).reshape(-1)).all()


@pytest.mark.parametrize('chunk', [1, 3, 7, 10, 11, 25, 40])
def test_overwriting_keeps_the_newest_samples_with_their_timestamps_and_counts_the_lost(chunk):
    consumer = make(capacity=10, timestamps=True, allow_overwrite=True)
    for first in range(0, 120, chunk):
        consumer.put(samples(first, chunk), np.arange(first, first + chunk) + 0.5)
    end = first + chunk
    status = consumer.status()
    assert (status.state, status.samples_received, status.samples_lost) == (
        'running',
        end,
        end - 10,
    )
    data, times = consumer.read()
    assert (data == samples(end - 10, 10).reshape(-1)).all()
    assert (times == np.arange(end - 10, end) + 0.5).all()
    assert_adds_up(consumer)


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
    consumer = make(silence_limit=60)
    futures = [background(consumer.read, count) for count in (10, 20, 200)]
    wait_for_reader(consumer, 3)
    consumer.end(cause, 'it is over')
    for future in futures:
        assert isinstance(future.exception(5), error)


def test_a_stopped_stream_delivers_nothing_more():
    consumer = make()
    consumer.put(samples(0, 5))
    consumer.end(StreamEnd.STOPPED, 'it was stopped')
    assert consumer.available_samples == 0
    for read in (lambda: consumer.read(1), consumer.read):
        with pytest.raises(RuntimeError, match='"buffer1" has ended: it was stopped'):
            read()
    assert_adds_up(consumer)


def test_a_fault_is_chained_from_the_exception_of_the_hardware():
    consumer = make()
    consumer.put(samples(0, 5))
    cause = OSError('cable')
    consumer.end(StreamEnd.FAULT, 'the hardware failed', cause)
    consumer.read(5)
    for read in (lambda: consumer.read(1), consumer.read):
        with pytest.raises(RuntimeError, match='the hardware failed') as caught:
            read()
        assert caught.value.__cause__ is cause


def test_the_first_cause_counts():
    consumer = make()
    consumer.end(StreamEnd.FAULT, 'the hardware failed')
    consumer.end(StreamEnd.STOPPED, 'it was stopped')
    assert consumer.status().state == 'fault'
    assert consumer.status().message == 'the hardware failed'


def test_a_finite_stream_has_exactly_as_many_samples_as_asked_for():
    consumer = make(samples_to_acquire=25)
    for first in range(0, 40, 10):
        consumer.put(samples(first, 10))
    assert consumer.status().state == 'finished'
    assert consumer.samples_missing == 0
    assert (consumer.read(25)[0] == samples(0, 25).reshape(-1)).all()
    with pytest.raises(RuntimeError, match='all 25 samples were acquired'):
        consumer.read(1)


def test_a_read_beyond_the_end_of_a_finite_stream_is_refused_at_once_and_takes_nothing():
    consumer = make(samples_to_acquire=25)
    consumer.put(samples(0, 10))
    consumer.read(4)
    with pytest.raises(RuntimeError, match='finite acquisition has 25 samples in all, of which 4'):
        consumer.read(22)
    assert consumer.available_samples == 6


def test_a_timeout_beyond_what_the_system_can_wait_for_is_no_error(background):
    consumer = make(silence_limit=1e12)
    future = background(consumer.read, 5)
    wait_for_reader(consumer)
    consumer.put(samples(0, 5))
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
    consumer = make()
    consumer.put(samples(0, 5))
    with pytest.raises(error, match=text):
        consumer.read_into(target, 5)
    assert consumer.available_samples == 5


@pytest.mark.parametrize('shape', [(10,), (5, 2), (2, 5), (1, 10, 1), (4, 5)])
def test_a_target_may_have_any_shape(shape):
    consumer = make()
    consumer.put(samples(0, 5))
    target = np.full(shape, -1.0)
    consumer.read_into(target, 5)
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
    consumer = make(timestamps=True)
    consumer.put(samples(0, 5), np.arange(5.0))
    with pytest.raises(error, match=text):
        consumer.read_into(np.empty(10), 5, times)
    assert consumer.available_samples == 5


def test_read_available_needs_a_timestamp_buffer_too():
    consumer = make(timestamps=True)
    with pytest.raises(TypeError, match='timestamp_buffer is missing'):
        consumer.read_available_into(np.empty(10))


@pytest.mark.parametrize(
    ('count', 'error'), [(-1, ValueError), (1.5, TypeError), ('5', TypeError), (None, TypeError)]
)
def test_a_count_that_is_none_is_refused(count, error):
    consumer = make()
    with pytest.raises(error, match='samples_per_channel must be'):
        consumer.read_into(np.empty(10), count)


def test_a_matrix_is_filled_like_an_array():
    consumer = make()
    consumer.put(samples(0, 5))
    target = np.empty((5, 2)).view(np.matrix)
    consumer.read_into(target, 5)
    assert (np.asarray(target) == samples(0, 5)).all()


def test_a_short_read_beside_a_long_one_does_not_wait_for_it(background):
    consumer = make()
    long = background(consumer.read, 90)
    wait_for_reader(consumer)
    short = background(consumer.read, 10)
    wait_for_reader(consumer, 2)
    consumer.put(samples(0, 10))
    assert short.result(5)[0].size == 20
    consumer.put(samples(10, 90))
    assert long.result(5)[0].size == 180


def test_numpy_integers_are_counts():
    consumer = make()
    consumer.put(samples(0, 5))
    assert consumer.read(np.int32(5))[0].size == 10


# -------------------------------------------------------------------- both at once


@pytest.mark.parametrize('allow_overwrite', [False, True])
def test_nothing_is_lost_or_mixed_up_while_one_writes_and_one_reads(allow_overwrite):
    total = 20_000
    consumer = make(capacity=total if not allow_overwrite else 64, allow_overwrite=allow_overwrite)

    def write():
        rng = np.random.default_rng(1)
        first = 0
        while first < total:
            count = min(int(rng.integers(1, 40)), total - first)
            consumer.put(samples(first, count))
            first += count
        consumer.end(StreamEnd.FINISHED, 'done')

    thread = threading.Thread(target=write)
    thread.start()
    indices = []
    while True:
        try:
            data = consumer.read()[0].reshape(-1, 2)
        except RuntimeError:
            break
        assert (data[:, 1] == data[:, 0] + 1).all(), 'channels of different samples are paired'
        assert (np.diff(data[:, 0]) == 2).all(), 'one read delivered samples with a gap'
        indices.append(data[:, 0] // 2)
    thread.join()
    indices = np.concatenate(indices)
    assert (np.diff(indices) > 0).all(), 'a sample came twice or out of order'
    assert indices[-1] == total - 1
    assert len(indices) == total - consumer.status().samples_lost
    assert allow_overwrite or len(indices) == total
    assert_adds_up(consumer)


# -------------------------------------------------------------------- when it needs a poll


def test_it_needs_what_the_first_waiting_read_misses(background):
    consumer = make(capacity=1000, samples_to_skip=3)
    long, short = background(consumer.read, 100), background(consumer.read, 30)
    wait_for_reader(consumer, readers=2)
    assert consumer.samples_needed[0] == 33
    consumer.put(samples(0, 13))
    assert consumer.samples_needed[0] == 20
    consumer.put(samples(10, 20))
    short.result(10)
    assert consumer.samples_needed[0] == 100
    consumer.put(samples(30, 100))
    long.result(10)


def test_a_read_larger_than_the_ring_needs_half_of_it_at_a_time(background):
    consumer = make(capacity=10)
    future = background(consumer.read, 24)
    wait_for_reader(consumer)
    assert consumer.samples_needed[0] == 5
    consumer.put(samples(0, 4))
    assert consumer.samples_needed[0] == 1
    consumer.put(samples(4, 6))
    while consumer.samples_needed[0] != 5:  # it has taken them
        assert not future.done()
    consumer.put(samples(10, 10))
    while consumer.samples_needed[0] != 4:
        assert not future.done()
    consumer.put(samples(20, 4))
    assert (future.result(10)[0] == samples(0, 24).reshape(-1)).all()


@pytest.mark.parametrize(('allow_overwrite', 'needed'), [(False, 250), (True, 500)])
def test_without_a_reader_it_needs_a_poll_when_half_of_the_free_space_is_filled(
    allow_overwrite, needed
):
    consumer = make(capacity=1000, allow_overwrite=allow_overwrite)
    assert consumer.samples_needed[1] == 500
    consumer.put(samples(0, 500))
    assert consumer.samples_needed[1] == needed
    consumer.put(samples(0, 500))
    assert consumer.samples_needed[1] == (500 if allow_overwrite else 1)


def test_it_needs_a_poll_when_its_finite_acquisition_is_complete():
    consumer = make(capacity=100, samples_to_acquire=100)
    consumer.put(samples(0, 90))
    assert consumer.samples_needed[1] == 5
    consumer = make(capacity=1000, samples_to_acquire=100)
    consumer.put(samples(0, 90))
    assert consumer.samples_needed[1] == 10
    consumer.put(samples(0, 10))
    assert consumer.samples_needed == (np.inf, np.inf), 'an ended stream needs nothing'


def test_it_tells_when_a_read_begins_to_wait(background):
    told = []
    consumer = make(tell_needs=told.append)
    consumer.put(samples(0, 10))
    consumer.read(4)
    assert told == []
    future = background(consumer.read, 20)
    wait_for_reader(consumer)
    assert told == [14]
    consumer.put(samples(0, 14))
    future.result(10)


def test_a_program_that_only_looks_gets_all_polls_there_may_be(background):
    for look in (lambda consumer: consumer.available_samples, lambda consumer: consumer.read()):
        told = []
        consumer = make(tell_needs=told.append)
        assert consumer.samples_needed[0] == 0, 'it may be such a program'
        future = background(consumer.read, 10)
        wait_for_reader(consumer)
        assert consumer.samples_needed[0] == 10, 'it waits'
        consumer.put(samples(0, 10))
        future.result(10)
        look(consumer)
        assert consumer.samples_needed[0] == np.inf, 'it may be about to wait'
        look(consumer)
        look(consumer)
        assert consumer.samples_needed[0] == 0
        assert told == [10, 0], 'once is enough'


def test_a_program_that_looks_no_more_is_forgotten(monkeypatch):
    monkeypatch.setattr(consumer_module, '_ATTENTION', 0.02)
    consumer = make()
    assert consumer.available_samples == consumer.available_samples
    end = time.perf_counter() + 10
    while consumer.samples_needed[0] == 0:
        assert time.perf_counter() < end, 'polled as often as possible for nobody'


def test_a_read_is_woken_only_when_it_can_go_on(background, monkeypatch):
    wakes = []

    class Condition(threading.Condition):
        def wait(self, timeout=None):
            super().wait(timeout)
            if threading.current_thread() is not threading.main_thread():
                wakes.append(timeout)

    monkeypatch.setattr(consumer_module.threading, 'Condition', Condition)
    consumer = make()
    long, short = background(consumer.read, 90), background(consumer.read, 10)
    wait_for_reader(consumer, readers=2)
    for first in range(0, 10, 2):
        consumer.put(samples(first, 2))
    short.result(10)
    for first in range(10, 100, 5):
        consumer.put(samples(first, 5))
    long.result(10)
    assert len(wakes) == 2, f'{len(wakes)} wakes for two reads'
