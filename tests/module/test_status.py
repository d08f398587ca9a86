"""What a buffer tells of its stream: the status, the signals, the log lines."""

import logging
import math
import pickle
import re
import threading
import time
from dataclasses import FrozenInstanceError, astuple, fields

import numpy as np
import pytest
from qudi.interface.data_instream_interface import StreamingMode

# isort: split
from qtpy import QtCore

from bench import configure
from qudi.util.instream.device import BufferReports
from qudi.util.instream.stream import BufferedStream, SampleRing, StreamEnd, TimeLimits

DIRECT = QtCore.Qt.ConnectionType.DirectConnection


@pytest.fixture
def bench(make_bench):
    return make_bench(channels=['a', 'b'])


@pytest.fixture
def ends(wait_until):
    """Collect the ends that a buffer tells, with the time of each."""

    def collect(buffer):
        told = []
        buffer.sigStreamEnded.connect(lambda c: told.append((time.perf_counter(), c)), DIRECT)
        return told

    return collect


@pytest.fixture
def logged(caplog):
    """Levels and texts of what was logged about the streams."""
    caplog.set_level(logging.INFO)

    def find(text):
        return [
            (r.levelname.upper(), r.getMessage()) for r in caplog.records if text in r.getMessage()
        ]

    return find


def causes(told):
    return [cause for _, cause in told]


# -------------------------------------------------------------------- status


def test_the_status_follows_a_buffer_from_its_activation_to_the_next_configure(bench):
    buffer = bench.buffer('buffer1')
    status = buffer.status
    assert (status.state, status.streamer, status.channels) == ('idle', 'streamer', ())
    configure(buffer, size=500, rate=50)
    status = buffer.status
    assert status.state == 'idle'
    assert (status.channels, status.sample_rate, status.streaming_mode, status.ring_size) == (
        ('a', 'b'),
        50.0,
        'CONTINUOUS',
        500,
    )
    buffer.start_stream()
    assert buffer.status.state == 'running'
    bench.produce(30)
    buffer.read_data(10)
    buffer.stop_stream()
    status = buffer.status
    assert (status.state, status.message) == ('stopped', 'it was stopped')
    assert (status.samples_received, status.samples_read, status.samples_unread) == (30, 10, 20)
    configure(buffer)
    assert buffer.status.state == 'idle'
    assert buffer.status.samples_received == 0


def test_a_status_is_frozen_and_of_plain_values_that_can_be_sent(bench):
    buffers = bench.buffers(2)
    for buffer in buffers:
        buffer.start_stream()
    bench.produce(10)
    status = buffers[0].status
    assert pickle.loads(pickle.dumps(status)) == status
    plain = (str, int, float, bool, type(None))
    for field, value in zip(fields(status), astuple(status), strict=True):
        values = value if isinstance(value, tuple) else (value,)
        assert all(type(item) in plain for item in values), f'{field.name}: {value!r}'
    with pytest.raises(FrozenInstanceError):
        status.state = 'stopped'
    for buffer in buffers:
        buffer.stop_stream()


def test_a_status_names_the_other_buffers_that_stream(bench):
    first, second, third = bench.buffers(3)
    assert first.status.shared_with == ()
    second.start_stream()
    assert first.status.shared_with == ('buffer2',)
    first.start_stream()
    third.start_stream()
    assert first.status.shared_with == ('buffer2', 'buffer3')
    assert second.status.shared_with == ('buffer1', 'buffer3')
    for buffer in (first, second, third):
        buffer.stop_stream()


def test_a_status_comes_at_once_while_the_device_hangs(bench, wait_until):
    buffer = bench.buffer('buffer1')
    buffer.start_stream()
    bench.device.faults.add('block in read')
    bench.device.produce(10)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    told = []
    asker = threading.Thread(target=lambda: told.append(buffer.status), daemon=True)
    asker.start()
    asker.join(3)
    came = bool(told)
    bench.device.faults.clear()
    bench.device.released.set()
    assert came, 'the status waited for the device'
    assert told[0].state == 'running'
    buffer.stop_stream()


def test_the_highest_level_the_gaps_and_the_age_are_of_this_stream(bench):
    buffer = bench.buffer('buffer1', allow_overwrite=True)
    configure(buffer, size=100)
    buffer.start_stream()
    assert buffer.status.age is None
    bench.produce(70)
    buffer.read_data(60)
    bench.produce(20)
    status = buffer.status
    assert (status.peak_fill, status.samples_unread, status.overflow_count) == (70, 30, 0)
    assert 0 <= status.age < status.running_time
    for _ in range(3):  # one gap, however many polls it takes
        bench.produce(60)
    assert buffer.status.overflow_count == 1
    buffer.read_data(1)
    bench.produce(60)
    status = buffer.status
    assert (status.overflow_count, status.peak_fill, status.samples_unread) == (2, 100, 100)
    assert status.samples_lost == 30 + 180 - 100 + 59
    buffer.stop_stream()
    ended = buffer.status.running_time
    assert buffer.status.running_time == ended, 'an ended stream gets older'
    buffer.start_stream()
    status = buffer.status
    assert (status.overflow_count, status.peak_fill, status.samples_lost) == (0, 0, 0)
    buffer.stop_stream()


