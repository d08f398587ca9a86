"""A RemoteInStream on a buffer of another qudi: both in this process, with real connections."""

import contextlib
import socket
import threading
import time
import weakref

import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from ports import free_port
from qudi.hardware.instream_buffer.remote import RemoteInStream
from qudi.util.instream.device import registry
from qudi.util.instream.remote import Address, NoBufferError, RemoteDevice, ServiceConnection
from qudi.util.instream.stream import StreamEnd
from rpyc_server import QUDI_PROTOCOL, QudiModules, RpycServer


@pytest.fixture
def server(qudi):
    server = RpycServer(QudiModules(), **QUDI_PROTOCOL)
    yield server
    for name in ('near', 'near1', 'near2', 'remote'):
        if name in qudi.module_manager.modules:
            qudi.deactivate(name)
    server.close()


@pytest.fixture
def remote(make_bench, server):
    """A bench whose buffer `far` is read by the module that this makes."""

    def make(buffer_options=None, remote_options=None, **device_options):
        bench = make_bench(**device_options)
        server.service.modules['far'] = bench.buffer('far', **(buffer_options or {}))
        options = {'host': '127.0.0.1', 'port': server.port, 'buffer': 'far', 'max_poll_rate': 1000}
        bench.qudi.add(
            'hardware',
            'remote',
            'instream_buffer.remote.RemoteInStream',
            {**options, **(remote_options or {})},
        )
        return bench, bench.qudi.activate('remote')

    return make


def cut_off(server):
    """Break all connections."""
    for sock in tuple(server.clients):
        sock.shutdown(socket.SHUT_RDWR)


def connections(server):
    return len(server.clients)


def remote_options(server, **options):
    return {'host': '127.0.0.1', 'port': server.port, 'buffer': 'far', **options}


def test_a_program_gets_every_sample_in_order(remote):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    bench.produce(100)
    bench.assert_delivers(stream, 0, 60)
    bench.produce(60)
    bench.assert_delivers(stream, 60, 100)
    stream.stop_stream()
    assert bench.device.module_state() == 'idle'


def test_timestamps_count_from_the_start_of_the_stream(remote):
    bench, stream = remote(sample_timing='TIMESTAMP')
    configure(stream)
    stream.start_stream()
    bench.produce(100)
    bench.assert_delivers(stream, 0, 100)


@pytest.mark.parametrize('data_type', ['int32', 'uint16', 'float32'])
def test_samples_of_any_data_type_come_as_they_are(remote, data_type):
    bench, stream = remote(data_type=data_type)
    configure(stream, channels=('b', 'a'))
    stream.start_stream()
    bench.produce(50)
    bench.assert_delivers(stream, 0, 50)


def test_a_finite_acquisition_ends_when_all_is_there(remote, wait_until):
    bench, stream = remote()
    configure(stream, mode=StreamingMode.FINITE, size=50)
    stream.start_stream()
    bench.device.produce(80)
    bench.assert_delivers(stream, 0, 50)
    with pytest.raises(RuntimeError, match='all 50 samples were acquired'):
        stream.read_data(1)
    assert stream.status.state == 'finished'
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device is stopped')


def test_a_waiting_read_is_served_as_soon_as_its_samples_are_there(remote, background, wait_until):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    read = background(stream.read_data, 10)
    bench.wait_for_reader(stream)
    far = bench.qudi['far']
    wait_until(lambda: far.stream.readers.missing(0) == 10, 'the read waits in the other qudi')
    bench.device.produce(9)
    assert not read.done()
    bench.device.produce(1)
    assert len(read.result(5)[0]) == 20


