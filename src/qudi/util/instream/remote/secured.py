"""Start qudi so that its remote modules server accepts only the given clients.

    python -m qudi.util.instream.remote.secured --clients clients.pem -c my_server.cfg

qudi looks for the configuration in the folder `qudi/config` of your home folder. For a file that is
elsewhere, write the whole path.

With `certfile` in its configuration, qudi's server wants a certificate from every client, but
cannot be told which ones are good, so that none is (qudi-core 1.6 and 1.7). Here it is told. All
other arguments are those of `python -m qudi.core`.
"""

from __future__ import annotations

import argparse
import runpy
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

from qudi.util.instream.remote.gate import guard

__all__ = ['main']


def main(arguments: list[str] | None = None) -> None:
    """Run qudi; `arguments` are those of the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m qudi.util.instream.remote.secured',
        description=(__doc__ or '').partition('\n')[0],
    )
    parser.add_argument(
        '--clients',
        type=Path,
        required=True,
        help='PEM file with the certificates of all clients that may come in, one after the other',
    )
    options, rest = parser.parse_known_args(arguments)
    accept_only(options.clients)
    sys.argv[1:] = rest
    runpy.run_module('qudi.core', run_name='__main__', alter_sys=True)


def accept_only(clients: Path) -> None:
    """Have qudi's servers with a certificate accept only clients with one of these.

    Raises
    ------
    FileNotFoundError, ssl.SSLError
        If there is no such file, or no certificate in it.
    ValueError
        From the server to be made, if it has no certificate itself.
    RuntimeError
        If this qudi makes its servers in another way.
    """
    ssl.create_default_context().load_verify_locations(clients)
    from qudi.core import servers

    if not hasattr(servers, 'SSLAuthenticator'):
        raise RuntimeError(
            'This qudi-core makes its remote modules server in another way, so the certificates of '
            'the clients cannot be given to it. Its own documentation says how it secures it'
        )
    guard()
    servers.SSLAuthenticator = partial(servers.SSLAuthenticator, ca_certs=str(clients))
    make_server = servers.RemoteModulesServer.__init__

    def make_secured_server(self: Any, *args: Any, certfile: str | None, **kwargs: Any) -> None:
        if certfile is None:  # qudi would accept every client
            raise ValueError(
                'remote_modules_server in the configuration has no certfile, so it could not '
                'refuse any client. Give it the PEM file with the key and the certificate of the '
                'server'
            )
        make_server(self, *args, certfile=certfile, **kwargs)

    servers.RemoteModulesServer.__init__ = make_secured_server


if __name__ == '__main__':
    main()
