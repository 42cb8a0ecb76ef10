"""Finding what a caller means by a checkpoint's or sampler's name, before anything is drawn.

SD hosts replace an unknown checkpoint or sampler by another one and say nothing, so every name is
resolved against the hosts' own lists first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from robotchat.art.answers import Model, Sampler, Scheduler
from robotchat.art.requests import CHECKPOINT
from robotchat.errors import InvalidRequest, UnknownCheckpoint, UnknownSampler

_SCHEDULERS = (
    *("Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform"),
    *("KL Optimal", "Align Your Steps", "Simple", "Normal", "DDIM", "Beta"),
)
"""Schedules by label, for hosts that do not list theirs."""


def near(wanted: str, names: Iterable[str], *, limit: int = 5) -> list[str]:
    """The names that were perhaps meant, best first."""
    by_lower = {name.lower(): name for name in names}
    found = get_close_matches(wanted.lower(), by_lower, n=limit, cutoff=0.5)
    found += [name for name in by_lower if wanted.lower() in name and name not in found]
    return [by_lower[name] for name in found[:limit]]


def squash(name: str) -> str:
    """A name without what people and hosts write differently: case, blanks, underscores."""
    return re.sub(r"[\s_]+", "", name).lower()


def find_listed(wanted: str, names: Sequence[str], param: str, what: str) -> str:
    """The listed name that is meant: with or without its ``[hash]`` and extension, in any case.

    Raises InvalidRequest, with near matches in ``details``; ``what`` says what kind of name it is.
    """
    by_plain = {squash(_stem(name.partition(" [")[0])): name for name in reversed(names)}
    by_plain |= {squash(name.partition(" [")[0]): name for name in reversed(names)}
    by_whole = {squash(name): name for name in reversed(names)}
    plain = squash(wanted)
    found = by_whole.get(plain) or by_plain.get(plain)
    if found is None:
        raise InvalidRequest(
            f"No SD host has the {what} {wanted!r}.",
            param=param,
            details={"near_matches": near(wanted, names)},
        )
    return found


# --- checkpoints ----------------------------------------------------------------------------------


def find_checkpoint(
    models: Sequence[Model], wanted: str, *, param: str = f"override_settings.{CHECKPOINT}"
) -> Model:
    """The checkpoint that is meant by a title, model name, file name or hash.

    A file name may come with or without folders and extension, a name with a ``[hash]`` behind
    it, and case matters only where it must. Raises UnknownCheckpoint when no model is meant, or
    more than one; ``details["near_matches"]`` then lists titles.
    """
    plain = wanted.strip()
    found = _matches(models, plain)
    bracketed = re.fullmatch(r"(.+) \[[0-9a-fA-F]+\]", plain)
    if not found and bracketed:
        # The hash is the caller's claim; only a host that has not hashed the file may be believed.
        found = _matches([model for model in models if not model.short_hash], bracketed[1])
    if len(found) == 1:
        return found[0]
    if found:
        titles = sorted(model.title for model in found)
        problem = f"{wanted!r} could be any of several checkpoints: {', '.join(titles)}."
    else:
        # The hash in a title would make every short name unlike it.
        titles_of = {_stem(model.alias): model.title for model in reversed(models)}
        titles_of |= {model.title: model.title for model in models}
        titles = list(dict.fromkeys(titles_of[name] for name in near(plain, titles_of)))
        problem = f"No SD host has the checkpoint {wanted!r}." + _perhaps(titles)
    raise UnknownCheckpoint(problem, param=param, details={"near_matches": titles})


def _matches(models: Sequence[Model], plain: str) -> list[Model]:
    for fold in (_slashed, lambda name: _slashed(name).lower()):
        for kind in range(_KINDS_OF_NAMES):
            # The same file on several hosts is one checkpoint.
            found = {
                _slashed(model.alias): model
                for model in reversed(models)
                if fold(plain) in {fold(name) for name in _names(model)[kind] if name}
            }
            if found:
                return list(found.values())
    return []


def _perhaps(names: Sequence[str]) -> str:
    return f" Perhaps: {', '.join(names)}." if names else ""


def _as_it_is(name: str) -> str:
    return name


def _slashed(path: str) -> str:
    """A path as written on every system but one."""
    return path.replace("\\", "/")


_KINDS_OF_NAMES = 4


def _names(model: Model) -> tuple[list[str], ...]:
    """What a model goes by, the most telling first; a later kind counts if no earlier one does."""
    path = _slashed(model.filename)
    base = (path or _slashed(model.alias)).rpartition("/")[2]
    hashes = [text for text in (model.hash, model.sha256, model.short_hash) if text]
    names = [model.model_name, _stem(model.alias), base, _stem(base)]
    bracketed = [f"{name} [{text}]" for name in (*names, model.alias) if name for text in hashes]
    # "models/Stable-diffusion/a.safetensors" for "/srv/sd/models/Stable-diffusion/a.safetensors".
    parts = path.split("/")
    tails = ["/".join(parts[index:]) for index in range(len(parts) - 1)]
    return (
        [model.title, model.alias, path, *bracketed],
        hashes,
        [model.model_name, _stem(model.alias)],
        [base, _stem(base), *tails],
    )


def _stem(name: str) -> str:
    return re.sub(r"\.(safetensors|ckpt|gguf|pt|pth|bin|sft)$", "", name, flags=re.IGNORECASE)


def same_checkpoint(model: Model | str, name: str | None, hash_: str | None) -> bool | None:
    """Whether a picture's info names this checkpoint; None when it does not tell."""
    if isinstance(model, str):
        model = Model(title=model)
    if model.short_hash and hash_:
        length = min(len(model.short_hash), len(hash_))
        return model.short_hash[:length].lower() == hash_[:length].lower()
    if not name:
        return None
    candidates = {squash(text) for kind in _names(model) for text in kind if text}
    plain = re.sub(r" \[[0-9a-fA-F]+\]$", "", name)
    return bool({squash(name), squash(plain), squash(_stem(plain))} & candidates)


