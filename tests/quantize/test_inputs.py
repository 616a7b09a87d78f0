"""Networks with other inputs than one float image: several, of whole numbers, channels last; and videos."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from dlaflow.api.claims import OutFile, claims_of, refuse_overwriting
from dlaflow.api.images import ImageOptions, Selection, select
from dlaflow.api.keywords import File
from dlaflow.cli import main
from dlaflow.errors import EnvironmentLacksError, InputError, UsageError
from dlaflow.progress import silent
from dlaflow.quantize import images
from dlaflow.quantize.cache import read_cache
from dlaflow.quantize.calibrate import calibrate
from dlaflow.quantize.calibration import CalibrationConfig
from dlaflow.quantize.checkpoint import RunningFingerprint
from dlaflow.quantize.feed import Feed, only_array
from dlaflow.quantize.images import in_batches
from dlaflow.quantize.model import network_inputs
from dlaflow.quantize.session import Session

STEREO = """
<ir_version: 8, opset_import: ["" : 17]>
stereo (float[N,3,8,8] left, float[N,3,8,8] right, int64[N,2] shift) => (float[N,4,8,8] cost, float[N,2] moved)
{
    both = Concat<axis=1>(left, right)
    c = Conv<pads=[1,1,1,1]>(both, w)
    cost = Relu(c)
    s = Cast<to=1>(shift)
    moved = Mul(s, half)
}
"""
BYTES = """
<ir_version: 8, opset_import: ["" : 17]>
bytes (uint8[N,8,8,3] image) => (float[N,4,8,8] y)
{
    f = Cast<to=1>(image)  d = Div(f, most)  t = Transpose<perm=[0,3,1,2]>(d)
    c = Conv<pads=[1,1,1,1]>(t, w)  y = Relu(c)
}
"""


def saved(text: str, channels: int, path: Path) -> Path:
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(0).standard_normal((4, channels, 3, 3)).astype(np.float32) / 5
    values = {"w": weight, "half": np.float32([0.5]), "most": np.float32([255])}
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items() if k in used)
    for node in model.graph.node:
        node.name = f"/{node.output[0]}"
    onnx.save(model, str(path))
    return path


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    return saved(STEREO, 6, tmp_path / "stereo.onnx")


def arrays(count: int = 12) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(3)
    left = generator.standard_normal((count, 3, 8, 8)).astype(np.float32)
    return {"left": left, "right": 3 * left[::-1], "shift": generator.integers(0, 9, (count, 2))}


def picked(model: Path, *data: str | Path, **options: object) -> Selection:
    reading = ImageOptions(**options)  # type: ignore[arg-type]
    return select(data, reading, network_inputs(onnx.load(model)), train=True, default=100, progress=silent)


def test_several_inputs_of_an_archive(stereo: Path, tmp_path: Path) -> None:
    given = arrays()
    np.savez(tmp_path / "pairs.npz", **given)
    chosen = picked(stereo, tmp_path / "pairs.npz")
    found = calibrate(stereo, lambda: in_batches(chosen.images, 5))
    alone = calibrate(stereo, lambda: [Feed(given)])
    assert found.scales == alone.scales
    assert found.scales["left"] == found.scales["right"]  # what goes into one Concat
    # 's' comes from whole numbers and is a float tensor, 'shift' is none.
    assert {"left", "right", "both", "c", "cost", "s", "moved"} == set(found.scales)
    every = calibrate(stereo, lambda: [Feed(given)], CalibrationConfig("minmax"))
    exact = dict(zip(["cost", "moved"], Session(stereo).run_all(Feed(given)), strict=True))
    assert every.scales["cost"] == pytest.approx(np.abs(exact["cost"]).max() / 127)
    assert every.scales["right"] == pytest.approx(np.abs(given["right"]).max() / 127)
    assert set(calibrate(stereo, lambda: in_batches(chosen.images, 5), CalibrationConfig("auto")).scales) == set(
        found.scales
    )


def test_a_fixed_batch_is_filled_up_in_every_input(tmp_path: Path) -> None:
    fixed = saved(STEREO.replace("[N,", "[5,"), 6, tmp_path / "fixed.onnx")
    given = arrays()
    open_ended = Session(saved(STEREO, 6, tmp_path / "open.onnx")).run(Feed(given))
    assert np.allclose(Session(fixed).run(Feed(given)), open_ended, atol=1e-6)


def test_a_folder_for_each_input(stereo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side, bright in (("left", 40), ("right", 200)):
        (tmp_path / side).mkdir()
        for number in range(6):
            Image.new("RGB", (8, 8), (bright + number,) * 3).save(tmp_path / side / f"{number}.png")
    np.save(tmp_path / "shift.npy", np.arange(12).reshape(6, 2))
    data = [f"right={tmp_path}/right", f"left={tmp_path}/left", f"shift={tmp_path}/shift.npy"]
    chosen = picked(stereo, *data, mean="left=0.1;right=0.2", std="left=1;right=2")
    batch = chosen.images[0:6]
    assert isinstance(batch, Feed)
    assert list(batch.arrays) == ["left", "right", "shift"]
    assert batch.arrays["shift"].dtype == np.int64
    # The pairs stay together, whatever order they are taken in.
    number = batch.arrays["shift"][:, 0] / 2
    assert np.allclose(batch.arrays["left"][:, 0, 0, 0], (40 + number) / 255 - 0.1, atol=1e-6)
    assert np.allclose(batch.arrays["right"][:, 0, 0, 0], ((200 + number) / 255 - 0.2) / 2, atol=1e-6)
    out = tmp_path / "c.cache"
    arguments = ["calibrate", str(stereo), *(word for item in data for word in ("--data", item)), "--cache", str(out)]
    assert main(arguments) == 0
    assert {"left", "right", "cost"} <= set(read_cache(out).scales)
    capsys.readouterr()
    assert main([*arguments[:-1], str(tmp_path / "left" / "0.png")]) == 2  # an input is not written over
    assert capsys.readouterr().err.count("\n") == 1


def test_data_that_does_not_fit_the_inputs(stereo: Path, tmp_path: Path) -> None:
    given = arrays()
    np.savez(tmp_path / "two.npz", left=given["left"], right=given["right"])
    np.savez(tmp_path / "uneven.npz", **{**given, "left": given["left"][:5]})
    np.savez(tmp_path / "halves.npz", **{**given, "shift": given["shift"] + 0.5})
    np.save(tmp_path / "left.npy", given["left"])
    with pytest.raises(InputError, match="an array named shift"):
        picked(stereo, tmp_path / "two.npz")
    with pytest.raises(InputError, match="does not belong to"):
        picked(stereo, tmp_path / "uneven.npz")
    with pytest.raises(InputError, match=r"shift takes int64: expected whole numbers.*received float64"):
        calibrate(stereo, lambda: [picked(stereo, tmp_path / "halves.npz").images[0:4]])
    for data in ([tmp_path / "left.npy"], ["cifar10"], [f"left={tmp_path}/left.npy"], []):
        with pytest.raises((UsageError, InputError), match=r"3 inputs|nothing that holds|no images are named"):
            picked(stereo, *map(str, data))
    np.savez(tmp_path / "all.npz", **given)
    with pytest.raises(UsageError, match="unknown input"):
        picked(stereo, tmp_path / "all.npz", mean="lift=0.1")
    with pytest.raises(UsageError, match="--mean makes no sense"):
        picked(stereo, tmp_path / "all.npz", mean="left=a")
    with pytest.raises(InputError, match="cannot be fed with this data"):
        calibrate(stereo, lambda: [given["left"]])


@pytest.mark.parametrize("layout", [None, "nhwc"])
def test_bytes_with_channels_last(layout: str | None, tmp_path: Path) -> None:
    model = saved(BYTES, 3, tmp_path / "bytes.onnx")
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.new("RGB", (16, 8), (50 * number, 10, 255)).save(tmp_path / "images" / f"{number}.png")
    batch = picked(model, tmp_path / "images", resize="8", layout=layout).images[0:4]
    assert isinstance(batch, np.ndarray)
    assert (batch.shape, batch.dtype) == ((4, 8, 8, 3), np.uint8)
    assert sorted(batch[:, 0, 0, 0].tolist()) == [0, 50, 100, 150]
    assert calibrate(model, lambda: [batch], CalibrationConfig("minmax")).scales["d"] == pytest.approx(1 / 127)
    with pytest.raises(UsageError, match="takes pixels as they are"):
        picked(model, tmp_path / "images", mean="0.5")
    with pytest.raises(InputError, match="takes uint8"):
        calibrate(model, lambda: [batch / np.float32(255)])


def test_the_fingerprint_holds_every_input() -> None:
    given = arrays(2)
    values = set()
    for changed in ({}, {"right": given["left"]}, {"shift": given["shift"] + 1}):
        running = RunningFingerprint()
        running.add(Feed({**given, **changed}))
        values.add(running.value)
    assert len(values) == 3


def test_a_video_needs_a_decoder(tmp_path: Path, small_network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    (tmp_path / "clip.mp4").write_bytes(b"film")
    with pytest.raises(EnvironmentLacksError, match="PyAV or OpenCV"):
        picked(small_network, tmp_path / "clip.mp4")


@pytest.mark.parametrize("decoder", ["av", "cv2"])
def test_a_video_is_read_frame_by_frame(
    decoder: str, tmp_path: Path, small_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    av, path = pytest.importorskip("av"), tmp_path / "clip.avi"
    pytest.importorskip(decoder)
    monkeypatch.setattr(images, "find_spec", lambda name: name == decoder or None)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 10 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    chosen = picked(small_network, path, samples=6)
    first = chosen.images[0:4]
    brightness = np.concatenate([np.asarray(first), np.asarray(chosen.images[4:6])])[:, 0, 0, 0] * 255 / 10
    assert chosen.description == "clip.avi, 6 of 20 frames"
    numbers = chosen.images.frames  # type: ignore[attr-defined]
    assert (np.diff(numbers) > 0).all()
    assert np.allclose(brightness, numbers, atol=0.4)
    again = replace(chosen.images, frames=numbers[:1])[0:1]  # type: ignore[type-var,index]
    assert np.allclose(only_array(again)[0, 0, 0, 0] * 255 / 10, numbers[0], atol=0.4)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"clip\.avi"):
        picked(small_network, path)


def test_an_input_without_a_batch_is_told(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[N,3,4,4] x, int64 rate) => (float[N,3,4,4] y) { f = Cast<to=1>(rate)  y = Mul(x, f) }"""
    onnx.save(onnx.parser.parse_model(text), str(tmp_path / "m.onnx"))
    np.savez(tmp_path / "d.npz", x=np.ones((4, 3, 4, 4), np.float32), rate=np.ones(4, np.int64))
    chosen = picked(tmp_path / "m.onnx", tmp_path / "d.npz")
    with pytest.raises(InputError, match="refused the images"):
        calibrate(tmp_path / "m.onnx", lambda: in_batches(chosen.images, 2))
    onnx.save(onnx.parser.parse_model(text.replace("int64 rate", "int64[4] rate")), str(tmp_path / "m.onnx"))
    model = onnx.load(tmp_path / "m.onnx")
    assert [each.shape for each in network_inputs(model)] == [(3, 4, 4), ()]
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "folder" / "0.png")
    with pytest.raises(UsageError, match="2 inputs"):
        picked(tmp_path / "m.onnx", tmp_path / "folder")


@pytest.mark.parametrize("decoder", ["av", "cv2"])
def test_a_playlist_that_calls_itself_a_video_opens_no_address(
    decoder: str, tmp_path: Path, small_network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(decoder)
    monkeypatch.setattr(images, "find_spec", lambda name: name == decoder or None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / "clip.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n")
        with pytest.raises(InputError, match=r"clip\.mp4"):
            picked(small_network, tmp_path / "clip.mp4")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("name", ["left", "a=b"])
def test_what_is_fed_is_not_overwritten(name: str, tmp_path: Path) -> None:
    """Nor behind the name of an input, which may hold an equals sign."""
    fed = tmp_path / "images.npy"
    np.save(fed, np.zeros((2, 3), np.float32))
    claims = list(claims_of({"data": list[File], "cache": OutFile}, {"data": [f"{name}={fed}"], "cache": fed}))
    with pytest.raises(UsageError, match="would overwrite what the command reads"):
        refuse_overwriting(claims)
