# ruff: noqa: E501 - messages stand as the client writes them
"""The words for the OpenSSH client, and what its messages mean, in the form in which clients write them."""

from __future__ import annotations

import itertools
import os
import subprocess

import pytest

from warmshell.connector import connect
from warmshell.connector.openssh import (
    GCM,
    Target,
    asked_as,
    askpass,
    askpass_environment,
    cause,
    channel_words,
    ciphers,
    config_words,
    default_words,
    is_busy,
    is_full,
    master_words,
    own_master,
    parse_config,
)
from warmshell.errors import AuthenticationError, ConnectError, HostKeyError, LocationError

RECORDED = """\
user alice
hostname node1.example
port 22
addressfamily any
batchmode no
stdinnull no
sessiontype default
forkafterauthentication no
stricthostkeychecking ask
identityfile ~/.ssh/id_rsa
identityfile ~/.ssh/id_ed25519
controlpath /home/alice/.ssh/cm-5ed9
sendenv LANG
sendenv LC_*
"""
CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Add correct host key in /home/alice/.ssh/known_hosts to get rid of this message.
Host key for [127.0.0.2]:2201 has changed and you have requested strict checking.
Host key verification failed.
"""
OPEN_KEY = """\
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
Permissions 0644 for '/home/alice/key' are too open.
This private key will be ignored.
Load key "/home/alice/key": bad permissions
alice@node1: Permission denied (publickey).
"""
DROPPED = "kex_exchange_identification: Connection closed by remote host\nConnection closed by 10.0.0.1 port 22\n"
CASES: dict[str, tuple[str, type[ConnectError], str]] = {
    "denied": ("alice@node1: Permission denied (publickey,password).\n", AuthenticationError, "alice@node1: the host accepts"),
    "denied on the way": (
        f"gate@jump: Permission denied (publickey).\n{DROPPED}", AuthenticationError, "gate@jump: the host accepts",
    ),
    "too many keys": (
        ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\n"
        "Disconnected from 10.0.0.1 port 22\n"), AuthenticationError, "too many keys",
    ),
    "open key": (OPEN_KEY, AuthenticationError, "may be read by others"),
    "no key": (
        "Warning: Identity file k not accessible: No such file or directory.\nalice@node1: Permission denied (publickey).\n",
        AuthenticationError, "is not there",
    ),
    "bad key": (
        'Load key "/home/alice/key": invalid format\nalice@node1: Permission denied (publickey).\n',
        AuthenticationError, "holds no key",
    ),
    "bad key, newer": (
        'Load key "/home/alice/key": error in libcrypto\nalice@node1: Permission denied (publickey).\n',
        AuthenticationError, "holds no key",
    ),
    "bad passphrase": (
        ('Load key "/home/alice/key": incorrect passphrase supplied to decrypt private key\n'
        "alice@node1: Permission denied (publickey).\n"), AuthenticationError, "passphrase",
    ),
    "changed key": (CHANGED, HostKeyError, "not the one that is known"),
    "unknown host": (
        ("No ED25519 host key is known for node1 and you have requested strict checking.\n"
        "Host key verification failed.\n"), HostKeyError, "is not known",
    ),
    "refused": ("ssh: connect to host 127.0.0.1 port 1: Connection refused\n", ConnectError, "was refused"),
    "timed out": ("ssh: connect to host 10.0.0.1 port 22: Connection timed out\n", ConnectError, "does not answer in time"),
    "timed out, banner": (
        "Connection timed out during banner exchange\nConnection to 10.0.0.1 port 22 timed out\n",
        ConnectError, "does not answer in time",
    ),
    "no name": ("ssh: Could not resolve hostname nope: Name or service not known\n", ConnectError, "no host has this name"),
    "no way": ("ssh: connect to host 10.0.0.1 port 22: No route to host\n", ConnectError, "no way to the host"),
    "configuration": (
        ("/home/alice/.ssh/config: line 3: Bad configuration option: nonsense\n"
        "/home/alice/.ssh/config: terminating, 1 bad configuration options\n"), ConnectError, "configuration cannot be read",
    ),
    "algorithms": (
        "Unable to negotiate with 10.0.0.1 port 22: no matching host key type found. Their offer: ssh-rsa\n",
        ConnectError, "no algorithm in common",
    ),
    "dropped": (DROPPED, ConnectError, "closed the connection"),
    "no session": ("mux_client_request_session: session request failed: Session open refused by peer\n", ConnectError, "no more sessions"),
    "something else": ("something that nobody has seen\n", ConnectError, "something that nobody has seen"),
    "nothing": ("", ConnectError, "ended without a word"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_message_has_its_error(name):
    said, kind, text = CASES[name]
    error = cause(said, "node1", "ssh node1")
    assert type(error) is kind
    assert text in str(error)
    assert error.location == "ssh node1"
    if kind is not ConnectError:
        assert error.hint


def test_a_host_that_has_too_many_is_asked_again_and_no_other():
    busy = {name for name, (said, _, _) in CASES.items() if is_busy(said)}
    assert busy == {"dropped"} | ({"timed out, banner"} & busy)
    assert is_busy("Connection reset by 10.0.0.1 port 22\n")
    assert is_busy("kex_exchange_identification: read: Connection reset by peer\n")
    assert {name for name, (said, _, _) in CASES.items() if is_full(said)} == {"no session"}


def test_the_configuration_is_read():
    config = parse_config(RECORDED)
    assert config["hostname"] == "node1.example"
    assert own_master(config) == "/home/alice/.ssh/cm-5ed9"
    assert own_master({"controlpath": "none"}) is None
    assert own_master({}) is None
    assert asked_as(config) == "alice@node1.example"
    assert asked_as({**config, "hostkeyalias": "alias"}) == "alice@alias"


def test_a_cipher_is_chosen_only_where_nobody_else_has_chosen():
    usual = {"ciphers": f"chacha20-poly1305@openssh.com,aes128-ctr,{GCM}"}
    assert ciphers(usual, usual) == f"{GCM},chacha20-poly1305@openssh.com,aes128-ctr"
    assert ciphers({"ciphers": "aes256-ctr"}, usual) is None
    assert ciphers({"ciphers": "aes128-ctr"}, {"ciphers": "aes128-ctr"}) is None
    assert ciphers({}, {}) is None


def options(words):
    return dict(word.split("=", 1) for before, word in itertools.pairwise(words) if before == "-o")


TARGET = Target("node1", user="alice", port=2222, config="/c", identity="/k", jump="gate", connect_timeout=7.4)


def test_the_words_of_a_connection():
    words = master_words(TARGET, "/s", "/l", parse_config(RECORDED), "a,b")
    assert words[0] == "ssh"
    assert words[-2:] == ["--", "node1"]
    for pair in (
        ["-F", "/c"],
        ["-l", "alice"],
        ["-p", "2222"],
        ["-J", "gate"],
        ["-i", "/k"],
        ["-S", "/s"],
        ["-E", "/l"],
    ):
        assert " ".join(pair) in " ".join(words)
    said = options(words)
    assert said["Ciphers"] == "a,b"
    assert said["BatchMode"] == "yes"
    assert said["ConnectTimeout"] == "7"
    assert said["SessionType"] == "none"
    assert "StrictHostKeyChecking" not in said
    assert "-N" not in words


def test_a_client_that_does_not_know_an_option_is_not_given_it():
    words = master_words(TARGET, "/s", "/l", {"user": "alice"})
    assert not {"SessionType", "StdinNull", "ForkAfterAuthentication", "Ciphers"} & set(options(words))
    assert "-N" in words


def test_host_keys_are_checked_unless_it_is_said_otherwise():
    said = options(master_words(Target("h", check_host_key=False), "/s", "/l", {}))
    assert said["StrictHostKeyChecking"] == "no"
    assert said["UserKnownHostsFile"] == "/dev/null"
    asks = Target("h", asks=True)
    assert options(master_words(asks, "/s", "/l", {"stricthostkeychecking": "ask"}))["StrictHostKeyChecking"] == "yes"
    kept = options(master_words(asks, "/s", "/l", {"stricthostkeychecking": "accept-new"}))
    assert "StrictHostKeyChecking" not in kept
    assert kept["BatchMode"] == "no"


def test_a_channel_never_logs_in_by_itself():
    words = channel_words(TARGET, "/s", "/l", "a line", parse_config(RECORDED))
    assert options(words)["ProxyCommand"] == "false"
    assert "-J" not in words
    assert words[-3:] == ["--", "node1", "a line"]


def test_words_that_ask_for_the_configuration():
    assert config_words(TARGET)[-3:] == ["-G", "--", "node1"]
    assert default_words(TARGET)[1:3] == ["-F", "none"]


# -- the helper that is asked for secrets ------------------------------------------------------------------------------

QUESTIONS = {
    "alice@node1's password: ": "the password",
    "(alice@node1) Password: ": "the password",
    "Password: ": "the password",
    "alice@gate's password: ": None,
    "(alice@gate) Password: ": None,
    "(bob@node1) Password: ": None,
    "Enter passphrase for key '/home/alice/.ssh/id_ed25519': ": "the passphrase",
    "The authenticity of host 'node1' can't be established.\nAre you sure you want to continue connecting (yes/no)? ": None,
    "(alice@node1) Verification code: ": None,
    "Enter PIN for ED25519-SK key: ": None,
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_helper_answers_only_what_it_was_given_for(tmp_path, question):
    for name in ("password", "passphrase"):
        (tmp_path / name).write_text(f"the {name}\n")
    helper = tmp_path / "askpass"
    helper.write_text(askpass())
    helper.chmod(0o700)
    env = askpass_environment(str(helper), "alice@node1", str(tmp_path / "password"), str(tmp_path / "passphrase"))
    assert not [value for value in env.values() if value.startswith("the ")]
    done = subprocess.run([helper, question], env={**os.environ, **env}, capture_output=True, text=True, check=False)
    answer = QUESTIONS[question]
    assert (done.stdout, done.returncode == 0) == (f"{answer}\n" if answer else "", answer is not None)


def test_the_helper_that_has_no_file_says_nothing(tmp_path):
    helper = tmp_path / "askpass"
    helper.write_text(askpass())
    helper.chmod(0o700)
    env = askpass_environment(str(helper), "a@h", None, None)
    for question in ("a@h's password: ", "Enter passphrase for key '/k': "):
        done = subprocess.run([helper, question], env={**os.environ, **env}, capture_output=True, check=False)
        assert done.stdout == b""
        assert done.returncode != 0


# -- URLs --------------------------------------------------------------------------------------------------------------


def target(url, **given):
    return connect(url, **given).place._target


def test_urls():
    assert target("ssh://node1") == Target("node1")
    assert target("ssh://alice@Node1:2222") == Target("Node1", user="alice", port=2222)
    assert target("ssh://al%40ice@[::1]:22").user == "al@ice"
    assert target("ssh://al%40ice@[::1]:22").host == "::1"
    assert target("ssh://h?username=bob&connectTimeout=2.5&checkHostKey=false&tunnel=gate") == Target(
        "h", user="bob", connect_timeout=2.5, check_host_key=False, jump="gate"
    )
    assert connect("ssh://alice@node1").name == "alice@node1"


@pytest.mark.parametrize(
    "url",
    ["ssh:", "ssh://", "ssh://-oProxyCommand=x", "ssh://-l@h", "ssh://h:port", "ssh://h:99999", "ssh://h/path",
     "ssh://a:secret@h", "ssh://h?checkHostKey=perhaps", "ssh://h?connectTimeout=0", "ssh://h?connectTimeout=soon",
     "ssh://h?retries=-1", "ssh://h?nonsense=1", "ssh://h?passwordFile=/no/such/file", "ssh://h?server=2"],
)  # fmt: skip
def test_what_is_no_url_is_refused(url):
    with pytest.raises(LocationError) as caught:
        connect(url)
    assert "secret" not in str(caught.value) or "a:secret" not in url
