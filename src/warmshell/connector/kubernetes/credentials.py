"""What shows an API server who asks: tokens, certificates, programs that make them; kept until they expire."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from warmshell.command import Command
from warmshell.connector.kubernetes.config import Access, pem
from warmshell.connector.local import LocalPlace
from warmshell.errors import AuthenticationError, LocationError, ProgramNotFound

_PLUGIN_SECONDS = 60.0
_FILE_SECONDS = 60.0  # for which a token from a file is taken to be the same
_EARLY = 10.0  # seconds before it expires, at which a token is made anew
_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_SAID = 400


@dataclass
class Shown:
    """What goes with a request.

    Attributes:
        headers: those that say who asks.
        tls: how the connection is made safe.
    """

    headers: list[tuple[str, str]] = field(default_factory=list)
    tls: ssl.SSLContext | bool = True


class Credentials:
    """Who asks one API server.

    Args:
        access: the server, and what the file says of the user.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._user = access.user
        self._turn = asyncio.Lock()
        self._shown: Shown | None = None
        self._until: float | None = None  # on the clock of the machine
        what = f"the user of context {access.name!r}"
        if self._user.get("auth-provider"):
            raise LocationError(f"{what} logs in by an auth-provider, which Kubernetes has given up",
                                hint="have its file rewritten for an exec plugin")  # fmt: skip
        self._what = what

    async def show(self) -> Shown:
        """What goes with a request now.

        Raises:
            AuthenticationError: the program that makes it fails.
            LocationError: a file cannot be read, or holds nothing that can be used.
        """
        async with self._turn:
            if self._shown is None or (self._until is not None and time.time() > self._until):
                self._shown, self._until = await self._make()
            return self._shown

    def forget(self) -> bool:
        """The server does not take it; whether it may be another one next time."""
        self._shown = None
        return bool(self._user.get("exec") or self._user.get("tokenFile"))

    async def _make(self) -> tuple[Shown, float | None]:
        user, until = self._user, None
        token, certificate, key = user.get("token"), *self._pair(user)
        if user.get("tokenFile"):
            token, until = self._token_from(user["tokenFile"]), time.time() + _FILE_SECONDS
        elif user.get("exec"):
            status, until = await self._ask(user["exec"])
            token = status.get("token")
            certificate = status.get("clientCertificateData") or certificate
            key = status.get("clientKeyData") or key
        headers = _acting_as(user)
        if token:
            headers.append(("Authorization", f"Bearer {token}"))
        elif user.get("username"):
            pair = f"{user['username']}:{user.get('password', '')}"
            headers.append(("Authorization", "Basic " + base64.b64encode(pair.encode()).decode()))
        return Shown(headers, tls_of(self._access, certificate, key)), until

    def _pair(self, user: Mapping[str, Any]) -> tuple[str | None, str | None]:
        return pem(user, "client-certificate", self._what), pem(user, "client-key", self._what)

    def _token_from(self, path: str) -> str:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AuthenticationError(f"{self._what}: its token cannot be read: {error}") from None

    # -- programs that make credentials -----------------------------------------------------------------------------

    async def _ask(self, plugin: Mapping[str, Any]) -> tuple[Mapping[str, Any], float | None]:
        version = plugin.get("apiVersion") or _VERSIONS[-1]
        if version not in _VERSIONS:
            raise LocationError(f"{self._what}: the version {version!r} of its program is not known",
                                hint="known are " + ", ".join(_VERSIONS))  # fmt: skip
        said = await self._output_of(plugin, str(version))
        try:
            found = json.loads(said)
            status = found["status"]
            until = _moment(status.get("expirationTimestamp"))
            usable = bool(status.get("token") or status.get("clientCertificateData"))
        except (ValueError, KeyError, TypeError, AttributeError):
            usable = False
        if not usable:
            raise AuthenticationError(f"{self._what}: the program {plugin.get('command')!r} tells no credentials")
        return status, None if until is None else until - _EARLY

    async def _output_of(self, plugin: Mapping[str, Any], version: str) -> bytes:
        program = str(plugin.get("command", ""))
        if "/" in program:  # as kubectl has it: relative to its file
            program = os.path.join(str(self._user.get("", "")), program)
        words = [program, *[str(word) for word in plugin.get("args") or ()]]
        pairs = [each for each in plugin.get("env") or () if isinstance(each, Mapping)]
        env = {str(each.get("name")): str(each.get("value", "")) for each in pairs}
        env["KUBERNETES_EXEC_INFO"] = json.dumps(
            {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
        )
        try:
            status, out, said = await _run(Command(words, env=env))
        except ProgramNotFound:
            hint = plugin.get("installHint") or "it makes the credentials that the kubeconfig file asks for"
            raise AuthenticationError(f"{self._what}: there is no program {program!r}", hint=str(hint)) from None
        except TimeoutError:
            raise AuthenticationError(
                f"{self._what}: the program {program!r} made no credentials within {_PLUGIN_SECONDS:g} s"
            ) from None
        if status != 0:
            text = said.decode("utf-8", "replace").strip()[-_SAID:]
            raise AuthenticationError(f"{self._what}: the program {program!r} failed with status {status}: {text}",
                                      hint="log in again")  # fmt: skip
        return out


async def _run(command: Command) -> tuple[int, bytes, bytes]:
    place = LocalPlace()
    await place.connect()
    try:
        async with asyncio.timeout(_PLUGIN_SECONDS), await place.open(command) as process:
            await process.stdin.aclose()
            out, said = await asyncio.gather(process.stdout.read(), process.stderr.read())
            return await process.wait(), out, said
    finally:
        await place.aclose()


def _moment(text: object) -> float | None:
    return None if not text else datetime.fromisoformat(str(text)).timestamp()


def _acting_as(user: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headers that ask to act as somebody else."""
    name = [("Impersonate-User", str(user["as"]))] if user.get("as") else []
    return name + [("Impersonate-Group", str(group)) for group in user.get("as-groups") or ()]


def tls_of(access: Access, certificate: str | None, key: str | None) -> ssl.SSLContext | bool:
    """How a connection to the server is made safe.

    Raises:
        LocationError: a certificate or a key cannot be used.
    """
    if not access.server.startswith("https:"):
        return True
    context = ssl.create_default_context()
    if not access.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        if access.authority is not None and access.verify:
            context = ssl.create_default_context(cadata=access.authority)
        if certificate and key:
            _load(context, certificate, key)
    except (ssl.SSLError, ValueError) as error:
        raise LocationError(f"context {access.name!r}: a certificate or its key cannot be used: {error}") from None
    return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """OpenSSL takes a key from a file only; this one is nobody else's, and gone at once."""
    descriptor, path = tempfile.mkstemp(prefix="warmshell-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{certificate.rstrip()}\n{key}")
        context.load_cert_chain(path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
