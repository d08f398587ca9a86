"""Reads that wait for a limited time: those of a program in another process."""

from __future__ import annotations

import time

import numpy as np

from qudi.util.instream.stream.reader import StreamReader
from qudi.util.instream.stream.stream import BufferedStream

__all__ = ['StreamTaker']


class StreamTaker(StreamReader):
    """Reads one stream for a program in another process.

    Parameters
    ----------
    stream : BufferedStream
        The stream.
    """

    def __init__(self, stream: BufferedStream) -> None:
        super().__init__(stream)
        self._samples = np.empty((0, stream.ring.channel_count), dtype=stream.ring.dtype)
        self._timestamps = np.empty(0) if stream.ring.has_timestamps else None

    def take(self, wanted: int, most: int, timeout: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Wait for samples, but not for long, and take what is there then.

        Parameters
        ----------
        wanted : int
            For how many samples to wait; for a full half of the ring at most.
        most : int
            How many to take at most.
        timeout : float
            How long to wait at most (s). The end of the stream ends the wait as well.

        Returns
        -------
        samples : numpy.ndarray
            Array of shape (count, channels), valid until the next call; empty also after a stop.
        timestamps : numpy.ndarray or None
            Their float64 timestamps in seconds, None if the stream has none.
        """
        stream, ring = self._stream, self._ring
        enough = min(wanted, ring.capacity // 2 or 1)
        with stream.lock:
            self._begin()
            read = stream.readers.new_read(enough, timeout)
            while stream.unread < enough and not stream.has_ended:
                if time.perf_counter() >= read.until or read.is_given_up:
                    break
                stream.wait(read)
            count = 0 if stream.is_stopped else min(most, stream.unread)
        # Kept, since new memory costs more than the copy
        if count > len(self._samples):
            self._samples = np.empty((count, ring.channel_count), dtype=ring.dtype)
            self._timestamps = np.empty(count) if ring.has_timestamps else None
        samples, timestamps = self._samples, self._timestamps
        count = self._take((samples, timestamps), count, lambda: None)
        return samples[:count], None if timestamps is None else timestamps[:count]
