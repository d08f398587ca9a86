"""Measure what docs/remote.md says: losses, processor time, and how soon a dead client is noticed.

    python tests/tools/measure_remote.py [--seconds 20] [--unreachable]

--unreachable puts server and client into network namespaces of their own and takes the cable out;
Linux only, as root.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / 'helpers'))
os.environ.setdefault('QT_QPA_PLATFORM', 'offscreen')

from remotes import Server, expect_frames, start_together, stop_all

RATE = 200e3
SERVER, CLIENT = 'instream-server', 'instream-client'


def rows(seconds, folder):
    server = Server(folder / 'server')
    client = server.client(folder / 'client', 'buffer1')
    try:
        yield from throughput(server, client, seconds)
        yield from responses(server, client)
        client.quit()
        yield from detection(server, folder)
    finally:
        client.close()
        server.close()


def throughput(server, client, seconds):
    start_together(RATE, (client, 'logic'))
    expect_frames(10, (client, 'logic'))
    client.ask('records["logic"].restart()')
    before = [process.ask('time.process_time()') for process in (server, client)]
    began = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - began
    after = [process.ask('time.process_time()') for process in (server, client)]
    record = client.ask("record('logic')")
    stop_all((client, 'logic'))
    used = [f'{100 * (b - a) / elapsed:.0f} %' for a, b in zip(before, after, strict=True)]
    yield f'{RATE:.0f} S/s x 2 channels for {elapsed:.1f} s'
    yield f'  read rate        {record["rate"]:.0f} S/s ({record["rate"] / RATE - 1:+.2%})'
    yield f'  gaps, repeats    {len(record["faults"])}'
    yield f'  frames           {record["frames"]}'
    yield f'  processor time   server {used[0]}, client {used[1]} of one core'


def responses(server, client):
    """How long the main thread of a client waits for one property, while its logic reads."""
    for rate, frame_rate in ((1000.0, 20), (5.0, 5), (1.0, 1)):
        server.ask("module('streamer').faults.clear()")
        client.ask(f"setattr(module('logic'), '_max_frame_rate', {frame_rate})")
        start_together(rate, (client, 'logic'))
        worst, mean = client.ask("main_thread_waits('buffer1', 5.0)")
        stop_all((client, 'logic'))
        yield (
            f'logic at {rate:g} S/s, {frame_rate} frames/s: the main thread waits for an answer '
            f'{1e3 * mean:.1f} ms in the mean, {1e3 * worst:.0f} ms at most'
        )
    client.ask("setattr(module('logic'), '_max_frame_rate', 20)")


def detection(server, folder):
    for what, faults in (('data flowing', []), ('no data', ['stall'])):
        times = []
        for number in range(5):
            doomed = server.client(folder / f'{what}{number}', 'buffer1')
            start_together(1000.0, (doomed, 'logic'), (server, 'logic3'))
            for fault in faults:
                server.ask(f"module('streamer').faults.add('{fault}')")
                time.sleep(2.3)
            doomed.kill()
            times.append(time_until_idle(server, time.perf_counter()))
            server.ask("module('streamer').faults.clear()")
            expect_frames(3, (server, 'logic3'))
            stop_all((server, 'logic3'))
            doomed.close()
        yield f'client killed, {what}: idle after ' + ', '.join(f'{t:.2f} s' for t in times)


def time_until_idle(server, since, patience=60.0):
    server.wait_until("state('buffer1') == 'idle'", timeout=patience)
    return time.perf_counter() - since


def unreachable(folder):
    """Take the cable out between a client and its server."""

    def run(command):
        subprocess.run(command.split(), check=True)

    try:
        for name in (SERVER, CLIENT):
            run(f'ip netns add {name}')
            run(f'ip -n {name} link set lo up')
        run(f'ip link add cable-s netns {SERVER} type veth peer name cable-c netns {CLIENT}')
        for name, end, address in ((SERVER, 'cable-s', 1), (CLIENT, 'cable-c', 2)):
            run(f'ip -n {name} addr add 10.77.7.{address}/24 dev {end}')
            run(f'ip -n {name} link set {end} up')
        for what, faults in (('data flowing', []), ('no data', ['stall'])):
            server = Server(
                folder / f'far server {what}',
                address='10.77.7.1',
                prefix=('ip', 'netns', 'exec', SERVER),
            )
            client = server.client(
                folder / f'far client {what}', 'buffer1', prefix=('ip', 'netns', 'exec', CLIENT)
            )
            try:
                start_together(1000.0, (client, 'logic'), (server, 'logic3'))
                for fault in faults:
                    server.ask(f"module('streamer').faults.add('{fault}')")
                    time.sleep(2.3)
                run(f'ip -n {CLIENT} link set cable-c down')
                seconds = time_until_idle(server, time.perf_counter())
                yield f'cable out, {what}: idle after {seconds:.1f} s'
                server.ask("module('streamer').faults.clear()")
                began = time.perf_counter()
                code = server.quit()
                yield f'  server quits with {code} in {time.perf_counter() - began:.1f} s'
                run(f'ip -n {CLIENT} link set cable-c up')
            finally:
                client.close()
                server.close()
    finally:
        for name in (SERVER, CLIENT):
            subprocess.run(['ip', 'netns', 'del', name], check=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--unreachable', action='store_true')
    options = parser.parse_args()
    print(platform.platform(), 'Python', platform.python_version(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        for row in unreachable(path) if options.unreachable else rows(options.seconds, path):
            print(row, flush=True)


if __name__ == '__main__':
    main()
