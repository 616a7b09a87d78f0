"""`--exportTimes` and `--exportOutput`: the times of every query, and the values of the outputs."""

from __future__ import annotations

from dataclasses import dataclass

from dlaflow.parse.json_documents import as_fields, as_float, as_items, as_text, documents_of
from dlaflow.parse.text import Source, integer, text_of


@dataclass(frozen=True, slots=True)
class QuerySpan:
    """Milliseconds since the run began; None where the release does not write it."""

    start: float | None
    end: float | None


@dataclass(frozen=True, slots=True)
class Query:
    """One inference. `end_to_end_ms` is missing from 8.4 on, `enqueue` in 7.0."""

    enqueue: QuerySpan
    h2d: QuerySpan
    compute: QuerySpan
    d2h: QuerySpan
    h2d_ms: float | None
    compute_ms: float | None
    d2h_ms: float | None
    latency_ms: float | None
    end_to_end_ms: float | None


@dataclass(frozen=True, slots=True)
class TimesFile:
    """All queries of a file, warm-ups included up to 8.4.

    `swapped`: the file is of 7.1 or 7.2, which write the start of enqueue and input under each other's name;
    the record has them right.
    """

    queries: tuple[Query, ...]
    swapped: bool
    complete: bool


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """An output of `--exportOutput`; `dimensions` lack the batch in implicit-batch engines of 7.x."""

    name: str
    dimensions: tuple[int, ...]
    values: tuple[float, ...]


def parse_times(source: Source) -> TimesFile:
    """Read query times from a path or from text; never fails on text. Raises InputError when it cannot be read."""
    text = text_of(source)
    closed = _closed(text)
    found = documents_of(closed)
    records = [as_fields(item) for value in found.values for item in as_items(value)]
    records = [record for record in records if "computeMs" in record]
    swapped = _is_swapped(records)
    complete = not found.rest and closed is text
    return TimesFile(tuple(_query(record, swapped) for record in records), swapped, complete)


def _closed(text: str) -> str:
    """Close an array that was torn after a whole element, so that what is there can be read."""
    body = text.rstrip()
    if not body.startswith("[") or body.endswith("]"):
        return text
    end = body.rfind("}")
    return body[: end + 1] + "]" if end > 0 else text


def _is_swapped(records: list[dict[str, object]]) -> bool:
    """Whether the copy-in time equals the span named enqueue rather than the one named input."""
    votes = 0
    for record in records[:50]:
        named, other = _length(record, "In"), _length(record, "Enq")
        copy = as_float(record.get("inMs"))
        if copy is not None and named is not None and other is not None:
            votes += 1 if abs(other - copy) < abs(named - copy) else -1
    return votes > 0


def _length(record: dict[str, object], name: str) -> float | None:
    start, end = as_float(record.get(f"start{name}Ms")), as_float(record.get(f"end{name}Ms"))
    return None if start is None or end is None else end - start


def _query(record: dict[str, object], swapped: bool) -> Query:
    def span(*names: str) -> QuerySpan:
        name = next((each for each in names if f"start{each}Ms" in record), names[0])
        return QuerySpan(as_float(record.get(f"start{name}Ms")), as_float(record.get(f"end{name}Ms")))

    enqueue, copy_in = span("Enq"), span("H2d", "In")
    if swapped:
        enqueue, copy_in = copy_in, enqueue
    return Query(
        enqueue=enqueue,
        h2d=copy_in,
        compute=span("Compute"),
        d2h=span("D2h", "Out"),
        h2d_ms=as_float(record.get("h2dMs", record.get("inMs"))),
        compute_ms=as_float(record.get("computeMs")),
        d2h_ms=as_float(record.get("d2hMs", record.get("outMs"))),
        latency_ms=as_float(record.get("latencyMs")),
        end_to_end_ms=as_float(record.get("endToEndMs")),
    )


def parse_output(source: Source) -> tuple[OutputTensor, ...]:
    """Read output tensors from a path or from text; never fails on text. Raises InputError when it cannot be read."""
    tensors = []
    for value in documents_of(_closed(text_of(source))).values:
        for item in as_items(value):
            fields = as_fields(item)
            if "values" not in fields:
                continue
            dims = tuple(
                size for part in as_text(fields.get("dimensions")).split("x") if (size := integer(part)) is not None
            )
            values = tuple(number for each in as_items(fields["values"]) if (number := as_float(each)) is not None)
            tensors.append(OutputTensor(as_text(fields.get("name")), dims, values))
    return tuple(tensors)
