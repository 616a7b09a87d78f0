"""`dlaflow completion`: the script that lets a shell complete commands, options and files."""

from __future__ import annotations

import sys
from typing import Literal

_ZSH_TAIL = """
if [[ $funcstack[1] == _* ]]; then _cyclopts_dlaflow "$@"; else compdef _cyclopts_dlaflow dlaflow; fi
"""
"""cyclopts's script only defines a function. This calls it where the script is a file in fpath, whatever its name, and
registers it where the script is evaluated."""


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the script that completes dlaflow's commands and options in a shell.

    Load it where the shell starts; it is made from the commands as they are installed, so make it anew after an update.

    For example:

        eval "$(dlaflow completion bash)"

        dlaflow completion zsh > ~/.zfunc/_dlaflow

        dlaflow completion fish > ~/.config/fish/completions/dlaflow.fish

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    from dlaflow.cli.commands import COMMANDS
    from dlaflow.cli.dispatch import application

    script = application(*COMMANDS).generate_completion(shell=shell)
    sys.stdout.write(script + (_ZSH_TAIL if shell == "zsh" else ""))
