"""Keeps a hardware module from being started by another program while buffers stream from it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ['StartGuard', 'is_refusal', 'wiring_hint']


def wiring_hint(streamer_name: str) -> str:
    """Say in one sentence how several programs share a device."""
    return (
        f'Connect each program to a DataInStreamBuffer of its own instead of to '
        f'"{streamer_name}"; all these buffers are in the qudi that has "{streamer_name}" itself, '
        f'and a program in another qudi has one of them as its remote module (allow_remote: True)'
    )


def is_refusal(error: BaseException) -> bool:
    """Whether a guard, perhaps one in another process, has refused to start its module."""
    return getattr(error, 'streamer_is_taken', False) is True


def _refusal(text: str) -> RuntimeError:
    error = RuntimeError(text)
    vars(error)['streamer_is_taken'] = True  # comes through rpyc; a class of ours would not
    return error


class StartGuard:
    """Stands in for `start_stream` of one module, for all but those who claim the module.

    Most devices only log a warning when they are started a second time, and two readers would each
    get a part of the stream. While the module is idle, others start it as ever.

    Parameters
    ----------
    streamer : DataInStreamInterface
        A hardware module of this process.
    name : str
        Its name, for messages.
    """

    def __init__(self, streamer: Any, name: str) -> None:
        method = streamer.start_stream
        self._name = name
        # Weakly, and without the bound method: the module keeps this guard, not the other way round
        self._module: Callable[[], Any] = weakref.ref(method.__self__)
        self._function = method.__func__
        self._is_claimed = False
        self.started_elsewhere = False  # what runs, if anything, was started by another program
        # Has one item while a program starts the module. `setdefault` decides at once who is first.
        self._starting: dict[str, object] = {}
        with suppress(AttributeError):  # of one that is overloaded for several interfaces
            method.__self__.start_stream = self._start_for_others

    def remove(self) -> None:
        """Give the module back as it was."""
        module = self._module()
        if module is not None and vars(module).get('start_stream') == self._start_for_others:
            del module.start_stream

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Keep all others from starting the module meanwhile.

        Raises
        ------
        RuntimeError
            If another program is about to start it.
        """
        ticket = object()
        if self._starting.setdefault('ticket', ticket) is not ticket:
            raise _refusal(
                f'"{self._name}" is being started by another program at this moment. '
                f'{wiring_hint(self._name)}'
            )
        try:
            yield
        finally:
            del self._starting['ticket']

    def start_stream(self) -> None:
        """Start the module and claim it."""
        self._is_claimed, self.started_elsewhere = True, False
        self._function(self._module())

    def release(self) -> None:
        """Let others start the module again."""
        self._is_claimed = False

    def _start_for_others(self) -> None:
        with self.starting():
            if self._is_claimed:
                raise _refusal(
                    f'"{self._name}" cannot be started a second time: buffers of its qudi stream '
                    f'from it, and a second reader would take a part of their samples away. '
                    f'{wiring_hint(self._name)}'
                )
            module = self._module()
            if module.module_state() == 'locked':
                raise _refusal(
                    f'"{self._name}" cannot be started a second time: a program streams from it '
                    f'already, perhaps in another process, and a second reader would take a part '
                    f'of the samples away. {wiring_hint(self._name)}'
                )
            self._function(module)
            self.started_elsewhere = True
