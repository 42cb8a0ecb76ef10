"""One list over several hosts: united, in order, and whole as long as one host answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robotchat.art.bot import ArtBot
from robotchat.drivers.fake import FakeArt
from robotchat.errors import Misconfigured, NotFound, UpstreamUnavailable
from robotchat.hosts.catalog import Catalog
from robotchat.hosts.lease import Host
from robotchat.hosts.pool import HostPool
from robotchat.records import MemoryRecords
from tests.cases.clock import FakeClock

AWAY = UpstreamUnavailable("away")


def catalog(*hosts: FakeArt, **settings: Any) -> Catalog:
    """A catalog of these hosts."""
    named = [Host(f"sd-{number}", ArtBot(host)) for number, host in enumerate(hosts)]
    return Catalog(HostPool(named, MemoryRecords(), FakeClock()), **settings)


def host(**answers: Any) -> FakeArt:
    """A host with these answers; ``_`` stands for ``-``, ``cn_`` for ControlNet's paths."""
    made = FakeArt()
    for name, answer in answers.items():
        path = (
            f"controlnet/{name.removeprefix('cn_')}"
            if name.startswith("cn_")
            else f"sdapi/v1/{name.replace('_', '-')}"
        )
        made.answers[path] = answer
    return made


def model(title: str, hash_: str | None = None) -> dict[str, Any]:
    name = title.partition(" [")[0]
    return {"title": title, "model_name": name.rpartition(".")[0], "hash": hash_}


def test_what_several_hosts_have_is_listed_once_in_the_hosts_order() -> None:
    one = host(loras=[{"name": "b"}, {"name": "a"}])
    two = host(loras=[{"name": "c"}, {"name": "a"}])
    assert [lora.name for lora in catalog(one, two).get_loras()] == ["b", "a", "c"]


def test_metadata_of_loras_is_left_out_where_it_is_large() -> None:
    large = {"ss_tag_frequency": {"tag": "x" * 20_000}}
    small = {"ss_sd_model_name": "x" * 1000}
    few = host(loras=[{"name": "a", "metadata": large}, {"name": "b", "metadata": small}])
    assert [lora.metadata for lora in catalog(few).get_loras()] == [{}, small]
    many = host(loras=[{"name": f"{n}", "metadata": small} for n in range(2000)])
    assert [lora.metadata for lora in catalog(many).get_loras()] == [{}] * 2000


@pytest.mark.parametrize("long", ["n", "é"])
def test_a_list_of_hosts_has_room_in_an_answer(long: str) -> None:
    names = [f"{number}{long * 1000}" for number in range(10_000)]
    full = host(
        loras=[{"name": name} for name in names],
        sd_vae=[{"model_name": name, "filename": name} for name in names],
        samplers=[{"name": name, "aliases": [], "options": {}} for name in names],
        embeddings={"loaded": {name: {"vectors": 1} for name in names}, "skipped": {}},
        cn_model_list={"model_list": names},
    )
    lists = catalog(full)
    for found in (
        [lora.name for lora in lists.get_loras()],
        [vae.model_name for vae in lists.get_vaes()],
        [sampler.name for sampler in lists.get_samplers()],
        list(lists.get_embeddings().loaded),
        lists.get_controlnet_models(),
    ):
        assert 0 < len(found) < len(names)
        assert found == names[: len(found)]
        assert sum(len(name.encode()) for name in found) <= 2 * 1024 * 1024


def test_the_same_checkpoint_is_listed_once_even_if_one_host_has_not_hashed_it() -> None:
    one = host(sd_models=[model("x.safetensors"), model("y.safetensors [aaaaaaaaaa]", "a" * 10)])
    two = host(
        sd_models=[
            model("x.safetensors [cccccccccc]", "c" * 10),
            model("y.safetensors [bbbbbbbbbb]", "b" * 10),
        ]
    )
    assert [m.title for m in catalog(one, two).get_models()] == [
        "x.safetensors [cccccccccc]",
        "y.safetensors [aaaaaaaaaa]",
        "y.safetensors [bbbbbbbbbb]",
    ]


def test_a_host_that_is_away_is_no_error_while_another_answers() -> None:
    found = catalog(host(samplers=AWAY), host(samplers=[{"name": "Euler"}])).get_samplers()
    assert [sampler.name for sampler in found] == ["Euler"]
    with pytest.raises(UpstreamUnavailable):
        catalog(host(loras=AWAY), host(loras=AWAY)).get_loras()


def test_a_list_that_no_host_has_is_empty_and_any_other_function_not_found() -> None:
    assert catalog(FakeArt(), FakeArt()).get_vaes() == []
    with pytest.raises(NotFound):
        catalog(FakeArt(), FakeArt()).refresh_vaes()
    with pytest.raises(UpstreamUnavailable):
        catalog(FakeArt(), host(sd_vae=AWAY)).get_vaes()
    with pytest.raises(Misconfigured):
        catalog().get_vaes()


