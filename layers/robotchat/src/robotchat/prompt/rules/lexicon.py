"""The words that the rules know: Chinese words with their English, by category.

They are in the files of `words/`, a category each, one entry a line: `小猫 幼猫 = a kitten`. A noun
that is counted carries its article ("a cat"), one that is not goes without ("grass"). The English
side doubles as the English vocabulary: `category("foxes")` is "animal". A line without Chinese
words (`= puppy`) is for that alone. Files are read when they are first needed.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

CATEGORIES = (
    *("colour", "adjective", "person", "animal", "plant", "food", "clothing", "body", "object"),
    *("vehicle", "building", "place", "sky", "time", "season", "weather", "medium", "style"),
    *("painting", "quality", "material", "verb"),
)
"""The files of words; of a word in two of them the first counts."""

_FOLDER = Path(__file__).with_name("words")


@cache
def chinese() -> dict[str, tuple[str, str]]:
    """Chinese word to its English and its category."""
    words: dict[str, tuple[str, str]] = {}
    for kind in CATEGORIES:
        for chinese_words, phrase in _lines(kind):
            for word in chinese_words:
                words.setdefault(word, (phrase, kind))
    return words


@cache
def longest() -> int:
    """How many characters the longest Chinese word has."""
    return max(map(len, chinese()))


@cache
def english() -> dict[str, str]:
    """English word (singular, lower case) to its category; a phrase counts by its last word."""
    words: dict[str, str] = {}
    for kind in CATEGORIES:
        for chinese_words, phrase in _lines(kind):
            if not chinese_words:
                words.setdefault(phrase, kind)
    for phrase, kind in chinese().values():
        if kind in ("medium", "style", "painting", "quality", "verb"):
            continue
        if " " not in bare(phrase) or kind not in (
            "colour",
            "adjective",
            "material",
            "time",
            "weather",
        ):
            words.setdefault(singular(bare(phrase).split()[-1].lower()), kind)
    words.pop("space", None)
    return words


@cache
def simplified() -> dict[int, str]:
    """A table for `str.translate` from traditional to mainland characters."""
    return {ord(old): new for [old], new in _lines("traditional")}


@cache
def opposites() -> dict[str, str]:
    """What less of something is more of: "bright" for "dark"."""
    return {" ".join(words): opposite for words, opposite in _lines("opposites")}


@cache
def _lines(name: str) -> list[tuple[list[str], str]]:
    """The entries of a file of words, one a line: the words before the equals sign, and what is
    behind it."""
    text = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    entries = (line.partition("=") for line in text.splitlines() if line.strip())
    return [(left.split(), right.strip()) for left, _, right in entries]


def bare(phrase: str) -> str:
    """The phrase without its article."""
    first, _, rest = phrase.partition(" ")
    return rest if rest and first.lower() in ("a", "an", "the", "some") else phrase


IRREGULAR = {
    "people": "person",
    "persons": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "wolves": "wolf",
    "mice": "mouse",
    "leaves": "leaf",
    "feet": "foot",
    "geese": "goose",
    "teeth": "tooth",
    "scarves": "scarf",
    "knives": "knife",
    "shelves": "shelf",
    "glasses": "glasses",
    "sunglasses": "sunglasses",
    "clothes": "clothes",
}


def singular(word: str) -> str:
    """The singular of an English noun, by rule; a singular stays what it is."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def plural(word: str) -> str:
    """The plural of an English noun, by rule; a plural stays what it is."""
    if word != singular(word) or word in IRREGULAR.values():
        return {value: key for key, value in IRREGULAR.items() if key != "persons"}.get(word, word)
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith(("ch", "sh", "x", "s", "z")):
        return word + "es"
    return word + "s"


def category(phrase: str) -> str | None:
    """What kind of thing an English noun phrase names: the category of its last known word."""
    words = english()
    for word in reversed(phrase.lower().replace(",", " ").split()):
        found = words.get(word) or words.get(singular(word))
        if found and found not in ("adjective", "material"):
            return found
    return None


@cache
def _counted() -> dict[str, str]:
    return {
        bare(phrase): phrase for phrase, _ in chinese().values() if phrase.startswith(("a ", "an "))
    }


def articled(noun: str) -> str:
    """The noun with its article, if it is known to be counted: "a lion", but "snow"."""
    return _counted().get(noun, noun)
