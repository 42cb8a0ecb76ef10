"""The commands for a person at a terminal, over a service that is told what to answer, and in
process over a host that does not exist."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from robotchat import cli
from robotchat.drivers.fake import FakeArt, plain_png
from robotchat.terminal import commands, service
from robotchat.terminal.completion import script
from robotchat.terminal.screen import Screen, graphics

PNG = plain_png(8, 8)


def job(**fields: Any) -> dict[str, Any]:
    image = {"url": "http://files/1", "content_type": "image/png"}
    return {
        "id": "job_1",
        "status": "succeeded",
        "progress": 1.0,
        "created_at": "2026-01-02T03:04:05Z",
        "conversation_id": "conv_1",
        "prompt": "a photo of a beach",
        "images": [image],
        **fields,
    }


class Wire:
    """A service on no network: answers what it is told, in order, and keeps what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.requests: list[httpx.Request] = []
        real = service.Remote

        def remote(url: str, key: str) -> service.Remote:
            return real(url, key, transport=httpx.MockTransport(self._answer))

        monkeypatch.setattr(commands, "Remote", remote)
        monkeypatch.setattr(service, "_LOOK_AGAIN", 0.0)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host == "files":
            assert "authorization" not in request.headers
            return httpx.Response(200, content=PNG)
        status, body = self.answers.pop(0)
        return httpx.Response(status, json=body)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests if request.content]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wire:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROBOTCHAT_URL", "http://service")
    monkeypatch.setenv("ROBOTCHAT_KEY", "rk_1")
    return Wire(monkeypatch)


