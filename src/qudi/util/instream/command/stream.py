"""Who reads what: the part of one or several configurations that belongs to streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from qudi.util.instream.command.classes import ClassNotFoundError, ClassReader, ModuleClass
from qudi.util.instream.command.configuration import Configuration, Module, Place

__all__ = ['BUFFER', 'Member', 'Stream', 'read_stream']

BUFFER = 'instream_buffer.buffer.DataInStreamBuffer'
_BUFFER_CLASS = BUFFER.rpartition('.')[2]
_CLIENT_CLASS = 'RemoteInStream'  # a buffer that reads one of another process
_INTERFACE = 'DataInStreamInterface'
_LOCAL = {'localhost', '127.0.0.1', '::1'}


@dataclass(frozen=True)
class Reference:
    """Which module of another process an entry stands for."""

    name: str
    address: str
    port: object
    keys: tuple[str, ...]  # where in the entry the name stands


@dataclass(eq=False)
class Member:
    """A module, and what it has to do with a stream.

    `module` is None for one of another process whose configuration is not known. `reads` has what
    the module reads, by its connectors. `readers` are those that read it, and `windows` all others
    that are connected to it.
    """

    name: str
    module: Module | None = None
    found: ModuleClass | None = None
    problem: str = ''  # why the class is not known
    address: str = ''  # of another process
    reads: dict[str, Member] = field(default_factory=dict)
    readers: list[Member] = field(default_factory=list)
    windows: list[Member] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """Where its entry stands, or its connection to what it reads."""
        assert self.module is not None  # what is outside is no reader
        connector = next(iter(self.reads), None)
        if connector is None:
            return self.module.place()
        keys = self.reference.keys if self.reference else ('connect', connector)
        return self.module.place(*keys)

    @property
    def reference(self) -> Reference | None:
        """The module of another process for which this entry stands, if it does."""
        if self.module is not None and self.module.is_remote:
            entry, keys = dict(self.module.entry), ('native_module_name', 'address', 'port')
        elif self.module is not None and self.found and _CLIENT_CLASS in self.found.files:
            entry, keys = self.module.options, ('buffer', 'host', 'port')
        else:
            return None
        name, address, port = (entry.get(key) for key in keys)
        place = keys[:1] if self.module.is_remote else ('options', keys[0])
        return Reference(str(name), str(address), port, place)

    @property
    def is_remote(self) -> bool:
        """Whether this is an entry for a module of another process."""
        return self.reference is not None

    @property
    def is_buffer(self) -> bool:
        """Whether it is a DataInStreamBuffer, or a class that is made from one."""
        if self.found:
            return _BUFFER_CLASS in self.found.ancestors
        return bool(self.module and self.module.module_class.endswith(f'.{_BUFFER_CLASS}'))

    @property
    def provides_stream(self) -> bool:
        """Whether it is known that a stream can be read from it."""
        return self.is_buffer or bool(self.found and _INTERFACE in self.found.ancestors)

    @property
    def is_program(self) -> bool:
        """Whether it reads a stream and is no buffer."""
        return bool(self.reads) and not self.is_buffer and not self.is_remote

    @property
    def is_part(self) -> bool:
        """Whether it belongs to a stream at all."""
        return self.provides_stream or bool(self.reads) or bool(self.readers)

    @property
    def configuration(self) -> Configuration | None:
        """Where its entry stands."""
        return self.module.configuration if self.module else None


@dataclass
class Stream:
    """All modules of all configurations."""

    configurations: list[Configuration]
    members: list[Member] = field(default_factory=list)
    outside: list[Member] = field(default_factory=list)  # in processes that are not known

    def get(self, configuration: Configuration, name: str) -> Member | None:
        """Return the module of that name in a configuration."""
        for member in self.members:
            if member.name == name and member.configuration is configuration:
                return member
        return None

    def server_of(self, member: Member) -> Configuration | None:
        """Return the configuration of the process in which a remote module runs, if it is known.

        Servers on several computers may have the same port: then the name of the module decides.
        """
        elsewhere = [other for other in self.members if _is_elsewhere(other, member)]
        server = self._only_server(member, by_name=bool(elsewhere))
        if any(self._only_server(other, by_name=True) is server for other in elsewhere):
            return None
        return server

    def _only_server(self, member: Member, by_name: bool) -> Configuration | None:
        """Return the one configuration with the port; of several, the one that shares the name."""
        reference = member.reference
        if reference is None or reference.port is None:
            return None
        servers = [
            configuration
            for configuration in self.configurations
            if configuration is not member.configuration
            if configuration.server_port == reference.port
        ]
        if by_name or len(servers) > 1:
            servers = [one for one in servers if one.shares(reference.name)]
        return servers[0] if len(servers) == 1 else None

    @property
    def sources(self) -> list[Member]:
        """What is read or can be."""
        members = [*self.members, *self.outside]
        return [member for member in members if member.readers or member.provides_stream]

    @property
    def roots(self) -> list[Member]:
        """The beginnings of streams: devices, and modules of processes that are not known."""
        roots: list[Member] = []
        reached: set[int] = set()
        # A ring of buffers has no beginning: those that read something come last
        for member in sorted(self.sources, key=lambda one: bool(one.reads)):
            if not member.reads or id(member) not in reached:
                roots.append(member)
                reached.update(id(one) for one in below(member))
        return roots


def _is_elsewhere(other: Member, member: Member) -> bool:
    """Whether two entries stand for servers with the same port on different computers."""
    one, two = other.reference, member.reference
    if one is None or two is None or one.port != two.port or one.address == two.address:
        return False
    names = {one.address, two.address} - _LOCAL
    # On the server's own computer and through an SSH tunnel, localhost is what others name
    return len(names) == 2 or (len(names) == 1 and other.configuration is member.configuration)


def below(member: Member, seen: set[int] | None = None) -> Iterator[Member]:
    """Yield a module, everything that reads it and all windows."""
    seen = set() if seen is None else seen
    if id(member) not in seen:
        seen.add(id(member))
        yield member
        for other in (*member.readers, *member.windows):
            yield from below(other, seen)


def read_stream(configurations: Iterable[Configuration]) -> Stream:
    """Read the classes of all modules and connect them."""
    stream = Stream(list(configurations))
    for configuration in stream.configurations:
        reader = ClassReader(configuration.extension_paths)
        for module in configuration.modules.values():
            stream.members.append(_member(reader, module))
    for configuration in stream.configurations:
        _connect(stream, configuration)
    _connect_processes(stream)
    _add_windows(stream)
    return stream


def _member(reader: ClassReader, module: Module) -> Member:
    member = Member(module.name, module)
    if not module.module_class:
        return member
    try:
        member.found = reader.read(module.base, module.module_class)
    except ClassNotFoundError as error:
        member.problem = str(error)
    return member


def _connect(stream: Stream, configuration: Configuration) -> None:
    """Find what each module of a configuration reads, within its process."""
    for member in stream.members:
        if member.configuration is not configuration or member.module is None:
            continue
        for connector, name in member.module.connections.items():
            target = stream.get(configuration, name)
            if target is not None and _reads_stream(member, connector, target):
                member.reads[connector] = target
                target.readers.append(member)


def _reads_stream(member: Member, connector: str, target: Member) -> bool:
    if member.found and connector in member.found.connectors:
        return member.found.connectors[connector].interface == _INTERFACE
    # The class is not known, or misspelt connector: then it is what it is connected to
    return target.provides_stream


def _connect_processes(stream: Stream) -> None:
    """Connect the entries for modules of other processes to these modules."""
    outside: dict[tuple[str, str], Member] = {}
    for member in stream.members:
        reference = member.reference
        if reference is None:
            continue
        server = stream.server_of(member)
        target = stream.get(server, reference.name) if server else None
        if target is None and (member.readers or member.is_buffer):
            address = f'{reference.address}:{reference.port}'
            key = reference.name, address
            target = outside.setdefault(key, Member(reference.name, address=address))
        if target is not None and (member.readers or target.provides_stream):
            member.reads[reference.keys[-1]] = target
            target.readers.append(member)
    stream.outside.extend(outside.values())


def _add_windows(stream: Stream) -> None:
    """Find what is connected to programs, and so shows or uses their streams."""
    added = True
    while added:
        added = False
        for member in stream.members:
            if member.module is None or member.is_part:
                continue
            for name in member.module.connections.values():
                target = stream.get(member.module.configuration, name)
                if target is None or member in target.windows or target is member:
                    continue
                is_used = target.is_program or any(
                    target in other.windows for other in stream.members
                )
                if is_used:
                    target.windows.append(member)
                    added = True
