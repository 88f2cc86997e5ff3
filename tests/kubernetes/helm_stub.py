"""A stand-in for the ``helm`` program, which cannot be had here: its charts are manifests with ``RELEASE`` in them.

It has kubectl apply them, really, keeps what it knows in a directory, and answers as helm 3 is known to: in such JSON,
with such words on failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def kubectl(flags: dict[str, str], *words: str, data: str = "") -> subprocess.CompletedProcess[str]:
    where = [f"--{name}={flags[name]}" for name in ("kubeconfig", "namespace") if name in flags]
    return subprocess.run(["kubectl", *where, *words], input=data, capture_output=True, text=True, check=False)


def fail(text: str) -> None:
    sys.exit(f"Error: {text}")


def told(name: str, namespace: str, status: str, manifest: str) -> str:
    when = "2026-01-02T03:04:05.678901234Z"
    info = {"first_deployed": when, "last_deployed": when, "deleted": "", "description": "Install complete",
            "status": status, "notes": "Thank you."}  # fmt: skip
    return json.dumps({"name": name, "info": info, "manifest": manifest, "version": 1, "namespace": namespace})


def install(state: Path, flags: dict[str, str], words: list[str]) -> None:
    name, chart = words if len(words) == 2 else (flags["name-template"].replace("{{ .N }}", "7"), words[0])
    if (state / name).exists():
        fail("INSTALLATION FAILED: cannot re-use a name that is still in use")
    if not Path(chart).exists():
        fail(f"INSTALLATION FAILED: path {json.dumps(chart)} not found")
    manifest = Path(chart).read_text().replace("RELEASE", name)
    namespace = flags.get("namespace", "default")
    (state / name).write_text(told(name, namespace, "pending-install", manifest))
    made = kubectl(flags, "apply", "--filename=-", data=manifest)
    if made.returncode:
        fail(f"INSTALLATION FAILED: {made.stderr.strip()}")
    pods = ["wait", "pod", f"--selector=app.kubernetes.io/instance={name}", "--for=condition=Ready"]
    if "wait" in flags and kubectl(flags, *pods, f"--timeout={flags['timeout']}").returncode:
        (state / name).write_text(told(name, namespace, "failed", manifest))
        fail("INSTALLATION FAILED: context deadline exceeded")
    (state / name).write_text(told(name, namespace, "deployed", manifest))
    sys.stdout.write((state / name).read_text())


def status(state: Path, name: str) -> None:
    if not (state / name).exists():
        fail("release: not found")
    sys.stdout.write((state / name).read_text())


def uninstall(state: Path, flags: dict[str, str], name: str) -> None:
    if not (state / name).exists():
        fail(f"uninstall: Release not loaded: {name}: release: not found")
    manifest = json.loads((state / name).read_text())["manifest"]
    kubectl(flags, "delete", "--wait=false", "--filename=-", data=manifest)
    (state / name).unlink()
    sys.stdout.write(f'release "{name}" uninstalled\n')


def main() -> None:
    state = Path(os.environ["HELM_STUB"])
    with (state / ".asked").open("a") as file:
        file.write(json.dumps([sys.argv[1:], os.environ.get("HELM_KUBETOKEN")]) + "\n")
    flags = dict(word[2:].partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
    command, *words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if command == "install":
        install(state, flags, words)
    elif command == "status":
        status(state, words[0])
    elif command == "uninstall":
        uninstall(state, flags, words[0])
    else:
        beginning = flags["filter"].removeprefix("^").replace("\\", "")
        there = [path.name for path in state.iterdir() if path.name.startswith(beginning) and path.name[0] != "."]
        json.dump([{"name": name, "namespace": "default", "revision": "1"} for name in there], sys.stdout)


main()
