"""Every output of every command, on places that cannot or must not be written, and on those that are no files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlaflow.api.claims import Use, hints_of
from dlaflow.cli import main
from tests.cli.every_output import BEFORE, EXAMPLES, Case, cases, file_options, functions, make_inputs, make_weights

READ = (
    "cache data data_dir decode dla engine file files fill first gpu input layer_info layer_precisions layer_times "
    "learn left log measured model models nsys others plugin profile recipe reference right runs ssh_config tegrastats "
    "times trtexec weights"
)
SLOW = {"train", "run", "sweep", "survey"}
"""Commands that train; what they share with the others is tested with those."""
ALL = cases()
HERE = [case for case in ALL if case.command not in SLOW and not case.command.startswith(("remote", "loadable"))]
"""Those that do their work in a moment, on this machine, and without libcudla."""


def test_every_path_is_read_or_written_on_purpose() -> None:
    """A new option that writes must say so in its type; one that reads must be named above."""
    read = {
        name
        for command in functions().values()
        for name, use in file_options(hints_of(command))
        if use is Use.READ
    }  # fmt: skip
    assert read == set(READ.split())
    assert {case.command for case in ALL} <= set(EXAMPLES)
    assert len(ALL) > 40


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    before = os.getcwd()
    os.chdir(folder)  # a network of one's own is looked for here
    make_weights(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(autouse=True)
def nothing_left(inputs: Path) -> Iterator[None]:
    """No test changes an input, and none leaves a temporary file."""
    before = content(inputs)
    yield
    after = content(inputs)
    for name in after.keys() - before.keys():
        assert not name.endswith(".tmp"), name
        (inputs / name).unlink()
    assert {name: after.get(name) for name in before} == before


def content(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def refused(case: Case, target: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The line that the command ends with."""
    capsys.readouterr()
    assert main(case.words(target)) == 2
    err = capsys.readouterr().err
    line = err.splitlines()[-1]
    assert line.startswith("dlaflow: "), err
    assert sum(each.startswith("dlaflow: ") for each in err.splitlines()) == 1
    assert "Traceback" not in err
    return line


@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_folder_an_empty_name_and_the_root_are_told_before_any_work(
    case: Case, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in (str(tmp_path), "/", ".", ""):
        assert f"cannot write {target or '.'}: it is a folder" in refused(case, target, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("case", ALL, ids=str)
def test_an_input_is_never_an_output_by_whatever_name(
    case: Case, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = {word for word in EXAMPLES[case.command].split() if (inputs / word).is_file()}
    if not read:
        pytest.skip("reads no file")
    for number, name in enumerate(read):
        link, same = tmp_path / f"link{number}", tmp_path / f"same{number}"
        link.symlink_to(inputs / name)
        same.hardlink_to(inputs / name)
        for target in (name, f"./{name}", str(link), str(same)):
            assert f"{case.option} would overwrite what the command reads" in refused(case, target, capsys)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_two_outputs_are_two_files(case: Case, inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for other in ALL:
        if other.command == case.command and other != case:
            words = case.words("same")
            if other.option in words:
                words[words.index(other.option) + 1] = "./same"
            else:
                words += [other.option, *BEFORE.get(other.option, ()), "./same"]
            assert main(words) == 2
            assert "name the same file" in capsys.readouterr().err


def device(path: Path, minor: int) -> Path:
    """A device of our own: 3 is null, 7 is full."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        path.write_bytes(b"")
    except PermissionError:
        pytest.skip("only root makes devices, and not everywhere")
    return path


NO_STREAMS = {("build", "--out"), ("train", "--out"), ("cache from-qdq", "--plain"), ("calibrate", "--recover")}


@pytest.mark.parametrize("case", HERE, ids=str)
def test_devices_are_written_into_and_stay(
    case: Case, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    null, full = device(tmp_path / "null", 3), device(tmp_path / "full", 7)
    if (case.command, case.option) in NO_STREAMS:
        assert "expected a file" in refused(case, str(null), capsys)
    else:
        assert main([*case.words(str(null))]) == 0, capsys.readouterr().err
        assert f"cannot write {full}: No space left on device" in refused(case, str(full), capsys)
    assert stat.S_ISCHR(null.stat().st_mode)
    assert stat.S_ISCHR(full.stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "null"]


@pytest.mark.parametrize("case", HERE, ids=str)
def test_a_pipe_and_stdout_get_what_a_file_gets(
    case: Case, inputs: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    if (case.command, case.option) in NO_STREAMS:
        pytest.skip("is read again, and so must be a file")
    assert main(case.words(str(tmp_path / "file"))) == 0
    wanted = (tmp_path / "file").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    assert main(case.words(str(tmp_path / "pipe"))) == 0
    reader.join()
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")  # as /dev/stdout is, which no test may risk
    for target in ("-", str(tmp_path / "stdout")):
        capfdbinary.readouterr()
        assert main(case.words(target)) == 0
        read.append(capfdbinary.readouterr().out)
    if case.option == "--html" or case.command in {"build", "compare", "doctor", "evaluate", "fix", "cache from-qdq"}:
        assert all(read), "times of day and durations differ"
        assert len({each[:12] for each in [wanted, *read]}) == 1
    else:
        assert read == [wanted] * 3
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    if subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("only root mounts, and not everywhere")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
@pytest.mark.parametrize("case", HERE, ids=str)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    case: Case, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as full:
        (full / "old").write_text("old")
        with contextlib.suppress(OSError):
            (full / "filler").write_bytes(b"x" * (1 << 20))
        outside = content(inputs)
        for target in (full / "new", full / "old"):
            line = refused(case, str(target), capsys)
            assert f"cannot write {target}" in line
            assert "No space left on device" in line
        assert sorted(path.name for path in full.iterdir()) == ["filler", "old"]
        assert (full / "old").read_text() == "old"
        left = content(inputs).keys() - outside.keys()
        assert left <= {"out.engine.log"}, "all outputs or none; the log of a build is none of them"


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_read_only_folder_is_told_before_any_work(
    case: Case, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "ro", "-t", "tmpfs", "-o", "ro", "tmpfs") as folder:
        assert f"cannot write {folder / 'new'}: Read-only file system" in refused(case, str(folder / "new"), capsys)