def test_no_read_waits_for_the_network_with_the_lock_of_its_stream(remote, background, wait_until):
    """One that wants less than another has the request in progress hurried, by another thread."""
    bench, stream = remote()
    bench.qudi.add_buffer('near', max_poll_rate=1000, streamer='remote')
    near = bench.qudi['near']
    for one in (stream, near):
        configure(one)
        one.start_stream()
    near.stream.attention.end()  # its program does not only look, but waits
    readers, askers, link = set(), set(), link_of(stream)
    is_there = link.is_there

    def note_and_ask(count):
        askers.add(threading.get_ident())
        return is_there(count)

    def note_and_read(buffer, count):
        readers.add(threading.get_ident())
        return buffer.read_data(count)

    link.is_there = note_and_ask
    far = bench.qudi['far']
    long_read = background(note_and_read, stream, 400)
    wait_until(lambda: far.stream.readers.missing(0) == 400, 'the first read waits over there')
    read = background(note_and_read, near, 10)
    wait_until(lambda: far.stream.readers.missing(0) == 10, 'the second read waits there instead')
    assert askers
    assert not askers & readers, 'a read may hurry a request, over the network'
    bench.device.produce(10)
    assert len(read.result(5)[0]) == 20
    bench.device.produce(390)
    assert len(long_read.result(5)[0]) == 800
    for one in (stream, near):
        one.stop_stream()


def test_local_buffers_share_the_connections_of_the_module(remote, server, wait_until):
    bench, stream = remote()
    for name in ('near1', 'near2'):
        bench.qudi.add_buffer(name, max_poll_rate=1000, streamer='remote')
    programs = [stream, bench.qudi['near1'], bench.qudi['near2']]
    for program in programs:
        configure(program, channels=('b', 'a') if program is stream else ('a',))
        program.start_stream()
    assert connections(server) == 2, 'one for requests, one for samples'
    bench.produce(100)
    for program in programs:
        bench.assert_delivers(program, 0, 100)
    for program in programs:
        program.stop_stream()
    assert bench.device.module_state() == 'idle'
    wait_until(lambda: connections(server) == 1, 'the connection for samples is closed')
    for name in ('near1', 'near2', 'remote'):
        bench.qudi.deactivate(name)
    wait_until(lambda: connections(server) == 0, 'no connection is left')


def test_its_settings_and_its_constraints_are_those_of_the_buffer_there(remote):
    bench, stream = remote(data_type='int32')
    far = bench.qudi['far']
    configure(stream, channels=['b'], size=2000, rate=50.0)
    for name in ('active_channels', 'streaming_mode', 'channel_buffer_size', 'sample_rate'):
        assert getattr(stream, name) == getattr(far, name), name
    for name in ('channel_units', 'sample_timing', 'streaming_modes', 'data_type'):
        assert getattr(stream.constraints, name) == getattr(far.constraints, name), name
    for name in ('sample_rate', 'channel_buffer_size'):
        there, here = getattr(far.constraints, name), getattr(stream.constraints, name)
        assert (here.default, *here.bounds) == (there.default, *there.bounds)


def test_an_error_of_the_device_there_ends_the_stream_with_its_text(remote, server):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    bench.produce(10)
    bench.device.faults.add('raise in read')
    bench.device.produce(10)
    bench.assert_delivers(stream, 0, 10)
    place = f'that of far@127.0.0.1:{server.port} has ended: the device failed with OSError'
    with pytest.raises(RuntimeError, match=place):
        stream.read_data(1)
    bench.device.faults.clear()
    stream.start_stream()
    bench.produce(10)
    bench.assert_delivers(stream, 0, 10)


def test_what_the_device_there_refuses_is_refused_here(remote):
    bench, stream = remote()
    with pytest.raises(ValueError, match='no channel'):
        configure(stream, channels=['no channel'])
    other = bench.buffer('other')
    configure(other, rate=50.0)
    other.start_stream()
    configure(stream)
    with pytest.raises(RuntimeError, match=r'while "other" streams .* 100 Hz requested, 50 Hz run'):
        stream.start_stream()


def device_of(stream):
    """The device of a stream: the buffer in the other qudi."""
    return next(
        one.streamer for one in registry.distributors() if stream.module_name in one.active_names
    )


def link_of(stream):
    """What fetches the samples of a stream."""
    return device_of(stream).link


@contextlib.contextmanager
def nothing_fetched(stream):
    """Keep the thread that fetches samples from its next request."""
    connection = link_of(stream).connection
    call, is_held, go_on = connection.call, threading.Event(), threading.Event()

    def call_later(*values, **more):
        is_held.set()
        assert go_on.wait(10)
        return call(*values, **more)

    connection.call = call_later
    assert is_held.wait(10), 'the request in progress does not return'
    try:
        yield
    finally:
        go_on.set()


