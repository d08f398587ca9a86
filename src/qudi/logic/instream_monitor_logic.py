"""Looks twice a second how all stream buffers of this qudi are doing.

InStreamMonitorLogic  The qudi module.
  sigRowsChanged      what there is to see, one BufferRow per active buffer
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

from qudi.core.configoption import ConfigOption
from qudi.core.module import LogicBase

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

from qudi.util.instream.monitor import BufferRow, LocalBuffer, RemoteBuffer, is_buffer
from qudi.util.instream.monitor_options import check_monitor_options
from qudi.util.instream.versions import refuse_broken_pyside

__all__ = ['InStreamMonitorLogic']

refuse_broken_pyside()

# For how many looks, and for how long at most (s), a process without an answer, or without such an
# active buffer, is left alone
_LOOKS_UNTIL_RETRY, _LONGEST_RETRY_INTERVAL = 10, 5.0


class InStreamMonitorLogic(LogicBase):
    """Collects the status of every stream buffer, those of other processes included.

    Nothing is called but their `status`, which costs them nothing.

    Example config for copy-paste:

    instream_monitor_logic:
        module.Class: 'instream_monitor_logic.InStreamMonitorLogic'
        options:
            update_rate: 2.0  # optional (default: 2.0), looks per second
            history: 300.0    # optional (default: 300.0), seconds of fill levels that are kept
    """

    _update_rate = ConfigOption('update_rate', default=2.0)
    _history = ConfigOption('history', default=300.0)

    sigRowsChanged = QtCore.Signal(object)  # tuple of BufferRow, in the order of the configuration

    def __init__(
        self,
        qudi_main_weakref: Any,
        name: str,
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # First, so that a refused module leaves no Qt object behind for the garbage collector
        check_monitor_options(name, config or {})
        super().__init__(qudi_main_weakref, name, config, **kwargs)
        self._finder: _BufferFinder | None = None
        self._timer = 0
        self._buffers: dict[str, LocalBuffer | RemoteBuffer] = {}
        self._rows: tuple[BufferRow, ...] = ()

    def on_activate(self) -> None:
        """Begin to look. Runs in the thread of this module."""
        self._finder = _BufferFinder(self._qudi_main.module_manager)
        self._finder.sigFound.connect(self._take, QtCore.Qt.ConnectionType.QueuedConnection)
        application = QtCore.QCoreApplication.instance()
        assert application is not None
        self._finder.moveToThread(application.thread())
        self._finder.sigSearch.emit()
        self._timer = self.startTimer(max(1, round(1000 / self._update_rate)))

    def on_deactivate(self) -> None:
        """Look no more. The buffers do not notice."""
        assert self._finder is not None
        self.killTimer(self._timer)
        self._finder.sigFound.disconnect(self._take)
        self._finder.deleteLater()  # by the main thread, which waits for this one
        self._finder = None
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()

    @property
    def rows(self) -> tuple[BufferRow, ...]:
        """What was to be seen at the last look: a BufferRow per active buffer."""
        return self._rows

    @property
    def update_rate(self) -> float:
        """Looks per second."""
        return self._update_rate

    @property
    def _retry_interval(self) -> float:
        """Seconds until a process without an answer, or without the buffer, is asked again."""
        return min(_LONGEST_RETRY_INTERVAL, _LOOKS_UNTIL_RETRY / self._update_rate)

    @property
    def history(self) -> float:
        """Seconds of fill levels that are kept."""
        return self._history

    @QtCore.Slot(object)
    def _take(self, found: dict[str, Any]) -> None:
        """Begin to look at the modules that were found, and let go of those that are gone."""
        before, self._buffers = self._buffers, {}
        for name, target in found.items():
            known = before.get(name)
            if isinstance(target, weakref.ref):
                module = target()
                if module is None:
                    continue
                if known is None or not known.is_of(module):
                    known = LocalBuffer(name, module, self._history)
            elif known is None or not known.is_of(target):
                known = RemoteBuffer(name, target, self._history, self._retry_interval)
            self._buffers[name] = known
        for name, buffer in before.items():
            if self._buffers.get(name) is not buffer:
                buffer.close()

    def timerEvent(self, event: QtCore.QTimerEvent) -> None:
        """Look, and tell what there is to see."""
        # No slot of a QTimer, which PySide2 calls unsafely in a thread
        rows = (buffer.row() for buffer in self._buffers.values())
        self._rows = tuple(row for row in rows if row is not None)
        self.sigRowsChanged.emit(self._rows)


class _BufferFinder(QtCore.QObject):
    """Finds the buffers, in the main thread.

    There, since `ManagedModule.instance` takes a lock that the main thread holds while it waits for
    other threads, the logic's among them. In the main thread itself that lock does not matter.
    """

    # Modules by name: a weak reference, or the address of a module in another process
    sigFound = QtCore.Signal(object)
    sigSearch = QtCore.Signal()

    def __init__(self, module_manager: Any) -> None:
        super().__init__()
        self._module_manager = weakref.ref(module_manager)
        queued = QtCore.Qt.ConnectionType.QueuedConnection
        self.sigSearch.connect(self._search, queued)
        module_manager.sigModuleStateChanged.connect(self._search_again, queued)
        module_manager.sigManagedModulesChanged.connect(self._search_again, queued)
        self._is_searching = False

    @QtCore.Slot()
    def _search_again(self) -> None:
        # After what is being done now: a module is loaded, connected and activated in several steps
        if not self._is_searching:
            self._is_searching = True
            self.sigSearch.emit()

    @QtCore.Slot()
    def _search(self) -> None:
        self._is_searching = False
        manager = self._module_manager()
        if manager is None:
            return
        found: dict[str, Any] = {}
        for name, managed in manager.modules.items():
            if managed.module_base != 'hardware':
                continue
            module = managed.instance
            if module is None:
                continue
            if managed.is_remote:
                # Without a question to it, which might have to wait
                found[name] = managed.remote_url, managed.remote_cert_path, managed.remote_key_path
            elif is_buffer(module):
                found[name] = weakref.ref(module)
        self.sigFound.emit(found)
