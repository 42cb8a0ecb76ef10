"""What `sam build` makes of a clean clone: functions of one file, and one small layer."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.template import Template
from tests.sam_project import ROOT, Project

LAYER_LIMIT = 40_000_000  # bytes, unzipped


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def digest(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Of each file its content, mode and time, which is all that a zip file keeps."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mode,
            int(path.stat().st_mtime),
        )
        for path in files(folder)
    }


def test_the_template_is_valid_and_has_nothing_to_complain_of(project: Project) -> None:
    assert "valid SAM Template" in project.sam("validate")


def test_every_function_is_built_with_its_one_file(built: Project) -> None:
    folder = built.folder / ".aws-sam" / "build"
    for name in Template(ROOT / "template.yaml").folders():
        assert [path.name for path in files(folder / name)] == ["app.py"], name


def test_the_layer_is_small(
    layer: Path, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    total = size(layer)
    record_property("layer_bytes", total)
    with capsys.disabled():
        print(f"\nlayer: {total / 1e6:.1f} MB unzipped, at most {LAYER_LIMIT / 1e6:.0f}")
    assert total <= LAYER_LIMIT


def test_the_layer_holds_the_package_and_what_it_needs_and_no_boto3(layer: Path) -> None:
    packages = {path.name for path in (layer / "python").iterdir()}
    assert {"robotchat", "httpx", "openai", "pydantic", "aws_lambda_powertools"} <= packages
    assert not {"boto3", "botocore", "aws_xray_sdk", "bin"} & packages
    assert os.access(layer / "bin" / "stream", os.X_OK)
    assert not list(layer.rglob("__pycache__"))


def test_the_layer_serves_either_processor(layer: Path) -> None:
    compiled = {str(path.relative_to(layer)) for path in layer.rglob("*.so")}
    assert compiled
    for machine, other in (("x86_64", "aarch64"), ("aarch64", "x86_64")):
        ours = {name for name in compiled if f"-{machine}-" in name}
        assert {name.replace(f"-{machine}-", f"-{other}-") for name in ours} == compiled - ours


def test_another_build_of_the_layer_is_the_same(
    layer: Path, project: Project, tmp_path: Path
) -> None:
    subprocess.run(
        ["make", "--silent", "build-Robotchat", f"ARTIFACTS_DIR={tmp_path}"],
        cwd=project.folder / "layers" / "robotchat",
        env=project.env,
        capture_output=True,
        check=True,
        timeout=240,
    )
    assert digest(tmp_path) == digest(layer)
