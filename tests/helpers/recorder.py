"""What a time series logic reads."""

from __future__ import annotations

import threading

import numpy as np

# isort: split
from qtpy import QtCore

__all__ = ['Recorder']


class Recorder:
    """Keeps a copy of every frame that a logic reads, since it was last asked or told to forget."""

    def __init__(self, logic):
        self.logic = logic
        self._frames = []
        self._lock = threading.Lock()
        # In the logic's thread, which uses the arrays again for the next frame
        logic.sigNewRawData.connect(self._keep, QtCore.Qt.ConnectionType.DirectConnection)

    def _keep(self, samples, timestamps):
        with self._lock:
            self._frames.append((np.array(samples), np.array(timestamps)))

    def __len__(self):
        """How many values are kept, of all channels together."""
        with self._lock:
            return sum(samples.size for samples, _ in self._frames)

    @property
    def count(self):
        """How many samples with a timestamp are kept."""
        with self._lock:
            return sum(timestamps.size for _, timestamps in self._frames)

    def forget(self):
        with self._lock:
            self._frames.clear()

    def samples(self, channels=2):
        """Return all samples, shape (count, channels)."""
        with self._lock:
            frames = [samples for samples, _ in self._frames]
        return np.concatenate([np.empty(0), *frames]).reshape(-1, channels)

    def take(self):
        """Return all samples, flat, and timestamps; begin anew."""
        with self._lock:
            frames, self._frames = self._frames, []
        samples, timestamps = zip(*frames, strict=True)
        return np.concatenate(samples), np.concatenate(timestamps)
