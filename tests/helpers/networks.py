"""Two network namespaces, as two computers, with a cable between them. Linux, as root."""

import os
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ['Network', 'is_possible']

BRIDGE = Path(__file__).parents[1] / 'tools' / 'tun_bridge.py'


def is_possible():
    """Whether this user may make networks here."""
    return sys.platform == 'linux' and os.geteuid() == 0 and os.path.exists('/dev/net/tun')


class Network:
    """Two computers, `server` and `client`: the names of their network namespaces."""

    server_address, client_address = '10.77.7.1', '10.77.7.2'

    def __init__(self):
        mark = uuid.uuid4().hex[:6]
        self._names = [f'instream-{side}-{mark}' for side in ('server', 'client')]
        self.server, self.client = self._names
        for name in self._names:
            _run('ip', 'netns', 'add', name)
            _run('ip', '-n', name, 'link', 'set', 'lo', 'up')
        self._bridge = subprocess.Popen(
            [sys.executable, str(BRIDGE), *self._names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._bridge.stdout.readline()
        for name, address in zip(
            self._names, (self.server_address, self.client_address), strict=True
        ):
            _run('ip', '-n', name, 'addr', 'add', f'{address}/24', 'dev', 'cable')
            _run('ip', '-n', name, 'link', 'set', 'cable', 'mtu', '1500', 'up')

    def set(self, round_trip=0.0, loss=0.0):
        """Delay packets, and lose a share of them."""
        self._tell(f'delay {round_trip / 2}')
        self._tell(f'loss {loss}')

    def take_out(self):
        """Take the cable out: neither side is told."""
        self._tell('out')

    def put_in(self):
        self._tell('in')

    def traffic(self):
        """Bytes that went over the cable in both directions, with all headers."""
        text = subprocess.run(
            ['ip', 'netns', 'exec', self.client, 'cat', '/proc/net/dev'],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        (line,) = (line for line in text.splitlines() if line.strip().startswith('cable:'))
        numbers = line.split(':')[1].split()
        return int(numbers[0]) + int(numbers[8])

    def _tell(self, line):
        self._bridge.stdin.write(line + '\n')
        self._bridge.stdin.flush()
        assert self._bridge.stdout.readline() == 'ok\n', 'the cable does not answer'

    def close(self):
        with suppress(OSError):
            self._bridge.stdin.close()
        self._bridge.wait(10)
        self._bridge.stdout.close()
        for name in self._names:
            subprocess.run(['ip', 'netns', 'del', name], check=False)


def _run(*command):
    subprocess.run(command, check=True)
