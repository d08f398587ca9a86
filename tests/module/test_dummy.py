"""Buffers on qudi's own InStreamDummy: all timings, float and integer, finite and endless."""

import time

import numpy as np
import pytest
from qudi.interface.data_instream_interface import SampleTiming, StreamingMode

from qudi.util.instream.device import registry


@pytest.fixture
def make_buffers(qudi):
    """Two buffers on a dummy with the given timing and data type."""

    def make(timing, dtype='float64', **options):
        signals = ['counts', 'counts' if dtype.startswith('int') else 'sine']
        qudi.add_dummy(channel_signals=signals, data_type=dtype, sample_timing=timing)
        qudi.activate('streamer')
        options.setdefault('max_poll_rate', 200)
        return [qudi.add_buffer(f'buffer{i}', **options) for i in (1, 2)]

    return make


@pytest.mark.parametrize('timing', ['CONSTANT', 'TIMESTAMP', 'RANDOM'])
@pytest.mark.parametrize('dtype', ['float64', 'float32', 'int32', 'int64'])
def test_both_buffers_deliver_the_same_stream(make_buffers, timing, dtype):
    buffers = make_buffers(timing, dtype)
    for buffer in buffers:
        buffer.configure(['APD', 'analog 1'], StreamingMode.CONTINUOUS, 10_000, 5000)
    for buffer in buffers:
        buffer.start_stream()
    records = []
    for buffer in buffers:
        parts = [buffer.read_data(count) for count in (1, 500, 1000, 17)]
        records.append([np.concatenate([part[0] for part in parts]).reshape(-1, 2)])
        if SampleTiming[timing] is SampleTiming.TIMESTAMP:
            stamps = np.concatenate([part[1] for part in parts])
            assert (np.diff(stamps) >= 0).all()
            assert 0 <= stamps[0] < stamps[-1] < 10
            records[-1].append(stamps + buffer.status.timestamp_offset)
    for buffer in buffers:
        buffer.stop_stream()
    first, second = records
    assert first[0].dtype == dtype
    # The second one began a little later in the same stream
    shared = np.flatnonzero((first[0] == second[0][0]).all(axis=1))
    assert len(shared), 'the second stream does not begin within the first'
    offset = shared[0]
    assert offset < 500
    for one, other in zip(first, second, strict=True):
        assert np.allclose(one[offset:], other[: len(other) - offset], rtol=0, atol=1e-9)


def test_channels_are_named_by_what_is_in_them(make_buffers):
    first, second = make_buffers('CONSTANT')
    first.configure(['analog 1', 'APD'], StreamingMode.CONTINUOUS, 1000, 1000)
    second.configure(['APD'], StreamingMode.CONTINUOUS, 1000, 1000)
    first.start_stream()
    second.start_stream()
    both = first.read_data(200)[0].reshape(-1, 2)
    counts = second.read_data(100)[0]
    first.stop_stream()
    second.stop_stream()
    assert (np.abs(both[:, 0]) < 30).all(), 'the sine has an amplitude below 15 V'
    assert (both[:, 1] > 100).all(), 'counts are above 100 Hz'
    assert np.isin(counts, both[:, 1]).any()
    assert (counts > 100).all()


def test_a_finite_acquisition_is_complete_and_stops_the_dummy(make_buffers, qudi, wait_until):
    buffers = make_buffers('CONSTANT', max_poll_rate=5)  # 200 ms to start them both
    for buffer in buffers:
        buffer.configure(['APD'], StreamingMode.FINITE, 700, 2000)
    for buffer in buffers:
        buffer.start_stream()
    records = [buffer.read_data(700)[0] for buffer in buffers]
    assert (records[0] == records[1]).all()
    for buffer in buffers:
        with pytest.raises(RuntimeError, match='all 700 samples were acquired'):
            buffer.read_data(1)
    wait_until(lambda: qudi['streamer'].module_state() == 'idle', 'the dummy was stopped')


def test_buffers_started_one_after_the_other_share_a_fast_finite_acquisition(make_buffers):
    buffers = make_buffers('CONSTANT', max_poll_rate=5)  # 200 ms to start them both
    for buffer in buffers:
        buffer.configure(['APD'], StreamingMode.FINITE, 5000, 20_000)
    for _ in range(3):
        for buffer in buffers:
            buffer.start_stream()
        records = [buffer.read_data(5000)[0] for buffer in buffers]
        assert (records[0] == records[1]).all()


def test_an_overflow_in_the_dummy_itself_is_a_fault_of_the_hardware(make_buffers, wait_until):
    buffer, other = make_buffers('CONSTANT')
    for one in (buffer, other):
        one.configure(['APD'], StreamingMode.CONTINUOUS, 100_000, 1_000_000)
    buffer.start_stream()
    (distributor,) = registry.distributors()
    distributor.thread.run(lambda: time.sleep(0.3), 'The test')  # no poll meanwhile
    wait_until(lambda: buffer.module_state() == 'idle', 'the fault was noticed')
    with pytest.raises(RuntimeError, match='OverflowError: Sample buffer has overflown') as caught:
        buffer.read_data(100_000)
    assert isinstance(caught.value.__cause__, OverflowError)
    assert other.module_state() == 'idle'


def test_a_buffer_smaller_than_a_poll_streams_as_the_dummy_does_directly(qudi):
    qudi.add_dummy()
    buffer = qudi.add_buffer('buffer', max_poll_rate=10)
    buffer.configure(['APD'], StreamingMode.CONTINUOUS, 128, 2000)
    buffer.start_stream()
    counts = [len(buffer.read_data(64)[0]) for _ in range(31)]  # one second
    assert sum(counts) == 31 * 64
    assert qudi['streamer'].channel_buffer_size >= 3 * 2000 / 10, 'no room for three polls'
    assert buffer.channel_buffer_size == 128
    assert buffer.status.ring_size >= 3 * 2000 / 10, 'the ring holds less than three polls bring'
    buffer.stop_stream()
