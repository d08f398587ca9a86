"""A server of rpyc in a thread of this process, which ends without a complaint."""

from __future__ import annotations

import threading

import rpyc
from qudi.core.services import ModuleRpycProxy
from rpyc.utils.server import ThreadedServer

from waiting import wait_until

__all__ = ['QUDI_PROTOCOL', 'QudiModules', 'RpycServer']

QUDI_PROTOCOL = {
    'allow_all_attrs': True,
    'allow_setattr': True,
    'allow_delattr': True,
    'allow_pickle': True,
    'sync_request_timeout': 3600,
}


class QudiModules(rpyc.Service):
    """As qudi's RemoteModulesService, without its lock: one qudi is server and client here."""

    def __init__(self):
        self.modules = {}

    def exposed_get_loaded_module_names(self):
        return tuple(self.modules)

    def exposed_get_module_instance(self, name):
        return ModuleRpycProxy(self.modules[name])


class _Server(ThreadedServer):
    def _authenticate_and_serve_client(self, sock):
        try:
            super()._authenticate_and_serve_client(sock)
        finally:
            sock.close()  # rpyc leaves that to the garbage collector now and then, with a warning


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
        self.service = service
        self._protocol = protocol
        self._server = _Server(
            service, hostname='127.0.0.1', port=0, protocol_config=dict(protocol)
        )
        self._thread = threading.Thread(target=self._server.start, daemon=True)
        self._thread.start()
        self._connections = []
        wait_until(lambda: self._server.active, 'the server starts')
        self.port = self._server.port
        self.clients = self._server.clients  # sockets

    def connect(self):
        """Return a new connection to it."""
        connection = rpyc.connect('127.0.0.1', self.port, config=dict(self._protocol))
        self._connections.append(connection)
        connection.ping()  # rpyc drops a socket that it has not taken yet when it is closed
        return connection

    def close(self):
        """Close all connections; their threads find out before the server takes their sockets."""
        for connection in self._connections:
            connection.close()
        wait_until(lambda: not self.clients, 'the server has no client left')
        self._server.close()
        self._thread.join(10)
