"""Right samples under the right label: channels, timestamps, rates and modes of real devices."""

import itertools
import time

import numpy as np
import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.hardware.instream_buffer.simulator import (
    FIXED_RATE,
    OwnStreamingMode,
    foretold_samples,
    foretold_timestamps,
)

# -------------------------------------------------------------------- channel order


def test_each_buffer_gets_its_channels_whatever_an_idle_one_asked_for_last(make_bench):
    bench = make_bench(channels=['a', 'b', 'c'], habits=['request order'])
    both, one, idle = bench.buffers(3)
    configure(both, ['a', 'c'])
    configure(one, ['c'])
    configure(idle, ['c', 'a'])
    both.start_stream()
    one.start_stream()
    bench.produce(10)
    bench.assert_delivers(both, 0, 10)
    bench.assert_delivers(one, 0, 10)
    both.stop_stream()
    one.stop_stream()


@pytest.mark.parametrize('habits', [['request order'], []], ids=['request order', 'own order'])
@pytest.mark.parametrize('channels', list(itertools.permutations('abc', 2)), ids=''.join)
def test_a_buffer_alone_gets_its_channels_in_its_own_order(make_bench, habits, channels):
    bench = make_bench(habits=habits)
    (buffer,) = bench.buffers(1)
    configure(buffer, channels)
    buffer.start_stream()
    bench.produce(10)
    assert buffer.active_channels == list(channels)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
def test_what_the_device_holds_does_not_depend_on_who_configured_last(make_bench, order):
    bench = make_bench(habits=['request order'])
    buffers = bench.buffers(3)
    requests = [['b', 'a'], ['c', 'b', 'a'], ['a', 'c']]
    for number in order:
        configure(buffers[number], requests[number])
    buffers[0].start_stream()
    assert bench.device.active_channels == ['a', 'b', 'c']
    for buffer in buffers[1:]:
        buffer.start_stream()
    bench.produce(10)
    for buffer in buffers:
        bench.assert_delivers(buffer, 0, 10)
        buffer.stop_stream()


def test_a_device_that_another_program_configured_in_another_order_is_put_in_its_own(make_bench):
    bench = make_bench(habits=['request order'])
    bench.device.configure(['c', 'a'], StreamingMode.CONTINUOUS, 1000, 100.0)
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    assert set(buffer.active_channels) == {'a', 'c'}
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


# -------------------------------------------------------------------- channel keys


@pytest.mark.parametrize('channels', [[True, 2], [1.5], [2, 1.5, True]])
def test_channels_with_numbers_as_names_are_passed_on_as_they_are(make_bench, channels):
    bench = make_bench(channels=[2, 1.5, True])
    narrow, wide = bench.buffers(2)
    configure(narrow, channels)
    configure(wide, [2, 1.5, True])
    narrow.start_stream()
    wide.start_stream()
    held = bench.device.configure_calls[-1][0]
    assert [type(channel) for channel in held] == [int, float, bool], f'the device got {held}'
    assert narrow.active_channels == channels
    bench.produce(10)
    bench.assert_delivers(narrow, 0, 10)
    bench.assert_delivers(wide, 0, 10)
    narrow.stop_stream()
    wide.stop_stream()


# -------------------------------------------------------------------- timestamps


@pytest.fixture
def stamped(make_bench):
    """A device that makes 1000 samples a second, each with its timestamp."""
    return make_bench(channels=['a', 'b'], sample_timing='TIMESTAMP', clocked=True)


def start_stamped(buffer):
    configure(buffer, size=100_000, rate=1000.0)
    buffer.start_stream()


def test_timestamps_count_from_the_start_of_the_own_stream(stamped, qtbot):
    first, late = stamped.buffers(2)
    start_stamped(first)
    qtbot.wait(1000)
    joined_at = time.perf_counter() - stamped.device.started_at
    start_stamped(late)
    data, timestamps = late.read_data(100)
    assert 0 <= timestamps[0] < 0.2, (
        f'the first timestamp of a stream that has just begun is {timestamps[0]:.3f} s'
    )
    index = int(data[0]) // 16
    assert np.allclose(np.diff(timestamps), 1e-3)
    offset = late.status.timestamp_offset
    assert type(offset) is float
    assert offset == pytest.approx(joined_at, abs=0.2)
    assert np.allclose(timestamps + offset, foretold_timestamps(index, 100), rtol=0, atol=1e-9)
    first.stop_stream()
    late.stop_stream()


def test_the_first_buffer_has_the_time_of_the_device(stamped):
    (buffer,) = stamped.buffers(1)
    start_stamped(buffer)
    _, timestamps = buffer.read_data(100)
    assert np.allclose(timestamps, foretold_timestamps(0, 100), rtol=0, atol=1e-9)
    assert buffer.status.timestamp_offset == 0.0
    buffer.stop_stream()


