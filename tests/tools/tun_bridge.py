"""A cable between two network namespaces that delays and loses packets, and can be taken out.

python tests/tools/tun_bridge.py NAMESPACE1 NAMESPACE2

Linux, as root. Each namespace gets a network interface `cable`. Lines on the standard input set
what the cable is like: `delay 0.05` (seconds, one way), `loss 0.01` (share of the packets), `out`
and `in`. The answer is a line `ok`. It ends with its input.
"""

import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_MOST_WAITING = 10_000  # packets, as in the queue of a router


def open_end(namespace):
    """Open one end of the cable: a network interface whose packets are read and written here."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f'/var/run/netns/{namespace}') as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), 'setns')
    end = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack('16sH', b'cable', _IFF_TUN | _IFF_NO_PI))
    return end


class Cable:
    """Carries packets from one end to the other."""

    def __init__(self, ends):
        self.ends = ends
        self._delay, self._loss, self._is_out = 0.0, 0.0, False
        self._waiting = deque()  # (due, end, packet)

    def set(self, what, value='0'):
        if what == 'delay':
            self._delay = float(value)
        elif what == 'loss':
            self._loss = float(value)
        else:
            self._is_out = what == 'out'

    def carry(self):
        """Take what has come, and hand over what is due; return the seconds until the next."""
        for number, end in enumerate(self.ends):
            for _ in range(64):
                try:
                    packet = os.read(end, 65536)
                except BlockingIOError:
                    break
                is_lost = self._loss and random.random() < self._loss
                if not is_lost and not self._is_out and len(self._waiting) < _MOST_WAITING:
                    due = time.perf_counter() + self._delay
                    self._waiting.append((due, self.ends[1 - number], packet))
        now = time.perf_counter()
        while self._waiting and self._waiting[0][0] <= now:
            _, end, packet = self._waiting.popleft()
            if not self._is_out:
                try:
                    os.write(end, packet)
                except OSError:  # the interface is down, or its queue is full
                    continue
        return max(0.0, self._waiting[0][0] - now) if self._waiting else None


def main():
    cable = Cable([open_end(namespace) for namespace in sys.argv[1:3]])
    lines = os.fdopen(0, 'rb', buffering=0)
    print('ok', flush=True)
    while True:
        timeout = cable.carry()
        readable, _, _ = select.select([0, *cable.ends], [], [], timeout)
        if 0 in readable:
            line = lines.readline().decode()
            if not line:
                return
            cable.set(*line.split())
            print('ok', flush=True)


if __name__ == '__main__':
    main()
