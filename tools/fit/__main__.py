"""Fit the parameters of `dlaflow estimate` on public measurements and write them beside the code.

    python -m tools.fit [--evidence FOLDER] [--dry-run] [--plot FILE.svg] [--points FILE.csv]

Reads perf/measured_perf.json, the timed builds and the exported networks of placement/ in FOLDER (default:
DLAFLOW_EVIDENCE, else ../shared/evidence), fits every set, cross-validates by whole sources for the intervals, and
writes src/dlaflow/estimate/parameters/*.toml and energy.toml. `--plot` and `--points` write what the held-out fits say
of each point. Takes about a minute on one core, needs no torch, and writes the same bytes every time.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dlaflow.estimate.energy import energy_file
from dlaflow.estimate.parameters import shipped_folder, write_set
from dlaflow.files import write_atomic
from tools.fit.cases import read_cases
from tools.fit.crossval import hold_out, spread_of, told_kinds
from tools.fit.plot import plot, table
from tools.fit.train import train
from tools.fit.write import fit_ratios, fitted_set, write_energy

_ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    """Fit, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("DLAFLOW_EVIDENCE", _ROOT.parent / "shared" / "evidence"))
    parser.add_argument("--evidence", type=Path, default=default, help="folder that holds perf/measured_perf.json")
    parser.add_argument("--dry-run", action="store_true", help="print, write no parameters")
    parser.add_argument("--plot", type=Path, help="write measured against estimated as SVG")
    parser.add_argument("--points", type=Path, help="write the same points as CSV")
    options = parser.parse_args()

    collection, cases, skipped = read_cases(options.evidence)
    print(f"{len(collection.points)} points: {len(cases)} computed, {len(skipped)} left out with a reason")
    models, fits = train(cases)
    held, told = hold_out(cases), told_kinds(cases, models)
    for fit in fits:
        found = fitted_set(fit, spread_of(held, fit.key), cases, told.get(fit.key, ()))
        width = found.spread
        print(f"{fit.key}: {fit.points} points, 80% interval x/ {2.718281828**width.network:.2f} for networks")
        for name, number in found.parameters.items():
            print(
                f"    {name:<18} {number.median:>10.4g}  x/ {2.718281828**number.log_sd:.2f}   prior {number.prior:g}"
            )
        if not options.dry_run:
            write_set(found, shipped_folder() / f"{fit.key}.toml")
    for path, drawn in ((options.plot, plot), (options.points, table)):
        if path is not None:
            write_atomic(path, drawn(held, collection))
    energy = fit_ratios(collection.perf_per_watt_ratio_dla_vs_gpu, energy_file())
    if not options.dry_run:
        write_energy(energy, shipped_folder().parent / "energy.toml")


if __name__ == "__main__":
    main()
