"""Which distributor belongs to which hardware module, once per process.

It lives outside the qudi module, so that reloading that one leaves all buffers of a device on the
same distributor.
"""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

from qudi.util.network import netobtain

from qudi.util.instream.distributor import StreamDistributor

__all__ = ['acquire', 'distributors', 'release']

# Guards the two dictionaries. No other lock of ours is taken and no thread waited for while it is
# held; a new distributor asks the hardware for its name and constraints.
_lock = threading.Lock()
_distributors: dict[UUID, StreamDistributor] = {}
_users: dict[UUID, int] = {}  # none for a distributor that is being closed, or hangs


def acquire(streamer: Any) -> StreamDistributor:
    """Return the distributor of a hardware module; the first user gets a new one.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module, known by its `module_uuid`.

    Raises
    ------
    RuntimeError
        If the hardware hangs in a call from before its last buffer was deactivated.
    """
    uuid = netobtain(streamer.module_uuid)
    while True:
        with _lock:
            if uuid not in _distributors:
                _distributors[uuid] = StreamDistributor(streamer)
                _users[uuid] = 0
            distributor = _distributors[uuid]
            if uuid in _users:
                _users[uuid] += 1
                return distributor
        if not _close(uuid, distributor):
            raise RuntimeError(
                f'"{distributor.streamer_name}" cannot be used: one of its calls, from before all '
                f'its buffers were deactivated, has not returned. Check the connection to the '
                f'device; if this lasts, reload "{distributor.streamer_name}" or restart qudi'
            )


def release(distributor: StreamDistributor) -> None:
    """Give a distributor back; the last user closes it."""
    with _lock:
        uuid = next(key for key, value in _distributors.items() if value is distributor)
        _users[uuid] -= 1
        if _users[uuid]:
            return
        del _users[uuid]
    _close(uuid, distributor)


def _close(uuid: UUID, distributor: StreamDistributor) -> bool:
    """Close a distributor without users, and forget it unless it hangs in the hardware."""
    has_ended = distributor.close()
    if has_ended:
        with _lock:
            if _distributors.get(uuid) is distributor:
                del _distributors[uuid]
    return has_ended


def distributors() -> list[StreamDistributor]:
    """Return the distributors that are in use."""
    with _lock:
        return [_distributors[uuid] for uuid in _users]
