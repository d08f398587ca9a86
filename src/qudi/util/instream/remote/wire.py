"""How messages of rpyc go over a network: at once, as they are, and none of any size."""

from __future__ import annotations

import socket
import ssl
import time
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from rpyc.core.channel import Channel
from rpyc.core.protocol import Connection
from rpyc.core.service import VoidService
from rpyc.core.stream import SocketStream
from rpyc.utils.factory import connect_channel

from qudi.util.instream.host import set_channel, socket_of

__all__ = [
    'LONGEST_SILENCE',
    'Address',
    'PlainChannel',
    'WholeStream',
    'break_off',
    'connect',
    'peer_address',
    'quicken',
    'watch_peer',
]

# A message that is larger, perhaps only after it is unpacked, is an attack or an error
_MOST_BYTES = 2**26

# What rpyc has in the head of a message, beside 0 and 1 for compressed: the bytes of an array
_ARRAY = 2

# Without a word of the other side, or without its acknowledgement, for so long (s) a connection is
# lost. TCP doubles its pauses: after an outage of 5 s it sends again when 9.3 s have passed, and if
# that is lost too, when 18.9 s have passed.
LONGEST_SILENCE = 20.0

# After so many seconds without a word the operating system asks the other side whether it is
# there, once a second until it gives up. A busy program does not matter: the operating system of
# the other side answers.
_FIRST_QUESTION = 5

# The other side may ask for nothing that is here, and nothing that comes from it is unpickled
_PROTOCOL = {
    'allow_safe_attrs': False,
    'allow_exposed_attrs': False,
    'allow_public_attrs': False,
    'allow_all_attrs': False,
    'allow_pickle': False,
    'allow_setattr': False,
    'allow_delattr': False,
}


class WholeStream(SocketStream):  # type: ignore[misc]
    """A socket to which a message is written at once, and from which it is read without copies."""

    __slots__ = ()

    def poll(self, timeout: Any) -> bool:
        # What TLS has decrypted already does not show on the socket
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        return bool(super().poll(timeout))

    def read(self, count: int) -> bytearray:
        data = bytearray(count)
        self.read_into(data)
        return data

    def read_into(self, data: Any) -> None:
        """Fill an array of bytes."""
        rest = memoryview(data)
        try:
            while rest:
                received = self.sock.recv_into(rest)
                if not received:
                    raise EOFError('connection closed by peer')
                rest = rest[received:]
        except EOFError:
            self.close()
            raise
        except OSError as error:  # a timeout is one
            self.close()
            raise EOFError(error) from error

    def write(self, data: bytes | memoryview) -> None:
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.close()
            raise EOFError(error) from error


class PlainChannel(Channel):  # type: ignore[misc]
    """Sends messages uncompressed and in one piece, and receives no larger ones than 64 MB.

    Two of them also send arrays to each other, which come before the next message: rpyc itself
    would copy them four times at each end.
    """

    __slots__ = ('arrays',)

    def __init__(self, stream: SocketStream) -> None:
        super().__init__(stream, compress=False)
        self.arrays: deque[np.ndarray] = deque(maxlen=2)  # bytes that have come

    def send_array(self, array: np.ndarray) -> None:
        """Send the bytes of a contiguous array."""
        self.stream.write(self.FRAME_HEADER.pack(array.nbytes, _ARRAY))
        self.stream.write(array.reshape(-1).view(np.uint8).data)

    def recv(self) -> bytes:
        kind = _ARRAY
        while kind == _ARRAY:
            length, kind = self.FRAME_HEADER.unpack(self.stream.read(self.FRAME_HEADER.size))
            if length > _MOST_BYTES:
                self._refuse()
            if kind == _ARRAY:
                array = np.empty(length, dtype=np.uint8)
                self.stream.read_into(array)
                self.arrays.append(array)
        # As bytes, since rpyc is 30 times as slow with a bytearray
        data = bytes(memoryview(self.stream.read(length + len(self.FLUSHER)))[:length])
        if not kind:
            return data
        inflate = zlib.decompressobj()
        whole = inflate.decompress(data, _MOST_BYTES)
        if inflate.unconsumed_tail:
            self._refuse()
        return whole

    def send(self, data: bytes) -> None:
        header = self.FRAME_HEADER.pack(len(data), 0)
        self.stream.write(b''.join((header, data, self.FLUSHER)))

    def _refuse(self) -> None:
        self.close()
        raise EOFError(f'a message of more than {_MOST_BYTES >> 20} MB came, which is not allowed')


