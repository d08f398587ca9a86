"""An interfuse that gives every program its own complete copy of a streaming device's stream.

DataInStreamBuffer  The qudi module: as many of them on one device as there are programs.
  configure, start_stream, stop_stream      each buffer for itself; the device follows
  read_*, available_samples                 what this buffer's program has not read yet
  constraints, sample_rate, ...             this buffer's own settings
  status                                    how this buffer's stream is doing
  sigStreamEnded, sigSamplesLost            tell what became of it

Everything behind it is in qudi.util.instream.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import numpy as np
from qudi.core.configoption import ConfigOption
from qudi.core.connector import Connector
from qudi.interface.data_instream_interface import (
    DataInStreamConstraints,
    DataInStreamInterface,
    StreamingMode,
)

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

from qudi.util.instream import host
from qudi.util.instream.device import BufferReports, Member, StreamDistributor, registry
from qudi.util.instream.remote import StreamService, calling_client
from qudi.util.instream.stream import (
    BufferedStream,
    BufferOptions,
    StreamReader,
    StreamSettings,
    StreamStatus,
    naming,
)
from qudi.util.instream.versions import refuse_broken_pyside

__all__ = ['DataInStreamBuffer']

refuse_broken_pyside()


class DataInStreamBuffer(DataInStreamInterface):
    """Buffer between a streaming device and one program; several share the device.

    Connect one buffer per program to the same device. Each reads the whole stream at its own
    pace. The device runs from the start of the first buffer to the stop of the last, and is
    reconfigured only while none is running.

    Example config for copy-paste:

    stream_buffer1:
        module.Class: 'instream_buffer.buffer.DataInStreamBuffer'
        options:
            allow_overwrite: False  # optional (default: False), full ring: False ends this
                                    # buffer's stream with an error, True drops oldest samples
            max_poll_rate: 30.0     # optional (default: 30.0), most hardware reads per second
            follow_running: False   # optional (default: False), True adopts rate and mode of a
                                    # stream that already runs instead of raising
            read_timeout: 10.0      # optional (default: 10.0), seconds without a sample until a
                                    # read gives up (constant sample timing), null: never
            time_limits: null       # optional (default: null), see docs/configuration.md
        connect:
            streamer: 'instream_dummy'
    """

    locks_module_state = True  # in threads of its own: PySide2 may crash if that is watched

    # Both at most once a second, from any thread; then the last end, and the sum of the lost
    sigStreamEnded = QtCore.Signal(str)  # why: the value of a StreamEnd
    sigSamplesLost = QtCore.Signal(object)  # samples per channel lost since the last time (int)

    _streamer: Any = Connector(name='streamer', interface='DataInStreamInterface')

    # Declared for qudi; BufferOptions reads and checks them
    _allow_overwrite = ConfigOption('allow_overwrite', default=BufferOptions.allow_overwrite)
    _max_poll_rate = ConfigOption('max_poll_rate', default=BufferOptions.max_poll_rate)
    _follow_running = ConfigOption('follow_running', default=BufferOptions.follow_running)
    _read_timeout = ConfigOption('read_timeout', default=BufferOptions.read_timeout)
    _time_limits = ConfigOption('time_limits', default=BufferOptions.time_limits)

    def __init__(
        self,
        qudi_main_weakref: Any,
        name: str,
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # First, so that a refused module leaves no Qt object behind for the garbage collector
        options = BufferOptions.from_config(name, self._own_options(config or {}))
        _check_connections(qudi_main_weakref(), name)
        super().__init__(qudi_main_weakref, name, config, **kwargs)
        self._options = options
        self._joined: StreamDistributor | None = None  # while activated
        self._reports: BufferReports | None = None
        # Serialises the changes of module_state, which is not safe for threads. Taken with no
        # other lock held; recursive, since a slot may start or stop the stream again.
        self._state_lock = threading.RLock()
        self._is_leaving = False  # while qudi deactivates this module; set under the same lock
        self.for_clients = StreamService(self)  # what a RemoteInStream in another qudi asks
        self._deactivate_in_qudi = host.replace_deactivate(self, self._deactivate_alone)

    @staticmethod
    def _own_options(config: Mapping[str, Any]) -> Mapping[str, Any]:
        return config

    def on_activate(self) -> None:
        """Join the other buffers of the same hardware."""
        self._source = host.RemoteSource(self._qudi_main, self.module_name)
        limits = self._options.limits
        self._joined = registry.join(self._streamer(), limits, self._source, self._member)
        self._source.watch()

    def _member(self) -> Member:
        tell = self._follow_stream, self.sigStreamEnded.emit, self.sigSamplesLost.emit
        self._reports = BufferReports(self.module_name, *tell, self._options.limits)
        return Member(self._options, self._reports, partial(host.is_quitting, weakref.proxy(self)))

    def connect_modules(self, connections: Mapping[str, Any]) -> None:
        """Connect the hardware module; without it, the one in the configuration of this qudi.

        A client whose remote module this is may activate it, but knows no connections.
        """
        if not connections:
            connections = host.activated_connections_of(self._qudi_main, self.module_name)
        super().connect_modules(connections)

    def _deactivate_alone(self) -> None:
        """Deactivate when no other thread is changing the state, and keep others from it."""
        # Not held during the deactivation itself, which waits for the device's thread
        was_free = self._state_lock.acquire(timeout=1.0)
        self._is_leaving = True
        if was_free:
            self._state_lock.release()
        try:
            self._deactivate_in_qudi()
        finally:
            self._is_leaving = False

    def on_deactivate(self) -> None:
        """Stop this buffer's stream and leave the other buffers."""
        distributor, self._joined = self._distributor, None
        self._source.close()
        reports, self._reports = self._reports, None
        with ExitStack() as leaving:  # all of it, also where a part fails
            if reports is not None:
                leaving.callback(reports.close)
            leaving.callback(registry.release, distributor)
            distributor.detach(self.module_name)

    @property
    def _distributor(self) -> StreamDistributor:
        distributor = self._joined  # once, since a deactivation may come in between
        if distributor is None:
            raise RuntimeError(f'"{self.module_name}" is not activated, activate it in qudi first')
        return distributor

    @property
    def _settings(self) -> StreamSettings:
        return self._distributor.settings(self.module_name)

    @property
    def stream(self) -> BufferedStream | None:
        """The latest stream of this buffer, None before its first start."""
        return self._distributor.stream(self.module_name)

    @property
    def _reader(self) -> StreamReader:
        stream = self.stream
        if stream is None:
            raise RuntimeError(
                f'"{self.module_name}" is not streaming, call start_stream before reading'
            )
        return StreamReader(stream)

    def _follow_stream(self) -> None:
        """Lock the module's state while the stream is active. Called from any thread."""
        # The thread that has the lock looks again when done: others need not wait for its slots
        while self._state_change_due() and self._state_lock.acquire(timeout=1.0):
            try:
                change = self._state_change_due()
                if change:
                    change()
            finally:
                self._state_lock.release()

    def _state_change_due(self) -> Callable[[], None] | None:
        if self._is_leaving:
            return None
        distributor = self._joined
        active = distributor is not None and self.module_name in distributor.active_names
        changes = {
            (True, 'idle'): self.module_state.lock,
            (False, 'locked'): self.module_state.unlock,
        }
        return changes.get((active, self.module_state()))

    @property
    def constraints(self) -> DataInStreamConstraints:
        """What the hardware allows, see DataInStreamInterface."""
        return self._distributor.constraints

    @property
    def available_samples(self) -> int:
        """Number of samples per channel that can be read without waiting, 0 without a stream.

        Raises
        ------
        RuntimeError, OverflowError
            As a read would, once a stream that has ended without a stop has nothing left.
        """
        stream = self.stream
        return 0 if stream is None else StreamReader(stream).available_samples

    @property
    def sample_rate(self) -> float:
        """Sample rate in Hz: live while the hardware holds this buffer's rate or timing varies."""
        return self._distributor.sample_rate(self.module_name)

    @property
    def channel_buffer_size(self) -> int:
        """Samples per channel this buffer holds; in FINITE mode also the number to acquire."""
        return self._settings.channel_buffer_size

    @property
    def streaming_mode(self) -> StreamingMode:
        """The streaming mode this buffer asked for."""
        return cast(StreamingMode, self._settings.streaming_mode)

    @property
    def active_channels(self) -> list[Hashable]:
        """Names of this buffer's channels, in the order of the values of a sample."""
        return list(self._settings.channels)

    @property
    def status(self) -> StreamStatus:
        """How this buffer's stream is doing. Never waits, and never asks the hardware."""
        return self._distributor.status(self.module_name)

    def configure(
        self,
        active_channels: Sequence[Hashable] | None,
        streaming_mode: StreamingMode | int | None,
        channel_buffer_size: int | None,
        sample_rate: float | None,
    ) -> None:
        """Set what this buffer streams; unread samples of an ended stream are dropped.

        While another buffer streams, the request is only checked against the constraints and
        remembered.

        Parameters
        ----------
        active_channels : sequence, optional
            Channel names, in the order in which their values are wanted. None: as they are.
        streaming_mode : StreamingMode or int, optional
            Endless (CONTINUOUS) or `channel_buffer_size` samples (FINITE). None: as it is.
        channel_buffer_size : int, optional
            Samples per channel that this buffer holds. None: as it is.
        sample_rate : float, optional
            Sample rate in Hz; a hint only unless the sample timing is CONSTANT. None: as it is.

        Raises
        ------
        RuntimeError
            If this buffer is streaming, or the hardware hangs.
        TypeError, ValueError
            If there is no channel, one is named twice, or the constraints do not allow it.
        Exception
            What the hardware raises, if no buffer is streaming.
        """
        values = (active_channels, streaming_mode, channel_buffer_size, sample_rate)
        with naming(f'"{self.module_name}" cannot be configured'):
            settings = self._settings.updated(StreamingMode, *values)
        self._distributor.configure(self.module_name, settings)

    def start_stream(self) -> None:
        """Begin a fresh stream, whatever became of the one before.

        Raises
        ------
        RuntimeError
            If another buffer is streaming with settings that cannot serve this one's request, or
            another program uses the hardware, or the hardware hangs.
        Exception
            What the hardware raises when it is configured or started.
        """
        self._distributor.start(self.module_name, calling_client())
        self._follow_stream()

    def stop_stream(self) -> None:
        """End this buffer's stream; the last buffer to stop stops the hardware.

        A read that waits in another thread, with its samples due within a second, gets them.

        Raises
        ------
        Exception
            What the hardware raises when it is stopped.
        """
        try:
            self._distributor.stop(self.module_name, calling_client())
        finally:
            self._follow_stream()

    def read_data_into_buffer(
        self,
        data_buffer: np.ndarray,
        samples_per_channel: int,
        timestamp_buffer: np.ndarray | None = None,
    ) -> None:
        """Wait for samples and read them into an array, see `StreamReader.read_into`."""
        self._reader.read_into(data_buffer, samples_per_channel, timestamp_buffer)

    def read_available_data_into_buffer(
        self, data_buffer: np.ndarray, timestamp_buffer: np.ndarray | None = None
    ) -> int:
        """Read what is there and fits into an array, see `StreamReader.read_available_into`."""
        return self._reader.read_available_into(data_buffer, timestamp_buffer)

    def read_data(
        self, samples_per_channel: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read samples into new 1D arrays: waits for `samples_per_channel`, or takes all there is.

        Parameters, return values and errors as in `StreamReader.read`.
        """
        return self._reader.read(samples_per_channel)

    def read_single_point(self) -> tuple[np.ndarray, np.float64 | None]:
        """Return the newest sample: one value per channel, and its timestamp. It stays unread.

        A stream that is read in no other way drops its oldest samples instead of overflowing.

        Raises
        ------
        TimeoutError
            If no sample comes within `read_timeout`, a poll interval and a sample period.
        RuntimeError, OverflowError
            If the stream has ended.
        """
        return self._reader.newest()


def _check_connections(main: Any, name: str) -> None:
    """Raise ValueError if a buffer is connected to itself: qudi would activate it for ever."""
    passed: list[str] = []
    target: str | None = name
    while target is not None and target not in passed:
        passed.append(target)
        target = host.connections_of(main, target).get('streamer')
    if target == name:
        through = ''.join(f' through "{other}"' for other in passed[1:])
        raise ValueError(
            f'"{name}" is connected to itself{through}. Connect its streamer to the device'
        )
