"""Which of a device's samples belong to a stream."""

from __future__ import annotations

import numpy as np

__all__ = ['Selection']


class Selection:
    """What of the samples of a device goes into one stream, and how.

    Parameters
    ----------
    columns : list of int, optional
        Which columns of the device's samples, and in which order. All by default.
    samples_to_skip : int
        Samples per channel at the very beginning that are older than the stream.
    timestamp_offset : float
        Seconds by which the device's timestamps are ahead of the stream's.
    """

    def __init__(
        self,
        columns: list[int] | None = None,
        samples_to_skip: int = 0,
        timestamp_offset: float = 0.0,
    ) -> None:
        self._columns = None if columns is None else _as_slice(columns)
        self.samples_to_skip = samples_to_skip
        self.timestamp_offset = timestamp_offset
        self._has_begun = False

    @property
    def is_all(self) -> bool:
        """Whether the next samples go into the stream just as they are."""
        return self._columns is None and not self.samples_to_skip and not self.timestamp_offset

    def apply(
        self, samples: np.ndarray, timestamps: np.ndarray | None, most: float
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the next samples of the stream, at most so many; the very arrays if they are all.

        Parameters
        ----------
        samples : numpy.ndarray
            Array of shape (count, channels of the device).
        timestamps : numpy.ndarray or None
            Their timestamps in seconds, shape (count,).
        most : int or inf
            How many the stream still takes.
        """
        first = self.samples_to_skip
        if first or most < len(samples):
            first = min(first, len(samples))
            self.samples_to_skip -= first
            last = int(min(len(samples), first + most))
            samples = samples[first:last]
            timestamps = None if timestamps is None else timestamps[first:last]
        if self._columns is not None:
            samples = samples[:, self._columns]
        if timestamps is not None and self.timestamp_offset and len(timestamps):
            if not self._has_begun:  # a sample may have been on its way when the stream began
                self.timestamp_offset = min(self.timestamp_offset, float(timestamps[0]))
                self._has_begun = True
            timestamps = timestamps - self.timestamp_offset
        return samples, timestamps


def _as_slice(columns: list[int]) -> slice | list[int]:
    """Neighbouring columns as a slice, which costs no copy."""
    first, last = columns[0], columns[-1]
    return slice(first, last + 1) if columns == list(range(first, last + 1)) else columns
