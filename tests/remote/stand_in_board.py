"""A board to test against: real processes, real files, a real sshd on loopback; only NVIDIA's programs are stand-ins.

The stand-ins replay what real ones print, in our own words, and do what matters to the plumbing: trtexec writes an
engine that is a function of its model, tegrastats draws more power while a trtexec runs, jetson_clocks changes a file.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dlaflow.targets.features import trtexec_options
from dlaflow.targets.version import Version

TRTEXEC = r"""#!{python} -S
import hashlib, json, os, sys, time
board = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
options = dict((one[2:].partition("=")[0], one.partition("=")[2]) for one in sys.argv[1:])
def setting(name, default):
    try:
        with open(os.path.join(board, name)) as file:
            return file.read().strip()
    except OSError:
        return default
def log(text):
    sys.stdout.write(text + "\n"); sys.stdout.flush()
def put(name, data):
    with open(name, "wb") as file:
        file.write(data)
busy = os.path.join(board, "busy", str(os.getpid()))
open(busy, "w").write(" ".join(sys.argv[1:]))
line = " ".join(sys.argv[1:])
dla = "useDLACore" in options
version = setting("version", "8502")
cuts = (0, 2, 4, 6) if len(version) == 6 else (0, 1, 2, 4)
release = tuple(int(version[start:end]) for start, end in zip(cuts, cuts[1:]))
log("&&&& RUNNING TensorRT.trtexec [TensorRT v%s] # trtexec %s" % (version, line))
known = json.load(open(os.path.join(board, "flags.json")))
for name in options:
    first, last = known.get(name, ([99], []))
    if list(release) < first or (last and list(release[:len(last)]) > last):
        log("[11/22/2026-10:00:00] [E] Unknown option: --%s" % name)
        log("&&&& FAILED TensorRT.trtexec [TensorRT v%s] # trtexec %s" % (version, line))
        os.unlink(busy)
        sys.exit(1)
log("[11/22/2026-10:00:00] [I] Start parsing network model")
def samples():
    try:
        with open("tegrastats.log") as file:
            return file.read().count("RAM")
    except OSError:
        return 0
ended, sampled = time.time() + float(setting("seconds", "0.2")), samples() + int(setting("samples", "0"))
held = os.path.join(board, "held")
on_dla, on_gpu = setting("layers", "Conv_0...Relu_7 Pool_8").split()
on_dla = "{ForeignNode[%s]}" % on_dla
half = options.get("saveEngine")
if half:
    put(half, b"half an engine")
count = 0
while time.time() < ended or samples() < sampled or os.path.exists(held):
    count += 1
    log("[11/22/2026-10:00:%02d] [I] [TRT] Local timing cache in use %d" % (count % 60, count))
    time.sleep(0.05)
text = ""
if "onnx" in options:
    text = open(options["onnx"], "rb").read()
    if setting("fails", "") or b"FAILS" in text:
        log("[11/22/2026-10:00:00] [E] Error[1]: Cannot create DLA engine, 0 not available")
        log("&&&& FAILED TensorRT.trtexec [TensorRT v%s] # trtexec %s" % (version, line))
        os.unlink(half); os.unlink(busy)
        sys.exit(1)
    sha = hashlib.sha256(text).hexdigest()
    put(half, (sha * int(setting("engine_repeat", "200"))).encode())
    if dla:
        refused = any(kind in text for kind in setting("refuses", "Erf").encode().split())
        log("[11/22/2026-10:00:02] [I] [TRT] ---------- Layers Running on DLA ----------")
        if not refused:
            log("[11/22/2026-10:00:02] [I] [TRT] [DlaLayer] " + on_dla)
        log("[11/22/2026-10:00:02] [I] [TRT] ---------- Layers Running on GPU ----------")
        if refused:
            log("[11/22/2026-10:00:02] [I] [TRT] [GpuLayer] UNARY: node_0")
    log("[11/22/2026-10:00:03] [I] Engine built in 12.5 sec.")
