"""`dlaflow doctor`: what this machine is, what of dlaflow works here, and how to get the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlaflow.api.claims import Written
from dlaflow.build.doctor import Checkup, examine_machine
from dlaflow.build.machine import Machine
from dlaflow.cli import terminal
from dlaflow.files import record_json, write_atomic

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "dlaflow.doctor/1"


def doctor(*, json: Written | None = None, quiet: terminal.Quiet = False) -> None:
    """Tell what this machine is, what of dlaflow works here, and the command that installs what is missing.

    For example:

        dlaflow doctor

        dlaflow doctor --json machine.json

    Parameters
    ----------
    json
        Also write everything to this file.
    """
    checkup = examine_machine()
    if json is not None:
        write_atomic(json, record_json(SCHEMA, checkup))
    if quiet:
        return
    console = terminal.console()
    for name, value in facts(checkup.machine):
        console.print(terminal.styled((f"{name:<12}", "bold"), value))
    console.print(abilities_table(checkup, "here"))
    terminal.say(*(f"! {oddity}" for oddity in checkup.oddities))


def abilities_table(checkup: Checkup, where: str) -> Table:
    """What works on a machine (`here`, or `there` on a board), and how to get what does not."""
    from rich.table import Table
    from rich.text import Text

    table = Table("what", where, "missing", "how to get it", title=f"What works {where}", title_justify="left")
    for ability in checkup.abilities:
        works = Text("yes", "green") if ability.works else Text("no", "red")
        table.add_row(ability.name, works, ability.why, ability.install)
    return table


def facts(machine: Machine) -> list[tuple[str, str]]:
    """The lines about a machine, without those that are not known."""
    cores = "not known" if machine.dla_cores is None else str(machine.dla_cores)
    clocks = ", ".join(f"{clock:.0f} MHz" for clock in machine.dla_clocks_mhz)
    release = f"JetPack {machine.jetpack} (L4T {machine.l4t})" if machine.l4t else machine.jetpack
    tensorrt = ", ".join(
        filter(None, (machine.tensorrt, f"Python bindings {machine.bindings}" if machine.bindings else ""))
    )
    lines = [
        ("Machine", " ".join(filter(None, (machine.board or machine.architecture, machine.module)))),
        ("SoC", machine.soc),
        ("Release", release),
        ("Kernel", machine.kernel),
        ("Container", "yes" if machine.container else "no"),
        ("Python", machine.python),
        ("CUDA", machine.cuda),
        ("GPU", machine.gpu),
        ("TensorRT", tensorrt or "none"),
        ("trtexec", machine.trtexec or "none"),
        ("DLA cores", f"{cores} ({machine.dla_source})" + (f", at {clocks}" if clocks else "")),
        ("Power mode", machine.power_mode),
    ]
    return [(name, value) for name, value in lines if value]
