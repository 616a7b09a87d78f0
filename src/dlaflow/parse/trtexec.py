"""trtexec logs (TensorRT 5 to 11), and the log of the same library in other programs, become records.

Cheap tests come first: a verbose log has millions of lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dlaflow.parse import log, nodes, sections
from dlaflow.parse.failures import driver_level, failure_of, head_of
from dlaflow.parse.line import split_line, whole_lines
from dlaflow.parse.messages import placement_message
from dlaflow.parse.notes import notes_of
from dlaflow.parse.outcome import level_of, outcome_of, state_in
from dlaflow.parse.sections import DlaReader, SummaryReader, TableReader, engine_layer, profile_title, trace_average
from dlaflow.parse.text import Source, integer, lines_of

_MARK = re.compile(
    r"&&&& (RUNNING|PASSED|FAILED|WAIVED|SKIPPED) (\S+)(?: \[TensorRT v([\d.]+)\])?(?: \[b(\d+)\])?(?: # (.*))?"
)


_MIXED = log.Note(
    "mixed", "Two runs wrote into this file at the same time: their lines cannot be told apart. Give each its own file."
)


def parse_log(source: Source) -> log.TrtexecLog:
    """Read a log from a path or from its text: one record a run, in the order of the file.

    Never fails on text: what is not understood is kept and counted in its run. Figures are milliseconds and MiB.
    Raises InputError when the file cannot be read.
    """
    return read_lines(lines_of(source))


def read_lines(lines: Iterable[str]) -> log.TrtexecLog:
    """The log whose lines these are, without their endings."""
    readers = [RunReader()]
    count = 0
    for count, raw in whole_lines(lines):
        if "&&&&" in raw and (mark := _MARK.search(raw)):
            _mark(readers, mark)
        else:
            readers[-1].feed(raw, count)
    if len(readers) == 1 and count == 1 and readers[0].empty:
        return log.TrtexecLog((), count)
    return log.TrtexecLog(tuple(reader.finish() for reader in readers), count)


def _mark(readers: list[RunReader], mark: re.Match[str]) -> None:
    """Open or close a run. What stands before the first RUNNING (stderr comes early) belongs to the first run."""
    state, program, version, build, command = mark.groups()
    result = "" if state == "RUNNING" else state
    run = readers[-1].run
    if result and command and command.strip() != run.command:
        others = [each for each in readers if each.run.command == command.strip() and not each.run.result]
        if others:
            others[-1].run = replace(others[-1].run, result=result)
            others[-1].mixed = readers[-1].mixed = True
            return
    if run.result or (not result and run.command):
        readers.append(RunReader())
    readers[-1].close_lists()
    run = readers[-1].run
    readers[-1].run = replace(
        run,
        program=program,
        command=command.strip() if command else run.command,
        tensorrt=version_of(version) if version else run.tensorrt,
        build_number=int(build) if build else run.build_number,
        result=result or run.result,
    )


def version_of(digits: str) -> str:
    """`8502` → 8.5.2, `8510` → 8.5.10, `100300` → 10.3.0; a dotted version stays.

    Below 100000 the number is major * 1000 + minor * 100 + patch, from there on major * 10000 + minor * 100 + patch.
    """
    if not digits.isdigit():
        return digits.strip(".")
    value = int(digits)
    unit = 1000 if value < 100000 else 10000
    return f"{value // unit}.{value % unit // 100}.{value % 100}"


KEPT_UNKNOWN = 1000
"""So many lines that nothing understands are kept whole; all are counted."""

_COLLECTOR = re.compile(
    r"\s*(?:Collecting data\.\.\.|Generating '|Generated:|Processing events|Exporting |Importing |Saving |"
    r"\[\d+/\d+\] \[|Capture (?:start|stop)|\S+\.(?:nsys-rep|qdrep|qdstrm|sqlite)\s*$|WARNING: (?:CPU|The) )"
)
"""What Nsight Systems prints around a run."""
_OTHER_PROGRAM = re.compile(
    r"\[(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\]|\d+:\d\d:\d\d\.\d+ +\d+ +0x|\[[A-Z]:onnxruntime:"
    r"|\*\* (?:INFO|WARN|ERROR)|(?:DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL):[\w.]+:"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|\[\d+\.\d+\]"
    r"|\S+@\S+:\S*[$#] |(?:real|user|sys)\t\d+m"
)
"""How a line without TensorRT's prefix begins that is a log line of another program: it continues nothing."""
_KNOWN_STARTS = (
    "[MemUsage", "[BlockAssignment]", "[MS]", "Note: The application clock", "Loading standard plugins",
    "Start parsing", "Finish parsing", "Model version:", "Doc string:", "Domain:", "Total Host Persistent",
    "Total Device Persistent", "Total Scratch", "Max Scratch", "Total Activation", "Total Weights", "Detected ",
    "Local timing cache", "Engine generation completed", "Engine loaded in", "Using random values",
    "Using values loaded", "Setting persistentCacheLimit", "Starting inference", "Trace averages of",
    "Explanations of the performance", "... Omitting", "Set shape of input", "Compiler backend is used",
    "***************", "===============", "Tactic", "Fastest Tactic", ">>>>>>>>>>",
    "Successfully casted down", "No layer is running",
    "Some tactics do not have sufficient", "FP32 and INT8 precisions have been specified",
    "To show e2e network timing", "The e2e network timing is not reported", "Skipped inference phase",
    "Created engine", "TensorRT-managed", "The profiling verbosity was set", "Output(s)s format",
    "Capturing CUDA graph", "Successfully captured CUDA graph", "Graph optimization time", "Timing cache",
    "Global timing cache", "Loaded ", "Starting Calibration", "Calibrated batch", "Post Processing Calibration",
    "Calibration completed", "Reading Calibration Cache", "Generated calibration scales",
    "To regenerate calibration cache", "Registered plugin", "Enqueue", "Thread", "Deserializ", "Serializ",
    "Total per-runner", "Allocated ", "Plugin ", "Reused", "Mem", "TF32 is enabled", "$ ",
)  # fmt: skip
"""Lines of information that are familiar though nothing is taken from them, so that the unknown ones stand out."""
_VERBOSE_STARTS = (
    "[DlaLayer]", "[GpuLayer]", "----------", "Engine Layer Information", "Layer Information", "Registering layer: ",
    "Adding network input: ", "=== ", "Layer(", "Layers:", "\tTotal memory", "\tMemory consumption", "Skipping tactic",
    "Total memory", "Memory consumption", "After DLA", "Marking ", "Loaded Module: tensorrt",
)  # fmt: skip
_SUMMARY_STARTS = (
    "Latency:", "End-to-End", "Enqueue Time", "H2D Latency", "D2H Latency", "GPU Compute", "Throughput:", "Total ",
    "Host ", "min:", "max:", "mean:", "median:", "percentile:", "throughput:", "walltime:", "total compute time:",
)  # fmt: skip