def test_the_rate_of_polls_is_that_of_the_looks_at_the_device(bench, wait_until):
    buffer = bench.buffer('buffer1', max_poll_rate=40)
    buffer.start_stream()
    first = len(bench.device.polls)
    began = time.perf_counter()
    wait_until(lambda: time.perf_counter() - began > 1.5, 'some polls came')
    rate, polls, elapsed = (
        buffer.status.poll_rate,
        len(bench.device.polls) - first,
        time.perf_counter() - began,
    )
    assert polls > 10
    assert math.isclose(rate, polls / elapsed, rel_tol=0.15), (rate, polls / elapsed)
    buffer.stop_stream()
    assert buffer.status.poll_rate == 0


# -------------------------------------------------------------------- signals


def test_each_end_is_told_once_with_its_cause(bench, ends, wait_until):
    finite, strict, other = bench.buffers(3)
    told = {buffer.module_name: ends(buffer) for buffer in (finite, strict, other)}
    configure(strict, size=50)
    configure(other, size=1000)
    strict.start_stream()
    other.start_stream()
    bench.produce(60)
    wait_until(lambda: causes(told['buffer2']) == ['overflow'], 'the overflow was told')
    assert causes(told['buffer3']) == []
    bench.device.faults.add('raise in read')
    bench.device.produce(10)
    wait_until(lambda: other.status.state == 'fault', 'the fault was noticed')
    wait_until(lambda: causes(told['buffer3']) == ['fault'], 'the fault was told')
    bench.device.faults.clear()
    configure(finite, mode=StreamingMode.FINITE, size=20)
    finite.start_stream()
    bench.produce(20)
    wait_until(lambda: causes(told['buffer1']) == ['finished'], 'the end was told')
    finite.stop_stream()
    assert causes(told['buffer1']) == ['finished'], 'the end of one stream was told twice'


def test_a_deactivation_is_told_as_a_stop(bench, ends):
    buffer = bench.buffer('buffer1')
    told = ends(buffer)
    buffer.start_stream()
    bench.qudi.deactivate('buffer1')
    assert causes(told) == ['stopped']


def test_quick_restarts_are_told_once_a_second_and_the_last_one_always(bench, ends, wait_until):
    buffer = bench.buffer('buffer1')
    configure(buffer, size=50)
    told = ends(buffer)
    began = time.perf_counter()
    for _ in range(5):
        buffer.start_stream()
        buffer.stop_stream()
    buffer.start_stream()
    bench.produce(60)
    took = time.perf_counter() - began
    wait_until(lambda: causes(told)[-1] == 'overflow', 'the last end is told')
    assert causes(told)[0] == 'stopped'
    assert len(told) <= 2 + took, 'ends within a second were told one by one'
    assert np.diff([at for at, _ in told]).min() >= 1.0, 'too soon'


def test_a_slot_may_start_the_stream_again_and_ask_whatever_it_likes(bench, wait_until, background):
    first, second = bench.buffers(2)
    configure(first, size=50)
    looks = []

    def again(cause):
        looks.append((cause, first.module_state(), second.status.shared_with))
        configure(first, size=500)
        first.start_stream()

    first.sigStreamEnded.connect(again, DIRECT)
    first.start_stream()
    second.start_stream()
    background(bench.device.produce, 60)
    wait_until(lambda: looks, 'the slot was called, by the thread that polls')
    assert looks == [('overflow', 'idle', ())]
    wait_until(lambda: first.status.state == 'running', 'the stream was started in the slot')
    wait_until(lambda: first.module_state() == 'locked', 'and the state shows it')
    first.sigStreamEnded.disconnect(again)
    first.stop_stream()
    second.stop_stream()


def test_all_that_is_lost_is_told_once_a_second(bench, wait_until):
    buffer = bench.buffer('buffer1', allow_overwrite=True)
    configure(buffer, size=50)
    told = []
    buffer.sigSamplesLost.connect(lambda count: told.append((time.perf_counter(), count)), DIRECT)
    buffer.start_stream()
    began = time.perf_counter()
    bench.produce(60)
    wait_until(lambda: told, 'the first loss was told at once')
    for _ in range(9):
        bench.produce(60)
    lost_at = time.perf_counter()
    # The last loss, just before silence, is told as well
    wait_until(lambda: sum(count for _, count in told) == 550, 'all were told')
    assert told[0][1] == 10
    assert len(told) <= 2 + lost_at - began, 'losses within a second were told one by one'
    assert np.diff([at for at, _ in told]).min() >= 1.0, 'too soon'
    assert told[-1][0] - lost_at < 5.0, 'together with the next log line'
    buffer.stop_stream()


