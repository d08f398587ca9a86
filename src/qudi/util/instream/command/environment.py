"""What is wrong in the Python environment in which the command runs, and so qudi."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from jupyter_core.paths import jupyter_path
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from qudi.util.instream.command.configuration import Place
from qudi.util.instream.command.findings import Finding
from qudi.util.instream.command.stream import Stream
from qudi.util.instream.versions import broken_pyside

__all__ = ['environment_findings']

# Whose requirements of whom are looked at
_PACKAGES = ('qudi-core', 'qudi-iqo-modules', 'qudi-instream-buffer')
_QT = ('pyside2', 'pyside6')


def environment_findings(stream: Stream, packages: Sequence[str] = _PACKAGES) -> Iterator[Finding]:
    """Releases that do not fit each other, and what a window of qudi misses.

    Parameters
    ----------
    stream : Stream
        The stream of the configurations.
    packages : sequence of str
        The packages that must be there with what they require.
    """
    here = Place(sys.prefix)
    problem = broken_pyside()
    if problem:
        what, _, cure = problem.partition('. ')
        yield Finding(here, what, 'qudi ends without a word.', command=cure.partition(': ')[2])
    for package in packages:
        yield from _unmet(here, package, bool(problem))
    shows_console = any(
        configuration.settings.get('hide_manager_window') is not True
        for configuration in stream.configurations
    )
    if shows_console and not _has_kernel():
        yield Finding(
            here,
            'There is no Jupyter kernel named qudi',
            'The console in qudi\'s window needs it: qudi says "No such kernel named qudi" when it '
            'starts.',
            command='qudi-install-kernel',
        )


def _unmet(here: Place, package: str, pyside_is_told: bool) -> Iterator[Finding]:
    """What a package requires of the others, and the environment does not have."""
    try:
        requirements = importlib.metadata.requires(package) or []
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            here,
            f'{package} is not installed in this Python environment',
            'Run the command in the environment that qudi runs in.',
            command=f'python -m pip install {package}',
        )
        return
    for requirement in map(Requirement, requirements):
        name = canonicalize_name(requirement.name)
        is_needed = requirement.marker is None or requirement.marker.evaluate({'extra': ''})
        if not is_needed or name not in (*_PACKAGES, *_QT) or (name in _QT and pyside_is_told):
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = ''
        if not found or not requirement.specifier.contains(found, prereleases=True):
            yield Finding(
                here,
                f'{package} {version} needs {name}{requirement.specifier}, but '
                f'{f"{name} {found}" if found else "none"} is installed',
                'They were not made for each other: modules may fail to load.',
                command=(
                    f'python -m pip install "{package}=={version}" "{name}{requirement.specifier}"'
                ),
            )


def _has_kernel() -> bool:
    return any(Path(path, 'qudi', 'kernel.json').is_file() for path in jupyter_path('kernels'))
