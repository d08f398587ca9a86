"""What the qudi configuration may say about the monitor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ['check_monitor_options']

_LIMITS = {'update_rate': (0.01, 1000.0), 'history': (0.1, 1e7)}  # looks per second, seconds


def check_monitor_options(name: str, config: Mapping[str, Any]) -> None:
    """Raise ValueError if the monitor `name` does not know an option or allow its value."""
    for option, value in config.items():
        if option not in _LIMITS:
            raise ValueError(f'"{name}" has no option "{option}", only {" and ".join(_LIMITS)}')
        least, most = _LIMITS[option]
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            raise ValueError(
                f'Option "{option}" of "{name}" is {value!r}, but must be a number from '
                f'{least:g} to {most:g}'
            )
