"""Steps are done once, again when anything that they depend on changes, and never half."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.files import write_atomic
from dlaflow.progress import Progress
from dlaflow.recipe.engine import Step, forget, remove_leftovers, run_steps, state_path
from dlaflow.recipe.lock import locked


def chain(folder: Path, calls: list[str], factor: str = "2") -> list[Step]:
    """source.txt → doubled.txt → length.txt, noting each piece of work in `calls`."""

    def double(_: Progress) -> str:
        calls.append("double")
        write_atomic(folder / "doubled.txt", (folder / "source.txt").read_text() * int(factor))
        return f"times {factor}"

    def measure(_: Progress) -> str:
        calls.append("measure")
        write_atomic(folder / "length.txt", str(len((folder / "doubled.txt").read_text())))
        return "measured"

    return [
        Step("export/a", double, (folder / "doubled.txt",), {"source": folder / "source.txt"}, {"factor": factor}),
        Step(
            "check/a", measure, (folder / "length.txt",), {"doubled": folder / "doubled.txt"}, distributions=("onnx",)
        ),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "source.txt").write_text("abc")
    return tmp_path


def test_a_finished_run_is_kept_whole(folder: Path) -> None:
    calls: list[str] = []
    first = run_steps(chain(folder, calls), folder, resume=False)
    second = run_steps(chain(folder, calls), folder, resume=True)
    assert calls == ["double", "measure"]
    assert [done.kept for done in first] == [False, False]
    assert [done.kept for done in second] == [True, True]
    assert [done.state for done in first] == [done.state for done in second]


def test_without_resume_everything_is_done_again(folder: Path) -> None:
    calls: list[str] = []
    run_steps(chain(folder, calls), folder, resume=False)
    run_steps(chain(folder, calls), folder, resume=False)
    assert calls == ["double", "measure"] * 2


def test_a_changed_input_goes_down_the_chain(folder: Path) -> None:
    calls: list[str] = []
    run_steps(chain(folder, calls), folder, resume=False)
    (folder / "source.txt").write_text("abcd")
    run_steps(chain(folder, calls), folder, resume=True)
    assert calls == ["double", "measure"] * 2
    assert (folder / "length.txt").read_text() == "8"


def test_a_changed_option_or_damaged_output_is_done_again(folder: Path) -> None:
    calls: list[str] = []
    run_steps(chain(folder, calls), folder, resume=False)
    run_steps(chain(folder, calls, factor="3"), folder, resume=True)
    assert calls == ["double", "measure"] * 2
    (folder / "length.txt").write_text("damaged")
    run_steps(chain(folder, calls, factor="3"), folder, resume=True)
    assert calls == ["double", "measure", "double", "measure", "measure"]
    assert (folder / "length.txt").read_text() == "9"


def test_an_equal_output_spares_the_next_step(folder: Path) -> None:
    """The fingerprint takes content, not time: redoing a step with the same result does not redo what follows."""
    calls: list[str] = []
    run_steps(chain(folder, calls), folder, resume=False)
    state_path(folder, "export/a").unlink()
    run_steps(chain(folder, calls), folder, resume=True)
    assert calls == ["double", "measure", "double"]


def test_a_failing_step_keeps_the_ones_before(folder: Path) -> None:
    calls: list[str] = []
    steps = chain(folder, calls)

    def fail(_: Progress) -> str:
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        run_steps([steps[0], Step("check/a", fail, (folder / "length.txt",))], folder, resume=False)
    assert not state_path(folder, "check/a").exists()
    assert [done.kept for done in run_steps(steps, folder, resume=True)] == [True, False]


def test_a_full_disk_is_one_line(folder: Path) -> None:
    def fill(_: Progress) -> str:
        with Path("/dev/full").open("w") as file:
            file.write("x")
        return "written"

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(InputError, match="No space left"):
        run_steps([Step("check/a", fill, (folder / "x",))], folder, resume=False)


def test_a_step_that_leaves_its_file_out_is_an_error(folder: Path) -> None:
    with pytest.raises(InputError, match="never"):
        run_steps([Step("check/a", lambda _: "", (folder / "never.txt",))], folder, resume=False)
    assert not state_path(folder, "check/a").exists()


def test_leftovers_and_damaged_states(folder: Path) -> None:
    calls: list[str] = []
    run_steps(chain(folder, calls), folder, resume=False)
    (folder / "model").mkdir()
    (folder / "model" / ".x.onnx.abc123.tmp").write_text("half")
    state_path(folder, "check/a").write_text('{"step": ')
    remove_leftovers(folder)
    run_steps(chain(folder, calls), folder, resume=True)
    assert calls == ["double", "measure", "measure"]
    assert list(folder.rglob(".*.tmp")) == []
    assert forget(folder) == 2
    assert forget(folder) == 0


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(InputError, match="another run"), locked(tmp_path / "run"):
        pytest.fail("the lock was given twice")
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").exists()
