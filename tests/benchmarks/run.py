"""Measure the buffer beside its limits and its alternatives, and write docs/benchmarks.md anew.

    python tests/benchmarks/run.py

Needs the extras `test` and `benchmark`. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import platform
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / 'helpers'))

import numpy as np
import psutil

import measurements
import page

# isort: split
# Last, since qtpy takes the Qt binding that is loaded already: the one of qudi
import qtpy
from qtpy import QtCore

DOCS = Path(__file__).resolve().parents[2] / 'docs'
TIME_LIMIT = 2400  # seconds for one measurement; then the stacks are printed and the process ends


def machine() -> dict[str, str]:
    """Describe what it was measured on, without naming it."""
    process = psutil.Process()
    usable = len(process.cpu_affinity()) if hasattr(process, 'cpu_affinity') else os.cpu_count()
    return {
        'processor': _processor(),
        'cores': f'{os.cpu_count()}, of which {usable} used',
        'system': f'{platform.system()} {platform.release()}',
        'Python': platform.python_version(),
        'Qt binding': f'{qtpy.API_NAME} {qtpy.PYSIDE_VERSION}',
        'numpy': np.__version__,
    }


def _processor() -> str:
    cpuinfo = Path('/proc/cpuinfo')  # Linux; elsewhere Python knows
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def measure(names: list[str], scale: measurements.Scale) -> dict:
    results = {}
    for name in names:
        print(f'{name} ...', end=' ', flush=True)
        began = time.perf_counter()
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        results[name] = measurements.MEASUREMENTS[name](scale)
        faulthandler.cancel_dump_traceback_later()
        print(f'{time.perf_counter() - began:.0f} s', flush=True)
    return results


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='see that it works; judge no times')
    parser.add_argument('--only', nargs='+', choices=measurements.MEASUREMENTS, metavar='NAME')
    parser.add_argument('--json', type=Path, help='write all figures there')
    parser.add_argument('--output', type=Path, help='write page and plots there instead of docs')
    parser.add_argument('--from-json', type=Path, help='measure nothing, take these figures')
    parser.add_argument('--fill-rings', action='store_true', help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    application = QtCore.QCoreApplication([])  # noqa: F841  # Qt's timers and threads need one
    if args.fill_rings:
        measurements.fill_rings()
        return
    if args.from_json:
        report = json.loads(args.from_json.read_text(encoding='utf-8'))
    else:
        scale = measurements.Scale.quick() if args.quick else measurements.Scale()
        report = {
            'machine': machine(),
            'command': ' '.join(['python tests/benchmarks/run.py', *['--quick'] * args.quick]),
            'date': time.strftime('%Y-%m-%d'),
            'quick': args.quick,
            'results': measure(args.only or list(measurements.MEASUREMENTS), scale),
        }
    report['checks'] = page.checks(report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding='utf-8')
    if args.output or not (args.quick or args.only):
        page.write(report, DOCS / 'benchmarks.md', args.output or DOCS)
    else:
        print('\n\n'.join(page.tables(report)[name] for name in report['results']))
    print('\n' + page.tables(report)['checks'])


if __name__ == '__main__':
    main()
