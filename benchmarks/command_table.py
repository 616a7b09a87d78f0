"""Print what `build` says of each kind of request of tests/build/test_precheck.py for each JetPack."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.build.test_precheck import JETPACKS, KINDS, outcome, write_files


def main() -> None:
    """A row a kind, a column a TensorRT; how many cautions there are for a model that fits / for one that does not."""
    columns = {release.tensorrt: release for release in reversed(JETPACKS)}
    releases = list(reversed(columns.values()))
    print("| kind | " + " | ".join(f"{each.name} ({each.tensorrt})" for each in releases) + " |")
    print("|---" * (len(releases) + 1) + "|")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_files()
        for kind, config in KINDS.items():
            cells = []
            for release in releases:
                found = [outcome(release, config, model) for model in ("fits", "falls")]
                cells.append("/".join("refused" if isinstance(one, str) else str(len(one[1])) for one in found))
            print(f"| {kind} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
