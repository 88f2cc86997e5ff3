"""Unmodified Python tools, warm: a fork server for each tool keeps its modules imported, and forks for each call.

``standalone`` runs without the package: the server in the tool's own interpreter, the client in any. The other modules
are the package's side: where tools and launchers are, what the servers tell of themselves, the asyncio client.
"""
