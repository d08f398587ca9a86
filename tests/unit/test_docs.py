"""What the documents say about the tests is true."""

import re
from pathlib import Path

import pytest

from breakages import BREAKAGES

ROOT = Path(__file__).parents[2]
RELIABILITY = (ROOT / 'docs' / 'reliability.md').read_text(encoding='utf-8')


@pytest.mark.parametrize(
    'document',
    ['README.md', 'docs/design.md', 'docs/reliability.md', 'docs/benchmarks.md', 'docs/remote.md'],
)
def test_every_test_that_a_document_names_exists(document):
    named = set(re.findall(r'\btest_\w+(?!\w*\.py)\b', (ROOT / document).read_text('utf-8')))
    sources = [path.read_text(encoding='utf-8') for path in (ROOT / 'tests').rglob('test_*.py')]
    existing = set(re.findall(r'^def (test_\w+)', '\n'.join(sources), re.MULTILINE))
    files = {path.stem for path in (ROOT / 'tests').rglob('test_*.py')}
    assert named <= existing | files, f'{document} names tests that do not exist'


def test_the_table_of_breakages_is_the_one_that_is_checked():
    rows = [f'| {b.what} | `{b.path.name}` | `{b.test_name}` |' for b in BREAKAGES]
    header = '| breakage | file | caught by |\n| --- | --- | --- |\n'
    table = RELIABILITY.split(header)[1].split('\n\n')[0]
    assert table.splitlines() == rows, 'tests/breakages.py prints the table as it must be'
    assert len(rows) == len(set(rows)) > 15


@pytest.mark.parametrize('breakage', BREAKAGES, ids=lambda breakage: breakage.what)
def test_each_breakage_is_of_a_line_that_exists(breakage):
    source = (ROOT / breakage.path).read_text(encoding='utf-8')
    assert source.count(breakage.line) == 1
