"""What is wrong in how streams are shared: who reads what a second time, and across processes."""

from __future__ import annotations

from collections.abc import Iterator

from qudi.util.instream.command.configuration import Configuration
from qudi.util.instream.command.findings import Finding, quoted
from qudi.util.instream.command.lines import moved_lines
from qudi.util.instream.command.stream import Member, Stream

__all__ = ['hints', 'ring_findings', 'share_findings', 'sharing_findings']

_ONCE = 'A device hands out each sample once, so each of them gets a part of the stream.'


def sharing_findings(stream: Stream) -> Iterator[Finding]:
    """Programs that take samples away from each other."""
    for source in stream.sources:
        readers = [
            reader
            for reader in dict.fromkeys(source.readers)
            if reader is not source and not reader.problem  # what that is, is not known
            if reader.readers or not reader.is_remote
        ]
        buffers = [reader for reader in readers if reader.is_buffer]
        programs = [reader for reader in readers if not reader.is_buffer]
        if source.is_buffer and source.is_remote:
            if len(programs) > 1:  # buffers on it share its connection
                yield from _shared_buffer(source, programs)
        elif source.is_buffer:
            if len(readers) > 1:
                yield from _shared_buffer(source, readers)
        elif any(reader.is_remote for reader in readers) and len(readers) > 1:
            yield from _two_processes(source, readers)
        elif buffers and programs:
            for program in programs:
                yield _beside_buffers(source, program, buffers)
        elif len(programs) > 1:
            yield _two_programs(source, programs)


def _two_programs(source: Member, programs: list[Member]) -> Finding:
    what = f'The programs {quoted(one.name for one in programs)} read "{source.name}" directly'
    return Finding(programs[1].place, what, _ONCE, _moved(source, programs), _add_command(source))


def _beside_buffers(source: Member, program: Member, buffers: list[Member]) -> Finding:
    return Finding(
        program.place,
        f'"{program.name}" reads "{source.name}" directly, beside the '
        f'buffer{"s" * (len(buffers) > 1)} {quoted(one.name for one in buffers)}',
        'While one of them streams, the other cannot start.',
        _moved(source, [program]),
        _add_command(source),
    )


def _shared_buffer(buffer: Member, readers: list[Member]) -> Iterator[Finding]:
    names = quoted(reader.name for reader in readers)
    source = buffer if buffer.is_remote else next(iter(buffer.reads.values()), None)
    if source in readers:
        return  # a ring, which has a finding of its own
    lines = ''
    if source is not None and not any(reader.is_remote for reader in readers):
        taken = _names(buffer.configuration)
        lines = moved_lines(readers[1:], buffer, source.name, taken)
    yield Finding(
        readers[1].place,
        f'{names} read the same buffer "{buffer.name}"',
        'Each gets a part of its stream, and one ends the stream of the other. A buffer is for one '
        'program.',
        lines or '# one more buffer beside it, with allow_remote: True, for each other process',
    )


def _two_processes(source: Member, readers: list[Member]) -> Iterator[Finding]:
    remote = next(reader for reader in readers if reader.is_remote)
    others = [reader for reader in readers if reader is not remote]
    if source.module is None:
        what = f'{quoted(one.name for one in readers)} are the same module "{source.name}"'
        lines = '# in the process that has it: one buffer for each, with allow_remote: True'
        yield Finding(others[0].place, f'{what} of another process', _ONCE, lines)
        return
    yield Finding(
        remote.place,
        f'"{source.name}" is read in its own process by {quoted(one.name for one in others)}, '
        f'and in another one through "{remote.name}"',
        'All buffers of a device must be in the process of the device. Otherwise one of them '
        'cannot start, or each gets a part of the stream.',
        f'# {source.configuration.path if source.configuration else "server"}: a buffer for the '
        f'other process\n'
        f'{moved_lines([Member(remote.name)], source, source.name, _names(source.configuration))}'
        f'        allow_remote: True\n'
        f'# {remote.configuration.path if remote.configuration else "client"}:\n'
        f"native_module_name: '{remote.name}_buffer'",
    )


def _add_command(source: Member) -> str:
    path = str(source.configuration.path) if source.configuration else ''
    path = f'"{path}"' if ' ' in path else path
    return f'qudi-instream add {path} {source.name}'


def _moved(source: Member, programs: list[Member]) -> str:
    return moved_lines(programs, source, source.name, _names(source.configuration))


def _names(configuration: Configuration | None) -> list[str]:
    return list(configuration.modules) if configuration else []


# -------------------------------------------------------------------- other processes


