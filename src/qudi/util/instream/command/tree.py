"""The stream as a drawing: device, buffers, programs, windows."""

from __future__ import annotations

from collections.abc import Iterator

from qudi.util.instream.command.stream import Member, Stream

__all__ = ['draw']

_MONITOR = 'InStreamMonitorLogic'


def draw(stream: Stream) -> str:
    """Return one tree for each device, and one for each monitor. Plain ASCII."""
    lines = []
    drawn: set[int] = set()
    monitors = [one for one in stream.members if one.found and _MONITOR in one.found.files]
    for root in [*stream.roots, *monitors]:
        lines += [_described(root, None), *_branches(stream, root, '', drawn)]
    return '\n'.join(lines) if lines else 'No module here provides or reads a stream.'


def _branches(stream: Stream, member: Member, indent: str, drawn: set[int]) -> Iterator[str]:
    """The lines below a module; what is drawn already, is not drawn again."""
    if id(member) in drawn:
        return
    drawn.add(id(member))
    readers = sorted(member.readers, key=lambda reader: not reader.is_buffer)
    children: list[Member | str] = [*dict.fromkeys([*readers, *_users(stream, member)])]
    is_shared = member.module is not None and member.module.is_shared
    if is_shared and not any(reader.is_remote for reader in member.readers):
        port = member.configuration.server_port if member.configuration else None
        children.append(f'(other processes, through port {port})')
    elif member.is_buffer and not children:
        children.append('(no program)')
    for number, child in enumerate(children, 1):
        is_last = number == len(children)
        text = child if isinstance(child, str) else _described(child, member)
        yield f'{indent}{"`-- " if is_last else "|-- "}{text}'
        if isinstance(child, Member):
            below = indent + ('    ' if is_last else '|   ')
            yield from _branches(stream, child, below, drawn)


def _users(stream: Stream, member: Member) -> list[Member]:
    """Windows; of a monitor, which reads no stream, what is connected to it."""
    if member.windows or not member.found or _MONITOR not in member.found.files:
        return member.windows
    return [
        one
        for one in stream.members
        if one.module and one.configuration is member.configuration
        if member.name in one.module.connections.values()
    ]


def _described(member: Member, parent: Member | None) -> str:
    """Name, kind and what is worth knowing of a module."""
    if member.module is None:
        return f'{member.name}  (module of another process, {member.address})'
    facts = [_kind(member)]
    if member.is_buffer:
        options = member.module.options
        facts += [f'{option}: {value}' for option, value in options.items()] or ['default options']
    elif parent is None and member.module.module_class:
        facts.append(member.module.module_class)
    is_elsewhere = parent is not None and parent.configuration is not member.configuration
    if is_elsewhere and member.configuration:
        facts.append(f'in {member.configuration.path}')
    if member.module.is_shared:
        facts.append('allow_remote')
    if member.problem:
        facts.append('NOT FOUND')
    return f'{member.name}  ({", ".join(facts)})'


def _kind(member: Member) -> str:
    if member.is_remote:
        return f'{"buffer of " * member.is_buffer}another process'
    if member.is_buffer:
        return 'buffer'
    if member.is_program:
        return 'program'
    if member.found and _MONITOR in member.found.files:
        return 'monitor of all buffers'
    if member.is_part:
        return 'device'
    return 'window' if member.module and member.module.base == 'gui' else 'logic'
