"""A stand-in for trtexec: replays a log and behaves as STAND_IN says. Started as a program by the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PASSED = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec {arguments}
[11/22/2025-10:00:00] [I] TensorRT version: 8.5.2
[11/22/2025-10:00:00] [I] Start parsing network model
[11/22/2025-10:00:01] [W] [TRT] Layer 'Pool_8' (REDUCE): Unsupported on DLA. Switching this layer's device type to GPU.
[11/22/2025-10:00:02] [I] [TRT] ---------- Layers Running on DLA ----------
[11/22/2025-10:00:02] [I] [TRT] [DlaLayer] {{ForeignNode[Conv_0...Relu_7]}}
[11/22/2025-10:00:02] [I] [TRT] ---------- Layers Running on GPU ----------
[11/22/2025-10:00:02] [I] [TRT] [GpuLayer] REDUCE: Pool_8
[11/22/2025-10:00:03] [I] Engine built in 12.5 sec.
[11/22/2025-10:00:09] [I] === Performance summary ===
[11/22/2025-10:00:09] [I] Throughput: 649.723 qps
[11/22/2025-10:00:09] [I] Latency: min = 1.4 ms, max = 2.0 ms, mean = 1.5 ms, median = 1.5 ms, percentile(90%) = 1.6 ms
&&&& PASSED TensorRT.trtexec [TensorRT v8502] # trtexec {arguments}
"""
FAILED = """&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec {arguments}
[11/22/2025-10:00:00] [E] Error[1]: Cannot create DLA engine, 0 not available
[11/22/2025-10:00:00] [E] Engine could not be created from network
&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec {arguments}
"""


def main() -> int:
    requested = os.environ["STAND_IN"]
    arguments = " ".join(sys.argv[1:])
    engines = [one.partition("=")[2] for one in sys.argv[1:] if one.startswith("--saveEngine=")]
    if requested == "unknown option":
        sys.stderr.write("[11/22/2025-10:00:00] [E] Unknown option: --separateProfileRun\n")
        return 1
    if engines and requested not in {"fails", "says passed"}:
        Path(engines[0]).write_bytes(b"half" if requested in {"hangs", "crashes"} else b"engine")
    if requested == "keeps the cache":
        caches = [one.partition("=")[2] for one in sys.argv[1:] if one.startswith("--calib=")]
        Path(engines[0]).write_bytes(Path(caches[0]).read_bytes())
    if requested == "hangs":
        # A grandchild that keeps the pipe open, as a helper of a real build may.
        helper = subprocess.Popen(["sleep", "600"])
        sys.stdout.write(f"[11/22/2025-10:00:00] [I] Start parsing network model\nhelper {helper.pid}\n")
        sys.stdout.flush()
        time.sleep(600)
    if requested == "crashes":
        sys.stdout.write("[11/22/2025-10:00:00] [I] Start parsing network model\n")
        sys.stdout.flush()
        os.abort()
    if requested == "talks":
        line = "[11/22/2025-10:00:00] [V] [TRT] " + "x" * 100 + "\n"
        for _ in range(200):
            sys.stdout.write(line * 1000)
    text = FAILED if requested == "fails" else PASSED
    if "REPLAY" in os.environ:
        sys.stdout.write(Path(os.environ["REPLAY"]).read_text(errors="replace"))
        return 0
    sys.stdout.write(text.format(arguments=arguments))
    return 1 if requested == "fails" else 0


if __name__ == "__main__":
    raise SystemExit(main())
