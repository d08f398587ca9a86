"""qudi-instream add: a buffer for each program that reads a device, in a copy of the file."""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, ScalarNode

from qudi.util.instream.command.configuration import Configuration, ConfigurationError
from qudi.util.instream.command.findings import did_you_mean, quoted
from qudi.util.instream.command.lines import Style, buffer_lines, unique_name
from qudi.util.instream.command.stream import BUFFER, Member, read_stream

__all__ = ['AddError', 'Addition', 'add']


class AddError(Exception):
    """Buffers that cannot be added by this program."""


@dataclass(frozen=True)
class Addition:
    """The new text of a configuration; `buffers` has the name of each by its program."""

    text: str
    buffers: dict[str, str]
    difference: str


@dataclass(frozen=True)
class _Edit:
    """Text for a part of the file, by positions of characters."""

    begin: int
    end: int
    text: str


def add(configuration: Configuration, device: str, output: Path) -> Addition:
    """Give each program that reads a device directly a buffer of its own.

    Parameters
    ----------
    configuration : Configuration
        The file as it is.
    device : str
        Name of the module that the programs read.
    output : Path
        The file to be, for the difference.

    Raises
    ------
    AddError
        If there is no such device, or the file is written in a way that cannot be kept.
    """
    stream = read_stream([configuration])
    source = stream.get(configuration, device)
    if source is None:
        sources = [one.name for one in stream.roots if one.module]
        hint = did_you_mean(device, configuration.modules)
        known = f'; it has {quoted(sources)}' if sources and not hint else ''
        raise AddError(f'{configuration.path} has no module "{device}"{hint or known}')
    if not source.is_part:
        raise AddError(
            f'"{device}" is no streaming device: nothing reads it, and its class is no '
            f'DataInStreamInterface{f" ({source.problem})" if source.problem else ""}'
        )
    if source.is_buffer and not source.is_remote:
        raise AddError(f'"{device}" is a buffer. Name the device that it reads')
    expected = copy.deepcopy(configuration.data)
    edits: list[_Edit] = []
    buffers: dict[str, str] = {}
    for program in dict.fromkeys(source.readers):
        if not program.is_program or program.module is None:
            continue
        taken = [*configuration.modules, *buffers.values()]
        buffer = buffers[program.name] = unique_name(f'{program.name}_buffer', taken)
        for connector, target in program.reads.items():
            if target is source:
                edits.append(_moved(configuration, program, connector, buffer))
                expected[program.module.base][program.name]['connect'][connector] = buffer
    if buffers:
        edits.append(_entries(configuration, source, list(buffers.values())))
        entry = {'module.Class': BUFFER, 'connect': {'streamer': device}}
        expected['hardware'] = {
            **expected.get('hardware', {}),
            **dict.fromkeys(buffers.values(), entry),
        }
    text = configuration.text
    for edit in sorted(edits, key=lambda one: one.begin, reverse=True):
        text = text[: edit.begin] + edit.text + text[edit.end :]
    _verify(configuration, text, expected)
    difference = difflib.unified_diff(
        configuration.text.splitlines(),
        text.splitlines(),
        str(configuration.path),
        str(output),
        lineterm='',
    )
    return Addition(text, buffers, '\n'.join(difference))


def _moved(configuration: Configuration, program: Member, connector: str, buffer: str) -> _Edit:
    """Connect a program to its buffer, with the quotation marks that there were."""
    assert program.module is not None
    _, node = configuration.node(program.module.base, program.name, 'connect', connector)
    assert node is not None
    begin, end = node.start_mark.index, node.end_mark.index
    written = configuration.text[begin:end]
    if not isinstance(node, ScalarNode) or written.strip('\'"') != node.value:
        place = program.module.place('connect', connector)
        raise AddError(f'{place}: this connection is written in an unusual way, move it by hand')
    quote = written[0] if written[0] in '\'"' else ''
    return _Edit(begin, end, f'{quote}{buffer}{quote}')


def _entries(configuration: Configuration, source: Member, buffers: list[str]) -> _Edit:
    """Put the buffers below the device, or at the end of the hardware."""
    assert source.module is not None
    text = configuration.text
    newline = '\r\n' if '\r\n' in text else '\n'
    _, section = (
        configuration.node('hardware') if 'hardware' in configuration.data else (None, None)
    )
    if section is None:
        style, position = Style(), len(text)
        head = f'{newline if text.endswith(newline) else newline * 2}hardware:{newline}'
    elif isinstance(section, MappingNode) and section.value and not section.flow_style:
        keys = [key.value for key, _ in section.value]
        place = keys.index(source.name) if source.module.base == 'hardware' else len(keys) - 1
        style = _style(configuration, section, place)
        position, head = _end_of(text, section, place), newline
    else:
        raise AddError(
            f'{configuration.place("hardware")}: this section is written in one line, write each '
            f'module in lines of its own first'
        )
    entries = '\n'.join(buffer_lines(name, source.name, style) for name in buffers)
    if text[:position].rstrip(' ') and not text[:position].endswith('\n'):
        head = newline + head  # a file that ends within its last line
    return _Edit(position, position, head + entries.replace('\n', newline))


def _style(configuration: Configuration, section: MappingNode, place: int) -> Style:
    """How the neighbour of the new entries is written."""
    key, value = section.value[place]
    start = key.start_mark.column
    step = 4
    quote = "'"
    if isinstance(value, MappingNode) and value.value and not value.flow_style:
        first_key, first_value = value.value[0]
        step = max(1, first_key.start_mark.column - start)
        written = configuration.text[first_value.start_mark.index : first_value.end_mark.index]
        if isinstance(first_value, ScalarNode):
            quote = written[:1] if written[:1] in ('"', "'") else ''
    return Style(step, quote, start)


def _end_of(text: str, section: MappingNode, place: int) -> int:
    """Return the position behind the last line of an entry, its comments included."""
    key, value = section.value[place]
    column = key.start_mark.column
    end = text.find('\n', max(key.end_mark.index, _last_mark(value)))
    if end < 0:
        return len(text)
    position = end = end + 1
    # Comments that are further to the right than the name of the module belong to it
    for line in text[position:].splitlines(keepends=True):
        stripped = line.strip()
        if stripped and not (stripped.startswith('#') and _indent(line) > column):
            break
        position += len(line)
        if stripped:
            end = position
    return end


def _last_mark(node: object) -> int:
    """Return the position of the last character of what a node contains."""
    if isinstance(node, ScalarNode):
        return int(node.end_mark.index) - (node.style in ('|', '>'))
    pairs = getattr(node, 'value', [])
    last = pairs[-1] if pairs else None
    if last is None or getattr(node, 'flow_style', False):
        return int(getattr(node, 'end_mark').index)  # noqa: B009
    return _last_mark(last[1] if isinstance(last, tuple) else last)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(' '))


def _verify(configuration: Configuration, text: str, expected: dict[str, Any]) -> None:
    """Raise AddError unless the new text says what it should, and nothing else."""
    try:
        found = Configuration(configuration.path, text).data
    except ConfigurationError:
        found = {}
    if found != expected:
        raise AddError(
            f'{configuration.path} is written in a way that this program cannot change safely. '
            f'Write the lines by hand: "qudi-instream check {configuration.path}" shows them'
        )
