"""Samples whose values say which sample and which channel they are."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ['CHANNELS', 'SampleSource', 'foretold_samples', 'foretold_timestamps']

# The last three are names as YAML makes them of numbers and of "yes"
CHANNELS: tuple[Any, ...] = ('a', 'b', 'c', 'd', 1.5, 2, True)


def foretold_samples(
    first: int, count: int, channels: Sequence[Any] = CHANNELS[:4], dtype: Any = np.float64
) -> np.ndarray:
    """Return the samples that a simulated device makes.

    Parameters
    ----------
    first : int
        Index of the first sample, 0 at the start of the device.
    count : int
        How many samples.
    channels : sequence, optional
        Names of the channels, some of a, b, c, d, 1.5, 2, True.
    dtype : numpy.dtype or type, optional
        Data type; integers wrap around.

    Returns
    -------
    numpy.ndarray
        Shape (count, channels), values 16 * index + number of the channel.
    """
    index = np.arange(first, first + count, dtype=np.int64)
    numbers = np.array([CHANNELS.index(channel) for channel in channels])
    samples: np.ndarray = (16 * index[:, np.newaxis] + numbers).astype(dtype)
    return samples


def foretold_timestamps(first: int, count: int) -> np.ndarray:
    """Return the timestamps of these samples.

    Parameters
    ----------
    first, count : int
        As of `foretold_samples`.

    Returns
    -------
    numpy.ndarray
        Shape (count,), float64, in seconds: 1 ms per sample. None is a whole number, so that a
        cast to integers shows.
    """
    return 1e-3 * np.arange(first, first + count) + 1e-4


class SampleSource:
    """Counts the samples that a device has made, and those that were read.

    Its owner takes care that one thread at a time uses it.

    Parameters
    ----------
    clocked : bool
        Whether samples are made in time, or as many as `produce` says.
    speed : float
        A clocked source is so many times as fast as its rate says.
    block_time : float
        A clocked source shows its samples every so many seconds.
    jitter : float
        A clocked source shows its samples up to so many seconds late, at random.
    clock : callable, optional
        Returns the time in seconds.
    """

    def __init__(
        self,
        clocked: bool = False,
        speed: float = 1.0,
        block_time: float = 0.0,
        jitter: float = 0.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.is_clocked = clocked
        self._speed = speed
        self._block_time = block_time
        self._jitter = jitter
        self._clock = clock
        self._random = random.Random(0)
        self.started_at = 0.0  # by the clock
        self.produced = 0  # index of the next sample that will be made
        self.taken = 0  # index of the next sample that a read gets
        self._first = 0  # index of the first sample since the start

    def begin(self, first: int = 0) -> None:
        """Make samples from that index on."""
        self._first = self.taken = self.produced = first
        self.started_at = self._clock()

    def produce(self, count: int) -> None:
        """Make so many samples now."""
        self.produced += count

    def tick(self, rate: float) -> None:
        """Make the samples that a clock of that rate (Hz) has made by now."""
        if not self.is_clocked:
            return
        elapsed = self._clock() - self.started_at
        if self._block_time:
            elapsed -= elapsed % self._block_time
        if self._jitter:
            elapsed -= self._jitter * self._random.random()
        made = self._first + int(max(0.0, elapsed) * rate * self._speed)
        self.produced = max(self.produced, made) if self._jitter else made

    @property
    def waiting(self) -> int:
        """Samples per channel that were made and not read yet."""
        return self.produced - self.taken

    def take(self, count: int, channels: Sequence[Any], dtype: np.dtype) -> np.ndarray:
        """Return the next samples as `foretold_samples` does, of which there must be enough."""
        assert 0 < count <= self.waiting, 'more was asked for than there is'
        samples = foretold_samples(self.taken, count, channels, dtype)
        self.taken += count
        return samples
