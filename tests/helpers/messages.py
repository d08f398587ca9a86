"""The texts of all errors and warnings in the source, for a comparison with the documentation.

What a text inserts, a name or a number, stands as \N{HORIZONTAL ELLIPSIS}.

    python tests/helpers/messages.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GAP = '\N{HORIZONTAL ELLIPSIS}'

# Calls whose argument is a text for the user, beside what is raised: by name of the function
_TELLING = ('warning', 'error', 'exception', 'critical', 'warn', 'with_calls')
_TELLING += ('finish', 'end', 'end_stream')


@dataclass(frozen=True)
class Message:
    """A text that a user may meet."""

    text: str
    place: str


def messages(source: Path = ROOT / 'src') -> list[Message]:
    """All texts in the Python files of a directory."""
    found = []
    for path in sorted(source.rglob('*.py')):
        if 'simulat' in str(path.relative_to(source)):  # they stand for those of any driver
            continue
        tree = ast.parse(path.read_text(encoding='utf-8'))
        for function in ast.walk(tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for line, text in _told_in(function):
                    found.append(Message(text, f'{path.relative_to(source.parent)}:{line}'))
    by_text = {}
    for message in found:
        by_text.setdefault(message.text, message)
    return list(by_text.values())


def _told_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    assigned: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            assigned.setdefault(node.targets[0].id, []).append(node.value)
    for node in ast.walk(function):
        if not isinstance(node, ast.Call) or not _tells(node, function):
            continue
        for argument in node.args:
            is_name = isinstance(argument, ast.Name)
            for expression in assigned.get(argument.id, []) if is_name else [argument]:
                text = _template(expression)
                if text.strip(f' :{GAP}"'):  # not one that only passes something on
                    yield node.lineno, text


def _tells(call: ast.Call, function: ast.AST) -> bool:
    name = _name(call.func)
    if name == 'partial' and call.args:  # it tells later
        name = _name(call.args[0])
    if name == 'print':
        return any(keyword.arg == 'file' for keyword in call.keywords)
    if name.endswith('_error'):  # it makes a text from its arguments, which is found there
        return False
    is_raised = any(isinstance(node, ast.Raise) and node.exc is call for node in ast.walk(function))
    return name in _TELLING or is_raised or name.endswith(('Error', 'Exception'))


def _name(function: ast.expr) -> str:
    return getattr(function, 'attr', getattr(function, 'id', ''))


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ''
    if isinstance(node, ast.JoinedStr):
        parts = [_template(part) if isinstance(part, ast.Constant) else GAP for part in node.values]
        return ''.join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _template(node.left) + (_template(node.right) or GAP)
    return ''


if __name__ == '__main__':
    for message in messages():
        print(f'{message.place}\n    {message.text}')
