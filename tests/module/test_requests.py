"""Each buffer keeps its own request; only a stream that can serve it is shared."""

import math
import threading
import time

import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.util.instream.device import registry
from qudi.util.instream.stream import StreamEnd


def values(buffer):
    return (
        buffer.active_channels,
        buffer.streaming_mode,
        buffer.channel_buffer_size,
        buffer.sample_rate,
    )


def test_before_its_first_configure_a_buffer_reports_the_device(bench):
    first, second = bench.buffers(2)
    assert values(second) == (['a', 'b', 'c', 'd'], StreamingMode.CONTINUOUS, 1000, 100.0)
    configure(first, ['b'], size=77, rate=5)
    assert values(second) == (['b'], StreamingMode.CONTINUOUS, 77, 5)


def test_each_buffer_reports_its_own_request_whatever_others_ask_for(bench):
    first, second = bench.buffers(2)
    configure(first, ['c', 'a'], size=500, rate=10)
    configure(second, ['d'], StreamingMode.FINITE, 20, 200)
    assert values(first) == (['c', 'a'], StreamingMode.CONTINUOUS, 500, 10)
    assert values(second) == (['d'], StreamingMode.FINITE, 20, 200)


def test_an_unconfigured_buffer_streams_what_the_device_holds(bench):
    first, second = bench.buffers(2)
    configure(first, ['d', 'b'])
    second.start_stream()
    first.start_stream()
    bench.produce(10)
    assert second.active_channels == ['b', 'd']
    bench.assert_delivers(second, 0, 10)
    bench.assert_delivers(first, 0, 10)
    first.stop_stream()
    second.stop_stream()


def test_start_applies_the_own_request_where_the_device_holds_another(bench):
    first, second = bench.buffers(2)
    configure(first, ['a'], size=100, rate=10)
    configure(second, ['b', 'c'], size=200, rate=20)
    first.start_stream()
    assert (bench.device.active_channels, bench.device.sample_rate) == (['a'], 10)
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    first.stop_stream()
    second.start_stream()
    assert (bench.device.active_channels, bench.device.sample_rate) == (['b', 'c'], 20)
    bench.produce(10)
    bench.assert_delivers(second, 0, 10)
    second.stop_stream()


def test_start_configures_nothing_where_the_device_holds_the_request(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer)
    for _ in range(3):
        buffer.start_stream()
        buffer.stop_stream()
    assert len(bench.device.configure_calls) == 1


def test_start_notices_that_somebody_else_configured_the_device(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer, ['a'], rate=10)
    bench.device.configure(['b'], StreamingMode.CONTINUOUS, 50, 20.0)
    buffer.start_stream()
    assert (bench.device.active_channels, bench.device.sample_rate) == (['a'], 10)
    buffer.stop_stream()


def test_errors_of_the_device_pass_unchanged_and_leave_the_request(bench):
    (buffer,) = bench.buffers(1)
    configure(buffer, ['a'])
    with pytest.raises(ValueError, match='simulator has no channels'):
        configure(buffer, ['x'])
    assert buffer.active_channels == ['a']
    buffer.start_stream()
    bench.produce(5)
    bench.assert_delivers(buffer, 0, 5)
    buffer.stop_stream()


def test_a_buffer_can_be_configured_as_soon_as_its_stream_has_ended(make_bench):
    """Without waiting for the next poll, which lets go of it."""
    buffer = make_bench(clocked=True).buffer('buffer1', max_poll_rate=0.2)
    configure(buffer)
    buffer.start_stream()
    buffer.read_data(1)  # the next poll comes in 5 s
    buffer.stream.end(StreamEnd.STOPPED, 'its client has stopped it')
    configure(buffer, rate=200)
    buffer.start_stream()
    assert buffer.sample_rate == 200
    buffer.stop_stream()


def test_a_running_buffer_cannot_be_configured(bench):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    with pytest.raises(RuntimeError, match='"buffer1" cannot be configured while it is streaming'):
        configure(buffer)
    buffer.stop_stream()
    configure(buffer)


def test_configure_while_another_runs_never_touches_the_device(bench):
    first, second = bench.buffers(2)
    configure(first, ['a', 'b', 'c'])
    first.start_stream()
    configure(second, rate=1)
    configure(second, ['d'], StreamingMode.FINITE)
    with pytest.raises(ValueError, match='"buffer2" cannot be configured: active_channels'):
        configure(second, ['x'])
    assert values(second) == (['d'], StreamingMode.FINITE, 1000, 100.0)
    configure(second, ['c', 'a'], size=50)
    assert len(bench.device.configure_calls) == 1
    second.start_stream()
    bench.produce(50)
    bench.assert_delivers(second, 0, 50)
    bench.assert_delivers(first, 0, 50)
    first.stop_stream()
    second.stop_stream()


