"""The first path of DataInStreamBuffer, for configurations that name it.

The module itself is under a path that no other package has: qudi.hardware.instream_buffer.buffer.
"""

from qudi.hardware.instream_buffer.buffer import DataInStreamBuffer

__all__ = ['DataInStreamBuffer']