def test_a_gap_ends_a_stream_that_must_not_have_one(remote, wait_until):
    bench, stream = remote({'allow_overwrite': True})
    configure(stream)
    stream.start_stream()
    with nothing_fetched(stream):
        bench.device.produce(1050)
        wait_until(lambda: bench.qudi['far'].status.samples_lost == 50, 'samples are lost there')
    with pytest.raises(OverflowError, match='50 samples per channel are missing'):
        stream.read_data(1)


def test_a_gap_is_counted_where_it_is_allowed(remote, wait_until):
    bench, stream = remote({'allow_overwrite': True}, {'allow_overwrite': True})
    configure(stream)
    stream.start_stream()
    with nothing_fetched(stream):
        bench.device.produce(1050)
        wait_until(lambda: bench.qudi['far'].status.samples_lost == 50, 'samples are lost there')
    bench.assert_delivers(stream, 50, 1000)
    assert stream.status.samples_lost == 50


def test_an_overflow_there_is_an_overflow_here(remote, wait_until):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    with nothing_fetched(stream):
        bench.device.produce(1050)
        wait_until(lambda: bench.qudi['far'].status.state == 'overflow', 'the ring there is full')
    bench.assert_delivers(stream, 0, 1000)
    with pytest.raises(OverflowError, match='its ring of 1000 samples was full'):
        stream.read_data(1)


def test_a_second_program_on_the_buffer_is_refused_and_told_who_has_it(remote, qudi, server):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    far = qudi['far']
    told = 'since it streams for the client at 127.0.0.1:.* Give each program a buffer of its own'
    with pytest.raises(RuntimeError, match=f'cannot be started for a program of this qudi, {told}'):
        far.start_stream()
    visitor = server.connect()
    module = visitor.root.get_module_instance('far')
    for change, verb in (('start_stream', 'started'), ('stop_stream', 'stopped')):
        with pytest.raises(RuntimeError, match=f'cannot be {verb} for the client at .*, {told}'):
            getattr(module, change)()
    visitor.close()
    bench.produce(100)
    bench.assert_delivers(stream, 0, 100)


def test_a_stream_of_a_program_there_is_not_taken_over(remote):
    bench, stream = remote()
    far = bench.qudi['far']
    configure(far)
    far.start_stream()
    with pytest.raises(RuntimeError, match='since it streams for a program of this qudi'):
        stream.start_stream()
    bench.produce(100)
    bench.assert_delivers(far, 0, 100)


def test_after_a_timeout_another_rate_can_be_set(remote):
    bench, stream = remote(remote_options={'read_timeout': 0.2})
    configure(stream)
    stream.start_stream()
    with pytest.raises(TimeoutError, match='no new sample for'):
        stream.read_data(10)
    configure(stream, rate=50.0)
    stream.start_stream()
    assert bench.device.sample_rate == 50.0
    bench.produce(10)
    bench.assert_delivers(stream, 0, 10)


def test_many_samples_come_as_an_array(remote):
    bench, stream = remote(sample_timing='TIMESTAMP')
    configure(stream, size=100_000)
    stream.start_stream()
    bench.produce(50_000)
    bench.assert_delivers(stream, 0, 50_000)


def test_a_start_streams_again_after_the_server_was_restarted(remote, server, wait_until):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    cut_off(server)
    lost = f'"far" in the qudi at 127.0.0.1:{server.port} is lost: the connection is broken'
    with pytest.raises(RuntimeError, match=lost):
        stream.read_data(10)
    wait_until(lambda: connections(server) == 0, 'the connections are closed')
    stream.start_stream()
    wait_until(lambda: bench.device.module_state() == 'locked', 'the device is started')
    bench.produce(10)
    bench.assert_delivers(stream, 0, 10)


def test_a_server_with_another_data_type_is_refused_at_each_start(remote, server):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    stream.stop_stream()
    simulator = 'instream_buffer.simulator.InStreamSimulator'
    bench.qudi.add('hardware', 'other', simulator, {'data_type': 'int32'})
    server.service.modules['far'] = bench.qudi.add_buffer('far_later', streamer='other')
    cut_off(server)
    for _ in range(2):
        with pytest.raises(RuntimeError, match='has other constraints than before'):
            stream.start_stream()


