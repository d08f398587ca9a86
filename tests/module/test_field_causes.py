"""The cause that is told is the cause: pauses, hangs, panics, ends, and messages."""

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.hardware.instream_buffer.simulator import foretold_samples

# -------------------------------------------------------------------- pauses


def pause_this_process(seconds):
    """Have another process stop this one as a whole, as a suspended computer does."""
    pause = (
        f'import os, signal, time; os.kill({os.getpid()}, signal.SIGSTOP); '
        f'time.sleep({seconds}); os.kill({os.getpid()}, signal.SIGCONT)'
    )
    return subprocess.Popen([sys.executable, '-c', pause])


@pytest.mark.skipif(not hasattr(signal, 'SIGSTOP'), reason='needs signals that stop a process')
def test_a_pause_of_the_whole_process_is_no_silence_of_the_device(make_bench, background, qtbot):
    bench = make_bench(channels=['a', 'b'], clocked=True)
    buffers = bench.buffers(4, read_timeout=0.5, max_poll_rate=30)
    for buffer in buffers:
        configure(buffer, size=100_000, rate=1000.0)
        buffer.start_stream()

    is_over = threading.Event()

    def read(buffer):
        position, longest = None, 0.0
        while not is_over.is_set():
            began = time.perf_counter()
            data, _ = buffer.read_data(200)
            longest = max(longest, time.perf_counter() - began)
            first = int(data[0]) // 16
            assert position in (None, first), f'sample {first} came instead of {position}'
            assert (data.reshape(-1, 2) == foretold_samples(first, 200, 'ab')).all()
            position = first + 200
        return longest

    reads = [background(read, buffer) for buffer in buffers]
    for _ in range(2):
        assert pause_this_process(seconds=1.5).wait(20) == 0
        qtbot.wait(300)
    is_over.set()
    longest = [future.result(20) for future in reads]
    assert max(longest) > 1.2, 'the process was not paused, this proves nothing'
    for buffer in buffers:
        assert buffer.status.state == 'running'
        buffer.stop_stream()


def test_a_driver_that_takes_long_for_a_read_is_no_silence_of_the_device(
    bench, background, qtbot, wait_until
):
    buffers = bench.buffers(2, read_timeout=0.5)
    for buffer in buffers:
        buffer.start_stream()
    reads = [background(buffer.read_data, 5) for buffer in buffers]
    for buffer in buffers:
        bench.wait_for_reader(buffer)
    bench.device.faults.add('block in read')
    bench.device.produce(5)
    wait_until(lambda: bench.device.blocked, 'the device is in a read')
    qtbot.wait(1500)
    bench.device.faults.clear()
    bench.device.released.set()
    for read in reads:
        data, _ = read.result(5)
        assert (data.reshape(-1, 4) == foretold_samples(0, 5)).all()
    for buffer in buffers:
        buffer.stop_stream()


def test_a_device_that_is_silent_is_told_after_the_time_that_was_asked_for(bench, background):
    buffer = bench.buffer('buffer', read_timeout=0.5)
    buffer.start_stream()
    bench.produce(1)
    began = time.perf_counter()
    assert isinstance(background(buffer.read_data, 2).exception(5), TimeoutError)
    assert 0.4 < time.perf_counter() - began < 1.5
    buffer.stop_stream()


# -------------------------------------------------------------------- properties

KNOWN_HERE = ('active_channels', 'channel_buffer_size', 'streaming_mode', 'constraints')


def slowest_look(buffer, names, looks=300):
    """Return the longest time (s) that one look at one of these properties took."""
    slowest = 0.0
    for name in names:
        for _ in range(looks):
            began = time.perf_counter()
            getattr(buffer, name)
            slowest = max(slowest, time.perf_counter() - began)
    return slowest


@pytest.fixture
def release(bench, background):  # torn down before the calls in the background are waited for
    """Release the device after a test that lets it hang, whatever became of the test."""
    yield
    bench.device.faults.clear()
    bench.device.released.set()


def test_properties_come_at_once_while_the_device_hangs(bench, release, background, wait_until):
    streaming, idle, unconfigured = bench.buffers(3)
    configure(streaming)
    configure(idle, ['b'], size=500)
    streaming.start_stream()
    bench.device.faults |= {'block in read', 'block queries'}
    bench.device.produce(5)
    wait_until(lambda: bench.device.blocked, 'the device hangs')
    before = dict(bench.device.queries)
    for buffer in (streaming, idle, unconfigured):
        look = background(slowest_look, buffer, KNOWN_HERE)
        slowest = look.result(5)
        assert slowest < 0.05, f'a property of "{buffer.module_name}" took {slowest:.2f} s'
    assert dict(bench.device.queries) == before, 'properties have called a device that hangs'
    rate = background(lambda: streaming.sample_rate).result(1)
    assert rate == 100, 'the rate that was known last'
    assert dict(bench.device.queries) == before, 'a device that hangs was asked for its rate'
    assert (idle.active_channels, idle.channel_buffer_size) == (['b'], 500)


