"""Let mutmut make small changes in the parts that need no Qt; count what their unit tests notice.

    python tests/tools/mutation.py [--children N] [part ...]

The source and the tests are copied to a temporary folder, and changed there, one place at a time.
Printed are the score of each part, and the changes that no test notices. Those that
docs/mutation.md names are without effect and do not count. The exit code is 0 only if each score is
95 % at least.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from difflib import ndiff
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / 'docs' / 'mutation.md'
LEAST_SCORE = 95.0
# The files, below util/instream, and their tests, below tests/unit
PARTS = {
    'clock': ('device/clock.py', ['test_clock.py']),
    'overflow': ('stream/overflow.py', ['test_stream.py', 'test_stream_records.py']),
    'plan': ('device/plan.py', ['test_poll_plan.py']),
    'ring': ('stream/ring.py', ['test_ring.py']),
    'selection': ('stream/selection.py', ['test_selection.py']),
    'settings': ('stream/settings.py', ['test_settings.py']),
    'stream': ('stream/stream.py', ['test_stream.py', 'test_stream_records.py']),
}
# A change may let a test wait for ever, which is noticed after so many times the usual time
CONFIGURATION = """
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["src/qudi/util/instream/{file}"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = ["-n0", "-p", "no:cacheprovider", "--timeout=20"]
timeout_multiplier = 4.0
timeout_constant = 3.0
"""
# All tests have passed, there was none, or none reaches the function. Whatever else happens to
# pytest or its process is noticed, time-outs included.
NOT_NOTICED = (0, 5, 33)


@dataclass(frozen=True)
class Change:
    """One change of a function, as mutmut made it."""

    part: str
    name: str  # of the function, with that of its class
    lines: str  # what stands there now
    is_noticed: bool

    @property
    def row(self) -> str:
        lines = self.lines.replace('|', '\\|')  # else a column would end there
        return f'| {self.part} | `{self.name}` | `{lines}` |'


def copy_project(copy: Path, part: str) -> None:
    for folder in ('src', 'tests'):
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / folder, copy / folder, ignore=ignored)
    file, names = PARTS[part]
    tests = json.dumps([f'tests/unit/{name}' for name in names])
    text = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    text += CONFIGURATION.format(file=file, tests=tests)
    (copy / 'pyproject.toml').write_text(text, encoding='utf-8')


def functions(source: str) -> dict[str, list[str]]:
    """The lines of each function, by its name; mutmut gives each changed one a name of its own."""
    lines = source.splitlines()
    return {
        node.name: [
            line.partition('  #')[0].strip() for line in lines[node.lineno : node.end_lineno]
        ]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    }


def changes_of(part: str, children: int) -> list[Change]:
    """Make the changes of a part, and return what became of them."""
    file, _ = PARTS[part]
    with tempfile.TemporaryDirectory(prefix='mutation-', ignore_cleanup_errors=True) as directory:
        copy = Path(directory)
        copy_project(copy, part)
        # For programs that tests start. Python remembers a folder that is not there when it begins
        changed = copy / 'mutants' / 'src'
        changed.mkdir(parents=True)
        environment = {**os.environ, 'PYTHONPATH': str(changed)}
        command = ['mutmut', 'run', '--max-children', str(children)]
        subprocess.run(command, cwd=copy, env=environment, check=True)
        path = changed / 'qudi' / 'util' / 'instream' / file
        found = functions(path.read_text(encoding='utf-8'))
        meta = json.loads(Path(f'{path}.meta').read_text(encoding='utf-8'))
    changes = []
    for key, code in meta['exit_code_by_key'].items():
        name = key.rpartition('.')[2]
        original, _, _ = name.partition('__mutmut_')
        before, after = found[f'{original}__mutmut_orig'], found[name]
        new = [line[2:] for line in ndiff(before, after) if line.startswith('+ ')]
        function = original[2:].replace('ǁ', '.')
        lines = ' '.join(new) or '(a line less)'
        changes.append(Change(part, function, lines, code not in NOT_NOTICED))
    return changes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n\n')[0])
    parser.add_argument('parts', nargs='*', help=f'some of {", ".join(PARTS)}; all by default')
    parser.add_argument('--children', type=int, default=os.cpu_count(), help='at the same time')
    options = parser.parse_args()
    table = TABLE.read_text(encoding='utf-8')
    scores, rows, unread = [], [], []
    for part in options.parts or PARTS:
        changes = changes_of(part, options.children)
        silent = [change for change in changes if not change.is_noticed]
        named = sum(change.row in table for change in silent)
        noticed = len(changes) - len(silent)
        scores.append(100 * noticed / (len(changes) - named))
        unread += [change for change in silent if change.row not in table]
        rows.append(f'| {part} | {len(changes)} | {named} | {noticed} | {scores[-1]:.1f} % |')
    if unread:
        print('\n\nNo test notices, and docs/mutation.md does not name:\n')
        print('\n'.join(change.row for change in unread))
    print('\n\n| part | changes | without effect | noticed | score |')
    print('| --- | ---: | ---: | ---: | ---: |')
    print('\n'.join(rows))
    return int(min(scores) < LEAST_SCORE)


if __name__ == '__main__':
    sys.exit(main())
