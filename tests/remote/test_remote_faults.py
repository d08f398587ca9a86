"""What becomes of a RemoteInStream and its window when the server or the network fails."""

import datetime
import re
import time

import pytest

import networks
from networks import Network
from remotes import RemoteError, Server, expect_frames, start_together, stop_all

QUIT_WITHIN = 5.0
# A window that waits for the network stands still for 4 s and more. Shorter times are measured by
# tests/tools/measure_remote.py.
LONGEST_STANDSTILL = 2.0  # s

needs_network = pytest.mark.skipif(
    not networks.is_possible(), reason='two network namespaces need Linux and root'
)


def wait_for_end(client, server):
    """Wait until the stream has ended with a cause that names server and address."""
    client.wait_until("module('far').status.state == 'fault'", 'the stream to end', 40)
    message = client.ask("module('far').status.message")
    assert f'"buffer1" in the qudi at {server.address}:{server.port} is lost' in message, message
    client.wait_until("state('logic1') == 'idle'", 'the logic to stop')


def expect_stream_at_start(client):
    """The first start has to work, and samples have to come."""
    start_together(1000.0, (client, 'logic1'))
    expect_frames(5, (client, 'logic1'))


def begin_idle(begin):
    """Begin a server, and a client of a buffer of it."""
    server = begin(Server)
    return server, begin(server.stream_client, 'buffer1')


def begin_streaming(begin):
    """Begin a server, and a client whose window shows the stream of a buffer of it."""
    server, client = begin_idle(begin)
    start_together(1000.0, (client, 'logic1'))
    return server, client


def quit_in_time(client):
    """Quit, and see in the log how long qudi took for it; the rest is the end of a process."""
    assert client.quit(20) == 0
    times = [
        re.match(r'\S+ (\d+):(\d+):(\d+) ', line).groups()
        for words in ('Qudi shutting down', 'Shutdown complete')
        for line in client.text.splitlines()
        if words in line and ' info ' in line
    ]
    began, ended = (
        datetime.timedelta(hours=int(h), minutes=int(m), seconds=int(s)) for h, m, s in times
    )
    assert ended - began <= datetime.timedelta(seconds=QUIT_WITHIN), client.text


def test_a_server_that_is_killed_and_restarted_streams_again_at_the_next_start(begin):
    server, client = begin_streaming(begin)
    client.ask('heart.begin()')
    server.kill()
    wait_for_end(client, server)
    with pytest.raises(RemoteError, match=r'ConnectionError: "buffer1" .* cannot be reached'):
        client.ask("module('far').start_stream()")
    begin(Server, port=server.port)
    expect_stream_at_start(client)
    assert client.ask('heart.end()') < LONGEST_STANDSTILL, 'the window stood still'
    quit_in_time(client)


def test_a_client_quits_while_its_server_is_dead(begin):
    server, client = begin_idle(begin)
    server.kill()
    quit_in_time(client)


@pytest.mark.parametrize('is_streaming', [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_client_quits_while_its_server_stands_still(begin, is_streaming):
    server, client = begin_streaming(begin) if is_streaming else begin_idle(begin)
    server.freeze()
    time.sleep(0.5)
    quit_in_time(client)
    server.thaw()
    server.expect_idle('buffer1', 'streamer')


def test_a_server_that_stands_still_ends_the_stream_and_no_window_stands_still(begin):
    server, client = begin_streaming(begin)
    client.ask('heart.begin()')
    server.freeze()
    wait_for_end(client, server)
    began = time.perf_counter()
    with pytest.raises(RemoteError, match=r'ConnectionError: "buffer1" .* has not answered'):
        client.ask("module('far').start_stream()")
    assert time.perf_counter() - began < QUIT_WITHIN
    server.thaw()
    expect_stream_at_start(client)
    assert client.ask('heart.end()') < LONGEST_STANDSTILL, 'the window stood still'
    stop_all((client, 'logic1'))


@pytest.fixture
def network():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def pair(begin, network):
    """Server and client on two computers, as far as they can see."""
    server = begin(Server, address=network.server_address, network=network.server)
    return server, begin(server.stream_client, 'buffer1', network=network.client)


@needs_network
@pytest.mark.parametrize(
    ('round_trip', 'loss'),
    [
        (0.0, 0.0),
        pytest.param(0.02, 0.01, marks=pytest.mark.long),
        pytest.param(0.1, 0.01, marks=pytest.mark.long),
    ],
)
def test_a_short_outage_heals_by_itself_without_a_gap(network, pair, round_trip, loss):
    server, client = pair
    network.set(round_trip, loss)
    start_together(1000.0, (client, 'logic1'))
    client.ask('heart.begin()')
    network.take_out()
    time.sleep(5)
    network.put_in()
    client.wait_until("module('far').status.age < 0.3", 'samples to come again', 30)
    expect_frames(5, (client, 'logic1'))
    assert client.ask('heart.end()') < LONGEST_STANDSTILL, 'the window stood still'
    stop_all((client, 'logic1'))
    server.expect_idle('buffer1')


@needs_network
@pytest.mark.parametrize(
    ('round_trip', 'loss'),
    [(0.0, 0.0), pytest.param(0.1, 0.01, marks=pytest.mark.long)],
)
def test_a_cable_that_is_out_ends_the_stream_and_start_streams_again(
    network, pair, round_trip, loss
):
    server, client = pair
    network.set(round_trip, loss)
    start_together(1000.0, (client, 'logic1'))
    client.ask('heart.begin()')
    network.take_out()
    wait_for_end(client, server)
    server.expect_idle('buffer1', 'streamer')
    network.put_in()
    expect_stream_at_start(client)
    assert client.ask('heart.end()') < LONGEST_STANDSTILL, 'the window stood still'
    network.take_out()
    time.sleep(1)
    quit_in_time(client)
