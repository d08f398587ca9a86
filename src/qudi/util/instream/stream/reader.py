"""The program's side of a stream: reads that wait, reads that take what is there, and looks."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from qudi.util.instream.stream.arrays import checked_count, targets
from qudi.util.instream.stream.errors import naming
from qudi.util.instream.stream.readers import WaitingRead
from qudi.util.instream.stream.stream import BufferedStream, end_for_quitting

__all__ = ['StreamReader']

Piece = tuple[np.ndarray, np.ndarray | None]  # samples of shape (count, channels), timestamps (s)

# A newest sample is fresh if a poll was made in the last so many seconds
_FRESH = 0.1


class StreamReader:
    """Reads one stream. Any number of threads may do so; each sample goes to one of them.

    Parameters
    ----------
    stream : BufferedStream
        The stream.
    piece_bytes : int, optional
        A large read copies so much at a time, which makes room for new samples.
    """

    def __init__(self, stream: BufferedStream, piece_bytes: int = 2**21) -> None:
        self._stream, self._ring = stream, stream.ring
        self._piece_bytes, self._name = piece_bytes, f'"{stream.name}" cannot read'

    @property
    def available_samples(self) -> int:
        """Number of samples per channel that can be read without waiting, 0 after a stop.

        Raises
        ------
        RuntimeError, OverflowError
            As a read would, once a stream that ended for another cause has nothing left.
        """
        stream = self._stream
        with stream.lock:
            if stream.is_stopped:
                return 0
            stream.look()
            if stream.has_ended and stream.unread == 0:
                raise stream.end_exception()
            return max(0, stream.unread - stream.readers.promised)

    def newest(self) -> tuple[np.ndarray, np.float64 | None]:
        """Return the newest sample, which stays unread; wait if there is none yet.

        Returns
        -------
        sample : numpy.ndarray
            One value per channel.
        timestamp : numpy.float64 or None
            Its timestamp in seconds, None if the stream has no timestamps.

        Raises
        ------
        TimeoutError
            If no sample came within the stream's first_limit, or the device is silent. The stream
            goes on.
        RuntimeError, OverflowError
            If the stream has ended.
        """
        stream = self._stream
        with stream.lock:
            stream.is_snapshot, stream.is_abandoned = True, False
            now = time.perf_counter()
            stream.look(at_newest=True)
            wait_for = stream.readers.wait_for
            if now - stream.polled_at > _FRESH:
                wait_for(lambda: stream.polled_at >= now or stream.has_ended, _FRESH)
            if stream.newest is None:
                look = stream.readers.new_read(1)
                wait_for(
                    lambda: stream.newest is not None or end_for_quitting(stream, look),
                    stream.first_limit,
                )
            if stream.has_ended:
                raise stream.end_exception()
            newest = stream.newest
            is_silent = stream.polled_at - stream.tally.received_at > stream.silence_limit
            if newest is None or is_silent:
                limit = stream.silence_limit if is_silent else stream.first_limit
                raise _timeout_error(stream, limit, 'the newest sample was requested')
            return newest[0].copy(), newest[1]

    def read_into(
        self,
        data_buffer: np.ndarray,
        samples_per_channel: int,
        timestamp_buffer: np.ndarray | None = None,
    ) -> None:
        """Wait for samples and take them, oldest first.

        What the ring can hold is taken all at once or, if the read fails, not at all. A larger
        number streams through.

        Parameters
        ----------
        data_buffer : numpy.ndarray
            Array of the stream's data type that holds at least samples_per_channel * channels
            values; filled from its beginning, the channels of one sample side by side.
        samples_per_channel : int
            How many samples to read.
        timestamp_buffer : numpy.ndarray, optional
            float64 array of at least samples_per_channel items for the timestamps in seconds.
            Needed if the stream has timestamps, left alone otherwise.

        Raises
        ------
        TypeError, ValueError
            If an argument cannot be used; see `arrays.targets`.
        TimeoutError
            If not one new sample came within the silence limit. The stream goes on.
        RuntimeError
            If the stream was stopped, is finished, or the device failed.
        OverflowError
            If the stream ended with an overflow and fewer samples than that are left.
        """
        with naming(self._name):
            count = checked_count(samples_per_channel)
            samples, timestamps = targets(self._ring, data_buffer, timestamp_buffer, count)
        done = overwritten = 0
        try:
            while done < count:
                there = self._wait_for_samples(count, done)
                if done == 0:
                    overwritten = self._stream.readers.overwritten
                taken = slice(done, done + there)
                is_whole = self._copy(
                    samples[taken],
                    None if timestamps is None else timestamps[taken],
                    overwritten,
                    taken_before=done,
                )
                done = taken.stop if is_whole else 0
        except BaseException:
            with self._stream.lock:
                self._stream.tally.lost += done
                self._stream.readers.fail()
            raise
        with self._stream.lock:
            self._stream.readers.done()

    def read_available_into(
        self, data_buffer: np.ndarray, timestamp_buffer: np.ndarray | None = None
    ) -> int:
        """Take what is there and fits, without waiting for samples.

        Parameters
        ----------
        data_buffer, timestamp_buffer : numpy.ndarray
            As in `read_into`, of any size.

        Returns
        -------
        int
            Number of samples per channel that were read.

        Raises
        ------
        TypeError, ValueError, RuntimeError, OverflowError
            As in `read_into`; an ended stream raises once nothing is left.
        """
        with naming(self._name):
            samples, timestamps = targets(self._ring, data_buffer, timestamp_buffer)
        room = len(samples) if timestamps is None else min(len(samples), len(timestamps))

        def check() -> None:
            if self._stream.has_ended:
                self._check_end(1)
            self._stream.look()

        return self._take((samples, timestamps), room, check)

    def _take(self, target: Piece, room: int, check: Callable[[], None]) -> int:
        """Take what is there and fits into arrays, after a check; return how many samples."""
        stream, (samples, timestamps) = self._stream, target
        try:
            is_whole = False
            while not is_whole:
                with stream.lock:
                    self._begin()
                    self._wait_for_copy()
                    check()
                    count = 0 if stream.is_stopped else min(room, stream.unread)
                    stream.readers.begin_copy(count)
                    overwritten = stream.readers.overwritten
                part = None if timestamps is None else timestamps[:count]
                is_whole = self._copy(samples[:count], part, overwritten)
        finally:
            with stream.lock:
                stream.readers.end()
        return count

    def _begin(self) -> None:
        self._stream.is_read, self._stream.is_abandoned = True, False
        self._stream.readers.begin()

    def _wait_for_copy(self) -> None:
        readers, stream = self._stream.readers, self._stream
        # A stop ends also what an interrupted read has left
        readers.wait_for(lambda: not readers.copier or stream.is_stopped)

    def read(self, samples_per_channel: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Read samples into new arrays.

        Parameters
        ----------
        samples_per_channel : int, optional
            How many samples to wait for and take. All that are there, without waiting, if left
            out.

        Returns
        -------
        samples : numpy.ndarray
            1D array, the channels of one sample side by side.
        timestamps : numpy.ndarray or None
            1D float64 array in seconds, None if the stream has no timestamps.

        Errors as of `read_into`.
        """
        asked, count = samples_per_channel, self._stream.unread
        if asked is not None:
            with naming(self._name):
                count = checked_count(asked)
        samples = np.empty(count * self._ring.channel_count, dtype=self._ring.dtype)
        timestamps = np.empty(count, dtype=np.float64) if self._ring.has_timestamps else None
        if asked is not None:
            self.read_into(samples, count, timestamps)
            return samples, timestamps
        count = self.read_available_into(samples, timestamps)
        samples = samples[: count * self._ring.channel_count]
        return samples, None if timestamps is None else timestamps[:count]

    def _wait_for_samples(self, count: int, done: int) -> int:
        """Wait until a read can go on; return how many samples it can copy then.

        Raises as soon as it is clear that of `count` samples, not all but those `done` will come.
        """
        missing, capacity = count - done, self._ring.capacity
        # Of a read larger than the ring, the other half of the ring leaves time to come
        enough = missing if count <= capacity else min(missing, capacity // 2 or 1)
        stream = self._stream
        with stream.lock:
            self._begin()
            read: WaitingRead | None = None
            while stream.readers.copier or stream.unread < enough or stream.is_stopped:
                self._check_end(missing, done)
                read = read or stream.readers.new_read(enough)
                if read.is_given_up:
                    counts = f'{count} wanted, {stream.unread} unread'
                    raise _timeout_error(stream, stream.silence_limit, counts, done)
                if stream.readers.copier:
                    self._wait_for_copy()
                else:
                    stream.wait(read)
            if missing > stream.unread:
                self._check_end(missing, done)
            there = min(missing, stream.unread)
            stream.readers.begin_copy(there)
            return there

    def _check_end(self, missing: int, done: int = 0) -> None:
        """Raise if a read that needs so many more samples than those done will not get all."""
        stream = self._stream
        if stream.has_ended and (stream.is_stopped or stream.unread < missing):
            raise stream.end_exception(done)
        if missing > stream.unread + stream.samples_missing:
            raise RuntimeError(
                f'{missing} more samples were to be read from "{stream.name}", but its finite '
                f'acquisition has {stream.samples_to_acquire} samples in all, of which '
                f'{stream.samples_read - done} were read and {stream.tally.lost + done} lost '
                f'already. Read fewer, or start a new stream'
            )

    def _copy(
        self,
        samples: np.ndarray,
        timestamps: np.ndarray | None,
        overwritten: int,
        taken_before: int = 0,
    ) -> bool:
        """Copy samples out of the ring: a few at once, many piece by piece and without the lock.

        Return whether the read is without a gap. If not, newer samples have overwritten others
        since its beginning, when that had happened `overwritten` times, and all that it has got,
        with `taken_before`, is lost.
        """
        stream, readers, ring, done = self._stream, self._stream.readers, self._ring, 0
        piece_size = max(1, self._piece_bytes // (ring.channel_count * ring.dtype.itemsize))
        piece = samples[:0], None if timestamps is None else timestamps[:0]
        is_short = samples.nbytes <= self._piece_bytes // 32  # to take the lock twice costs more
        while True:
            with stream.lock:
                if readers.overwritten != overwritten:
                    stream.tally.lost += taken_before + done
                    readers.end_copy()
                    return False
                if is_short:
                    ring.peek_into(samples, timestamps)
                    piece = samples, timestamps
                stream.took(*piece)
                readers.made_room(len(piece[0]))
                done += len(piece[0])
                if done == len(samples):
                    readers.end_copy()
                    return True
                first = ring.first
            here = slice(done, min(done + piece_size, len(samples)))
            piece = samples[here], None if timestamps is None else timestamps[here]
            ring.peek_into(*piece, first)


def _timeout_error(
    stream: BufferedStream, limit: float | None, counts: str, done: int = 0
) -> TimeoutError:
    if done:
        counts += f'; {done} were read before and are lost with this read'
    stream.is_abandoned = stream.readers.is_empty
    return TimeoutError(
        f'"{stream.name}" has received no new sample for {limit or 0.0:.3g} s '
        f'({counts}). The stream goes on: check its clock, trigger or light and read again, or '
        f'set a longer read_timeout'
    )
