"""An estimate on the terminal: the answer first, then where the time goes, then what else was asked."""

from __future__ import annotations

from shlex import quote

from dlaflow.estimate.answer import Estimate, Move, Range, Speed
from dlaflow.estimate.split import Split
from dlaflow.visible import text_of


def estimate_text(found: Estimate, model: str) -> str:
    """The answer of `dlaflow estimate`, in 100 columns."""
    title = f"{model} on {found.board}, {found.mode}, {found.precision}, batch {found.batch}"
    if found.latency is None or found.split is None or found.throughput is None:
        alone = [f"  {'GPU alone':<16}{span(found.gpu_alone)} ms"] if found.gpu_alone else []
        return text_of([title, "", "  unknown: " + "; ".join(found.unknown), *alone])
    split, total = found.split, found.split.total
    queries = f", {_short(found.throughput.value / found.batch)} batches/s" if found.batch > 1 else ""
    totals = (
        ("latency", found.latency, "ms"),
        ("one core", found.throughput, f"images/s{queries}"),
        ("both cores", found.two_cores, "images/s"),
        ("cores and GPU", found.with_gpu, "images/s"),
        ("GPU alone", found.gpu_alone, "ms"),
        ("energy", found.energy_mj, "mJ an image (accelerator rails, above idle)"),
        ("GPU's energy", found.gpu_energy_ratio, "times that"),
    )
    lines = [title, "", *(f"  {name:<16}{span(value)} {unit}" for name, value, unit in totals if value)]
    lines += ["", f"Worth it: {found.advice.worth.value}. {_sentence(found.advice.reason)}", "", "Where the time goes:"]
    for name, part in _parts(split):
        lines.append(f"  {name:<14}{part:10.3f} ms {part / total:6.0%}")
    lines += ["", *_what_if(found)]
    lines += [f"Rests on {found.basis}; ranges are 80% intervals.", *(f"Note: {note}." for note in found.notes)]
    return text_of(lines)


def _what_if(found: Estimate) -> list[str]:
    lines = []
    if found.after_fix and found.latency:
        change = f"{found.latency.value / found.after_fix.value:.2f}"
        words = "no faster" if change == "1.00" else f"{change} times as fast"
        rewrites = ", ".join(dict.fromkeys(found.fixes))
        lines.append(f"  {'after `dlaflow fix`':<48}{span(found.after_fix)} ms, {words} ({rewrites})")
    if found.other_precision:
        other, ratio = "FP16" if found.precision == "int8" else "INT8", found.dla_precision_ratio or 1.0
        slow = "" if ratio < 1.5 else f" (FP16 work takes {ratio:.0f} times INT8's on this DLA)"
        lines.append(f"  in {other:<45}{span(found.other_precision)} ms{slow}")
    if found.sparse:
        lines.append(f"  {'with 2:4 sparse weights':<48}{span(found.sparse)} ms")
    if found.move:
        lines += move_text(found.move)
    return ["What if:", *lines, ""] if lines else []


def speed_text(found: Speed) -> str:
    """What a fix does to the speed, in a sentence; with the way round where it is estimated to be slower."""
    rates = f"{span(found.before)} -> {span(found.after)} images/s"
    if not found.slower:
        return f"Estimated: {rates}."
    why = "before, all of it ran on the GPU"
    if found.split_before and found.split_after:
        pairs = zip(_parts(found.split_before), _parts(found.split_after), strict=True)
        changes = sorted(((now - was, name) for (name, was), (_, now) in pairs), key=lambda each: -abs(each[0]))
        why = ", ".join(f"{name} {change:+.2f} ms" for change, name in changes if abs(change) >= 0.005)
    sure = "beyond their intervals" if found.clearly else "though their intervals overlap"
    return (
        f"Estimated slower: {rates}, {sure} ({why}). The share on the DLA comes first; `dlaflow fix "
        "--prefer speed` keeps only what makes it faster."
    )


def _parts(split: Split) -> list[tuple[str, float]]:
    return [
        ("DLA work", split.dla),
        ("GPU layers", split.gpu),
        ("switches", split.switches),
        ("launches", split.launch),
        ("I/O formats", split.formats),
    ]


def move_text(move: Move) -> list[str]:
    """What is cheaper on the GPU, and the words for `build` that leave it there."""
    what = f"{', '.join(move.kinds)} on the GPU, {len(move.layers)} layers"
    before = move.after + move.gain.value
    return [
        f"  {what:<48}{_short(move.after)} instead of {_short(before)} ms, {span(move.gain)} ms less",
        "  Leave them there: `dlaflow build` with",
        "    --layer-device " + " ".join(map(quote, move.layer_devices())),
        "  or trtexec with",
        "    " + quote("--layerDeviceTypes=" + ",".join(move.layer_devices())),
    ]


def span(found: Range) -> str:
    """A median with the ends of its interval."""
    return f"{_short(found.value)} ({_short(found.low)} to {_short(found.high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