def test_two_streams_have_a_common_time_with_their_offsets(stamped, qtbot):
    first, late = stamped.buffers(2)
    start_stamped(first)
    for _ in range(3):
        qtbot.wait(300)
        start_stamped(late)
        data, timestamps = late.read_data(50)
        late_times = dict(
            zip(data[::2].tolist(), timestamps + late.status.timestamp_offset, strict=True)
        )
        data, timestamps = first.read_data(int(data[-1]) // 16 + 1 - first.status.samples_read)
        first_times = dict(
            zip(data[::2].tolist(), timestamps + first.status.timestamp_offset, strict=True)
        )
        for sample, moment in late_times.items():
            assert moment == pytest.approx(first_times[sample], abs=1e-9)
        assert late.status.timestamp_offset > 0.25, 'a late stream begins at the time of the device'
        late.stop_stream()
    first.stop_stream()


def test_a_stream_without_timestamps_has_no_offset(bench):
    (buffer,) = bench.buffers(1)
    assert buffer.status.timestamp_offset == 0.0
    buffer.start_stream()
    assert buffer.status.timestamp_offset == 0.0
    buffer.stop_stream()


# -------------------------------------------------------------------- rates


@pytest.mark.parametrize('timing', ['TIMESTAMP', 'RANDOM'])
def test_a_rate_that_is_a_hint_is_always_the_live_value_of_the_device(make_bench, timing):
    bench = make_bench(sample_timing=timing)
    bench.device.faults.add('measure rate')
    first, second = bench.buffers(2)
    configure(first, rate=35.0)
    first.start_stream()
    configure(second, rate=1000.0)
    second.start_stream()
    for buffer in (first, second):
        assert 35.0 <= buffer.sample_rate <= 35.4, f'{buffer.module_name} shows its own request'
    bench.produce(10)
    assert (second.read_data(10)[0].reshape(-1, 2) == foretold_samples(0, 10, 'ab')).all()
    first.stop_stream()
    second.stop_stream()


def test_two_rates_that_a_device_turns_into_one_are_both_served(make_bench):
    bench = make_bench(habits=['fixed rate'])
    first, second = bench.buffers(2)
    configure(first, rate=50.0)
    configure(second, rate=100.0)
    first.start_stream()
    second.start_stream()
    assert first.sample_rate == second.sample_rate == FIXED_RATE
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    bench.assert_delivers(second, 0, 10)
    first.stop_stream()
    second.stop_stream()


@pytest.mark.parametrize('when', ['idle', 'running'])
def test_the_rate_that_a_fixed_device_reports_is_served(make_bench, when):
    bench = make_bench(habits=['fixed rate'], clocked=True)
    first, second = bench.buffers(2)
    configure(first, size=100_000, rate=50.0)
    if when == 'idle':
        configure(second, size=100_000, rate=FIXED_RATE)
    first.start_stream()
    if when == 'running':
        configure(second, size=100_000, rate=FIXED_RATE)
    second.start_stream()
    first.read_data(3000)
    data, _ = second.read_data(3000)
    assert (data.reshape(-1, 2) == foretold_samples(int(data[0]) // 16, 3000, 'ab')).all()
    first.stop_stream()
    second.stop_stream()


@pytest.mark.parametrize('earlier', [None, 123.0])
def test_a_device_that_measures_its_rate_serves_no_other_one_beside_it(make_bench, earlier):
    bench = make_bench(habits=['rate when running'])
    first, second = bench.buffers(2)
    if earlier:
        configure(first, rate=earlier)
        bench.assert_streams(first)
    configure(first, rate=1000.0)
    configure(second, rate=50.0)
    first.start_stream()
    with pytest.raises(RuntimeError, match='50 Hz requested, 1000 Hz running'):
        second.start_stream()  # its time axis would be wrong
    configure(second, rate=1000.0)
    second.start_stream()
    bench.produce(10)
    for buffer in (first, second):
        bench.assert_delivers(buffer, 0, 10)
        assert buffer.sample_rate == 1000.0
        buffer.stop_stream()


def test_two_rates_that_a_device_keeps_apart_still_conflict(bench):
    first, second = bench.buffers(2)
    configure(first, rate=50.0)
    configure(second, rate=100.0)
    first.start_stream()
    with pytest.raises(RuntimeError, match='100 Hz'):
        second.start_stream()
    first.stop_stream()


# -------------------------------------------------------------------- modes


@pytest.mark.parametrize('beside', ['alone', 'beside another buffer'])
def test_a_mode_that_the_constraints_do_not_have_is_refused(make_bench, beside):
    bench = make_bench(habits=['continuous only'])
    buffer, other = bench.buffers(2)
    if beside != 'alone':
        other.start_stream()
    calls = len(bench.device.configure_calls)
    with pytest.raises(ValueError, match=r'"buffer1" cannot be configured.*FINITE'):
        configure(buffer, mode=StreamingMode.FINITE)
    assert len(bench.device.configure_calls) == calls
    assert buffer.streaming_mode is StreamingMode.CONTINUOUS
    if beside != 'alone':
        other.stop_stream()


@pytest.mark.parametrize('mode', [StreamingMode.CONTINUOUS, OwnStreamingMode.CONTINUOUS, 0])
def test_a_device_with_its_own_enums_gets_its_own_member(make_bench, mode):
    bench = make_bench(habits=['own enums'])
    first, second = bench.buffers(2)
    first.configure(['b', 'a'], mode, 1000, 100.0)
    first.start_stream()
    second.configure(['a'], mode, 1000, 100.0)
    second.start_stream()
    assert bench.device.configure_calls[-1][1] is bench.device.constraints.streaming_modes[0]
    assert first.streaming_mode.name == first.status.streaming_mode == 'CONTINUOUS'
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    bench.assert_delivers(second, 0, 10)
    first.stop_stream()
    second.stop_stream()


@pytest.mark.parametrize('mode', [StreamingMode.FINITE, OwnStreamingMode.FINITE, 1])
def test_a_finite_acquisition_with_foreign_enums_has_its_samples(make_bench, mode):
    bench = make_bench(habits=['own enums'])
    (buffer,) = bench.buffers(1)
    buffer.configure(['a', 'b'], mode, 50, 100.0)
    assert bench.device.configure_calls[-1][1] is bench.device.constraints.streaming_modes[1]
    buffer.start_stream()
    bench.device.produce(80)
    data, _ = buffer.read_data(50)
    assert (data.reshape(-1, 2) == foretold_samples(0, 50, 'ab')).all()
    with pytest.raises(RuntimeError, match='all 50 samples were acquired'):
        buffer.read_data(1)


def test_an_unconfigured_buffer_streams_from_a_device_with_foreign_enums(make_bench):
    bench = make_bench(habits=['own enums'])
    (buffer,) = bench.buffers(1)
    assert buffer.streaming_mode.name == 'CONTINUOUS'
    buffer.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_the_timing_of_a_device_with_foreign_enums_is_known_by_its_name(make_bench):
    bench = make_bench(habits=['own enums'], sample_timing='TIMESTAMP')
    (buffer,) = bench.buffers(1)
    buffer.configure(['a'], StreamingMode.CONTINUOUS, 1000, 100.0)
    buffer.start_stream()
    bench.produce(10)
    data, timestamps = buffer.read_data(10)
    assert (data == foretold_samples(0, 10, 'a')[:, 0]).all()
    assert timestamps is not None, 'the timestamps of the device are lost'
    assert np.allclose(np.diff(timestamps), 1e-3)
    buffer.stop_stream()


def test_silence_of_a_device_with_foreign_enums_and_constant_timing_is_a_timeout(
    make_bench, background
):
    bench = make_bench(habits=['own enums'])
    buffer = bench.buffer('buffer', read_timeout=0.2)
    buffer.configure(['a'], OwnStreamingMode.CONTINUOUS, 1000, 100.0)
    buffer.start_stream()
    read = background(buffer.read_data, 1)
    assert isinstance(read.exception(5), TimeoutError)
    buffer.stop_stream()


# -------------------------------------------------------------------- None


def test_none_means_as_it_is(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer, ['b', 'a'], size=500, rate=50.0)
    buffer.configure(['c', 'a'], None, 700, None)
    assert bench.device.configure_calls[-1] == (
        ['a', 'c'],
        StreamingMode.CONTINUOUS,
        700,
        50.0,
    )
    assert (buffer.active_channels, buffer.sample_rate) == (['c', 'a'], 50.0)
    buffer.configure(None, StreamingMode.FINITE, None, 20.0)
    assert bench.device.configure_calls[-1] == (['a', 'c'], StreamingMode.FINITE, 700, 20.0)
    assert (buffer.active_channels, buffer.channel_buffer_size) == (['c', 'a'], 700)


@pytest.mark.parametrize('timing', ['CONSTANT', 'TIMESTAMP'])
def test_none_in_a_first_configure_is_what_the_device_has(make_bench, timing):
    bench = make_bench(sample_timing=timing)
    bench.device.configure(['a'], StreamingMode.CONTINUOUS, 300, 40.0)
    first, second = bench.buffers(2)
    first.configure(
        active_channels=['d'], streaming_mode=None, channel_buffer_size=200, sample_rate=None
    )
    assert bench.device.configure_calls[-1] == (['d'], StreamingMode.CONTINUOUS, 200, 40.0)
    first.start_stream()
    second.configure(['d'], None, 100, None)  # beside a stream: as that is
    second.start_stream()
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    assert (second.read_data(10)[0] == foretold_samples(0, 10, 'd')[:, 0]).all()
    first.stop_stream()
    second.stop_stream()
