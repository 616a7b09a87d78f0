"""Nsight captures: the real DLA run, real captures without one, and modelled ones in the schemas of real exporters."""

from __future__ import annotations

import itertools
import sqlite3
from pathlib import Path

import pytest

from dlaflow.errors import InputError
from dlaflow.parse.nsys import read_enqueues, read_hardware_tasks, read_info

REAL = "nsys_2023.4.4_orin_dla0_trt8.5.2_enq1-6.sqlite"
THREAD = 282168144208242
NVTX = "CREATE TABLE NVTX_EVENTS (start, end, eventType, text, globalTid, textId, domainId)"
STRINGS = "CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT)"
RUNTIME = "CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start, end, globalTid, correlationId, nameId)"
KERNEL = "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start, end, correlationId, globalPid)"
NVMEDIA = "CREATE TABLE TRACE_PROCESS_EVENT_NVMEDIA (start, end, eventClass, globalTid, nameId, correlationId)"


class Writer:
    """Fills a capture by column name, in whatever schema it was made with. Times are microseconds."""

    def __init__(self, path: Path, ddl: str) -> None:
        self.base = sqlite3.connect(path)
        self.base.executescript(ddl)
        self.strings: dict[str, int] = {}
        self.correlation = 0

    def insert(self, table: str, **values: object) -> None:
        required = {row[1] for row in self.base.execute(f"PRAGMA table_info({table})") if row[3] and row[4] is None}
        values = {**dict.fromkeys(required, 0), **values}
        marks = ",".join("?" for _ in values)
        self.base.execute(f"INSERT INTO {table} ({','.join(values)}) VALUES ({marks})", tuple(values.values()))

    def string(self, text: str) -> int:
        if text not in self.strings:
            self.strings[text] = len(self.strings) + 1
            self.insert("StringIds", id=self.strings[text], value=text)
        return self.strings[text]

    def domain(self, name: str, number: int) -> None:
        self.insert("NVTX_EVENTS", start=0, eventType=75, text=name, globalTid=THREAD, domainId=number)

    def span(self, name: str, start: float, end: float, domain: int = 3) -> None:
        self.insert(
            "NVTX_EVENTS", start=int(start * 1000), end=int(end * 1000), eventType=59, globalTid=THREAD,
            textId=self.string(name), domainId=domain,
        )  # fmt: skip

    def kernel(self, call: float, start: float, end: float) -> None:
        self.correlation += 1
        self.insert(
            "CUPTI_ACTIVITY_KIND_RUNTIME", start=int(call * 1000), end=int(call * 1000) + 1, globalTid=THREAD,
            correlationId=self.correlation, nameId=self.string("cudaLaunchKernel"),
        )  # fmt: skip
        self.insert(
            "CUPTI_ACTIVITY_KIND_KERNEL", start=int(start * 1000), end=int(end * 1000),
            correlationId=self.correlation, globalPid=THREAD // 0x1000000 * 0x1000000,
        )  # fmt: skip

    def close(self) -> None:
        self.base.commit()
        self.base.close()


def pattern_of(path: Path) -> list[str]:
    return ["".join(layer.device[:1] for layer in enqueue.layers) for enqueue in read_enqueues(path)]


def test_trap_6_the_dla_shows_in_ranges_not_in_cuda_tables(artefacts: Path) -> None:
    enqueues = list(read_enqueues(artefacts / REAL))
    assert len(enqueues) == 6
    for enqueue in enqueues:
        assert len(enqueue.layers) == 48
        assert sum(layer.submits for layer in enqueue.layers) == 6
        pattern = "".join(layer.device[:1] for layer in enqueue.layers)
        assert sum(a != b for a, b in itertools.pairwise(pattern)) == 12
        reformats = [layer for layer in enqueue.layers if layer.name.startswith("Reformatting CopyNode")]
        assert (len(reformats), sum(layer.device == "GPU" for layer in reformats)) == (16, 14)
    assert [round((enqueue.end - enqueue.start) / 1e6, 1) for enqueue in enqueues[:3]] == [923.5, 15.9, 1.3]


def test_the_real_dla_run_tells_of_itself(artefacts: Path) -> None:
    info = read_info(artefacts / REAL)
    assert (info.exporter, info.schema, info.l4t, info.gpu) == ("2023.4.4.54", "3.7.2", "35.4.1", "Orin")
    assert info.domains == ("TensorRT", "cuBLAS", "cuDLA")
    assert "--idleTime=500" in info.command


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("nsys_2022.2.1_vectoradd_schema2.9.1.sqlite", "2.9.1"),
        ("nsys_2023.2.3_sgemm_schema3.1.7.sqlite", "3.1.7"),
    ],
)
def test_captures_without_tensorrt(artefacts: Path, name: str, schema: str) -> None:
    info = read_info(artefacts / name)
    assert info.schema == schema
    assert "NVTX_EVENTS" in info.missing
    assert list(read_enqueues(artefacts / name)) == []


