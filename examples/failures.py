"""What goes wrong, and as what it arrives."""

import asyncio

import warmshell


async def main() -> None:
    async with warmshell.connect("local:") as here:
        try:
            # The background child is ended too, and what was written until then is not lost.
            await here.run("echo begun; sleep 1000 & sleep 1000", timeout=0.5)
        except warmshell.CommandTimeout as error:  # also a TimeoutError
            print("timeout after", error.result.stdout)

        try:
            await here.run(["gzpi"])
        except FileNotFoundError as error:  # also a warmshell.ProgramNotFound
            print(error)

        try:
            await here.run(["ls"], cwd="/etc/passwd")
        except warmshell.WorkdirNotADirectory as error:
            print(error.message)

        # A command that ends the shell it runs in has lost only itself.
        try:
            await here.run("kill -KILL $$")
        except warmshell.ShellLost as error:
            print("started:", error.started)
        print((await here.run(["echo", "the next one is right"])).text, end="")


asyncio.run(main())

# prints:
# timeout after b'begun\n'
# no program 'gzpi' was found [command: gzpi] [at: local] (install it there, correct its name, or extend PATH)
# the working directory '/etc/passwd' cannot be entered: it is not a directory
# started: unknown
# the next one is right
