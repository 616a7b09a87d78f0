"""A fuzzer that stays: files of every kind that dlaflow opens, damaged, lying or hostile, against its commands.

Each input is made and read in a child process of its own (forked from this one, which has all modules loaded), in a
scratch folder, with 2 GB of memory and 30 s of processor time; a child that only waits has 30 s too. The table counts

    uncaught   an exception that nobody foresaw (exit 70, a traceback, a signal), or an exit without its line
    hangs      over the time
    memory     over 2 GB, or ended by the limit
    escapes    control or bidirectional characters, or a line of the input's own, on the terminal
    outside    a program started, a socket, or a file opened or changed outside the scratch folder (an audit hook)

`python benchmarks/fuzz.py --inputs 10000 --jobs 2` takes about half an hour on two cores; it exits with 1 when anything
was found. Inputs that failed are kept in `--keep` with the command that makes them again, which is
`--seed S --kind K --only N`. `--corpus DIR` mutates files of the user's own too. With atheris (`pip install atheris`),
`--guided --kind K` lets libFuzzer look for new paths through one kind's readers instead.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process with threads is no good to fork
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import fuzz_kinds
from fuzz_kinds import KINDS, Scene, Seeds

from dlaflow.cli import main as dlaflow

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 30.0
WAITING_CPU = 1.0
"""A child that took less of a processor in all that time waits for something that does not come."""
PATIENCE = 6
"""On a busy machine wall time means little: only so many times the limit ends a child that still computes."""
MEMORY = 2 << 30
FILE_SIZE = 1 << 30
NOT_MADE = 99
FINE = (0, 1, 2, 3)
COLUMNS = ("uncaught", "hangs", "memory", "escapes", "outside")
STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "pty.spawn",
    "pickle.find_class",
)
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request")
CHANGES = (
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.truncate",
    "shutil.rmtree",
)
BIDI = frozenset("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Input:
    """One input: the number of its kind's inputs, which with the seed says all about it."""

    kind: str
    number: int


@dataclass
class Running:
    """A child at work."""

    input: Input
    pid: int
    folder: Path
    began: float
    resident: int


@dataclass(frozen=True)
class Outcome:
    """What became of an input: the exit code (negative: a signal), and what was wrong, by column."""

    code: int
    faults: dict[str, str]


# In the child.


def child(each: Input, seed: int, seeds: Seeds, folder: Path) -> int:
    """Make the input and read it; returns the exit code."""
    work = folder / "work"
    work.mkdir()
    os.chdir(work)
    try:
        argv = KINDS[each.kind][0](Scene(work, random.Random(f"{seed}:{each.kind}:{each.number}"), seeds))
        (folder / "argv").write_text(repr(argv))
    except Exception:
        (folder / "argv").write_text(traceback.format_exc())
        return NOT_MADE
    os.environ.update(HOME=str(folder), TMPDIR=str(folder), PATH="/nonexistent", COLUMNS="120")
    tempfile.tempdir = str(folder)
    log = os.open(folder / "events", os.O_WRONLY | os.O_CREAT)
    sys.addaudithook(Watch(folder, log).hook)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    space = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return call(argv)


def call(argv: list[str]) -> int:
    """A command, or a loader whose command would go on to start other programs."""
    if not argv[0].startswith("@"):
        return dlaflow(argv)
    from dlaflow.cli.faults import end_with

    try:
        if argv[0] == "@sweep":
            from dlaflow.sweep.space import load_sweep

            load_sweep(argv[1])
        else:
            from dlaflow.remote.inventory import boards_of

            boards_of(argv[1])
    except Exception as error:
        return end_with(error, debug=False)
    return 0


