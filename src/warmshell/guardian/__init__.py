"""The guardian: ends everything a client started once the client is gone.

``tree`` finds and ends processes, ``main`` is the guardian's program, ``client`` is the client's side of it.
"""
