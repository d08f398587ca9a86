"""Leans the imports of a Python process that begins with this folder in its PYTHONPATH."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

import lean_imports  # noqa: F401