def test_lists_that_hardly_change_are_not_asked_for_again() -> None:
    fake = host(upscalers=[{"name": "Lanczos"}])
    lists = catalog(fake)
    assert lists.get_upscalers() == lists.get_upscalers()
    assert fake.calls == ["sdapi/v1/upscalers"]
    lists.get_loras()
    lists.get_loras()
    assert fake.calls.count("sdapi/v1/loras") == 2


@pytest.mark.parametrize(
    ("path", "refresh"),
    [("refresh-loras", Catalog.refresh_loras), ("refresh-checkpoints", Catalog.refresh_models)],
)
def test_every_host_is_refreshed(path: str, refresh: Callable[[Catalog], None]) -> None:
    path = f"sdapi/v1/{path}"
    fakes = [FakeArt(), FakeArt(), FakeArt()]
    for fake in fakes:
        fake.answers[path] = None
    fakes[1].answers[path] = AWAY
    refresh(catalog(*fakes))
    assert [fake.calls for fake in fakes] == [[path]] * 3
    for fake in fakes:
        fake.answers[path] = AWAY
    with pytest.raises(UpstreamUnavailable):
        refresh(catalog(*fakes))


def test_scripts_that_requests_may_not_name_are_not_listed() -> None:
    names = {"txt2img": ["adetailer", "controlnet", "x/y/z plot"], "img2img": ["controlnet m2m"]}
    info = [
        {"name": name, "is_img2img": kind == "img2img", "is_alwayson": False, "args": []}
        for kind, listed in names.items()
        for name in listed
    ]
    lists = catalog(host(scripts=names, script_info=info), scripts=["X/Y/Z plot"])
    scripts = lists.get_scripts()
    assert scripts.txt2img == ["controlnet", "x/y/z plot"]
    assert scripts.img2img == ["controlnet m2m"]
    assert [s.name for s in lists.get_script_info()] == [
        "controlnet",
        "x/y/z plot",
        "controlnet m2m",
    ]


def test_flags_that_hold_secrets_or_paths_are_not_shown() -> None:
    flags = {"api": True, "api_auth": "me:secret", "ckpt_dir": "/srv", "xformers": True}
    assert catalog(host(cmd_flags=flags)).get_cmd_flags() == {"api": True, "xformers": True}


def test_memory_is_added_up() -> None:
    one = {"ram": {"free": 1, "total": 4}, "cuda": {"system": {"free": 1, "total": 8}}}
    two = {"ram": {"free": 2, "total": 4}, "cuda": {"system": {"free": 3, "total": 8}}}
    assert catalog(host(memory=one), host(memory=two)).get_memory() == {
        "ram": {"free": 3, "total": 8},
        "cuda": {"system": {"free": 4, "total": 16}},
    }


def test_an_embedding_that_is_loaded_anywhere_is_not_skipped() -> None:
    one = host(embeddings={"loaded": {}, "skipped": {"a": {"step": 1}, "b": {}}})
    two = host(embeddings={"loaded": {"a": {"step": 1}}, "skipped": {}})
    found = catalog(one, two).get_embeddings()
    assert (list(found.loaded), list(found.skipped)) == (["a"], ["b"])


def test_controlnet_is_united_over_the_hosts_that_have_it() -> None:
    kinds = {
        "control_types": {
            "All": {"module_list": ["none"], "model_list": ["None"], "default_model": "None"}
        }
    }
    more = {
        "control_types": {
            "All": {"module_list": ["canny"], "model_list": ["canny"], "default_model": "canny"},
            "Canny": {"module_list": ["canny"], "model_list": ["canny"]},
        }
    }
    one = host(
        cn_control_types=kinds,
        cn_module_list={"module_list": ["none"], "module_detail": {"none": {}}},
        cn_settings={"control_net_unit_count": 3},
    )
    two = host(
        cn_control_types=more,
        cn_model_list={"model_list": ["depth"]},
        cn_module_list={"module_list": ["none", "canny"], "module_detail": {"canny": {}}},
        cn_version={"version": 2},
        cn_settings={"control_net_max_models_num": 1},
    )
    bare = FakeArt()
    for path in [path for path in bare.answers if path.startswith("controlnet/")]:
        del bare.answers[path]
    lists = catalog(bare, one, two)
    assert lists.get_controlnet_models() == ["canny [d14c016b]", "depth"]
    modules = lists.get_controlnet_modules()
    assert (modules.module_list, list(modules.module_detail)) == (["none", "canny"],) * 2
    types = lists.get_controlnet_control_types()
    assert types["All"].module_list == ["none", "canny"]
    assert types["All"].default_model == "canny"
    assert "Canny" in types
    assert lists.get_controlnet_version() == 2
    assert lists.get_controlnet_settings().control_net_unit_count == 1
    with pytest.raises(NotFound):
        catalog(bare).get_controlnet_version()
