"""Each buffer gets a complete copy; the device runs from the first start to the last stop."""

import threading

import numpy as np
import pytest

from bench import configure
from qudi.hardware.instream_buffer.simulator import InStreamSimulator
from qudi.util.instream.device import registry
from qudi.util.instream.stream import StreamEnd
from qudi_host import running_threads


def test_every_buffer_gets_the_whole_stream_at_its_own_pace(bench):
    buffers = bench.buffers(3)
    for buffer in buffers:
        configure(buffer)
        buffer.start_stream()
    bench.produce(500)
    bench.assert_delivers(buffers[0], 0, 500)
    bench.assert_delivers(buffers[1], 0, 3)
    bench.produce(200)
    bench.assert_delivers(buffers[2], 0, 700)
    bench.assert_delivers(buffers[0], 500, 200)
    bench.assert_delivers(buffers[1], 3, 697)
    for buffer in buffers:
        buffer.stop_stream()


def test_the_first_start_starts_and_the_last_stop_stops_the_device(bench):
    first, second = bench.buffers(2)
    idle = bench.buffer('idle')
    first.start_stream()
    assert bench.device.module_state() == 'locked'
    second.start_stream()
    assert bench.device.starts == 1
    idle.stop_stream()
    first.stop_stream()
    first.stop_stream()
    bench.qudi.deactivate('idle')
    assert bench.device.module_state() == 'locked', 'stopped under a running buffer'
    second.stop_stream()
    assert bench.device.module_state() == 'idle'
    assert bench.device.stops == 1


def test_module_state_tells_whether_a_buffer_streams(bench):
    first, second = bench.buffers(2)
    first.start_stream()
    assert (first.module_state(), second.module_state()) == ('locked', 'idle')
    first.stop_stream()
    assert first.module_state() == 'idle'


def test_module_state_is_idle_when_a_stop_returns_even_if_the_device_was_first(bench, wait_until):
    (buffer,) = bench.buffers(1)
    (distributor,) = registry.distributors()
    with bench.start_with_slow_log(buffer):
        # As the first step of a stop does
        buffer.stream.end(StreamEnd.STOPPED, 'it was stopped')
        wait_until(lambda: not distributor.active_names, 'a poll let go of the buffer')
        assert buffer.module_state() == 'locked', 'it was told already, this proves nothing'
        buffer.stop_stream()
        assert buffer.module_state() == 'idle'


def test_a_late_buffer_gets_the_stream_from_its_start_on(bench):
    first, late = bench.buffers(2)
    first.start_stream()
    bench.produce(300)
    late.start_stream()
    bench.produce(200)
    bench.assert_delivers(late, 300, 200)
    bench.assert_delivers(first, 0, 500)
    first.stop_stream()
    late.stop_stream()


def test_a_late_buffer_does_not_get_what_waited_in_the_device(bench):
    first = bench.buffer('first', max_poll_rate=2)
    late = bench.buffer('late', max_poll_rate=2)
    first.start_stream()
    bench.produce(10)
    bench.device.produce(100)  # half a second until the next poll
    late.start_stream()
    assert bench.device.taken == 10, 'the poll came before the late start, this proves nothing'
    bench.produce(50)
    bench.assert_delivers(late, 110, 50)
    bench.assert_delivers(first, 0, 160)
    first.stop_stream()
    late.stop_stream()


