"""A buffer in another qudi, as a streaming device of this one.

RemoteInStream  The qudi module. Programs read it as any buffer, and local buffers share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qudi.core.configoption import ConfigOption

from qudi.hardware.instream_buffer.buffer import DataInStreamBuffer
from qudi.util.instream.remote import Address, RemoteDevice

__all__ = ['RemoteInStream']

_ADDRESS = ('host', 'port', 'buffer', 'certfile', 'keyfile', 'server_certfile')


class RemoteInStream(DataInStreamBuffer):
    """Reads a buffer of another qudi, over connections of its own.

    It is a buffer itself, for one program. Where several programs of this qudi are to read the
    stream, connect a DataInStreamBuffer to it for each of the others: one connection serves all.

    Example config for copy-paste:

    remote_stream:
        module.Class: 'instream_buffer.remote.RemoteInStream'
        options:
            host: 'server.lab.example'  # computer of the other qudi
            port: 12345                 # of its remote_modules_server
            buffer: 'stream_buffer_client1'  # name of the buffer there, which is for this qudi only
            certfile: 'client1.crt'     # optional, if the server wants a certificate:
            keyfile: 'client1.key'      # that of this qudi and its key,
            server_certfile: 'server.crt'  # and the one that the server must have
            allow_overwrite: False      # optional, as are max_poll_rate, follow_running and
                                        # read_timeout: as of a DataInStreamBuffer
    """

    # Declared for qudi; read and checked below
    _host: ConfigOption[str] = ConfigOption('host', missing='error')
    _port: ConfigOption[int] = ConfigOption('port', missing='error')
    _buffer: ConfigOption[str] = ConfigOption('buffer', missing='error')
    _certfile = ConfigOption('certfile', default=None)
    _keyfile = ConfigOption('keyfile', default=None)
    _server_certfile = ConfigOption('server_certfile', default=None)

    def __init__(
        self,
        qudi_main_weakref: Any,
        name: str,
        config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        address = _address_from(name, config or {})
        super().__init__(qudi_main_weakref, name, config, **kwargs)
        self._address = address

    @staticmethod
    def _own_options(config: Mapping[str, Any]) -> Mapping[str, Any]:
        return {option: config[option] for option in config if option not in _ADDRESS}

    def _streamer(self) -> RemoteDevice:
        return RemoteDevice(self._address, self._options.limits.patience)

    @property
    def remote_device(self) -> RemoteDevice:
        """The buffer in the other qudi, for local buffers that are connected to this one."""
        return self._streamer()


def _address_from(name: str, config: Mapping[str, Any]) -> Address:
    """Return the address that a configuration gives; raise ValueError if it is none."""
    missing = [option for option in _ADDRESS[:3] if not config.get(option)]
    if missing:
        raise ValueError(
            f'"{name}" needs the option{"s" * (len(missing) > 1)} {", ".join(missing)}: host and '
            f"port of the other qudi's remote_modules_server, and the name of a buffer there"
        )
    port = config['port']
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise ValueError(f'Option "port" of "{name}" is {port!r}, but must be a number, 1 to 65535')
    certificates = [option for option in _ADDRESS[3:] if config.get(option)]
    if certificates and len(certificates) < 3:
        raise ValueError(
            f'"{name}" has the option{"s" * (len(certificates) > 1)} {", ".join(certificates)} '
            f'alone. Give certfile, keyfile and server_certfile: both sides check each other'
        )
    return Address(**{option: config[option] for option in _ADDRESS if config.get(option)})
