"""A finding: where it is, what is wrong, why that matters, and what to write instead."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from qudi.util.instream.command.configuration import Place

__all__ = ['Finding', 'did_you_mean', 'quoted', 'report', 'similar']

_WIDTH = 96


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or will be.

    Parameters
    ----------
    place : Place
        File and line; for the environment its folder.
    what : str
        One sentence without its full stop.
    why : str
        What follows from it: one or two sentences.
    lines : str
        What to write into the file.
    command : str
        What to type.
    """

    place: Place
    what: str
    why: str
    lines: str = ''
    command: str = ''


def report(findings: Iterable[Finding]) -> str:
    """Return all findings as a text, numbered, each once."""
    parts = []
    for number, finding in enumerate(dict.fromkeys(findings), 1):
        head = f'{number}. {finding.place}'
        body = [_wrapped(f'{finding.what}.'), _wrapped(f'Why: {finding.why}')]
        if finding.lines:
            body.append('   Write:\n' + textwrap.indent(finding.lines.strip('\n'), ' ' * 7))
        if finding.command:
            body.append(f'   {"Or type" if finding.lines else "Type"}:\n       {finding.command}')
        parts.append('\n'.join([head, *body]))
    return '\n\n'.join(parts)


def quoted(names: Iterable[str]) -> str:
    """Return names as a text: "a", "b" and "c"."""
    *first, last = [f'"{name}"' for name in names]
    return f'{", ".join(first)} and {last}' if first else last


def similar(name: object, known: Iterable[object]) -> str:
    """Return the one of the known names that was probably meant; empty if none is."""
    found = difflib.get_close_matches(str(name), map(str, known), n=1)
    return found[0] if found else ''


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return a question for a name that is not known; empty if none is similar."""
    meant = similar(name, known)
    return f', did you mean "{meant}"?' if meant else ''


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text.replace('?.', '?'),
        _WIDTH,
        initial_indent='   ',
        subsequent_indent='   ',
        break_long_words=False,
        break_on_hyphens=False,
    )
