"""qudi-instream: the commands for a user's own configuration. Starts nothing, imports no device.

configuration   a qudi configuration and the line of each entry
classes         what the source of a qudi module says about its class
stream          who reads what: devices, buffers, programs, windows, other processes
tree            the stream as a drawing
mistakes        what is wrong in one configuration
sharing         what is wrong in how a stream is shared
environment     what is wrong in this Python environment
check, add      the two commands
"""
