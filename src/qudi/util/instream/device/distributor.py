"""What the buffers of a device ask of it, from any thread; the device's thread does it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from qudi.interface.data_instream_interface import DataInStreamConstraints

from qudi.util.instream.device.changes import Changes, changed
from qudi.util.instream.device.hardware import StreamHardware
from qudi.util.instream.device.members import Member
from qudi.util.instream.device.polls import DevicePolls
from qudi.util.instream.device.reports import with_calls
from qudi.util.instream.device.streams import DeviceStreams
from qudi.util.instream.device.thread import DeviceThread
from qudi.util.instream.host import RemoteSource
from qudi.util.instream.remote import RemoteClient
from qudi.util.instream.stream import (
    BufferedStream,
    StreamEnd,
    StreamSettings,
    StreamStatus,
    TimeLimits,
    naming,
)

__all__ = ['StreamDistributor']

Result = TypeVar('Result')


class StreamDistributor:
    """The one place through which the buffers of a process use a streaming device.

    Its members are the activated buffers, known by name. All methods may be called from any thread.
    Those that change something are carried out by the device's thread.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module.
    limits : TimeLimits
        For how long threads wait.
    source : RemoteSource, optional
        Where it comes from, if it is in another process.
    """

    def __init__(
        self, streamer: Any, limits: TimeLimits, source: RemoteSource | None = None
    ) -> None:
        self.streamer, self._source = streamer, source
        self._members: dict[str, Member] = {}
        self._opened: tuple[DeviceStreams, DevicePolls] | None = None
        self._left = threading.Event()
        self._limits = limits
        self.thread = DeviceThread(self._poll, self._demand, self._report_late, limits.patience)

    # ---------------------------------------------------------------- the device's thread

    def _run(self, change: Callable[[Changes], Result], consequence: str, **options: Any) -> Result:
        """Make a change in the device's thread, and carry out what it causes."""
        return self.thread.run(partial(changed, change), consequence, **options)

    def _open(self, changes: Changes) -> None:
        if self._opened is None:
            hardware = StreamHardware(self.streamer, self._source)
            hardware.poll_on_arrival(self.thread.request_poll)
            streams = DeviceStreams(hardware, self._members, self.thread, self._limits.longest_rest)
            self._opened = streams, DevicePolls(streams)
            self.thread.set_name(hardware.name)

    @property
    def _streams(self) -> DeviceStreams:
        assert self._opened is not None
        return self._opened[0]

    @property
    def polls(self) -> DevicePolls:
        """What polls the device; but for rates of polls, for its thread."""
        assert self._opened is not None
        return self._opened[1]

    @property
    def _hardware(self) -> StreamHardware:
        return self._streams.hardware

    def _poll(self) -> tuple[float, bool]:
        return self.polls.poll()

    def _demand(self) -> tuple[list[float], float]:
        return self.polls.demand() if self._opened else ([], math.inf)

    def _report_late(self, error: BaseException) -> None:
        """Tell of an error whose caller has given up waiting for it."""
        text = f'A call of "{self.streamer_name}" has failed after its caller had given up:'
        for member in list(self._members.values())[:1]:
            member.reports.warn(with_calls(text, error))

    # ---------------------------------------------------------------- members

    def open(self) -> None:
        """Look at the device, once.

        Raises
        ------
        RuntimeError
            If it hangs.
        Exception
            What it raises.
        """
        if self._opened is None:
            self._run(self._open, 'Its buffers cannot be activated')

    def attach(self, member: Member) -> None:
        """Make a buffer a member."""
        self._members[member.name] = member

    def detach(self, name: str) -> None:
        """End the stream of a member and forget it.

        Raises
        ------
        Exception
            As `stop` does.
        """
        # First, so that a start in another thread either is stopped below or finds it gone
        member = self._members.pop(name)
        self._stop(member, member.stream)

    def close(self, forget: Callable[[], None]) -> None:
        """Leave the device and end its thread. There must be no member left.

        Parameters
        ----------
        forget : callable
            Called when no call of the hardware is in progress any more: before this returns, or
            by the thread whose call hangs, when it returns at last.
        """

        def leave() -> None:
            try:
                if self._opened is not None:
                    changed(self._streams.leave)
            finally:
                forget()
                self._left.set()

        self.thread.close(leave, f'"{self.streamer_name}" could not be released')

    def wait_until_left(self) -> bool:
        """Wait for a `close` in another thread while patience lasts; return whether it is done."""
        return self._left.wait(self.thread.patience_left)

    def _member(self, name: str) -> Member:
        try:
            return self._members[name]
        except KeyError:
            raise RuntimeError(f'"{name}" is not activated, activate it in qudi first') from None

    # ---------------------------------------------------------------- looking

    @property
    def streamer_name(self) -> str:
        """Name of the hardware module."""
        return self.thread.device_name

    @property
    def constraints(self) -> DataInStreamConstraints:
        """What the hardware allows."""
        return self._hardware.constraints

    @property
    def active_names(self) -> list[str]:
        """Names of the active buffers in the order of their start."""
        return [] if self._opened is None else [member.name for member in self._streams.active]

    def stream(self, name: str) -> BufferedStream | None:
        """Return the latest stream of a member, None if it has none."""
        return self._member(name).stream

    def status(self, name: str) -> StreamStatus:
        """How the latest stream of a member is doing. Never waits, and never asks the hardware."""
        member = self._member(name)
        stream = member.stream
        settings = member.request if stream is None else stream.settings
        others: dict[str, Any] = {
            'streamer': self.streamer_name,
            'shared_with': tuple(other for other in self.active_names if other != name),
        }
        if settings is not None:
            others.update(
                channels=tuple(map(str, settings.channels)),
                sample_rate=settings.sample_rate,
                streaming_mode=settings.streaming_mode.name,
            )
        if stream is not None:
            return stream.status(**others, poll_rate=self.polls.rate_of(stream))
        return StreamStatus(
            **others,
            ring_size=0 if settings is None else settings.channel_buffer_size,
            allow_overwrite=member.options.allow_overwrite,
        )

    def settings(self, name: str) -> StreamSettings:
        """What a member asked for or, before its first `configure`, what the hardware holds.

        Never asks the hardware.
        """
        return self._member(name).settings or self._hardware.reported

    def sample_rate(self, name: str) -> float:
        """Sample rate in Hz: the hardware's live value while it holds this member's rate.

        Where the rate is a hint, it is always the live value. The hardware is asked once per poll
        at most; while no buffer streams, once per poll interval, or per second if that is shorter.

        Raises
        ------
        RuntimeError
            If no buffer streams and the hardware hangs.
        """
        member, hardware = self._member(name), self._hardware
        own = member.settings
        if own is None or hardware.answers(own.sample_rate, hardware.live_rate):
            if self._streams.active:
                self.polls.is_rate_wanted = True
            elif hardware.is_rate_old(member.poll_interval):
                self.thread.run(hardware.update_rate, f'"{name}" cannot tell its sample rate')
        # Only now, since another thread may have configured the hardware during that call
        live, own = hardware.live_rate, member.settings
        if own is not None and not hardware.answers(own.sample_rate, live):
            return own.sample_rate
        if hardware.stands_for_request(live):
            member.rates_told.append(live)
        return live.told

    # ---------------------------------------------------------------- changing

    def configure(self, name: str, request: StreamSettings) -> None:
        """Set what a member wants to stream, and configure the hardware if no buffer uses it.

        Raises
        ------
        RuntimeError
            If the buffer is active, or the hardware hangs.
        ValueError
            If there is no channel or one is named twice, or the constraints do not allow the
            request.
        Exception
            What the hardware raises in its own `configure`.
        """
        consequence = f'"{name}" cannot be configured'
        with naming(consequence):
            request.check_channels()
            request.check_mode(self.constraints)
        self._run(
            lambda changes: self._streams.configure(self._member(name), request, changes),
            consequence,
        )

    def start(self, name: str, client: RemoteClient | None = None) -> None:
        """Begin a fresh stream for a member; the first active one starts the hardware.

        A stream that was started by a client in another process ends when that has gone.

        Raises
        ------
        RuntimeError
            If others are active and their stream cannot serve the member's request, if the
            hardware is used by another program, or if it hangs.
        Exception
            What the hardware raises in `configure` or `start_stream`.
        """
        member = self._member(name)
        stop = partial(self._streams.stop, member, 'it was stopped while it started')

        member.starts += 1
        try:
            self._run(
                lambda changes: self._streams.start(self._member(name), client, changes),
                f'"{name}" cannot start',
                undo=partial(changed, stop),
            )
        finally:
            member.starts -= 1

    def stop(self, name: str, client: RemoteClient | None = None) -> None:
        """End the stream of a member; the last one to end stops the hardware.

        A read that waits, and whose samples are due within a second, gets them before.

        Raises
        ------
        RuntimeError
            If a client in another process wants to stop the stream of another program, or the
            hardware hangs; it is stopped as soon as its call returns.
        Exception
            What the hardware raises in `stop_stream`.
        """
        member = self._member(name)
        stream = member.stream
        if client is not None:
            member.check_owner(client, 'stopped')
        if stream is None:
            self._stop(member, None, client)
            return
        try:
            stream.begin_stop()
            self._stop(member, stream, client)
        finally:
            with stream.lock:
                stream.readers.end_stop()

    def _stop(
        self, member: Member, stream: BufferedStream | None, client: RemoteClient | None = None
    ) -> None:
        # Before the device is there: a waiting read returns at once, whatever the hardware does
        member.is_stopping = True
        try:
            if stream is not None:  # not one that another program starts at this moment
                stream.end(StreamEnd.STOPPED, 'it was stopped')
            if self._streams.needs_stop(member):
                self._run(
                    partial(self._streams.stop, member, 'it was stopped', client=client),
                    f'"{member.name}" has stopped, but "{self.streamer_name}" has not',
                    must_run=True,
                )
        finally:
            member.is_stopping = False  # an interrupted one leaves the rest to the next poll
