"""The overlay for SnapStart translates, lints, and reaches the functions by their versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dev.checks.deployed import translated
from dev.snap_start import FUNCTIONS, TEMPLATE, with_snap_start


@pytest.fixture(scope="module")
def overlaid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("snap-start")
    (root / "template.yaml").write_text(with_snap_start(TEMPLATE.read_text("utf-8")), "utf-8")
    return root


def test_the_functions_have_versions_with_snapshots_which_are_called(overlaid: Path) -> None:
    resources = translated(overlaid)["Resources"]
    for name in FUNCTIONS:
        snap = resources[name]["Properties"]["SnapStart"]
        assert snap == {"ApplyOn": "PublishedVersions"}
        assert resources[f"{name}Aliaslive"]["Properties"]["FunctionName"] == {"Ref": name}
    [api] = [r for r in resources.values() if r["Type"] == "AWS::ApiGateway::RestApi"]
    text = json.dumps(api["Properties"]["Body"])
    for name in FUNCTIONS:
        assert f"${{{name}.Arn}}" not in text, "the unpublished version would be called"
        assert f"{name}Aliaslive" in text


def test_others_are_as_they_were(overlaid: Path) -> None:
    resources = translated(overlaid)["Resources"]
    snapped = {name for name, one in resources.items() if "SnapStart" in one.get("Properties", {})}
    assert snapped == set(FUNCTIONS)


def test_the_overlaid_template_lints(overlaid: Path) -> None:
    linter = Path(sys.executable).with_name("cfn-lint")
    template = str(overlaid / "template.yaml")
    found = subprocess.run([linter, template], capture_output=True, text=True, check=False)
    # The code is not beside it there; that is all there is to say.
    assert found.returncode == 0, found.stdout


def test_a_function_that_is_gone_is_noticed() -> None:
    text = TEMPLATE.read_text("utf-8").replace("  Text2Image:\n", "  Draw:\n")
    with pytest.raises(ValueError, match="no function Text2Image"):
        with_snap_start(text)
