from __future__ import annotations

from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
