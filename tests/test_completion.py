"""Shells complete commands and flags with what `saccade completion` prints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import outside

BASH = """
source {script}
COMP_WORDS=({words})
COMP_CWORD={last}
_saccade_completion saccade
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(tmp_path: Path, *words: str) -> list[str]:
    """What bash proposes for the last word. `saccade` is this one."""
    command = tmp_path / "saccade"
    start = "import sys; sys.argv[0] = 'saccade'; from saccade.cli import main; main()"  # as the installed script does
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start}" "$@"\n')
    command.chmod(0o755)
    script = tmp_path / "completion.bash"
    script.write_text(outside.run("completion", "bash").stdout)
    quoted = " ".join(f"'{word}'" for word in ("saccade", *words))
    program = BASH.format(script=script, words=quoted, last=len(words))
    environment = {**outside._environment({}), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(tmp_path: Path) -> None:
    assert complete(tmp_path, "do") == ["doctor"]
    assert complete(tmp_path, "serve", "--max-con") == ["--max-context"]


@pytest.mark.parametrize(("shell", "word"), [("zsh", "#compdef saccade"), ("fish", "complete --command saccade")])
def test_scripts_of_other_shells(shell: str, word: str) -> None:
    done = outside.run("completion", shell)
    assert done.returncode == 0
    assert word in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=30)


def test_another_shell_is_an_error() -> None:
    assert outside.run("completion", "sh").returncode == 2
