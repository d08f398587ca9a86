"""Errors say which buffer they are about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ['naming']


@contextmanager
def naming(consequence: str) -> Iterator[None]:
    """Put what cannot be done, and by whom, in front of errors about a wrong argument.

    Parameters
    ----------
    consequence : str
        For example '"buffer1" cannot read'.

    Raises
    ------
    TypeError, ValueError
        The error raised within, with the longer text.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f'{consequence}: {error}') from error
