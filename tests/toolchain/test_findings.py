"""What `qudi-instream check` says of a configuration is what real qudi does with it."""

import importlib
from pathlib import Path

import pytest
from qudi.core.config.validator import ValidationError, validate_config
from qudi.core.module import Base
from qudi.util.yaml import YAML, DuplicateKeyError, YAMLError

import qudi
from configurations import BROKEN, GOOD, replaced
from qudi.util.instream.command.check import findings_of
from qudi.util.instream.command.classes import ClassReader
from qudi.util.instream.command.configuration import Configuration
from qudi.util.instream.command.stream import read_stream

# What other packages warn of when modules of qudi import them is not asked here
pytestmark = pytest.mark.filterwarnings('ignore')

# What a finding says of qudi, and what must fail then
FAILS = ('cannot activate', 'does not load', 'can be activated', 'never end', 'does not create')
REFUSED = 'qudi refuses the whole file'


@pytest.fixture
def reasons(tmp_path):

    def find(text):
        path = tmp_path / 'lab.cfg'
        path.write_text(text, encoding='utf-8')
        return [one.why for one in findings_of(read_stream([Configuration(path)]))]

    return find


def activate_all(host, text):
    """Load a configuration as qudi does, and activate all its modules. Return what failed."""
    configuration = YAML().load(text)
    failures = []
    try:
        host.load(configuration)
    except (RuntimeError, ValueError) as error:
        failures.append(error)
    for name in host.module_manager.module_names:
        try:
            host.activate(name)
        except Exception as error:
            failures.append(error)
    return failures


def test_all_modules_of_a_good_configuration_can_be_activated(qudi):
    assert activate_all(qudi, GOOD) == []


@pytest.mark.parametrize('what', BROKEN)
def test_qudi_refuses_what_check_calls_refused_and_nothing_else(reasons, what):
    *changes, _ = BROKEN[what]
    text = replaced(GOOD, changes)
    is_refused = False
    try:
        validate_config(YAML().load(text))
    except (ValidationError, DuplicateKeyError):
        is_refused = True
    assert is_refused == any(why.startswith(REFUSED) for why in reasons(text))


@pytest.mark.parametrize('encoding', ['utf-8', 'cp1252'])
@pytest.mark.parametrize(
    'begin', ['', '\ufeff', '\ufeff# lab\n', '# \u00c1ngel\n', '# M\u00fcller\n']
)
def test_qudi_refuses_the_letters_that_check_calls_refused(tmp_path, encoding, begin):
    """It opens a file with the encoding of the computer, and takes each of these for no file."""
    path = tmp_path / 'lab.cfg'
    path.write_bytes((begin + GOOD).encode())
    is_refused = False
    try:
        with path.open(encoding=encoding) as file:
            validate_config(YAML().load(file))
    except (ValidationError, YAMLError, ValueError):
        is_refused = True
    configuration = Configuration(path, system_encoding=encoding)
    whys = [one.why for one in findings_of(read_stream([configuration]))]
    assert is_refused == any(why.startswith(REFUSED) for why in whys)


@pytest.mark.parametrize('what', BROKEN)
def test_a_module_that_check_says_fails_does_fail(qudi, reasons, what):
    *changes, _ = BROKEN[what]
    text = replaced(GOOD, changes)
    whys = reasons(text)
    if any(why.startswith(REFUSED) for why in whys):
        return  # qudi has no modules then
    must_fail = any(words in why for why in whys for words in FAILS)
    has_failed = bool(activate_all(qudi, text))
    if must_fail:
        assert has_failed, f'qudi activates all, although check says: {whys}'
    elif has_failed:
        assert 'Names count for all sections' in ''.join(whys), 'check does not say that it fails'


@pytest.mark.parametrize(
    'folder', ['logic', 'hardware/dummy', 'hardware/instream_buffer', 'hardware/ni_x_series']
)
def test_the_source_of_a_class_says_what_the_class_has(folder):
    """For all modules of qudi-iqo-modules and of this package in these folders."""
    compared = 0
    reader = ClassReader()
    for path in [path for root in qudi.__path__ for path in Path(root, folder).glob('*.py')]:
        base, *parts = Path(folder, path.stem).parts
        try:
            module = importlib.import_module('.'.join(['qudi', base, *parts]))
        except Exception:  # some modules of qudi-iqo-modules cannot be imported
            continue
        for name, cls in vars(module).items():
            if not (isinstance(cls, type) and issubclass(cls, Base)):
                continue
            if cls.__module__ != module.__name__:
                continue
            found = reader.read(base, '.'.join([*parts, name]))
            connectors = cls._meta['connectors'].values()
            assert {one.name: (one.interface, one.optional) for one in connectors} == {
                key: (fact.interface, fact.is_optional) for key, fact in found.connectors.items()
            }, path
            options = cls._meta['config_options'].values()
            assert {one.name: one.missing.name == 'error' for one in options} == {
                key: fact.is_required for key, fact in found.options.items()
            }, path
            assert not found.unread, path
            compared += 1
    assert compared >= 2
