"""How fast samples go from one process to another: ways of rpyc, and others for comparison."""

import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import rpyc
import zmq
from qudi.util.network import netobtain
from rpyc.core.service import VoidService
from rpyc.utils.factory import connect_channel
from rpyc.utils.server import ThreadedServer

from qudi.util.instream.host import calling_connection, channel_of
from qudi.util.instream.remote.wire import PlainChannel, WholeStream, quicken

__all__ = ['transports']

SIZE = 50_000  # samples of two channels: 0.8 MB
SECONDS = 2.0
CONFIG = {'allow_all_attrs': True, 'allow_pickle': True}


class _Service(rpyc.Service):
    def __init__(self):
        self._noise = np.random.default_rng(1).standard_normal((SIZE, 2))

    def exposed_quicken(self):
        quicken(_caller())

    def exposed_send_array(self):
        channel_of(_caller()).send_array(self._noise)

    def exposed_array(self):
        return self._noise.copy()

    def exposed_bytes(self):
        return self._noise.tobytes()


def _caller():
    return calling_connection()


def serve():
    """Serve on three ports, which are printed, until the input ends."""
    service = _Service()
    server = ThreadedServer(service, hostname='127.0.0.1', port=0, protocol_config=CONFIG)
    threading.Thread(target=server.start, daemon=True).start()
    plain = socket.create_server(('127.0.0.1', 0))
    threading.Thread(target=_serve_plain, args=(plain, service), daemon=True).start()
    answers = zmq.Context().socket(zmq.REP)
    zmq_port = answers.bind_to_random_port('tcp://127.0.0.1')
    threading.Thread(target=_serve_zmq, args=(answers, service), daemon=True).start()
    print(server.port, plain.getsockname()[1], zmq_port, flush=True)
    sys.stdin.read()
    os._exit(0)


def _serve_plain(listener, service):
    connection, _ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while connection.recv(1):
        connection.sendall(service.exposed_bytes())


def _serve_zmq(answers, service):
    while True:
        answers.recv()
        answers.send(service.exposed_bytes(), copy=False)


def transports():
    """Yield names, and bytes per second."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        ports = [int(port) for port in process.stdout.readline().split()]
        yield from _measure(*ports)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _measure(rpyc_port, plain_port, zmq_port):
    slow = rpyc.connect('127.0.0.1', rpyc_port, config=CONFIG)
    array, whole = slow.root.array, slow.root.bytes
    yield "rpyc with qudi's netobtain (the way before)", _rate(lambda: netobtain(array()))
    yield 'rpyc, raw bytes', _rate(whole)
    slow.close()
    sock = socket.create_connection(('127.0.0.1', rpyc_port))
    quick = connect_channel(PlainChannel(WholeStream(sock)), VoidService, CONFIG)
    quick.root.quicken()
    array, whole, send_array = quick.root.array, quick.root.bytes, quick.root.send_array
    yield 'rpyc without zlib and at once, netobtain', _rate(lambda: netobtain(array()))
    yield 'rpyc without zlib and at once, raw bytes', _rate(whole)
    channel = channel_of(quick)
    yield 'the new way', _rate(lambda: (send_array(), channel.arrays.popleft()))
    quick.close()
    requests = zmq.Context().socket(zmq.REQ)
    requests.connect(f'tcp://127.0.0.1:{zmq_port}')
    yield 'pyzmq', _rate(lambda: (requests.send(b'?'), requests.recv())[1])
    plain = socket.create_connection(('127.0.0.1', plain_port))
    yield 'plain socket', _rate(lambda: _ask_plain(plain))


def _ask_plain(plain):
    plain.sendall(b'?')
    data = bytearray(16 * SIZE)
    rest = memoryview(data)
    while rest:
        rest = rest[plain.recv_into(rest) :]
    return data


def _rate(read):
    read()
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + SECONDS:
        read()
        count += 1
    return 16 * SIZE * count / (time.perf_counter() - began)


if __name__ == '__main__':
    serve()
