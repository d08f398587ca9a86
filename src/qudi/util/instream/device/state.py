"""Whether a device runs, as far as its module state tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
from qtpy import QtCore

__all__ = ['DeviceState']


class DeviceState:
    """The state of a hardware module. Some modules never lock it, as those of simple readers.

    Parameters
    ----------
    streamer : DataInStreamInterface
        The hardware module.
    name : str
        Its name, for messages.
    """

    def __init__(self, streamer: Any, name: str) -> None:
        self._streamer = streamer
        self._name = name
        self._is_started = False  # from here
        # By the module; known from the first start on, of a buffer at once
        self.is_kept = True if getattr(streamer, 'locks_module_state', None) is True else None

    @property
    def _state(self) -> str:
        return str(self._streamer.module_state())

    @property
    def is_running(self) -> bool:
        """Whether the device streams, also when it was started elsewhere, as far as known."""
        return self._state == 'locked' or (self._is_started and self.is_kept is False)

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Watch the state while the device is started."""
        self._is_started = True
        if self.is_kept:
            yield
            return
        changes: list[object] = []  # tell a module that has stopped from one without a state
        try:
            with _connected(self._streamer.module_state, changes.append):
                yield
        finally:
            if changes or self._state == 'locked':
                self.is_kept = True
        if self.is_kept is None:
            self.is_kept = False

    def stopped(self) -> None:
        """Note that the device was stopped from here."""
        self._is_started = False

    def check_running(self) -> None:
        """Raise RuntimeError if the device does not run any more."""
        if not self.is_running:
            raise RuntimeError(
                f'"{self._name}" is {self._state} instead of running: another program has stopped '
                f'it, or it stopped itself after an error. See its own log lines'
            )


@contextmanager
def _connected(module_state: Any, slot: Callable[[object], None]) -> Iterator[None]:
    """Have a slot called at each change of a state, in the thread of the change.

    PySide2 5.15 crashes if another thread emits the signal while this connects or disconnects.
    """
    signal = getattr(module_state, 'sigStateChanged', None)
    if signal is None:  # in another process
        yield
        return

    def call(value: object) -> None:
        slot(value)

    signal.connect(call, QtCore.Qt.ConnectionType.DirectConnection)
    try:
        yield
    finally:
        signal.disconnect(call)
