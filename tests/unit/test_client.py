"""Who called from another process, and whether he is still there: rpyc over the loopback device."""

import select
import socket
import struct
import threading

import pytest
import rpyc

from qudi.util.instream.host import channel_of, socket_of
from qudi.util.instream.remote.client import calling_client
from rpyc_server import RpycServer
from waiting import wait_until

linux = pytest.mark.skipif(
    not hasattr(select, 'POLLRDHUP'), reason='elsewhere it shows when the call returns'
)


class Module:
    """As a buffer: its `start_stream` asks who calls."""

    def start_stream(self):
        self.client = calling_client()


class Service(rpyc.Service):
    def __init__(self):
        self.module = Module()
        self.connections = []  # as this side has them
        self.is_waiting = threading.Event()
        self.go_on = threading.Event()

    def on_connect(self, connection):
        self.connections.append(connection)

    def exposed_get_module(self):
        return self.module

    def exposed_start_by_a_logic(self):
        self.module.start_stream()

    def exposed_wait(self):
        self.is_waiting.set()
        self.go_on.wait(20)


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def connect(service):
    server = RpycServer(service, allow_all_attrs=True)
    yield server.connect
    service.go_on.set()
    server.close()


@pytest.fixture
def client(connect, service):
    """A client that has started the stream and now waits in a call."""
    connection = connect()
    connection.root.get_module().start_stream()
    connection.ask = rpyc.async_(connection.root.wait)
    connection.waiting = connection.ask()
    assert service.is_waiting.wait(10)
    return connection


def wait_until_gone(service):
    wait_until(lambda: service.module.client.has_gone, 'it is noticed that the client has gone')


def test_a_call_from_this_process_has_no_client(service):
    service.module.start_stream()
    assert service.module.client is None


def test_a_call_from_another_process_has_one(connect, service):
    connect().root.get_module().start_stream()
    assert service.module.client is not None
    assert not service.module.client.has_gone


def test_a_stream_that_a_client_has_a_logic_start_is_the_logics(connect, service):
    connect().root.start_by_a_logic()
    assert service.module.client is None


def test_a_client_that_waits_or_asks_for_more_has_not_gone(client, service):
    assert not service.module.client.has_gone
    client.ask()  # not read by the server, which waits
    for _ in range(20):
        assert not service.module.client.has_gone
        threading.Event().wait(0.01)


def test_looking_never_waits_for_a_request_that_another_thread_takes_meanwhile(connect, service):
    connection = connect()
    connection.root.get_module().start_stream()
    looking, looks = threading.Event(), []

    def look():
        while looking.is_set():
            looks.append(service.module.client.has_gone)

    looking.set()
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    for _ in range(1500):
        connection.ping()
    looking.clear()
    thread.join(5)
    assert not thread.is_alive(), 'a look waits, and with it the polls of the device'
    assert looks
    assert not any(looks)


def test_a_client_that_closed_its_connection_has_gone(connect, service):
    connection = connect()
    connection.root.get_module().start_stream()
    connection.close()
    wait_until_gone(service)


def test_a_client_whose_connection_broke_in_a_write_has_gone(client, service):
    """Then rpyc closes what carries the connection, and the rest when the call in it returns."""
    (connection,) = service.connections
    channel_of(connection).stream.close()
    assert not connection.closed
    assert service.module.client.has_gone


@linux
def test_a_client_that_died_while_it_waited_has_gone(client, service):
    socket_of(client).close()
    wait_until_gone(service)


@linux
def test_a_client_that_died_with_an_unread_request_has_gone(client, service):
    client.ask()
    socket_of(client).close()
    wait_until_gone(service)


@linux
def test_a_client_whose_connection_was_reset_has_gone(client, service):
    socket_of(client).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    socket_of(client).close()
    wait_until_gone(service)


def test_the_operating_system_asks_whether_a_silent_client_is_there(connect, service):
    connect().root.get_module().start_stream()
    assert not service.module.client.has_gone
    sock = socket_of(*service.connections)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, 'TCP_KEEPIDLE'):
        seconds = sum(
            sock.getsockopt(socket.IPPROTO_TCP, option) * times
            for option, times in (
                (socket.TCP_KEEPIDLE, 1),
                (socket.TCP_KEEPINTVL, sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)),
            )
        )
        assert seconds <= 20
