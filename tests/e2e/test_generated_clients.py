"""Clients made from the OpenAPI document: each compiles, and three of them hold a conversation."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.installed import node_with, python_with
from tests.local_stack import RunningStack

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TOOLS = Path(__file__).parent / "generators"
ENVIRONMENT = ROOT / ".venv-generators"
QUICK = ("-XX:TieredStopAtLevel=1", "-Xshare:auto")
"""Options of Java for a program that runs for seconds."""
ANNOTATIONS = Path("/usr/share/java/jakarta-annotation-api.jar")
GUZZLE = Path("/usr/share/php/GuzzleHttp/autoload.php")
GO_PACKAGES = Path("/usr/share/gocode")
ENDINGS = """\
import { existsSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
// What bundlers do: the generator leaves the endings of its modules out.
export async function resolve(name, context, next) {
  if (name.startsWith(".") && !name.endsWith("js")) {
    const file = new URL(`${name}.js`, context.parentURL);
    return next(existsSync(fileURLToPath(file)) ? file.href : `${name}/index.js`, context);
  }
  return next(name, context);
}
if (!globalThis.hooked) register(import.meta.url);
globalThis.hooked = true;
"""
SAID = "a photo of a beach at sunset"
PNG = b"\x89PNG\r\n\x1a\n"

LOADER = """<?php
require_once '%s';
spl_autoload_register(function (string $name): void {
    $file = '%s/lib/' . strtr(substr($name, strlen('Robotchat.Client.')), '\\\\', '/') . '.php';
    if (str_starts_with($name, 'Robotchat\\\\Client') && is_file($file)) {
        require_once $file;
    }
});
"""
ALL_CLASSES = """
foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator('%s/lib')) as $file) {
    if ($file->getExtension() === 'php') {
        require_once $file->getPathname();
    }
}
"""


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a program to its end; gives what it prints."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8", **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def need(program: str, *files: Path) -> str:
    """The program's path; the test is skipped without it or the files that it works with."""
    found = shutil.which(program)
    for thing in [program] if found is None else [str(file) for file in files if not file.exists()]:
        pytest.skip(f"{thing} is not installed")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def python() -> Path:
    return python_with(ENVIRONMENT, TOOLS / "requirements.txt")


@pytest.fixture(scope="module")
def jar(python: Path) -> Path:
    """openapi-generator, and with it the libraries that its Java clients use."""
    (found,) = ENVIRONMENT.glob("lib/python*/site-packages/openapi_generator_cli/*.jar")
    return found


def generate(language: str, jar: Path, out: Path) -> Path:
    run(
        *(need("java"), *QUICK, "-jar", jar, "generate"),
        *("-i", DOCS / "openapi.json", "-c", DOCS / "clients" / f"{language}.yaml", "-o", out),
        cwd=out.parent,
    )
    return out


def talk(stack: RunningStack, *command: str | Path, cwd: Path, **env: str) -> None:
    """Run a conversation; it must end with the picture that was asked for."""
    out = cwd / "out.png"
    service = {"API_URL": stack.api_url, "API_KEY": stack.api_key, "OUT": str(out)}
    assert run(*command, cwd=cwd, **service, **env).splitlines()[-1] == SAID
    assert out.read_bytes().startswith(PNG)


def test_php(stack: RunningStack, jar: Path, tmp_path: Path) -> None:
    php = need("php", GUZZLE)
    client = generate("php", jar, tmp_path / "client")
    loader, everything = tmp_path / "autoload.php", tmp_path / "everything.php"
    loader.write_text(LOADER % (GUZZLE, client))
    everything.write_text(loader.read_text() + ALL_CLASSES % client)
    assert run(php, "-d", "error_reporting=E_ALL", everything, cwd=tmp_path) == ""
    example = DOCS / "examples/php/generated.php"
    talk(stack, php, example, cwd=tmp_path, AUTOLOAD=str(loader))


def test_java(stack: RunningStack, jar: Path, tmp_path: Path) -> None:
    javac = need("javac", ANNOTATIONS)
    client = generate("java", jar, tmp_path / "client")
    classes, libraries = tmp_path / "classes", f"{jar}:{ANNOTATIONS}"
    sources = [
        *client.glob("src/main/java/**/*.java"),
        DOCS / "examples/java/GeneratedConversation.java",
    ]
    options = [*(f"-J{option}" for option in QUICK), "-proc:none", "-nowarn"]
    run(javac, *options, "-d", classes, "-cp", libraries, *sources, cwd=tmp_path)
    path = f"{classes}:{libraries}"
    talk(stack, need("java"), *QUICK, "-cp", path, "GeneratedConversation", cwd=tmp_path)


def test_typescript(stack: RunningStack, jar: Path, tmp_path: Path) -> None:
    node = node_with(TOOLS)
    generate("typescript", jar, tmp_path / "client")
    shutil.copy(DOCS / "examples/typescript/conversation.ts", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    run(
        *(node, "node_modules/typescript/bin/tsc", "--strict", "--target", "es2022"),
        *("--module", "esnext", "--moduleResolution", "bundler", "--types", "node"),
        *("--outDir", "built", "conversation.ts"),
        cwd=tmp_path,
    )
    (tmp_path / "endings.mjs").write_text(ENDINGS)
    talk(stack, node, "--import", "./endings.mjs", "built/conversation.js", cwd=tmp_path)


def test_go(jar: Path, tmp_path: Path) -> None:
    go = need("go", GO_PACKAGES / "src/gopkg.in/validator.v2")
    client = generate("go", jar, tmp_path / "client")
    run(
        go,
        "vet",
        ".",
        cwd=client,
        GO111MODULE="off",
        GOPATH=str(GO_PACKAGES),
        GOCACHE=str(tmp_path),
    )


def test_openapi_typescript(tmp_path: Path) -> None:
    node = node_with(TOOLS)
    (tmp_path / "node_modules").symlink_to(TOOLS / "node_modules")
    types = tmp_path / "api.d.ts"
    program = "node_modules/openapi-typescript/bin/cli.js"
    run(node, program, DOCS / "openapi.json", "-o", types, cwd=tmp_path)
    (tmp_path / "use.ts").write_text("""\
import createClient from "openapi-fetch";
import type { paths } from "./api.js";
const api = createClient<paths>({ baseUrl: "http://127.0.0.1" });
const { data } = await api.POST("/v1/chat/text2image", { body: { message: "a beach" } as never });
if (data?.object === "job") console.log(data.status.toUpperCase());
""")
    run(
        *(node, "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--target", "es2022"),
        *("--module", "esnext", "--moduleResolution", "bundler", "use.ts"),
        cwd=tmp_path,
    )


def test_openapi_python_client(python: Path, tmp_path: Path) -> None:
    client = tmp_path / "client"
    printed = run(
        *(python, "-m", "openapi_python_client", "generate", "--meta", "none"),
        *("--path", DOCS / "openapi.json", "--output-path", client),
        cwd=tmp_path,
        PATH=f"{python.parent}:{os.environ['PATH']}",
    )
    assert "Warning" not in printed
    run(python, "-m", "compileall", "-q", client, cwd=tmp_path)
    run(python, "-c", "from client.models import ChatImageRequest, JobView, Quote", cwd=tmp_path)
