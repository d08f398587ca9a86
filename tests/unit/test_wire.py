"""Messages between two processes, over a pair of sockets."""

import socket
import threading
import zlib

import numpy as np
import pytest
import rpyc
from rpyc.core.channel import Channel
from rpyc.core.stream import SocketStream

from qudi.util.instream.remote import wire
from qudi.util.instream.remote.wire import PlainChannel, WholeStream


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    yield PlainChannel(WholeStream(near)), far
    near.close()
    far.close()


def test_a_message_comes_as_it_was_sent_and_is_not_compressed(pair):
    near, far = pair
    near.send(b'0' * 10_000)
    assert far.recv(5) == (10_000).to_bytes(4, 'big') + bytes(1)


def test_messages_of_rpycs_own_channel_are_understood(pair):
    near, far = pair
    theirs = Channel(SocketStream(far))  # compresses
    theirs.send(b'1' * 10_000)
    assert near.recv() == b'1' * 10_000
    near.send(b'2' * 10_000)
    assert theirs.recv() == b'2' * 10_000


def test_arrays_come_before_the_message_and_are_not_copied_into_it(pair):
    near, far = pair
    there = PlainChannel(WholeStream(far))
    array = np.arange(300_000.0)
    sending = threading.Thread(target=lambda: (there.send_array(array), there.send(b'done')))
    sending.start()
    assert near.recv() == b'done'
    sending.join(5)
    np.testing.assert_array_equal(near.arrays.popleft().view(float), array)


def test_a_message_that_unpacks_to_too_much_is_refused(pair):
    """300 MB of zeros are 300 kB on the wire."""
    near, far = pair
    pack = zlib.compressobj()
    bomb = b''.join(pack.compress(bytes(2**20)) for _ in range(300)) + pack.flush()
    head = Channel.FRAME_HEADER.pack(len(bomb), 1)
    sending = threading.Thread(target=far.sendall, args=(head + bomb + b'\n',))
    sending.start()
    with pytest.raises(EOFError, match='a message of more than 64 MB'):
        near.recv()
    assert near.closed
    far.close()
    sending.join(5)


@pytest.mark.parametrize('kind', [0, 1, 2])
def test_a_message_that_says_it_is_too_long_is_refused(pair, kind):
    near, far = pair
    far.sendall(Channel.FRAME_HEADER.pack(2**32 - 1, kind))
    with pytest.raises(EOFError, match='a message of more than 64 MB'):
        near.recv()


def test_a_message_that_stops_in_the_middle_is_given_up(pair):
    near, far = pair
    near.stream.sock.settimeout(0.2)
    far.sendall(Channel.FRAME_HEADER.pack(100, 0) + b'half')
    with pytest.raises(EOFError):
        near.recv()


@pytest.fixture
def listener():
    with socket.create_server(('127.0.0.1', 0)) as listener:
        yield listener


def address_of(listener):
    return wire.Address('127.0.0.1', listener.getsockname()[1], 'buffer1')


def test_the_server_can_have_nothing_of_the_client(listener):
    """Neither objects nor pickles: a false server must not run code in a client."""
    client = wire.connect(address_of(listener), 5.0)
    far, _ = listener.accept()
    server = rpyc.utils.factory.connect_stream(
        SocketStream(far), config={'sync_request_timeout': 5, 'allow_pickle': True}
    )
    serving = threading.Thread(target=client.serve_all, daemon=True)
    serving.start()
    for name in ('get_service_name', 'on_connect', '_connect', '__dict__'):
        with pytest.raises(AttributeError):
            getattr(server.root, name)()
    with pytest.raises(ValueError, match='pickling is disabled'):
        rpyc.classic.obtain(server.root)
    server.close()
    serving.join(5)


def test_addresses_of_ipv4_come_first_and_none_takes_the_time_of_all(monkeypatch):
    """qudi listens on IPv4 only; Windows has ::1 for localhost first."""
    tried = []

    def refuse(sock, address):
        tried.append((address[0], sock.gettimeout()))
        raise TimeoutError(f'{address[0]} does not answer')

    found = [
        (family, socket.SOCK_STREAM, 0, '', place)
        for family, place in (
            (socket.AF_INET6, ('::1', 1, 0, 0)),
            (socket.AF_INET, ('192.0.2.1', 1)),
            (socket.AF_INET, ('192.0.2.2', 1)),
        )
    ]
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, 'connect', refuse)
    with pytest.raises(TimeoutError, match=r'192\.0\.2\.1 does not answer'):
        wire.connect(wire.Address('server', 1, 'buffer1'), 30.0)
    assert [place for place, _ in tried][:2] == ['192.0.2.1', '192.0.2.2']
    assert tried[0][1] <= 10.0, 'an address that does not answer takes the time of the others'


def test_who_has_no_time_left_does_not_wait_for_ever(listener):
    """rpyc takes a negative number for no limit."""
    client = wire.connect(address_of(listener), -0.1)
    with pytest.raises(TimeoutError):
        client.root  # noqa: B018
    client.close()
