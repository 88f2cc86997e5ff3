"""Sans-IO: what is said to a shell and how its answers are read, without a file descriptor or an event loop.

This package and ``server/`` are what is shipped to the far end: standard library only, Python 3.8 and later.
"""