rate = (650.0 if dla else 1650.0) * (0.8 if len(os.listdir(os.path.join(board, "busy"))) > 1 else 1.0)
if "skipInference" not in options and "buildOnly" not in options:
    median = 1000.0 / rate
    log("[11/22/2026-10:00:09] [I] === Performance summary ===")
    log("[11/22/2026-10:00:09] [I] Throughput: %.3f qps" % rate)
    shares = (("min", 0.95), ("max", 1.3), ("mean", 1.0), ("median", 1.0), ("percentile(90%)", 1.05),
              ("percentile(95%)", 1.1), ("percentile(99%)", 1.2))
    log("[11/22/2026-10:00:09] [I] Latency: " + ", ".join("%s = %.4f ms" % (n, median * x) for n, x in shares))
    if "exportTimes" in options:
        rows = []
        for n in range(40):
            start, took = 10.0 + n * median, median * (1 + 0.02 * (n % 5))
            rows.append(dict(startEnqMs=start, endEnqMs=start + 0.1, startH2dMs=start, endH2dMs=start + 0.1,
                startComputeMs=start + 0.1, endComputeMs=start + took, startD2hMs=start + took, endD2hMs=start + took,
                h2dMs=0.1, computeMs=took - 0.1, d2hMs=0.0, latencyMs=took))
        put(options["exportTimes"], json.dumps(rows).encode())
    if "exportProfile" in options:
        rows = [{"count": 100}]
        for name, ms in ((on_dla, 0.9), ("node_1 finish", 0.1), (on_gpu, 0.5)):
            rows.append({"name": name, "timeMs": ms * 100, "averageMs": ms, "percentage": ms / 0.015})
        put(options["exportProfile"], json.dumps(rows).encode())
    if "exportLayerInfo" in options:
        row = {"Layers": [on_dla, on_gpu], "Bindings": ["input", "output"]}
        put(options["exportLayerInfo"], json.dumps(row).encode())
    if "exportOutput" in options:
        import array
        name = options["loadInputs"].rpartition(":")[2]
        batch = int(setting("batch", "4"))
        values = array.array("f"); values.frombytes(open(name, "rb").read())
        each = len(values) // batch
        scores = []
        for n in range(batch):
            image = values[n * each:(n + 1) * each]
            best = int(round(image[0]))
            scores += [1.0 if c == best else 0.0 for c in range(10)]
        row = {"name": "output", "dimensions": "%dx10" % batch, "values": scores}
        put(options["exportOutput"], json.dumps([row]).encode())
log("&&&& PASSED TensorRT.trtexec [TensorRT v%s] # trtexec %s" % (version, line))
os.unlink(busy)
"""

NSYS = r"""#!{python} -S
import os, subprocess, sys
words = sys.argv[1:]
def option(name):
    return next((one.partition("=")[2] for one in words if one.startswith("--%s=" % name)), "")
if words[:2] == ["profile", "--help"]:
    print("  --accelerator-trace=\n  --trace=\n  --output=")
elif words[0] == "profile":
    program = next(place for place, one in enumerate(words) if one.endswith("trtexec"))
    code = subprocess.call(words[program:])
    open(option("output") + ".nsys-rep", "wb").write(b"a capture")
    sys.exit(code)
elif words[0] == "export":
    source = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "capture.sqlite")
    data = open(source, "rb").read() if os.path.exists(source) else b"an export"
    open(option("output"), "wb").write(data)
"""

TEGRASTATS = r"""#!{python} -S
import os, sys, time
board = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
while True:
    busy = len(os.listdir(os.path.join(board, "busy")))
    power = 5000 + 4000 * busy
    head = "11-22-2026 10:00:00 RAM 2562/62841MB (lfb 3x4MB) SWAP 0/31421MB (cached 0MB) CPU [0%@2201,5%@2201] "
    units = "EMC_FREQ 0%@3199 GR3D_FREQ 0%@[1300,1300] NVDLA0 @1600 cpu@44.8C gpu@39.7C "
    rails = "VDD_GPU_SOC {0}mW/{0}mW VDD_CPU_CV 1997mW/1997mW VIN_SYS_5V0 4320mW/4320mW".format(power)
    sys.stdout.write(head + units + rails + "\n")
    sys.stdout.flush()
    time.sleep(int(sys.argv[2]) / 1000)
"""

JETSON_CLOCKS = r"""#!{python} -S
import os, shutil, sys
board = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
clocks = os.path.join(board, "clocks")
if "--show" in sys.argv:
    print("DLA0_CORE:  Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1600000000")
elif "--store" in sys.argv:
    shutil.copyfile(clocks, sys.argv[2])
elif "--restore" in sys.argv:
    shutil.copyfile(sys.argv[2], clocks)
else:
    open(clocks, "w").write("locked")
