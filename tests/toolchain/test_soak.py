"""The soak script, for a few seconds: its long run is in docs/reliability.md."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / 'tools' / 'soak.py'


def test_the_soak_script_reports_every_program_and_finds_no_fault():
    result = subprocess.run(
        [sys.executable, str(SCRIPT), '--minutes', '0.05'],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert 'PROBLEM' not in result.stdout
    rows = [line.split('|') for line in result.stdout.splitlines() if line.startswith('| ')]
    taken = int(result.stdout.split(': ')[1].split()[0])
    figures = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows[2:]}
    assert list(figures) == ['blocks', 'frames', 'points', 'naps', 'overflows', 'restarts']
    for name in ('blocks', 'frames'):
        streams, received, _, _, lost, _ = figures[name]
        assert (streams, lost) == ('1', '0')
        assert int(received) > 0.9 * taken > 50_000, f'{name} did not get the whole stream'
    assert int(figures['points'][4]) > 0, 'a program that is too slow lost nothing'
