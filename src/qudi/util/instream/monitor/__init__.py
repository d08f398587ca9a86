"""The status of buffers, here and in other processes, for the monitor's logic."""

from qudi.util.instream.monitor.watch import (
    BufferRow,
    History,
    LocalBuffer,
    RemoteBuffer,
    fill_level,
    is_buffer,
)

__all__ = [
    'BufferRow',
    'History',
    'LocalBuffer',
    'RemoteBuffer',
    'fill_level',
    'is_buffer',
]
