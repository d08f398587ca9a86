"""What this package uses of qudi and rpyc although they do not promise to keep it.

Each function has a test that fails when a new release of qudi or rpyc has changed it.
"""

from __future__ import annotations

import runpy
import socket
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from rpyc.core.channel import Channel
from rpyc.core.netref import BaseNetref
from rpyc.core.protocol import Connection

import qudi

__all__ = [
    'RemoteSource',
    'activated_connections_of',
    'calling_connection',
    'channel_of',
    'configuration_schema',
    'connection_of',
    'connections_of',
    'is_closed',
    'is_quitting',
    'is_remote',
    'replace_deactivate',
    'set_channel',
    'socket_of',
]

# What stands between a call of a remote client and the module: rpyc, qudi's proxy, and our own
_BETWEEN = (
    'rpyc.',
    'qudi.core.services',
    'qudi.util.instream.device.guard',
    'qudi.util.instream.remote.service',
)

# The service of the server that qudi's console and notebooks connect to
_CONSOLE_SERVICE = 'QUDINAMESPACE'


# -------------------------------------------------------------------- qudi


def is_quitting(module: Any) -> bool:
    """Whether the qudi of a module quits."""
    try:
        main = module._qudi_main
    except RuntimeError:  # it has been deleted
        return False
    # It says so already while it asks the user whether to quit; then it drops its watchdog
    is_shutting_down = getattr(main, '_shutting_down', False)
    return is_shutting_down and getattr(main, 'watchdog', None) is None


def replace_deactivate(module: Any, method: Callable[[], None]) -> Callable[[], None]:
    """Let qudi call a method of the module instead of the state machine's `deactivate`.

    Returns
    -------
    callable
        The state machine's own.
    """
    original: Callable[[], None] = module.module_state.deactivate
    # Weakly: a reference cycle would leave this Qt object to the garbage collector's thread
    weak_method = weakref.WeakMethod(method)
    module.module_state.deactivate = lambda: weak_method()()  # type: ignore[misc]
    return original


def connections_of(main: Any, name: str) -> dict[str, str]:
    """Return what a module of this qudi is connected to: names of modules, by connector."""
    modules = getattr(main, 'module_manager', {})
    return dict(modules[name].connection_cfg) if name in modules else {}


def configuration_schema() -> dict[str, Any]:
    """Return qudi's JSON schema of a configuration, without the Qt that its package imports."""
    for folder in qudi.__path__:
        path = Path(folder) / 'core' / 'config' / 'schema.py'
        if path.is_file():
            schema: dict[str, Any] = runpy.run_path(str(path))['config_schema']()
            return schema
    raise FileNotFoundError('qudi-core has no schema of its configuration, install it again')


def activated_connections_of(main: Any, name: str) -> dict[str, Any]:
    """Activate what a module of this qudi is connected to; return the modules, by connector."""
    modules = getattr(main, 'module_manager', {})
    targets = {key: modules[target] for key, target in connections_of(main, name).items()}
    for target in targets.values():
        target.activate()
    return {key: target.instance for key, target in targets.items()}


class RemoteSource:
    """The remote module that a module of this qudi is connected to, if it is connected to one.

    qudi keeps a remote module whose server is lost, and can neither reload it nor quit then. It is
    dropped here.

    Parameters
    ----------
    main : Qudi
        This qudi.
    name : str
        Name of the module that is connected to it.
    """

    def __init__(self, main: Any, name: str) -> None:
        manager: Any = getattr(main, 'module_manager', {})
        self._manager = manager
        targets = list(connections_of(main, name).values())
        remote = [target for target in targets if self._manager[target].is_remote]
        self._name = remote[0] if remote else None

    def watch(self) -> None:
        """Drop the module when qudi notices that its server is lost, until `close`."""
        if self._name is not None:
            self._manager.sigModuleStateChanged.connect(self._drop_if_lost)

    def _drop_if_lost(self, base: str, name: str, state: str) -> None:
        if name == self._name and state == 'BROKEN':
            self.drop()

    def drop(self) -> None:
        """Drop the module, whose server is lost."""
        if self._name is not None:
            self._manager[self._name]._instance = None

    def renew(self) -> Any:
        """Load the module again, over a new connection, and return it."""
        self.drop()
        managed = self._manager[self._name]
        managed._load()
        return managed._instance

    def close(self) -> None:
        """Leave the module alone."""
        if self._name is not None:
            self._manager.sigModuleStateChanged.disconnect(self._drop_if_lost)
            self._name = None


# -------------------------------------------------------------------- rpyc


def is_remote(value: Any) -> bool:
    """Whether something that a module returned is in another process."""
    return isinstance(value, BaseNetref)


def connection_of(netref: Any) -> Connection:
    """Return the connection to the process in which an object is."""
    return object.__getattribute__(netref, '____conn__')


def socket_of(connection: Connection) -> socket.socket | None:
    """Return the socket of a connection; None for pipes, and once it is closed."""
    sock = getattr(connection._channel.stream, 'sock', None)
    return sock if isinstance(sock, socket.socket) else None


def channel_of(connection: Connection) -> Channel:
    """Return the channel over which a connection sends and receives."""
    return connection._channel


def set_channel(connection: Connection, channel: Channel) -> None:
    """Have a connection send and receive with another channel; in the thread that serves it."""
    connection._channel = channel


def is_closed(connection: Connection) -> bool:
    """Whether a connection is closed; where a write has failed, its stream alone is."""
    return bool(connection.closed or connection._channel.closed)


def calling_connection() -> Connection | None:
    """Return the connection over which the caller's caller was called, None for a local call.

    A remote client that calls a logic which then makes the call is none: the call is the logic's.
    The console and the notebooks of this qudi are local, although they are other processes.
    """
    frame: FrameType | None = sys._getframe()
    for _ in range(3):  # there are fewer if Qt or Python itself has made the call
        frame = frame and frame.f_back
    while frame is not None and frame.f_globals.get('__name__', '').startswith(_BETWEEN):
        connection = frame.f_locals.get('self')
        if isinstance(connection, Connection):
            is_console = connection._local_root.get_service_name() == _CONSOLE_SERVICE
            return None if is_console else connection
        frame = frame.f_back
    return None
