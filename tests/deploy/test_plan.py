"""What may be put anywhere, on which core, and what older manifests and measurements do to it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import dlaflow
from dlaflow.api.deploy import DeployOptions, deploy_engine
from dlaflow.build.config import IOFormat
from dlaflow.build.manifest import manifest_path
from dlaflow.cli import main
from dlaflow.deploy.measured import choose_core
from dlaflow.deploy.systems import SYSTEMS
from dlaflow.errors import InputError, UsageError
from dlaflow.files import sha256_of
from dlaflow.report.json import measurements_json
from dlaflow.types import Measurement
from tests.deploy.engines import PLAIN


def change(engine, **keys):
    path = manifest_path(engine)
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_an_older_manifest_asks_for_the_model(engines, tmp_path):
    engine = engines.write()
    known = json.loads(manifest_path(engine).read_text())["tensors"]
    change(engine, tensors=[])
    with pytest.raises(InputError, match=r"does not tell its inputs and outputs.*--model model_bn\.onnx"):
        deploy_engine(engine, "triton", tmp_path / "out", DeployOptions())
    model = tmp_path / "model_bn.onnx"
    deploy_engine(engine, "triton", tmp_path / "by_model", DeployOptions(model=model))
    change(engine, tensors=known)
    deploy_engine(engine, "triton", tmp_path / "by_manifest", DeployOptions())
    texts = [(tmp_path / name / "model_bn" / "config.pbtxt").read_text() for name in ("by_model", "by_manifest")]
    assert texts[0] == texts[1]
    model.write_bytes(model.read_bytes() + b"\n")
    with pytest.raises(InputError, match="was not built from"):
        deploy_engine(engine, "triton", tmp_path / "out", DeployOptions(model=model))


def test_what_no_system_can_load(engines, tmp_path):
    alone = replace(PLAIN, standalone=True, gpu_fallback=False, input_formats=(IOFormat("int8", ("dla_linear",)),))
    with pytest.raises(InputError, match="standalone DLA loadable"):
        deploy_engine(engines.write(config=alone), "python", tmp_path / "out", DeployOptions())
    engine = engines.write()
    engine.write_bytes(b"another")
    with pytest.raises(InputError, match="not the engine that its manifest describes"):
        deploy_engine(engine, "python", tmp_path / "out", DeployOptions())
    engine.unlink()
    deploy_engine(engine, "python", tmp_path / "out", DeployOptions())
    manifest_path(engine).unlink()
    with pytest.raises(InputError, match="has no manifest beside it"):
        deploy_engine(engine, "python", tmp_path / "out", DeployOptions())


@pytest.mark.parametrize("core", ["", "a", "-1", "0,0", "1,", "1e3", "٣"])
def test_cores_that_make_no_sense(engines, tmp_path, core):
    with pytest.raises(UsageError):
        deploy_engine(engines.write(), "triton", tmp_path / "out", DeployOptions(core=core))
    assert not (tmp_path / "out").exists()


def test_cores_that_the_board_does_not_have(engines, tmp_path):
    engine = engines.write()
    with pytest.raises(UsageError, match="of 2 on agx-orin-64gb"):
        dlaflow.deploy(engine, system="triton", out=tmp_path / "out", core="0,2")
    assert dlaflow.deploy(engine, system="triton", out=tmp_path / "out", core=1).cores == (1,)
    manifest = json.loads(manifest_path(engine).read_text())
    for core in (-1, 2, 10**30):
        change(engine, config=manifest["config"] | {"dla_core": core})
        with pytest.raises(UsageError, match="cores make no sense"):
            dlaflow.deploy(engine, system="cpp", out=tmp_path / "out")
    change(engine, built_for=manifest["built_for"] | {"board": "one of my own"})
    with pytest.raises(UsageError, match="of 16"):
        dlaflow.deploy(engine, system="cpp", out=tmp_path / "out")


TENSOR = {"name": "x", "is_input": True, "shape": [1, 3, 8, 8], "type": "fp32"}
OUTPUT = TENSOR | {"name": "y", "is_input": False}


@pytest.mark.parametrize(
    "tensors",
    [
        [TENSOR],
        [OUTPUT],
        [TENSOR, OUTPUT | {"name": "x"}],
        [TENSOR | {"name": ""}, OUTPUT],
        [TENSOR | {"name": "a\0b"}, OUTPUT],
        [TENSOR | {"shape": [0, 3]}, OUTPUT],
        [TENSOR | {"shape": [-2, 3]}, OUTPUT],
        [TENSOR | {"shape": [10**30]}, OUTPUT],
        [TENSOR | {"scale": -1.0}, OUTPUT],
        [TENSOR | {"scale": 0.0}, OUTPUT],
    ],
)
def test_tensors_that_no_engine_has(engines, tmp_path, tensors):
    engine = engines.write()
    change(engine, tensors=tensors)
    for system in SYSTEMS:
        with pytest.raises(InputError, match="tells tensors that no engine has") as caught:
            deploy_engine(engine, system, tmp_path / "out", DeployOptions())
        assert "\0" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b'{"tensors": 1e999}', b'{"x": ' + b"[" * 100_000, b"\xff"])
def test_manifests_that_are_none(engines, tmp_path, content):
    engine = engines.write()
    manifest_path(engine).write_bytes(content)
    with pytest.raises(InputError, match="is not an engine manifest"):
        deploy_engine(engine, "python", tmp_path / "out", DeployOptions())


@pytest.mark.parametrize("path", ["..", "a/..", ".", "", "/", "a\0b"])
@pytest.mark.parametrize("of", ["model", "cache"])
def test_files_of_the_build_that_are_none(engines, tmp_path, of, path):
    """They will lie beside the engine by their last name; an absolute path elsewhere has one, and stays out."""
    engine = engines.write()
    manifest = json.loads(manifest_path(engine).read_text())
    for named in (path, f"/elsewhere/{of}.file"):
        key, entry = ("model", manifest["model"] | {"path": named}) if of == "model" else (
            "config", manifest["config"] | {"cache": named, "scales": "cache"})  # fmt: skip
        change(engine, **{key: entry})
        for system in ("onnxruntime", "deepstream"):
            if named == path:
                with pytest.raises(InputError, match="names a file of the build that is none"):
                    deploy_engine(engine, system, tmp_path / "out", DeployOptions())
            else:
                made = deploy_engine(engine, system, tmp_path / "out", DeployOptions())
                assert not any("/elsewhere" in file.read_text() for file in made.files)


def test_places_that_make_no_sense(engines, tmp_path):
    engine = engines.write()
    for at in ("models", "", "/a\0b"):
        with pytest.raises(UsageError, match="absolute path"):
            deploy_engine(engine, "python", tmp_path / "out", DeployOptions(at=at))
    with pytest.raises(InputError, match=r"no UTF-8"):
        deploy_engine(engine, "python", tmp_path / "out", DeployOptions(at="/a\udcff"))
    with pytest.raises(UsageError, match=r"unknown system.*Did you mean 'triton'"):
        dlaflow.deploy(engine, system="tritn", out=tmp_path / "out")


def test_nothing_goes_over_an_input(engines, tmp_path):
    engine = engines.write()
    bench = tmp_path / "run_model_bn.py"
    bench.write_bytes(measurements_json([rate("dla0", 1)]))
    with pytest.raises(UsageError, match="would overwrite"):
        deploy_engine(engine, "python", tmp_path, DeployOptions(measured=bench))


def test_the_record_goes_over_neither_the_manifest_nor_what_is_made(engines, tmp_path, capsys):
    engine = engines.write()
    words = ["deploy", str(engine), "--for", "triton", "--out", str(tmp_path / "out"), "--json"]
    manifest = manifest_path(engine)
    before = manifest.read_bytes()
    for path in (manifest, tmp_path / "out" / "model_bn" / "config.pbtxt"):
        assert main([*words, str(path)]) == 2
        assert "Name another file" in capsys.readouterr().err
    assert manifest.read_bytes() == before
    assert not list((tmp_path / "out").rglob("*.pbtxt"))
    assert main([*words, "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["system"], told["cores"]) == ("dlaflow.deploy/1", "triton", [0])
    assert main(["deploy", str(engine), "--for", "triton", "--out", "-"]) == 2


def rate(subject: str, value: float) -> Measurement:
    return Measurement("throughput", subject, value, "batches/s", 3)


BOTH = [rate("dla0", 779), rate("dla1", 775), rate("dla0 (together)", 676), rate("dla1 (together)", 676)]


@pytest.mark.parametrize(
    ("rates", "core", "words"),
    [
        (BOTH, None, "All cores together give 1.74 times"),
        ([rate("dla0", 100), rate("dla1", 100), rate("dla0 (together)", 30), rate("dla1 (together)", 60)], 1, "Core 1"),
        (
            [rate("dla0", 100), rate("dla1", 100), rate("dla0 (together)", 30), rate("dla1 (together)", 60)],
            1,
            "no more",
        ),
        ([rate("dla0", 90), rate("dla1", 100)], 1, "Core 1 keeps"),
        ([rate("gpu", 900), rate("dla1", 100)], 1, "Only core 1"),
        ([rate("dla0", float("nan")), rate("dla1", 100)], 1, "Only core 1"),
    ],
)
def test_the_core_that_keeps_most(rates, core, words):
    choice = choose_core(rates, "bench.json", "")
    assert choice.core == core
    assert words in " ".join(choice.notes)


def test_measurements_of_something_else():
    for rates, words in (([rate("orin dla0", 1)], "several boards"), ([rate("gpu", 1)], "no DLA core"), ([], "no DLA")):
        with pytest.raises(InputError, match=words):
            choose_core(rates, "bench.json", "")


def test_measured_decides_unless_a_core_is_named(engines, tmp_path):
    engine, bench = engines.write(), tmp_path / "bench.json"
    bench.write_bytes(measurements_json([rate("dla0", 90), rate("dla1", 100)]))
    found = dlaflow.deploy(engine, system="triton", out=tmp_path / "out", measured=bench)
    assert found.cores == (1,)
    assert any("90.0 batches/s alone" in note for note in found.notes)
    assert dlaflow.deploy(engine, system="triton", out=tmp_path / "out", measured=bench, core=[0]).cores == (0,)
    own = sha256_of(engine)
    bench.write_bytes(
        measurements_json([replace(rate("dla0", 90), sha256=own), replace(rate("dla1", 100), sha256=own)])
    )
    found = dlaflow.deploy(engine, system="triton", out=tmp_path / "out", measured=bench)
    assert found.cores == (1,)
    assert not any("older dlaflow" in note for note in found.notes)
    bench.write_bytes(measurements_json([replace(rate("dla0", 90), sha256="ab" * 32), rate("dla1", 100)]))
    for core in (None, "0"):
        with pytest.raises(InputError, match=r"measured another engine .*name the core with --core"):
            dlaflow.deploy(engine, system="triton", out=tmp_path / "other", measured=bench, core=core)
    assert not (tmp_path / "other").exists()
    bench.write_text("{}")
    with pytest.raises(InputError):
        dlaflow.deploy(engine, system="triton", out=tmp_path / "out", measured=bench)