class Watch:
    """Notes what a reader of files has no business with; what would start a program is refused too."""

    def __init__(self, folder: Path, log: int) -> None:
        self.folder = os.path.realpath(folder)
        self.log = log
        recipes = (path.read_bytes() for path in folder.rglob("*.toml") if path.is_file())
        self.named = b"\n".join(recipes).decode("utf-8", "replace")  # a recipe may name any model to read
        own = [
            sys.prefix,
            sys.base_prefix,
            str(ROOT),
            *filter(os.path.isabs, sys.path),
            "/usr",
            "/proc",
            "/sys",
            "/lib",
        ]
        self.readable = tuple(
            {os.path.realpath(path) for path in own} | {"/dev/null", "/dev/urandom", "/etc/mime.types"}
        )

    def hook(self, event: str, args: tuple[object, ...]) -> None:
        if event in STARTS or event in NETWORK:
            self.note(event, repr(args)[:200])
            raise PermissionError(f"{event} is refused while fuzzing")
        if event == "open" and isinstance(args[0], str | bytes):
            flags = args[2] if isinstance(args[2], int) else 0
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
            self.opened(os.fsdecode(args[0]), writes)
        elif event in CHANGES:
            for path in args[:2]:
                if isinstance(path, str | bytes) and not self.inside(os.fsdecode(path)):
                    self.note(event, repr(path)[:200])

    def opened(self, path: str, writes: bool) -> None:
        try:
            real = os.path.realpath(path)
        except ValueError:
            return
        if (
            (real + os.sep).startswith(self.folder + os.sep)
            or (not writes and (real.startswith(self.readable) or path in self.named))
            or real == os.devnull
        ):
            return
        if os.path.lexists(real) or writes:
            self.note("writes" if writes else "reads", real[:200])

    def inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self.folder)

    def note(self, what: str, detail: str) -> None:
        os.write(self.log, f"{what} {detail}\n".encode("utf-8", "backslashreplace"))


# In the parent.


def start(each: Input, seed: int, seeds: Seeds) -> Running:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
                handle = os.open(name, os.O_RDWR | os.O_CREAT)
                os.dup2(handle, number)
                os.close(handle)
            code = child(each, seed, seeds, folder)
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        finally:
            os._exit(code)
    return Running(each, pid, folder, time.monotonic(), resident)


def ended(running: Running) -> Outcome | None:
    """What became of a child, or None while it works; one that works for too long is ended."""
    pid, status, usage = os.wait4(running.pid, os.WNOHANG)
    faults: dict[str, str] = {}
    if pid == 0:
        wall = time.monotonic() - running.began
        if wall < SECONDS:
            return None
        cpu = processor_seconds(running.pid)
        if WAITING_CPU < cpu < SECONDS and wall < PATIENCE * SECONDS:
            return None
        faults["hangs"] = f"{wall:.0f} s, of a processor {cpu:.0f} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        pid, status, usage = os.wait4(running.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    said = read(running.folder / "stderr")
    taken = usage.ru_maxrss * 1024 - running.resident
    if taken > MEMORY or "out of memory" in said or "bad_alloc" in said or "llocat" in said:
        faults["memory"] = f"{taken >> 20} MB: {last_line(said)}"
    if not faults:
        faults |= misbehaviour(code, said)
    if found := escapes(said) or escapes(read(running.folder / "stdout")):
        faults["escapes"] = found
    if events := read(running.folder / "events").strip():
        faults["outside"] = events.splitlines()[0]
    return Outcome(code, faults)


def processor_seconds(pid: int) -> float:
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def misbehaviour(code: int, said: str) -> dict[str, str]:
    if code == NOT_MADE:
        return {}
    if code not in FINE or "Traceback (most recent call last)" in said:
        return {"uncaught": f"exit {code}: {last_line(said)}"}
    if code == 2 and "dlaflow: " not in said:
        return {"uncaught": f"exit 2 without a line: {last_line(said)}"}
    return {}


def escapes(text: str) -> str:
    """The first line that a terminal or a CI log would act on; empty when there is none."""
    for line in text.split("\n"):
        if line.startswith(("::", "FORGED")):
            return f"forged line {line[:80]!r}"
        strange = [char for char in line if char != "\t" and (unicodedata.category(char) == "Cc" or char in BIDI)]
        if strange:
            return f"{strange[0]!r} in {line[:80]!r}"
    return ""


def read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return ascii(lines[-1][:300])[1:-1] if lines else "(nothing on stderr)"


