"""The streams of one device: who may join, what the device is set to, its start and stop."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from qudi.util.instream.device.arrivals import ArrivedSamples
from qudi.util.instream.device.changes import Changes
from qudi.util.instream.device.guard import is_refusal, wiring_hint
from qudi.util.instream.device.hardware import StreamHardware
from qudi.util.instream.device.members import Member
from qudi.util.instream.device.offers import ROOM, offers
from qudi.util.instream.device.samples import DeviceSamples
from qudi.util.instream.device.stopping import DeviceStop
from qudi.util.instream.device.thread import DeviceThread
from qudi.util.instream.remote import RemoteClient
from qudi.util.instream.stream import SampleRing, StreamSettings, naming

__all__ = ['DeviceStreams']


class DeviceStreams:
    """The members that stream from a device. All methods are for the device's thread.

    A member is active from its start until its stream ends, for whatever reason.

    Parameters
    ----------
    hardware : StreamHardware
        The device.
    members : dict
        All members by name; others add and remove them.
    thread : DeviceThread
        The thread, for the pace of its polls.
    longest_rest : float
        Seconds for which the hardware is left alone when no program needs a sample.
    """

    def __init__(
        self,
        hardware: StreamHardware,
        members: dict[str, Member],
        thread: DeviceThread,
        longest_rest: float,
    ) -> None:
        self._longest_rest = longest_rest
        self.hardware = hardware
        self.active: tuple[Member, ...] = ()  # in the order of their start
        self._members = members
        self._thread = thread
        self._device_stop = DeviceStop(hardware)

    @property
    def _running(self) -> StreamSettings:
        """The request that the hardware runs with."""
        assert self.hardware.applied is not None
        return self.hardware.applied

    @property
    def _active_text(self) -> str:
        return ', '.join(f'"{member.name}"' for member in self.active)

    # ---------------------------------------------------------------- configure

    def configure(self, member: Member, request: StreamSettings, changes: Changes) -> None:
        """Set what a member wants to stream, and configure the hardware if no buffer uses it.

        Raises
        ------
        RuntimeError
            If it is active.
        ValueError
            If others are active and the constraints do not allow the request.
        Exception
            What the hardware raises.
        """
        consequence = f'"{member.name}" cannot be configured'
        if member.stream is not None and member.stream.is_abandoned:
            member.end_stream('it was configured again after a TimeoutError')
        self.retire(changes, leaves_stops=True)
        if member in self.active:
            raise RuntimeError(f'{consequence} while it is streaming, stop its stream first')
        request = replace(request, sample_rate=member.requested_rate(request.sample_rate))
        if not self.active:
            self._device_stop.retry()
        if not self.active and not self.hardware.state.is_running:
            self.hardware.configure(request)
        else:
            with naming(consequence):
                request.check_against(self.hardware.constraints)
        if self.active:  # else it runs for another program, which the start tells
            request = self._followed(member, request, changes)
        member.request = request
        member.rates_told.clear()
        member.stream = None

    def _conflicts(self, request: StreamSettings) -> list[str]:
        return request.conflicts_with(self._running, self.hardware.are_same_rates)

    def _adapted(self, member: Member, request: StreamSettings) -> StreamSettings:
        """Return a request with the running rate and mode, where the member's option says so."""
        return request.following(self._running) if member.options.follow_running else request

    def _followed(
        self, member: Member, request: StreamSettings, changes: Changes
    ) -> StreamSettings:
        """Return a request with the running rate and mode, if it follows and that helps."""
        conflicts = self._conflicts(request)
        followed = self._adapted(member, request)
        if not conflicts or followed is request or self._conflicts(followed):
            return request
        text = (
            f'"{member.name}" follows the running stream of "{self.hardware.name}" '
            f'({"; ".join(conflicts)}).'
        )
        changes.append(partial(member.reports.inform, text))
        return followed

    def _served(self, member: Member, request: StreamSettings, changes: Changes) -> StreamSettings:
        """Return the request as the running stream serves it, or raise RuntimeError."""
        request = self._followed(member, request, changes)
        conflicts = self._conflicts(request)
        if not conflicts:
            return request
        cure = f'Stop {self._active_text} first or request the running values'
        if not self._conflicts(request.following(self._running)):
            cure += f'. The option follow_running: True makes "{member.name}" adopt them'
        raise RuntimeError(
            f'"{member.name}" cannot stream as requested while {self._active_text} streams from '
            f'"{self.hardware.name}" with other settings ({"; ".join(conflicts)}). {cure}'
        )

    # ---------------------------------------------------------------- start

    def start(self, member: Member, client: RemoteClient | None, changes: Changes) -> None:
        """Begin a fresh stream for a member; the first active one starts the hardware.

        Raises
        ------
        RuntimeError
            If the running stream cannot serve its request, or another program uses the hardware.
        Exception
            What the hardware raises.
        """
        _make_way(member, client, changes)
        self.retire(changes)
        self._clear_the_way(member, changes)
        if self.active:
            self._join(member, changes)
        else:
            self._start_hardware(member, changes)
        self.active += (member,)
        changes.append(member.reports.changed)
        changes.append(
            partial(member.reports.inform, _started_text(member, self.active, self.hardware.name))
        )
        self._set_pace()
        self.retire(changes)  # it may have been stopped while it started

    def _clear_the_way(self, member: Member, changes: Changes) -> None:
        """End streams that are read no more, if another one has to be started without them."""
        streams = [other.stream for other in self.active]
        if not streams or not all(stream and stream.is_abandoned for stream in streams):
            return
        if member.request is None or not self._conflicts(self._adapted(member, member.request)):
            return
        for other in self.active:
            other.end_stream(
                f'its program had a TimeoutError and has not read since, and "{member.name}" '
                f'was started with other settings'
            )
        self.retire(changes)

    def _join(self, member: Member, changes: Changes) -> None:
        """Begin a stream on the hardware that runs already."""
        hardware = self.hardware
        own = member.request or self._running.with_channels(hardware.channels)
        settings = self._served(member, own, changes)
        assert hardware.samples is not None
        if settings.is_finite and hardware.samples.taken > 0:
            raise RuntimeError(
                f'"{member.name}" cannot join the finite acquisition of {self._active_text}: its '
                f'first {hardware.samples.taken} samples have been taken already. Start all '
                f'buffers before the first sample, or wait until {self._active_text} has finished'
            )
        ring = member.make_ring(settings, hardware)
        # What waits in the hardware is older than this stream
        waiting = 0 if settings.is_finite else hardware.available_samples
        if hardware.samples.hides_some:
            _hand_out_hidden(hardware.samples, self.active)
        offset = hardware.samples.own_time if hardware.has_timestamps else 0.0
        member.begin_stream(settings, ring, hardware, self._thread.request_poll, waiting, offset)
        _tell_of_device(hardware, member, changes, is_first=False)
        if member.request is not None:
            member.request = settings

    def _start_hardware(self, member: Member, changes: Changes) -> None:
        hardware = self.hardware
        if self._device_stop.is_in_progress:
            raise RuntimeError(
                f'"{member.name}" cannot start: "{hardware.name}" is being stopped, try again'
            )
        self._device_stop.retry()
        with hardware.starting():
            if hardware.state.is_running:
                raise RuntimeError(
                    f'"{member.name}" cannot start: "{hardware.name}" was already started '
                    f'by another program. Two readers would each get a part of the '
                    f'stream. Stop that program, in this qudi or in another one. '
                    f'{wiring_hint(hardware.name)}'
                )
            held: StreamSettings | None = hardware.held()
            own = member.request or hardware.own_settings
            ring = member.make_ring(own, hardware)
            found = offers(hardware, own, member.poll_interval, _requests(self._members))
            for offer in found:
                try:
                    if held is None or not offer.is_same_as(held):
                        hardware.configure(offer)
                    self._start_with(member, own, ring, changes)
                    break
                except Exception as error:
                    # Less for others does not help against another program
                    if is_refusal(error) or offer is found[-1]:
                        raise
                held = None  # not known after an error
        _tell_of_device(hardware, member, changes)

    def _start_with(
        self, member: Member, own: StreamSettings, ring: SampleRing, changes: Changes
    ) -> None:
        hardware, channels = self.hardware, self.hardware.channels
        member.begin_stream(own, ring, hardware, self._thread.request_poll)
        try:
            hardware.start()
            if hardware.asked_channels != channels:
                raise RuntimeError(
                    f'"{member.name}" cannot start: another program has configured '
                    f'"{hardware.name}" for other channels while it was started. '
                    f'{wiring_hint(hardware.name)}'
                )
        except BaseException as error:
            member.end_stream('it could not be started')  # a read may wait for it already
            member.stream = None
            if is_refusal(error):  # what runs is not ours
                hardware.refused()
            else:
                self._device_stop.owed_by = (member,)
                self._device_stop.stop_quietly(changes)
            raise

    # ---------------------------------------------------------------- stop

    def stop(
        self, member: Member, message: str, changes: Changes, client: RemoteClient | None = None
    ) -> None:
        """End the stream of a member; the last one to end stops the hardware.

        Raises
        ------
        RuntimeError
            If a client wants to stop the stream of another program.
        Exception
            What the hardware raises in `stop_stream`.
        """
        if client is not None:  # again, since a start for another program may come before
            member.check_owner(client, 'stopped')
        member.end_stream(message)
        self.retire(changes)
        if member in self._device_stop.owed_by:
            self._device_stop.stop()

    def retire(self, changes: Changes, leaves_stops: bool = False) -> None:
        """Let go of the members whose stream has ended. The last one stops the hardware.

        With `leaves_stops`, not of those whose stop waits for its turn, since that tells what the
        hardware raises.
        """
        ended = [m for m in self.active if m.stream is None or m.stream.has_ended]
        if leaves_stops:
            ended = [member for member in ended if not member.is_stopping]
        if not ended:
            return
        left = tuple(member for member in self.active if member not in ended)
        self._device_stop.owed_by = () if left else tuple(ended)  # first, see `needs_stop`
        self.active = left
        for member in ended:
            changes.append(member.reports.changed)
            if member.stream is not None:
                member.last_thread = member.stream.readers.last_thread
                changes.append(partial(member.reports.ended, member.stream))
        try:
            if not self.active:
                self._device_stop.stop()
        finally:
            self._set_pace()

    def leave(self, changes: Changes) -> None:
        """Give the hardware back, stopped if that has failed before."""
        if self._device_stop.owed_by:
            self._device_stop.stop_quietly(changes)
        self.hardware.leave()

    def needs_stop(self, member: Member) -> bool:
        """Whether a stop of a member changes anything. From any thread."""
        # In this order, since a stop is owed before its member is active no more
        return member in self.active or member.starts > 0 or member in self._device_stop.owed_by

    def _set_pace(self) -> None:
        options = [member.options for member in self.active]
        timeouts = [option.read_timeout for option in options if option.read_timeout is not None]
        rate = self.hardware.sample_rate
        is_regular = bool(options) and not self.hardware.rate_is_hint and rate > 0
        self._thread.set_pace(
            max((option.max_poll_rate for option in options), default=None),
            # A read gives up after a poll: the first one after its time should come soon
            longest_rest=min([self._longest_rest] + [timeout / 2 for timeout in timeouts]),
            slowest_call=1 / rate if is_regular else 0.0,
            # Others may want to join a finite acquisition before its first sample is taken
            rests_first=bool(options) and self._running.is_finite,
        )