@pytest.mark.parametrize(
    'same',
    [
        (('b', 'a'), StreamingMode.CONTINUOUS, 1000, 100.0),
        (['a', 'b'], 0, 1000.0, 100),
        (iter(['a', 'b']), StreamingMode(0), 1000, 100.00000001),
    ],
)
def test_another_way_of_writing_the_same_is_no_conflict(bench, same):
    first, second = bench.buffers(2)
    configure(first)
    first.start_stream()
    second.configure(*same)
    second.start_stream()
    bench.produce(5)
    bench.assert_delivers(second, 0, 5)
    first.stop_stream()
    second.stop_stream()


@pytest.mark.parametrize(
    ('request_', 'text'),
    [
        ({'rate': 50.0}, 'sample rate: 50 Hz requested, 100 Hz running'),
        ({'mode': StreamingMode.FINITE}, 'streaming mode: FINITE requested, CONTINUOUS running'),
        ({'channels': ['a', 'd']}, r"channels: \['a', 'd'\] requested, \['a', 'b'\] running"),
    ],
)
def test_a_conflict_names_the_running_buffer_and_both_values(bench, request_, text):
    first, second = bench.buffers(2)
    configure(first)
    first.start_stream()
    configure(second, **request_)  # so that its window can be opened
    remembered = values(second)
    with pytest.raises(RuntimeError, match=f'"buffer2".*while "buffer1" streams.*{text}'):
        second.start_stream()
    assert values(second) == remembered
    assert second.module_state() == 'idle'
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    first.stop_stream()
    second.start_stream()
    second.stop_stream()


def test_start_refuses_a_request_that_the_running_stream_cannot_serve(bench):
    first, second = bench.buffers(2)
    configure(first, rate=10)
    configure(second, rate=20)
    first.start_stream()
    with pytest.raises(RuntimeError, match='sample rate: 20 Hz requested, 10 Hz running'):
        second.start_stream()
    assert second.module_state() == 'idle'
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    first.stop_stream()
    second.start_stream()
    assert bench.device.sample_rate == 20
    second.stop_stream()


def test_a_ring_size_that_the_constraints_forbid_is_refused(bench):
    first, second = bench.buffers(2)
    first.start_stream()
    with pytest.raises(ValueError, match='0'):
        configure(second, size=0)
    first.stop_stream()


@pytest.mark.parametrize('wide_first', [True, False])
def test_one_channel_and_both_channels_stream_together_in_any_order(bench, wide_first):
    narrow, wide = bench.buffers(2)
    order = [wide, narrow] if wide_first else [narrow, wide]
    for buffer in order:
        configure(buffer, ['a', 'b'] if buffer is wide else ['b'])
    for buffer in reversed(order):
        buffer.start_stream()
    bench.produce(10)
    assert (narrow.active_channels, wide.active_channels) == (['b'], ['a', 'b'])
    bench.assert_delivers(narrow, 0, 10)
    bench.assert_delivers(wide, 0, 10)
    narrow.stop_stream()
    wide.stop_stream()


def test_a_device_that_refuses_the_channels_of_all_gets_those_of_the_first(bench):
    first, second = bench.buffers(2)
    configure(first, ['a'])
    configure(second, ['b'])
    bench.device.faults.add('one channel only')
    first.start_stream()
    assert bench.device.active_channels == ['a']
    bench.produce(10)
    bench.assert_delivers(first, 0, 10)
    with pytest.raises(RuntimeError, match='channels'):
        second.start_stream()
    first.stop_stream()


@pytest.mark.parametrize('timing', ['CONSTANT', 'TIMESTAMP'])
def test_the_device_gets_the_largest_buffer_that_one_of_them_asked_for(make_bench, timing):
    bench = make_bench(sample_timing=timing)
    live, record, other_rate = bench.buffers(3)
    configure(record, size=5000)
    configure(other_rate, size=9000, rate=200)
    configure(live, size=50)
    live.start_stream()
    assert bench.device.channel_buffer_size == (5000 if timing == 'CONSTANT' else 9000)
    assert (live.channel_buffer_size, live.status.ring_size) == (50, 50)
    live.stop_stream()
    configure(live, mode=StreamingMode.FINITE, size=50)
    live.start_stream()
    assert bench.device.channel_buffer_size == 50, 'more would be acquired than anybody wants'
    live.stop_stream()


