"""What stands behind DataInStreamBuffer: one reader of a device, complete copies for many.

A sample goes hardware -> poller -> distributor -> consumer -> ring -> the caller's array.
"""