def test_a_start_streams_again_after_the_buffer_there_was_reloaded(remote, server):
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    stream.stop_stream()
    bench.qudi.deactivate('far')
    bench.qudi.module_manager.modules['far'].reload()
    server.service.modules['far'] = bench.qudi.activate('far')
    with pytest.raises(RuntimeError, match='was reloaded, start the stream again'):
        stream.start_stream()
    stream.start_stream()
    bench.produce(10)
    bench.assert_delivers(stream, 0, 10)


def test_a_stream_that_is_lost_here_ends_there_too(remote, wait_until):
    """Only the connection for samples breaks: the other side sees nothing of that."""
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    link_of(stream).connection.break_off()
    with pytest.raises(RuntimeError, match='is lost'):
        stream.read_data(10)
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device is stopped')
    configure(stream, rate=200)


@pytest.mark.parametrize('start', ['quick', 'slow'])
def test_the_end_of_a_stream_leaves_that_of_another_program_alone(
    remote, wait_until, background, caplog, start
):
    """The other program starts the buffer there as soon as it is free."""
    bench, stream = remote()
    configure(stream)
    stream.start_stream()
    far = bench.qudi['far']
    with nothing_fetched(stream):  # so that the end is not seen here yet
        far.stream.end(StreamEnd.OVERFLOW, 'it was full')
        wait_until(lambda: bench.device.module_state() == 'idle', 'the device is stopped')
        if start == 'slow':
            bench.device.configure(['a', 'b', 'c'], StreamingMode.CONTINUOUS, 500, 50.0)
            bench.device.faults.add('configure slowly')
        started = background(far.start_stream)
        if start == 'slow':
            wait_until(lambda: bench.device.blocked, 'the start there has begun')
    with pytest.raises(OverflowError, match='it was full'):
        stream.read_data(1)
    wait_until(lambda: stream.module_state() == 'idle', 'the stream here has ended')
    bench.device.released.set()
    started.result(10)
    bench.produce(10)
    bench.assert_delivers(far, 0, 10)
    assert far.status.state == 'running'
    assert 'cannot be stopped' not in caplog.text, 'a stop of the other stream was tried'
    far.stop_stream()


def test_a_late_stop_of_a_client_leaves_the_start_of_another_one_alone(
    remote, server, background, wait_until
):
    """The stream of the first one has ended by itself, and the start of the second one is slow."""
    bench, _ = remote()
    far = bench.qudi['far']
    configure(far, mode=StreamingMode.FINITE, size=10)
    clients = [server.connect() for _ in range(2)]
    first, second = [client.root.get_module_instance('far') for client in clients]
    first.start_stream()
    bench.device.produce(10)
    wait_until(lambda: bench.device.module_state() == 'idle', 'the device is stopped')
    bench.device.configure(['a', 'b', 'c'], StreamingMode.CONTINUOUS, 500, 50.0)
    bench.device.faults.add('configure slowly')
    started = background(second.start_stream)
    wait_until(lambda: bench.device.blocked, 'the start has begun')
    stopped = background(first.stop_stream)
    threads = [distributor.thread for distributor in registry.distributors()]
    wait_until(lambda: any(len(thread.jobs) for thread in threads), 'the stop was queued')
    bench.device.released.set()
    started.result(10)
    assert 'cannot be stopped for the client at' in str(stopped.exception(10))
    assert far.status.state == 'running', 'the stream of another program was stopped'
    second.stop_stream()
    for client in clients:
        client.close()


