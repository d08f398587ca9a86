"""The server of `secured` against those who knock and do not come in."""

import errno
import socket
import struct
import threading
import time

import pytest
import rpyc
from rpyc.utils import server as rpyc_server

from qudi.util.instream.remote.gate import GuardedServer
from qudi.util.instream.remote.wire import WholeStream
from waiting import wait_until


class Service(rpyc.Service):
    def exposed_ask(self):
        return 'answer'


def authenticate(sock):
    """As SSLAuthenticator: waits for what the client shows."""
    if sock.recv(1) != b'!':
        raise ConnectionResetError('no certificate')
    return sock, 'a client'


@pytest.fixture
def server(request):
    limits = getattr(request, 'param', {})
    server = GuardedServer(
        Service(), hostname='127.0.0.1', port=0, authenticator=authenticate, **limits
    )
    thread = threading.Thread(target=server.start, daemon=True)
    thread.start()
    while not server.active:
        time.sleep(0.01)
    yield server
    while server.clients:  # rpyc complains of those that are there when it closes
        time.sleep(0.01)
    server.close()
    thread.join(5)
    assert not thread.is_alive()


def knock(server):
    return socket.create_connection(('127.0.0.1', server.port), timeout=5)


def ask(server, stream=rpyc.SocketStream):
    """What a client with a certificate gets."""
    sock = knock(server)
    sock.sendall(b'!')
    connection = rpyc.utils.factory.connect_stream(stream(sock))
    try:
        return connection.root.ask()
    finally:
        connection.close()


def is_let_in(server):
    try:
        return ask(server) == 'answer'
    except (EOFError, OSError):
        return False


def is_closed(sock):
    try:
        return sock.recv(1) == b''
    except ConnectionResetError:
        return True


def with_limits(**limits):
    return pytest.mark.parametrize('server', [limits], indirect=True)


@with_limits(pause=0.01)
@pytest.mark.parametrize(
    'error', [OSError(errno.EMFILE, 'Too many open files'), RuntimeError("can't start new thread")]
)
def test_the_door_stays_open_when_descriptors_or_threads_run_out(server, monkeypatch, error):
    failures = iter(range(5))
    accept = rpyc.ThreadedServer.accept

    def accept_later(self):
        if next(failures, None) is not None:
            raise EOFError from error
        accept(self)

    monkeypatch.setattr(rpyc.ThreadedServer, 'accept', accept_later)
    knock(server).close()  # wakes the loop
    assert ask(server) == 'answer'


@with_limits(longest_handshake=0.2)
def test_who_shows_no_certificate_is_shown_out_in_time(server):
    visitor = knock(server)
    assert is_closed(visitor), 'a connection without a certificate is kept'
    visitor.close()
    assert ask(server) == 'answer'


@with_limits(most_unknown=3)
def test_only_so_many_may_be_without_a_certificate(server):
    visitors = [knock(server) for _ in range(3)]
    one_more = knock(server)
    assert is_closed(one_more), 'any number may wait for a certificate'
    for visitor in visitors:
        visitor.close()
    while server.clients:
        time.sleep(0.01)
    assert ask(server) == 'answer'
    one_more.close()


@with_limits(most_unknown=3, pause=0.01)
def test_who_breaks_off_before_he_is_asked_keeps_nobody_out(server, monkeypatch):
    """rpyc asks for his address first, which is not known any more."""
    may_accept = threading.Event()
    accept = rpyc.ThreadedServer.accept

    def accept_later(self):
        assert may_accept.wait(10)
        accept(self)

    monkeypatch.setattr(rpyc.ThreadedServer, 'accept', accept_later)
    knock(server).close()  # wakes the loop
    for _ in range(4):
        visitor = knock(server)
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        visitor.close()  # with a reset
    may_accept.set()
    wait_until(lambda: is_let_in(server), 'a client with a certificate is let in')


@with_limits(longest_handshake=0.2)
def test_a_client_with_a_certificate_may_be_slow(server, monkeypatch):
    class SlowStream(rpyc.SocketStream):
        def write(self, data):
            super().write(data[:3])
            time.sleep(0.5)
            super().write(data[3:])

    monkeypatch.setattr(rpyc_server, 'SocketStream', WholeStream)  # as `guard` does
    assert ask(server, SlowStream) == 'answer'
