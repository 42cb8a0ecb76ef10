"""GET / and its files: what a browser is given, and what it is told to do with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from functions.admin.page.app import handler
from robotchat.aws import wiring
from robotchat.aws.links import origin
from robotchat.settings import Settings

EVENT = json.loads((Path(__file__).parents[2] / "events/admin/page.json").read_text("utf-8"))
PLAYGROUND = Path(str(files("robotchat").joinpath("playground")))
SCRIPTS = sorted(PLAYGROUND.glob("*.js"))


def get(
    resource: str, path: str, *, headers: Mapping[str, str] | None = None, stage: str = ""
) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of an answer. ``stage`` is in the path as its client wrote it."""
    event = json.loads(json.dumps(EVENT)) | {"resource": resource, "path": path}
    event["headers"] |= headers or {}
    event["multiValueHeaders"] |= {name: [value] for name, value in (headers or {}).items()}
    event["requestContext"] |= {"path": f"{stage}{path}" if path != "/" or not stage else stage}
    environment = Settings(bucket_name="pictures")
    with wiring.serving(wiring.Deployment(environment)):
        answer: dict[str, Any] = handler(event, None)
    found = {name.lower(): values[0] for name, values in answer["multiValueHeaders"].items()}
    return answer["statusCode"], found, answer["body"]


def file(name: str, **options: Any) -> tuple[int, dict[str, str], str]:
    return get("/playground/{file}", f"/playground/{name}", **options)


def test_the_page_is_guarded_against_what_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    status, headers, text = get("/", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'", "no text becomes markup"
    store = "https://pictures.s3.eu-central-1.amazonaws.com"
    assert policy["img-src"] == f"'self' blob: {store}"
    assert policy["connect-src"] == f"'self' {store}"
    assert headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"(?i)<script(?![^>]*src=)|\son\w+=|style=|https?://", text)


def test_a_file_is_sent_again_only_when_it_has_changed() -> None:
    status, headers, text = file("app.js")
    assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert headers["cache-control"] == "no-cache"
    assert text == (PLAYGROUND / "app.js").read_text("utf-8")
    for known in (headers["etag"], f"W/{headers['etag']}", f'"x", {headers["etag"]}', "*"):
        status, again, text = file("app.js", headers={"If-None-Match": known})
        assert (status, text, again["etag"]) == (304, "", headers["etag"])
    assert file("app.js", headers={"If-None-Match": '"x"'})[0] == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fwiring.py", "__init__.py", ""])
def test_there_is_nothing_but_the_files_of_the_page(name: str) -> None:
    status, headers, _ = file(name)
    assert (status, headers["content-type"]) == (404, "application/problem+json")


def test_where_the_stage_is_a_part_of_the_path_its_files_are_found() -> None:
    status, headers, _ = get("/", "/", stage="/live")
    assert (status, headers["location"]) == (302, "/live/")
    status, headers, _ = get("/docs", "/docs", stage="/live")
    assert (status, headers["location"]) == (302, "/live/playground/reference.html")
    assert get("/docs", "/docs")[1]["location"] == "/playground/reference.html"


def test_links_to_images_are_of_the_origin_that_the_page_allows() -> None:
    assert origin("b", "cn-north-1", None) == "https://b.s3.cn-north-1.amazonaws.com.cn"
    assert origin("b", "us-east-1", "http://127.0.0.1:4566/x") == "http://127.0.0.1:4566"


def test_all_that_the_page_refers_to_is_there() -> None:
    names = {path.name for path in PLAYGROUND.iterdir()}
    for path in PLAYGROUND.iterdir():
        text = path.read_text("utf-8")
        named = re.findall(r'(?:from|import) "\./([^"]+)"', text)
        named += re.findall(r'(?:src|href)="(?:playground/|\./)?([\w.]+)"', text)
        assert set(named) <= names, path.name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_makes_markup_of_text_or_asks_others(path: Path) -> None:
    text = path.read_text("utf-8")
    makes = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
    assert not re.search(makes, text)
    assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, "SVG's own name"


def test_everything_is_said_in_both_languages_and_nothing_else() -> None:
    text = (PLAYGROUND / "i18n.js").read_text("utf-8")
    english, chinese = re.findall(r"(?s)const (?:ENGLISH|CHINESE) = \{(.*?)\n\};", text)
    words = re.compile(r'(\w+): "((?:[^"\\]|\\.)*)"')
    said, translated = dict(words.findall(english)), dict(words.findall(chinese))
    assert said.keys() == translated.keys()
    for name, sentence in said.items():
        places = re.findall(r"\{\w+\}", sentence)
        assert sorted(places) == sorted(re.findall(r"\{\w+\}", translated[name])), name
    used = {
        name for path in SCRIPTS for name in re.findall(r'\bt\("(\w+)"', path.read_text("utf-8"))
    }
    assert used <= said.keys()
