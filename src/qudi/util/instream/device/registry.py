"""Which distributor belongs to which hardware module, once per process.

It lives outside the qudi module, so that reloading that one leaves all buffers of a device on the
same distributor.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from qudi.util.instream.device.distributor import StreamDistributor
from qudi.util.instream.device.members import Member
from qudi.util.instream.host import RemoteSource, is_remote
from qudi.util.instream.stream import TimeLimits

__all__ = ['acquire', 'distributors', 'join', 'release']


@dataclass
class _Entry:
    distributor: StreamDistributor
    users: int = 0  # activated buffers; none while it is being closed


# Guards the dictionary. Held for a look-up only, with no other lock taken.
_lock = threading.Lock()
_entries: dict[UUID, _Entry] = {}


def acquire(
    streamer: Any, limits: TimeLimits, source: RemoteSource | None = None
) -> StreamDistributor:
    """Return the distributor of a hardware module; the first user gets a new one.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module, known by its `module_uuid`.
    limits : TimeLimits
        For how long threads wait; those of the first user are kept.
    source : RemoteSource, optional
        Where it comes from, if it is in another process.

    Raises
    ------
    RuntimeError
        If the hardware hangs, perhaps in a call from before its last buffer was deactivated.
    Exception
        What the hardware raises when it is asked for its constraints and settings.
    """
    # A RemoteInStream shares its device, so that one connection serves all
    device = getattr(streamer, 'remote_device', streamer)
    if not is_remote(device):
        streamer = device
    uuid = UUID(str(streamer.module_uuid))  # it may be in another process
    make = partial(StreamDistributor, streamer, limits, source)
    entry = _join(uuid, make)
    while entry.users == 0:
        if not entry.distributor.wait_until_left():
            name = entry.distributor.streamer_name
            raise RuntimeError(
                f'"{name}" cannot be used: one of its calls, from before all its buffers were '
                f'deactivated, has not returned. Check the connection to the device; if this '
                f'lasts, reload "{name}" or restart qudi'
            )
        entry = _join(uuid, make)
    try:
        entry.distributor.open()
    except BaseException:
        release(entry.distributor)
        raise
    return entry.distributor


def join(
    streamer: Any, limits: TimeLimits, source: RemoteSource, make_member: Callable[[], Member]
) -> StreamDistributor:
    """Make a buffer a member of the distributor of its hardware module, and return that.

    Parameters
    ----------
    streamer, limits, source
        As of `acquire`.
    make_member : callable
        Returns the member.

    Raises
    ------
    Exception
        As `acquire`, and what `make_member` raises.
    """
    distributor = acquire(streamer, limits, source)
    try:
        distributor.attach(make_member())
    except BaseException:  # for example, there is no thread left
        release(distributor)
        raise
    return distributor


def _join(uuid: UUID, make: Callable[[], StreamDistributor]) -> _Entry:
    """Return the entry of a hardware module, with one user more; with none, it is being closed."""
    with _lock:
        entry = _entries.get(uuid)
        if entry is None:
            entry = _entries[uuid] = _Entry(make(), users=1)
        elif entry.users:
            entry.users += 1
        return entry


def release(distributor: StreamDistributor) -> None:
    """Give a distributor back; the last user closes it."""
    with _lock:
        uuid, entry = next(
            (key, entry) for key, entry in _entries.items() if entry.distributor is distributor
        )
        entry.users -= 1
        if entry.users:
            return

    def forget() -> None:
        with _lock:
            del _entries[uuid]

    distributor.close(forget)


def distributors() -> list[StreamDistributor]:
    """Return the distributors that are in use."""
    with _lock:
        return [entry.distributor for entry in _entries.values() if entry.users]
