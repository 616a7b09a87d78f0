"""Power beside the programs: tegrastats, or the rails that the kernel shows, each sample with its time."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO

from .folder import RefusedRequest, program
from .process import end, spawn

TEGRASTATS_LOG = "tegrastats.log"
RAILS_LOG = "rails.jsonl"
_SENSORS = ("/sys/class/hwmon/hwmon*", "/sys/bus/i2c/drivers/ina3221*/*/iio:device*")


class PowerMeter:
    """Samples every `interval_ms` from `start` to `stop` into a file of `folder`, each line with the epoch in front."""

    def __init__(self, folder: str, interval_ms: int) -> None:
        self._folder = folder
        self._interval_ms = max(20, interval_ms)
        self._stop = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self.source = ""

    def start(self) -> None:
        """Raises RefusedRequest where the board shows no power at all."""
        try:
            tool = program("tegrastats")
        except RefusedRequest:
            if not read_rails():
                raise RefusedRequest("missing", "this board has neither tegrastats nor readable power rails") from None
            self.source = "sysfs"
            self._thread = threading.Thread(target=self._sample_rails, daemon=True)
        else:
            self.source = "tegrastats"
            self._child = spawn([tool, "--interval", str(self._interval_ms)], self._folder, subprocess.PIPE)
            assert self._child.stdout is not None
            self._thread = threading.Thread(target=self._stamp, args=(self._child.stdout,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End sampling; what was sampled stays."""
        self._stop.set()
        if self._child is not None:
            end(self._child)
        if self._thread is not None:
            self._thread.join(5)

    def _stamp(self, lines: IO[bytes]) -> None:
        # A full disk ends the sampling, not the job.
        with suppress(OSError), open(os.path.join(self._folder, TEGRASTATS_LOG), "wb", buffering=0) as file:
            for line in lines:
                file.write(b"%.3f::%s" % (time.time(), line))

    def _sample_rails(self) -> None:
        with suppress(OSError), open(os.path.join(self._folder, RAILS_LOG), "w", encoding="utf-8") as file:
            while not self._stop.wait(self._interval_ms / 1000):
                file.write(json.dumps({"at": time.time(), "rails_mw": read_rails()}) + "\n")
                file.flush()


def read_rails() -> dict[str, float]:
    """Milliwatts by rail, from the INA sensors in sysfs: volts (mV) times amperes (mA) of each labelled channel."""
    rails = {}
    for folder in [found for pattern in _SENSORS for found in sorted(glob.glob(pattern))]:
        for label in sorted(glob.glob(os.path.join(folder, "in*_label"))):
            number = os.path.basename(label)[2:-6]
            try:
                name = _text(label)
                millivolts = float(_text(os.path.join(folder, f"in{number}_input")))
                milliamperes = float(_text(os.path.join(folder, f"curr{number}_input")))
            except (OSError, ValueError):
                continue
            # The sum channel of the sensor has no current of its own.
            if name and "sum" not in name.lower():
                rails[name] = millivolts * milliamperes / 1000
    return rails


def _text(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read().strip()
