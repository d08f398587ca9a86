"""Buffers on the simulated device, through qudi's real module manager."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager

import numpy as np
from qudi.interface.data_instream_interface import SampleTiming, StreamingMode

from qudi.hardware.instream_buffer.simulator import foretold_samples, foretold_timestamps
from qudi.util.instream.device import registry


class Bench:
    """A simulated device with buffers on it."""

    def __init__(self, qudi, wait_until, **simulator_options):
        self.qudi = qudi
        self._wait_until = wait_until
        qudi.add(
            'hardware', 'streamer', 'instream_buffer.simulator.InStreamSimulator', simulator_options
        )
        self.device = qudi.activate('streamer')

    def buffer(self, name, **options):
        """An activated buffer that polls fast enough for a test."""
        return self.qudi.add_buffer(name, **{'max_poll_rate': 1000, **options})

    def buffers(self, count, **options):
        return [self.buffer(f'buffer{number}', **options) for number in range(1, count + 1)]

    def wait_for_reader(self, buffer, readers=1):
        """Wait until reads of this buffer wait for samples."""
        self._wait_until(
            lambda: len(buffer.stream.readers.waiting) == readers,
            f'{readers} reads began to wait',
        )

    def produce(self, count):
        """Make samples, and wait until the buffers have taken them."""
        target = self.device.produced + count
        self.device.produce(count)
        self._wait_until(lambda: self.device.taken == target, f'the buffers took {count} samples')
        self.let_poll_finish()

    @staticmethod
    @contextmanager
    def start_with_slow_log(buffer):
        """Start a buffer, and let its reports wait for a log handler that takes its time.

        No report is made meanwhile, its changes of state among them.
        """
        is_logging, go_on = threading.Event(), threading.Event()

        def wait(record):
            if record.getMessage().startswith(f'"{buffer.module_name}" streams from'):
                is_logging.set()
                assert go_on.wait(20)
            return True

        logger = logging.getLogger('qudi.util.instream.device.reports')
        logger.addFilter(wait)
        try:
            buffer.start_stream()
            assert is_logging.wait(10), f'the start of {buffer.module_name} was not logged'
            yield
        finally:
            logger.removeFilter(wait)
            go_on.set()

    @staticmethod
    def let_poll_finish():
        """Wait until the poll that took the last samples has handed them out."""
        for distributor in registry.distributors():
            distributor.thread.run(lambda: None, 'The test')

    def assert_streams(self, buffer):
        """Check that a start, a few samples and a stop are possible."""
        buffer.start_stream()
        self.produce(5)
        self.assert_delivers(buffer, 0, 5)
        buffer.stop_stream()

    def assert_delivers(self, buffer, first, count):
        """Read and compare with what the device made from sample `first` on."""
        data, timestamps = buffer.read_data(count)
        channels = buffer.active_channels
        expected = foretold_samples(first, count, channels, buffer.constraints.data_type)
        received = data.reshape(-1, len(channels))
        wrong = np.flatnonzero((received != expected).any(axis=1))
        assert not len(wrong), (
            f'{buffer.module_name} got {received[wrong[0]]} as sample {first + wrong[0]}, '
            f'the device made {expected[wrong[0]]}'
        )
        if buffer.constraints.sample_timing is SampleTiming.TIMESTAMP:
            assert timestamps.dtype == np.float64
            of_device = timestamps + buffer.status.timestamp_offset
            wrong = np.abs(of_device - foretold_timestamps(first, count)).max(initial=0.0)
            assert wrong < 1e-9, f'timestamps are wrong by up to {wrong:g} s'
        else:
            assert timestamps is None


def configure(buffer, channels=('a', 'b'), mode=StreamingMode.CONTINUOUS, size=1000, rate=100.0):
    buffer.configure(channels, mode, size, rate)
