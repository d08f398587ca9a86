"""SampleRing keeps the newest unread samples in order, however it wraps."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qudi.util.instream.stream.ring import SampleRing


def store(ring, samples, timestamps=None):
    """Write samples behind the unread ones."""
    ring.write(samples, timestamps)


def rows(first, count, channels=2, dtype=np.float64):
    return np.arange(first * channels, (first + count) * channels, dtype=dtype).reshape(
        -1, channels
    )


def take(ring, samples, timestamps=None):
    """Read as a stream does: first copy, then forget."""
    ring.peek_into(samples, timestamps)
    ring.drop(len(samples))


def assert_unread(ring, first, count):
    """Read all, and compare with the rows from `first` on."""
    assert len(ring) == count
    samples = np.empty((count, 2))
    take(ring, samples)
    assert (samples == rows(first, count)).all()


def place_of_next(ring):
    """Where in the memory of the ring the next sample goes."""
    place, _ = ring.lend(1)
    store(ring, place[:0], np.empty(0))  # gives it back
    return (place.ctypes.data - place.base.ctypes.data) // place.base.strides[0]


@given(
    capacity=st.integers(1, 50),
    steps=st.lists(
        st.tuples(
            st.sampled_from(['write', 'lend', 'read', 'peek', 'drop', 'rewind']), st.integers(0, 60)
        )
    ),
    with_timestamps=st.booleans(),
)
def test_delivers_what_a_plain_list_would(capacity, steps, with_timestamps):
    ring = SampleRing(capacity, 2, np.int32, with_timestamps)
    unread, written = [], 0
    for step, count in steps:
        if step == 'write':
            count = min(count, ring.free)
            store(
                ring, rows(written, count, dtype=np.int32), np.arange(written, written + count) / 8
            )
            unread += range(written, written + count)
            written += count
        elif step == 'lend':
            place, times = ring.lend(count)
            assert len(place) <= count
            # The other end of the ring may be read before they are written
            ring.drop(len(unread) // 2)
            del unread[: len(unread) // 2]
            place[:] = rows(written, len(place), dtype=np.int32)
            if with_timestamps:
                times[:] = np.arange(written, written + len(place)) / 8
            store(ring, place, times)
            unread += range(written, written + len(place))
            written += len(place)
        elif step == 'rewind':
            ring.rewind()
        else:
            count = min(count, len(ring))
            expected = unread[:count]
            if step != 'peek':
                unread = unread[count:]
            if step == 'drop':
                ring.drop(count)
            else:
                samples = np.full((count, 2), -1, dtype=np.int32)
                timestamps = np.full(count, -1.0)
                ring.peek_into(samples, timestamps)
                if step == 'read':
                    ring.drop(count)
                assert samples[:, 0].tolist() == [2 * index for index in expected]
                assert samples[:, 1].tolist() == [2 * index + 1 for index in expected]
                if with_timestamps:
                    assert timestamps.tolist() == [index / 8 for index in expected]
                else:
                    assert (timestamps == -1).all(), 'a ring without timestamps wrote some'
        assert len(ring) == len(unread)
        assert ring.free == capacity - len(unread)


def test_what_was_lent_is_empty_only_if_nothing_fits():
    ring = SampleRing(5, 2, float)
    assert len(ring.lend(9)[0]) == 5
    store(ring, rows(0, 4))
    assert len(ring.lend(9)[0]) == 1
    store(ring, rows(4, 1))
    assert len(ring.lend(9)[0]) == 0


def test_samples_in_a_lent_place_are_not_copied_and_others_are():
    ring = SampleRing(5, 2, float)
    place, _ = ring.lend(3)
    place[:] = rows(0, 3)
    store(ring, rows(10, 2))  # something else came first
    store(ring, place[:1].copy())
    samples = np.empty((3, 2))
    take(ring, samples)
    assert (samples[:2] == rows(10, 2)).all()
    place, _ = ring.lend(2)
    place[:] = rows(20, 2)
    store(ring, place)
    take(ring, samples[:2])
    assert (samples[:2] == rows(20, 2)).all()


def test_refuses_more_than_fits_and_stays_as_it_was():
    ring = SampleRing(5, 2, float)
    store(ring, rows(0, 3))
    with pytest.raises(ValueError, match='3 samples do not fit'):
        store(ring, rows(3, 3))
    assert_unread(ring, 0, 3)


def test_refuses_to_read_or_drop_more_than_there_is():
    ring = SampleRing(5, 1, float)
    store(ring, rows(0, 2, 1))
    with pytest.raises(ValueError, match='3 samples cannot be read'):
        take(ring, np.empty((3, 1)))
    with pytest.raises(ValueError, match='3 samples cannot be dropped'):
        ring.drop(3)
    with pytest.raises(ValueError, match='-1 samples cannot be dropped'):
        ring.drop(-1)
    assert len(ring) == 2


@pytest.mark.parametrize(('capacity', 'channels'), [(0, 1), (1, 0), (-3, 2)])
def test_refuses_a_size_that_holds_nothing(capacity, channels):
    with pytest.raises(ValueError, match=f'got {capacity} x {channels}'):
        SampleRing(capacity, channels, float)


def test_refuses_samples_without_their_timestamps():
    ring = SampleRing(5, 1, float, with_timestamps=True)
    with pytest.raises(ValueError, match='needs an array of timestamps'):
        store(ring, rows(0, 1, 1))
    store(ring, rows(0, 1, 1), np.array([0.5]))
    with pytest.raises(ValueError, match='needs an array of timestamps'):
        take(ring, np.empty((1, 1)))
    assert len(ring) == 1


def test_keeps_timestamps_exact_beside_integer_samples():
    ring = SampleRing(3, 1, np.int16, with_timestamps=True)
    store(ring, np.array([[7]], dtype=np.int16), np.array([0.123456789]))
    timestamps = np.empty(1)
    take(ring, np.empty((1, 1), dtype=np.int16), timestamps)
    assert timestamps[0] == 0.123456789


@given(
    capacity=st.integers(20, 1000),
    counts=st.lists(st.integers(1, 4), min_size=10, max_size=100),
    with_timestamps=st.booleans(),
)
def test_a_ring_that_is_never_full_uses_its_beginning_only(capacity, counts, with_timestamps):
    """So its memory follows its fill, whatever its size."""
    ring = SampleRing(capacity, 2, np.int32, with_timestamps)
    memory, times = ring.lend(capacity)
    memory[:] = -1
    if with_timestamps:
        times[:] = -1
    store(ring, memory[:0], np.empty(0))
    written = most = 0
    for count in counts:
        store(ring, rows(written, count, dtype=np.int32), np.arange(written, written + count) / 8)
        written += count
        most = max(most, len(ring))
        ring.drop(len(ring) - len(ring) // 2)  # some are always left
        ring.rewind()
        samples, timestamps = np.empty((len(ring), 2), np.int32), np.empty(len(ring))
        ring.peek_into(samples, timestamps)
        assert (samples == rows(written - len(ring), len(ring), dtype=np.int32)).all()
        if with_timestamps:
            assert (timestamps == np.arange(written - len(ring), written) / 8).all()
    touched = 1 + np.flatnonzero(memory[:, 0] >= 0).max()
    # Samples move once a fifth of the way is theirs, after the next write at the latest
    assert touched <= 5 * most + 4, f'{touched} places were used for {most} samples at most'
    if with_timestamps:
        assert (times[touched:] == -1).all()


def test_many_samples_are_not_moved_at_once():
    ring = SampleRing(2**20, 2, float)  # 16 MiB
    store(ring, rows(0, 900_000))
    ring.drop(800_000)  # 1.6 MB are left
    ring.rewind()
    assert place_of_next(ring) == 900_000, 'readers and the writer wait meanwhile'
    ring.drop(50_000)
    ring.rewind()
    assert place_of_next(ring) == 50_000
    assert_unread(ring, 850_000, 50_000)


def test_a_mebibyte_may_be_moved_at_once():
    ring = SampleRing(2**20, 2, float)
    store(ring, rows(0, 2**19))
    ring.drop(2**19 - 2**16)
    ring.rewind()
    assert place_of_next(ring) == 2**16


def test_one_thread_may_write_while_another_reads():
    ring = SampleRing(64, 2, np.int64, with_timestamps=True)
    total = 20_000

    def write():
        written = 0
        while written < total:
            count = min(1 + written % 17, ring.free, total - written)
            place, times = ring.lend(count) if written % 2 else (None, None)
            if place is None:
                place, times = np.empty((count, 2), np.int64), np.empty(count)
            count = len(place)
            place[:] = rows(written, count, dtype=np.int64)
            times[:] = np.arange(written, written + count) / 8
            store(ring, place, times)
            written += count

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    read = 0
    while read < total:
        count = len(ring)
        samples, timestamps = np.empty((count, 2), np.int64), np.empty(count)
        take(ring, samples, timestamps)
        assert (samples == rows(read, count, dtype=np.int64)).all()
        assert (timestamps == np.arange(read, read + count) / 8).all()
        read += count
    thread.join(10)


def test_says_what_it_is():
    ring = SampleRing(5, 2, np.int16, with_timestamps=True)
    store(ring, np.zeros((3, 2), dtype=np.int16), np.zeros(3))
    assert repr(ring) == 'SampleRing(3 of 5 samples unread, 2 channels, int16, timestamps)'
    assert repr(SampleRing(5, 1, float)) == 'SampleRing(0 of 5 samples unread, 1 channels, float64)'


def test_the_newest_sample_is_the_newest_one_wherever_the_ring_begins():
    ring = SampleRing(10, 2, float, with_timestamps=True)
    for number in range(50):
        store(ring, rows(number, 1), np.array([number + 0.5]))
        sample, timestamp = ring.newest()
        assert sample.tolist() == rows(number, 1)[0].tolist()
        assert timestamp == number + 0.5
        if len(ring) == 3:
            ring.drop(2)
            ring.rewind()
    ring = SampleRing(10, 2, float)
    store(ring, rows(0, 3))
    assert ring.newest()[1] is None


@pytest.mark.parametrize(
    ('written', 'dropped', 'place'),
    [
        (5, 4, 1),  # four times as many places are free as are needed, up to the very end
        (4, 3, 4),  # three times as many are not enough
        (1, 1, 0),  # an empty ring begins anew
        (5, 5, 0),
    ],
)
def test_a_ring_begins_anew_once_four_fifths_of_its_way_are_free(written, dropped, place):
    ring = SampleRing(5, 2, float)
    store(ring, rows(0, written))
    ring.drop(dropped)
    ring.rewind()
    assert place_of_next(ring) == place
    assert_unread(ring, dropped, written - dropped)


def test_samples_are_not_moved_to_where_others_are():
    ring = SampleRing(10, 2, float)
    for first in range(0, 16, 4):
        store(ring, rows(first, 4))
        ring.drop(4 if first < 12 else 1)
    ring.rewind()
    assert place_of_next(ring) == 6, 'three samples begin at the fourth place'
    assert_unread(ring, 13, 3)


def test_samples_on_both_sides_of_the_end_of_the_memory_are_not_moved():
    ring = SampleRing(10, 2, float)
    store(ring, rows(0, 9))
    ring.drop(9)
    store(ring, rows(9, 2))
    ring.rewind()
    assert_unread(ring, 9, 2)


@pytest.mark.parametrize('moved_before', [False, True])
def test_a_lent_place_stays_where_it_is_and_behind_the_newest_sample(moved_before):
    ring = SampleRing(10, 2, float)
    store(ring, rows(0, 7))
    ring.drop(6)
    if moved_before:
        ring.rewind()
    place, _ = ring.lend(4)
    ring.rewind()
    assert len(place) == (4 if moved_before else 3)
    place[:] = rows(7, len(place))
    store(ring, place)
    assert_unread(ring, 6, 1 + len(place))
