"""Decisions: synchronous functions over plain state.

Nothing in here knows a socket, a clock, a loop or a random source of its own: callers pass `now`
(seconds, monotonic) and `rng`. What needs I/O is returned to the caller.
"""