def test_a_device_that_refuses_the_largest_buffer_still_gets_the_channels_of_all(
    bench, monkeypatch
):
    first, second = bench.buffers(2)
    configure(second, ['b'], size=5000)
    configure(first, ['a'], size=50)
    device_configure = bench.device.configure

    def refuse_large_buffers(active_channels, streaming_mode, channel_buffer_size, sample_rate):
        if channel_buffer_size > 1000:
            raise ValueError('too large')
        device_configure(active_channels, streaming_mode, channel_buffer_size, sample_rate)

    monkeypatch.setattr(bench.device, 'configure', refuse_large_buffers)
    first.start_stream()
    assert bench.device.active_channels == ['a', 'b']
    assert bench.device.channel_buffer_size == 50
    first.stop_stream()


def test_no_channels_are_added_where_more_of_them_would_slow_the_device(make_bench):
    bench = make_bench(sample_timing='TIMESTAMP')
    first, second = bench.buffers(2)
    configure(second, ['a', 'b'])
    configure(first, ['a'])
    first.start_stream()
    assert bench.device.active_channels == ['a']
    first.stop_stream()


# -------------------------------------------------------------------- follow_running


def test_follow_running_adopts_rate_and_mode(bench):
    first = bench.buffer('first')
    follower = bench.buffer('follower', follow_running=True)
    configure(first, rate=10)
    configure(follower, ['b'], rate=20, size=40)
    first.start_stream()
    follower.start_stream()
    assert values(follower) == (['b'], StreamingMode.CONTINUOUS, 40, 10)
    follower.stop_stream()
    configure(follower, ['a'], StreamingMode.FINITE, 30, 20)
    assert values(follower) == (['a'], StreamingMode.CONTINUOUS, 30, 10)
    follower.start_stream()
    bench.produce(10)
    bench.assert_delivers(follower, 0, 10)
    first.stop_stream()
    follower.stop_stream()
    configure(follower, rate=20)
    assert follower.sample_rate == 20, 'nothing runs any more that could be followed'


def test_follow_running_does_not_reach_channels_that_do_not_run(bench):
    first = bench.buffer('first')
    follower = bench.buffer('follower', follow_running=True)
    configure(first, ['a'])
    first.start_stream()
    configure(follower, ['a', 'b'], rate=20)
    with pytest.raises(RuntimeError, match='channels'):
        follower.start_stream()
    first.stop_stream()


# -------------------------------------------------------------------- rates that are read back


@pytest.mark.parametrize('timing', ['TIMESTAMP', 'RANDOM'])
def test_another_rate_is_no_conflict_where_it_is_a_hint(make_bench, timing):
    bench = make_bench(sample_timing=timing)
    first, second = bench.buffers(2)
    configure(first, rate=10)
    first.start_stream()
    configure(second, rate=20)
    second.start_stream()
    assert (first.sample_rate, second.sample_rate) == (10, 10), 'it is the live value'
    first.stop_stream()
    second.stop_stream()


@pytest.mark.parametrize('timing', ['CONSTANT', 'TIMESTAMP', 'RANDOM'])
def test_a_measured_rate_passed_back_is_the_request_that_runs(make_bench, timing):
    bench = make_bench(sample_timing=timing)
    bench.device.faults.add('measure rate')
    first, second = bench.buffers(2)
    configure(first, rate=first.sample_rate)
    configure(first, rate=first.sample_rate)
    first.start_stream()
    configure(second, rate=second.sample_rate)
    second.start_stream()
    bench.produce(10)
    bench.assert_delivers(second, 0, 10)
    first.stop_stream()
    second.stop_stream()


def test_a_rounded_rate_passed_back_again_and_again_does_not_drift(bench):
    bench.device.faults.add('round rate')
    first, second = bench.buffers(2)
    configure(first, rate=33.4)
    assert first.sample_rate == 33.0, 'the rate of a running device is its live value'
    for _ in range(3):
        configure(first, rate=first.sample_rate)
    assert bench.device.configure_calls[-1][3] == 33.4
    first.start_stream()
    configure(second, rate=second.sample_rate)
    second.start_stream()
    first.stop_stream()
    second.stop_stream()


