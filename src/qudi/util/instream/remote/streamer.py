"""A streaming device in another qudi, as if it were here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from qudi.util.network import netobtain
from rpyc.core.async_ import AsyncResultTimeout

from qudi.util.instream.host import connection_of
from qudi.util.instream.remote.client import peer_address, watch_peer

__all__ = ['RemoteStreamer']


class RemoteStreamer:
    """What `StreamHardware` needs of a module, with all values brought over here.

    Each of its methods and properties costs one round trip to the other process, except
    `read_data` with three for the samples and two for timestamps.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The remote module.
    constraints : netref
        Its constraints, as they came.

    Raises
    ------
    ConnectionError
        From everything here, if the connection to the other qudi is lost.
    """

    def __init__(self, streamer: Any, constraints: Any) -> None:
        self._streamer = streamer
        self._connection = connection_of(constraints)
        self._address = peer_address(self._connection)
        self.module_name = '?'
        with self._reaching():
            watch_peer(self._connection, only_requests=True)
            self.module_name = str(streamer.module_name)
            self.constraints = netobtain(constraints)
            self._module_state = streamer.module_state

    def __getattr__(self, name: str) -> Any:
        with self._reaching():
            return netobtain(getattr(self._streamer, name))

    def module_state(self) -> str:
        with self._reaching():
            return str(self._module_state())

    def configure(self, **settings: Any) -> None:
        with self._reaching():
            self._streamer.configure(**settings)

    def start_stream(self) -> None:
        with self._reaching():
            self._read_data = self._streamer.read_data
            self._streamer.start_stream()

    def stop_stream(self) -> None:
        with self._reaching():
            self._streamer.stop_stream()

    def read_data(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        with self._reaching():
            samples, timestamps = self._read_data(count)
            return netobtain(samples), netobtain(timestamps)

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say what a lost connection means; errors of the module itself pass unchanged."""
        try:
            yield
        except Exception as error:
            if not self._connection.closed and not isinstance(error, AsyncResultTimeout):
                raise
            raise ConnectionError(
                f'the connection to the remote module "{self.module_name}" at {self._address} is '
                f'lost ({type(error).__name__}: {error}). Check the network and whether its qudi '
                f'runs there, then restart this qudi'
            ) from error
