"""What the simulated device is made of.

SampleSource        the samples that it makes, in time with a clock or when it is told to
SimulatedSettings   what it is set to, and what it says about that
foretold_samples    the values of its samples
"""

from qudi.util.instream.simulation.settings import (
    FIXED_RATE,
    OwnSampleTiming,
    OwnStreamingMode,
    SimulatedSettings,
)
from qudi.util.instream.simulation.source import (
    CHANNELS,
    SampleSource,
    foretold_samples,
    foretold_timestamps,
)

__all__ = [
    'CHANNELS',
    'FIXED_RATE',
    'OwnSampleTiming',
    'OwnStreamingMode',
    'SampleSource',
    'SimulatedSettings',
    'foretold_samples',
    'foretold_timestamps',
]
