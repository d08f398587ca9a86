"""Buffers on a streaming device that another qudi has, or on a buffer there."""

import pytest

from remotes import (
    RemoteError,
    Server,
    expect_frames,
    start_together,
    stop_all,
)


@pytest.fixture(scope='module')
def server(begin):
    return begin(Server)


@pytest.fixture(scope='module')
def client(begin, server):
    return begin(server.client_with_buffers, 'streamer')


def test_buffers_on_a_remote_device_get_every_sample(client):
    start_together(10e3, (client, 'logic'))
    client.ask("module('near2').start_stream()")
    expect_frames(20, (client, 'logic'))
    for _ in range(3):
        assert client.ask("read('near2', 1000, ['a', 'b'])")['faults'] == []
    client.ask("module('near2').stop_stream()")
    stop_all((client, 'logic'))
    client.wait_until("state('far') == 'idle'", 'the device to be stopped')


def test_a_poll_of_a_remote_device_takes_few_round_trips_and_all_samples(server, client):
    client.ask("configure('near2', ['a', 'b'], 10**6, 10e3)")
    client.ask("module('near2').start_stream()")
    client.ask("read('near2', 1000, ['a', 'b'])")
    first = server.ask("len(module('streamer').read_sizes)")
    reading = client.begin("[read('near2', 500, ['a', 'b']) for _ in range(40)][-1]['faults']")
    count = client.ask("count_requests('far', 1.5)")
    sizes = server.ask(f"module('streamer').read_sizes[{first}:]")
    assert reading() == []
    client.ask("module('near2').stop_stream()")
    # The number of samples, the state before and after, and three for the array. qudi itself asks
    # for the state once a second.
    trips = sum(number for kind, number in count.items() if kind.startswith('HANDLE_'))
    trips -= count['HANDLE_DEL']  # for which nobody waits
    assert trips <= 6 * (len(sizes) + 2) + 6, (count, sizes)
    assert len(sizes) >= 3, 'the device was hardly read meanwhile'
    assert max(sizes) >= 400, 'read in slivers'


def test_a_buffer_on_a_remote_buffer_is_one_more_consumer(begin, server):
    client = begin(server.client_with_buffers, 'buffer1')
    start_together(1000.0, (server, 'logic3'), (client, 'logic'))
    expect_frames(10, (server, 'logic3'), (client, 'logic'))
    stop_all((client, 'logic'))
    server.expect_idle('buffer1')
    expect_frames(10, (server, 'logic3'))
    stop_all((server, 'logic3'))
    assert client.quit() == 0


def test_a_lost_connection_is_a_fault_that_names_the_remote_module(server, client):
    """The last one of this file: it kills the server of all."""
    client.ask("configure('near2', ['a', 'b'], 10**6, 50.0)")
    client.ask("module('near2').start_stream()")
    waiting = client.begin("read('near2', 10_000, ['a', 'b'])")
    client.wait_until("module('near2').available_samples > 5")
    server.kill()
    lost = f'the connection to the remote module "streamer" at 127.0.0.1:{server.port} is lost'
    with pytest.raises(RemoteError, match=f'RuntimeError: .*{lost}'):
        waiting()
    client.wait_until("state('near2') == 'idle'")
    # What it held can still be read
    count = client.ask("module('near2').available_samples")
    assert client.ask(f"read('near2', {count}, ['a', 'b'])")['faults'] == []
    for call in ('module("near2").start_stream()', 'module("near2").sample_rate'):
        with pytest.raises(RemoteError, match=f'ConnectionError: {lost}.*start again'):
            client.ask(call)
    with pytest.raises(RemoteError, match=f'ConnectionError: {lost}'):
        client.ask("module('near2').stop_stream()")
    client.ask("qudi.module_manager.deactivate_module('near2')")
    assert client.ask("state('near2')") == 'deactivated'


def test_a_buffer_connects_again_when_its_server_was_restarted(begin):
    server = begin(Server)
    client = begin(server.client_with_buffers, 'buffer1')
    start_together(1000.0, (client, 'logic'))
    server.kill()
    client.wait_until("state('logic') == 'idle'", 'the logic to have ended')
    client.wait_until("state('far') == 'not loaded'", 'the broken module to be dropped')
    again = begin(Server, port=server.port)
    again.expect_idle('buffer1')
    start_together(1000.0, (client, 'logic'))
    expect_frames(5, (client, 'logic'))
    again.kill()
    client.wait_until("state('logic') == 'idle'", 'the logic to have ended')
    assert client.quit(30) == 0, 'qudi hangs with a remote module whose server is lost'
