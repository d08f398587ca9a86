"""A window that shows how every stream buffer is doing."""

from __future__ import annotations

from typing import Any

from qudi.core.connector import Connector
from qudi.core.module import GuiBase

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

from qudi.gui.instream_monitor.monitor_window import MonitorWindow
from qudi.util.instream.versions import refuse_broken_pyside

__all__ = ['InStreamMonitorGui']

refuse_broken_pyside()


class InStreamMonitorGui(GuiBase):
    """Window with one row per active stream buffer. Closing it stops nothing.

    Example config for copy-paste:

    instream_monitor_gui:
        module.Class: 'instream_monitor.instream_monitor_gui.InStreamMonitorGui'
        connect:
            monitor_logic: 'instream_monitor_logic'
    """

    _monitor_logic = Connector(name='monitor_logic', interface='InStreamMonitorLogic')

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._mw: MonitorWindow | None = None

    def on_activate(self) -> None:
        """Open the window and fill it."""
        logic = self._monitor_logic()
        self._mw = MonitorWindow(logic.history)
        # To the window itself: the connection ends with it, and with it only
        logic.sigRowsChanged.connect(self._mw.take_rows, QtCore.Qt.ConnectionType.QueuedConnection)
        self._mw.show_rows(logic.rows)
        self._restore_window_geometry(self._mw)
        self.show()

    def on_deactivate(self) -> None:
        """Close the window and remember where it was."""
        assert self._mw is not None
        self._save_window_geometry(self._mw)
        self._mw.close()
        self._mw.deleteLater()
        self._mw = None

    def show(self) -> None:
        """Make the window visible, above all others."""
        assert self._mw is not None
        self._mw.show()
        self._mw.raise_()
        self._mw.activateWindow()
