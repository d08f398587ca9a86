"""What is wrong in one configuration: what qudi refuses, and what it finds out too late."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import jsonschema

from qudi.util.instream import host
from qudi.util.instream.command.classes import ClassReader
from qudi.util.instream.command.configuration import Configuration, Module, Place
from qudi.util.instream.command.findings import Finding, did_you_mean, similar
from qudi.util.instream.command.lines import connection_lines, written
from qudi.util.instream.command.stream import BUFFER, Member, Stream
from qudi.util.instream.monitor_options import check_monitor_options
from qudi.util.instream.stream import BufferOptions

__all__ = [
    'class_findings',
    'connection_findings',
    'file_findings',
    'ignored_options',
    'option_findings',
    'unread',
]

_REFUSED = 'qudi refuses the whole file and starts with an empty configuration.'
_KINDS = {
    'object': 'a group of entries below it',
    'array': 'a list',
    'string': 'a text',
    'boolean': 'True or False, without quotes',
    'integer': 'a whole number',
    'number': 'a number',
    'null': 'null',
}
_ENTRIES = {'module.Class', 'allow_remote', 'connect', 'options'}  # of a module
# Classes that streams are made of, for names that are nearly these
_CLASSES = (
    BUFFER,
    'interfuse.instream_buffer.DataInStreamBuffer',
    'instream_monitor_logic.InStreamMonitorLogic',
    'instream_monitor.instream_monitor_gui.InStreamMonitorGui',
    'time_series_reader_logic.TimeSeriesReaderLogic',
    'time_series.time_series_gui.TimeSeriesGui',
    'dummy.data_instream_dummy.InStreamDummy',
    'ni_x_series.ni_x_series_in_streamer.NIXSeriesInStreamer',
    'wavemeter.high_finesse_wavemeter.HighFinesseWavemeter',
)


# -------------------------------------------------------------------- the file


def file_findings(configuration: Configuration) -> Iterator[Finding]:
    """What qudi refuses, and names that stand twice or for nothing."""
    yield from _foreign_letters(configuration)
    if configuration.repeated is not None:
        name = configuration.text.splitlines()[configuration.repeated.line - 1].split(':')[0]
        name = name.strip(' \'"')
        yield Finding(
            configuration.repeated, f'"{name}" stands in this section a second time', _REFUSED
        )
    validator = jsonschema.Draft7Validator(host.configuration_schema())
    for error in validator.iter_errors(configuration.data):
        for cause in _causes(error):
            yield from _refusal(configuration, cause)
    yield from _names_in_two_sections(configuration)
    known = configuration.modules
    for number, name in enumerate(configuration.startup_modules):
        if name not in known:
            yield Finding(
                configuration.place('global', 'startup_modules', number),
                f'The startup module "{name}" is no module of this file{did_you_mean(name, known)}',
                'qudi logs an error and goes on without it.',
                _startup_lines([similar(name, known)]) if similar(name, known) else '',
            )


def _foreign_letters(configuration: Configuration) -> Iterator[Finding]:
    """Bytes of UTF-8 for which the encoding of this computer has no meaning: qudi reads with it."""
    content, encoding = configuration.content, configuration.system_encoding
    if codecs.lookup(encoding).name == 'utf-8':
        return  # qudi skips the mark then
    if content.startswith(codecs.BOM_UTF8):
        yield Finding(
            Place(str(configuration.path), 1),
            f'qudi reads this file as {encoding} here, but it begins with a byte order mark (BOM). '
            f'Save it without: as "UTF-8", not as "UTF-8 with BOM"',
            _REFUSED,
        )
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        yield Finding(
            Place(str(configuration.path), content.count(b'\n', 0, error.start) + 1),
            f'qudi reads this file as {encoding} here, and cannot read a letter of this line. '
            f'Write plain ASCII letters, or save the file as {encoding}',
            _REFUSED,
        )


def _causes(error: Any) -> Iterator[Any]:
    """Where a value may be of several kinds: what is wrong for the kind that it seems to be."""
    if error.validator != 'oneOf':
        yield error
        return
    if isinstance(error.instance, dict):  # a module, of this process or of another one
        kind = int('native_module_name' in error.instance)
    else:
        other_types = {one.schema_path[0] for one in error.context if one.validator == 'type'}
        kind = min(set(range(len(error.validator_value))) - other_types, default=0)
    for cause in error.context:
        if cause.schema_path[0] == kind:
            yield from _causes(cause)


def _refusal(configuration: Configuration, error: Any) -> Iterator[Finding]:
    """Say what qudi's schema refuses in words of a configuration."""
    keys = list(error.absolute_path)
    place = configuration.place(*keys)
    subject = f'"{keys[-1]}"' if keys else 'The file'
    if error.validator == 'additionalProperties':
        known = error.schema['properties']
        for key in error.instance:
            if key not in known:
                hint = did_you_mean(key, known) or f'; there are {", ".join(known)}'
                meant = similar(key, known)
                yield Finding(
                    configuration.place(*keys, key),
                    f'{subject} has an entry "{key}", which qudi does not know{hint}',
                    _REFUSED,
                    _in_its_place(key, meant, error.instance[key], 'options' in known),
                )
        return
    value = error.instance
    if error.validator == 'required':
        missing = [key for key in error.validator_value if key not in value]
        what = f'{subject} has no entry {", ".join(missing)}'
    elif error.validator == 'type' and value is None:
        what = f'{subject} is empty. Give it a value or delete the line'
    elif error.validator == 'type':
        kinds = error.validator_value
        kinds = [kinds] if isinstance(kinds, str) else kinds
        allowed = ' or '.join(_KINDS.get(kind, kind) for kind in kinds)
        what = f'{subject} is {written(value)}, but must be {allowed}'
    elif error.validator == 'pattern':
        place = configuration.place(*keys, value)
        what = f'"{value}" is no name for qudi: only letters without accents, digits and _'
    elif error.validator == 'uniqueItems':
        what = f'{subject} names something twice'
    else:
        what = f'{subject}: {error.message}'
    yield Finding(place, what, _REFUSED)