def test_what_an_overflow_lost_is_told(bench, wait_until):
    buffer = bench.buffer('buffer1')
    configure(buffer, size=50)
    told = []
    buffer.sigSamplesLost.connect(told.append, DIRECT)
    buffer.start_stream()
    bench.produce(62)
    wait_until(lambda: told == [12], 'the loss was told')


def test_what_a_read_loses_after_the_end_of_its_stream_is_told_once():
    told, slot_goes_on = [], threading.Event()
    limits = TimeLimits(between_signals=0.0)
    reports = BufferReports('buffer1', slot_goes_on.wait, lambda _: None, told.append, limits)
    stream = BufferedStream('buffer1', SampleRing(50, 1, float), allow_overwrite=True)
    reports.changed()  # a slow slot holds up those below
    stream.put(np.zeros((60, 1)))
    reports.lost(stream)
    stream.end(StreamEnd.FAULT, 'the device failed')
    reports.ended(stream)
    stream.tally.lost += 7  # of a read that has failed
    slot_goes_on.set()
    reports.end()
    reports.wait(5)
    assert told == [17]


# -------------------------------------------------------------------- log


def test_a_start_tells_settings_and_company(bench, logged, wait_until):
    first, second = bench.buffers(2)
    configure(first, size=500, rate=50)
    configure(second, ['b'], size=600, rate=50)
    first.start_stream()
    second.start_stream()
    wait_until(lambda: len(logged('streams from "streamer"')) == 2, 'both starts are told')
    assert sorted(logged('streams from "streamer"')) == [
        (
            'INFO',
            '"buffer1" streams from "streamer": channels a, b; 50 Hz; CONTINUOUS; a ring of 500 '
            'samples; no other buffer streams.',
        ),
        (
            'INFO',
            '"buffer2" streams from "streamer": channels b; 50 Hz; CONTINUOUS; a ring of 600 '
            'samples; shared with "buffer1".',
        ),
    ]
    first.stop_stream()
    second.stop_stream()


def test_an_end_is_logged_once_as_a_warning_only_if_something_is_wrong(bench, logged, wait_until):
    stopped, full, broken = bench.buffers(3)
    for buffer, size in ((stopped, 1000), (full, 50), (broken, 1000)):
        configure(buffer, size=size)
    for buffer in (stopped, full, broken):
        buffer.start_stream()
    stopped.stop_stream()
    bench.produce(60)
    bench.device.faults.add('raise in read')
    bench.device.produce(10)
    wait_until(lambda: broken.status.state == 'fault', 'the fault was noticed')
    wait_until(lambda: len(logged('simulator lost its cable')) == 2, 'the fault was logged')
    wait_until(lambda: logged('of "buffer2" has'), 'the overflow was logged')
    assert [(level, 'it was stopped' in text) for level, text in logged('of "buffer1" has')] == [
        ('INFO', True)
    ]
    [(level, text)] = logged('of "buffer2" has')
    assert level == 'WARNING'
    for part in (
        '60 samples per channel were received, 0 read, 50 are unread, 10 lost',
        'larger channel_buffer_size',
        'Read faster',
        'allow_overwrite: True',
    ):
        assert part in text
    [(level, _), (own_level, text)] = logged('simulator lost its cable')
    assert (level, own_level) == ('WARNING', 'INFO'), 'one warning for all of them'
    assert '60 samples per channel were received, 0 read, 60 are unread, 0 lost' in text
    assert 'reads too slowly' not in str(logged('buffer')), 'one event was told by two texts'


def test_losses_are_logged_with_a_cure_but_not_all_the_time(make_bench, logged, wait_until):
    bench = make_bench(limits={'between_log_lines': 1.0, 'between_signals': 0.2})
    buffer = bench.buffer('buffer1', allow_overwrite=True)
    configure(buffer, size=50)
    buffer.start_stream()
    began = time.perf_counter()
    for _ in range(10):
        bench.produce(60)
    wait_until(lambda: logged('"buffer1" has lost'), 'the loss was logged')
    level, text = logged('"buffer1" has lost')[0]
    assert level == 'WARNING'
    assert '"buffer1" has lost 10 samples per channel' in text
    assert 'Read faster' in text
    assert 'larger channel_buffer_size' in text
    assert 'allow_overwrite' in text

    def counts():
        return [int(re.search(r'has lost (\d+)', text)[1]) for _, text in logged('has lost')]

    wait_until(lambda: sum(counts()) == 550, 'the rest is logged later')
    assert len(counts()) <= 1 + (time.perf_counter() - began) / 1.0, 'it is logged all the time'
    buffer.stop_stream()
