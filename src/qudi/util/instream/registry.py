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
    with _lock:
        left_behind = None if uuid in _users else _distributors.get(uuid)
    if left_behind is not None:
        _close(uuid, left_behind)
    with _lock:
        if uuid not in _distributors:
            _distributors[uuid] = StreamDistributor(streamer)
            _users[uuid] = 0
        elif uuid not in _users:
            name = _distributors[uuid].streamer_name
            raise RuntimeError(
                f'"{name}" cannot be used: one of its calls, from before all its buffers were '
                f'deactivated, has not returned. Check the connection to the device; if this '
                f'lasts, reload "{name}" or restart qudi'
            )
        _users[uuid] += 1
        return _distributors[uuid]


def release(distributor: StreamDistributor) -> None:
    """Give a distributor back; the last user closes it."""
    with _lock:
        uuid = next(key for key, value in _distributors.items() if value is distributor)
        _users[uuid] -= 1
        if _users[uuid]:
            return
        del _users[uuid]
    _close(uuid, distributor)


def _close(uuid: UUID, distributor: StreamDistributor) -> None:
    """Close a distributor without users. It is forgotten when it has left the hardware."""

    def forget() -> None:
        with _lock:
            if _distributors.get(uuid) is distributor and uuid not in _users:
                del _distributors[uuid]

    distributor.close(forget)


def distributors() -> list[StreamDistributor]:
    """Return the distributors that are in use."""
    with _lock:
        return [_distributors[uuid] for uuid in _users]
