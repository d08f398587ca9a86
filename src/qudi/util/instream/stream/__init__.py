"""What one buffer has: settings, ring, stream, status. Free of Qt and of qudi.

BufferOptions   what the configuration says about a buffer
StreamSettings  what a program asked for with `configure`, and when that conflicts
SampleRing      unread samples in one numpy array
Selection       which of a device's samples belong to a stream
BufferedStream  one stream of one buffer, from start to end
StreamReader    the program's side of a stream
StreamTaker     that of a program in another process
StreamStatus    how a stream is doing
StreamEnd       why it ended
TimeLimits      for how long it waits
"""

from qudi.util.instream.stream.errors import naming
from qudi.util.instream.stream.limits import TimeLimits
from qudi.util.instream.stream.overflow import skip
from qudi.util.instream.stream.reader import StreamReader
from qudi.util.instream.stream.ring import SampleRing
from qudi.util.instream.stream.selection import Selection
from qudi.util.instream.stream.settings import BufferOptions, StreamSettings, same_rate
from qudi.util.instream.stream.status import StreamEnd, StreamStatus
from qudi.util.instream.stream.stream import BufferedStream
from qudi.util.instream.stream.taker import StreamTaker

__all__ = [
    'BufferOptions',
    'BufferedStream',
    'SampleRing',
    'Selection',
    'StreamEnd',
    'StreamReader',
    'StreamSettings',
    'StreamStatus',
    'StreamTaker',
    'TimeLimits',
    'naming',
    'same_rate',
    'skip',
]
