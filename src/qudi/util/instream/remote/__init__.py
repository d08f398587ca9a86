"""Streams across processes: clients of this process, buffers and devices in another one.

RemoteDevice    a buffer in another qudi, as a device of this one
StreamService   what a buffer does for it
RemoteStreamer  a device in another qudi, through a remote module of this one
RemoteClient    who has called from another process, and whether it is still there
"""

from qudi.util.instream.remote.client import RemoteClient, calling_client
from qudi.util.instream.remote.device import RemoteDevice
from qudi.util.instream.remote.link import NoBufferError, RemoteStreamError, ServiceConnection
from qudi.util.instream.remote.service import StreamService
from qudi.util.instream.remote.streamer import RemoteStreamer
from qudi.util.instream.remote.wire import Address

__all__ = [
    'Address',
    'NoBufferError',
    'RemoteClient',
    'RemoteDevice',
    'RemoteStreamError',
    'RemoteStreamer',
    'ServiceConnection',
    'StreamService',
    'calling_client',
]