def quicken(connection: Connection) -> None:
    """Have what this side sends over a connection of qudi go out at once, and as it is.

    To be called in the thread that serves the connection.
    """
    sock = socket_of(connection)
    if sock is not None:
        _send_at_once(sock)
        set_channel(connection, PlainChannel(WholeStream(sock)))


def _send_at_once(sock: socket.socket) -> None:
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass(frozen=True)
class Address:
    """Where a buffer is: in which qudi, and how that is reached.

    Parameters
    ----------
    host : str
        Name or address of the computer.
    port : int
        Port of the remote modules server of its qudi.
    buffer : str
        Name of the buffer there.
    certfile, keyfile : str, optional
        Certificate and key of this client, where the server wants one.
    server_certfile : str, optional
        Certificate of the server, which is checked against it. Without it, as qudi's own remote
        modules are, any server is believed.
    """

    host: str
    port: int
    buffer: str
    certfile: str | None = None
    keyfile: str | None = None
    server_certfile: str | None = None

    def __str__(self) -> str:
        return f'"{self.buffer}" in the qudi at {self.host}:{self.port}'


def connect(address: Address, seconds: float) -> Connection:
    """Connect to the qudi at an address.

    Parameters
    ----------
    address : Address
        Where it is.
    seconds : float
        How long that may take, and each request of rpyc's own later.

    Raises
    ------
    OSError
        If there is no server, or the certificates are not those that were expected.
    """
    seconds = max(0.1, seconds)  # rpyc takes a negative number for no limit
    end = time.perf_counter() + seconds
    sock = _socket_to(address, end)
    try:
        _send_at_once(sock)
        if address.certfile is not None:
            sock.settimeout(max(0.1, end - time.perf_counter()))
            sock = _tls_context(address).wrap_socket(sock)
        sock.settimeout(LONGEST_SILENCE)
        connection = connect_channel(
            PlainChannel(WholeStream(sock)),
            VoidService,
            {**_PROTOCOL, 'sync_request_timeout': seconds},
        )
        watch_peer(connection, only_requests=True)
    except BaseException:
        sock.close()
        raise
    return connection


def _socket_to(address: Address, end: float) -> socket.socket:
    """Connect to the first address of the host that answers, until a time by perf_counter.

    Those of IPv4 first: qudi listens on no others, but a tunnel may.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    failures: list[OSError] = []
    try:
        for position, (family, kind, protocol, _, place) in enumerate(found):
            left = (end - time.perf_counter()) / (len(found) - position)
            try:
                return _socket_at(place, max(0.1, left), family, kind, protocol)
            except OSError as error:
                failures.append(error)
        raise failures[0]
    finally:
        failures.clear()  # they have this frame, which has them


def _socket_at(place: Any, seconds: float, *kind: int) -> socket.socket:
    sock = socket.socket(*kind)
    try:
        sock.settimeout(seconds)
        sock.connect(place)
    except BaseException:
        sock.close()
        raise
    return sock


def _tls_context(address: Address) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The certificate itself is known, whatever name it has
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if address.server_certfile else ssl.CERT_NONE
    assert address.certfile is not None
    context.load_cert_chain(address.certfile, address.keyfile)
    if address.server_certfile:
        context.load_verify_locations(address.server_certfile)
    return context


def watch_peer(
    connection: Connection, seconds: float = LONGEST_SILENCE, only_requests: bool = False
) -> None:
    """Have the operating system end a silent connection so long after its peer has gone.

    With `only_requests`, which are small, also one on which data are under way. A peer that is too
    busy to take large replies would be taken for dead.
    """
    sock = socket_of(connection)
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    options = {
        'TCP_KEEPIDLE': _FIRST_QUESTION,
        'TCP_KEEPINTVL': 1,
        'TCP_KEEPCNT': int(seconds) - _FIRST_QUESTION,
    }
    if only_requests:
        options['TCP_USER_TIMEOUT'] = int(1000 * seconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in options.items():
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def peer_address(connection: Connection) -> str:
    """Return host and port of the other side, for messages."""
    sock = socket_of(connection)
    try:
        host, port = sock.getpeername()[:2] if sock is not None else ('', '')
    except (OSError, ValueError):
        return 'an unknown address'
    return f'{host}:{port}'


def break_off(connection: Connection) -> None:
    """End a connection at once, whatever its thread waits for. From any thread."""
    sock = socket_of(connection)
    if sock is not None:
        with suppress(OSError, ValueError):
            sock.shutdown(socket.SHUT_RDWR)