def test_a_rate_that_was_shown_before_the_last_configure_is_taken_as_it_is(bench):
    bench.device.faults.add('round rate')
    (buffer,) = bench.buffers(1)
    configure(buffer, rate=33.4)
    assert buffer.sample_rate == 33.0
    configure(buffer, rate=50)
    configure(buffer, rate=33.0)
    assert bench.device.configure_calls[-1][3] == 33.0


def test_the_live_rate_is_not_reported_for_another_request(bench):
    first, second = bench.buffers(2)
    configure(first, rate=10)
    configure(second, rate=20)
    assert (first.sample_rate, second.sample_rate) == (10, 20)


@pytest.mark.parametrize('who', ['the same buffer', 'another buffer'])
def test_a_rate_read_during_a_configure_belongs_to_its_request(
    bench, background, monkeypatch, wait_until, who
):
    """A request for 200 Hz stays one, whenever another thread looks at the rate."""
    first, second = bench.buffers(2)
    configure(second, rate=50)
    configure(first, rate=50 if who == 'the same buffer' else 200)
    device_configure, begun, go_on = bench.device.configure, threading.Event(), threading.Event()

    def configure_slowly(**values):
        time.sleep(0.01)  # ten poll intervals: the rate is asked for again
        device_configure(**values)
        begun.set()
        assert go_on.wait(10)

    monkeypatch.setattr(bench.device, 'configure', configure_slowly)
    if who == 'the same buffer':
        change = background(lambda: configure(first, rate=200))
    else:
        change = background(lambda: configure(second, rate=50))
    assert begun.wait(10)
    rate = background(lambda: first.sample_rate)
    (distributor,) = registry.distributors()
    wait_until(lambda: len(distributor.thread.jobs), 'the look at the rate was queued')
    go_on.set()
    change.result(5)
    assert rate.result(5) == 200, 'the buffer told the rate of another request'
    configure(first, rate=200)
    assert bench.device.configure_calls[-1][3] == 200, 'the device got another rate than requested'


def test_a_measured_rate_alone_does_not_make_start_configure_the_device(make_bench):
    bench = make_bench(sample_timing='TIMESTAMP')
    bench.device.faults.add('measure rate')
    (buffer,) = bench.buffers(1)
    configure(buffer)
    buffer.start_stream()
    buffer.stop_stream()
    assert len(bench.device.configure_calls) == 1


def test_a_rate_far_from_the_request_does_not_stand_for_it(bench, monkeypatch, wait_until):
    """As a device tells that was set by another program, or that goes on telling its last rate."""
    (buffer,) = bench.buffers(1)
    configure(buffer, rate=200)
    monkeypatch.setattr(type(bench.device), 'sample_rate', property(lambda device: 50.0))
    wait_until(lambda: buffer.sample_rate == 50, 'the rate of the device is told')
    configure(buffer, rate=50)
    assert bench.device.configure_calls[-1][3] == 50


def test_a_device_that_tells_no_rate_while_it_is_idle_can_be_given_it_back(bench, monkeypatch):
    (buffer,) = bench.buffers(1)
    monkeypatch.setattr(type(bench.device), 'sample_rate', property(lambda device: 0.0))
    configure(buffer, rate=50)
    configure(buffer, rate=buffer.sample_rate)
    assert bench.device.configure_calls[-1][3] == 50


def test_a_device_that_refused_a_request_is_configured_at_the_next_start(bench, monkeypatch):
    """It may have got a part of it, and tell only what it had before."""
    (buffer,) = bench.buffers(1)
    configure(buffer, rate=50)

    def fail(**values):
        raise OSError('The trigger line is not set')

    with monkeypatch.context() as patch:
        patch.setattr(bench.device, 'configure', fail)
        with pytest.raises(OSError, match='trigger line'):
            configure(buffer, rate=200)
    count = len(bench.device.configure_calls)
    buffer.start_stream()
    buffer.stop_stream()
    assert [call[3] for call in bench.device.configure_calls[count:]] == [50]
    buffer.start_stream()
    buffer.stop_stream()
    assert len(bench.device.configure_calls) == count + 1, 'from then on it is known'


