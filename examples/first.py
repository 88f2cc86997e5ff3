"""The first three minutes: words, scripts, results."""

import asyncio

import warmshell


async def main() -> None:
    async with warmshell.connect("local:") as here:
        # A list is a program and its words. No shell reads them, so nothing needs to be quoted.
        result = await here.run(["printf", "%s\n", "it's $HOME; *"])
        print(result.text, end="")

        # A str is a script for sh. It runs in a fork: the cd ends with it.
        result = await here.run("cd / && pwd; echo oops >&2; exit 3")
        print(result.returncode, result.stdout, result.stderr)

        # A command that fails is a result. check() makes an error of it.
        try:
            result.check()
        except warmshell.CommandFailed as error:
            print(error.message)

        # Thousands of such commands share a few shells that stay warm.
        total = 0
        for number in range(1000):
            total += int((await here.run(f"echo $(({number} % 10))")).stdout)
        print(total, "from", here.statistics().started, "shell")


asyncio.run(main())

# prints:
# it's $HOME; *
# 3 b'/\n' b'oops\n'
# the command failed with status 3: oops
# 4500 from 1 shell
