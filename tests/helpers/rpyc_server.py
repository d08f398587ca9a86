"""A server of rpyc in a thread of this process, which ends without a complaint."""

from __future__ import annotations

import threading
import time

import rpyc
from rpyc.utils.server import ThreadedServer

__all__ = ['RpycServer']


class RpycServer:
    """Serves a service over the loopback device.

    Parameters
    ----------
    service : rpyc.Service
        What each client gets.
    protocol : dict
        Configuration of both ends.
    """

    def __init__(self, service, **protocol):
        self._protocol = protocol
        self._server = ThreadedServer(
            service, hostname='127.0.0.1', port=0, protocol_config=dict(protocol)
        )
        self._thread = threading.Thread(target=self._server.start, daemon=True)
        self._thread.start()
        self._connections = []
        _wait_until(lambda: self._server.active, 'the server does not start')

    def connect(self):
        """Return a new connection to it."""
        connection = rpyc.connect('127.0.0.1', self._server.port, config=dict(self._protocol))
        self._connections.append(connection)
        return connection

    def close(self):
        """Close all connections; their threads find out before the server takes their sockets."""
        for connection in self._connections:
            connection.close()
        _wait_until(lambda: not self._server.clients, 'the server keeps a client')
        self._server.close()
        self._thread.join(10)


def _wait_until(condition, otherwise):
    end = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < end, otherwise
        time.sleep(0.01)
