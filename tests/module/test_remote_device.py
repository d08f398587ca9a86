"""A device behind rpyc, as a client's buffer has it; both ends in this process.

tests/remote has the same with a process for each, where nobody can look inside.
"""

import threading

import pytest
from qudi.interface.data_instream_interface import StreamingMode

from bench import configure
from qudi.util.instream.device import BufferReports, Member, StreamDistributor
from qudi.util.instream.host import connection_of
from qudi.util.instream.stream import BufferOptions, StreamReader, StreamSettings, TimeLimits
from rpyc_server import QUDI_PROTOCOL, QudiModules, RpycServer


@pytest.fixture
def served():
    """Serve a module, and return what a client gets of it."""
    servers = []

    def serve(module):
        servers.append(RpycServer(QudiModules(), **QUDI_PROTOCOL))
        servers[-1].service.modules['it'] = module
        return servers[-1].connect().root.get_module_instance('it')

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


def test_a_finite_acquisition_may_be_complete_before_its_start_returns(
    make_bench, far_buffer, wait_until
):
    near = make_bench(clocked=True).buffer('buffer1')

    class SlowAnswer:
        """The buffer, whose answer to all starts but the first comes late."""

        starts = 0

        def __getattr__(self, name):
            return getattr(near, name)

        def start_stream(self):
            near.start_stream()
            self.starts += 1
            if self.starts == 1:
                return
            wait_until(lambda: near.module_state() == 'idle', 'the acquisition to be complete')

        def stop_stream(self):
            near.stop_stream()

    far = far_buffer(SlowAnswer())
    far.configure('far', StreamSettings(('a',), StreamingMode.FINITE, 100, 2000.0))
    for _ in range(2):
        far.start('far')
        assert len(StreamReader(far.stream('far')).read(100)[0]) == 100
        far.stop('far')


def test_a_refused_start_in_a_client_leaves_the_stream_of_the_server_alone(
    bench, far_buffer, background, wait_until
):
    """The client has looked and found the device idle; the server was quicker."""
    buffer, device = bench.buffer('buffer1'), bench.device
    is_at_the_door, go_on = threading.Event(), threading.Event()

    class SlowLine:
        """The device, on which a start of the client arrives late."""

        def __getattr__(self, name):
            return getattr(device, name)

        def start_stream(self):
            is_at_the_door.set()
            assert go_on.wait(20)
            device.start_stream()

    line = SlowLine()
    far = far_buffer(line)
    far.configure('far', StreamSettings(('a', 'b'), StreamingMode.CONTINUOUS, 1000, 100.0))
    configure(buffer)
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


def test_a_client_of_a_buffer_with_another_buffer_on_it_is_known(bench, served, wait_until):
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
    connection_of(far).close()
    wait_until(lambda: buffer.status.state != 'running', 'the end of its client is noticed')
    assert 'its client in another process has disconnected' in buffer.status.message
