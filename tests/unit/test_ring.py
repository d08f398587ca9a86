"""SampleRing keeps the newest unread samples in order, however it wraps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qudi.util.instream.ring import SampleRing


def rows(first, count, channels=2, dtype=np.float64):
    return np.arange(first * channels, (first + count) * channels, dtype=dtype).reshape(
        -1, channels
    )


@given(
    capacity=st.integers(1, 50),
    steps=st.lists(
        st.tuples(st.sampled_from(['write', 'lend', 'read', 'drop']), st.integers(0, 60))
    ),
    with_timestamps=st.booleans(),
)
def test_delivers_what_a_plain_list_would(capacity, steps, with_timestamps):
    ring = SampleRing(capacity, 2, np.int32, with_timestamps)
    unread, written = [], 0
    for step, count in steps:
        if step == 'write':
            count = min(count, ring.free)
            ring.write(
                rows(written, count, dtype=np.int32), np.arange(written, written + count) / 8
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
            ring.write(place, times)
            unread += range(written, written + len(place))
            written += len(place)
        else:
            count = min(count, len(ring))
            expected, unread = unread[:count], unread[count:]
            if step == 'drop':
                ring.drop(count)
            else:
                samples = np.full((count, 2), -1, dtype=np.int32)
                timestamps = np.full(count, -1.0)
                ring.read_into(samples, timestamps)
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
    ring.write(rows(0, 4))
    assert len(ring.lend(9)[0]) == 1
    ring.write(rows(4, 1))
    assert len(ring.lend(9)[0]) == 0


def test_samples_in_a_lent_place_are_not_copied_and_others_are():
    ring = SampleRing(5, 2, float)
    place, _ = ring.lend(3)
    place[:] = rows(0, 3)
    ring.write(rows(10, 2))  # something else came first
    ring.write(place[:1].copy())
    samples = np.empty((3, 2))
    ring.read_into(samples)
    assert (samples[:2] == rows(10, 2)).all()
    place, _ = ring.lend(2)
    place[:] = rows(20, 2)
    ring.write(place)
    ring.read_into(samples[:2])
    assert (samples[:2] == rows(20, 2)).all()


def test_refuses_more_than_fits_and_stays_as_it_was():
    ring = SampleRing(5, 2, float)
    ring.write(rows(0, 3))
    with pytest.raises(ValueError, match='3 samples do not fit'):
        ring.write(rows(3, 3))
    samples = np.empty((3, 2))
    ring.read_into(samples)
    assert (samples == rows(0, 3)).all()


def test_refuses_to_read_or_drop_more_than_there_is():
    ring = SampleRing(5, 1, float)
    ring.write(rows(0, 2, 1))
    with pytest.raises(ValueError, match='3 samples cannot be read'):
        ring.read_into(np.empty((3, 1)))
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
        ring.write(rows(0, 1, 1))
    ring.write(rows(0, 1, 1), np.array([0.5]))
    with pytest.raises(ValueError, match='needs an array of timestamps'):
        ring.read_into(np.empty((1, 1)))
    assert len(ring) == 1


def test_keeps_timestamps_exact_beside_integer_samples():
    ring = SampleRing(3, 1, np.int16, with_timestamps=True)
    ring.write(np.array([[7]], dtype=np.int16), np.array([0.123456789]))
    timestamps = np.empty(1)
    ring.read_into(np.empty((1, 1), dtype=np.int16), timestamps)
    assert timestamps[0] == 0.123456789


def test_says_what_it_is():
    ring = SampleRing(5, 2, np.int16, with_timestamps=True)
    ring.write(np.zeros((3, 2), dtype=np.int16), np.zeros(3))
    assert repr(ring) == 'SampleRing(3 of 5 samples unread, 2 channels, int16, timestamps)'
