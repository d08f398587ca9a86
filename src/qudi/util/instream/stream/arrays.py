"""Checks of the arrays and numbers that a program hands to a read."""

from __future__ import annotations

import operator
from typing import SupportsIndex

import numpy as np

from qudi.util.instream.stream.ring import SampleRing

__all__ = ['checked_count', 'targets']


def checked_count(samples_per_channel: SupportsIndex) -> int:
    """Return a number of samples as an int.

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If it is negative.
    """
    try:
        count = operator.index(samples_per_channel)
    except TypeError:
        raise TypeError(
            f'samples_per_channel must be an integer, got {samples_per_channel!r}'
        ) from None
    if count < 0:
        raise ValueError(f'samples_per_channel must be 0 or more, got {count}')
    return count


def targets(
    ring: SampleRing,
    data_buffer: np.ndarray,
    timestamp_buffer: np.ndarray | None,
    count: int | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Check the arrays that a program hands over to be filled from a ring.

    Parameters
    ----------
    ring : SampleRing
        Its channels, data type and timestamps are those of the samples.
    data_buffer, timestamp_buffer : numpy.ndarray
        The arrays. Timestamps are needed if the ring has any, and left alone otherwise.
    count : int, optional
        How many samples they have to hold. As many as fit if left out.

    Returns
    -------
    samples : numpy.ndarray
        View of shape (count, channels).
    timestamps : numpy.ndarray or None
        View of `count` items at most, None without timestamps.

    Raises
    ------
    TypeError, ValueError
        If they cannot be used; the text says what came and what is needed.
    """
    channel_count = ring.channel_count
    values = _flat_view('data_buffer', data_buffer, ring.dtype)
    if count is None:
        count_here = values.size // channel_count
    else:
        count_here = count
        _check_size('data_buffer', values, count * channel_count)
    samples = values[: count_here * channel_count].reshape(count_here, channel_count)
    if not ring.has_timestamps:
        return samples, None
    if timestamp_buffer is None:
        raise TypeError(
            'timestamp_buffer is missing: this device delivers a timestamp with each sample, '
            'a float64 array with one item per sample is needed'
        )
    timestamps = _flat_view('timestamp_buffer', timestamp_buffer, np.dtype(np.float64))
    if count is not None:
        _check_size('timestamp_buffer', timestamps, count)
    return samples, timestamps[:count]


def _flat_view(name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the flattened view of an array to fill, whatever its shape.

    Raises
    ------
    TypeError
        If it is no numpy array of that data type.
    ValueError
        If it is read-only, or its flattened view would be a copy.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f'{name} must be a numpy array of {dtype}, got {type(array).__name__}')
    if array.dtype != dtype:
        raise TypeError(f'{name} must have the data type {dtype}, got {array.dtype}')
    if not array.flags.writeable:
        raise ValueError(f'{name} is read-only, a writable array is needed')
    if not array.flags.c_contiguous:
        raise ValueError(
            f'{name} of shape {array.shape} is not contiguous in memory (C order), '
            f'numpy.ascontiguousarray or a new array makes one that is'
        )
    return np.asarray(array).reshape(-1)


def _check_size(name: str, values: np.ndarray, needed: int) -> None:
    """Raise ValueError if an array holds fewer values than needed."""
    if values.size < needed:
        raise ValueError(f'{name} holds {values.size} values, {needed} are needed')