def _started_text(member: Member, active: tuple[Member, ...], device: str) -> str:
    assert member.stream is not None
    settings, ring_size = member.stream.settings, member.stream.ring.capacity
    assert settings is not None
    others = [f'"{other.name}"' for other in active if other is not member]
    return (
        f'"{member.name}" streams from "{device}": '
        f'channels {", ".join(map(str, settings.channels))}; {settings.sample_rate:.10g} Hz; '
        f'{settings.streaming_mode.name}; a ring of {ring_size} samples; '
        + (f'shared with {", ".join(others)}.' if others else 'no other buffer streams.')
    )


def _hand_out_hidden(samples: DeviceSamples | ArrivedSamples, active: tuple[Member, ...]) -> None:
    """Read what waits in a device that does not tell of it, for those who stream already."""
    for piece in samples.read(math.inf, lambda count: None):
        for member in active:
            if member.stream is not None:
                member.stream.put(*piece)


def _make_way(member: Member, client: RemoteClient | None, changes: Changes) -> None:
    """End the stream of a member before its next start, unless it belongs to another program."""
    member.check_owner(client, 'started')
    if member.stream is not None and not member.stream.has_ended:
        text = (
            f'"{member.name}" is started again although its stream was not stopped: '
            f'{member.stream.unread} unread samples per channel are dropped.'
        )
        changes.append(partial(member.reports.warn, text))
    member.end_stream('it was restarted')
    member.client = client


def _requests(members: dict[str, Member]) -> list[tuple[StreamSettings, float]]:
    """The requests of all members, each with its poll interval."""
    known = list(members.values())  # at once, since other threads add and remove them
    return [(member.request, member.poll_interval) for member in known if member.request]


def _tell_of_device(
    hardware: StreamHardware, member: Member, changes: Changes, is_first: bool = True
) -> None:
    """Tell what of a device may surprise those who use a member, the first one or another one."""
    if is_first and hardware.state.is_kept is False:
        text = (
            f'"{hardware.name}" does not lock its module_state while it streams, which cannot be '
            f'watched: buffers notice a stop by another program only as silence.'
        )
        changes.append(partial(member.reports.inform, text))
    size, rate = hardware.reported.channel_buffer_size, hardware.sample_rate
    is_finite = hardware.applied is not None and hardware.applied.is_finite
    if 0 < size < ROOM * member.poll_interval * rate and not is_finite:
        text = (
            f'"{hardware.name}" holds {size} samples at {rate:.10g} Hz, less than come in {ROOM} '
            f'polls of "{member.name}". Set its max_poll_rate to {math.ceil(ROOM * rate / size)} '
            f'or more, or a lower sample rate'
        )
        changes.append(partial(member.reports.warn, text))
