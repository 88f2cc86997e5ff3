"""What each real shell prints of its state can be taken over by another one of its kind."""

from __future__ import annotations

import shutil

import pytest

import warmshell


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox", "zsh", "ksh"])
async def test_a_subshell_takes_over_what_the_shell_prints(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    async with warmshell.connect("local:", shell=shell) as here, here.shell() as parent:
        change = "cd /usr; V='a b'; export W=1; umask 027; set -f; trap 'echo t' USR1; alias hi='echo x'; readonly R=1"
        assert (await parent.run(change)).returncode == 0
        async with parent.subshell() as child:
            look = await child.run('pwd; echo "$V" *; umask; printenv V W; kill -USR1 $$; alias hi; echo "$R"')
            assert look.stderr == b""
            out = look.stdout.decode().replace("alias hi", "hi").split("\n")
            assert out[:2] == ["/usr", "a b *"]
            assert int(out[2], 8) == 0o27
            assert out[3:] == ["1", "t", "hi='echo x'", "1", ""]
            assert (await child.run("(R=2) 2>/dev/null")).returncode != 0
