"""Ports for qudi processes of tests."""

import random
import socket
from contextlib import suppress

__all__ = ['free_port']


def free_port() -> int:
    """Return a port that nobody listens on, and that the system gives to nobody else meanwhile."""
    while True:
        # Below those for outgoing connections, from which a test beside this one may be given it
        port = random.SystemRandom().randrange(20000, 30000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(('127.0.0.1', port))
            return port
