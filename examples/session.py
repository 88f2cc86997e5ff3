"""A shell whose state persists, and subshells that start from a copy of it and run concurrently."""

import asyncio

import warmshell


async def main() -> None:
    async with warmshell.connect("local:") as here, here.shell("bash") as shell:
        await shell.run("cd /usr; export SAMPLE=7; twice() { echo $(($1 * 2)); }")

        async with shell.subshell() as one, shell.subshell() as two:
            await one.run("SAMPLE=8; cd bin")
            both = await asyncio.gather(
                one.run("echo one: $PWD $(twice $SAMPLE)"),
                two.run("echo two: $PWD $(twice $SAMPLE)"),
            )
            print(both[0].text + both[1].text, end="")

        print((await shell.run("echo shell: $PWD $SAMPLE")).text, end="")

        print("status", (await shell.run("exit 4")).returncode)
        try:
            await shell.run("echo $SAMPLE")
        except warmshell.ShellLost as error:  # never silently a fresh shell, without SAMPLE
            print("started:", error.started)


asyncio.run(main())

# prints:
# one: /usr/bin 16
# two: /usr 14
# shell: /usr 7
# status 4
# started: no