class RunReader:
    """Collects one run; `finish` makes the record."""

    def __init__(self) -> None:
        self.run = log.LogRun()
        """What is known of the run; its lists are filled in by `finish`."""
        self.mixed = False
        """Whether another run wrote into the file at the same time."""
        self._mode = ""
        self._section = ""
        self._style = ""
        self._printed = False
        self._levels: Counter[str] = Counter()
        self._options: list[log.Option] = []
        self._bindings: dict[tuple[str, str], log.Binding] = {}
        self._on_dla: list[log.DlaNode] = []
        self._on_gpu: list[log.GpuNode] = []
        self._messages: list[log.ValidatorMessage] = []
        self._problems: list[_OpenProblem] = []
        self._open: _OpenProblem | None = None
        self._calibrated = False
        self._dla = DlaReader()
        self._engine: list[log.EngineLayer] = []
        self._layer_lines: list[str] = []
        self._registered: list[log.RegisteredLayer] = []
        self._averages: list[log.TraceAverage] = []
        self._summary = SummaryReader()
        self._table: TableReader | None = None
        self._unknown: list[str] = []
        self._unknown_count = 0
        self._succeeded = 0

    @property
    def empty(self) -> bool:
        """Whether nothing of a log was seen yet."""
        return not (self._levels or self.run.command or self.run.result)

    def feed(self, raw: str, number: int) -> None:
        """Take in line `number` (from 1)."""
        level, library, text = split_line(raw)
        self._levels[level] += 1
        if not level and not library:
            self._bare(text, number)
            return
        self._open = None
        if level == "V" and not self._mode and self._is_chatter(text):
            return
        if level and level in "WEF":
            self._problem(level, text, number)
        elif not self._structure(text, library) and not self._message(level, text, number):
            self._remainder(level, text, number)

    def _is_chatter(self, text: str) -> bool:
        """Whether a verbose line holds nothing of use; the many lines of the autotuner are dealt with at once."""
        if text.startswith("--------------- Timing Runner"):
            self._dla.timing(text)
        elif text.startswith("***************"):
            self._dla.formats = text
        elif self._dla.timing_node and text.startswith("Tactic: "):
            self._dla.feed(text)
        elif text.startswith(_VERBOSE_STARTS) or "DLA" in text:
            return False
        return True

    def close_lists(self) -> None:
        """End whatever list is open: a run begins or ends here."""
        self._mode = self._section = ""
        self._open = None

    def _remainder(self, level: str, text: str, number: int) -> None:
        """A line without a place: how the program ended, an error printed at a low level, or unknown."""
        if level != "V" and (state := state_in(text)):
            self._ended(state, text, number)
            return
        if not level and (found := level_of(text, behind_error=False)):
            self._problem(found, text, number)
            return
        of_interest = level != "V" or text.startswith("Skipping tactic")
        if of_interest and (failure := failure_of(text)):
            self._problems.append(_OpenProblem(level, number, failure.id, [text]))
        elif text.startswith(("Starting Calibration", "Calibrated batch")):
            self._calibrated = True
        elif level != "V" and not text.startswith(_KNOWN_STARTS):
            self._unknown_count += 1
            if len(self._unknown) < KEPT_UNKNOWN:
                self._unknown.append(text)

    def _ended(self, state: log.State, text: str, number: int) -> None:
        """Take in a line by which a program says how it ended."""
        self._open = None
        if state == "passed":
            self._succeeded = number
        else:
            self._problem("E", text, number)

    def _bare(self, text: str, number: int) -> None:
        """A line without a prefix: part of a list, of the message before it, or of another program."""
        stripped = text.strip()
        if self._in_list(text):
            return
        if not stripped:
            if self._open is not None:
                self._open.parts.append("")
            return
        if _COLLECTOR.match(text):
            self._open = None
        elif _OTHER_PROGRAM.match(text):
            self._open = None
            self._remainder("", text, number)
        elif level := driver_level(stripped) or level_of(stripped, behind_error=True):
            self._problem(level, stripped, number)
        elif state := state_in(text):
            self._ended(state, stripped, number)
        elif self._open is not None and self._open.level in "EF":
            self._open.parts.append(text)
        else:
            place = self._mode, self._section
            if not self._structure(text, True) and not self._message("", text, number):
                # What another program printed in between ends no list and no section.
                self._mode, self._section = place
                self._remainder("", text, number)

    def _in_list(self, text: str) -> bool:
        """Whether an un-prefixed line was taken in by the list that is open."""
        if self._mode == "engine" and (layer := engine_layer(text)):
            self._engine.append(layer)
            return True
        if self._mode == "dla network":
            return self._dla.layer(text)
        if self._mode == "layer information":
            if text.startswith("Bindings:"):
                self._mode = "layer bindings"
            elif text.strip() and text.strip() != "Layers:":
                self._layer_lines.append(text)
            return True
        return self._mode == "layer bindings"

    def _structure(self, text: str, library: bool) -> bool:
        """Take in a line whose place in the log is known."""
        mode, self._mode = self._mode, ""
        if mode == "table" and self._table is not None and self._table.feed(text):
            self._mode = mode
            return True
        if (mode == "GPU names" and not text.startswith("---")) or (mode == "DLA braces" and text.startswith("{")):
            return self._old_list(mode, text)
        if text.startswith("Average") and (average := trace_average(text)):
            self._averages.append(average)
            return True
        if not text.strip():
            self._section = ""
            return True
        if text.startswith("=== ") and text.rstrip().endswith("==="):
            return self._open_section(text.strip())
        if self._section and not library and self._in_section(text):
            return True
        self._section = ""
        return self._placement(text) or self._heading(text, mode) or self._figure(text)

    def _open_section(self, text: str) -> bool:
        iterations = profile_title(text)
        if iterations is not None:
            self._table, self._mode, self._section = TableReader(iterations), "table", ""
            return True
        self._section = text.strip("= ")
        return True

    def _in_section(self, text: str) -> bool:
        if self._section == "Device Information":
            if text.startswith(("TensorRT version", "Note:")):
                return False
            self.run = replace(self.run, device=sections.device_with(self.run.device or log.DeviceInfo(), text))
            return True
        if not self._section.endswith("Options"):
            return False
        option = sections.option_of(self._section, text)
        if option is not None:
            self._options.append(option)
        elif self._options:
            last = self._options[-1]
            self._options[-1] = replace(last, value=f"{last.value}, {text.strip()}".lstrip(", "))
        return True

    def _placement(self, text: str) -> bool:
        if text.startswith("[") and (entry := nodes.list_entry(text)):
            if isinstance(entry, log.GpuNode):
                self._on_gpu.append(entry)
            else:
                # One plain name is enough: 10.x lists layers, of which a compiled subgraph may be one.
                plain = entry.first == entry.raw
                self._style = "layers" if plain or self._style == "layers" else "subgraphs"
                self._on_dla.append(entry)
            return True
        if not text.startswith("----------"):
            return False
        title = text.strip("- :").lower()
        if title in {"layers running on dla", "layers running on gpu"}:
            self._start_list(title)
            if not text.rstrip().endswith("-"):
                self._style = self._style or "braces"
                self._mode = "DLA braces" if title.endswith("dla") else "GPU names"
            return True
        return not title or self._dla.timing(text)

    def _start_list(self, title: str) -> None:
        """Begin a list. A calibration builds a first engine of its own, all on the GPU: the last placement counts."""
        if title.endswith("dla") and self._printed and (self.run.command or self._calibrated):
            self._on_dla, self._on_gpu = [], []
        self._printed = True

    def _old_list(self, mode: str, text: str) -> bool:
        """The one line after a header of 5.x to 7.x; it may be empty."""
        if mode == "DLA braces":
            self._on_dla.extend(nodes.brace_groups(text))
        else:
            self._on_gpu.extend(nodes.gpu_names(text))
        return True

    def _heading(self, text: str, mode: str) -> bool:
        if text.startswith("Engine Layer Information"):
            self._mode, self._engine = "engine", []
        elif text.startswith("Layer(") and mode in {"engine", "dla network"}:
            self._mode = mode
            self._in_list(text)
        elif text.startswith(("Layer Information:", "Layers:")):
            self._mode = "layer information"
        elif text.startswith("Registering layer: "):
            layer, _, node = text[len("Registering layer: ") :].partition(" for ONNX node: ")
            self._registered.append(log.RegisteredLayer(layer.removesuffix(" required by ONNX-TRT"), node))
        elif self._dla.feed(text):
            self._mode = "dla network" if self._dla.opened_network else ""
        else:
            return False
        return True

    def _figure(self, text: str) -> bool:
        if text.startswith(_SUMMARY_STARTS) and self._summary.feed(text):
            return True
        if binding := sections.binding_of(text):
            known = self._bindings.get((binding.role, binding.name))
            if known is None or binding.dimensions:
                self._bindings[binding.role, binding.name] = binding
        elif version := sections.version_in(text):
            self.run = replace(self.run, tensorrt=version)
        elif model := sections.model_with(self.run.model, text):
            self.run = replace(self.run, model=model)
        elif figures := sections.figures_with(self.run.figures, text):
            self.run = replace(self.run, figures=figures)
        else:
            return False
        return True

    def _message(self, level: str, text: str, number: int) -> str:
        """Record what the validators say; the reason code, or empty."""
        found = placement_message(text)
        if found is None:
            return ""
        rule, match = found
        values = match.groupdict()
        self._messages.append(
            log.ValidatorMessage(
                layer=values.get("layer") or "",
                type=(values.get("type") or "").upper(),
                reason=rule.reason,
                text=text.strip(),
                level=level,
                line=number,
                operation=values.get("op") or "",
                received=integer(values.get("received") or ""),
                limit=integer(values.get("limit") or ""),
            )
        )
        return rule.reason

    def _problem(self, level: str, text: str, number: int) -> None:
        reason = self._message(level, text, number)
        self._open = _OpenProblem(level, number, reason, [text])
        self._problems.append(self._open)

    def finish(self) -> log.LogRun:
        """The record of all lines fed."""
        problems = tuple(problem.finish() for problem in self._problems)
        run = replace(
            self.run,
            options=tuple(self._options),
            bindings=tuple(self._bindings.values()),
            placement=log.PlacementList(tuple(self._on_dla), tuple(self._on_gpu), self._style, self._printed),
            messages=_linked(self._messages, problems),
            problems=problems,
            dla=self._dla.finish(),
            engine_layers=tuple(self._engine),
            layer_information=tuple(self._layer_lines),
            registered=tuple(self._registered),
            averages=tuple(self._averages),
            performance=self._summary.finish(),
            profile=self._table.finish() if self._table else None,
            figures=replace(self.run.figures, calibrated=self._calibrated),
            levels=tuple(sorted((level, count) for level, count in self._levels.items() if level)),
            unknown=tuple(self._unknown),
            unknown_count=self._unknown_count,
        )
        run = replace(run, outcome=outcome_of(run, self._succeeded))
        notes = notes_of(run)
        return replace(run, notes=(*notes, _MIXED) if self.mixed else notes)


