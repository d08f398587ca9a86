"""The status of buffers, here and in other processes, for the monitor's logic."""

from qudi.util.instream.monitor.watch import (
    BufferRow,
    LocalBuffer,
    RemoteBuffer,
    fill_level,
    is_buffer,
)

__all__ = [
    'BufferRow',
    'LocalBuffer',
    'RemoteBuffer',
    'fill_level',
    'is_buffer',
]
