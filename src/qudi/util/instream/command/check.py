"""qudi-instream check: the stream of a configuration as a tree, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from qudi.util.instream.command import mistakes, sharing
from qudi.util.instream.command.configuration import Configuration
from qudi.util.instream.command.environment import environment_findings
from qudi.util.instream.command.findings import Finding, report
from qudi.util.instream.command.stream import Stream, read_stream
from qudi.util.instream.command.tree import draw

__all__ = ['check', 'findings_of', 'outcome']


def check(paths: Sequence[Path]) -> tuple[str, int]:
    """Look at configurations whose processes share a device.

    Parameters
    ----------
    paths : sequence of Path
        One file, or those of all qudi processes that use the device.

    Returns
    -------
    tuple of str and int
        What to print; and the exit code: 0 if nothing is wrong, else 1.

    Raises
    ------
    ConfigurationError
        If a file cannot be read.
    """
    stream = read_stream(Configuration(path) for path in paths)
    findings = list(dict.fromkeys([*findings_of(stream), *environment_findings(stream)]))
    return outcome(stream, findings), int(bool(findings))


def outcome(stream: Stream, findings: Sequence[Finding]) -> str:
    """Return what to print: the files, their stream, notes and findings."""
    paths = ', '.join(str(configuration.path) for configuration in stream.configurations)
    parts = [paths, draw(stream)]
    hints = list(_hints(stream))
    if hints:
        parts.append('\n'.join(f'Note: {hint}.' for hint in hints))
    if findings:
        parts.append(f'{len(findings)} finding{"s" * (len(findings) > 1)}')
        parts.append(report(findings))
    else:
        parts.append('Nothing found.')
    return '\n\n'.join(parts)


def findings_of(stream: Stream) -> Iterator[Finding]:
    """What is wrong in each file, in its order."""
    findings = [
        finding
        for configuration in stream.configurations
        for finding in mistakes.file_findings(configuration)
    ]
    for look in (
        mistakes.class_findings,
        mistakes.option_findings,
        mistakes.connection_findings,
        sharing.ring_findings,
        sharing.sharing_findings,
        sharing.share_findings,
    ):
        findings.extend(look(stream))
    order = [str(configuration.path) for configuration in stream.configurations]
    yield from sorted(findings, key=lambda one: (_rank(one.place.path, order), one.place.line))


def _rank(path: str, order: list[str]) -> int:
    return order.index(path) if path in order else len(order)


def _hints(stream: Stream) -> Iterator[str]:
    yield from sharing.hints(stream)
    yield from mistakes.ignored_options(stream)
    unread = mistakes.unread(stream)
    if unread:
        names = ', '.join(member.name for member in unread)
        yield (
            f'the source of these modules was not found, and they seem to be no part of a stream: '
            f'{names}'
        )
