"""What a stream counts, and how it knows that a program watches it."""

from __future__ import annotations

import math
import time
from typing import Any

__all__ = ['Attention', 'Tally']


class Tally:
    """Numbers of samples per channel since the start of a stream. Not safe for threads.

    What was read is not counted: it is what was received and is neither unread nor lost.
    """

    def __init__(self) -> None:
        self.received = 0
        self.lost = 0
        self.overflow_count = 0
        self.peak_fill = 0
        self.received_at = time.perf_counter()  # the newest sample; the start before the first
        self._is_overflowing = False  # since samples were lost, until something is read

    def numbers(self, unread: int) -> dict[str, Any]:
        """Return the fields of a StreamStatus."""
        return {
            'samples_received': self.received,
            'samples_read': self.received - self.lost - unread,
            'samples_unread': unread,
            'samples_lost': self.lost,
            'overflow_count': self.overflow_count,
            'peak_fill': self.peak_fill,
        }

    def receive(self, count: int, lost: int, unread: int) -> None:
        """Count new samples, of which some were lost; with them, so many are unread."""
        self.received += count
        self.lost += lost
        self.received_at = time.perf_counter()
        if unread > self.peak_fill:
            self.peak_fill = unread

    def overflow(self, lost: int = 0) -> None:
        """Count an overflow, and unread samples that were lost by it."""
        self.lost += lost
        self.overflow_count += not self._is_overflowing
        self._is_overflowing = True

    def note_read(self) -> None:
        """Note that samples were read."""
        self._is_overflowing = False


class Attention:
    """Whether a program watches a stream: it looks again and again without waiting for samples.

    At first it counts as watched: until a read has waited, its program may be one that only looks.

    Parameters
    ----------
    span : float
        Seconds within which such a program is expected to look again.
    """

    def __init__(self, span: float) -> None:
        self._span = span
        self._looked_at = time.perf_counter()  # since the last read that had to wait
        self._until = self._looked_at + self._span

    @property
    def is_watched(self) -> bool:
        """Whether a program is expected to look soon."""
        return self._until > time.perf_counter()

    def look(self, at_newest: bool = False) -> bool:
        """Note a look; return whether a poll is of use for it.

        The second look in a row counts, since programs look once before they wait. So does the
        first one at the newest sample.
        """
        was_watched = self.is_watched
        now = time.perf_counter()
        if at_newest or now < self._looked_at + self._span:
            self._until = now + self._span
        self._looked_at = now
        return at_newest or (self.is_watched and not was_watched)

    def end(self) -> None:
        """Note that a read waits."""
        self._looked_at = self._until = -math.inf
