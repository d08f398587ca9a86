"""Streams across processes: clients of this process, and devices in another one."""

from qudi.util.instream.remote.client import RemoteClient, calling_client
from qudi.util.instream.remote.streamer import RemoteStreamer

__all__ = ['RemoteClient', 'RemoteStreamer', 'calling_client']
