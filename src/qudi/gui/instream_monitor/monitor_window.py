"""The window of the monitor: a table with one row per buffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore, QtGui, QtWidgets

from qudi.util.instream.monitor import BufferRow, fill_level
from qudi.util.instream.stream import StreamStatus

__all__ = ['MonitorWindow']

_NAME, _DEVICE, _STATE, _SETTINGS, _FILL, _LOST, _RATES, _PLOT = range(8)
_HEADERS = ('Buffer', 'Device', 'State', 'Settings', 'Fill level', 'Lost', 'Rates', '')
_HINTS = (
    'The buffer, and which other ones stream from the same device',
    'The device that it reads',
    'How its stream is doing. Point at it for the whole message',
    'What its program asked for',
    'How much of the buffer is unread. The line marks the highest level of this stream',
    'Samples per channel that this stream has lost',
    'Samples per channel and polls of the device, per second',
    'Fill level',
)
_TEXT_COLUMNS = (_NAME, _DEVICE, _STATE, _SETTINGS, _LOST, _RATES)

_STATES = {
    'idle': 'not started',
    'running': 'streaming',
    'stopped': 'stopped',
    'overflow': 'ended: buffer was full',
    'finished': 'acquisition complete',
    'fault': 'ended: device failed',
}

# Readable on a dark and on a light background
_BLUE, _ORANGE, _RED = (QtGui.QColor(code) for code in ('#3d8ec9', '#d9822b', '#e0504a'))

_NEARLY_FULL, _FULL = 0.8, 0.995
_SILENCE_TO_SHOW = 3.0  # seconds without an answer of another process
_QUIET = 3.0  # seconds without a sample
_LEVELS_ROLE = QtCore.Qt.ItemDataRole.UserRole  # fill and highest level, 0 to 1


def _scaled(value: float, unit: str) -> str:
    """Three digits and a prefix: 1.05 M, 50 Hz."""
    for factor, prefix in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if abs(value) >= 0.9995 * factor:
            return f'{value / factor:.3g} {prefix}{unit}'
    return f'{value:.3g} {unit}'.rstrip()


def _grouped(count: int) -> str:
    return f'{count:,}'.replace(',', '\N{NO-BREAK SPACE}')


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{rest:02}' if hours else f'{minutes}:{rest:02}'


def _span(seconds: float) -> str:
    return f'{seconds / 60:.3g} min' if seconds >= 100 else f'{seconds:.3g} s'


class MonitorWindow(QtWidgets.QMainWindow):
    """Shows rows of figures, and updates only what has changed.

    Parameters
    ----------
    history : float
        How many seconds the plots show.
    """

    def __init__(self, history: float) -> None:
        super().__init__()
        self.setWindowTitle('qudi: Stream Buffers')
        self._history = history
        self._names: list[str] = []
        self._plots: list[_FillPlot] = []
        self._turn = 0
        self.table = _make_table(history)
        self.hint = QtWidgets.QLabel('No stream buffer is active.')
        self.hint.setAlignment(QtCore.Qt.AlignmentFlag.AlignCenter)
        stack = QtWidgets.QStackedWidget()
        stack.addWidget(self.hint)
        stack.addWidget(self.table)
        self._stack = stack
        self.setCentralWidget(stack)
        width = self.fontMetrics().averageCharWidth()
        self._least_width = 26 * width  # of a bar and a plot
        self.resize(160 * width, 7 * self.table.verticalHeader().defaultSectionSize())

    @QtCore.Slot(object)
    def take_rows(self, rows: Sequence[BufferRow]) -> None:
        """Show these rows, if anybody can see them."""
        if self.isVisible():
            self.show_rows(rows)

    def show_rows(self, rows: Sequence[BufferRow]) -> None:
        """Show these rows instead of the ones before."""
        names = [row.name for row in rows]
        if names != self._names:
            self._make_rows(names)
        widened = set()
        for number, row in enumerate(rows):
            widened |= self._fill_row(number, row)
        for column in widened:
            self._fit(column)
        if widened:
            self._share_rest()
        # A plot moves by less than a pixel per update, so they are drawn at every fourth one
        if self._turn % 4 == 0:
            for plot, row in zip(self._plots, rows, strict=True):
                plot.show_levels(row.ages, row.fills)
        self._turn += 1

    def _make_rows(self, names: list[str]) -> None:
        self._names = names
        self._turn = 0
        table = self.table
        table.setRowCount(0)
        table.setRowCount(len(names))
        self._plots = [_FillPlot(self._history, table) for _ in names]
        for number, plot in enumerate(self._plots):
            for column in range(len(_HEADERS)):
                item = QtWidgets.QTableWidgetItem()
                item.setFlags(QtCore.Qt.ItemFlag.ItemIsEnabled)
                if column == _LOST:
                    item.setTextAlignment(
                        QtCore.Qt.AlignmentFlag.AlignRight | QtCore.Qt.AlignmentFlag.AlignVCenter
                    )
                table.setItem(number, column, item)
            table.setCellWidget(number, _PLOT, plot)
        for column in _TEXT_COLUMNS:
            table.setColumnWidth(column, table.horizontalHeader().sectionSizeHint(column) + 8)
        self._share_rest()
        self._stack.setCurrentWidget(table if names else self.hint)

    def _fill_row(self, number: int, row: BufferRow) -> set[int]:
        """Return the columns whose texts have become longer or shorter."""
        status = row.status
        lost = _grouped(status.samples_lost)
        shared = ', '.join(status.shared_with) or 'no other buffer'
        texts = {
            _NAME: (row.name + ('\nremote' if row.is_remote else ''), f'Streams beside: {shared}'),
            _DEVICE: (status.streamer, ''),
            _STATE: _state_texts(row),
            _SETTINGS: (_settings_text(status), f'Channels: {", ".join(status.channels)}'),
            _LOST: (lost, f'{status.overflow_count} gaps' if status.samples_lost else ''),
            _RATES: (
                f'{_scaled(row.sample_rate, "S/s")}\n{_scaled(status.poll_rate, "polls/s")}',
                '',
            ),
        }
        changed = set()
        for column, (text, tip) in texts.items():
            item = self._cell(number, column)
            if len(item.text()) != len(text):
                changed.add(column)
            _set(item, text, tip)
        is_bad = row.silent_for > _SILENCE_TO_SHOW or status.state in ('overflow', 'fault')
        _set_colour(self._cell(number, _STATE), _RED if is_bad else None)
        _set_colour(self._cell(number, _LOST), _RED if status.samples_lost else None)
        self._fill_bar(self._cell(number, _FILL), status)
        return changed

    def _cell(self, row: int, column: int) -> QtWidgets.QTableWidgetItem:
        item = self.table.item(row, column)
        assert item is not None, f'there is no cell ({row}, {column})'
        return item

    def _fit(self, column: int) -> None:
        """Widen a column to its texts; narrow it only where much is left."""
        wanted = self.table.sizeHintForColumn(column) + 8
        width = self.table.columnWidth(column)
        wanted = max(wanted, self.table.horizontalHeader().sectionSizeHint(column))
        if wanted > width or wanted < width - 60:
            self.table.setColumnWidth(column, wanted)

    def _share_rest(self) -> None:
        """Give bars and plots the space that the texts leave."""
        table = self.table
        texts = sum(table.columnWidth(column) for column in _TEXT_COLUMNS)
        rest = table.viewport().width() - texts
        bar = max(self._least_width, rest // 2)
        table.setColumnWidth(_FILL, bar)
        table.setColumnWidth(_PLOT, max(self._least_width, rest - bar))

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self._share_rest()

    @staticmethod
    def _fill_bar(item: QtWidgets.QTableWidgetItem, status: StreamStatus) -> None:
        levels = [fill_level(status), status.peak_fill / max(1, status.ring_size)]
        text = '\N{EN DASH}'
        if status.state != 'idle':
            text = f'{_percent(levels[0])}, at most {_percent(levels[1])}'
        if item.data(_LEVELS_ROLE) != levels:
            item.setData(_LEVELS_ROLE, levels)
        _set(
            item,
            text,
            f'{_grouped(status.samples_unread)} of {_grouped(status.ring_size)} samples are '
            f'unread, {_grouped(status.peak_fill)} were at most',
        )


def _make_table(history: float) -> QtWidgets.QTableWidget:
    table = QtWidgets.QTableWidget(0, len(_HEADERS))
    for column, (header, hint) in enumerate(zip(_HEADERS, _HINTS, strict=True)):
        item = QtWidgets.QTableWidgetItem(header or f'Last {_span(history)}')
        item.setToolTip(hint)
        table.setHorizontalHeaderItem(column, item)
    table.setItemDelegateForColumn(_FILL, _BarDelegate(table))
    table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode.NoSelection)
    table.setEditTriggers(QtWidgets.QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setFocusPolicy(QtCore.Qt.FocusPolicy.NoFocus)
    table.setHorizontalScrollMode(QtWidgets.QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setVerticalScrollMode(QtWidgets.QAbstractItemView.ScrollMode.ScrollPerPixel)
    table.setShowGrid(False)
    table.setWordWrap(False)
    table.verticalHeader().hide()
    # Two lines of text and some air
    table.verticalHeader().setDefaultSectionSize(2 * table.fontMetrics().lineSpacing() + 16)
    headers = table.horizontalHeader()
    headers.setHighlightSections(False)
    headers.setMinimumSectionSize(40)
    return table


def _set(item: QtWidgets.QTableWidgetItem, text: str, tip: str) -> None:
    """Change what is different only: each change is painted again."""
    if item.text() != text:
        item.setText(text)
    if item.toolTip() != tip:
        item.setToolTip(tip)


def _set_colour(item: QtWidgets.QTableWidgetItem, colour: QtGui.QColor | None) -> None:
    has_one = item.data(QtCore.Qt.ItemDataRole.ForegroundRole) is not None
    if has_one != (colour is not None):
        brush = None if colour is None else QtGui.QBrush(colour)
        item.setData(QtCore.Qt.ItemDataRole.ForegroundRole, brush)


def _percent(level: float) -> str:
    return f'{100 * level:.1f} %' if level < 0.9995 else '100 %'


def _state_texts(row: BufferRow) -> tuple[str, str]:
    """What the cell says, and the whole story."""
    status = row.status
    text = _STATES.get(status.state, status.state)
    told = f'{status.message[:1].upper()}{status.message[1:]}.' if status.message else ''
    if row.silent_for > _SILENCE_TO_SHOW:
        told = f'The other process does not answer. The last that it told: {text}. {told}'
        return f'no answer\nfor {_duration(row.silent_for)}', told
    if status.state == 'running':
        if status.age is not None and status.age > _QUIET:
            text = f'no samples\nfor {_duration(status.age)}'
        return text, f'Streaming for {_duration(status.running_time)}.'
    if status.state == 'idle':
        return text, 'The stream was not started since it was configured.'
    return text, told


def _settings_text(status: StreamStatus) -> str:
    if not status.channels:
        return '\N{EN DASH}'
    count = len(status.channels)
    channels = f'{count} channels' if count > 1 else status.channels[0]
    rate = '' if status.sample_rate is None else f', {_scaled(status.sample_rate, "Hz")}'
    mode = ', finite' if status.streaming_mode == 'FINITE' else ''
    overwrite = ', overwrites' if status.allow_overwrite else ''
    return f'{channels}{rate}{mode}\n{_scaled(status.ring_size, "samples")}{overwrite}'


class _BarDelegate(QtWidgets.QStyledItemDelegate):
    """Paints a bar for the unread samples, with a line at the highest level, above the text."""

    def paint(
        self,
        painter: QtGui.QPainter,
        option: QtWidgets.QStyleOptionViewItem,
        index: QtCore.QModelIndex | QtCore.QPersistentModelIndex,
    ) -> None:
        # With plain numbers: a rectangle object for each part would cost more than the painting
        fill, peak = index.data(_LEVELS_ROLE) or (0.0, 0.0)
        rect, text_height = option.rect, option.fontMetrics.height()
        left, top, width = rect.left() + 8, rect.top() + 5, rect.width() - 16
        height = rect.height() - text_height - 11
        ink = option.palette.color(QtGui.QPalette.ColorRole.Text)
        frame = QtGui.QColor(ink)
        frame.setAlpha(90)
        painter.save()
        painter.setPen(frame)
        painter.drawRect(left, top, width - 1, height - 1)
        filled = round((width - 2) * min(1.0, fill))
        painter.fillRect(left + 1, top + 1, filled, height - 2, _level_colour(fill))
        if peak > 0:
            mark = left + 1 + round((width - 4) * min(1.0, peak))
            painter.fillRect(mark, top + 1, 2, height - 2, ink)
        painter.setPen(ink)
        baseline = top + height + 2 + option.fontMetrics.ascent()
        painter.drawText(left, baseline, index.data())
        painter.restore()

    def sizeHint(
        self,
        option: QtWidgets.QStyleOptionViewItem,
        index: QtCore.QModelIndex | QtCore.QPersistentModelIndex,
    ) -> QtCore.QSize:
        return QtCore.QSize(200, 2 * option.fontMetrics.lineSpacing() + 16)


def _level_colour(fill: float) -> QtGui.QColor:
    if fill >= _NEARLY_FULL:
        return _RED if fill >= _FULL else _ORANGE
    return _BLUE


class _FillPlot(pg.GraphicsView):
    """Fill level over the last minutes, without axes. It costs little: one curve, fixed ranges."""

    def __init__(self, history: float, parent: QtWidgets.QWidget) -> None:
        super().__init__(parent, background=None)
        self.setFrameShape(QtWidgets.QFrame.Shape.NoFrame)
        self.setAttribute(QtCore.Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        frame = QtGui.QColor(parent.palette().color(QtGui.QPalette.ColorRole.Text))
        frame.setAlpha(60)
        box = pg.ViewBox(enableMouse=False, enableMenu=False, border=pg.mkPen(frame))
        box.setRange(xRange=(-history, 0), yRange=(0, 1.04), padding=0, disableAutoRange=True)
        self._curve = pg.PlotCurveItem(pen=pg.mkPen(_BLUE), antialias=False)
        box.addItem(self._curve)
        self.setCentralItem(box)
        self._history = history
        self._line_at: float | None = None  # where a straight line across all is drawn

    def show_levels(self, ages: np.ndarray, fills: np.ndarray) -> None:
        """Draw fill levels (0 to 1) that were so many seconds ago."""
        is_line = len(fills) > 0 and ages[0] >= self._history and np.ptp(fills) == 0
        if is_line and fills[0] == self._line_at:
            return  # it would only be drawn again
        self._line_at = fills[0] if is_line else None
        self._curve.setData(-ages, fills)
