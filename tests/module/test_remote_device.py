"""A device behind rpyc, as a client's buffer has it; both ends in this process.

tests/remote has the same with a process for each, where nobody can look inside.
"""

import threading

import pytest
import rpyc
from qudi.core.services import ModuleRpycProxy
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.util.instream.device import BufferReports, Member, StreamDistributor
from qudi.util.instream.stream import BufferOptions, StreamReader, StreamSettings, TimeLimits
from rpyc_server import RpycServer

PROTOCOL = {  # qudi's
    'allow_all_attrs': True,
    'allow_setattr': True,
    'allow_delattr': True,
    'allow_pickle': True,
    'sync_request_timeout': 3600,
}


class _Modules(rpyc.Service):
    def __init__(self, module):
        self._module = module

    def exposed_get_module(self):
        return ModuleRpycProxy(self._module)


@pytest.fixture
def served():
    """Serve a module, and return what a client gets of it."""
    servers = []

    def serve(module):
        servers.append(RpycServer(_Modules(module), **PROTOCOL))
        return servers[-1].connect().root.get_module()

    yield serve
    for server in servers:
        server.close()


@pytest.fixture
def far_buffer(served):
    """What a buffer of a client is behind its module: a distributor with one member, `far`."""
    distributors = []

    def make(module):
        distributor = StreamDistributor(served(module), TimeLimits())
        distributor.open()
        reports = BufferReports('far', lambda: None, lambda _: None, lambda _: None, TimeLimits())
        options = BufferOptions('far', max_poll_rate=1000)
        distributor.attach(Member(options, reports, lambda: False))
        distributors.append((distributor, reports))
        return distributor

    yield make
    for distributor, reports in distributors:
        distributor.detach('far')
        distributor.close(lambda: None)
        reports.close()


def test_a_finite_acquisition_of_a_remote_buffer_is_read_to_its_end(make_bench, far_buffer):
    """It goes idle when it has handed out its last sample, between any two calls."""
    near = make_bench(clocked=True).buffer('buffer1')
    far = far_buffer(near)
    failed = []
    for _ in range(12):
        far.configure('far', StreamSettings(('a',), StreamingMode.FINITE, 100, 2000.0))
        far.start('far')
        try:
            for _ in range(10):
                StreamReader(far.stream('far')).read(10)
        except RuntimeError as error:
            failed.append(str(error))
        far.stop('far')
    assert not failed, f'{len(failed)} of 12 acquisitions lost their last samples: {failed[0]}'


def test_a_refused_start_in_a_client_leaves_the_stream_of_the_server_alone(
    bench, far_buffer, background, wait_until
):
    """The client has looked and found the device idle; the server was quicker."""
    buffer, device = bench.buffer('buffer1'), bench.device
    far = far_buffer(device)
    far.configure('far', StreamSettings(('a', 'b'), StreamingMode.CONTINUOUS, 1000, 100.0))
    configure(buffer)
    hardware, is_at_the_door, go_on = far._hardware, threading.Event(), threading.Event()
    start = hardware._streamer.start_stream

    def start_late():
        is_at_the_door.set()
        assert go_on.wait(20)
        start()

    hardware._streamer.start_stream = start_late
    client = background(far.start, 'far')
    assert is_at_the_door.wait(10)
    buffer.start_stream()
    go_on.set()
    with pytest.raises(RuntimeError, match='cannot be started a second time'):
        client.result(10)
    bench.produce(50)
    assert (device.starts, device.stops) == (1, 0), "the server's stream was stopped"
    bench.assert_delivers(buffer, 0, 50)
    assert far.status('far').state == 'idle'


def test_a_stop_with_a_complaint_of_a_remote_device_is_a_stop(bench, far_buffer):
    """So what runs afterwards is somebody else's. No guard of this process sees that."""
    far, device = far_buffer(bench.device), bench.device
    far.start('far')
    device.faults.add('raise after stop')
    with pytest.raises(OSError, match='with a complaint'):
        far.stop('far')
    device.faults.clear()
    device.start_stream()
    with pytest.raises(RuntimeError, match='was already started by another program'):
        far.start('far')
    assert (device.starts, device.stops) == (2, 1), 'the stream of somebody else was stopped'
    device.stop_stream()


def test_a_client_that_configures_the_device_during_a_start_is_found_out(
    bench, served, background, wait_until
):
    """Otherwise the values of one channel would be taken for those of another."""
    buffer, device = bench.buffer('buffer1'), bench.device
    configure(buffer)
    client = served(device)
    device.faults.add('start slowly')
    start = background(buffer.start_stream)
    wait_until(lambda: device.blocked, 'the device is being started')
    client.configure(['c'], StreamingMode.CONTINUOUS, 500, 50.0)
    device.released.set()
    with pytest.raises(RuntimeError, match='another program has configured "streamer" for other'):
        start.result(10)
    assert device.module_state() == buffer.module_state() == 'idle'
    device.faults.clear()
    buffer.start_stream()
    bench.produce(20)
    bench.assert_delivers(buffer, 0, 20)


def test_a_client_of_a_buffer_with_another_buffer_on_it_is_known(bench, served):
    """The guard of the other one stands between the client's call and the buffer."""
    bench.buffer('buffer1')
    bench.qudi.add(
        'hardware',
        'outer',
        'instream_buffer.buffer.DataInStreamBuffer',
        {},
        {'streamer': 'buffer1'},
    )
    bench.qudi.activate('outer')
    buffer = bench.qudi['buffer1']
    far = served(buffer)
    far.start_stream()
    assert buffer._distributor._members['buffer1'].client is not None, 'its end goes unnoticed'
    far.stop_stream()
