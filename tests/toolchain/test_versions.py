"""The modules refuse a release of PySide6 that would abort qudi, and no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / 'src'
MODULES = (
    'hardware.instream_buffer.buffer',
    'hardware.interfuse.instream_buffer',
    'logic.instream_monitor_logic',
    'gui.instream_monitor.instream_monitor_gui',
)


@pytest.fixture
def errors_of_import(tmp_path):
    """Import a module while it looks as if a release of PySide6 was installed."""

    def run(module, version):
        metadata = tmp_path / f'PySide6-{version}.dist-info' / 'METADATA'
        metadata.parent.mkdir()
        metadata.write_text(f'Metadata-Version: 2.1\nName: PySide6\nVersion: {version}\n')
        result = subprocess.run(
            [sys.executable, '-c', f'import qudi.{module}'],
            env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), str(SOURCE)])},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert bool(result.returncode) == ('Error' in result.stderr), result.stderr
        return result.stderr

    return run


@pytest.mark.skipif(sys.version_info >= (3, 12), reason='that release is good there')
@pytest.mark.parametrize('module', MODULES)
def test_the_broken_release_is_refused_with_what_to_type(errors_of_import, module):
    last = errors_of_import(module, '6.12.0').strip().splitlines()[-1]
    assert last.startswith('ImportError: PySide6 6.12.0 aborts Python 3.1')
    assert last.endswith('python -m pip install "PySide6!=6.12.0"')


@pytest.mark.parametrize('version', ['6.11.3', '6.12.1', '6.13.0'])
def test_other_releases_are_not_refused(errors_of_import, version):
    assert errors_of_import(MODULES[0], version) == ''


@pytest.mark.skipif(sys.version_info < (3, 12), reason='that release is bad there')
def test_the_broken_release_is_good_for_later_pythons(errors_of_import):
    assert errors_of_import(MODULES[0], '6.12.0') == ''