def test_every_schema_with_nvtx(artefacts: Path, tmp_path: Path) -> None:
    """The same small run in the real table definitions of every exporter version that has NVTX ranges."""
    blocks = (artefacts / "nsys_ddl_by_version.sql").read_text().split("-- ======== ")[1:]
    tried = 0
    for number, block in enumerate(blocks):
        ddl = block.partition("\n")[2]
        if "CREATE TABLE NVTX_EVENTS" not in ddl:
            continue
        path = tmp_path / f"{number}.sqlite"
        writer = Writer(path, ddl)
        writer.domain("TensorRT", 3)
        writer.domain("cuDLA", 2)
        writer.span("ExecutionContext::enqueue", 0, 100)
        writer.span("Reformatting CopyNode for Input Tensor 0 to {ForeignNode[a...b]}", 1, 5)
        writer.kernel(2, 10, 12)
        writer.span("{ForeignNode[a...b]}", 6, 20)
        writer.span("cudlaSubmitTask", 8, 9, domain=2)
        writer.span("c", 21, 30)
        writer.kernel(22, 500, 510)
        writer.span("constant", 31, 32)
        writer.close()
        assert pattern_of(path) == ["GDG"], block.partition("\n")[0]
        tried += 1
    assert tried == 3


def model(path: Path, layers: list[tuple[str, float, str]], enqueue: float) -> None:
    """A run like the walk-through's screenshots: NvMedia submits, no cuDLA domain. Widths are milliseconds."""
    writer = Writer(path, ";".join((NVTX, STRINGS, RUNTIME, KERNEL, NVMEDIA)))
    writer.domain("TensorRT", 3)
    writer.span("ExecutionContext::enqueue", 0, enqueue * 1000)
    at = 10.0
    for name, width, device in layers:
        end = at + width * 1000
        writer.span(name, at, end)
        if device == "D":
            writer.insert(
                "TRACE_PROCESS_EVENT_NVMEDIA", start=int((at + 1) * 1000), end=int((at + 2) * 1000), eventClass=38,
                globalTid=THREAD, nameId=writer.string("NvMediaDlaSubmit"),
            )  # fmt: skip
        elif device == "G":
            writer.kernel(at + 1, at + 2, end - 1)
        at = end + 1
    writer.close()


def test_the_walkthrough_with_groupnorm(tmp_path: Path) -> None:
    path = tmp_path / "gn.sqlite"
    names = ["Conv_0", "Relu_10...Conv_11", "Relu_21...Conv_22", "Relu_32...Conv_33", "Relu_43"]
    layers: list[tuple[str, float, str]] = []
    for number, name in enumerate(names):
        layers.append((f"{{ForeignNode[{name}]}}", 0.2, "D"))
        if number < 4:
            layers.append((f"InstanceNormalization_{5 + 11 * number}", 0.48 + 0.01 * number, "G"))
    model(path, layers, 3.97)
    (enqueue,) = read_enqueues(path)
    assert (enqueue.end - enqueue.start) / 1e6 == pytest.approx(3.97)
    assert pattern_of(path) == ["DGDGDGDGD"]
    norms = [layer for layer in enqueue.layers if layer.name.startswith("Instance")]
    assert all(0.47e6 < layer.end - layer.start < 0.52e6 for layer in norms)


def test_the_walkthrough_with_batchnorm(tmp_path: Path) -> None:
    path = tmp_path / "bn.sqlite"
    layers = [
        ("{ForeignNode[Conv_0...Relu_7]}", 1.09, "D"), ("GlobalAveragePool_8", 0.1, "G"),
        ("{ForeignNode[Gemm_15]}", 0.1, "D"),
    ]  # fmt: skip
    model(path, layers, 1.50)
    (enqueue,) = read_enqueues(path)
    assert pattern_of(path) == ["DGD"]
    assert enqueue.layers[0].end - enqueue.layers[0].start == pytest.approx(1.09e6)


def test_nested_enqueues_count_once_and_threads_apart(tmp_path: Path) -> None:
    path = tmp_path / "nested.sqlite"
    writer = Writer(path, ";".join((NVTX, STRINGS, RUNTIME, KERNEL)))
    writer.domain("TensorRT", 3)
    writer.span("ExecutionContext::enqueueV3", 0, 100)
    writer.span("ExecutionContext::enqueue", 1, 99)
    writer.span("a", 2, 10)
    writer.span("inner of a", 3, 4)
    writer.span("left over", 150, 160)
    writer.span("ExecutionContext::enqueue", 200, 300)
    writer.close()
    enqueues = list(read_enqueues(path))
    assert [[layer.name for layer in enqueue.layers] for enqueue in enqueues] == [["a"], []]


