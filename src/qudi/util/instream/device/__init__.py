"""The thread that owns a device, and what it does for the buffers of that device.

registry           one StreamDistributor per hardware module
StreamDistributor  starts, reads, stops and configures the device, for all its buffers
Member             what it knows of one activated buffer
BufferReports      tells what becomes of a buffer's streams
"""

from qudi.util.instream.device import registry
from qudi.util.instream.device.distributor import StreamDistributor
from qudi.util.instream.device.members import Member
from qudi.util.instream.device.reports import BufferReports

__all__ = ['BufferReports', 'Member', 'StreamDistributor', 'registry']
