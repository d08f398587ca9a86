"""While buffers stream, nobody else starts the device; afterwards everybody may, as ever."""

import threading
import weakref

import pytest

from bench import configure

REFUSED = '"streamer" cannot be started a second time: buffers of its qudi stream from it'


def test_a_second_start_of_the_device_is_refused_while_buffers_stream(bench):
    buffer, other = bench.buffers(2)
    configure(buffer)
    for _ in range(2):
        buffer.start_stream()
        other.start_stream()
        bench.produce(10)
        with pytest.raises(RuntimeError, match=REFUSED):
            bench.device.start_stream()
        other.stop_stream()
        with pytest.raises(RuntimeError, match='Connect each program to a DataInStreamBuffer'):
            bench.device.start_stream()
        bench.produce(10)
        bench.assert_delivers(buffer, 0, 20)
        buffer.stop_stream()
        bench.device.start_stream()
        bench.device.stop_stream()
    assert bench.device.starts == 4


@pytest.mark.parametrize('fault', ['raise in read', 'rubbish', 'raise in stop', 'raise in start'])
def test_the_device_is_free_again_after_a_fault(bench, fault, wait_until):
    buffer = bench.buffer('buffer1')
    configure(buffer)
    bench.device.faults.add(fault)
    if fault == 'raise in start':
        with pytest.raises(OSError, match='does not start'):
            buffer.start_stream()
    else:
        buffer.start_stream()
        if fault == 'raise in stop':
            with pytest.raises(OSError, match='does not stop'):
                buffer.stop_stream()
        else:
            bench.device.produce(10)
            wait_until(lambda: buffer.module_state() == 'idle', 'the fault was noticed')
            bench.let_poll_finish()  # a report of the start may tell of the end before it
    bench.device.faults.clear()
    if bench.device.module_state() == 'locked':
        bench.device.stop_stream()
    bench.device.start_stream()
    bench.device.stop_stream()


def test_a_second_start_is_refused_whoever_streams(bench):
    """A buffer of another process, for example, as long as a buffer of this one is activated."""
    buffer, device = bench.buffer('buffer1'), bench.device
    configure(buffer)
    device.start_stream()
    with pytest.raises(RuntimeError, match='second time: a program streams from it already'):
        device.start_stream()
    assert (device.starts, device.stops) == (1, 0)
    device.stop_stream()
    buffer.start_stream()
    buffer.stop_stream()


def test_nothing_is_left_on_the_device_and_it_can_be_collected(bench, dies):
    buffers = bench.buffers(2)
    buffers[0].start_stream()
    assert 'start_stream' in vars(bench.device)
    bench.qudi.deactivate('buffer1')
    bench.qudi.deactivate('buffer2')
    assert 'start_stream' not in vars(bench.device)
    gone = weakref.ref(bench.device)
    bench.device = None
    del buffers
    bench.qudi.module_manager.clear()
    dies(gone)


def test_whoever_starts_the_device_first_gets_it(bench, background):
    """The other one is refused while the first start is still on its way."""
    buffer = bench.buffer('buffer1')
    configure(buffer)
    device = bench.device
    device.faults.add('start slowly')
    start = background(device.start_stream)
    while not device.blocked:
        threading.Event().wait(0.01)
    with pytest.raises(RuntimeError, match='is being started by another program at this moment'):
        buffer.start_stream()
    device.released.set()
    start.result(10)
    with pytest.raises(
        RuntimeError, match='"buffer1" cannot start: "streamer" was already started'
    ):
        buffer.start_stream()
    device.stop_stream()
    device.released.clear()
    start = background(buffer.start_stream)
    while not device.blocked:
        threading.Event().wait(0.01)
    with pytest.raises(RuntimeError, match='is being started by another program at this moment'):
        device.start_stream()
    device.released.set()
    start.result(10)
    assert buffer.module_state() == 'locked'


@pytest.fixture
def unstopped(bench):
    """A buffer whose stop has failed, so that the device runs on."""
    buffer = bench.buffer('buffer1')
    configure(buffer)
    buffer.start_stream()
    bench.device.faults.add('raise in stop')
    with pytest.raises(OSError, match='does not stop'):
        buffer.stop_stream()
    bench.device.faults.clear()
    return buffer


@pytest.mark.parametrize('then', ['start', 'stop', 'configure', 'deactivate'])
def test_a_stream_of_somebody_else_is_not_stopped_after_a_failed_stop(bench, unstopped, then):
    """The user has helped himself, and uses the device without a buffer now."""
    device = bench.device
    device.stop_stream()
    device.start_stream()
    stops = device.stops
    if then == 'start':
        with pytest.raises(RuntimeError, match='was already started by another program'):
            unstopped.start_stream()
    elif then == 'stop':
        unstopped.stop_stream()
    elif then == 'configure':
        configure(unstopped, rate=50.0)
    else:
        bench.qudi.deactivate('buffer1')
    assert device.stops == stops, 'the stream of somebody else was stopped'
    device.stop_stream()


def test_a_start_tells_who_has_the_device_and_a_configure_before_it_waits(bench):
    (buffer,) = bench.buffers(1)
    bench.device.start_stream()  # by a program without a buffer
    with pytest.raises(ValueError, match='"buffer1" cannot be configured'):
        configure(buffer, channels=['none'])
    configure(buffer, channels=['b'], rate=50.0)
    assert bench.device.sample_rate == 100, 'the stream of the other program was changed'
    with pytest.raises(RuntimeError, match='"streamer" was already started by another program'):
        buffer.start_stream()
    bench.device.stop_stream()
    buffer.start_stream()
    assert bench.device.sample_rate == 50
    bench.produce(10)
    bench.assert_delivers(buffer, 0, 10)
    buffer.stop_stream()


def test_a_configure_makes_up_for_a_failed_stop(bench, unstopped):
    configure(unstopped, rate=50.0)
    assert bench.device.sample_rate == 50
    assert bench.device.module_state() == 'idle'


def test_an_interrupted_start_stops_the_device(bench):
    """Ctrl-C in a script, for example."""
    buffer, device = bench.buffer('buffer1'), bench.device
    configure(buffer)
    device.make_error = KeyboardInterrupt
    device.faults.add('raise after start')
    with pytest.raises(KeyboardInterrupt):
        buffer.start_stream()
    device.faults.clear()
    assert device.module_state() == buffer.module_state() == buffer.status.state == 'idle'
    buffer.start_stream()
    buffer.stop_stream()
