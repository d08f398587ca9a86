"""A streaming device in another qudi, through a remote module of this one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from qudi.interface.data_instream_interface import StreamingMode
from rpyc.core.async_ import AsyncResultTimeout

from qudi.util.instream.host import RemoteSource, connection_of
from qudi.util.instream.remote.values import constraints_from, plain, plain_constraints
from qudi.util.instream.remote.wire import peer_address, quicken, watch_peer

__all__ = ['RemoteStreamer']

# Shorter than elsewhere (s): qudi's main thread waits for this connection too, and each window
_LONGEST_SILENCE = 12.0


class RemoteStreamer:
    """What `StreamHardware` needs of a module, with all values brought over here, never pickled.

    Each of its methods and properties costs one or two round trips to the other process, except
    `read_data` with three for the samples and two for timestamps.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The remote module.
    constraints : netref
        Its constraints, as they came.
    source : RemoteSource, optional
        Where the module comes from, and comes again over a new connection.

    Raises
    ------
    ConnectionError
        From everything here, if the connection to the other qudi is lost.
    """

    def __init__(self, streamer: Any, constraints: Any, source: RemoteSource | None = None) -> None:
        self._source = source
        self.module_name = '?'
        self._use(streamer, constraints)
        with self._reaching():
            self.constraints = constraints_from(plain_constraints(constraints))

    def _use(self, streamer: Any, constraints: Any) -> None:
        self._streamer = streamer
        self._connection = connection_of(constraints)
        self._address = peer_address(self._connection)
        with self._reaching():
            watch_peer(self._connection, _LONGEST_SILENCE, only_requests=True)
            quicken(self._connection)
            self.module_name = str(streamer.module_name)
            self._module_state = streamer.module_state
            self._read_data = streamer.read_data

    def _reconnect(self) -> None:
        """Use the module over a new connection, if the last one is lost."""
        if self._connection.closed and self._source is not None:
            with self._reaching():
                streamer = self._source.renew()
                self._use(streamer, streamer.constraints)

    @property
    def active_channels(self) -> list[Hashable]:
        with self._reaching():
            return list(self._streamer.active_channels)

    @property
    def streaming_mode(self) -> StreamingMode:
        with self._reaching():
            return StreamingMode[str(self._streamer.streaming_mode.name)]

    @property
    def channel_buffer_size(self) -> int:
        with self._reaching():
            return int(self._streamer.channel_buffer_size)

    @property
    def sample_rate(self) -> float:
        self._reconnect()
        with self._reaching():
            return float(self._streamer.sample_rate)

    @property
    def available_samples(self) -> int:
        with self._reaching():
            return int(self._streamer.available_samples)

    def module_state(self) -> str:
        with self._reaching():
            return str(self._module_state())

    def configure(
        self,
        active_channels: list[Hashable],
        streaming_mode: StreamingMode,
        channel_buffer_size: int,
        sample_rate: float,
    ) -> None:
        self._reconnect()
        with self._reaching():
            self._streamer.configure(
                active_channels, streaming_mode, channel_buffer_size, sample_rate
            )

    def start_stream(self) -> None:
        self._reconnect()
        with self._reaching():
            self._streamer.start_stream()

    def stop_stream(self) -> None:
        with self._reaching():
            self._streamer.stop_stream()

    def read_data(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        with self._reaching():
            samples, timestamps = self._read_data(plain(count))
            # By the class: that is one round trip, without one for the method
            samples = np.frombuffer(type(samples).tobytes(samples), self.constraints.data_type)
            if timestamps is not None:
                timestamps = np.frombuffer(type(timestamps).tobytes(timestamps), np.float64)
            return samples, timestamps

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Say what a lost connection means; errors of the module itself pass unchanged."""
        try:
            yield
        except Exception as error:
            if not self._connection.closed and not isinstance(error, AsyncResultTimeout):
                raise
            if self._source is not None:
                self._source.drop()
            raise ConnectionError(
                f'the connection to the remote module "{self.module_name}" at {self._address} is '
                f'lost ({type(error).__name__}: {error}). Check the network and whether its qudi '
                f'runs there, then start again'
            ) from error
