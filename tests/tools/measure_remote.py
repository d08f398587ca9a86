"""Measure what docs/remote.md says, for all ways to read a buffer of another qudi.

    python tests/tools/measure_remote.py [--network] [--ways A B new]

A     a program on a remote module of qudi
B     a program on a local buffer that is on a remote module
new   a program on a RemoteInStream

Server and client are processes on this computer. With --network they are on two computers, as far
as they can see, and the cable between them is slow, loses packets, and is taken out; Linux only, as
root. Last come the transports alone.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / 'helpers'), str(TESTS / 'benchmarks'), str(TESTS / 'tools')]
os.environ.setdefault('QT_QPA_PLATFORM', 'offscreen')

from networks import Network  # noqa: E402
from ports import free_port  # noqa: E402
from remotes import QudiProcess, RemoteError, buffer_entry, remote_entry, stream_entry  # noqa: E402
from transports import transports  # noqa: E402

SAMPLE_BYTES = 16  # two channels of float64
WAYS = ('A', 'B', 'new')
LADDER = (3e3, 10e3, 30e3, 100e3, 300e3, 700e3, 1.5e6, 3e6, 4e6, 6e6, 8e6)  # samples per second


class Pair:
    """A server with a device, and a client that reads one of its buffers in one of the ways."""

    def __init__(self, way, folder, network=None):
        self.way, self._network = way, network
        host = '127.0.0.1' if network is None else network.server_address
        self.port = free_port()
        self.server = QudiProcess(
            folder / 'server',
            {
                'streamer': {'module.Class': 'instream_source.InStreamSource'},
                'shared': buffer_entry(read_timeout=None),
                'local': buffer_entry(read_timeout=None),
            },
            startup=['shared', 'local'],
            remote_modules_server={'address': host, 'port': self.port},
            network=None if network is None else network.server,
        )
        remote = {**remote_entry(self.port, 'shared'), 'address': host}
        hardware = {
            'A': {'program': remote},
            'B': {'far': remote, 'program': buffer_entry('far', False, read_timeout=None)},
            'new': {'program': stream_entry(self.port, 'shared', host=host, read_timeout=None)},
        }[way]
        self.client = QudiProcess(
            folder / 'client',
            hardware,
            startup=['program'],
            network=None if network is None else network.client,
        )

    def close(self):
        self.client.close()
        self.server.close()

    def read(self, rate, seconds, block=None, where=None, patience=60):
        """Have blocks read; return what came."""
        process, buffer = where or (self.client, 'program')
        block = block or max(1, int(rate / 20))
        return process.ask(
            f'consume({buffer!r}, {rate}, {block}, {seconds})', timeout=seconds + patience
        )

    def ages(self, found):
        """How old the last samples of blocks were when they came (s)."""
        times = [at for at, _ in found['blocks']]
        values = [value for _, value in found['blocks']]
        return self.server.ask(f"list(module('streamer').ages({times}, {values}))")

    def most(self):
        """The highest rate (S/s) that is read without loss, and the age of its samples (s)."""
        best = (0.0, 0.0)
        for rate in LADDER:
            found = self.read(rate, 4.0)
            if found['error'] or found['count'] < 0.9 * rate * 4.0:
                break
            best = (rate, found['lag'])
        return best


def on_one_computer(way, folder):
    pair = Pair(way, folder)
    server, client = pair.server, pair.client
    try:
        there = pair.ages(pair.read(1000.0, 6.0, where=(server, 'local')))
        here = pair.ages(pair.read(1000.0, 6.0))
        yield 'age at 1000 S/s, program in the server: median', ms(statistics.median(there))
        yield 'age at 1000 S/s: median', ms(statistics.median(here))
        for rate in (1000.0, 200e3):
            before = [process.ask('time.process_time()') for process in (server, client)]
            began = time.perf_counter()
            pair.read(rate, 6.0)
            elapsed = time.perf_counter() - began
            after = [process.ask('time.process_time()') for process in (server, client)]
            used = [f'{100 * (b - a) / elapsed:.0f} %' for a, b in zip(before, after, strict=True)]
            yield f'processor at {rate:g} S/s: server, client', ', '.join(used)
        yield from pauses(pair)
        server.ask("module('streamer').make_noise()")
        rate, lag = pair.most()
        yield 'most without loss, noise', f'{rate * SAMPLE_BYTES / 1e6:.0f} MB/s ({ms(lag)} old)'
    finally:
        pair.close()


def pauses(pair):
    """How long the main thread of the client stands still."""
    client = pair.client
    client.ask('heart.begin()')
    time.sleep(6)
    yield 'main thread stands still, nothing streams', ms(client.ask('heart.end()'))
    looking = "look_every(0.1, lambda: module('program').constraints)"
    for what, rate, seconds, look in (
        ('5 S/s, current value shown', 5.0, 6.0, looking),
        ('1000 S/s', 1000.0, 6.0, 'None'),
        ('no samples for 8 s', 0.1, 8.0, 'None'),
    ):
        client.ask(f'heart.begin({look})')
        call = client.begin(f"consume('program', {rate}, {max(1, int(rate / 5))}, {seconds})")
        time.sleep(seconds)
        longest = client.ask('heart.end()')
        call()
        yield f'main thread stands still, {what}', ms(longest)


def over_a_network(way, folder):
    network = Network()
    try:
        pair = Pair(way, folder, network)
        try:
            call = pair.client.begin("consume('program', 1000.0, 50, 10.0)")
            time.sleep(3)
            before, began = network.traffic(), time.perf_counter()
            time.sleep(6)
            traffic, elapsed = network.traffic() - before, time.perf_counter() - began
            call()
            share = traffic / (elapsed * 1000.0 * SAMPLE_BYTES)
            yield 'bytes on the wire per byte of samples, 1000 S/s', f'{share:.2f}'
            for round_trip, loss in ((0.02, 0.0), (0.1, 0.0), (0.1, 0.01)):
                network.set(round_trip, loss)
                rate, lag = pair.most()
                name = f'RTT {ms(round_trip)}' + (f', {loss:.0%} lost' if loss else '')
                yield f'most at {name}', f'{rate / 1e3:.0f} kS/s ({ms(lag)} old)'
        finally:
            pair.close()
        for what, seconds in (('server stopped for 30 s', 30.0), ('cable out for 60 s', 60.0)):
            network.set()
            yield from fault(way, folder / what, network, what, seconds)
    finally:
        network.close()


def fault(way, folder, network, what, seconds):
    pair = Pair(way, folder, network)
    try:
        pair.client.ask('heart.begin(None)')
        pair.client.begin(f"consume('program', 1000.0, 50, {seconds + 5})")
        time.sleep(2)
        network.take_out() if 'cable' in what else pair.server.freeze()
        time.sleep(seconds)
        network.put_in() if 'cable' in what else pair.server.thaw()
        time.sleep(2)
        yield f'{what}: main thread stands still', ms(pair.client.ask('heart.end()', 120))
        yield f'{what}: quits', quitting(pair.client)
    finally:
        pair.close()


def quitting(process):
    began = time.perf_counter()
    try:
        process.quit(20)
    except Exception as error:
        return f'not within 20 s ({type(error).__name__})'
    return f'within {time.perf_counter() - began:.1f} s'


def ms(seconds):
    return f'{1e3 * seconds:.1f} ms' if seconds < 0.01 else f'{1e3 * seconds:.0f} ms'


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--network', action='store_true')
    parser.add_argument('--ways', nargs='+', choices=WAYS, default=WAYS)
    options = parser.parse_args()
    print(platform.platform(), 'Python', platform.python_version(), flush=True)
    measure = over_a_network if options.network else on_one_computer
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in options.ways:
            try:
                for name, value in measure(way, Path(folder) / way):
                    rows.setdefault(name, {})[way] = value
                    print(f'{way:4} {name}: {value}', flush=True)
            except (AssertionError, RemoteError) as error:
                print(f'{way:4} fails: {str(error)[:200]}', flush=True)
    print('\n| | ' + ' | '.join(options.ways) + ' |\n|' + ' --- |' * (len(options.ways) + 1))
    for name, values in rows.items():
        print(f'| {name} | ' + ' | '.join(values.get(way, 'fails') for way in options.ways) + ' |')
    if not options.network:
        print()
        for name, rate in transports():
            print(f'transport alone, {name}: {rate / 1e6:.0f} MB/s', flush=True)


if __name__ == '__main__':
    main()
