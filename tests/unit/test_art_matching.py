"""What callers mean by the names of checkpoints and samplers."""

from __future__ import annotations

import pytest

from robotchat.art.answers import Model, Sampler, Scheduler
from robotchat.art.matching import (
    find_checkpoint,
    find_sampler,
    find_scheduler,
    same_checkpoint,
    split_sampler,
)
from robotchat.errors import UnknownCheckpoint, UnknownSampler

SHA = "6ce0161689" + "ab" * 27
MODELS = [
    Model(
        title="v1-5-pruned.safetensors [6ce0161689]",
        model_name="v1-5-pruned",
        hash="6ce0161689",
        sha256=SHA,
        filename="/srv/sd/models/Stable-diffusion/v1-5-pruned.safetensors",
    ),
    Model(
        title="anime/Counterfeit.safetensors",
        model_name="anime_Counterfeit",
        filename="/srv/sd/models/Stable-diffusion/anime/Counterfeit.safetensors",
    ),
    Model(
        title="photo\\dream.ckpt [aaaaaaaaaa]",
        model_name="photo_dream",
        hash="aaaaaaaaaa",
        filename="D:\\sd\\models\\photo\\dream.ckpt",
    ),
    Model(title="old/dream.ckpt", model_name="old_dream", filename="/m/old/dream.ckpt"),
]


@pytest.mark.parametrize(
    "wanted",
    [
        "v1-5-pruned.safetensors [6ce0161689]",
        "v1-5-pruned.safetensors",
        "v1-5-pruned",
        "V1-5-PRUNED",
        " v1-5-pruned ",
        "v1-5-pruned [6ce0161689]",
        "6ce0161689",
        "6CE0161689",
        SHA,
        "/srv/sd/models/Stable-diffusion/v1-5-pruned.safetensors",
        "models/Stable-diffusion/v1-5-pruned.safetensors",
        "models\\Stable-diffusion\\v1-5-pruned.safetensors",
    ],
)
def test_a_checkpoint_is_found_by_every_name_it_has(wanted: str) -> None:
    assert find_checkpoint(MODELS, wanted) is MODELS[0]


@pytest.mark.parametrize(
    "wanted",
    [
        "anime/Counterfeit.safetensors",
        "anime/Counterfeit",
        "anime_Counterfeit",
        "Counterfeit.safetensors",
        "counterfeit",
        "Counterfeit [1234567890]",
    ],
)
def test_folders_and_extensions_may_be_left_out(wanted: str) -> None:
    assert find_checkpoint(MODELS, wanted) is MODELS[1]


def test_a_hash_that_belongs_to_another_file_is_not_overlooked() -> None:
    with pytest.raises(UnknownCheckpoint) as caught:
        find_checkpoint(MODELS, "v1-5-pruned.safetensors [ffffffffff]")
    assert caught.value.details["near_matches"] == ["v1-5-pruned.safetensors [6ce0161689]"]


def test_a_name_that_fits_several_files_is_refused_with_all_of_them() -> None:
    with pytest.raises(UnknownCheckpoint) as caught:
        find_checkpoint(MODELS, "dream.ckpt")
    assert caught.value.details["near_matches"] == [
        "old/dream.ckpt",
        "photo\\dream.ckpt [aaaaaaaaaa]",
    ]
    assert find_checkpoint(MODELS, "photo/dream") is MODELS[2]
    assert find_checkpoint(MODELS, "old_dream") is MODELS[3]


def test_the_same_file_on_several_hosts_is_one_checkpoint() -> None:
    unhashed = Model(title="v1-5-pruned.safetensors", model_name="v1-5-pruned")
    assert find_checkpoint([unhashed, *MODELS], "v1-5-pruned").alias == "v1-5-pruned.safetensors"


def test_an_unknown_checkpoint_comes_with_near_matches() -> None:
    with pytest.raises(UnknownCheckpoint, match="Perhaps: anime/Counterfeit") as caught:
        find_checkpoint(MODELS, "Counterfiet", param="settings.checkpoint")
    assert caught.value.details["near_matches"] == ["anime/Counterfeit.safetensors"]
    assert caught.value.param == "settings.checkpoint"
    with pytest.raises(UnknownCheckpoint) as caught:
        find_checkpoint([], "anything")
    assert caught.value.details["near_matches"] == []


def test_the_name_for_hosts_does_not_change_when_a_hash_is_computed() -> None:
    assert [model.alias for model in MODELS[:2]] == [
        "v1-5-pruned.safetensors",
        "anime/Counterfeit.safetensors",
    ]


