"""Errors say which buffer they are about."""

from __future__ import annotations

from types import TracebackType

__all__ = ['naming']


class naming:  # noqa: N801  # reads like a function, as those of contextlib do
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

    # A class, since a generator would cost a short read a tenth of its time

    __slots__ = ('_consequence',)

    def __init__(self, consequence: str) -> None:
        self._consequence = consequence

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, (TypeError, ValueError)):
            named = TypeError if isinstance(error, TypeError) else ValueError
            raise named(f'{self._consequence}: {error}') from error