def test_the_timestamps_of_a_late_buffer_count_from_its_own_start(make_bench, qtbot):
    bench = make_bench(sample_timing='TIMESTAMP', clocked=True)
    first, late = bench.buffers(2)
    for buffer in (first, late):
        configure(buffer, size=10_000, rate=1000.0)  # so its timestamps are in time with the clock
    first.start_stream()
    qtbot.wait(1000)
    late.start_stream()
    samples, timestamps = late.read_data(100)
    assert abs(timestamps[0]) < 0.03
    offset = late.status.timestamp_offset
    assert 0.9 < offset < 2.0
    assert first.status.timestamp_offset == 0
    everything, own = first.read_data(int(samples[0]) // 16 + 100)
    assert (everything[-200:] == samples).all()
    assert np.allclose(own[-100:], timestamps + offset, rtol=0, atol=1e-9)
    first.stop_stream()
    late.stop_stream()


def test_late_buffers_beside_one_of_few_channels_get_what_came_since(bench):
    few = bench.buffer('few', max_poll_rate=2)
    late = [bench.buffer(name, max_poll_rate=2) for name in ('late1', 'late2')]
    configure(few, ['b'])
    for buffer in late:
        configure(buffer, ['a', 'b'])
    few.start_stream()
    bench.produce(10)
    bench.device.produce(100)
    for buffer in late:
        buffer.start_stream()
    assert bench.device.taken == 10, 'the poll came before the late starts, this proves nothing'
    bench.produce(150)
    for buffer in late:
        bench.assert_delivers(buffer, 110, 150)
        buffer.stop_stream()
    bench.assert_delivers(few, 0, 260)
    few.stop_stream()


def test_a_stopped_buffer_starts_a_fresh_stream(bench):
    first, second = bench.buffers(2)
    first.start_stream()
    second.start_stream()
    bench.produce(100)
    second.stop_stream()
    assert second.available_samples == 0
    bench.produce(100)
    second.start_stream()
    bench.produce(100)
    bench.assert_delivers(second, 200, 100)
    bench.assert_delivers(first, 0, 300)
    first.stop_stream()
    second.stop_stream()


def test_start_begins_a_fresh_stream_without_a_stop_before(bench):
    buffer, other = bench.buffers(2)
    buffer.start_stream()
    bench.produce(100)
    buffer.start_stream()
    assert bench.device.starts == 2, 'alone, it starts the device anew'
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    other.start_stream()
    bench.produce(10)
    buffer.start_stream()
    assert bench.device.starts == 2
    bench.produce(10)
    bench.assert_delivers(buffer, 20, 10)
    bench.assert_delivers(other, 10, 20)
    assert buffer.module_state() == 'locked'
    buffer.stop_stream()
    other.stop_stream()


def test_the_device_is_read_from_one_thread_that_is_nobody_elses(bench, background):
    first, second = bench.buffers(2)
    first.start_stream()
    background(second.start_stream).result()
    bench.produce(100)
    first.read_data(100)
    background(second.read_data, 100).result()
    second.stop_stream()
    bench.produce(100)
    background(first.stop_stream).result()
    assert len(bench.device.reader_threads) == 1
    assert threading.get_ident() not in bench.device.reader_threads


def test_a_device_that_runs_already_is_not_shared(bench):
    (buffer,) = bench.buffers(1)
    bench.device.start_stream()
    with pytest.raises(RuntimeError, match=r'"buffer1" cannot start: "streamer" was already star'):
        buffer.start_stream()
    assert bench.device.module_state() == 'locked', "somebody else's stream was stopped"
    assert buffer.module_state() == 'idle'
    bench.device.stop_stream()
    buffer.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_two_devices_do_not_know_of_each_other(bench, qudi):
    qudi.add('hardware', 'other_device', 'instream_buffer.simulator.InStreamSimulator')
    qudi.add(
        'hardware',
        'other_buffer',
        'instream_buffer.buffer.DataInStreamBuffer',
        connect={'streamer': 'other_device'},
    )
    other = qudi.activate('other_buffer')
    buffer = bench.buffer('buffer')
    configure(buffer, rate=10)
    buffer.start_stream()
    configure(other, rate=1000)
    other.start_stream()
    buffer.stop_stream()
    assert qudi['other_device'].module_state() == 'locked'
    other.stop_stream()
    assert not InStreamSimulator.running


def test_a_buffer_can_be_connected_to_a_buffer(bench, qudi):
    lower = bench.buffer('lower')
    qudi.add(
        'hardware',
        'upper',
        'instream_buffer.buffer.DataInStreamBuffer',
        {'max_poll_rate': 1000},
        connect={'streamer': 'lower'},
    )
    upper = qudi.activate('upper')
    configure(upper, ('b', 'a'))
    upper.start_stream()
    assert lower.active_channels == ['a', 'b'], 'not in the order of its constraints'
    bench.produce(100)
    bench.assert_delivers(upper, 0, 100)
    upper.stop_stream()
    assert lower.module_state() == 'idle'


def test_buffers_of_both_module_paths_share_the_device(bench, qudi):
    (buffer,) = bench.buffers(1)
    first_path = 'interfuse.instream_buffer.DataInStreamBuffer'
    qudi.add('hardware', 'other', first_path, connect={'streamer': 'streamer'})
    other = qudi.activate('other')
    buffer.start_stream()
    other.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    bench.assert_delivers(other, 0, 10)
    buffer.stop_stream()
    assert bench.device.module_state() == 'locked', 'the other buffer still streams'
    other.stop_stream()
    assert bench.device.module_state() == 'idle'


def test_an_idle_buffer_polls_nothing(bench, qtbot):
    bench.buffers(2)
    qtbot.wait(50)
    assert bench.device.polls == []


def test_the_polling_thread_ends_with_the_last_buffer(bench):
    bench.buffers(2)
    names = [thread.objectName() for thread in running_threads()]
    assert names.count('instream-streamer') == 1
    bench.qudi.deactivate('buffer1')
    assert running_threads()
    bench.qudi.deactivate('buffer2')
    assert not running_threads()


def test_a_buffer_that_cannot_be_told_keeps_no_other_one_in_the_dark(bench, caplog, wait_until):
    buffers = bench.buffers(3)
    for buffer in buffers:
        buffer.start_stream()

    def fail(_):
        raise RuntimeError('Internal C++ object already deleted.')

    buffers[0].module_state.onbeforeunlock = fail
    bench.device.faults.add('raise in read')
    bench.device.produce(10)
    wait_until(
        lambda: all(buffer.module_state() == 'idle' for buffer in buffers[1:]), 'others are told'
    )
    wait_until(lambda: 'A report about "buffer1" has failed' in caplog.text, 'the log says so')
    del buffers[0].module_state.onbeforeunlock
    buffers[0].stop_stream()