@pytest.mark.parametrize(
    ("name", "hash_", "same"),
    [
        ("v1-5-pruned", "6ce0161689", True),
        ("v1-5-pruned", None, True),
        ("renamed", "6ce0161689", True),
        ("v1-5-pruned", "ffffffffff", False),
        ("other", None, False),
        (None, None, None),
        (None, "6ce0161689", True),
        ("v1-5-pruned.safetensors [6ce0161689]", None, True),
    ],
)
def test_an_image_tells_which_checkpoint_drew_it(
    name: str | None, hash_: str | None, same: bool | None
) -> None:
    assert same_checkpoint(MODELS[0], name, hash_) is same


def test_names_of_checkpoints_in_folders_are_recognised() -> None:
    for name in ("Counterfeit", "anime_Counterfeit", "anime/Counterfeit.safetensors"):
        assert same_checkpoint(MODELS[1], name, "0123456789") is True
    assert same_checkpoint("anime/Counterfeit.safetensors", "Counterfeit", None) is True
    assert same_checkpoint("dream", "Counterfeit", None) is False


# --- samplers -------------------------------------------------------------------------------------

SAMPLERS = [
    Sampler(name="DPM++ 2M", aliases=["k_dpmpp_2m"], options={"scheduler": "karras"}),
    Sampler(name="DPM++ 2M SDE", aliases=["k_dpmpp_2m_sde"]),
    Sampler(name="Euler a", aliases=["k_euler_a", "k_euler_ancestral"]),
    Sampler(name="DDIM"),
]
SCHEDULERS = [
    Scheduler(name="automatic", label="Automatic"),
    Scheduler(name="karras", label="Karras"),
    Scheduler(name="exponential", label="Exponential"),
    Scheduler(name="polyexponential", label="Polyexponential"),
    Scheduler(name="sgm_uniform", label="SGM Uniform", aliases=["SGMUniform"]),
    Scheduler(name="uniform", label="Uniform"),
]


@pytest.mark.parametrize("schedulers", [SCHEDULERS, None], ids=["listed", "not listed"])
@pytest.mark.parametrize(
    ("wanted", "name", "schedule"),
    [
        ("Euler a", "Euler a", None),
        ("euler A", "Euler a", None),
        ("euler_a", "Euler a", None),
        ("k_euler_ancestral", "Euler a", None),
        ("DPM++ 2M Karras", "DPM++ 2M", "Karras"),
        ("dpm++ 2m karras", "DPM++ 2M", "Karras"),
        ("DPM++ 2M SDE SGM Uniform", "DPM++ 2M SDE", "SGM Uniform"),
        ("DPM++ 2M SDE sgm_uniform", "DPM++ 2M SDE", "SGM Uniform"),
        ("DPM++ 2M SDE Polyexponential", "DPM++ 2M SDE", "Polyexponential"),
        ("DPM++ 2M SDE Exponential", "DPM++ 2M SDE", "Exponential"),
        ("DDIM", "DDIM", None),
    ],
)
def test_a_sampler_is_found_as_users_write_it(
    wanted: str, name: str, schedule: str | None, schedulers: list[Scheduler] | None
) -> None:
    assert find_sampler(SAMPLERS, wanted, schedulers=schedulers) == (name, schedule)


def test_older_hosts_have_the_schedule_in_the_name() -> None:
    older = [Sampler(name="DPM++ 2M Karras"), Sampler(name="DPM++ 2M")]
    assert find_sampler(older, "DPM++ 2M Karras") == ("DPM++ 2M Karras", None)


def test_bare_engines_write_samplers_in_their_own_way() -> None:
    theirs = [Sampler(name="euler_a"), Sampler(name="dpm++2m")]
    assert find_sampler(theirs, "Euler a") == ("euler_a", None)
    assert find_sampler(theirs, "DPM++ 2M Karras") == ("dpm++2m", "Karras")


@pytest.mark.parametrize("wanted", ["Euler b", "Karras", "DPM++ 2M Karas", "Foo Karras"])
def test_an_unknown_sampler_comes_with_near_matches(wanted: str) -> None:
    with pytest.raises(UnknownSampler) as caught:
        find_sampler(SAMPLERS, wanted, schedulers=SCHEDULERS)
    assert caught.value.param == "sampler_name"
    if wanted == "Euler b":
        assert caught.value.details["near_matches"][0] == "Euler a"


def test_a_schedule_is_found_by_name_label_and_alias() -> None:
    for wanted in ("sgm_uniform", "SGM Uniform", "SGMUniform", "sgm uniform"):
        assert find_scheduler(SCHEDULERS, wanted) == "SGM Uniform"
    with pytest.raises(UnknownSampler) as caught:
        find_scheduler(SCHEDULERS, "karas")
    assert caught.value.details["near_matches"] == ["Karras"]


def test_a_plain_name_is_not_split() -> None:
    assert split_sampler("DDIM") == ("DDIM", None)
    assert split_sampler("Euler a") == ("Euler a", None)
    assert split_sampler("DPM++ 2M Karras") == ("DPM++ 2M", "Karras")
