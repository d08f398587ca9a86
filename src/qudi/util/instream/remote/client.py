"""The client in another process that a stream was started for, and whether it is still there.

qudi's remote modules server has one connection and one thread for each client. A client that quits
deactivates its buffer. One that is killed, or whose network fails, says nothing: its connection is
looked at here.
"""

from __future__ import annotations

import select
import socket
import sys
import weakref
from contextlib import suppress
from typing import Any

from rpyc.core.protocol import Connection

from qudi.util.instream.host import calling_connection, is_closed, socket_of
from qudi.util.instream.remote.wire import LONGEST_SILENCE, peer_address, quicken, watch_peer

__all__ = ['RemoteClient', 'calling_client']

# What was sent again so often, and is not acknowledged for long, does not arrive
_FEWEST_REPEATS = 3

_POLLRDHUP = getattr(select, 'POLLRDHUP', 0)


def calling_client() -> RemoteClient | None:
    """Return the remote client that called the function which asks; None for a local caller.

    A remote client that calls a logic which then calls that function is none: the stream is the
    logic's.
    """
    connection = calling_connection()
    return None if connection is None else RemoteClient(connection)


class RemoteClient:
    """The other end of a connection to this process. What is sent to it is quick from now on.

    Parameters
    ----------
    connection : rpyc.core.protocol.Connection
        The connection, as the server has it.
    """

    def __init__(self, connection: Connection) -> None:
        # Weakly: a connection keeps the modules that it serves
        self._connection = weakref.ref(connection)
        self._address = peer_address(connection)
        with suppress(OSError):  # it was closed meanwhile
            watch_peer(connection)
            quicken(connection)

    def __str__(self) -> str:
        return f'the client at {self._address}'

    def is_same_as(self, other: RemoteClient) -> bool:
        """Whether both have one connection."""
        return self._connection() is other._connection()

    @property
    def has_gone(self) -> bool:
        """Whether the connection is closed or broken. Only looks, and never waits."""
        connection = self._connection()
        if connection is None or is_closed(connection):
            return True
        sock = socket_of(connection)
        try:
            return sock is not None and (_has_ended(sock) or _is_unreachable(sock))
        except (OSError, ValueError):  # it was closed while it was looked at
            return True


def _has_ended(sock: Any) -> bool:
    """Whether the other side has closed the connection, or the operating system has given up.

    Looked up where a look takes nothing from the connection's thread and cannot wait: on Linux.
    Elsewhere that thread finds out when it next receives or replies, at the end of a waiting read.
    """
    if not _POLLRDHUP:
        return False
    poll = select.poll()
    poll.register(sock, _POLLRDHUP)
    # Errors and a complete end are always told
    return bool(poll.poll(0))


def _is_unreachable(sock: socket.socket) -> bool:
    """Whether what was sent does not arrive: nothing came back for 20 s, not even from the system.

    No question is asked on a connection on which data are under way, and Linux goes on sending
    them for a quarter of an hour. Windows gives up by itself.
    """
    if sys.platform != 'linux' or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    # struct tcp_info of Linux: tcpi_retransmits, and tcpi_last_ack_recv in ms
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 60)
    silence = int.from_bytes(info[56:60], sys.byteorder) / 1000
    return info[2] >= _FEWEST_REPEATS and silence >= LONGEST_SILENCE
