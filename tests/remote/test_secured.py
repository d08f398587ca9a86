"""What a server with certificates lets in, with qudi alone and with the program of this project."""

import os
import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rpyc
from qudi.util.yaml import yaml_dump

from ports import free_port
from qudi.util.instream.remote import Address, RemoteDevice
from remotes import (
    SIMULATOR,
    QudiProcess,
    RemoteError,
    Server,
    expect_frames,
    remote_entry,
    start_together,
    stop_all,
)

LEAN = str(Path(__file__).parents[1] / 'helpers' / 'lean')
GUIDE = (Path(__file__).parents[2] / 'docs' / 'remote.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    """Self-signed certificates, made with the commands of docs/remote.md."""
    folder = tmp_path_factory.mktemp('certificates')
    (command,) = [line for line in GUIDE.splitlines() if line.startswith('openssl req')]
    for name in ('server', 'client', 'stranger'):
        subprocess.run(
            command.replace('NAME', name).split(), cwd=folder, check=True, capture_output=True
        )
        key, certificate = folder / f'{name}.key', folder / f'{name}.crt'
        (folder / f'{name}.pem').write_text(key.read_text() + certificate.read_text())
    return folder


def secured_by(certificates):
    pem = str(certificates / 'server.pem')
    return {'certfile': pem, 'keyfile': pem}


def credentials(certificates, name):
    return {
        'certfile': str(certificates / f'{name}.crt'),
        'keyfile': str(certificates / f'{name}.key'),
    }


@pytest.fixture(scope='module')
def server(begin, certificates):
    return begin(
        Server,
        certificates=secured_by(certificates),
        accepted=certificates / 'client.crt',
    )


def refuse(client, shared='buffer1'):
    assert client.ask(f"state('{shared}')") == 'not loaded'
    with pytest.raises(RemoteError, match='RuntimeError: Error during initialization of remote'):
        client.ask(f"managed('{shared}')._load()")


def test_a_client_with_its_certificate_gets_every_sample(begin, server, certificates):
    client = begin(server.client, 'buffer1', **credentials(certificates, 'client'))
    start_together(1000.0, (client, 'logic'), (server, 'logic3'))
    expect_frames(10, (client, 'logic'), (server, 'logic3'))
    client.kill()
    server.expect_idle('buffer1')
    expect_frames(10, (server, 'logic3'))
    stop_all((server, 'logic3'))


def test_a_client_without_the_right_certificate_gets_nothing(begin, server, certificates):
    start_together(1000.0, (server, 'logic3'))
    wrong = {
        'none': {},
        'strange': credentials(certificates, 'stranger'),
        'of_server': credentials(certificates, 'server'),
    }
    entries = {name: remote_entry(server.port, 'buffer1', **own) for name, own in wrong.items()}
    client = begin(QudiProcess, entries, startup=[])
    for name in wrong:
        refuse(client, name)
    # Nor is there a way in with the certificate left out of an encrypted connection
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(('127.0.0.1', server.port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain).recv(1)
    expect_frames(5, (server, 'logic3'))
    stop_all((server, 'logic3'))


def both_sides(certificates, client='client', server='server'):
    """What a RemoteInStream needs: its certificate and key, and the certificate of the server."""
    return {
        **credentials(certificates, client),
        'server_certfile': str(certificates / f'{server}.crt'),
    }


def test_a_stream_client_and_its_server_check_each_other(begin, server, certificates):
    client = begin(server.stream_client, 'buffer1', **both_sides(certificates))
    start_together(1000.0, (client, 'logic1'))
    expect_frames(10, (client, 'logic1'))
    stop_all((client, 'logic1'))
    assert client.quit() == 0


@pytest.mark.parametrize(
    ('wrong', 'told'),
    [({'server': 'stranger'}, 'CERTIFICATE_VERIFY_FAILED'), ({'client': 'stranger'}, None)],
)
def test_a_false_server_and_a_false_client_get_nothing(server, certificates, wrong, told):
    address = Address('127.0.0.1', server.port, 'buffer1', **both_sides(certificates, **wrong))
    with pytest.raises(ConnectionError, match=told):
        RemoteDevice(address).constraints  # noqa: B018


def test_a_hundred_visitors_without_a_certificate_keep_nobody_out(begin, server, certificates):
    visitors = [socket.create_connection(('127.0.0.1', server.port)) for _ in range(100)]
    try:
        end = time.perf_counter() + 20
        while True:
            device = RemoteDevice(
                Address('127.0.0.1', server.port, 'buffer1', **both_sides(certificates))
            )
            try:
                assert list(device.constraints.channel_units) == ['a', 'b']
                device.close()
                return
            except ConnectionError:
                assert time.perf_counter() < end, 'the visitors keep a client out'
    finally:
        for visitor in visitors:
            visitor.close()


@pytest.mark.filterwarnings('ignore:unclosed <socket:ResourceWarning')  # of rpyc, when refused
def test_the_command_of_the_guide_starts_such_a_server(certificates, home):
    """As it stands there, in a folder with the certificates."""
    (command,) = [line for line in GUIDE.splitlines() if '.remote.secured --clients' in line]
    (folder,) = re.findall(r'^`my_server.cfg` stands in the folder `(.*)` of', GUIDE, re.MULTILINE)
    port = free_port()
    config = {
        'global': {
            'remote_modules_server': {
                'address': '127.0.0.1',
                'port': port,
                'certfile': 'server.pem',
                'keyfile': 'server.pem',
            },
            'namespace_server_port': free_port(),
        },
        'hardware': {'streamer': {**SIMULATOR, 'allow_remote': True}},
    }
    (home / folder).mkdir(exist_ok=True)
    yaml_dump(str(home / folder / 'my_server.cfg'), config)
    (certificates / 'clients.pem').write_bytes((certificates / 'client.crt').read_bytes())
    server = subprocess.Popen(
        [sys.executable, *command.split()[1:], '--no-gui'],
        cwd=certificates,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([LEAN, *sys.path])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.perf_counter() + 60
        while True:
            try:
                connection = rpyc.ssl_connect(
                    '127.0.0.1', port, **credentials(certificates, 'client')
                )
                break
            except OSError:
                assert server.poll() is None, 'the server has ended'
                assert time.perf_counter() < end, 'no connection'
                time.sleep(0.1)
        while connection.root.get_available_module_names() != ('streamer',):
            assert time.perf_counter() < end, 'the module is not shared'
        connection.close()
        with pytest.raises((OSError, EOFError)):
            rpyc.ssl_connect('127.0.0.1', port, **credentials(certificates, 'stranger')).root  # noqa: B018
    finally:
        server.kill()
        server.wait(20)


def test_a_server_without_a_certificate_is_not_started(certificates, tmp_path):
    """It would let everybody in."""
    server = {'address': '127.0.0.1', 'port': free_port()}
    yaml_dump(str(tmp_path / 'server.cfg'), {'global': {'remote_modules_server': server}})
    result = subprocess.run(
        [
            *(sys.executable, '-m', 'qudi.util.instream.remote.secured', '--no-gui'),
            *('--clients', str(certificates / 'client.crt')),
            *('-c', str(tmp_path / 'server.cfg')),
        ],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([LEAN, *sys.path])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode != 0
    assert 'remote_modules_server in the configuration has no certfile' in result.stderr


@pytest.mark.long
def test_qudi_alone_lets_nobody_into_a_server_with_a_certificate(begin, certificates):
    """docs/remote.md says so; if this fails, qudi can do without the program of this project."""
    server = begin(Server, certificates=secured_by(certificates))
    refuse(begin(server.client, 'buffer1', **credentials(certificates, 'client')))
