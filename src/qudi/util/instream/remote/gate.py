"""A server of rpyc whose door stays open, whoever knocks."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import rpyc
from rpyc.utils import server as rpyc_server
from rpyc.utils.authenticators import AuthenticationError

from qudi.util.instream.remote.wire import PlainChannel, WholeStream

__all__ = ['GuardedServer', 'guard']


class GuardedServer(rpyc.ThreadedServer):  # type: ignore[misc]
    """A ThreadedServer that goes on when the system has run out of descriptors or threads.

    Connections that do not show a certificate are limited in number and time.

    Parameters
    ----------
    *args, **kwargs
        As of a ThreadedServer.
    most_unknown : int
        How many connections may be without a certificate yet.
    longest_handshake : float
        For how long, in seconds.
    pause : float
        Seconds to wait when the system has no descriptor or no thread left.
    """

    def __init__(
        self,
        *args: Any,
        most_unknown: int = 20,
        longest_handshake: float = 10.0,
        pause: float = 0.2,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._most_unknown, self._longest_handshake = most_unknown, longest_handshake
        self._pause = pause
        # Only the thread that accepts adds to it, so the limit holds without a lock
        self._unknown: set[socket.socket] = set()
        self._authenticate_client: Callable[[Any], tuple[Any, Any]] | None
        self._authenticate_client = vars(self).get('authenticator')
        if self._authenticate_client is not None:
            self.authenticator = self._authenticate

    def accept(self) -> None:
        """Accept one connection, and go on after errors that pass."""
        try:
            super().accept()
        except (EOFError, RuntimeError):
            if not self.active or self.listener.fileno() < 0:
                raise
            time.sleep(self._pause)

    def _accept_method(self, sock: socket.socket) -> None:
        is_crowded = len(self._unknown) >= self._most_unknown
        is_allowed = self._authenticate_client is None or not is_crowded
        if is_allowed and self._authenticate_client is not None:
            self._unknown.add(sock)
        if is_allowed:
            try:
                super()._accept_method(sock)
                return
            except RuntimeError:  # there is no thread for it
                self._unknown.discard(sock)
        self.clients.discard(sock)
        with suppress(OSError):
            sock.close()

    def _authenticate_and_serve_client(self, sock: socket.socket) -> None:
        try:
            super()._authenticate_and_serve_client(sock)
        finally:
            self._unknown.discard(sock)  # rpyc raises before it asks, if the client has gone
            sock.close()  # rpyc leaves that to the garbage collector

    def _authenticate(self, sock: socket.socket) -> tuple[Any, Any]:
        assert self._authenticate_client is not None
        try:
            sock.settimeout(self._longest_handshake)
            secured, credentials = self._authenticate_client(sock)
            secured.settimeout(None)
        except OSError as error:
            raise AuthenticationError(str(error)) from error
        finally:
            self._unknown.discard(sock)
        return secured, credentials


def guard() -> None:
    """Have the servers that are made from now on be guarded, with bounded messages."""
    rpyc.ThreadedServer = GuardedServer
    rpyc_server.Channel = PlainChannel
    rpyc_server.SocketStream = WholeStream
