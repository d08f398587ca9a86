"""What becomes of a buffer's streams, told in log lines and signals, but never too often."""

from __future__ import annotations

import math
import threading
import time

from qudi.core.logger import get_logger

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

from qudi.util.instream.consumer import StreamConsumer

__all__ = ['StreamReports']

_log = get_logger(__name__)

_SIGNAL_INTERVAL = 1.0  # s between two signals of a kind
_LOG_INTERVAL = 10.0  # s between two log lines about lost samples


class StreamReports(QtCore.QObject):
    """Reports of the streams of one buffer.

    All methods may be called from any thread, with no lock held. What must not be told yet is
    told later, by a timer in the thread of this object.

    Parameters
    ----------
    name : str
        Name of the buffer.
    parent : QObject
        The buffer.
    """

    sigStreamEnded = QtCore.Signal(str)  # value of the StreamEnd
    sigSamplesLost = QtCore.Signal(object)  # samples per channel since the last time (int)
    _sigWait = QtCore.Signal(int)

    def __init__(self, name: str, parent: QtCore.QObject) -> None:
        super().__init__(parent)
        self._name = name
        self._consumer: StreamConsumer | None = None  # that loses samples
        self._untold_end = ''
        self._untold_lost = 0
        self._unlogged_lost = 0
        # When the next signals and the next log line may come, by perf_counter
        self._end_at = self._lost_at = self._log_at = -math.inf
        # Guards all of the above. Taken with no other one held but before a consumer's; nothing
        # is told while it is held.
        self._lock = threading.Lock()
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._tell_due)
        self._sigWait.connect(self._wait, QtCore.Qt.ConnectionType.QueuedConnection)

    def started(self, text: str) -> None:
        """Tell that a stream has started, and how."""
        _log.info(text)

    @property
    def is_open(self) -> bool:
        """Whether `lost` is of use now; otherwise what is lost until then will be told later."""
        return self._consumer is None

    def lost(self, consumer: StreamConsumer) -> None:
        """Tell that a stream, which goes on, has lost samples since the last time."""
        with self._lock:
            self._consumer = consumer
        self._tell_due()

    def ended(self, consumer: StreamConsumer) -> None:
        """Tell that a stream has ended."""
        status = consumer.status()
        text = (
            f'The stream of "{self._name}" has ended: {status.message}. '
            f'({status.samples_received} samples per channel were received, '
            f'{status.samples_read} read, {status.samples_unread} are unread, '
            f'{status.samples_lost} lost.)'
        )
        if status.state == 'overflow':
            _log.warning(text)
        else:  # of a fault, the distributor has warned for all buffers at once
            _log.info(text)
        with self._lock:
            self._untold_end = status.state
            self._untold_lost += consumer.take_lost()
            self._unlogged_lost = 0  # those of this stream were told just now
            if self._consumer is consumer:
                self._consumer = None
        self._tell_due()

    @QtCore.Slot(int)
    def _wait(self, milliseconds: int) -> None:
        self._timer.start(milliseconds)

    @QtCore.Slot()
    def _tell_due(self) -> None:
        end, lost, logged = '', 0, 0
        with self._lock:
            now = time.perf_counter()
            if self._consumer is not None:
                newly_lost = self._consumer.take_lost()
                self._untold_lost += newly_lost
                self._unlogged_lost += newly_lost
            if self._untold_end and now >= self._end_at:
                end, self._untold_end = self._untold_end, ''
                self._end_at = now + _SIGNAL_INTERVAL
            if self._untold_lost and now >= self._lost_at:
                lost, self._untold_lost = self._untold_lost, 0
                self._lost_at = now + _SIGNAL_INTERVAL
            if self._unlogged_lost and now >= self._log_at:
                logged, self._unlogged_lost = self._unlogged_lost, 0
                self._log_at = now + _LOG_INTERVAL
            waits = [self._end_at] if self._untold_end else []
            waits += [self._lost_at] if self._untold_lost else []
            waits += [self._log_at] if self._unlogged_lost else []
            if not self._untold_lost:
                self._consumer = None
            if waits:  # only posts a message; in the lock, so that the last one is the right one
                self._sigWait.emit(math.ceil(1000 * (min(waits) - now)))
        if logged:
            _log.warning(
                f'"{self._name}" has lost {logged} samples per channel: its program reads too '
                f'slowly. Read faster, or configure a larger channel_buffer_size; '
                f'allow_overwrite: False ends the stream instead of losing samples'
            )
        if lost:
            self.sigSamplesLost.emit(lost)
        if end:
            self.sigStreamEnded.emit(end)
