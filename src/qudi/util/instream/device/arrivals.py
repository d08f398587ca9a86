"""The samples of a buffer in another qudi, which come by themselves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from qudi.util.instream.device.samples import DeviceTime, Piece
from qudi.util.instream.remote import RemoteDevice

__all__ = ['ArrivedSamples']


class ArrivedSamples(DeviceTime):
    """What `DeviceSamples` does for a device here, all in the thread of the device.

    No call waits for the other qudi.

    Parameters
    ----------
    device : RemoteDevice
        The buffer there, which has just been started.
    """

    hides_some = asked_too_early = False
    is_rate_proven = True

    def __init__(self, device: RemoteDevice) -> None:
        super().__init__()
        assert device.link is not None
        self._link = device.link

    def forget_demand(self) -> None:
        """Wait for no samples any more, but for those that `time_of_next` is asked for again."""
        self._link.forget()

    def time_of_next(self, count: float) -> float:
        """Return -inf if the next `count` samples have come.

        If not, they are waited for from now on, and inf is returned.
        """
        if math.isinf(count):
            return self.time_of_filling(count)
        return -math.inf if self._link.is_there(max(1, int(count))) else math.inf

    def time_of_look(self, allowed_at: float) -> float:
        """Return when a poll is of use for a program that takes whatever is there."""
        return self.time_of_next(1)

    def time_of_filling(self, count: float) -> float:
        """Return -inf if `count` samples have come, inf if not; no read waits for them."""
        return -math.inf if self._link.has(count) else math.inf

    def read(self, limit: float, lend: Callable[[int], Piece | None]) -> Iterator[Piece]:
        """Take what has come, at most `limit` samples per channel.

        Parameters, yields and errors as of `DeviceSamples`.
        """
        link = self._link
        is_over = link.error is not None  # before the last samples are taken
        self.asked_at, self.asked_from = time.perf_counter(), link.polled_at
        while (arrival := link.take(limit)) is not None:
            self.lost_before = arrival.lost
            self._note_taken(len(arrival.samples), arrival.timestamps)
            limit -= len(arrival.samples)
            yield arrival.samples, arrival.timestamps
        self.lost_before = 0
        if is_over and limit > 0 and link.error is not None:
            raise link.error