def keep(running: Running, outcome: Outcome, seed: int, place: Path) -> None:
    """The input, what was printed, and how to make it again."""
    target = place / f"{running.input.kind}-{seed}-{running.input.number}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(running.folder.rglob("*")):
        if (
            path.is_file()
            and not path.is_symlink()
            and path.stat().st_blocks * 512 < 8 << 20
            and path.stat().st_size < 1 << 30
        ):
            copy = target / path.relative_to(running.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    again = f"python benchmarks/fuzz.py --seed {seed} --kind {running.input.kind} --only {running.input.number}"
    faults = "".join(f"{name}: {text}\n" for name, text in outcome.faults.items())
    (target / "CASE.txt").write_text(
        f"{faults}exit: {outcome.code}\nargv: {read(running.folder / 'argv')}\nagain: {again}\n"
    )


def make_seeds(corpus: Path | None) -> Seeds:
    """The seeds: written here, by dlaflow itself, and those of the user's folder."""
    seeds = Seeds(models=fuzz_kinds.seed_models())
    seeds.logs = [
        fuzz_kinds.LOG.encode(),
        fuzz_kinds.LOG.replace("v8502", "v100300").replace("Orin", "Xavier").encode(),
    ]
    seeds.exports = [
        fuzz_kinds.dumped(each)
        for each in (fuzz_kinds.PROFILE, fuzz_kinds.LAYER_INFO, fuzz_kinds.TIMES, fuzz_kinds.OUTPUT)
    ]
    seeds.caches = [fuzz_kinds.CACHE.encode()]
    seeds.tegrastats = [fuzz_kinds.TEGRASTATS.encode()]
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        fuzz_kinds.seed_capture(place / "a.sqlite")
        seeds.captures = [(place / "a.sqlite").read_bytes()]
        for number, model in enumerate(seeds.models[:3]):
            (place / "m.onnx").write_bytes(model)
            with contextlib.redirect_stdout(io.StringIO()):
                dlaflow(["check", str(place / "m.onnx"), "--json", str(place / f"{number}.json")])
            seeds.placements.append((place / f"{number}.json").read_bytes())
        seeds.runs = [fuzz_kinds.run_record(place / "0.json")]
    if corpus is not None:
        add_corpus(seeds, corpus)
    return seeds


def add_corpus(seeds: Seeds, corpus: Path) -> None:
    """Files by their kind, as dlaflow tells it; large ones are left out, since each input holds a copy."""
    from dlaflow.errors import DlaflowError
    from dlaflow.parse.detect import Kind, detect

    lists = {
        Kind.TRTEXEC_LOG: seeds.logs, Kind.TENSORRT_LOG: seeds.logs, Kind.PROFILE: seeds.exports,
        Kind.LAYER_INFO: seeds.exports, Kind.TIMES: seeds.exports, Kind.CALIBRATION_CACHE: seeds.caches,
        Kind.NSYS_SQLITE: seeds.captures,
        Kind.TEGRASTATS: seeds.tegrastats, Kind.DEVICE: seeds.tegrastats, Kind.CUDLA_CSV: seeds.logs,
    }  # fmt: skip
    for path in sorted(corpus.rglob("*")):
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        if path.suffix == ".onnx":
            seeds.models.append(path.read_bytes())
            continue
        with contextlib.suppress(DlaflowError, ValueError):
            kind = detect(path)
            if kind in lists and (lists[kind] is not seeds.exports or fuzz_kinds.is_json(path)):
                lists[kind].append(path.read_bytes())


def plan(inputs: int, kinds: Sequence[str]) -> Iterator[Input]:
    """So many inputs, each kind as often as its share says; kinds take turns."""
    total = sum(KINDS[kind][1] for kind in kinds)
    given: Counter[str] = Counter()
    for number in range(inputs):
        kind = max(kinds, key=lambda name: KINDS[name][1] * (number + 1) / total - given[name])
        yield Input(kind, given[kind])
        given[kind] += 1


def fuzz(waiting: Iterator[Input], seeds: Seeds, options: argparse.Namespace) -> dict[str, Counter[str]]:
    """All inputs, so many at a time; returns the counts by kind."""
    table: dict[str, Counter[str]] = {}
    at_work: list[Running] = []
    try:
        work_through(waiting, seeds, options, table, at_work)
    except KeyboardInterrupt:
        print("interrupted; the table is of what was done")
    finally:
        for running in at_work:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            shutil.rmtree(running.folder, ignore_errors=True)
    return table


def work_through(
    waiting: Iterator[Input],
    seeds: Seeds,
    options: argparse.Namespace,
    table: dict[str, Counter[str]],
    at_work: list[Running],
) -> None:
    """Start children and note what became of them until nothing is left."""
    began, done = time.monotonic(), 0
    while True:
        while len(at_work) < options.jobs and (each := next(waiting, None)) is not None:
            at_work.append(start(each, options.seed, seeds))
        if not at_work:
            return
        for running in list(at_work):
            outcome = ended(running)
            if outcome is None:
                continue
            at_work.remove(running)
            counts = table.setdefault(running.input.kind, Counter())
            counts["inputs"] += outcome.code != NOT_MADE
            counts["not made"] += outcome.code == NOT_MADE
            counts["read"] += outcome.code in (0, 1)
            counts.update(outcome.faults.keys())
            if options.verbose:
                argv = ascii(read(running.folder / "argv"))[1:-1]
                said = last_line(read(running.folder / "stderr"))
                print(f"{running.input.kind} {running.input.number}: {outcome.code} {argv} {said}")
            if outcome.faults or outcome.code == NOT_MADE:
                keep(running, outcome, options.seed, options.keep)
                for name, text in outcome.faults.items():
                    print(f"{running.input.kind} {running.input.number}: {name}: {ascii(text)[1:-1]}", flush=True)
            shutil.rmtree(running.folder, ignore_errors=True)
            done += 1
            if done % 500 == 0:
                print(f"  {done} inputs, {time.monotonic() - began:.0f} s", flush=True)
        time.sleep(0.005)


def guided(kind: str, seeds: Seeds, inputs: int) -> None:
    """libFuzzer by way of atheris, in this process: the bytes that it finds are the source of a kind's chance."""
    atheris = importlib.import_module("atheris")  # what `main` has already imported is instrumented here

    atheris.instrument_all()

    def one(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            place = os.getcwd()
            os.chdir(scratch)
            try:
                argv = KINDS[kind][0](Scene(Path(scratch), random.Random(data), seeds))
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
                    code = call(argv)
            finally:
                os.chdir(place)
        if code not in FINE:
            raise RuntimeError(f"exit {code} of {argv}: {said.getvalue()}")

    atheris.Setup([sys.argv[0], f"-runs={inputs}", f"-timeout={SECONDS:.0f}"], one)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument("--only", type=int, help="only this number of the kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()) / "dlaflow-fuzz", help="where failures go"
    )
    parser.add_argument("--corpus", type=Path, help="a folder of further files to mutate")
    parser.add_argument("--ignore", action="append", default=[], choices=COLUMNS, help="a column that is counted only")
    parser.add_argument("--verbose", action="store_true", help="print what became of each input")
    parser.add_argument(
        "--guided", action="store_true", help="with atheris: look for new paths through the kind's readers"
    )
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    kinds = options.kind or list(KINDS)
    preload(kinds)
    seeds = make_seeds(options.corpus)
    if options.guided:
        guided(kinds[0], seeds, options.inputs)
        return 0
    waiting = plan(options.inputs, kinds) if options.only is None else iter([Input(kinds[0], options.only)])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    table = fuzz(waiting, seeds, options)
    print_table(table, options.seed, time.monotonic() - began)
    counted = [name for name in (*COLUMNS, "not made") if name not in options.ignore]
    found = sum(counts[name] for counts in table.values() for name in counted)
    if found:
        print(f"The inputs are in {options.keep}.")
    return int(bool(found))


def preload(kinds: Sequence[str]) -> None:
    """The modules that commands load, so that each child need not."""
    from dlaflow.cli.commands import COMMANDS

    names = [entry[0].partition(":")[0] for entry in COMMANDS.values()]
    names += [
        "onnxruntime",
        "PIL.Image",
        "rich.console",
        "dlaflow.recipe.run",
        "dlaflow.sweep.space",
        "dlaflow.remote.inventory",
    ]
    if "safetensors" in kinds or "strange-files" in kinds:
        names += ["torch", "safetensors.torch", "dlaflow.zoo.export"]
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def print_table(table: dict[str, Counter[str]], seed: int, seconds: float) -> None:
    head = ("inputs", "read", *COLUMNS)
    print(f"\n{'kind':<16}" + "".join(f"{name:>10}" for name in head))
    for kind in (name for name in KINDS if name in table):
        print(f"{kind:<16}" + "".join(f"{table[kind][name]:>10}" for name in head))
    total: Counter[str] = sum(table.values(), Counter())
    print(f"{'all':<16}" + "".join(f"{total[name]:>10}" for name in head))
    print(f"seed {seed}, {seconds:.0f} s; `read`: read to the end rather than refused", end="")
    print(f"; {total['not made']} could not be made" if total["not made"] else "")


if __name__ == "__main__":
    sys.exit(main())
