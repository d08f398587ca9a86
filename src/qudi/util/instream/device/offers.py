"""What a device is configured for at its start: the request of one buffer, and more for others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from qudi.util.instream.device.hardware import StreamHardware
from qudi.util.instream.stream import StreamSettings

__all__ = ['ROOM', 'offers', 'room_for_polls']

# For how many poll intervals the device should have room
ROOM = 3

# Bytes of room that a device is asked for at most
_MOST_ROOM = 2**28


def offers(
    hardware: StreamHardware,
    own: StreamSettings,
    poll_interval: float,
    others: Iterable[tuple[StreamSettings, float]],
) -> list[StreamSettings]:
    """Return what the device may be configured for, the best for all buffers first.

    That is with the needs of others, since these may join while the stream runs: the largest
    buffer, so that a pause which the largest ring survives does not overflow the device, and room
    for some polls; the channels of all, with constant timing only, since elsewhere more of them
    can make a device slower. The last one is the request itself: others never keep it from a start.

    Parameters
    ----------
    hardware : StreamHardware
        The device.
    own : StreamSettings
        The request of the buffer that is started.
    poll_interval : float
        Seconds between two polls for this buffer.
    others : iterable of tuple
        The requests of all buffers, each with its poll interval.
    """
    channels, size = set(own.channels), own.channel_buffer_size
    for other, interval in others:
        if other.with_channels(own.channels).conflicts_with(own, hardware.are_same_rates):
            continue
        if not hardware.rate_is_hint:
            channels.update(other.channels)
        size = max(size, other.channel_buffer_size)
        poll_interval = max(poll_interval, interval)  # it may be the one that streams on
    wide = own.with_channels(channels)
    if own.is_finite:
        size = own.channel_buffer_size
    else:
        most = hardware.constraints.channel_buffer_size.maximum
        needed = min(most, room_for_polls(hardware, wide, poll_interval))
        size = max(min(size, _most_room(hardware, wide)), needed, own.channel_buffer_size)
    found = [
        replace(wide, channel_buffer_size=size),
        wide,
        replace(own, channel_buffer_size=size),
        own,
    ]
    return list(dict.fromkeys(hardware.ordered(offer) for offer in found))


def room_for_polls(hardware: StreamHardware, settings: StreamSettings, poll_interval: float) -> int:
    """Return the number of samples that come in some poll intervals, but not too many bytes."""
    rate = hardware.sample_rate if hardware.rate_is_hint else settings.sample_rate
    samples = ROOM * poll_interval * rate if rate > 0 else 0  # not a number is not above 0
    return math.ceil(min(samples, _most_room(hardware, settings)))


def _most_room(hardware: StreamHardware, settings: StreamSettings) -> int:
    sample_size: int = len(settings.channels) * np.dtype(hardware.constraints.data_type).itemsize
    return math.ceil(_MOST_ROOM / sample_size)
