"""Where the example configurations are: in a checkout, or where pip has installed them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

__all__ = ['example_paths']


def example_paths() -> dict[str, Path]:
    """Return the files by name, for example 'two_time_series.cfg'.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    checkout = Path(__file__).resolve().parents[4] / 'config'
    paths = [*checkout.glob('*.cfg')]
    if not paths:
        installed = importlib.metadata.files('qudi-instream-buffer') or []
        paths = [Path(str(file.locate())) for file in installed if file.suffix == '.cfg']
    found = {path.name: path.resolve() for path in sorted(paths) if path.is_file()}
    if not found:
        raise FileNotFoundError('The examples are missing, install qudi-instream-buffer again')
    return found