"""

DPKG_QUERY = r"""#!/bin/sh
v=$(cat "$(dirname "$0")/../version" 2>/dev/null || echo 8502)
case "$*" in *libnvinfer*) ;; *) exit 1;; esac
case $v in
  ??????) v=$(echo $v | sed 's/\(..\)0*\(.*\)\(..\)$/\1.\2.\3/; s/\.0*\([0-9]\)/.\1/g');;
  *) v=$(echo $v | sed 's/\(.\)\(.\)0*\(.*\)/\1.\2.\3/');;
esac
echo "libnvinfer	$v-1+cuda11.4"
"""

NVPMODEL = "#!/bin/sh\necho 'NV Power Mode: MAXN'\necho 0\n"
SUDO = '#!/bin/sh\necho "$*" >> "$(dirname "$0")/../sudo-calls"\nexec "$@"\n'
SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if os.path.exists("/usr/sbin/sshd") else None)


@dataclass
class StandInBoard:
    """A folder that plays a board: its programs, its settings, its clocks, and the home that the agent writes in."""

    folder: Path

    @property
    def programs(self) -> Path:
        return self.folder / "bin"

    @property
    def root(self) -> Path:
        return self.folder / "home" / ".dlaflow"

    @property
    def path(self) -> str:
        return f"{self.programs}:{Path(sys.executable).parent}:/usr/bin:/bin"

    @property
    def clocks(self) -> str:
        return (self.folder / "clocks").read_text()

    def setting(self, name: str, value: object) -> None:
        """For the programs: `seconds` and `samples` (of tegrastats) that a trtexec lasts at least, `layers`, ..."""
        (self.folder / name).write_text(str(value))

    def hold(self) -> None:
        """From now on no trtexec ends before `release`."""
        (self.folder / "held").touch()

    def release(self) -> None:
        (self.folder / "held").unlink()


def make_board(folder: Path) -> StandInBoard:
    board = StandInBoard(folder)
    for part in (board.programs, board.folder / "busy", board.folder / "home"):
        part.mkdir(parents=True)
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
    for name, text in (
        ("trtexec", TRTEXEC),
        ("nsys", NSYS),
        ("tegrastats", TEGRASTATS),
        ("jetson_clocks", JETSON_CLOCKS),
        ("nvpmodel", NVPMODEL),
        ("dpkg-query", DPKG_QUERY),
        ("sudo", SUDO),
    ):
        program = board.programs / name
        program.write_text(text.replace("{python}", python))
        program.chmod(0o755)
    board.setting("clocks", "own")
    # What real trtexec of each release accepts, so that a command line of another release fails as it would there.
    spans = {
        name: [list(Version.parse(text).parts) if text else [] for text in (option.since, option.until)]
        for name, option in trtexec_options().items()
    }
    board.setting("flags.json", json.dumps(spans))
    return board


@dataclass
class Sshd:
    """A real sshd of our own on 127.0.0.1, ended by its process id. `force` is run in place of any command."""

    folder: Path
    path: str
    port: int = 0
    force: str = "none"
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    def make(self) -> None:
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o700)
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        (self.folder / "authorized_keys").write_bytes((self.folder / "user_key.pub").read_bytes())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        (self.folder / "sshd_config").write_text(
            f"""Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.folder}/host_key
AuthorizedKeysFile {self.folder}/authorized_keys
PidFile {self.folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
MaxStartups 100
SetEnv PATH={self.path}
ForceCommand {self.force}
"""
        )
        self.trust()
        self.config.write_text(
            f"""Host *
    HostName 127.0.0.1
    Port {self.port}
    IdentityFile {self.folder}/user_key
    IdentitiesOnly yes
    UserKnownHostsFile {self.folder}/known_hosts
    GlobalKnownHostsFile /dev/null
    LogLevel ERROR
"""
        )

    def trust(self) -> None:
        kind, key = (self.folder / "host_key.pub").read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {kind} {key}\n")

    def start(self) -> None:
        os.makedirs("/run/sshd", exist_ok=True)
        assert SSHD
        self.process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "sshd.log").open("ab"),
            start_new_session=True,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "sshd.log").read_text())

    def sessions(self) -> list[int]:
        """The processes that serve connections: children of this sshd."""
        if self.process is None:
            return []
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == self.process.pid:
                    found.append(int(entry.name))
        return found

    def cut(self) -> None:
        """Break every connection, as a pulled cable would for the programs behind it."""
        for pid in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """The whole sshd goes away, with its connections."""
        self.cut()
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
