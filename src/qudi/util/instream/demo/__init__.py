"""The demo: qudi with one simulated device, two buffers and two windows."""