def test_draw_follows_the_job_and_writes_its_image(
    wire: Wire, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.answers = [(202, job(status="queued", progress=0.0)), (200, job())]
    line = ["draw", "a beach", "-o", "beach.png", "--size", "64x32", "--model", "v1", "--seed", "7"]
    assert cli.main(line) == 0
    assert capsys.readouterr().out == "beach.png\n"
    assert (tmp_path / "beach.png").read_bytes() == PNG
    assert wire.requests[0].url.path == "/sdapi/v1/txt2img"
    assert wire.requests[0].headers["prefer"] == "respond-async"
    assert wire.requests[0].headers["authorization"] == "Bearer rk_1"
    assert wire.bodies() == [
        {
            "prompt": "a beach",
            "seed": 7,
            "width": 64,
            "height": 32,
            "override_settings": {"sd_model_checkpoint": "v1"},
        }
    ]


def test_several_images_are_numbered_and_json_names_them(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.answers = [(202, job(images=job()["images"] * 2))]
    assert cli.main(["draw", "a beach", "-n", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == ["picture-1.png", "picture-2.png"]


def test_an_image_to_change_goes_along(wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(PNG)
    wire.answers = [(202, job())]
    assert cli.main(["draw", "a blue cat", "--image", "cat.png", "--strength", "0.5"]) == 0
    assert wire.requests[0].url.path == "/sdapi/v1/img2img"
    assert wire.bodies()[0]["denoising_strength"] == 0.5


def test_turns_read_from_standard_input_go_on_with_the_conversation(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a beach\n\nat sunset\n"))
    wire.answers = [(202, job()), (202, job())]
    assert cli.main(["chat"]) == 0
    said = [(body["message"], body["conversation_id"]) for body in wire.bodies()]
    assert said == [("a beach", None), ("at sunset", "conv_1")]
    assert capsys.readouterr().out == "turn-1.png\nturn-2.png\n"


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ((202, job(status="failed", error={"code": "no_host", "message": "None."})), 1, "no_host"),
        ((401, {"detail": "No such key."}), 4, "401: No such key."),
        ((422, {"detail": "\x1b[31mred"}), 4, "\\x1b[31mred"),
    ],
)
def test_what_went_wrong_is_said_and_is_the_exit_status(
    answer: tuple[int, Any],
    status: int,
    said: str,
    wire: Wire,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wire.answers = [answer]
    assert cli.main(["draw", "a beach"]) == status
    assert said in capsys.readouterr().err


def test_nobody_at_the_url_is_status_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["jobs", "--url", "http://127.0.0.1:9", "--key", "k"]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_without_a_service_it_says_what_to_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROBOTCHAT_URL", raising=False)
    assert cli.main(["draw", "a beach"]) == 2
    assert "--host" in capsys.readouterr().err


def test_the_local_stack_is_found(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROBOTCHAT_URL")
    monkeypatch.delenv("ROBOTCHAT_KEY")
    Path(".robotchat").mkdir()
    Path(".robotchat/stack.json").write_text('{"api_url": "http://here", "api_key": "rk_2"}')
    wire.answers = [(200, {"data": []})]
    assert cli.main(["jobs"]) == 0
    assert wire.requests[0].url.host == "here"
    assert wire.requests[0].headers["authorization"] == "Bearer rk_2"


def test_a_local_stack_on_another_port_is_found_if_it_is_the_only_one(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ROBOTCHAT_URL")
    monkeypatch.delenv("ROBOTCHAT_KEY")
    for port in ("8123", "8124"):
        Path(f".robotchat/{port}").mkdir(parents=True)
        stack = {"api_url": f"http://here:{port}", "api_key": f"rk_{port}"}
        Path(f".robotchat/{port}/stack.json").write_text(json.dumps(stack))
    assert cli.main(["jobs"]) == 2
    assert "8123, 8124" in capsys.readouterr().err
    Path(".robotchat/8124/stack.json").unlink()
    wire.answers = [(200, {"data": []})]
    assert cli.main(["jobs"]) == 0
    assert wire.requests[0].url.port == 8123
    assert wire.requests[0].headers["authorization"] == "Bearer rk_8123"


def test_ctrl_c_cancels_the_job(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("robotchat.terminal.service.time.sleep", interrupted)
    wire.answers = [(202, job(status="running", progress=0.5)), (202, job(status="running"))]
    assert cli.main(["draw", "a beach"]) == 130
    assert wire.requests[-1].url.path == "/v1/jobs/job_1/cancel"


def test_jobs_are_listed_and_one_is_stopped_retried_deleted_and_saved(
    wire: Wire, capsys: pytest.CaptureFixture[str]
) -> None:
    wire.answers = [(200, {"data": [job(message="a beach\x07")]})]
    assert cli.main(["jobs", "--status", "succeeded"]) == 0
    assert "a beach\\x07" in capsys.readouterr().out
    wire.answers = [(200, {"data": [job(prompt=None, request={"prompt": "a red boat"})]})]
    assert cli.main(["jobs"]) == 0
    assert "a red boat" in capsys.readouterr().out
    assert wire.requests[0].url.query == b"limit=20&status=succeeded"
    for option, method, path in (
        ("--cancel", "POST", "/v1/jobs/job_1/cancel"),
        ("--retry", "POST", "/v1/jobs/job_1/retry"),
        ("--delete", "DELETE", "/v1/jobs/job_1"),
    ):
        wire.answers = [(200, job(status="queued"))]
        assert cli.main(["jobs", "job_1", option]) == 0
        assert (wire.requests[-1].method, wire.requests[-1].url.path) == (method, path)
    wire.answers = [(200, job())]
    assert cli.main(["jobs", "job_1", "-o", "saved.png"]) == 0
    assert Path("saved.png").read_bytes() == PNG
    assert cli.main(["jobs", "--cancel"]) == 2


def test_in_process_it_draws_on_a_host_without_any_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("robotchat.host_driver", lambda url: FakeArt(), raising=False)
    assert cli.main(["chat", "a beach", "--host", "http://gpu", "-o", "beach.png"]) == 0
    assert "drawn: " in capsys.readouterr().err
    assert (tmp_path / "beach.png").read_bytes().startswith(b"\x89PNG")
    assert cli.main(["draw", "a beach", "--host", "http://gpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "succeeded"


def test_a_host_that_is_not_there_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["draw", "a beach", "--host", "http://127.0.0.1:9"]) == 1
    assert capsys.readouterr().err == "robotchat: The SD host cannot be reached.\n"


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "tmux-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "xterm-kitty", "TMUX": "1"}, None),
    ],
)
def test_the_terminals_that_can_show_images(environment: dict[str, str], kind: str) -> None:
    assert graphics(environment) == kind


def test_an_image_is_shown_where_the_terminal_can_and_nowhere_else() -> None:
    iterm, kitty, plain = Tty(), Tty(), io.StringIO()
    assert Screen(iterm, {"TERM_PROGRAM": "iTerm.app"}).image(PNG, content_type="image/png")
    assert iterm.getvalue().startswith("\x1b]1337;File=inline=1;")
    assert Screen(kitty, {"TERM": "xterm-kitty"}).image(PNG * 500, content_type="image/png")
    escapes = kitty.getvalue().split("\x1b\\")[:-1]
    assert escapes[0].startswith("\x1b_Ga=T,f=100")
    assert escapes[-1].startswith("\x1b_Gm=0;")
    assert max(map(len, escapes)) < 4200
    assert not Screen(kitty, {"TERM": "xterm-kitty"}).image(b"", content_type="image/webp")
    assert not Screen(plain, {"TERM": "xterm-kitty"}).image(PNG, content_type="image/png")
    assert plain.getvalue() == ""


def test_progress_is_one_line_drawn_over_and_taken_away() -> None:
    terminal = Tty()
    screen = Screen(terminal, {"TERM": "xterm"})
    screen.progress({"status": "queued", "progress": 0.0, "queue_position": 3, "eta": 12.4})
    assert "queued, place 3, 12 s" in terminal.getvalue()
    screen.clear()
    assert terminal.getvalue().endswith(" \r")


@pytest.mark.parametrize(("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["-n"])])
def test_the_completion_is_a_script_of_its_shell(
    shell: str, check: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    text = capsys.readouterr().out
    assert "draw" in text
    assert "tenant" in text
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(text)
        subprocess.run([program, *check, tmp_path / "script"], check=True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["robotchat", "dr"], {"draw"}),
        (["robotchat", "keys", "cr"], {"create"}),
        (["robotchat", "keys", "create", "--sco"], {"--scopes"}),
        (["robotchat", "draw", "a beach", "--se"], {"--seed"}),
        (["robotchat", "completion", "f"], {"fish"}),
    ],
)
def test_bash_completes(words: list[str], offered: set[str], tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    quoted = " ".join(f"'{word}'" for word in words)
    asked = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _robotchat"
    program = f'{script(cli._parser(), "bash")}\n{asked}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run([bash, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert set(done.stdout.split()) == offered, done.stderr
