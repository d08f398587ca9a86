"""Lets a tool that traces Python's threads, as coverage does, see what runs in Qt's threads."""

import sys
import threading
from collections import deque
from contextlib import suppress
from functools import wraps

from qudi.logic.instream_monitor_logic import InStreamMonitorLogic
from qudi.util.instream.poller import _PollTimer

__all__ = ['trace_qt_threads']

_SLOTS = {
    _PollTimer: {'_set_pace': 3, '_schedule': 1, '_tick': 1, '_quit': 1},
    InStreamMonitorLogic: {'on_activate': 1, 'on_deactivate': 1, '_look': 1, '_take': 2},
}


def trace_qt_threads():
    """Trace each slot that is called there; does nothing without such a tool.

    The tool does not know of these threads, and what is set for one of them is forgotten after each
    slot.
    """
    if not threading.gettrace():
        return
    tracers = deque()  # used before, and free now

    def call(slot, *arguments):
        if sys.gettrace():  # called by another slot, or in a thread of Python
            slot(*arguments)
            return
        tracer = threading.gettrace()
        with suppress(IndexError):
            tracer = tracers.pop()
        sys.settrace(tracer)
        try:
            slot(*arguments)
        finally:
            tracers.append(sys.gettrace())
            sys.settrace(None)

    def trace(owner, name, count):
        slot = getattr(owner, name)
        # Under its name and with its number of arguments, by which PySide2 calls it
        traced = {
            1: lambda self: call(slot, self),
            2: lambda self, first: call(slot, self, first),
            3: lambda self, first, second: call(slot, self, first, second),
        }[count]
        setattr(owner, name, wraps(slot)(traced))

    for owner, slots in _SLOTS.items():
        for name, count in slots.items():
            trace(owner, name, count)