def _in_its_place(key: str, meant: str, value: object, is_module: bool) -> str:
    """The entry under the name that was meant, or where options of a module stand."""
    if meant:
        return f'{meant}: {written(value)}'
    return f'options:\n    {key}: {written(value)}' if is_module else ''


def _names_in_two_sections(configuration: Configuration) -> Iterator[Finding]:
    first: dict[str, Module] = {}
    for module in configuration.entries():
        other = first.setdefault(module.name, module)
        if other is not module:
            yield Finding(
                module.place(),
                f'"{module.name}" stands in "{other.base}" already (line {other.place().line})',
                'Names count for all sections. qudi then has neither of the two modules.',
            )


def _startup_lines(names: Iterable[str]) -> str:
    items = ''.join(f"        - '{name}'\n" for name in names)
    return f'global:\n    startup_modules:\n{items}'


# -------------------------------------------------------------------- classes


def class_findings(stream: Stream) -> Iterator[Finding]:
    """Modules of a stream that cannot be found, or of which another package's is loaded."""
    for member in stream.members:
        if member.problem and member.module and _is_near(stream, member):
            wanted = member.module.module_class
            meant, hint = similar(wanted, _CLASSES), did_you_mean(wanted, _CLASSES)
            yield Finding(
                member.module.place('module.Class'),
                f'qudi cannot load "{member.name}": {member.problem}{hint}',
                'No module that is connected to it can be activated either. If the name is right, '
                'its package is not installed in this Python environment.',
                f"module.Class: '{meant}'" if meant else '',
            )
        elif member.is_buffer and member.module and member.found:
            yield from _foreign_buffer(member, member.module)


def unread(stream: Stream) -> list[Member]:
    """Return the modules whose class could not be looked at, and that are no part of a stream."""
    return [one for one in stream.members if one.problem and not _is_near(stream, one)]


def _is_near(stream: Stream, member: Member) -> bool:
    """Whether a module is part of a stream, or connected to one."""
    if member.is_part or member.is_buffer or member.module is None:
        return True
    if any(member in other.windows for other in stream.members):
        return True
    connected = member.module.connections.values()
    targets = (stream.get(member.module.configuration, name) for name in connected)
    return any(target is not None and target.is_part for target in targets)


def _foreign_buffer(member: Member, module: Module) -> Iterator[Finding]:
    """A file of the same name, from another package or folder, that Python finds first."""
    assert member.found
    name = BUFFER.rpartition('.')[2]
    file = member.found.files.get(name)
    reader = ClassReader(module.configuration.extension_paths)
    if file is None or any('qudi.util.instream' in other for other in reader.imports_of(file)):
        return
    yield Finding(
        module.place('module.Class'),
        f'"{member.name}" would be the {name} of another package: {file}',
        'It has the same name and is found first. The options, the monitor and the other buffers '
        'of this package do not know it.',
        f"module.Class: '{BUFFER}'",
    )


def _own_modules(stream: Stream) -> Iterator[tuple[Member, Module]]:
    """Members whose module is loaded in their own process, with it."""
    for member in stream.members:
        if member.module is not None and not member.module.is_remote:
            yield member, member.module


# -------------------------------------------------------------------- options


def option_findings(stream: Stream) -> Iterator[Finding]:
    """Options that a module of a stream does not have, misses, or refuses."""
    for member, module in _own_modules(stream):
        is_ours = member.is_buffer or _is_monitor(member)
        if is_ours:
            yield from _own_options(member, module)
        if member.found and not member.found.unread and _is_near(stream, member):
            yield from _missing_options(member, module)
            if not is_ours:
                yield from _other_options(member, module)


