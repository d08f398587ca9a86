"""A ring of samples in one numpy array. Wrapping is dealt with here and nowhere else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ['SampleRing']


class SampleRing:
    """Ring buffer of samples x channels, with a timestamp per sample where wanted.

    It neither overwrites nor waits: whoever writes looks at `free` first and drops what has to
    go. It has no lock either; its owner has.

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
        self._start = 0  # index of the oldest unread sample
        self._unread = 0
        self._lent: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of unread samples."""
        return self._unread

    def __repr__(self) -> str:
        timestamps = ', timestamps' if self.has_timestamps else ''
        return (
            f'{type(self).__name__}({self._unread} of {self.capacity} samples unread, '
            f'{self.channel_count} channels, {self.dtype}{timestamps})'
        )

    @property
    def free(self) -> int:
        """Number of samples that can be written before unread ones are in the way."""
        return self.capacity - self._unread

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
        begin = (self._start + self._unread) % self.capacity
        place = slice(begin, begin + min(count, self.free, self.capacity - begin))
        self._lent = self._samples[place]
        return self._lent, None if self._timestamps is None else self._timestamps[place]

    def write(self, samples: np.ndarray, timestamps: np.ndarray | None = None) -> None:
        """Append samples.

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
        self._check_timestamps(timestamps)
        count = len(samples)
        if count > self.free:
            raise ValueError(f'{count} samples do not fit into {self!r}')
        is_in_place, self._lent = samples is self._lent, None
        for here, there in (
            () if is_in_place else self._stretches(self._start + self._unread, count)
        ):
            self._samples[here] = samples[there]
            if self._timestamps is not None and timestamps is not None:
                self._timestamps[here] = timestamps[there]
        self._unread += count

    def read_into(self, samples: np.ndarray, timestamps: np.ndarray | None = None) -> None:
        """Take the oldest samples, as many as the target arrays hold.

        Parameters
        ----------
        samples : numpy.ndarray
            Array of shape (count, channel_count) to fill.
        timestamps : numpy.ndarray, optional
            Array of shape (count,) to fill; left alone by a ring without timestamps.

        Raises
        ------
        ValueError
            If fewer samples than that are unread, or there is no place for their timestamps.
        """
        self._check_timestamps(timestamps)
        count = len(samples)
        if count > self._unread:
            raise ValueError(f'{count} samples cannot be read from {self!r}')
        for here, there in self._stretches(self._start, count):
            samples[there] = self._samples[here]
            if self._timestamps is not None and timestamps is not None:
                timestamps[there] = self._timestamps[here]
        self.drop(count)

    def drop(self, count: int) -> None:
        """Forget the oldest `count` unread samples.

        Raises
        ------
        ValueError
            If fewer samples than that are unread.
        """
        if not 0 <= count <= self._unread:
            raise ValueError(f'{count} samples cannot be dropped from {self!r}')
        self._start = (self._start + count) % self.capacity
        self._unread -= count

    def _check_timestamps(self, timestamps: np.ndarray | None) -> None:
        if self._timestamps is not None and timestamps is None:
            raise ValueError(f'{self!r} needs an array of timestamps beside the samples')

    def _stretches(self, begin: int, count: int) -> list[tuple[slice, slice]]:
        """Return the one or two stretches of the ring, each with its place in a flat array."""
        begin %= self.capacity
        first = min(count, self.capacity - begin)
        stretches = [(slice(begin, begin + first), slice(0, first))]
        if first < count:
            stretches.append((slice(0, count - first), slice(first, count)))
        return stretches
