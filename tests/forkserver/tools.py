"""The eleven tools that are run cold and warm: where they are, files for them, and five command lines for each."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(os.environ.get("VENV", ".venv")).absolute() / "tools"
if not TOOLS.exists():
    TOOLS = Path(sys.prefix) / "tools"

FILES = {
    "good.yaml": "---\na: 1\nb:\n  - x\n",
    "bad.yaml": "a: 1\na: 2\n b : [\n",
    "template.yaml": "Resources:\n  Bucket:\n    Type: AWS::S3::Bucket\n    Properties: {Nonsense: 1}\n",
    "query.sql": "select a,b from  t where  x=1\n",
    "code.py": "import os\ndef f( a,b ):\n    return {  'a':a }\nx: int = 'a'\n",
    "broken.py": "def f(:\n",
    "docs/conf.py": "project = 'x'\nextensions = []\n",
    "docs/index.rst": "Title\n=====\n\nText with `a link <http://example.com>`_.\n\n.. no-such-directive::\n",
    "hosts": "[all]\nlocalhost ansible_connection=local\n",
    "play.yml": "- hosts: all\n  gather_facts: false\n  tasks:\n    - debug: msg={{ 6 * 7 }}\n",
    "body.json": '{"a": [1, 2, {"b": null}]}\n',
}


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        name: its program.
        venv: the environment that has it.
        lines: command lines: words, and ``<FILE`` for standard input.
        prime: what primes it.
        mask: what differs from run to run, cold too.
        made: directories that are removed between runs.
    """

    name: str
    venv: str
    lines: tuple[str, ...]
    prime: str = "--version"
    mask: str = ""
    made: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return TOOLS / self.venv / "bin" / self.name

    @property
    def missing(self) -> bool:
        return not (TOOLS / self.venv / ".ready").exists()

    def masked(self, data: bytes) -> bytes:
        return re.sub(self.mask.encode(), b"<masked>", data) if self.mask else data


ALL = [
    Tool("cfn-lint", "cfn", ("--version", "template.yaml", "good.yaml", "--list-rules", "--no-such-option")),
    Tool(
        "sqlfluff", "sql",
        ("--version", "lint --dialect ansi query.sql", "lint query.sql", "dialects", "fix --dialect ansi - <query.sql"),
    ),
    Tool("yamllint", "code", ("--version", "good.yaml", "bad.yaml", "-f parsable - <bad.yaml", "missing.yaml")),
    Tool("pip", "code", ("--version", "list", "show black", "config list", "no-such-command")),
    Tool(
        "black", "code",
        ("--version", "--check code.py", "--diff code.py", "-q - <code.py", "broken.py"),
        mask=r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00:00",
    ),
    Tool(
        "sphinx-build", "sphinx",
        ("--version", "-E docs built", "-E -b text docs text", "-W -E docs strict", "--no-such-option"),
        made=("built", "text", "strict"),
    ),
    Tool(
        "pygmentize", "code",
        ("-V", "code.py", "-f html -l python - <code.py", "-L formatters", "-l no-such-lexer code.py"), prime="-V",
    ),
    Tool(
        "aws", "aws",
        (
            "--version", "sts assume-role --generate-cli-skeleton", "s3 ls s3://x --no-such-option", "configure list",
            "no-such-service",
        ),
    ),
    Tool(
        "http", "code",
        (
            "--version", "--offline :/get a==1 b=2", "--offline --json POST :/x <body.json",
            "--offline --print=B :/x a:=1", "--no-such-option",
        ),
        prime="--offline\x1f:/get",
    ),
    Tool(
        "ansible", "ansible",
        (
            "--version", "all -i hosts --list-hosts", "all -i hosts -m debug -a msg=hello",
            "all -i hosts -m no_such_module", "--no-such-option",
        ),
        prime="all\x1f-i\x1fhosts\x1f--list-hosts", mask=r"ansible-local-\w+|\d+\.\d+ s",
    ),
    Tool(
        "mypy", "code", ("--version", "code.py", "--strict code.py", "-c x:int=''", "broken.py"), made=(".mypy_cache",),
    ),
]  # fmt: skip
