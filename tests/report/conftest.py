"""Runs to report on, built from the records: the shape of the walk-through, and a long network with branches."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL.Image import Image
from PIL.Image import open as open_image

from dlaflow.placement.switches import Edge
from dlaflow.report.records import RunRecord, Span, Variant
from dlaflow.types import (
    Confidence,
    Device,
    Finding,
    Measurement,
    Placement,
    Provenance,
    Verdict,
)
from tests.report.made_profiles import HOSTILE, placed


def why(rule: str, layer: str, message: str, fix: str) -> Finding:
    return Finding(
        rule, layer, Verdict.FALLBACK, message, "a kind of layer that the DLA knows", "another", "DLA guide", fix
    )


def numbers(fp32: float, latency: float) -> list[Measurement]:
    tops = [
        Measurement("top1", name, 100 * (fp32 - loss), "%", 10000, 0.85, detail="CIFAR-10")
        for name, loss in (("fp32", 0.0), ("fp16", 0.0), ("int8", 0.004))
    ]
    hurt = [
        Measurement("sensitivity", name, error, "relative squared error", 200, detail="99.0% unchanged")
        for name, error in (("/cnn/cnn.0/Conv", 0.002), ("/cnn/cnn.3/Conv", 0.008))
    ]
    agreement = [Measurement("agreement", "int8", 98.1, "%", 10000, 0.3)]
    return [*tops, *agreement, *hurt, Measurement("latency", "int8", latency, "ms", 1, latency * 0.2)]


def chain(placement: Placement) -> list[Edge]:
    names = [layer.name for layer in placement.layers]
    return [Edge(a, b, f"{a}_output") for a, b in pairwise(names)]


@pytest.fixture
def walkthrough() -> RunRecord:
    """Three variants: five loadables, two, one."""
    macs = (864, 18432, 73728, 294912)
    group: list[tuple[str, str, str, int]] = []
    batch: list[tuple[str, str, str, int]] = []
    findings: dict[str, Finding] = {}
    for block, amount in enumerate(macs):
        path = f"/cnn/cnn.{block * 3}"
        group.append((f"{path}/Conv", "CONVOLUTION", "DLA", amount * 256))
        batch.append((f"{path}/Conv", "CONVOLUTION", "DLA", amount * 256))
        for number, kind in enumerate(("Reshape", "InstanceNormalization", "Reshape_1", "Mul", "Add")):
            name = f"/cnn/cnn.{block * 3 + 1}/{kind}"
            group.append((name, "NORMALIZATION" if number == 1 else "SHUFFLE", "GPU", 0))
            if number == 1:
                fix = "BatchNorm, which folds into the convolution before it"
                findings[name] = why("DLA601", name, "Normalization layers have no DLA implementation", fix)
        for rows in (group, batch):
            rows.append((f"/cnn/cnn.{block * 3 + 2}/Relu", "ACTIVATION", "DLA", 0))
    pool, head = "/pool/GlobalAveragePool", "/linear/Gemm"
    findings[pool] = why("DLA402", pool, "Average reduction is not supported", "AveragePool with the same window")
    tail = [("/Flatten", "SHUFFLE", "GPU", 0), (head, "MATRIX_MULTIPLY", "DLA", 5120)]
    group.extend([(pool, "REDUCE", "GPU", 0), *tail])
    batch.extend([(pool, "REDUCE", "GPU", 0), *tail])
    whole = [row for row in batch if row[0] != pool]
    whole[-2:] = [("/pool/AveragePool", "POOLING", "DLA", 0), (head, "CONVOLUTION", "DLA", 5120)]
    placements = [placed(rows, findings) for rows in (group, batch, whole)]
    notes = ("GroupNorm", "BatchNorm", "BatchNorm, AveragePool in place of GlobalAveragePool")
    names = ("model_gn", "model_bn", "model_bn_avgpool")
    variants = [
        Variant(name, note, placement, numbers(top1, latency), chain(placement))
        for name, note, placement, top1, latency in zip(
            names, notes, placements, (0.712, 0.745, 0.745), (3.2, 1.5, 0.6), strict=True
        )
    ]
    return RunRecord("walkthrough", "2026-01-31T12:00:00Z", "CIFAR-10", [], ["Python 3.11, onnxruntime 1.23"], variants)


SPANS = [
    Span("host", "gpu", "a", 1_000_000, 1_200_000),
    Span("GPU", "reformat", "Reformatting <b>", 2_000_000, 3_000_000),
    Span("DLA", "dla", "{ForeignNode[a...b]}", 3_000_000, 11_000_000),
]


@pytest.fixture
def measured_run(walkthrough: RunRecord) -> RunRecord:
    """model_bn, of which the board ran one ReLU on the GPU and told nothing of the last layer."""
    variant = walkthrough.variants[1]
    assert variant.placement is not None
    layers = list(variant.placement.layers)
    why = Finding(
        "unsupported", layers[1].name, Verdict.FALLBACK, "no <i>room</i>", "", "", "log line 7", "", Confidence.MEASURED
    )
    layers[1] = replace(layers[1], device=Device.GPU, verdict=Verdict.FALLBACK, loadable=None, findings=[why])
    layers[-1] = replace(layers[-1], verdict=Verdict.UNKNOWN)
    summary = replace(variant.placement.summary, switches=5, loadables=3)
    numbers = [
        Measurement("latency", "DLA with fallback", 0.7, "ms", 0, 0.2, provenance=Provenance.ESTIMATED),
        Measurement("latency", "model_bn", 1.5, "ms", 100),
    ]
    there = replace(variant.placement, layers=layers, summary=summary)
    variants = [replace(variant, measured=there, timeline=SPANS, measurements=numbers)]
    return replace(walkthrough, variants=variants)


@pytest.fixture
def long_run() -> RunRecord:
    """1,000 layers in 50 stages with skips; each tenth stage has one layer on the GPU."""
    rows, findings, skips = [], {}, []
    for stage in range(50):
        for step in range(20):
            name = f"/backbone/stage{stage // 10}/block{stage}/layer{step}/Conv"
            device = "GPU" if stage % 10 == 9 and step == 10 else "DLA"
            rows.append((name, "CONVOLUTION" if device == "DLA" else "SHUFFLE", device, 1000))
            if device == "GPU":
                findings[name] = why("DLA701", name, "Transpose moves the batch", "keep NCHW")
        skips.append(Edge(rows[-20][0], rows[-1][0], "skip"))
    placement = placed(rows, findings)
    return RunRecord(
        "long", "2026-01-31T12:00:00Z", variants=[Variant("long", "", placement, [], [*chain(placement), *skips])]
    )


@pytest.fixture
def hostile_run() -> RunRecord:
    """Names that try to be more than text."""
    rows = [
        (name, "CONVOLUTION" if at % 2 else "REDUCE", "DLA" if at % 2 else "GPU", 5) for at, name in enumerate(HOSTILE)
    ]
    findings = {
        name: Finding(name, name, Verdict.UNKNOWN, name, name, name, name, name, Confidence.INFERRED)
        for name in HOSTILE
    }
    placement = placed(rows, findings)
    name = HOSTILE[0]
    numbers = [Measurement(each, each, 1.0, each, 1, 0.1, each, detail=each) for each in HOSTILE]
    spans = [Span(("DLA", "GPU")[at % 2], "gpu", each, at, at + 1) for at, each in enumerate(HOSTILE)]
    moved = [replace(layer, device=Device.GPU) for layer in placement.layers]
    ran = replace(placement, layers=moved)
    variant = Variant(name, HOSTILE[2], placement, numbers, chain(placement), ran, spans)
    return RunRecord(name, name, name, [name], [name], [variant])


class Page:
    """A page in real headless Chromium, spoken to over DevTools' pipe: no driver and no network.

    `errors` gathers what the console complained about, `requests` every address that the page asked for.
    """

    def __init__(self, program: str, profile: Path) -> None:
        child_in, self._write = os.pipe()
        self._read, child_out = os.pipe()
        flags = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--window-size=1280,1000 "
            f"--disable-component-update --disable-sync --user-data-dir={profile} --remote-debugging-pipe about:blank"
        )
        command = f"exec {program} {flags} 3<&{child_in} 4>&{child_out}"
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(child_in, child_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_in)
        os.close(child_out)
        self._number = 0
        self._rest = b""
        self._session = ""
        self._loaded = False
        self.errors: list[str] = []
        self.requests: list[str] = []

    def connect(self) -> None:
        """Attach to a new tab and listen."""
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable", {})

    def open(self, path: Path) -> float:
        """Load a page and return the seconds until its load event."""
        started = time.monotonic()
        self._loaded = False
        self._call("Page.navigate", {"url": path.as_uri()})
        while not self._loaded:
            self._take(self._receive())
        return time.monotonic() - started

    def run(self, script: str) -> Any:
        """The value of an expression (promises are awaited)."""
        values = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self._call("Runtime.evaluate", values)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """A real mouse click on the middle of the first element that the selector finds."""
        self._mouse(selector, "mouseMoved", "mousePressed", "mouseReleased", button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        """The real mouse on the middle of the first element that the selector finds."""
        self._mouse(selector, "mouseMoved")

    def wheel(self, selector: str, pixels: int) -> None:
        """The real mouse's wheel over the first element that the selector finds, downwards."""
        self._mouse(selector, "mouseMoved")
        self._mouse(selector, "mouseWheel", deltaX=0, deltaY=pixels)

    def as_seen(self, width: int, scheme: str) -> None:
        """A window of so many pixels on a system that is `light` or `dark`."""
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", {"features": features})

    def _mouse(self, selector: str, *kinds: str, **how: str | int) -> None:
        find = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{find}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        self._settle()  # what became visible may still grow
        box = self.run(f"{find}.getBoundingClientRect().toJSON()")
        point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in kinds:
            self._call("Input.dispatchMouseEvent", {"type": kind, **point, **how})
        self._settle()

    def _settle(self) -> None:
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def key(self, name: str) -> None:
        """A real key press on what has the focus."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", {"type": kind, "key": name, "code": name})

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self._call("Input.insertText", {"text": text})

    def picture(self, path: Path) -> Image:
        """Save the whole page as a PNG."""
        tall = min(self.run("document.documentElement.scrollHeight"), 8000)
        size = {"width": 1280, "height": tall, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", size)
        data = base64.b64decode(self._call("Page.captureScreenshot", {"format": "png"})["data"])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return open_image(io.BytesIO(data))

    def close(self) -> None:
        """End the browser."""
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        self._process.wait(timeout=20)

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._take(answer)

    def _take(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" or (method == "Runtime.consoleAPICalled" and params["type"] == "error"):
            self.errors.append(json.dumps(params)[:500])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], 60)
            assert ready, "Chromium said nothing for a minute"
            part = os.read(self._read, 1 << 16)
            assert part, "Chromium ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A fresh page; skipped where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here (apt-get install chromium)")
    browser = Page(program, tmp_path / "profile")
    try:
        browser.connect()
        yield browser
    finally:
        browser.close()