def test_a_device_that_set_its_rate_and_then_refused_the_request_gets_the_same_one_again(
    bench, monkeypatch
):
    (buffer,) = bench.buffers(1)
    configure(buffer, rate=50)
    device_configure = bench.device.configure

    def configure_and_fail(**values):
        device_configure(**values)
        raise OSError('The trigger line is not set')

    with monkeypatch.context() as patch:
        patch.setattr(bench.device, 'configure', configure_and_fail)
        with pytest.raises(OSError, match='trigger line'):
            configure(buffer, rate=51)
    assert bench.device.sample_rate == 51
    time.sleep(0.01)  # ten poll intervals: the rate is asked for again
    assert buffer.sample_rate == 50, 'it is the last request that succeeded'
    configure(buffer, rate=51)
    assert bench.device.configure_calls[-1][3] == 51


def test_a_measured_rate_is_kept_until_the_device_tells_another_one(make_bench, monkeypatch):
    bench = make_bench(sample_timing='TIMESTAMP')
    (buffer,) = bench.buffers(1)
    configure(buffer, rate=1000.0)
    assert buffer.sample_rate == 1000

    monkeypatch.setattr(type(bench.device), 'sample_rate', property(lambda device: math.nan))
    configure(buffer, rate=1.0)
    assert buffer.sample_rate == 1000, 'the request is a hint only'


def test_a_device_that_cannot_tell_its_rate_is_believed_to_have_the_requested_one(
    bench, monkeypatch
):
    (first,) = bench.buffers(1)
    configure(first, rate=50)

    def fail(device):
        raise OSError('The device cannot tell')

    monkeypatch.setattr(type(bench.device), 'sample_rate', property(fail))
    configure(first, rate=200)
    assert first.sample_rate == 200
    configure(first, rate=50)
    assert bench.device.configure_calls[-1][3] == 50


def test_a_device_that_does_not_deliver_a_channel_is_refused(bench):
    (buffer,) = bench.buffers(1)
    bench.device.faults.add('ignore channels')
    configure(buffer, ['a', 'b'])
    bench.device.faults.clear()
    bench.device.configure(['a'], StreamingMode.CONTINUOUS, 1000, 100.0)
    bench.device.faults.add('ignore channels')
    with pytest.raises(RuntimeError, match=r"it needs the channels \['a', 'b'\], but"):
        buffer.start_stream()
    assert bench.device.starts == 0


@pytest.mark.parametrize('look', [0, 1, 2])
def test_any_of_the_rates_that_were_shown_can_be_passed_back(bench, look, wait_until):
    bench.device.faults.add('measure rate')
    first, second = bench.buffers(2)
    configure(first)
    first.start_stream()
    shown = [second.sample_rate for _ in range(3)]
    configure(second, rate=shown[look])
    second.start_stream()  # which refuses a rate that is not that of the running stream
    bench.produce(5)
    bench.assert_delivers(second, 0, 5)
    second.stop_stream()
    first.stop_stream()
    configure(second, rate=250)
    bench.device.faults.clear()
    wait_until(lambda: second.sample_rate == 250, 'the device was asked for its rate again')


def test_a_device_without_active_channels_streams_all_of_them(bench):
    bench.device.configure([], StreamingMode.CONTINUOUS, 1000, 100.0)
    (buffer,) = bench.buffers(1)
    assert buffer.sample_rate == 100
    assert buffer.active_channels == []
    buffer.start_stream()
    assert buffer.active_channels == ['a', 'b', 'c', 'd']
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_an_unconfigured_buffer_is_not_given_channels_that_others_want(bench):
    narrow, wide, unconfigured = bench.buffers(3)
    configure(wide, ['a', 'b'])
    configure(narrow, ['a'])
    assert unconfigured.active_channels == ['a']
    unconfigured.start_stream()
    assert unconfigured.active_channels == ['a']
    bench.produce(10)
    bench.assert_delivers(unconfigured, 0, 10)
    unconfigured.stop_stream()


def test_unread_samples_keep_their_channels_when_others_configure_the_device(bench, wait_until):
    unconfigured, other = bench.buffers(2)
    unconfigured.start_stream()
    bench.produce(10)
    bench.device.faults.add('raise in read')
    bench.device.produce(1)
    wait_until(lambda: unconfigured.module_state() == 'idle', 'the fault was noticed')
    bench.device.faults.clear()
    configure(other, ['a'])
    assert unconfigured.active_channels == ['a', 'b', 'c', 'd']
    bench.assert_delivers(unconfigured, 0, 10)


def test_a_request_that_the_device_refused_is_not_taken_for_what_it_holds(bench):
    first, second = bench.buffers(2)
    configure(first, ['a'], rate=10)
    bench.device.faults.add('one channel only')
    with pytest.raises(ValueError, match='one channel only'):
        configure(first, ['a', 'b'], rate=20)
    configure(second, ['a'], rate=20)
    first.start_stream()
    assert (first.active_channels, bench.device.sample_rate) == (['a'], 10)
    first.stop_stream()


