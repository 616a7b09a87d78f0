"""What machines are, from recorded answers: an Orin, a container on it, an Orin Nano, and this computer for real."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dlaflow.build.doctor import examine_machine
from dlaflow.build.machine import System, inspect

EVIDENCE = Path(os.environ.get("DLAFLOW_EVIDENCE") or Path(__file__).parents[3] / "shared" / "evidence")
IDENTITY = EVIDENCE / "artefacts" / "open" / "device_identity_samples.txt"
HOST = "/sys/devices/platform/bus@0/13e00000.host1x"


@dataclass
class Recorded:
    """A machine from a record of what it answered."""

    files: dict[str, str] = field(default_factory=dict)
    commands: dict[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    packages: dict[str, str] = field(default_factory=dict)
    machine: str = "aarch64"
    release: str = "5.15.148-tegra"
    interpreter: str = "3.10.12"

    def read(self, path):
        return self.files.get(path, "")

    def exists(self, path):
        return any(name == path or name.startswith(f"{path}/") for name in self.files)

    def run(self, *command):
        return self.commands.get(" ".join(command), "")

    def which(self, program):
        return f"/usr/bin/{program}" if program in self.programs else ""

    def package(self, name):
        return self.packages.get(name, "")

    def architecture(self):
        return self.machine

    def kernel(self):
        return self.release

    def python(self):
        return self.interpreter


def orin():
    return Recorded(
        files={
            "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
            "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,p3701-0005\0nvidia,tegra234\0",
            "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: g, EABI: a, DATE: x\n",
            "/usr/src/tensorrt/bin/trtexec": "",
            f"{HOST}/15880000.nvdla0/power": "",
            f"{HOST}/158c0000.nvdla1/power": "",
        },
        commands={
            "dpkg-query --show libnvinfer*": "libnvinfer-bin\t10.3.0.30-1\nlibnvinfer10\t10.3.0.30-1+cuda12.5\n",
            "nvpmodel -q": "NV Power Mode: MAXN\n0\n",
            "jetson_clocks --show": "DLA0_CORE:   Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1369600000\n",
            "nvcc --version": "Cuda compilation tools, release 12.6, V12.6.68\n",
        },
        programs=("ssh", "nsys"),
        packages={"onnxruntime": "1.23"},
    )


def works(checkup):
    return {ability.name: ability.works for ability in checkup.abilities}


def test_an_orin():
    checkup = examine_machine(orin())
    machine = checkup.machine
    assert (machine.board, machine.module) == ("NVIDIA Jetson AGX Orin Developer Kit", "p3701-0005")
    assert machine.soc == "tegra234 (Orin)"
    assert (machine.l4t, machine.jetpack, machine.tensorrt) == ("36.4.3", "6.2", "10.3.0")
    assert (machine.dla_cores, machine.dla_source) == (2, "device nodes")
    assert (machine.power_mode, machine.dla_clocks_mhz) == ("MAXN", (1369.6,))
    assert (machine.cuda, machine.container) == ("12.6", False)
    can = works(checkup)
    assert can["build --via trtexec"]
    assert can["running on a DLA"]
    assert not can["build --via python"]
    missing = {ability.name: ability.install for ability in checkup.abilities if not ability.works}
    assert missing["build --via python"] == "sudo apt-get install python3-libnvinfer"
    assert missing["train, export"] == "pip install 'dlaflow[train]'"
    assert missing["build --via rtx"] == "", "there is none for Arm"
    assert checkup.oddities == ()


def test_a_container_of_another_release_and_python():
    inside = orin()
    inside.files["/.dockerenv"] = ""
    inside.files["/etc/nv_tegra_release"] = "# R35 (release), REVISION: 3.1, GCID: 1, BOARD: g, EABI: a, DATE: x\n"
    inside.interpreter = "3.11.4"
    checkup = examine_machine(inside)
    assert checkup.machine.container
    assert "the host of L4T 36" in checkup.oddities[0]
    assert "binds TensorRT to Python 3.8" in checkup.oddities[1]


def test_a_container_without_the_devices():
    inside = orin()
    inside.files = {name: text for name, text in inside.files.items() if "nvdla" not in name} | {"/.dockerenv": ""}
    why = {ability.name: ability.why for ability in examine_machine(inside).abilities}
    assert "--runtime nvidia" in why["running on a DLA"]


def test_a_board_without_a_dla():
    nano = orin()
    nano.files = {name: text for name, text in nano.files.items() if "nvdla" not in name}
    nano.files["/proc/device-tree/model"] = "NVIDIA Jetson Orin Nano Developer Kit\0"
    checkup = examine_machine(nano)
    assert checkup.machine.dla_cores == 0
    assert not works(checkup)["running on a DLA"]


def test_an_older_kernel_serves_two_lines():
    board = orin()
    board.release = "5.10.120-tegra"
    assert inspect(board).host_l4t == ("34", "35")


@pytest.mark.skipif(not IDENTITY.is_file(), reason=f"no evidence in {IDENTITY}")
def test_real_answers_of_devices():
    """Texts of several devices in one record: the last power mode is the Xavier's, the clocks the Orin's."""
    board = orin()
    board.commands = {"jetson_clocks --show": IDENTITY.read_text()}
    machine = inspect(board)
    assert machine.dla_clocks_mhz == (1600.0, 1600.0)
    assert machine.power_mode == "MAXN"


def test_this_computer():
    checkup = examine_machine(System())
    assert checkup.machine.python == platform.python_version()
    assert checkup.machine.architecture == platform.machine()
    assert works(checkup)["check, explain, boards, fix, estimate, profile of logs"]
    assert checkup.machine.dla_cores is not None or "TensorRT" in checkup.machine.dla_source