def test_stream_writes_stand_in_for_a_missing_cudla_domain(tmp_path: Path) -> None:
    path = tmp_path / "writes.sqlite"
    writer = Writer(path, ";".join((NVTX, STRINGS, RUNTIME, KERNEL)))
    writer.domain("TensorRT", 3)
    writer.span("ExecutionContext::enqueue", 0, 100)
    for start, name in ((1, "{ForeignNode[a...b]}"), (20, "gemm"), (40, "{ForeignNode[myelin]}")):
        writer.span(name, start, start + 10)
        writer.insert(
            "CUPTI_ACTIVITY_KIND_RUNTIME", start=(start + 1) * 1000, end=(start + 2) * 1000, globalTid=THREAD,
            correlationId=900 + start, nameId=writer.string("cuStreamWriteValue32_v2"),
        )  # fmt: skip
    writer.kernel(25, 30, 31)
    writer.kernel(45, 50, 51)
    writer.close()
    assert pattern_of(path) == ["DGG"]


def test_another_process_with_the_same_domain_number_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "two.sqlite"
    writer = Writer(path, ";".join((NVTX, STRINGS, RUNTIME, KERNEL)))
    writer.domain("TensorRT", 3)
    other = THREAD + 0x1000000
    writer.insert("NVTX_EVENTS", start=0, eventType=75, text="mine", globalTid=other, domainId=3)
    for thread in (THREAD, other):
        writer.insert(
            "NVTX_EVENTS", start=1, end=10, eventType=59, text="ExecutionContext::enqueue", globalTid=thread, domainId=3
        )
    writer.close()
    assert [enqueue.thread for enqueue in read_enqueues(path)] == [THREAD]


def test_hardware_tasks_are_paired(tmp_path: Path) -> None:
    path = tmp_path / "hardware.sqlite"
    writer = Writer(
        path,
        "CREATE TABLE GENERIC_EVENTS (rawTimestamp, timestamp, typeId, data);"
        "CREATE TABLE GENERIC_EVENT_TYPES (typeId, sourceId, data)",
    )
    for number, name in ((1, "task_begin"), (2, "task_end")):
        writer.insert("GENERIC_EVENT_TYPES", typeId=number, sourceId=1, data=f'{{"Name": "{name}"}}')
    event = '{"class_id": 243, "syncpt_id": 7, "syncpt_thresh": %d}'
    for time, kind, threshold in ((100, 1, 1), (150, 1, 2), (300, 2, 1), (310, 2, 9), (400, 2, 2)):
        writer.insert("GENERIC_EVENTS", rawTimestamp=0, timestamp=time, typeId=kind, data=event % threshold)
    writer.insert("GENERIC_EVENTS", rawTimestamp=0, timestamp=500, typeId=2, data="no json")
    writer.close()
    assert [(task.engine, task.start, task.end) for task in read_hardware_tasks(path)] == [
        ("DLA0", 100, 300), ("DLA0", 150, 400),
    ]  # fmt: skip


def test_damaged_files_are_input_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(InputError, match="not a readable"):
        list(read_enqueues(path))
    with pytest.raises(InputError, match="No such file"):
        read_info(tmp_path / "b.sqlite")


def test_a_torn_real_file_is_an_input_error_or_short(artefacts: Path, tmp_path: Path) -> None:
    whole = (artefacts / REAL).read_bytes()
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / "torn.sqlite"
        path.write_bytes(whole[: int(len(whole) * share)])
        try:
            found = len(list(read_enqueues(path)))
        except InputError:
            continue
        assert found <= 6


def test_ranges_that_carry_their_own_text(tmp_path: Path) -> None:
    path = tmp_path / "text.sqlite"
    bare = "CREATE TABLE NVTX_EVENTS (start, end, eventType, text, globalTid, domainId)"
    writer = Writer(path, ";".join((bare, RUNTIME, KERNEL)))
    writer.insert("NVTX_EVENTS", start=0, eventType=75, text="TensorRT", globalTid=THREAD, domainId=3)
    writer.insert("NVTX_EVENTS", start=0, eventType=75, text="cuDLA", globalTid=THREAD, domainId=2)
    for name, start, end, domain in (
        ("ExecutionContext::enqueue", 0, 100, 3), ("{ForeignNode[a]}", 1, 50, 3), ("cudlaSubmitTask", 2, 3, 2),
    ):  # fmt: skip
        writer.insert("NVTX_EVENTS", start=start, end=end, eventType=59, text=name, globalTid=THREAD, domainId=domain)
    writer.close()
    assert pattern_of(path) == ["D"]


def test_inferences_in_a_domain_of_another_name(tmp_path: Path) -> None:
    path = tmp_path / "renamed.sqlite"
    writer = Writer(path, ";".join((NVTX, STRINGS)))
    writer.domain("TensorRT-next", 3)
    writer.domain("cuDLA", 2)
    writer.span("ExecutionContext::enqueue", 1, 20)
    writer.span("{ForeignNode[a...b]}", 2, 10)
    writer.span("cudlaSubmitTask", 3, 4, domain=2)
    writer.close()
    (enqueue,) = read_enqueues(path)
    assert [(layer.name, layer.device) for layer in enqueue.layers] == [("{ForeignNode[a...b]}", "DLA")]
