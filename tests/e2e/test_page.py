"""The page, in a real browser: what a person does with it, in both languages.

Chromium runs the page of the running service, over the stand-ins for SD host and language model.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from dev import llm, sd_host
from tests.e2e.browser import Look, Seen, browser, tab
from tests.local_stack import RunningStack

HOSTILE = "<img src=x onerror=\"document.title='broken'\"><b>beach</b>"
DONE = '.job[data-status="succeeded"]'


@dataclass
class World:
    """The service, what is behind it, a browser, and what was pressed in it."""

    stack: RunningStack
    host: sd_host.RunningHost
    upstream: llm.RunningModel
    browser: Any
    seen: Seen

    @property
    def link(self) -> str:
        """What the ready line of `make run` says."""
        found = re.search(r"page (\S+)", self.stack.ready_line)
        assert found
        return found[1]

    def api(self, method: str, path: str, **options: Any) -> Any:
        url, headers = self.stack.api_url + path, self.stack.headers
        answer = httpx.request(method, url, headers=headers, timeout=60, **options)
        return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with browser() as running, sd_host.running(fixed_seconds=0.1) as host, llm.running() as model:
        stack = RunningStack(
            tmp_path_factory.mktemp("page"),
            {
                "SD_HOSTS": host.url,
                "OPENAI_BASE_URL": model.base_url,
                "OPENAI_API_KEY": "sk-upstream",
                "OPENAI_MODEL": "stand-in",
                "ROBOTCHAT_PARAMETERS": "RetryBaseSeconds=0.1 PromptWriter=fallback",
                "ROBOTCHAT_FUNCTION_ENV": "MAX_ATTEMPTS=1",
            },
        )
        stack.start()
        try:
            yield World(stack, host, model, running, Seen())
        finally:
            stack.stop()


@pytest.fixture
def page(world: World) -> Iterator[Look]:
    """A tab that was opened by the link, in English."""
    with tab(world.browser, world.seen, locale="en-GB") as look:
        look.page.goto(world.link)
        look.wait(".composer")
        yield look


def test_the_link_signs_in_and_the_key_is_in_no_address(world: World) -> None:
    with tab(world.browser, world.seen, locale="en-GB") as look:
        look.page.goto(world.link)
        look.wait(".composer")
        look.wait("#set-steps")
        key = world.stack.api_key
        assert look.page.url == f"{world.stack.api_url}/"
        assert not [url for url in look.urls if key in url]
        hosts = {httpx.URL(url).netloc for url in look.urls if not url.startswith("blob:")}
        assert hosts == {httpx.URL(world.stack.api_url).netloc}, "nothing comes from elsewhere"

        look.page.reload()
        look.wait(".composer")  # the tab knows it still
        look.press("leave")
        look.wait("#key")
        look.accessible("door")
        assert look.page.evaluate("() => sessionStorage.length + document.cookie.length") == 0
        look.page.fill("#key", "rk_of_nobody_that_anybody_knows")
        look.press("sign-in")
        look.wait('.problem:has-text("not valid")')
        look.page.fill("#key", key)
        look.press("sign-in")
        look.wait(".composer")


def test_an_image_is_followed_while_it_is_drawn_and_can_be_stopped(
    world: World, page: Look
) -> None:
    world.host.hold(at_step=12)
    page.press("example1")
    page.press("send")
    world.host.wait_for(paused=1, timeout=60)
    page.wait(".preview")
    page.wait('.status:has-text("Drawing")')
    assert 0 < float(page.wait("progress").get_attribute("value") or 0) < 1
    page.shot("drawing")
    page.press("cancel-job")
    page.wait('.job[data-status="canceled"]')
    world.host.release()
    page.press("again")
    assert page.page.input_value("#message") == "I want to see a photo of a beach"


def test_a_conversation_is_drawn_talked_about_and_branched(world: World, page: Look) -> None:
    page.page.fill("#set-steps", "12")
    page.page.select_option("#set-size", "768x512")
    page.page.select_option("#set-lora", label="watercolor_style")
    page.say("I want to see a photo of a beach")
    first = page.wait(DONE)
    assert "watercolor_style" in first.inner_text()
    assert "written by rules" in first.inner_text()
    assert "768 × 512" in first.inner_text()
    page.press("keep-seed")
    seed = page.page.input_value("#set-seed")
    assert f"Seed {seed}" in first.inner_text()
    page.say("at sunset")
    assert "at sunset" in page.wait(DONE, 1).inner_text()
    page.wait(f"{DONE} .images img", 1)
    assert page.below(".log") < 2  # the new picture is in sight

    world.upstream.script(pieces=["A golden ", "evening."], match="Name it", stall_at=2)
    page.say("Name it", "say")
    page.wait('[aria-busy="true"]:has-text("A golden")')
    page.press("stop")
    page.wait('.entry:has-text("Stopped.")')
    world.upstream.release()
    world.upstream.script(text="An evening by the sea.", match="And now")
    page.say("And now?", "say")
    page.wait('.entry:has-text("An evening by the sea.")')

    page.press("branch", 0)
    assert "Building on turn 1" in page.wait(".chip").inner_text()
    page.press("unbranch")
    page.gone(".chip")
    page.press("branch", 0)
    page.say("at night")
    third = page.wait(DONE, 2).inner_text()
    assert "at night" in third
    assert "sunset" not in third
    page.press("reset-settings")
    assert page.page.input_value("#set-steps") == ""
    page.shot("talk")

    # It is there again for whoever comes back, and can be forgotten.
    def with_reply(route: Any) -> None:
        """The reply of a turn that drew, which its card shows already."""
        answer = route.fetch()
        items = answer.json()
        call = next(item for item in items["data"] if item["type"] == "image_generation_call")
        words = [{"type": "output_text", "text": "I left something out."}]
        said = {"type": "message", "role": "assistant", "content": words}
        items["data"].append({**said, "id": f"msg_{call['id'].removeprefix('ig_')}_reply"})
        route.fulfill(response=answer, json=items)

    page.page.route("**/items?*", with_reply)
    page.press("new")
    page.wait(".welcome")
    page.press("open-", 0)
    page.wait(DONE, 2)
    page.wait('.entry:has-text("An evening by the sea.")')
    assert page.page.locator(".entry.user").count() == 5
    assert page.page.locator(".entry.robot").count() == 5
    page.press("delete-", 0)
    page.press("no")
    page.press("delete-", 0)
    page.press("yes")
    page.wait(".welcome")


def test_an_image_is_dropped_pasted_or_chosen_and_changed(
    world: World, page: Look, tmp_path: Path
) -> None:
    drawn = world.api(
        "POST", "/sdapi/v1/txt2img", json={"prompt": "a cat", "width": 128, "height": 128}
    )
    image = tmp_path / "cat.png"
    image.write_bytes(base64.b64decode(drawn["images"][0]))
    page.page.set_input_files("#file", image)
    page.wait('.chip:has-text("cat.png")')
    page.press("unattach")
    page.gone(".chip")
    with page.page.expect_file_chooser():
        page.press("attach")
    give = """([kind, base64]) => {
        const bytes = Uint8Array.from(atob(base64), letter => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], `${kind}.png`, {type: "image/png"}));
        const Event = kind === "paste" ? ClipboardEvent : DragEvent;
        const options = {bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data};
        document.querySelector("#message").dispatchEvent(new Event(kind, options));
    }"""
    for kind in ("drop", "paste"):
        page.page.evaluate(give, [kind, drawn["images"][0]])
        page.wait(f'.chip:has-text("{kind}.png")')
    page.say("make this cat blue", "change")
    assert "blue cat" in page.wait(DONE).inner_text()
    assert page.page.locator(".entry.user img").count() == 1


def test_the_same_request_runs_in_other_languages(world: World, page: Look) -> None:
    page.page.fill("#set-steps", "3")
    page.say('a cat\'s <bowl> \\ and "cream"')
    page.wait(DONE)
    page.press("code")
    samples = {}
    for name in ("curl", "PHP", "Java", "Python", "SQS"):
        page.press(f"sample-{name}")
        samples[name] = page.page.inner_text("#sample")
        assert world.stack.api_key not in samples[name]
    assert '"kind": "chat_text2image"' in samples["SQS"]
    assert '"tenant": "dev"' in samples["SQS"]
    assert re.search(r'"job_id": "job_[0-9a-f]{32}"', samples["SQS"])
    page.accessible("request")
    page.press("copy")
    assert page.page.evaluate("() => navigator.clipboard.readText()") == samples["SQS"]
    page.press("close")
    page.gone("dialog")

    env = {"PATH": os.environ["PATH"], "API_KEY": world.stack.api_key}
    ways = {"Python": [sys.executable, "-c"], "curl": ["sh", "-c"]}
    if shutil.which("php"):
        ways["PHP"] = ["php", "-r"]
    for name, command in ways.items():
        text = samples[name].removeprefix("<?php\n")
        done = subprocess.run(
            [*command, text], env=env, capture_output=True, timeout=60, check=True
        )
        assert b'"message":"a cat\'s <bowl> \\\\ and \\"cream\\""' in done.stdout, name


def test_what_others_wrote_is_shown_as_they_wrote_it(world: World, page: Look) -> None:
    world.upstream.script(text=HOSTILE, match="markup")
    page.say(HOSTILE)
    page.wait(DONE)
    page.say("markup", "say")
    page.wait(f".entry.robot > p:has-text({HOSTILE!r})")
    page.press("tab-jobs")
    page.wait(f"td strong:has-text({HOSTILE!r})")
    page.press("details-", 0)
    page.wait("dialog")
    assert page.page.locator("[onerror]").count() == 0
    assert page.page.title() == "Jobs · robotchat"


def test_jobs_are_followed_and_handled_in_a_table(world: World, page: Look) -> None:
    world.host.set_faults({"kind": "error"})
    failed = world.api(
        "POST",
        "/v1/chat/text2image",
        json={"message": "a tower", "webhook": "https://127.0.0.1:9/nobody-listens"},
    )
    page.press("tab-jobs")
    row = f'tr[data-job="{failed["id"]}"]'
    page.wait(f"{row} .badge.failed")
    page.press("details-", within=row)
    page.wait('dialog .badge:has-text("pending")', timeout=30)
    page.accessible("job")
    page.press("redeliver-")
    page.wait('.notice:has-text("sent again")')
    page.press("close")
    page.press("retry-", within=row)
    page.wait(f"{row} .badge.succeeded")
    page.wait(f"{row} .spent")

    world.host.hold()
    drawing = world.api("POST", "/v1/chat/text2image", json={"message": "a lake"})
    page.wait(f'tr[data-job="{drawing["id"]}"] .badge.running')
    page.press("cancel-", within=f'tr[data-job="{drawing["id"]}"]')
    page.wait(f'tr[data-job="{drawing["id"]}"] .badge.canceled')
    world.host.release()
    page.press("delete-", within=f'tr[data-job="{drawing["id"]}"]')
    page.press("yes")
    page.page.select_option("#filter", "failed")
    page.wait('p:has-text("Nothing yet.")')
    page.page.select_option("#filter", "")
    page.wait(row)
    page.press("image", 0)


def test_a_job_that_failed_is_tried_again_from_its_card(world: World, page: Look) -> None:
    world.host.set_faults({"kind": "error"})
    page.say("a castle")
    page.wait('.job[data-status="failed"] .problem')
    page.press("retry-job")
    page.wait(DONE)


def test_an_operator_sees_hosts_and_queues_and_handles_keys_and_dead_letters(
    world: World, page: Look
) -> None:
    sqs = boto3.Session("test", "test", region_name=world.stack.region).client(
        "sqs", endpoint_url=world.stack.aws_endpoint_url
    )
    letter = {"kind": "chat_text2image", "tenant": "dev", "job_id": "job_deadletterofthepage000001"}
    body = json.dumps({**letter, "message": "a well"})
    sqs.send_message(QueueUrl=world.stack.dead_letter_queue_url, MessageBody=body)
    page.press("tab-operate")
    page.wait('.tile:has-text("free hosts") strong:has-text("1 / 1")')
    page.wait('td:has-text("dreamshaper_8")')
    page.wait('tr:has-text("dev") .meter')

    page.press("keys-", within='tr:has-text("dev")')
    page.page.fill("#key-tenant", "acme")
    page.page.fill("#key-name", HOSTILE)
    page.page.select_option("#key-life", label="90 days")
    page.press("create-key")
    secret = page.wait(".secret").inner_text()
    page.press("copy-secret")
    page.wait('tr:has-text("acme") .meter')
    headers = {"x-api-key": secret}
    api = f"{world.stack.api_url}/v1"
    assert httpx.get(f"{api}/usage", headers=headers).json()["tenant"] == "acme"
    assert httpx.get(f"{api}/tenants", headers=headers).status_code == 403
    page.press("rotate-")
    page.press("yes")
    page.gone(f'.secret:text-is("{secret}")')
    assert page.wait(".secret").inner_text() != secret
    page.wait('[data-action^="revoke-"]', 1)
    page.press("revoke-", 0)
    page.press("yes")
    page.wait('.badge.revoked:has-text("revoked")')

    page.press("look-dead")
    page.wait('td:has-text("job_deadletterofthepage000001")')
    page.press("redrive")
    page.press("yes")
    page.wait('.notice:has-text("1 put back, 0 refused")')
    page.shot("operate")
    page.press("tab-jobs")
    page.wait('tr[data-job="job_deadletterofthepage000001"] .badge.succeeded')

    # Who is no operator is not offered any of it.
    made = world.api("POST", "/v1/tenants/acme/keys", json={})
    with tab(world.browser, world.seen, locale="en-GB") as other:
        other.page.goto(f"{world.stack.api_url}/#key={made['secret']}")
        other.wait(".composer")
        assert other.page.locator('[data-action="tab-operate"]').count() == 0


def test_without_a_language_model_the_page_says_so(world: World, page: Look) -> None:
    def without(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "language_model": False})

    page.page.route("**/health", without)
    page.page.reload()
    page.wait('.modes :text("There is no language model")')
    assert page.page.locator('[data-action="mode-say"]').is_disabled()


def test_it_works_by_keyboard_alone(world: World, page: Look) -> None:
    page.page.reload()
    page.wait("#set-steps")
    page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")  # "Skip to the content"
    assert page.page.evaluate("() => document.activeElement.id") == "main"
    for _ in range(60):
        if page.page.evaluate("() => document.activeElement.id") == "message":
            break
        page.page.keyboard.press("Tab")
    page.page.keyboard.type("a boat")
    page.page.keyboard.press("Enter")
    page.wait(DONE)
    assert page.page.evaluate("() => document.activeElement.id") == "message"


@pytest.mark.parametrize(
    ("language", "colours", "width"), [("en-GB", "light", 390), ("zh-CN", "dark", 1280)]
)
def test_every_view_is_accessible_on_desks_and_phones(
    world: World, language: str, colours: str, width: int
) -> None:
    options: dict[str, Any] = {"locale": language, "color_scheme": colours, "width": width}
    with tab(world.browser, world.seen, **options) as look:
        look.page.goto(world.link)
        look.wait(".composer")
        name = f"{language[:2]}-{colours}-{width}"
        look.say("我想看一张海滩的照片" if language == "zh-CN" else "a beach at sunset")
        look.wait(f"{DONE} img")
        look.accessible(f"talk-{name}")
        if width < 800:
            look.press("show-conversations")
            look.accessible(f"conversations-{name}")
            look.press("close-conversations")
            look.press("settings")
            look.accessible(f"settings-{name}")
            look.press("close-settings")
        look.press("tab-jobs")
        look.wait("tbody tr")
        look.accessible(f"jobs-{name}")
        look.press("tab-operate")
        look.wait(".tile")
        look.wait(".meter")
        look.accessible(f"operate-{name}")
        look.press("tab-talk")
        look.wait(f"{DONE} img")
        was = look.page.evaluate("() => [document.documentElement.lang, document.body.innerText]")
        look.press("language")
        now = look.page.evaluate("() => [document.documentElement.lang, document.body.innerText]")
        assert {was[0], now[0]} == {"en", "zh-CN"}
        assert was[1] != now[1]
        look.press("theme")
        assert look.page.get_attribute("html", "data-theme") != colours


def test_the_reference_reads_the_document_of_the_api(world: World, page: Look) -> None:
    page.press("reference")
    page.wait(".operation")
    paths = world.api("GET", "/openapi.json")["paths"]
    count = sum(len(item) for item in paths.values())
    assert page.page.locator(".operation").count() == count
    page.page.fill("#search", "text2image")
    assert page.page.locator(".operation:visible").count() < count
    page.accessible("reference")
    page.page.goto(f"{world.stack.api_url}/docs#chat_text2image")
    page.wait('#chat_text2image :text("What the user says, in any language.")')
    page.press("language")
    page.wait('summary:has-text("详情")')
    page.press("theme")
    page.page.set_viewport_size({"width": 390, "height": 844})
    page.accessible("reference-phone")


def test_every_button_was_pressed(world: World) -> None:
    if "tab-jobs" not in world.seen.pressed:
        pytest.skip("it looks at what the tests before have done")
    unpressed = world.seen.there - world.seen.pressed
    assert unpressed - {"example2", "example3", "more"} == set()
