"""What a change causes: calls that are made after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ['Changes', 'carry_out', 'changed']

Changes = list[Callable[[], None]]
Result = TypeVar('Result')


def carry_out(changes: Changes) -> None:
    """Do what a change has caused. It is only handed over to the threads of the reports."""
    for change in changes:
        change()


def changed(change: Callable[[Changes], Result]) -> Result:
    """Make a change, and carry out what it causes also if it fails."""
    changes: Changes = []
    try:
        return change(changes)
    finally:
        carry_out(changes)