@pytest.mark.parametrize('count', [1, 3])
def test_each_buffer_has_its_own_order_of_channels_whatever_the_device_has(bench, count):
    bench.device.faults.add('reverse channels')
    buffers = bench.buffers(count)
    for buffer, channels in zip(buffers, (['a', 'c', 'b'], ['c', 'a'], ['b', 'c']), strict=False):
        configure(buffer, channels)
    for buffer in buffers:
        buffer.start_stream()
    assert bench.device.active_channels == ['c', 'b', 'a']
    bench.produce(50)
    for buffer in buffers:
        bench.assert_delivers(buffer, 0, 50)
        buffer.stop_stream()


@pytest.mark.parametrize('rate', [0, -5, float('nan'), float('inf')])
def test_a_rate_that_is_none_is_refused_even_as_a_hint(make_bench, rate):
    bench = make_bench(sample_timing='TIMESTAMP')
    first, second = bench.buffers(2)
    first.start_stream()
    with pytest.raises(ValueError, match='sample_rate must be a positive number of Hz'):
        configure(second, rate=rate)
    first.stop_stream()


# -------------------------------------------------------------------- finite


def test_following_a_finite_acquisition_with_a_larger_ring(bench):
    first = bench.buffer('first')
    follower = bench.buffer('follower', follow_running=True)
    configure(first, mode=StreamingMode.FINITE, size=100, rate=10)
    first.start_stream()
    configure(follower, size=1000, rate=20)
    assert values(follower) == (['a', 'b'], StreamingMode.FINITE, 100, 10)
    follower.start_stream()
    bench.produce(100)
    bench.assert_delivers(follower, 0, 100)


def test_a_device_that_goes_idle_when_complete_is_read_to_the_end(bench):
    bench.device.faults.add('idle when complete')
    (buffer,) = bench.buffers(1)
    configure(buffer, mode=StreamingMode.FINITE, size=100)
    for _ in range(2):
        buffer.start_stream()
        bench.device.produce(500)
        bench.assert_delivers(buffer, 0, 100)
        with pytest.raises(RuntimeError, match='all 100 samples were acquired'):
            buffer.read_data(1)


def test_finite_can_be_joined_while_its_first_sample_waits_in_the_device(bench):
    first, second = bench.buffers(2, max_poll_rate=2)  # the first poll comes after half a second
    for buffer in (first, second):
        configure(buffer, mode=StreamingMode.FINITE, size=50)
    for _ in range(2):
        first.start_stream()
        bench.device.produce(50)
        second.start_stream()
        assert bench.device.taken == 0, 'polled too soon, this proves nothing'
        for buffer in (first, second):
            bench.assert_delivers(buffer, 0, 50)


def test_finite_delivers_exactly_what_was_asked_for_by_a_device_that_goes_on(bench, wait_until):
    first, second = bench.buffers(2)
    configure(first, mode=StreamingMode.FINITE, size=100)
    configure(second, mode=StreamingMode.FINITE, size=60)
    first.start_stream()
    second.start_stream()
    bench.produce(30)
    bench.device.produce(270)
    bench.assert_delivers(second, 0, 60)
    bench.assert_delivers(first, 0, 100)
    for buffer, count in ((first, 100), (second, 60)):
        with pytest.raises(RuntimeError, match=f'all {count} samples were acquired'):
            buffer.read_data(1)
        wait_until(lambda b=buffer: b.module_state() == 'idle', 'the buffer counts as inactive')
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device was stopped')
    assert bench.device.taken == 100, 'more was taken from the device than anybody wanted'
    first.start_stream()
    bench.device.produce(100)
    bench.assert_delivers(first, 0, 100)


def test_finite_cannot_be_joined_after_its_first_sample(bench):
    first, early, late = bench.buffers(3)
    for buffer in (first, early, late):
        configure(buffer, mode=StreamingMode.FINITE, size=100)
    first.start_stream()
    early.start_stream()
    bench.produce(1)
    with pytest.raises(RuntimeError, match='"buffer3" cannot join the finite acquisition of "buf'):
        late.start_stream()
    bench.produce(99)
    bench.assert_delivers(early, 0, 100)
    bench.assert_delivers(first, 0, 100)
