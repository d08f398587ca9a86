"""Lets a tool that traces Python's threads, as coverage does, see what runs in Qt's threads."""

import importlib
import sys
import threading
from collections import deque
from contextlib import suppress
from functools import wraps

__all__ = ['trace_qt_threads']

# By module and class, with the number of arguments
_SLOTS = {
    ('qudi.util.instream.device.thread', '_Worker'): {
        'customEvent': 2,
        'timerEvent': 2,
    },
    ('qudi.logic.instream_monitor_logic', 'InStreamMonitorLogic'): {
        'on_activate': 1,
        'on_deactivate': 1,
        'timerEvent': 2,
        '_take': 2,
    },
}
_tracers: deque = deque()  # used before, and free now


def trace_qt_threads():
    """Trace each slot and event handler that is called there; does nothing without such a tool.

    The tool does not know of these threads, and what is set for one of them is forgotten after each
    slot.
    """
    if not threading.gettrace():
        return
    for (module, name), slots in _SLOTS.items():
        owner = getattr(importlib.import_module(module), name)
        for slot, count in slots.items():
            if not hasattr(getattr(owner, slot), '__wrapped__'):
                _trace(owner, slot, count)


def _trace(owner, name, count):
    slot = getattr(owner, name)
    # Under its name and with its number of arguments, by which PySide2 calls it
    traced = {
        1: lambda self: _call(slot, self),
        2: lambda self, first: _call(slot, self, first),
    }[count]
    setattr(owner, name, wraps(slot)(traced))


def _call(slot, *arguments):
    if sys.gettrace():  # called by another slot, or in a thread of Python
        slot(*arguments)
        return
    tracer = threading.gettrace()
    with suppress(IndexError):
        tracer = _tracers.pop()
    sys.settrace(tracer)
    try:
        slot(*arguments)
    finally:
        _tracers.append(sys.gettrace())
        sys.settrace(None)