def _is_monitor(member: Member) -> bool:
    return bool(member.found and 'InStreamMonitorLogic' in member.found.files)


def _own_options(member: Member, module: Module) -> Iterator[Finding]:
    """The modules of this package know best what they refuse."""
    check = BufferOptions.from_config if member.is_buffer else check_monitor_options
    known = member.found.options if member.found else {}
    of_buffer = [one.name for one in fields(BufferOptions)]
    for option, value in module.options.items():
        if member.is_buffer and option in known and option not in of_buffer:
            continue  # of a class that is made from the buffer
        try:
            check(member.name, {option: value})
        except ValueError as error:
            meant = similar(option, known) if option not in known else ''
            yield Finding(
                module.place('options', str(option)),
                str(error),
                'The module does not load, and what is connected to it cannot be activated.',
                f'{meant}: {written(value)}' if meant else '',
            )


def _other_options(member: Member, module: Module) -> Iterator[Finding]:
    """An option that qudi ignores is a finding if it is nearly one that the module has."""
    assert member.found
    known = member.found.options
    for option in module.options:
        meant = similar(option, known) if option not in known else ''
        if meant and meant not in module.options:
            yield Finding(
                module.place('options', str(option)),
                f'"{member.name}" has no option "{option}", did you mean "{meant}"?',
                'qudi ignores an option that a module does not have.',
                f'{meant}: {written(module.options[option])}',
            )


def _missing_options(member: Member, module: Module) -> Iterator[Finding]:
    assert member.found
    for option, fact in member.found.options.items():
        if fact.is_required and option not in module.options:
            yield Finding(
                module.place(),
                f'"{member.name}" has no option "{option}", which it needs',
                'The module does not load, and what is connected to it cannot be activated.',
                f'options:\n    {option}: ...',
            )


# -------------------------------------------------------------------- connections


def connection_findings(stream: Stream) -> Iterator[Finding]:
    """Connectors that name nothing, do not exist, are missing, or do not fit."""
    for member, module in _own_modules(stream):
        known = member.found.connectors if member.found and not member.found.unread else None
        for connector, name in module.connections.items():
            place = module.place('connect', connector)
            target = stream.get(module.configuration, name)
            if known is not None and connector not in known:
                yield _unknown_connector(member, place, connector, list(known))
            elif target is None:
                yield _dead_end(member, module, place, connector, name)
            elif target is member:
                yield Finding(
                    place,
                    f'"{name}" is connected to itself',
                    'qudi activates first what a module is connected to, and would never end.',
                )
            elif known is not None and target.found and not target.found.unread:
                wanted = known[connector].interface
                if wanted and wanted not in target.found.ancestors:
                    yield Finding(
                        place,
                        f'"{member.name}" cannot be connected to "{name}": its connector '
                        f'"{connector}" needs a {wanted}',
                        'qudi cannot activate the module.',
                    )
        is_misspelt = known and any(connector not in known for connector in module.connected)
        if known is None or is_misspelt or not set(module.entry) <= _ENTRIES:
            continue
        for connector, fact in known.items():
            if not fact.is_optional and connector not in module.connected:
                yield Finding(
                    module.place('connect'),
                    f'The connector "{connector}" of "{member.name}" is connected to nothing',
                    'qudi cannot activate the module.',
                    f'{module.base}:\n{connection_lines(member.name, connector, "...")}',
                )


def _unknown_connector(member: Member, place: Place, connector: str, known: list[str]) -> Finding:
    hint = did_you_mean(connector, known) or f'; it has {", ".join(known) or "none"}'
    meant = similar(connector, known) or (known[0] if len(known) == 1 else '')
    assert member.module
    target = member.module.connections[connector]
    return Finding(
        place,
        f'"{member.name}" has no connector "{connector}"{hint}',
        'qudi cannot activate the module.',
        f"{meant}: '{target}'" if meant else '',
    )


def _dead_end(member: Member, module: Module, place: Place, connector: str, name: str) -> Finding:
    others = [other for other in module.configuration.modules if other != member.name]
    meant = similar(name, others)
    return Finding(
        place,
        f'"{member.name}" is connected to "{name}", which is no module of this file'
        f'{did_you_mean(name, others)}',
        'qudi cannot activate the module.',
        f"{connector}: '{meant}'" if meant else '',
    )


def ignored_options(stream: Stream) -> Iterator[str]:
    """Options that a module of a stream does not have, and that are no slip of the pen."""
    for member in stream.members:
        if member.is_buffer or _is_monitor(member) or not member.found or member.found.unread:
            continue
        if member.module is None or not _is_near(stream, member):
            continue
        known = member.found.options
        for option in member.module.options:
            if option not in known and not similar(option, known):
                place = member.module.place('options', str(option))
                yield f'{place}: "{member.name}" has no option "{option}", qudi ignores it'