def checkpoint_key(name: str) -> str:
    """What the names of one checkpoint have in common, in a host's list and in a picture's info.

    Two files of the same name in different folders have the same key.
    """
    plain = re.sub(r" \[[0-9a-fA-F]+\]$", "", name).replace("\\", "/")
    return squash(_stem(plain.rpartition("/")[2]))


# --- samplers -------------------------------------------------------------------------------------


def find_sampler(
    samplers: Sequence[Sampler],
    name: str,
    *,
    schedulers: Sequence[Scheduler] | None = None,
    param: str = "sampler_name",
) -> tuple[str, str | None]:
    """The host's name of a sampler, and the schedule if the name carries one.

    ``DPM++ 2M Karras`` is a sampler of its own on older hosts, and ``DPM++ 2M`` with the schedule
    ``Karras`` on newer ones. Raises UnknownSampler, with near matches in ``details``.
    """
    found = _sampler(samplers, name)
    if found:
        return found, None
    split = split_sampler(name, schedulers)
    if split[1]:
        found = _sampler(samplers, split[0])
        if found:
            return found, split[1]
    names = near(name, [sampler.name for sampler in samplers])
    raise UnknownSampler(
        f"No SD host has the sampler {name!r}.{_perhaps(names)}",
        param=param,
        details={"near_matches": names},
    )


def _sampler(samplers: Sequence[Sampler], name: str) -> str | None:
    for same in (_as_it_is, str.lower, squash):
        for sampler in samplers:
            if same(name) in {same(alias) for alias in (sampler.name, *sampler.aliases)}:
                return sampler.name
    return None


def split_sampler(
    name: str, schedulers: Sequence[Scheduler] | None = None
) -> tuple[str, str | None]:
    """``DPM++ 2M Karras`` as ``DPM++ 2M`` and ``Karras``; a plain name as itself and None."""
    words = squash(name)
    for label, names in _schedules(schedulers):
        for known in sorted(names, key=len, reverse=True):
            if words.endswith(known) and len(words) > len(known):
                rest = re.sub(rf"[\s_]+{_spaced(known)}$", "", name, flags=re.IGNORECASE)
                if rest != name:
                    return rest, label
    return name, None


def _spaced(squashed: str) -> str:
    return r"[\s_]*".join(re.escape(letter) for letter in squashed)


def _schedules(schedulers: Sequence[Scheduler] | None) -> Iterator[tuple[str, set[str]]]:
    if not schedulers:
        yield from ((label, {squash(label)}) for label in sorted(_SCHEDULERS, key=len)[::-1])
        return
    longest_first = sorted(schedulers, key=lambda one: len(one.label or one.name), reverse=True)
    for one in longest_first:
        names = {squash(text) for text in (one.name, one.label, *(one.aliases or ())) if text}
        yield one.label or one.name, names


def find_scheduler(schedulers: Sequence[Scheduler], name: str, *, param: str = "scheduler") -> str:
    """The host's label of a schedule. Raises UnknownSampler, with near matches in ``details``."""
    for label, names in _schedules(schedulers):
        if squash(name) in names:
            return label
    names_near = near(name, [one.label or one.name for one in schedulers])
    raise UnknownSampler(
        f"No SD host has the schedule {name!r}.{_perhaps(names_near)}",
        param=param,
        details={"near_matches": names_near},
    )
