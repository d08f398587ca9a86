"""What stands behind DataInStreamBuffer: one reader of a device, complete copies for many.

A sample goes device -> the thread of the device -> stream -> ring -> the caller's array.
"""
