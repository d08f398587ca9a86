"""Waits for tests without Qt."""

from __future__ import annotations

import time

__all__ = ['wait_for_reader', 'wait_until']


def wait_until(condition, what):
    """Wait for a condition; say what was waited for in vain."""
    end = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < end, f'waited 10 s in vain: {what}'
        time.sleep(0.001)


def wait_for_reader(stream, readers=1):
    """Wait until reads of a BufferedStream wait for samples."""
    wait_until(lambda: len(stream.readers.waiting) >= readers, f'{readers} reads began to wait')