@pytest.mark.parametrize('state', ['unconfigured', 'configured', 'streaming', 'ended'])
def test_only_the_rate_is_a_question_to_the_device(bench, state):
    (buffer,) = bench.buffers(1)
    if state != 'unconfigured':
        configure(buffer)
    if state in ('streaming', 'ended'):
        buffer.start_stream()
    if state == 'ended':
        buffer.stop_stream()
    before, polls = bench.device.queries.copy(), len(bench.device.polls)
    slowest_look(buffer, (*KNOWN_HERE, 'status', 'available_samples'))
    asked = bench.device.queries - before
    rates = asked.pop('sample_rate', 0)  # a poll may ask for that
    assert not asked, f'properties have called the device: {dict(asked)}'
    assert rates <= len(bench.device.polls) - polls + 1, f'the rate was asked for {rates} times'
    if state == 'streaming':
        buffer.stop_stream()


def test_the_rate_is_asked_once_per_poll_at_most(bench, qtbot):
    buffers = [bench.buffer(name, max_poll_rate=20) for name in ('buffer1', 'buffer2')]
    for buffer in buffers:
        configure(buffer)
        buffer.start_stream()
    qtbot.wait(200)
    queries, polls = bench.device.queries['sample_rate'], len(bench.device.polls)
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        for buffer in buffers:
            for _ in range(150):
                assert buffer.sample_rate == 100
        qtbot.wait(10)
    asked, polled = bench.device.queries['sample_rate'] - queries, len(bench.device.polls) - polls
    assert asked <= polled + 1, f'the device was asked {asked} times in {polled} polls'
    for buffer in buffers:
        buffer.stop_stream()


def test_a_live_rate_follows_the_device(make_bench, wait_until):
    bench = make_bench(sample_timing='TIMESTAMP')
    (buffer,) = bench.buffers(1)
    configure(buffer)
    buffer.start_stream()
    assert buffer.sample_rate == 100
    bench.device.faults.add('measure rate')
    wait_until(lambda: 100 < buffer.sample_rate <= 101, 'the rate is the one that is measured now')
    buffer.stop_stream()


def test_the_first_look_at_a_live_rate_is_not_that_of_the_start(make_bench, wait_until):
    bench = make_bench(sample_timing='TIMESTAMP')
    (buffer,) = bench.buffers(1)
    configure(buffer)
    buffer.start_stream()
    bench.device.faults.add('measure rate')
    asked = bench.device.queries['sample_rate']
    wait_until(lambda: bench.device.queries['sample_rate'] > asked, 'a poll asks for the rate')
    wait_until(lambda: bench.device.queries['sample_rate'] > asked + 1, 'and another one')
    assert buffer.sample_rate > 100
    buffer.stop_stream()


def test_all_channels_off_are_no_error_of_a_property(make_bench):
    bench = make_bench(sample_timing='TIMESTAMP')
    bench.device.faults.add('rate of no channels')
    bench.device.configure([], StreamingMode.CONTINUOUS, 1000, 100.0)
    (buffer,) = bench.buffers(1)
    assert buffer.active_channels == []
    assert buffer.streaming_mode is StreamingMode.CONTINUOUS
    assert buffer.channel_buffer_size == 1000
    assert isinstance(buffer.sample_rate, float)
    assert buffer.status.state == 'idle'
    configure(buffer, ['a'])
    buffer.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


# -------------------------------------------------------------------- exceptions of every kind


class Panic(BaseException):
    """As a panic of a library in Rust arrives in Python."""


@pytest.mark.parametrize('where', ['raise in read', 'raise in available_samples'])
@pytest.mark.parametrize('kind', [Panic, SystemExit, asyncio.CancelledError])
def test_an_exception_of_any_kind_is_a_fault_that_names_it(
    bench, background, wait_until, where, kind
):
    buffers = bench.buffers(2)
    for buffer in buffers:
        buffer.start_stream()
    bench.produce(10)
    reads = [background(buffer.read_data, 20) for buffer in buffers]
    for buffer in buffers:
        bench.wait_for_reader(buffer)
    bench.device.make_error = partial(kind, 'the library panicked')
    bench.device.faults.add(where)
    bench.device.produce(1)
    for read in reads:
        error = read.exception(3)
        assert type(error) is RuntimeError, f'a reader had {error!r}'
        assert kind.__name__ in str(error)
        assert 'the library panicked' in str(error)
        assert isinstance(error.__cause__, kind)
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device was stopped')
    for buffer in buffers:
        wait_until(lambda b=buffer: b.status.state == 'fault', 'the stream ended with a fault')
    bench.device.faults.clear()
    for buffer in buffers:
        buffer.start_stream()
    bench.produce(10)
    for buffer in buffers:
        bench.assert_delivers(buffer, 0, 10)
        buffer.stop_stream()


