from collections.abc import Hashable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import numpy as np
from qudi.core.module import Base
from qudi.util.constraints import ScalarConstraint

class StreamingMode(Enum):
    INVALID = -1
    CONTINUOUS = 0
    FINITE = 1

class SampleTiming(Enum):
    INVALID = -1
    CONSTANT = 0
    TIMESTAMP = 1
    RANDOM = 2

class DataInStreamConstraints:
    # Some devices bring enums of their own, which no property lets in
    _sample_timing: Any
    _streaming_modes: Any
    def __init__(
        self,
        channel_units: Mapping[Any, str],
        sample_timing: SampleTiming | int,
        streaming_modes: Iterable[StreamingMode | int],
        data_type: Any,
        channel_buffer_size: ScalarConstraint,
        sample_rate: ScalarConstraint | None = ...,
    ) -> None: ...
    @property
    def channel_units(self) -> dict[Any, str]: ...
    @property
    def sample_timing(self) -> SampleTiming: ...
    @property
    def streaming_modes(self) -> list[StreamingMode]: ...
    @property
    def data_type(self) -> type[np.generic]: ...
    @property
    def sample_rate(self) -> ScalarConstraint: ...
    @property
    def channel_buffer_size(self) -> ScalarConstraint: ...

class DataInStreamInterface(Base):
    @property
    def constraints(self) -> DataInStreamConstraints: ...
    @property
    def available_samples(self) -> int: ...
    @property
    def sample_rate(self) -> float: ...
    @property
    def channel_buffer_size(self) -> int: ...
    @property
    def streaming_mode(self) -> StreamingMode: ...
    # Keys of channel_units: texts, or numbers where a configuration has numbers
    @property
    def active_channels(self) -> list[Hashable]: ...
    def configure(
        self,
        active_channels: Sequence[Hashable],
        streaming_mode: StreamingMode | int,
        channel_buffer_size: int,
        sample_rate: float,
    ) -> None: ...
    def start_stream(self) -> None: ...
    def stop_stream(self) -> None: ...
    def read_data_into_buffer(
        self,
        data_buffer: np.ndarray,
        samples_per_channel: int,
        timestamp_buffer: np.ndarray | None = ...,
    ) -> None: ...
    def read_available_data_into_buffer(
        self, data_buffer: np.ndarray, timestamp_buffer: np.ndarray | None = ...
    ) -> int: ...
    def read_data(
        self, samples_per_channel: int | None = ...
    ) -> tuple[np.ndarray, np.ndarray | None]: ...
    def read_single_point(self) -> tuple[np.ndarray, np.float64 | None]: ...
