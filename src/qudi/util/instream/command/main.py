"""qudi-instream: look at a configuration, add buffers to it, copy the examples, see the demo."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import signal
import sys
from pathlib import Path

__all__ = ['command', 'demo_command', 'main']

_OK, _FOUND, _CANNOT = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """Run one of the commands and return its exit code.

    0: all is well. 1: there are findings. 2: something cannot be read or written, or the command
    is wrong. The demo has codes of its own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ['demo']:
        from qudi.util.instream.demo import command as demo

        return demo.main(arguments[1:])
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not each terminal has each letter
            stream.reconfigure(errors='backslashreplace')
    # jsonschema would build a large grammar of addresses; qudi's schema has none
    sys.modules.setdefault('rfc3987_syntax', None)  # type: ignore[arg-type]
    try:
        return {'check': _check, 'add': _add, 'examples': _examples}[options.command](options)
    except BrokenPipeError:  # as with `| head`
        raise
    except ModuleNotFoundError as error:
        problem = f'{error}. Install qudi-instream-buffer again with pip in {sys.prefix}'
        print(f'qudi-instream {options.command}: {problem}', file=sys.stderr)
        return _CANNOT
    except (_RefusedError, OSError) as error:
        print(f'qudi-instream {options.command}: {error}', file=sys.stderr)
        return _CANNOT


class _RefusedError(Exception):
    """What the user asked for is not possible."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='qudi-instream',
        description='Commands for a qudi configuration with stream buffers. They touch no device, '
        'and only the demo starts qudi.',
    )
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser(
        'demo',
        add_help=False,
        help='see it run: a simulated device, two buffers, two windows and the monitor',
    )
    check = commands.add_parser(
        'check',
        help='show the stream of a configuration as a tree, and what is wrong with it',
        description='Shows device, buffers, programs and windows as a tree, then each finding with '
        'file, line, reason and the lines to write. Exit code: 0 if nothing is found, 1 if '
        'something is, 2 if a file cannot be read.',
    )
    check.add_argument(
        'configurations',
        type=Path,
        nargs='+',
        metavar='CONFIG',
        help='the configuration; with several processes that of each one',
    )
    add = commands.add_parser(
        'add',
        help='write a copy of a configuration in which each program has a buffer',
        description='Writes a copy in which each program that reads DEVICE directly reads a buffer '
        'of its own, and shows the difference. All other lines stay as they are.',
    )
    add.add_argument('configuration', type=Path, metavar='CONFIG', help='the configuration')
    add.add_argument('device', metavar='DEVICE', help='name of the device in the configuration')
    add.add_argument(
        '--output',
        type=Path,
        metavar='FILE',
        help='the file to write (default: CONFIG with _buffered behind its name)',
    )
    add.add_argument('--force', action='store_true', help='write it also if it exists')
    examples = commands.add_parser(
        'examples',
        help='copy the example configurations into a folder',
        description='Copies all example configurations. A file that exists is left as it is.',
    )
    examples.add_argument('folder', type=Path, metavar='DIR', help='made if it does not exist')
    return parser


def _check(options: argparse.Namespace) -> int:
    from qudi.util.instream.command.check import check
    from qudi.util.instream.command.configuration import ConfigurationError

    try:
        text, has_findings = check(options.configurations)
    except ConfigurationError as error:
        raise _RefusedError(error) from None
    print(text)
    return _FOUND if has_findings else _OK


def _add(options: argparse.Namespace) -> int:
    from qudi.util.instream.command.add import AddError, add
    from qudi.util.instream.command.configuration import Configuration, ConfigurationError

    path: Path = options.configuration
    output: Path = options.output or path.with_name(f'{path.stem}_buffered{path.suffix}')
    try:
        configuration = Configuration(path)
        addition = add(configuration, options.device, output)
    except (ConfigurationError, AddError) as error:
        raise _RefusedError(error) from None
    if not addition.buffers:
        print(f'No program reads "{options.device}" directly. Nothing is written.')
        return _OK
    if output.exists() and not options.force:
        raise _RefusedError(f'{output} exists. Name another file with --output, or add --force')
    output.write_bytes(addition.text.encode(configuration.encoding))
    print(addition.difference)
    print(f'\nWrote {output}. Start qudi with it: {_start_command(output)}')
    return _OK


def _examples(options: argparse.Namespace) -> int:
    from qudi.util.instream.examples import example_paths

    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in example_paths().items():
        target = folder / name
        if target.exists():
            print(f'{target} exists, left as it is')
        else:
            shutil.copyfile(path, target)
            print(target)
    print(f'Start one with: {_start_command(folder / "two_time_series.cfg")}')
    return _OK


def _start_command(path: Path) -> str:
    """With the full path: qudi looks for others in its own folders only."""
    return f'qudi -c "{path.resolve()}"'


def command(arguments: list[str] | None = None) -> None:
    """Run `qudi-instream`. Ctrl-C ends it at once, without a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = _OK
    with contextlib.suppress(BrokenPipeError):  # as with `| head`
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    # All is done. PySide2 crashes now and then while Python takes its modules apart
    os._exit(code)


def demo_command() -> None:
    """Run `qudi-instream-demo`, which is `qudi-instream demo`."""
    command(['demo', *sys.argv[1:]])