# -------------------------------------------------------------------- messages


def test_a_ring_that_does_not_fit_into_the_memory_is_named(make_bench):
    bench = make_bench(room=2**46)
    (buffer,) = bench.buffers(1)
    configure(buffer, size=2**45)
    with pytest.raises(MemoryError) as refused:
        buffer.start_stream()
    for text in ('"buffer1"', 'channel_buffer_size', str(2**45), 'a', 'b'):
        assert re.search(rf'(?<!\w){re.escape(text)}(?!\w)', str(refused.value)), (
            f'{text} is not in the message: {refused.value}'
        )
    assert bench.device.module_state() == buffer.module_state() == 'idle'
    configure(buffer)
    buffer.start_stream()
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_a_buffer_that_is_connected_to_itself_is_told_so(qudi, caplog):
    buffer = 'instream_buffer.buffer.DataInStreamBuffer'
    qudi.add('hardware', 'loop', buffer, connect={'streamer': 'loop'})
    # No pytest.raises: what it keeps is a reference cycle with qudi's ManagedModule in it, and
    # PySide2 deletes the main thread's QThread when it collects that
    texts = []
    try:
        qudi.activate('loop')
    except Exception as error:
        cause = error
        while cause is not None:
            texts.append(f'{type(cause).__name__}: {cause}')
            cause = cause.__cause__ or cause.__context__
        del cause
    assert texts, 'a buffer without a device was activated'
    assert any('"loop"' in text and 'itself' in text for text in texts), (
        f'the user sees: {texts[0]}, {texts[-1]}'
    )
    assert 'RecursionError' not in str(texts)


def message_of_a_fault(bench, text, background, wait_until):
    """What a reader is told when the device raises an error with this text."""
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    read = background(buffer.read_data, 100)
    bench.wait_for_reader(buffer)
    bench.device.make_error = partial(OSError, text)
    bench.device.faults.add('raise in read')
    bench.device.produce(1)
    wait_until(lambda: buffer.module_state() == 'idle', 'the fault was noticed')
    return str(read.exception(5)), buffer.status.message


def test_a_full_stop_of_the_device_is_not_doubled(bench, background, wait_until, caplog):
    caplog.set_level(logging.INFO)
    message, _ = message_of_a_fault(bench, 'simulator lost its cable.', background, wait_until)
    assert 'simulator lost its cable.' in message
    assert '..' not in message
    wait_until(lambda: 'has ended' in caplog.text, 'the end was logged')
    assert not [r.getMessage() for r in caplog.records if '..' in r.getMessage()]


LINES = [
    'Measurements: Attempted to read samples that are no longer available.',
    'Task Name: samples_in',
    'Status Code: -200279',
]


def test_several_lines_of_a_driver_stay_readable(bench, background, wait_until):
    text = f'{LINES[0]}\n\n{LINES[1]}\n{LINES[2]}\n'
    told = message_of_a_fault(bench, text, background, wait_until)
    for message in told:
        for line in LINES:
            assert line.rstrip('.') in message, f'"{line}" is lost in: {message}'
        begins = message.splitlines()
        assert all(line.startswith(' ') for line in begins[1:]), (
            f'the text of the driver and that of the buffer run into each other: {message}'
        )
        assert '..' not in message


# -------------------------------------------------------------------- ends


def test_a_program_that_only_looks_is_told_of_an_overflow(bench):
    buffer, other = bench.buffers(2)
    configure(buffer, size=50)
    configure(other)
    buffer.start_stream()
    other.start_stream()
    bench.produce(80)
    assert buffer.available_samples == 50
    bench.assert_delivers(buffer, 0, 50)
    for _ in range(2):
        with pytest.raises(OverflowError, match='"buffer1" has ended') as told:
            _ = buffer.available_samples
    with pytest.raises(OverflowError) as of_a_read:
        buffer.read_data(1)
    assert str(told.value) == str(of_a_read.value)
    assert other.available_samples == 80
    other.stop_stream()


def test_a_program_that_only_looks_is_told_of_a_fault(bench, wait_until):
    (buffer,) = bench.buffers(1)
    configure(buffer)
    buffer.start_stream()
    bench.produce(20)
    bench.device.faults.add('raise in read')
    bench.device.produce(5)
    wait_until(lambda: buffer.module_state() == 'idle', 'the fault was noticed')
    assert buffer.available_samples == 20
    bench.assert_delivers(buffer, 0, 20)
    with pytest.raises(RuntimeError, match='lost its cable') as told:
        _ = buffer.available_samples
    assert isinstance(told.value.__cause__, OSError), 'the cause in the hardware is not chained'


def test_a_stopped_stream_has_nothing_available(bench):
    (buffer,) = bench.buffers(1)
    buffer.start_stream()
    bench.produce(20)
    buffer.stop_stream()
    assert buffer.available_samples == 0
