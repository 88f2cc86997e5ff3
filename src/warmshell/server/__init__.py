"""What runs at the far end, and what it shares with the near one: standard library and ``protocol/`` only.

Everything here must run on Python 3.8 and later, without asyncio, and start quickly.
"""