def test_a_stop_that_waits_for_a_read_ends_no_stream_that_was_started_meanwhile(
    remote, server, background, monkeypatch
):
    """The stream that a client stops may end by itself before, and another one start the next."""
    bench, _ = remote()
    far = bench.qudi['far']
    configure(far)
    clients = [server.connect() for _ in range(2)]
    first, second = [client.root.get_module_instance('far') for client in clients]
    first.start_stream()
    is_waiting, go_on = threading.Event(), threading.Event()

    def wait():
        is_waiting.set()
        assert go_on.wait(10)

    monkeypatch.setattr(far.stream, 'begin_stop', wait)
    stopped = background(first.stop_stream)
    assert is_waiting.wait(10)
    far.stream.end(StreamEnd.FAULT, 'the device failed')
    second.start_stream()
    go_on.set()
    assert 'cannot be stopped for the client at' in str(stopped.exception(10))
    assert far.status.state == 'running', 'the stream of another program was stopped'
    second.stop_stream()
    for client in clients:
        client.close()


def test_a_late_request_of_the_last_stream_takes_nothing_of_this_one(remote):
    bench, stream = remote()
    configure(stream)
    owners = []
    service = bench.qudi['far'].for_clients
    for _ in range(2):
        stream.start_stream()
        owners.append(device_of(stream).owner)
        if len(owners) == 1:
            stream.stop_stream()
    assert service.call('fetch', owners[0], 0, 100, 0.0)[1][-1][0] == 'stopped'
    bench.produce(10)
    bench.assert_delivers(stream, 0, 10)


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        ({'port': '12345'}, 'Option "port" of "remote" is .12345., but must be a number'),
        ({'host': ''}, '"remote" needs the option host: '),
        ({'certfile': 'a.crt'}, '"remote" has the option certfile alone'),
        ({'bufer': 'far'}, '"remote" has no option "bufer"'),
    ],
)
def test_a_wrong_option_is_told(qudi, options, told):
    whole = {'host': '127.0.0.1', 'port': 12345, 'buffer': 'far', **options}
    with pytest.raises(ValueError, match=told):
        RemoteInStream(weakref.ref(qudi), 'remote', whole)


@pytest.mark.parametrize(
    ('name', 'told'),
    [
        ('nobody', '"nobody" in the qudi at .* is not there for clients'),
        ('streamer', '"streamer" in the qudi at .* is no DataInStreamBuffer'),
    ],
)
def test_a_wrong_name_is_told(make_bench, server, name, told):
    bench = make_bench()
    server.service.modules['streamer'] = bench.device
    device = RemoteDevice(Address('127.0.0.1', server.port, name))
    with pytest.raises(RuntimeError, match=told):
        device.constraints  # noqa: B018
    device.close()


def test_a_start_may_take_as_long_as_both_sides_have_patience(remote, background, wait_until):
    patient = {'time_limits': {'patience': 60.0, 'longest_rest': 1e-6}}
    bench, stream = remote(patient, patient)
    configure(stream)
    bench.device.faults.add('start slowly')
    start = background(stream.start_stream)
    wait_until(lambda: bench.device.blocked, 'the device is being started')
    end = time.perf_counter() + 4.5
    wait_until(lambda: start.done() or time.perf_counter() > end, 'the time of other requests', 20)
    bench.device.released.set()
    start.result(10)
    bench.produce(10)
    bench.assert_delivers(stream, 0, 10)


def test_a_request_without_time_left_does_not_wait_for_ever(remote, server):
    """rpyc takes a negative number for no limit."""
    remote()
    connection = ServiceConnection(Address('127.0.0.1', server.port, 'far'), 5.0)
    with pytest.raises(ConnectionError, match=r'it has not answered\. Check'):
        connection.call('status', seconds=-0.1)
    assert dict(connection.call('status', seconds=5.0))['state'] == 'idle'
    connection.close()


def test_a_buffer_that_comes_later_is_found_over_the_same_connection(remote, server):
    remote()
    far = server.service.modules.pop('far')
    connection = ServiceConnection(Address('127.0.0.1', server.port, 'far'), 5.0)
    with pytest.raises(NoBufferError, match='is not there for clients'):
        connection.call('status', seconds=5.0)
    server.service.modules['far'] = far
    assert dict(connection.call('status', seconds=5.0))['state'] == 'idle'
    connection.close()


def test_a_server_that_is_not_there_is_told():
    device = RemoteDevice(Address('127.0.0.1', free_port(), 'far'))
    with pytest.raises(ConnectionError, match=r'"far" in the qudi at .* cannot be reached'):
        device.constraints  # noqa: B018
