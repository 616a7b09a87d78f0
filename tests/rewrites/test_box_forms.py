"""Boxes are told by what they are computed from, or not at all."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from dlaflow.quantize.boxes import BoxForm
from dlaflow.rewrites.box_forms import box_forms
from dlaflow.rewrites.load import load_draft
from dlaflow.rewrites.meanings import Tracer

HEAD = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1,{channels},6] m) => (float[1,{rows},6] y)
<float[1,1,6] cell = {{0.5, 1.5, 2.5, 3.5, 4.5, 5.5}}, float two = {{2}}, int64[{parts}] sizes = {{{split}}}>
{{ {names} = Split<axis=1>(m, sizes)
   {body} }}"""
SIDES = "l, t, r, b, c"
SIZES = "u, v, w, h, c"
CORNERS = "x = Sub(cell, l)  z = Sub(cell, t)  p = Add(cell, r)  q = Add(cell, b)"
ENDS = "d = Add(x, p)  e = Div(d, two)  f = Add(z, q)  g = Div(f, two)  i = Sub(p, x)  j = Sub(q, z)"
POWERS = "d = Add(u, cell)  e = Add(v, cell)  f = Exp(w)  g = Exp(h)"
SCORES = "s = Sigmoid(c)"
JOINED = "y = Concat<axis=1>"


def told(tmp_path: Path, names: str, scores: int, *body: str) -> BoxForm | None:
    text = HEAD.format(
        channels=4 + scores, rows=4 + scores, parts=5, split=f"1,1,1,1,{scores}", names=names, body="  ".join(body)
    )
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "m.onnx"))
    return box_forms(load_draft(tmp_path / "m.onnx", None)[0]).get("y")


@pytest.mark.parametrize(
    ("names", "scores", "body", "form"),
    [
        (SIDES, 3, (CORNERS, SCORES, f"{JOINED}(x, z, p, q, s)"), BoxForm(1)),
        (SIDES, 3, (CORNERS, ENDS, SCORES, f"{JOINED}(e, g, i, j, s)"), BoxForm(1, centre=True)),
        (SIDES, 1, (CORNERS, SCORES, f"{JOINED}(x, z, p, q, s)"), BoxForm(1)),
        (SIZES, 3, (POWERS, SCORES, f"{JOINED}(d, e, f, g, s)"), BoxForm(1, centre=True, objectness=True)),
    ],
)
def test_boxes(tmp_path: Path, names: str, scores: int, body: tuple[str, ...], form: BoxForm) -> None:
    assert told(tmp_path, names, scores, *body) == form


@pytest.mark.parametrize(
    ("names", "scores", "body"),
    [
        # Distances to the sides behind an exponential: whether the first score is a centre-ness, nothing tells.
        (SIDES, 3, (
            "k = Exp(l)  n = Exp(r)  x = Sub(cell, k)  p = Add(cell, n)  z = Sub(cell, t)  q = Add(cell, b)",
            SCORES, f"{JOINED}(x, z, p, q, s)")),
        # Corners of a centre and a size.
        (SIZES, 3, (POWERS, "a = Sub(d, f)  k = Sub(e, g)  n = Add(d, f)  o = Add(e, g)", SCORES,
                    f"{JOINED}(a, k, n, o, s)")),
        # A width that is a plain product, as a corner might be.
        (SIZES, 3, ("d = Add(u, cell)  e = Add(v, cell)  f = Mul(w, two)  g = Mul(h, two)", SCORES,
                    f"{JOINED}(d, e, f, g, s)")),
        (SIDES, 3, (CORNERS, "s = Softmax<axis=1>(c)", f"{JOINED}(x, z, p, q, s)")),
        (SIDES, 3, (CORNERS, "s = Relu(c)", f"{JOINED}(x, z, p, q, s)")),
        (SIZES, 1, (POWERS, SCORES, f"{JOINED}(d, e, f, g, s)")),
        (SIDES, 3, (CORNERS, SCORES, f"{JOINED}(x, z, s, p, q)")),
        (SIDES, 3, ("y = Sigmoid(m)",)),
    ],
)  # fmt: skip
def test_what_may_be_something_else_is_none(tmp_path: Path, names: str, scores: int, body: tuple[str, ...]) -> None:
    assert told(tmp_path, names, scores, *body) is None


def test_whole_networks_and_their_decode_parts(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.examples.heads import detector

    found = {
        each: box_forms(load_draft(detector(each, tmp_path / f"{each}.onnx"), None)[0]) for each in ("v5", "v8", "26")
    }
    assert found == {
        "v5": {"output0": BoxForm(2, centre=True, objectness=True)},
        "v8": {"output0": BoxForm(1, centre=True)},
        "26": {},
    }


def test_labels_are_not_carried_through_what_leaves_no_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer adds constants to what it reads: behind that nothing is a score."""
    assert told(tmp_path, SIDES, 3, CORNERS, SCORES, f"{JOINED}(x, z, p, q, s)") == BoxForm(1)
    monkeypatch.setattr(Tracer, "run", lambda tracer, nodes: pytest.fail("nothing to find"))
    assert told(tmp_path, SIDES, 3, CORNERS, "k = Add(c, cell)  s = Sigmoid(k)", f"{JOINED}(x, z, p, q, s)") is None


def test_labels_go_with_their_last_reader(tmp_path: Path) -> None:
    text = HEAD.format(channels=4, rows=4, parts=1, split="4", names="a", body="b = Sigmoid(a)  y = Identity(b)")
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "m.onnx"))
    draft = load_draft(tmp_path / "m.onnx", None)[0]
    tracer = Tracer(draft)
    tracer.seed("m", draft)
    tracer.run(draft.nodes)
    assert list(tracer.arrays) == ["y"]