def share_findings(stream: Stream) -> Iterator[Finding]:
    """Modules for other processes that these cannot reach."""
    for member in stream.members:
        if member.is_remote:
            yield from _remote_entry(stream, member)
        elif member.provides_stream:
            yield from _shared_module(member)


def _remote_entry(stream: Stream, member: Member) -> Iterator[Finding]:
    server, reference = stream.server_of(member), member.reference
    if server is None or reference is None or member.module is None:
        return
    name = reference.name
    target = stream.get(server, name)
    if target is None:
        yield Finding(
            member.module.place(*reference.keys),
            f'"{member.name}" is the module "{name}" of another process, but {server.path} has '
            f'no module of that name',
            'The module cannot be loaded.',
        )
    elif target.module is not None and not target.module.is_shared:
        yield Finding(
            target.module.place(),
            f'"{name}" is used by {member.module.configuration.path}, but has no allow_remote',
            'No other process can use it.',
            f'{name}:\n    allow_remote: True',
        )
    elif name not in server.loaded_at_start:
        yield _not_at_start(target)


def _shared_module(member: Member) -> Iterator[Finding]:
    module, configuration = member.module, member.configuration
    assert module is not None
    assert configuration is not None
    local = [reader for reader in member.readers if not reader.is_remote]
    is_read_elsewhere = len(local) < len(member.readers)
    if not module.is_shared:
        if member.is_buffer and configuration.server_port is not None and not member.readers:
            yield Finding(
                module.place(),
                f'No program reads "{member.name}", and no other process can use it',
                'A buffer for another process needs allow_remote. If only scripts read it, leave '
                'it as it is.',
                f'{member.name}:\n    allow_remote: True',
            )
        return
    if configuration.server_port is None:
        yield Finding(
            module.place('allow_remote'),
            f'"{member.name}" is for other processes, but this qudi has no remote_modules_server',
            'qudi does not create the module.',
            'global:\n'
            '    remote_modules_server:\n'
            "        address: 'localhost'\n"
            '        port: 12345',
        )
    if local and is_read_elsewhere:
        return  # the findings about two readers say so
    if not member.is_buffer and local:
        yield Finding(
            module.place('allow_remote'),
            f'Other processes may use the device "{member.name}" itself',
            f'They would take samples away from {quoted(one.name for one in local)}, and stop the '
            f'device when they quit. Share a buffer instead.',
            f'{member.name}:\n    allow_remote: False',
        )
    elif member.is_buffer and local:
        yield Finding(
            module.place('allow_remote'),
            f'"{member.name}" is for other processes, and is read by '
            f'{quoted(one.name for one in local)} here',
            'A buffer is for one program: two would get a part of its stream each.',
            f'{member.name}:\n    allow_remote: False',
        )
    elif member.name not in configuration.loaded_at_start:
        yield _not_at_start(member)


def _not_at_start(member: Member) -> Finding:
    assert member.module is not None
    return Finding(
        member.module.place(),
        f'"{member.name}" is for other processes, but is not among the startup modules',
        'Another process finds only modules that are loaded.',
        f"global:\n    startup_modules:\n        - '{member.name}'",
    )


def hints(stream: Stream) -> Iterator[str]:
    """What cannot be seen without the configuration of the other process."""
    for member in stream.members:
        if not member.is_remote or not member.readers or stream.server_of(member) is not None:
            continue
        assert member.module is not None
        yield (
            f'{member.module.place()}: "{member.name}" runs in another process. Give its '
            f'configuration as well, and both are checked together'
        )


# -------------------------------------------------------------------- rings


def ring_findings(stream: Stream) -> Iterator[Finding]:
    """Modules that need themselves through others."""
    told: set[int] = set()
    for member in stream.members:
        path = _way_back(stream, member)
        if not path or any(id(one) in told for one in path) or len(path) < 2:
            continue
        told.update(id(one) for one in path)
        through = quoted(one.name for one in path[1:])
        yield Finding(
            member.place,
            f'"{member.name}" is connected to itself through {through}',
            'qudi activates first what a module is connected to, and would never end.',
        )


def _way_back(stream: Stream, member: Member) -> list[Member]:
    """Return the modules from one back to itself along connections; empty if none leads back."""
    waiting, seen = [[member]], set()
    while waiting:
        path = waiting.pop()
        module = path[-1].module
        for name in module.connections.values() if module else ():
            target = stream.get(module.configuration, name) if module else None
            if target is member:
                return path
            if target is not None and id(target) not in seen:
                seen.add(id(target))
                waiting.append([*path, target])
    return []
