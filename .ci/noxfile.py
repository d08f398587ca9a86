"""Each step of the checks, defined once: `.ci/run` and the GitHub workflow call these sessions.

nox -f .ci/noxfile.py --list
nox -f .ci/noxfile.py -s lint types "suite(3.12-pyside6)" -- tests/unit
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parents[1]
IS_LINUX, IS_WINDOWS = sys.platform == 'linux', sys.platform == 'win32'
# qudi with PySide2 runs on Python 3.10 only
GENERATIONS = [('3.10', 'pyside2'), *((f'3.{minor}', 'pyside6') for minor in range(10, 15))]
MAIN_PYTHON = '3.11'
BOTH = [('3.10', 'pyside2'), (MAIN_PYTHON, 'pyside6')]
# qudi-iqo-modules 1.0.0 asks for qudi-core 1.7.0 exactly, so pip would not install it
NEXT_QUDI_CORE = '1.8.0'
WITHOUT_SCREEN = {'QT_QPA_PLATFORM': 'offscreen', 'DISPLAY': None, 'WAYLAND_DISPLAY': None}

nox.needs_version = '>=2025.5.1'
nox.options.default_venv_backend = 'uv|virtualenv'
nox.options.envdir = str(ROOT / '.nox')
nox.options.sessions = ['lint', 'types']


def for_each(generations: list[tuple[str, str]]) -> nox.parametrize:
    names = [f'{python}-{generation}' for python, generation in generations]
    return nox.parametrize('python,generation', generations, ids=names)


def install(session: nox.Session, *extras: str) -> None:
    session.chdir(ROOT)
    session.install('-e', f'.[{",".join(extras)}]')


# -------------------------------------------------------------------- without running it


@nox.session(python=MAIN_PYTHON)
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.chdir(ROOT)
    extras = nox.project.load_toml(ROOT / 'pyproject.toml')['project']['optional-dependencies']
    session.install(*(tool for tool in extras['lint'] if tool.startswith('ruff')))
    session.run('ruff', 'check', '.')
    session.run('ruff', 'format', '--check', '.')


@nox.session(python=MAIN_PYTHON)
def types(session: nox.Session) -> None:
    """Check the types of all of src."""
    install(session, 'pyside6', 'lint')
    session.run('mypy')


@nox.session(python=MAIN_PYTHON)
def site(session: nox.Session) -> None:
    """Build the documentation as a site; a warning is an error."""
    install(session, 'pyside6', 'docs')
    session.run('sphinx-build', '-q', '-W', '--keep-going', 'docs', session.create_tmp())


# -------------------------------------------------------------------- what a user pastes


def readme_line(word: str, generation: str) -> str:
    """The line in README.md with this word, as a user of this system pastes it."""
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    (line,) = re.findall(rf'^python3 -m venv .*{word}.*$', text, re.MULTILINE)
    line = line.replace('pyside6', generation)
    if IS_WINDOWS:
        line = line.replace('python3', 'py').replace('.venv/bin/', '.venv\\Scripts\\')
    return line


def paste(session: nox.Session, line: str, folder: Path, **variables: str | None) -> None:
    """Run a line in a shell in which `python3` (on Windows `py`) is the Python of the session."""
    session.log(line)
    changed: dict[str, str | None] = {
        'PATH': os.pathsep.join([session.bin, os.environ['PATH']]),
        'VIRTUAL_ENV': session.virtualenv.location if IS_WINDOWS else None,
        'PYTHONPATH': None,
        'DISPLAY': None,
        'WAYLAND_DISPLAY': None,
        'XDG_RUNTIME_DIR': str(folder.parent),
        **variables,
    }
    both = {**os.environ, **changed}
    environment = {name: value for name, value in both.items() if value is not None}
    if subprocess.run(line, shell=True, cwd=folder, env=environment, check=False).returncode != 0:
        session.error(f'failed: {line}')


@nox.session
@for_each(GENERATIONS)
def readme(session: nox.Session, generation: str) -> None:
    """Paste the lines of README.md in a fresh clone: the tests, with their coverage; the demo."""
    with tempfile.TemporaryDirectory(prefix='readme-', ignore_cleanup_errors=True) as directory:
        clone = Path(directory) / 'clone'
        session.run('git', 'clone', '-q', str(ROOT), str(clone), external=True)
        # Lines and branches must not be below fail_under, where everything runs
        given = shlex.split(os.environ.get('PYTEST_ADDOPTS', ''))
        options = shlex.join(session.posargs or [*given, *['--cov'] * IS_LINUX])
        tests = readme_line('pytest', generation)
        paste(session, tests, clone, QT_QPA_PLATFORM='offscreen', PYTEST_ADDOPTS=options)
        paste(session, readme_line('instream-demo', generation), clone)
        if shutil.which('xvfb-run'):
            # Two generations at once must not try the same number of a screen
            first = 100 * (1 + GENERATIONS.index((str(session.python), generation)))
            demo = '.venv/bin/qudi-instream-demo --seconds 5'
            paste(session, f'xvfb-run -a -n {first} {demo}', clone)


@nox.session(python=MAIN_PYTHON)
def wheel(session: nox.Session) -> None:
    """Install the wheel alone, and run the demo without a checkout."""
    session.chdir(ROOT)
    folder = session.create_tmp()
    session.run('uv', 'build', '-q', '--wheel', '-o', folder, '.', external=True)
    (built,) = Path(folder).glob('*.whl')
    session.install(str(built))
    session.chdir(folder)
    session.run('qudi-instream-demo', '--headless', env=WITHOUT_SCREEN)
    session.run('qudi-instream', 'examples', 'examples')
    compared = ['git', 'diff', '--no-index', '--exit-code', str(ROOT / 'config'), 'examples']
    session.run(*compared, external=True)


# -------------------------------------------------------------------- tests in other ways


@nox.session
@for_each(GENERATIONS)
def suite(session: nox.Session, generation: str) -> None:
    """Run the tests, or those that are named after `--`, in an environment that can be kept."""
    install(session, generation, 'test')
    session.run('pytest', *session.posargs, env=WITHOUT_SCREEN)


@nox.session
@for_each(BOTH)
def long(session: nox.Session, generation: str) -> None:
    """Run the tests that take long."""
    install(session, generation, 'test')
    session.run('pytest', '-m', 'long', *session.posargs, env=WITHOUT_SCREEN)


@nox.session
@for_each(BOTH)
def lowest(session: nox.Session, generation: str) -> None:
    """Run the tests with the lowest version that pyproject.toml allows of each dependency."""
    session.chdir(ROOT)
    versions = str(Path(session.create_tmp()) / 'lowest.txt')
    compile_them = ['uv', 'pip', 'compile', '-q', '--resolution', 'lowest-direct']
    options = ['--extra', generation, '--extra', 'test', '--python-version', str(session.python)]
    session.run(*compile_them, *options, '-o', versions, 'pyproject.toml', external=True)
    session.install('-r', versions)
    session.install('--no-deps', '-e', '.')
    session.run('pytest', *session.posargs, env=WITHOUT_SCREEN)


@nox.session(python=MAIN_PYTHON)
def next_qudi(session: nox.Session) -> None:
    """Run the tests with a qudi-core that is newer than qudi-iqo-modules asks for."""
    install(session, 'pyside6', 'test')
    # With what it asks for, rpyc 6 among it, but for the release of Qt that aborts
    session.install(f'qudi-core=={NEXT_QUDI_CORE}', 'PySide6!=6.12.0')
    session.run('pytest', *session.posargs, env=WITHOUT_SCREEN)


@nox.session
@for_each(BOTH)
def benchmarks(session: nox.Session, generation: str) -> None:
    """See that the benchmarks work, whatever they measure here."""
    install(session, generation, 'test', 'benchmark')
    output = session.create_tmp()
    session.run(
        *('python', 'tests/benchmarks/run.py', '--quick', '--output', output), env=WITHOUT_SCREEN
    )


# -------------------------------------------------------------------- tests of the tests


@nox.session(python=MAIN_PYTHON)
def breakages(session: nox.Session) -> None:
    """Break what needs threads, qudi or processes, and see the named tests fail."""
    install(session, 'pyside6', 'test')
    session.run('python', 'tests/tools/breakages.py', *session.posargs, env=WITHOUT_SCREEN)


@nox.session(python=MAIN_PYTHON)
def mutation(session: nox.Session) -> None:
    """Let mutmut change the parts without Qt, and count what their unit tests notice."""
    install(session, 'pyside6', 'test')
    session.install('mutmut>=3.8.1,<3.9')
    # What is installed would be tested instead of the changed copy
    session.run('uv', 'pip', 'uninstall', '-q', 'qudi-instream-buffer', external=True)
    session.run('python', 'tests/tools/mutation.py', *session.posargs, env=WITHOUT_SCREEN)
