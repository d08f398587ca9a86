"""Releases that do not work together."""

from __future__ import annotations

import importlib.metadata
import sys

__all__ = ['broken_pyside', 'refuse_broken_pyside']


def broken_pyside() -> str:
    """Return what is wrong with the PySide6 of this environment; empty if nothing is.

    Release 6.12.0 loses a reference to None with each call of a method that returns nothing.
    Python 3.12 and later do not count these references.
    """
    try:
        version = importlib.metadata.version('PySide6')
    except importlib.metadata.PackageNotFoundError:
        return ''
    if version != '6.12.0' or sys.version_info >= (3, 12):
        return ''
    python = '.'.join(map(str, sys.version_info[:2]))
    return (
        f'PySide6 {version} aborts Python {python} after some thousand calls of Qt. '
        f'Install another release: python -m pip install "PySide6!=6.12.0"'
    )


def refuse_broken_pyside() -> None:
    """Raise ImportError if the PySide6 of this environment would abort qudi."""
    problem = broken_pyside()
    if problem:
        raise ImportError(problem)
