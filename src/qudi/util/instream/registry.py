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
_users: dict[UUID, int] = {}


def acquire(streamer: Any) -> StreamDistributor:
    """Return the distributor of a hardware module; the first user gets a new one.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module, known by its `module_uuid`.
    """
    uuid = netobtain(streamer.module_uuid)
    with _lock:
        if uuid not in _distributors:
            _distributors[uuid] = StreamDistributor(streamer)
        _users[uuid] = _users.get(uuid, 0) + 1
        return _distributors[uuid]


def release(distributor: StreamDistributor) -> None:
    """Give a distributor back; the last user closes it."""
    with _lock:
        uuid = next(key for key, value in _distributors.items() if value is distributor)
        _users[uuid] -= 1
        if _users[uuid]:
            return
        del _users[uuid], _distributors[uuid]
    distributor.close()


def distributors() -> list[StreamDistributor]:
    """Return the distributors that are in use."""
    with _lock:
        return list(_distributors.values())
