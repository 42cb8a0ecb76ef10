"""A clone that `sam build` has built, once for all tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.sam_project import IMAGE, SAM, Project, clone


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    if not SAM.exists():
        pytest.skip("the SAM CLI is not set up: make sam")
    return Project(clone(tmp_path_factory.mktemp("clone")))


@pytest.fixture(scope="session")
def built(project: Project) -> Project:
    """The clone after a `sam build` without flags."""
    try:
        subprocess.run(
            ["python3.12", "--version"], env=project.env, capture_output=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("sam build needs python3.12 on the PATH (or containers)")
    project.sam("build")
    return project


@pytest.fixture(scope="session")
def docker() -> None:
    """Skips where no container can be started."""
    if shutil.which("docker") is None:
        pytest.skip("there is no Docker")
    if subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        pytest.skip("Docker does not run")
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode == 0:
        return
    if subprocess.run(["docker", "pull", "--quiet", IMAGE], capture_output=True).returncode != 0:
        pytest.skip(f"{IMAGE} cannot be pulled")


@pytest.fixture(scope="session")
def layer(built: Project) -> Path:
    """The built layer."""
    return built.folder / ".aws-sam" / "build" / "Robotchat"
