"""Places by name: a deployment file with this machine, and a program that leads into something inside of it."""

import asyncio
import tempfile
from pathlib import Path

from warmshell import DeploymentFile, DeploymentFileError, DeploymentManager

FILE = """
deployments:
  here:
    type: local
  workers:
    type: command
    wraps: here
    config:
      exec: env WORKER={location}
      locations: [one, two]
      deploy: echo 'workers come' >>log
      undeploy: echo 'workers go' >>log
"""


async def main(folder: Path) -> None:
    path = folder / "warmshell.yaml"
    path.write_text(FILE.replace("log", str(folder / "log")))
    async with DeploymentManager(DeploymentFile(str(path))) as manager:
        workers = manager.connector("workers")  # nothing is deployed yet
        print("deployed:", workers.state == "deployed")
        for name in await workers.get_available_locations():
            result = await workers.run(name, "echo I am $WORKER", capture_output=True)
            print(result.text, end="")
    print((folder / "log").read_text(), end="")

    path.write_text(FILE.replace("wraps: here", "wraps: hree"))
    try:
        DeploymentFile(path.name, path.read_text()).deployment("workers")
    except DeploymentFileError as error:
        print(error)


with tempfile.TemporaryDirectory() as directory:
    asyncio.run(main(Path(directory)))

# prints:
# deployed: False
# I am one
# I am two
# workers come
# workers go
# warmshell.yaml:7:12: deployments.workers.wraps: there is no deployment 'hree'; is it 'here'?
