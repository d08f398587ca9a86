"""A ring of samples in one numpy array. Wrapping is dealt with here and nowhere else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ['SampleRing']

# Bytes that `rewind` moves at most
_MOST_MOVED = 2**20


class SampleRing:
    """Ring buffer of samples x channels, with a timestamp per sample where wanted.

    It neither overwrites nor waits: the writer looks at `free` first and drops what has to go.
    `write`, `drop` and `rewind` need a lock. `peek_into` needs none: one thread at a time may copy
    samples out while another one writes.

    Parameters
    ----------
    capacity : int
        Number of samples (per channel) the ring holds.
    channel_count : int
        Number of values a sample has.
    dtype : numpy.dtype or type
        Data type of the samples.
    with_timestamps : bool
        Whether a float64 timestamp (seconds) belongs to each sample.

    Raises
    ------
    ValueError
        If `capacity` or `channel_count` is below 1.
    MemoryError
        If there is no memory for so many samples.
    """

    def __init__(
        self,
        capacity: int,
        channel_count: int,
        dtype: npt.DTypeLike,
        with_timestamps: bool = False,
    ) -> None:
        if capacity < 1 or channel_count < 1:
            raise ValueError(
                f'A ring needs at least 1 sample and 1 channel, got {capacity} x {channel_count}'
            )
        self.capacity = capacity  # samples that it holds when it is full
        # empty, not zeros: the operating system commits the memory as the ring fills
        self._samples = np.empty((capacity, channel_count), dtype=dtype)
        self._timestamps = np.empty(capacity, dtype=np.float64) if with_timestamps else None
        # Samples since the ring is there. Only `write` changes the first, only `drop` the second.
        self._written = 0
        self._dropped = 0
        self._origin = 0  # the number of the sample at the beginning of the arrays
        self._lent: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of unread samples."""
        return self._written - self._dropped

    def __repr__(self) -> str:
        timestamps = ', timestamps' if self.has_timestamps else ''
        return (
            f'{type(self).__name__}({len(self)} of {self.capacity} samples unread, '
            f'{self.channel_count} channels, {self.dtype}{timestamps})'
        )

    @property
    def free(self) -> int:
        """Number of samples that can be written before unread ones are in the way."""
        return self.capacity - self._written + self._dropped

    @property
    def channel_count(self) -> int:
        """Number of values a sample has."""
        return self._samples.shape[1]

    @property
    def dtype(self) -> np.dtype:
        """Data type of the samples."""
        return self._samples.dtype

    @property
    def has_timestamps(self) -> bool:
        """Whether a timestamp belongs to each sample."""
        return self._timestamps is not None

    def lend(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the place of the next samples, to fill it before they are written.

        Writing the very array that was returned copies nothing.

        Parameters
        ----------
        count : int
            Number of samples wanted.

        Returns
        -------
        samples : numpy.ndarray
            Array of shape (up to count, channel_count), fewer where the ring ends or is full.
        timestamps : numpy.ndarray or None
            Array of as many timestamps, None without timestamps.
        """
        begin = (self._written - self._origin) % self.capacity
        place = slice(begin, begin + min(count, self.free, self.capacity - begin))
        self._lent = self._samples[place]
        return self._lent, None if self._timestamps is None else self._timestamps[place]

    def write(self, samples: np.ndarray, timestamps: np.ndarray | None = None) -> None:
        """Put samples behind the unread ones.

        Parameters
        ----------
        samples : numpy.ndarray
            Array of shape (count, channel_count).
        timestamps : numpy.ndarray, optional
            Array of shape (count,); ignored by a ring without timestamps.

        Raises
        ------
        ValueError
            If the samples do not fit into the free space, or their timestamps are missing.
        """
        if timestamps is None and self._timestamps is not None:
            raise self._no_timestamps()
        count = len(samples)
        if count > self.free:
            raise ValueError(f'{count} samples do not fit into {self!r}')
        is_in_place, self._lent = samples is self._lent, None
        if not is_in_place:
            for place, values, times in self._pieces(self._written, samples, timestamps):
                self._samples[place] = values
                if self._timestamps is not None:
                    self._timestamps[place] = times
        self._written += count

    @property
    def first(self) -> int:
        """Number of the oldest unread sample, since the ring is there."""
        return self._dropped

    def peek_into(
        self,
        samples: np.ndarray,
        timestamps: np.ndarray | None = None,
        first: int | None = None,
    ) -> None:
        """Copy samples, as many as the target arrays hold. They stay in the ring.

        Parameters
        ----------
        samples : numpy.ndarray
            Array of shape (count, channel_count) to fill.
        timestamps : numpy.ndarray, optional
            Array of shape (count,) to fill; left alone by a ring without timestamps.
        first : int, optional
            Number of the first sample. The oldest unread one by default. Otherwise the caller
            finds out afterwards whether the samples were dropped meanwhile.

        Raises
        ------
        ValueError
            If fewer samples than that are unread, or there is no place for their timestamps.
        """
        if timestamps is None and self._timestamps is not None:
            raise self._no_timestamps()
        count = len(samples)
        if first is None:
            first = self._dropped
            if count > len(self):
                raise ValueError(f'{count} samples cannot be read from {self!r}')
        for place, values, times in self._pieces(first, samples, timestamps):
            values[:] = self._samples[place]
            if self._timestamps is not None and times is not None:
                times[:] = self._timestamps[place]

    def newest(self) -> tuple[np.ndarray, np.float64 | None]:
        """Return a copy of the newest unread sample, one value per channel, and its timestamp."""
        place = (self._written - 1 - self._origin) % self.capacity
        timestamp = None if self._timestamps is None else self._timestamps[place]
        return self._samples[place].copy(), timestamp

    def drop(self, count: int) -> None:
        """Forget the oldest `count` unread samples.

        Raises
        ------
        ValueError
            If fewer samples than that are unread.
        """
        if not 0 <= count <= len(self):
            raise ValueError(f'{count} samples cannot be dropped from {self!r}')
        self._dropped += count

    def rewind(self) -> None:
        """Move the unread samples back to the beginning of the arrays while they are few.

        A ring that goes round touches all its memory, however little of it is needed. Not while
        the ring is written or read; without effect while a place in it is lent.
        """
        unread = self._written - self._dropped
        begin = self._dropped - self._origin
        # At most every fifth sample is moved, and none to where another one is
        if begin < 4 * unread or begin == 0 or self._lent is not None:
            return
        begin %= self.capacity
        end = begin + unread
        size = unread * self.channel_count * self._samples.itemsize
        if begin < 4 * unread or end > self.capacity or size > _MOST_MOVED:
            return
        if unread:
            self._samples[:unread] = self._samples[begin:end]
            if self._timestamps is not None:
                self._timestamps[:unread] = self._timestamps[begin:end]
        self._origin = self._dropped

    def _no_timestamps(self) -> ValueError:
        return ValueError(f'{self!r} needs an array of timestamps beside the samples')

    def _pieces(
        self, first: int, samples: np.ndarray, timestamps: np.ndarray | None
    ) -> list[tuple[slice, np.ndarray, np.ndarray | None]]:
        """Divide arrays of samples from number `first` on where the ring ends.

        Each of the one or two pieces comes with its place in the ring.
        """
        begin, count = (first - self._origin) % self.capacity, len(samples)
        until_end = self.capacity - begin
        if count <= until_end:
            return [(slice(begin, begin + count), samples, timestamps)]
        places = slice(begin, self.capacity), slice(0, count - until_end)
        parts = slice(0, until_end), slice(until_end, count)
        return [
            (place, samples[part], None if timestamps is None else timestamps[part])
            for place, part in zip(places, parts, strict=True)
        ]