@dataclass(slots=True)
class _OpenProblem:
    """An error or a warning whose continuation lines may still come."""

    level: str
    line: int
    reason: str
    parts: list[str]

    def finish(self) -> log.LogProblem:
        text = "\n".join(self.parts).strip()
        head = head_of(text)
        if not self.reason and (failure := failure_of(text)):
            self.reason = failure.id
        return log.LogProblem(
            level=self.level,
            text=text,
            line=self.line,
            reason=self.reason,
            file=head.file if head else "",
            function=head.function if head else "",
            code=head.code if head else None,
        )


_NAMELESS = frozenset({"reshape_next_to_slice_or_concat", "activation_type_unsupported", "batch_mismatch"})
_FALLBACKS = frozenset({"unsupported_layer", "not_supported_generic", "not_supported_no_fallback"})
OTHER_RESTRICTION = "other_restriction"
"""A refusal in a text that no template knows: the line behind it is the fallback of the layer that it names."""


def _linked(
    messages: list[log.ValidatorMessage], problems: tuple[log.LogProblem, ...]
) -> tuple[log.ValidatorMessage, ...]:
    """Join the lines on one layer: a reason stands before the fallback of the same layer, each with half of the facts.

    A nameless reason gets the layer of the line after it, every message the type that another one has for its layer.
    An unknown line right before the fallback of the layer that it names becomes a reason too.
    """
    named = []
    for index, message in enumerate(messages):
        if not message.layer and message.reason in _NAMELESS and index + 1 < len(messages):
            follower = messages[index + 1]
            if follower.line - message.line <= 2:
                message = replace(message, layer=follower.layer)
        named.append(message)
    places = {problem.line: place for place, problem in enumerate(problems)}
    found: list[log.ValidatorMessage] = []
    for message in named:
        place = places.get(message.line, 0) if message.reason in _FALLBACKS and message.layer else 0
        first = place
        while first > 0 and problems[first - 1].text.startswith(f"{message.layer}: "):
            first -= 1
        found += [
            log.ValidatorMessage(message.layer, "", OTHER_RESTRICTION, other.text, other.level, other.line)
            for other in problems[first:place]
            if not other.reason
        ]
        found.append(message)
    types = {message.layer: message.type for message in found if message.layer and message.type}
    return tuple(
        message if message.type or message.layer not in types else replace(message, type=types[message.layer])
        for message in found
    )
