"""qudi's own wavemeter module, unmodified, behind buffers: on a replaced library of the device.

The library calls back from a thread of its own. Each sample names its channel and its turn.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
from concurrent.futures import TimeoutError as FutureTimeoutError

import numpy as np
import pytest
from qudi.interface.data_instream_interface import StreamingMode

from wlm_library import (
    BIG_SIGNAL,
    NO_SIGNAL,
    NO_VALUE,
    WavemeterBench,
    configure,
    replaced_library,  # noqa: F401 a fixture
    wavelength_nm,
)

BOTH_ORDERS = [(0, 1), (1, 0)]


@pytest.fixture
def make_wavemeter(wlm_library, qudi, wait_until):
    """Make a wavemeter with these channels; a mapping of names to channels of the switch."""
    benches = []

    def make(switch_channels=None):
        benches.append(WavemeterBench(qudi, wait_until, wlm_library, switch_channels))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


@pytest.fixture
def wavemeter(make_wavemeter):
    """A wavemeter with two channels that measures 35.7 times a second."""
    return make_wavemeter()


def result_in_time(future, what, timeout=5.0):
    try:
        return future.result(timeout)
    except FutureTimeoutError:
        if future.done():
            raise  # the call itself ended so
    raise AssertionError(f'{what} did not return within {timeout:g} s')


def error_in_time(future, what, timeout=5.0):
    try:
        result_in_time(future, what, timeout)
    except AssertionError:
        raise
    except Exception as error:
        return error
    raise AssertionError(f'{what} raised nothing')


@pytest.fixture
def begin_read(background, wait_until):
    """Begin a read in another thread and return once it waits for samples."""

    def begin(read, *arguments):
        threads = []

        def read_there():
            threads.append(threading.get_ident())
            return read(*arguments)

        def is_waiting():
            frame = sys._current_frames().get(threads[0]) if threads else None
            while frame is not None and frame.f_code.co_name != 'wait':
                frame = frame.f_back
            return frame is not None

        future = background(read_there)
        wait_until(lambda: future.done() or is_waiting(), 'the read waits for samples')
        assert not future.done(), f'the read did not wait: {future.exception()!r}'
        return future

    return begin


# -------------------------------------------------------------------- the same samples


def test_a_buffer_delivers_what_the_module_delivers_when_it_is_read_directly(wavemeter):
    device, (buffer,) = wavemeter.device, wavemeter.buffers(1)
    starts = []
    for streamer in (device, buffer):
        configure(streamer)
        streamer.start_stream()
        turns, timestamps = wavemeter.read(streamer, 20)
        assert turns[0] == wavemeter.library.first_turn(1), 'the first sample is missing'
        steps = np.diff(wavemeter.time_of(turns))
        assert np.abs(np.diff(timestamps) - steps).max() < 1e-6, 'timestamps are not those'
        starts.append(timestamps[0])
        streamer.stop_stream()
    assert all(0 <= start < 0.1 for start in starts), f'timestamps begin at {starts} s'


@pytest.mark.parametrize('stops', BOTH_ORDERS)
@pytest.mark.parametrize('starts', BOTH_ORDERS)
def test_two_buffers_get_all_samples_in_every_order_of_start_and_stop(wavemeter, starts, stops):
    buffers = wavemeter.buffers(2)
    first, second = (buffers[number] for number in starts)
    first.start_stream()
    turns_before, _ = wavemeter.read(first, 5)
    assert turns_before[0] == wavemeter.library.first_turn(1), 'the first sample is missing'
    second.start_stream()
    joined, _ = wavemeter.read(second, 10)
    wavemeter.wait_for(first, joined[-1] - turns_before[-1])
    followed, _ = wavemeter.read(first, int(joined[-1] - turns_before[-1]))
    assert followed[0] == turns_before[-1] + 1, 'a sample is missing where the other one joined'
    assert turns_before[0] < joined[0]
    assert followed[-1] == joined[-1]
    left, stays = (buffers[number] for number in stops)
    left.stop_stream()
    after, _ = wavemeter.read(stays, 10)
    assert after[0] == joined[-1] + 1, 'a sample is missing where the other one stopped'
    left.start_stream()
    wavemeter.read(left, 5)
    stays.stop_stream()
    wavemeter.read(left, 5)
    left.stop_stream()
    assert wavemeter.device.module_state() == 'idle'


@pytest.mark.parametrize('channels', list(itertools.permutations(['red', 'green', 'blue'])))
def test_each_channel_comes_under_its_name_in_any_order_of_request(
    make_wavemeter, wlm_library, channels
):
    wlm_library.exposures = {1: 2, 2: 2, 3: 2}
    wavemeter = make_wavemeter({'red': 1, 'green': 2, 'blue': 3})
    asked, in_order = wavemeter.buffers(2)
    configure(asked, channels)
    asked.start_stream()
    in_order.start_stream()
    assert asked.active_channels == list(channels)
    wavemeter.read(asked, 10)
    wavemeter.read(in_order, 10)
    asked.stop_stream()
    in_order.stop_stream()


@pytest.mark.parametrize('channels', [['blue', 'red'], ['green'], ['red', 'green']])
def test_a_buffer_that_asks_for_some_channels_gets_those(make_wavemeter, wlm_library, channels):
    wlm_library.exposures = {1: 2, 2: 2, 3: 2}
    wavemeter = make_wavemeter({'red': 1, 'green': 2, 'blue': 3})
    everything, some = wavemeter.buffers(2)
    configure(some, channels)
    everything.start_stream()
    some.start_stream()
    joined, _ = wavemeter.read(some, 10)
    turns, _ = wavemeter.read(everything, 10)
    assert turns[0] == wlm_library.first_turn(1)
    assert joined[0] >= turns[0]
    everything.stop_stream()
    wavemeter.read(some, 5)
    some.stop_stream()


def test_a_buffer_alone_gets_its_channels_in_its_own_order(wavemeter):
    idle, buffer = wavemeter.buffers(2)
    configure(buffer, ['green', 'red'])
    configure(idle, ['green'])  # the last request, never started
    buffer.start_stream()
    wavemeter.read(buffer, 10)
    buffer.stop_stream()


def test_channels_that_an_idle_buffer_asked_for_cost_the_others_no_sample(wavemeter):
    red_only, idle = wavemeter.buffers(2)
    configure(red_only, ['red'])
    configure(idle, ['green', 'red'])
    red_only.start_stream()
    turns, _ = wavemeter.read(red_only, 10)
    assert turns[0] == wavemeter.library.first_turn(1)
    red_only.stop_stream()


# -------------------------------------------------------------------- timestamps and rate


def test_timestamps_count_from_the_start_of_each_stream(wavemeter):
    first, late = wavemeter.buffers(2)
    first.start_stream()
    wavemeter.wait_for(first, 60)
    late.start_stream()
    _, timestamps = wavemeter.read(late, 10)
    assert 0 <= timestamps[0] < 0.8, (
        f'the stream of "buffer2" begins at {timestamps[0]:.2f} s, right is about 0 s'
    )
    _, timestamps = wavemeter.read(first, 60)
    assert 0 <= timestamps[0] < 0.1, f'the stream of "buffer1" begins at {timestamps[0]:.2f} s'
    first.stop_stream()
    late.stop_stream()


def test_the_offset_in_the_status_maps_all_buffers_onto_the_time_of_the_device(wavemeter):
    first, late = wavemeter.buffers(2)
    first.start_stream()
    wavemeter.wait_for(first, 40)
    late.start_stream()
    wavemeter.wait_for(late, 20)
    records = [wavemeter.read(buffer, count) for buffer, count in ((first, 60), (late, 20))]
    by_turn = [
        dict(zip(turns, timestamps + buffer.status.timestamp_offset, strict=True))
        for buffer, (turns, timestamps) in zip((first, late), records, strict=True)
    ]
    common = sorted(by_turn[0].keys() & by_turn[1].keys())
    assert len(common) >= 10, 'the two buffers have too few samples in common'
    apart = max(abs(by_turn[0][turn] - by_turn[1][turn]) for turn in common)
    assert apart < 1e-6, f'the same sample has times that are {apart:g} s apart'
    start = wavemeter.time_of(records[0][0][:1])[0] - by_turn[0][records[0][0][0]]
    for times in by_turn:
        turns = sorted(times)
        own = wavemeter.time_of(turns) - start
        assert np.abs(own - [times[turn] for turn in turns]).max() < 1e-6
    assert 0 <= by_turn[0][records[0][0][0]] < 0.1, 'the device counts from its start'
    first.stop_stream()
    late.stop_stream()


@pytest.mark.parametrize('is_shared', [False, True])
def test_the_sample_rate_is_the_live_value_whatever_was_asked(wavemeter, is_shared):
    library, buffers = wavemeter.library, wavemeter.buffers(2 if is_shared else 1)
    for buffer, rate in zip(buffers, (1000.0, 50.0), strict=False):
        configure(buffer, rate=rate)
    for buffer in buffers:
        buffer.start_stream()
    for exposure in (2, 20):
        library.exposures[1] = exposure  # typed into the window of the manufacturer's program
        rate = library.rate(1, 2)
        for buffer in buffers:
            wavemeter.wait_until(
                lambda b=buffer, r=rate: b.sample_rate == pytest.approx(r, rel=1e-6),
                f'{buffer.module_name} tells the live rate, {rate:.1f} Hz, whatever was asked',
                timeout=4,
            )
    for buffer in buffers:
        buffer.stop_stream()


# -------------------------------------------------------------------- properties

PROPERTIES = (
    'active_channels',
    'channel_buffer_size',
    'streaming_mode',
    'available_samples',
    'status',
    'constraints',
)


def look_often(buffer, times=300):
    """Read each property this often; returns how long each look took (s)."""
    took = []
    for _ in range(times):
        for name in PROPERTIES:
            begin = time.perf_counter()
            getattr(buffer, name)
            took.append(time.perf_counter() - begin)
    return took


def rate_queries(library):
    """How often the rate was asked: one call for the exposure of the first channel is enough."""
    return library.calls['GetExposureNum'] / sum(library.is_on[ch] for ch in library.exposures)


@pytest.mark.parametrize('is_running', [False, True], ids=['idle', 'running'])
def test_properties_cost_no_call_of_the_driver(wavemeter, is_running):
    library, (buffer,) = wavemeter.library, wavemeter.buffers(1)
    if is_running:
        buffer.start_stream()
        wavemeter.read(buffer, 5)
    before = library.calls.copy()
    begin = time.perf_counter()
    look_often(buffer)
    # qudi's own watchdog looks at the channels of the switch while the stream runs
    passes = (time.perf_counter() - begin) / wavemeter.watchdog_interval + 1
    calls = library.calls - before
    of_the_watchdog = calls.pop('GetSwitcherSignalStates', 0)
    assert not calls, f'300 looks at {len(PROPERTIES)} properties made the calls {dict(calls)}'
    assert of_the_watchdog <= passes * (len(library.exposures) + 1)
    if is_running:
        buffer.stop_stream()


def test_properties_answer_at_once_while_the_device_hangs(wavemeter, background):
    library, buffers = wavemeter.library, wavemeter.buffers(2)
    for buffer in buffers:
        buffer.start_stream()
        wavemeter.read(buffer, 5)

    hangs = threading.Event()

    def ask_rate_until_it_hangs():
        while not hangs.is_set():
            assert buffers[0].sample_rate > 0
            hangs.wait(0.005)

    with library.hanging('GetExposureNum'):
        background(ask_rate_until_it_hangs)
        wavemeter.wait_until(
            lambda: library.in_progress['GetExposureNum'], 'the driver hangs in a call'
        )
        hangs.set()
        looks = [background(look_often, buffer, 100) for buffer in buffers]
        for buffer, look in zip(buffers, looks, strict=True):
            took = result_in_time(look, f'a property of {buffer.module_name}')
            assert max(took) < 0.5, f'one look took {1e3 * max(took):.0f} ms'
    for buffer in buffers:
        buffer.stop_stream()


def test_the_sample_rate_asks_the_driver_at_most_once_per_poll(wavemeter):
    library, (buffer,) = wavemeter.library, wavemeter.buffers(1)
    buffer.start_stream()
    wavemeter.read(buffer, 5)
    before, begin = rate_queries(library), time.perf_counter()
    for _ in range(300):
        assert buffer.sample_rate > 0
    polls = 30.0 * (time.perf_counter() - begin) + 2  # the default of max_poll_rate
    queries = rate_queries(library) - before
    assert queries <= polls, f'300 looks at sample_rate made {queries:g} queries in {polls:g} polls'
    buffer.stop_stream()


@pytest.mark.parametrize('was_running', [False, True])
def test_properties_answer_with_all_channels_off(wavemeter, was_running):
    library, (buffer,) = wavemeter.library, wavemeter.buffers(1)
    if was_running:
        buffer.start_stream()
        wavemeter.read(buffer, 5)
    for channel in library.exposures:
        library.is_on[channel] = False
    wavemeter.wait_until(lambda: wavemeter.device.module_state() == 'idle', 'the device stopped')
    assert buffer.active_channels == ['red', 'green']
    assert buffer.channel_buffer_size == 1000
    assert buffer.streaming_mode is StreamingMode.CONTINUOUS
    assert list(buffer.constraints.channel_units.values()) == ['m', 'Hz']
    assert buffer.sample_rate > 0
    assert buffer.status.channels == ('red', 'green')
    if was_running:
        wavemeter.wait_until(lambda: buffer.status.state != 'running', 'the stream ended')
    buffer.start_stream()  # switches its channels on
    wavemeter.read(buffer, 5)
    buffer.stop_stream()


# -------------------------------------------------------------------- the current value


def single_point(buffer, background, timeout=5.0):
    """Read the current value: in another thread, since a wrong one waits for ever."""
    read = background(buffer.read_single_point)
    try:
        return result_in_time(read, 'read_single_point', timeout)
    except AssertionError:  # it waits for ever
        buffer.stop_stream()
        raise


def test_the_current_value_is_the_newest_sample_and_consumes_nothing(wavemeter, background):
    library, buffers = wavemeter.library, wavemeter.buffers(2)
    configure(buffers[1], ['green', 'red'])
    for buffer in buffers:
        buffer.start_stream()
        wavemeter.wait_for(buffer, 10)
    library.go_dark()
    wavemeter.wait_until(
        lambda: all(buffer.status.age > 0.3 for buffer in buffers), 'the last samples came'
    )
    for buffer in buffers:
        unread = buffer.available_samples
        begin = time.perf_counter()
        value, timestamp = single_point(buffer, background)
        again, _ = single_point(buffer, background)
        assert time.perf_counter() - begin < 0.5, 'it is there, and need not be waited for'
        assert buffer.available_samples == unread, 'a look at the current value consumed samples'
        samples, timestamps = buffer.read_data(unread)
        wavemeter.check(buffer, samples, timestamps)
        assert list(value) == list(samples[-2:]), 'the current value is not the newest sample'
        assert list(again) == list(value)
        assert timestamp == timestamps[-1]
        # What was read meanwhile still is the newest one
        assert list(single_point(buffer, background)[0]) == list(value)
    for buffer in buffers:
        buffer.stop_stream()


def test_the_current_value_in_the_dark_is_not_waited_for_longer_than_the_timeout(
    wavemeter, background
):
    wavemeter.library.go_dark()
    (buffer,) = wavemeter.buffers(1, read_timeout=0.5)
    buffer.start_stream()
    begin = time.perf_counter()
    with pytest.raises(TimeoutError, match='buffer1'):
        single_point(buffer, background)
    assert 0.4 < time.perf_counter() - begin < 3
    wavemeter.library.is_dark = False
    wavemeter.wait_for(buffer, 1)
    assert len(single_point(buffer, background)[0]) == 2, 'the stream went on meanwhile'
    buffer.stop_stream()


def test_where_there_is_no_light_the_current_value_is_not_a_number(wavemeter, background):
    wavemeter.library.results.update({1: NO_SIGNAL, 2: BIG_SIGNAL})
    (buffer,) = wavemeter.buffers(1)
    buffer.start_stream()
    wavemeter.wait_for(buffer, 3)
    value, timestamp = single_point(buffer, background)
    assert np.isnan(value).all()
    assert timestamp >= 0
    wavemeter.library.results.clear()
    wavemeter.wait_until(
        lambda: np.isfinite(single_point(buffer, background)[0]).all(),
        'the light is back in the current value',
    )
    buffer.stop_stream()


def test_a_channel_without_light_leaves_the_other_one_as_it_is(wavemeter):
    wavemeter.library.results[2] = NO_VALUE
    (buffer,) = wavemeter.buffers(1)
    buffer.start_stream()
    wavemeter.wait_for(buffer, 10)
    samples, _ = buffer.read_data(10)
    first = wavemeter.library.first_turn(1)
    red, green = samples.reshape(-1, 2).T
    assert list(red) == [1e-9 * wavelength_nm(1, turn) for turn in range(first, first + 10)]
    assert np.isnan(green).all()
    buffer.stop_stream()


@pytest.mark.parametrize('end', ['stop', 'deactivation', 'deactivation of the proxy'])
@pytest.mark.parametrize('read', ['read_single_point', 'read_data'])
def test_reads_that_wait_in_the_dark_are_ended_at_once(wavemeter, begin_read, read, end):
    wavemeter.library.go_dark()
    (buffer,) = wavemeter.buffers(1, read_timeout=60.0)
    buffer.start_stream()
    waiting = begin_read(getattr(buffer, read), *([5] if read == 'read_data' else []))
    begin = time.perf_counter()
    if end == 'stop':
        buffer.stop_stream()
    else:
        wavemeter.qudi.deactivate('buffer1' if end == 'deactivation' else 'wavemeter_proxy')
    took = time.perf_counter() - begin
    assert isinstance(error_in_time(waiting, read, 3), RuntimeError)
    assert took < 3, f'it took {took:.1f} s'


def test_a_strict_buffer_of_which_only_the_current_value_is_read_never_overflows(
    wavemeter, background
):
    library = wavemeter.library
    library.exposures.update({1: 1, 2: 1})
    library.switching = 0.5
    (buffer,) = wavemeter.buffers(1, allow_overwrite=False)
    configure(buffer, size=128)
    buffer.start_stream()
    wavemeter.wait_for(buffer, 1)
    newest = -1.0
    for received in range(50, 500, 50):
        wavemeter.wait_until(
            lambda n=received: (
                buffer.status.samples_received >= n or buffer.status.state != 'running'
            ),
            f'{received} samples came',
        )
        assert buffer.status.state == 'running', buffer.status.message
        _, timestamp = single_point(buffer, background)
        assert timestamp > newest, 'the current value is older than the one before'
        newest = timestamp
    wavemeter.check(buffer, *buffer.read_data(buffer.available_samples))
    buffer.stop_stream()


# -------------------------------------------------------------------- settings


@pytest.mark.parametrize('other_runs', [False, True])
def test_none_for_mode_and_rate_means_as_it_is(wavemeter, other_runs):
    buffer, other = wavemeter.buffers(2)
    if other_runs:
        other.start_stream()
    buffer.configure(['green'], None, 200, None)
    assert buffer.active_channels == ['green']
    assert buffer.streaming_mode is StreamingMode.CONTINUOUS
    assert buffer.channel_buffer_size == 200
    buffer.configure(None, None, 300, None)
    assert (buffer.active_channels, buffer.channel_buffer_size) == (['green'], 300)
    buffer.start_stream()
    wavemeter.read(buffer, 5)
    if other_runs:
        wavemeter.read(other, 5)
        other.stop_stream()
    buffer.stop_stream()


def test_a_window_may_ask_for_another_rate_and_size_while_one_runs(wavemeter):
    first, second = wavemeter.buffers(2)
    first.start_stream()
    wavemeter.read(first, 3)
    configure(second, ['green'], size=500, rate=second.sample_rate)
    configure(second, ['green'], size=500, rate=1000.0)
    second.start_stream()
    wavemeter.read(second, 5)
    wavemeter.read(first, 5)
    first.stop_stream()
    second.stop_stream()


# -------------------------------------------------------------------- faults


def press_stop(library):
    library.press_stop()


def switch_a_channel_off(library):
    library.is_on[2] = False


def switch_all_channels_off(library):
    library.is_on.update({1: False, 2: False})


@pytest.mark.parametrize(
    'disturb', [press_stop, switch_a_channel_off, switch_all_channels_off], ids=lambda f: f.__name__
)
def test_all_readers_are_told_when_the_wavemeter_stops_itself(wavemeter, begin_read, disturb):
    library, buffers = wavemeter.library, wavemeter.buffers(2)
    for buffer in buffers:
        buffer.start_stream()
        wavemeter.read(buffer, 5)
    reads = [begin_read(buffer.read_data, 1000) for buffer in buffers]
    disturb(library)
    for buffer, read in zip(buffers, reads, strict=True):
        error = error_in_time(read, f'a read of {buffer.module_name}')
        assert isinstance(error, RuntimeError), f'{buffer.module_name}: {error!r}'
        assert 'streamer' in str(error), f'it does not name the device: {error}'
        wavemeter.wait_until(lambda b=buffer: b.module_state() == 'idle', 'the buffer is idle')
    for buffer in buffers:
        buffer.start_stream()
    for buffer in buffers:
        wavemeter.read(buffer, 5)
        buffer.stop_stream()


@pytest.mark.parametrize('function', ['SetSwitcherSignalStates', 'Operation'])
@pytest.mark.parametrize(
    'failure', [-7, OSError('access violation reading 0x0')], ids=['code', 'exception']
)
def test_a_start_that_the_driver_refuses_can_be_repeated(wavemeter, function, failure):
    library, buffers = wavemeter.library, wavemeter.buffers(2)
    library.failing[function] = failure
    expected = OSError if isinstance(failure, OSError) else RuntimeError
    for buffer in buffers:
        with pytest.raises((RuntimeError, expected)):
            buffer.start_stream()
        assert buffer.module_state() == 'idle'
    library.failing.clear()
    for buffer in buffers:
        buffer.start_stream()
    for buffer in buffers:
        wavemeter.read(buffer, 5)
    for buffer in buffers:
        buffer.stop_stream()
    assert wavemeter.device.module_state() == 'idle'


@pytest.mark.parametrize('name', ['streamer', 'wavemeter_proxy'])
@pytest.mark.qt_no_exception_capture  # the proxy's watchdog may still look, and finds no library
def test_a_deactivated_device_ends_all_reads_and_starts_again(wavemeter, begin_read, name):
    qudi, buffers = wavemeter.qudi, wavemeter.buffers(2)
    for buffer in buffers:
        buffer.start_stream()
        wavemeter.read(buffer, 3)
    reads = [begin_read(buffer.read_data, 1000) for buffer in buffers]
    begin = time.perf_counter()
    qudi.deactivate(name)
    assert time.perf_counter() - begin < 3
    for read in reads:
        assert isinstance(error_in_time(read, 'a read', 3), RuntimeError)
    if name == 'wavemeter_proxy':
        wavemeter.wait_until(
            lambda: 'wavemeter_callback_error_watchdog' not in qudi.thread_manager.thread_names,
            "the thread of the proxy's watchdog ended",
        )
    again = [qudi.activate(f'buffer{number}') for number in (1, 2)]
    for buffer in again:
        configure(buffer)
        buffer.start_stream()
    for buffer in again:
        wavemeter.read(buffer, 5)
        buffer.stop_stream()


def test_one_buffer_is_reloaded_while_the_other_one_streams(wavemeter):
    library, (first, second) = wavemeter.library, wavemeter.buffers(2)
    first.start_stream()
    second.start_stream()
    before, _ = wavemeter.read(second, 5)
    wavemeter.qudi.module_manager.reload_module('buffer1')
    reloaded = wavemeter.qudi['buffer1']
    assert reloaded is not first
    configure(reloaded, ['green', 'red'])
    installed = library.calls['Instantiate']
    reloaded.start_stream()
    wavemeter.read(reloaded, 5)
    after, _ = wavemeter.read(second, 10)
    assert after[0] == before[-1] + 1, 'the other buffer lost samples'
    assert library.calls['Instantiate'] == installed, 'the device was started again'
    reloaded.stop_stream()
    wavemeter.read(second, 5)
    second.stop_stream()


def test_everything_is_deactivated_at_once_while_reads_wait_in_the_dark(wavemeter, begin_read):
    buffers = wavemeter.buffers(2, read_timeout=60.0)
    wavemeter.library.go_dark()
    for buffer in buffers:
        buffer.start_stream()
    reads = [begin_read(buffer.read_data, 10) for buffer in buffers]
    reads += [begin_read(buffer.read_single_point) for buffer in buffers]
    begin = time.perf_counter()
    wavemeter.qudi.module_manager.stop_all_modules()
    took = time.perf_counter() - begin
    assert took < 3, f'it took {took:.1f} s'
    for read in reads:
        assert isinstance(error_in_time(read, 'a read', 3), RuntimeError)
