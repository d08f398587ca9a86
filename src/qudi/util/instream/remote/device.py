"""A buffer in another qudi, as a device of this one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from qudi.interface.data_instream_interface import DataInStreamConstraints, StreamingMode

from qudi.util.instream.remote.link import ServiceConnection, StreamLink
from qudi.util.instream.remote.service import PROTOCOL
from qudi.util.instream.remote.values import constraints_from
from qudi.util.instream.remote.wire import Address
from qudi.util.instream.stream import TimeLimits

__all__ = ['RemoteDevice']

# How long the other qudi may take for a request (s); longer only while it configures or starts its
# device. It is less than the patience with a device.
_PATIENCE = 4.0
_PATIENCE_AT_STOP = 1.0
_LESS_THAN_PATIENCE = 1.0


class RemoteDevice:
    """What `StreamHardware` needs of a module, done by a buffer in another qudi.

    It has two connections of its own: one for settings, start and stop, and while it streams one
    for the samples. Its properties ask nobody. Methods are for the device's thread.

    Parameters
    ----------
    address : Address
        Where the buffer is.
    patience : float
        How long a call of a device may take here, in seconds. The device there may take a second
        less to be configured or started, or 4 s if that is more.

    Raises
    ------
    ConnectionError
        From `constraints` at first and all that changes something, if the other qudi cannot be
        reached.
    """

    def __init__(self, address: Address, patience: float = TimeLimits.patience) -> None:
        self._address = address
        self._longest_request = max(_PATIENCE, patience - _LESS_THAN_PATIENCE)
        self.module_uuid = uuid.uuid5(
            uuid.NAMESPACE_URL, f'instream://{address.host}:{address.port}/{address.buffer}'
        )
        self.module_name = f'{address.buffer}@{address.host}:{address.port}'
        # By which the other side knows this client, and its stream by the number of starts
        self.owner = (uuid.uuid4().hex, 0)
        self._control: ServiceConnection | None = None
        self._constraints: DataInStreamConstraints | None = None
        self._described: tuple[Any, ...] = ()
        self._dtype = np.dtype(float)
        self._settings: tuple[Any, ...] = ()
        self._request: tuple[Any, ...] | None = None
        self.link: StreamLink | None = None  # while it streams
        self.arrived: Callable[[], None] = _nothing  # called when samples have come

    # ---------------------------------------------------------------- requests

    def _ask(self, request: str, *values: Any, seconds: float = _PATIENCE) -> Any:
        """Make a request, over a new connection if the last one is broken."""
        end = time.perf_counter() + seconds
        try:
            if self._control is not None:
                return self._control.call(request, *values, seconds=seconds)
        except ConnectionError:
            self._disconnect()
            if time.perf_counter() > end:
                raise
        except Exception:
            # A buffer that was reloaded answers on a new connection only
            if self.link is None:
                self._disconnect()
            raise
        self._control = self._connected(min(end, time.perf_counter() + _PATIENCE))
        return self._control.call(request, *values, seconds=end - time.perf_counter())

    def _connected(self, end: float) -> ServiceConnection:
        """Return a new connection, to a buffer that is as it was before."""
        control = ServiceConnection(self._address, end - time.perf_counter())
        try:
            self._describe(control.call('describe', seconds=end - time.perf_counter()))
        except BaseException:
            control.close()
            raise
        return control

    def _disconnect(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            control.close()

    def _describe(self, description: tuple[Any, ...]) -> None:
        if description[0] != PROTOCOL:
            raise RuntimeError(
                f'{self._address} has another version of qudi-instream-buffer. Install the same '
                f'one on both sides'
            )
        _, constraints, dtype, settings = description
        if self._described and constraints != self._described:
            raise RuntimeError(
                f'{self._address} has other constraints than before. Reload this module'
            )
        self._described, self._dtype = constraints, np.dtype(dtype)
        self._constraints = constraints_from(constraints)
        if self._request is None:
            self._settings = settings

    def _hurry(self) -> None:
        """Have the request of the link return."""
        if self._control is not None:
            self._control.send('hurry', self.owner)

    # ---------------------------------------------------------------- as a module has it

    @property
    def constraints(self) -> DataInStreamConstraints:
        """What the device there allows."""
        if self._constraints is None:
            self._ask('join')
        assert self._constraints is not None
        return self._constraints

    @property
    def active_channels(self) -> list[Hashable]:
        return list(self._settings[0])

    @property
    def streaming_mode(self) -> StreamingMode:
        return StreamingMode[self._settings[1]]

    @property
    def channel_buffer_size(self) -> int:
        return int(self._settings[2])

    @property
    def sample_rate(self) -> float:
        link = self.link
        return (link.sample_rate if link else 0.0) or float(self._settings[3])

    @property
    def available_samples(self) -> int:
        return 0 if self.link is None else self.link.waiting

    def module_state(self) -> str:
        is_running = self.link is not None and (self.link.error is None or self.link.waiting)
        return 'locked' if is_running else 'idle'

    def configure(
        self,
        active_channels: Sequence[Hashable],
        streaming_mode: StreamingMode,
        channel_buffer_size: int,
        sample_rate: float,
    ) -> None:
        request = (
            tuple(active_channels),
            streaming_mode.name,
            int(channel_buffer_size),
            float(sample_rate),
        )
        self._settings = self._ask('configure', *request, seconds=self._longest_request)
        self._request = request

    def start_stream(self) -> None:
        self._end_link()
        self.owner = (self.owner[0], self.owner[1] + 1)
        # First, since samples come from the start on
        connection = ServiceConnection(self._address, _PATIENCE)
        try:
            connection.call('join', seconds=_PATIENCE)
            self._settings = self._ask(
                'start', self.owner, self._request, seconds=self._longest_request
            )
        except BaseException:
            connection.close()
            raise
        self.link = StreamLink(
            connection,
            self.owner,
            channel_count=len(self._settings[0]),
            dtype=self._dtype,
            hurry=self._hurry,
            arrived=lambda: self.arrived(),
        )

    def stop_stream(self) -> None:
        is_answering = self.link is not None and self.link.is_answering
        self._end_link()
        if is_answering:
            self._stop_there()
        else:
            self._disconnect()  # which ends the stream there, as soon as it is noticed

    def _stop_there(self) -> None:
        try:
            self._ask('stop', self.owner, seconds=_PATIENCE_AT_STOP)
        except ConnectionError:
            self._disconnect()

    def _end_link(self) -> None:
        """End the thread of the last stream, and the connection that was lost with it."""
        link, self.link = self.link, None
        if link is not None:
            link.break_off()
            if isinstance(link.error, ConnectionError):
                self._disconnect()  # which ends the stream there, as soon as it is noticed

    def close(self) -> None:
        """Give the connections back."""
        self._end_link()
        self._disconnect()


def _nothing() -> None:
    pass
