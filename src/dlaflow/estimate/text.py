"""An estimate on the terminal: the answer first, then where the time goes, then what else was asked."""

from __future__ import annotations

from dlaflow.estimate.answer import Estimate, Range


def estimate_text(found: Estimate, model: str) -> str:
    """The answer of `dlaflow estimate`, in 100 columns."""
    title = f"{model} on {found.board}, {found.mode}, {found.precision}, batch {found.batch}"
    if found.latency is None or found.split is None:
        lines = [title, "", "  unknown: " + "; ".join(found.unknown)]
        if found.gpu_alone:
            lines.append(f"  GPU alone       {_ms(found.gpu_alone)}")
        return "\n".join(lines)
    split, total = found.split, found.split.total
    lines = [title, "", f"  latency         {_ms(found.latency)}"]
    if found.throughput:
        queries = f", {_short(found.throughput.value / found.batch)} batches/s" if found.batch > 1 else ""
        lines.append(f"  one core        {_rate(found.throughput)}{queries}")
    if found.two_cores:
        lines.append(f"  both cores      {_rate(found.two_cores)}")
    if found.with_gpu:
        lines.append(f"  cores and GPU   {_rate(found.with_gpu)}")
    if found.gpu_alone:
        lines.append(f"  GPU alone       {_ms(found.gpu_alone)}")
    if found.energy_mj:
        lines.append(f"  energy          {_span(found.energy_mj)} mJ an image (accelerator rails, above idle)")
    if found.gpu_energy_ratio:
        lines.append(f"  GPU's energy    {_span(found.gpu_energy_ratio)} times that")
    lines += ["", f"Worth it: {found.advice.worth.value}. {_sentence(found.advice.reason)}", "", "Where the time goes:"]
    for name, part in (
        ("DLA work", split.dla),
        ("GPU layers", split.gpu),
        ("switches", split.switches),
        ("launches", split.launch),
        ("I/O formats", split.formats),
    ):
        lines.append(f"  {name:<14}{part:10.3f} ms {part / total:6.0%}")
    lines += ["", *_what_if(found)]
    lines += [f"Rests on {found.basis}; ranges are 80% intervals.", *(f"Note: {note}." for note in found.notes)]
    return "\n".join(lines)


def _what_if(found: Estimate) -> list[str]:
    lines = []
    if found.after_fix and found.latency:
        change = found.latency.value / found.after_fix.value
        rewrites = ", ".join(dict.fromkeys(found.fixes))
        lines.append(f"  {'after `dlaflow fix`':<48}{_ms(found.after_fix)}, {change:.2f} times as fast ({rewrites})")
    if found.other_precision:
        other = "FP16" if found.precision == "int8" else "INT8"
        lines.append(f"  in {other:<45}{_ms(found.other_precision)}{_trap(found)}")
    if found.sparse:
        lines.append(f"  {'with 2:4 sparse weights':<48}{_ms(found.sparse)}")
    return ["What if:", *lines, ""] if lines else []


def _trap(found: Estimate) -> str:
    ratio = found.dla_precision_ratio
    if ratio is None or ratio < 1.5:
        return ""
    return f" (FP16 work takes {ratio:.0f} times INT8's on this DLA)"


def _ms(found: Range) -> str:
    return f"{_span(found)} ms"


def _rate(found: Range) -> str:
    return f"{_span(found)} images/s"


def _span(found: Range) -> str:
    return f"{_short(found.value)} ({_short(found.low)} to {_short(found.high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
