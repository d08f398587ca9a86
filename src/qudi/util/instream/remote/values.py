"""Settings and constraints as plain values, which go to another process without being pickled."""

from __future__ import annotations

from typing import Any

import numpy as np
from qudi.interface.data_instream_interface import (
    DataInStreamConstraints,
    SampleTiming,
    StreamingMode,
)
from qudi.util.constraints import ScalarConstraint

__all__ = ['constraints_from', 'plain', 'plain_constraints', 'plain_settings']


def plain(value: Any) -> Any:
    """Turn a number of numpy, also one in another process, into one of Python."""
    return value.item() if hasattr(value, 'item') else value


def plain_constraints(constraints: Any) -> tuple[Any, ...]:
    """Return what DataInStreamConstraints say, also if they are in another process."""
    units = constraints.channel_units
    return (
        tuple((key, str(units[key])) for key in units),
        str(constraints.sample_timing.name),
        tuple(str(mode.name) for mode in constraints.streaming_modes),
        str(constraints.data_type.__name__),
        _plain_scalar(constraints.channel_buffer_size),
        _plain_scalar(constraints.sample_rate),
    )


def _plain_scalar(constraint: Any) -> tuple[Any, ...]:
    values = (constraint.default, constraint.minimum, constraint.maximum, constraint.increment)
    return (*map(plain, values), bool(constraint.enforce_int))


def constraints_from(description: tuple[Any, ...]) -> DataInStreamConstraints:
    """Return the constraints of which `plain_constraints` has told."""
    units, timing, modes, data_type, size, rate = description
    return DataInStreamConstraints(
        channel_units=dict(units),
        sample_timing=SampleTiming[timing],
        streaming_modes=[StreamingMode[mode] for mode in modes],
        data_type=np.dtype(data_type).type,
        channel_buffer_size=_scalar_from(*size),
        sample_rate=_scalar_from(*rate),
    )


def _scalar_from(
    default: float, least: float, most: float, increment: float | None, enforce_int: bool
) -> ScalarConstraint:
    return ScalarConstraint(default, (least, most), increment, enforce_int)


def plain_settings(module: Any) -> tuple[Any, ...]:
    """Return the channels, mode, buffer size and rate of a module, also of one elsewhere."""
    return (
        tuple(module.active_channels),
        str(module.streaming_mode.name),
        int(module.channel_buffer_size),
        float(module.sample_rate),
    )
