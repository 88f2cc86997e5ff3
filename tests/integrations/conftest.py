from __future__ import annotations

from containers.conftest import docker_lab, shared_container  # noqa: F401 - fixtures
from ssh.conftest import lab, ssh_lab  # noqa: F401 - fixtures
