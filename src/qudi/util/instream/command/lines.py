"""Lines of a configuration, as `check` advises and `add` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from qudi.util.instream.command.stream import BUFFER, Member

__all__ = ['Style', 'buffer_lines', 'connection_lines', 'moved_lines', 'unique_name', 'written']


@dataclass(frozen=True)
class Style:
    """How a file is written: spaces per level, and the quotation mark, which may be empty."""

    step: int = 4
    quote: str = "'"
    start: int = 4  # spaces before the name of a module


def written(value: object) -> str:
    """Return a value as it stands in a configuration; of a group of values only that it is one."""
    if isinstance(value, (dict, list)):
        return '...'
    return 'null' if value is None else repr(value)


def buffer_lines(name: str, source: str, style: Style = Style()) -> str:
    """Return the entry of a buffer, without the name of its section."""
    indents = [' ' * (style.start + level * style.step) for level in range(3)]
    quote = style.quote
    return (
        f'{indents[0]}{name}:\n'
        f'{indents[1]}module.Class: {quote}{BUFFER}{quote}\n'
        f'{indents[1]}connect:\n'
        f'{indents[2]}streamer: {quote}{source}{quote}\n'
    )


def connection_lines(name: str, connector: str, target: str) -> str:
    """Return the part of a module's entry that connects it, without the name of its section."""
    return f"    {name}:\n        connect:\n            {connector}: '{target}'\n"


def moved_lines(programs: Iterable[Member], read: Member, source: str, taken: Iterable[str]) -> str:
    """Return what gives each of some programs, which read a module, its own buffer on a source."""
    names = set(taken)
    sections: dict[str, list[str]] = {'hardware': []}
    for program in programs:
        buffer = unique_name(f'{program.name}_buffer', names)
        names.add(buffer)
        sections['hardware'].append(buffer_lines(buffer, source))
        for connector, target in program.reads.items():
            if target is read and program.module is not None:
                lines = sections.setdefault(program.module.base, [])
                lines.append(connection_lines(program.name, connector, buffer))
    return ''.join(f'{section}:\n{"".join(lines)}' for section, lines in sections.items())


def unique_name(wanted: str, taken: Iterable[str]) -> str:
    """Return a name for a new module: `wanted`, with a number if there is one already."""
    stem = name = re.sub(r'\W', '_', wanted)
    number = 2
    names = set(taken)
    while name in names:
        name, number = f'{stem}{number}', number + 1
    return name
