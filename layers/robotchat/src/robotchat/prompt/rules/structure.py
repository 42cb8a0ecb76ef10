"""A picture prompt taken apart, so that parts of it can be added, replaced and removed.

"a photo of a beach at sunset, a dog, oil on canvas" is a medium ("a photo"), then pieces: a noun
phrase or a phrase with the preposition or participle that links it. Nothing is lost in between:
rendering what was parsed gives the prompt again.
"""

# ruff: noqa: E501, SIM905 (word lists and patterns read best in wide lines)

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from robotchat.prompt.rules.lexicon import category, chinese, english, plural, singular
from robotchat.prompt.rules.patterns import Pattern

PREPOSITIONS = frozenset(
    "at in on with under over above below beneath near by beside behind between among amid amidst "
    "during against around along across through inside outside into onto from toward towards beyond "
    "atop underneath without like while that which who down up past".split()
)
PARTICIPLES = frozenset(
    "dressed covered surrounded filled made parked lit painted seen reflected decorated carved "
    "topped wrapped full".split()
)
NOT_PARTICIPLES = frozenset(
    "building evening morning spring king ring wing string painting drawing ceiling clothing lightning "
    "wedding lighting thing something nothing anything everything viking duckling pudding awning "
    "sling railing meaning feeling swing living dining sibling darling earring opening sing bring "
    "swimming fishing sailing racing shopping hiking".split()
)
DETERMINERS = frozenset(
    "a an the some any this that these those my his her its their our your one two three four five six "
    "seven eight nine ten several many few another more every each all both no".split()
)
PLURAL_DETERMINERS = frozenset(
    "two three four five six seven eight nine ten several many few these those".split()
)
NUMBERS = frozenset(
    "two three four five six seven eight nine ten eleven twelve several many".split()
)
SHADES = frozenset(
    "light dark bright pale deep sky mint royal neon pastel soft vivid navy olive forest baby hot "
    "electric lime rose blood jet snow emerald ruby".split()
)
COMPOUNDS = frozenset(
    {"golden retriever", "red panda", "golden gate", "golden hour", "blue hour", "black hole",
     "blue whale", "orange juice", "orange tree", "red wine", "white wine", "green tea", "ice cream"}
)  # fmt: skip
ADJECTIVE_GROUPS = tuple(
    frozenset(group.split())
    for group in (
        "big large huge giant enormous gigantic tiny small little mini massive",
        "old young elderly aged",
        "new shabby ancient modern futuristic vintage",
        "bright dark dim gloomy",
        "warm cold cool",
        "long short",
        "tall low",
        "fat chubby thin skinny slim muscular",
        "happy sad angry scared surprised smiling crying",
        "realistic photorealistic abstract cartoonish stylized stylised",
        "empty crowded busy quiet",
        "clean dirty messy tidy",
        "simple minimalist detailed ornate",
        "cute scary fierce",
        "blurry sharp",
    )
)

_TIMES = (
    r"sun ?set|sundown|dusk|twilight|evening|sunrise|dawn|daybreak|morning|noon|midday|afternoon|"
    r"night(?:time|fall)?|midnight|daytime|daylight|day|golden hour|blue hour"
)
_TIME = Pattern(
    r"(?:(?:at|in|during|around|by|under|on)\s+)?"
    r"(?:(?:the|a|an|early|late|deep|warm|soft|beautiful|dark|starry|moonlit|broad|quiet|summer|winter|"
    r"spring|autumn|golden|red|orange|glowing|dead of)\s+)*"
    rf"(?P<word>{_TIMES})(?:[\s-]?(?:time|light|sky|lighting|glow|scene|hours?))?",
    re.IGNORECASE,
)
_SEASON = Pattern(
    r"(?:(?:in|during|at)\s+)?(?:(?:the|a|an|early|late|mid|deep|cold|hot|warm|snowy)[\s-]+)*"
    r"(?P<word>spring|summer|autumn|fall|winter)(?:[\s-]?(?:time|season|day|scene))?",
    re.IGNORECASE,
)
_WEATHER = Pattern(
    r"(?:(?:in|on|during|under|with|amid)\s+)?(?:(?:the|a|an|some|light|heavy|thick|thin|falling|pouring|dense|"
    r"gentle|soft|fresh|little|lots of|a bit of)\s+)*"
    r"(?P<word>rain(?:ing|y|fall)?|drizzl(?:e|ing)|downpour|snow(?:ing|y|fall|storm)?|blizzard|"
    r"fog(?:gy)?|mist(?:y)?|haz[ey]|storm(?:y)?|thunderstorm|sunny|sunshine|cloudy|overcast|windy|wind|"
    r"sandstorm|tornado)"
    r"(?:\s+(?:weather|day|falling|fall|sky|skies))?",
    re.IGNORECASE,
)
_MEDIA = (
    r"photo(?:graph)?|picture|image|snapshot|selfie|painting|water ?colou?r(?: painting| drawing)?|aquarelle|"
    r"sketch|drawing|illustration|comic(?: book| strip)?|cartoon|anime|manga|pixel(?:ated)? art|render(?:ing)?|"
    r"poster|(?:wood ?block |ukiyo-e |screen )?print|woodblock|woodcut|ukiyo-e|line art|graffiti|mural|collage|"
    r"low poly|claymation|origami|papercut(?: art)?|concept art|vector art|engraving|etching|fresco|mosaic|"
    r"stained glass|pastel|charcoal|crayon|gouache|embroidery|sticker|logo|oil on canvas|oils|postcard|"
    r"close-up|wallpaper|avatar|flat design|pop art|made of lego"
)
_MEDIUM = Pattern(
    rf"(?:as|in|like|into)?\s*(?:(?:an?|the)\s+)?(?:[\w-]+\s+){{0,3}}?(?P<word>{_MEDIA})(?:[\s-](?:style|form))?",
    re.IGNORECASE,
)
_LEAD = Pattern(
    rf"(?P<medium>(?:(?:an?|the|some)\s+)?(?:[\w'-]+\s+){{0,4}}?(?:{_MEDIA}))\s+of\s+(?=\S)",
    re.IGNORECASE,
)
_STYLE = Pattern(
    r"in the (?:style|manner) of\s+.+|(?:in\s+)?(?:an?\s+|the\s+)?[\w'’ -]{1,60}\s+style|inspired by\s+.+|"
    r"by (?:van gogh|monet|picasso|hokusai|rembrandt|dali|klimt)",
    re.IGNORECASE,
)
_PALETTE = Pattern(
    r"(?:in )?(?:an? )?(?:black[ -](?:and|&)[ -]white|b&w|sepia|monochrome|gr[ae]yscale)(?: tones?)?"
    r"|(?:back )?(?:in|to) (?:full )?colou?r",
    re.IGNORECASE,
)
_QUALITY = Pattern(
    r"(?:<.*>|masterpiece|(?:best|high|ultra high|low) (?:quality|resolution)|(?:highly|very|ultra)[ -]detailed|"
    r"[48]k|hdr?|sharp focus|award[- ]winning|trending on \w+|photorealistic|cinematic(?: lighting)?|bokeh|"
    r"wide[ -]angle|shallow depth of field|aerial view|macro)",
    re.IGNORECASE,
)
FOREIGN = Pattern(
    r"[\u0370-\u07ff\u0900-\u0e7f\u0f00-\u1cff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]+"
)
"""Words in a script that picture models do not read."""
_SHIELDED = Pattern(r"[\ue000-\uf8ff]")


class Shield:
    """Keeps what must survive verbatim out of the way: LoRA tags, weights and quoted text.

    Each such part becomes one private character, which no rule can split or change.
    """

    _VERBATIM = Pattern(
        r"<[^<>\n]{1,200}>|\([^()\n]{1,300}:\s*\d*\.?\d+\s*\)|\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”"
    )
    _ROOM = 6000

    def __init__(self) -> None:
        self._parts: list[str] = []

    def hide(self, text: str) -> str:
        """The text with its verbatim parts hidden."""
        return self._VERBATIM.sub(self._keep, text)

    def _keep(self, match: re.Match[str]) -> str:
        if len(self._parts) >= self._ROOM:
            return match.group()
        self._parts.append(match.group())
        return chr(0xE000 + len(self._parts) - 1)

    def show(self, text: str) -> str:
        """The text with its hidden parts back."""
        return _SHIELDED.sub(lambda match: self._parts[ord(match.group()) - 0xE000], text)


@dataclass(slots=True)
class Piece:
    """A noun phrase, with what joins it to the piece before and the word that links it."""

    joiner: str
    link: str
    text: str

    def __str__(self) -> str:
        return f"{self.link} {self.text}".strip()

    def role(self) -> str | None:
        """What it is to the picture, apart from a participle: "dancing in the rain" is weather."""
        participle, _, preposition = self.link.partition(" ")
        if preposition and _is_participle(participle):
            return role(f"{preposition} {self.text}")
        return role(str(self))

    def stems(self) -> set[str]:
        """Its nouns and other words in the singular."""
        return stems(str(self))


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation and possessive endings."""
    return [
        word.removesuffix("'s") for word in re.findall(r"[\w'&-]+", text.lower().replace("’", "'"))
    ]


def stems(text: str) -> set[str]:
    """The words that say something, in the singular."""
    return {
        singular(word)
        for word in words(text)
        if word not in DETERMINERS and word not in PREPOSITIONS
    }


@cache
def is_colour(word: str) -> bool:
    """Whether an English word is a colour."""
    return english().get(word) == "colour"


@cache
def is_adjective(word: str) -> bool:
    """Whether an English word is known to describe rather than to name."""
    return (
        is_colour(word)
        or english().get(word) in ("adjective", "material")
        or any(word in group for group in ADJECTIVE_GROUPS)
        or word
        in ("rainy", "snowy", "sunny", "foggy", "misty", "stormy", "cloudy", "windy", "golden")
        or (word.endswith(("ful", "less", "ous", "ish")) and len(word) > 6)
    )


@cache
def _style_names() -> frozenset[str]:
    return frozenset(
        name.lower() for name, kind in chinese().values() if kind in ("style", "painting")
    )


def role(text: str) -> str | None:
    """What a phrase is to a picture: its time, season, weather, medium, style, palette, quality."""
    text = text.strip()
    if len(text) > 120:
        return None
    for name, pattern in (
        ("palette", _PALETTE),
        ("weather", _WEATHER),
        ("season", _SEASON),
        ("time", _TIME),
        ("quality", _QUALITY),
        ("style", _STYLE),
        ("medium", _MEDIUM),
    ):
        if pattern.fullmatch(text):
            return name
    if text.lower() in _style_names():
        return "style"
    if _SHIELDED.fullmatch(text):
        return "quality"
    return None


def canonical(text: str) -> str:
    """A time, season or weather as a phrase: "sunset" is "at sunset", "snowing" is "in the snow"."""
    kind = role(text)
    lowered = text.lower().strip()
    if kind not in ("time", "season", "weather") or lowered.split()[0] in PREPOSITIONS:
        return text
    if kind == "season":
        return f"in {text}"
    pattern = _TIME if kind == "time" else _WEATHER
    match = pattern.fullmatch(text.strip())
    word = match["word"].lower() if match else lowered
    if kind == "weather":
        if word in ("sunny", "sunshine"):
            return "on a sunny day" if word == "sunny" else "in the sunshine"
        if word in ("cloudy", "overcast"):
            return "under a cloudy sky"
        noun = {"raining": "rain", "rainy": "rain", "rainfall": "rain", "drizzling": "drizzle",
                "snowing": "snow", "snowy": "snow", "snowfall": "snow", "foggy": "fog", "misty": "mist",
                "hazy": "haze", "stormy": "storm", "windy": "wind"}.get(word, word)  # fmt: skip
        if lowered != word and noun == word:
            return f"in {text.removeprefix('some ')}"
        article = "a" if noun in ("storm", "snowstorm", "blizzard", "thunderstorm", "downpour",
                                  "sandstorm", "tornado") else "the"  # fmt: skip
        return f"in {article} {noun}"
    if lowered.startswith(("the ", "a ", "an ")):
        if lowered.split(" ", 1)[1] == word:
            return canonical(word)
        return f"under {text}" if lowered.endswith("sky") else f"in {text}"
    if word in ("morning", "afternoon", "evening", "daytime", "daylight", "day"):
        return f"in the {'daytime' if lowered == 'day' else text}"
    return f"at {text}"


def with_article(text: str) -> str:
    """The phrase with "a" or "an" as its next word wants it."""

    def choose(match: re.Match[str]) -> str:
        vowel = match["next"].lower() in "aeiou" and not re.match(
            r"(?:uni|use|uk|euro|one\b)", match.string[match.start("next") :], re.IGNORECASE
        )
        return ("an " if vowel else "a ") + match["next"]

    return re.sub(r"\b[aA]n? (?P<next>[A-Za-z])", choose, text, count=1)


@dataclass(slots=True)
class Scene:
    """A prompt in parts: the medium ("a photo"), if it leads, then the pieces in order."""

    medium: str = ""
    pieces: list[Piece] = field(default_factory=list)

    @classmethod
    def parse(cls, prompt: str) -> Scene:
        """Take a prompt apart; `render` puts it together again."""
        prompt = re.sub(r"\s+", " ", prompt).strip(" ,")
        lead = _LEAD.match(prompt)
        if lead and not lead["medium"].lower().startswith("close-up"):
            scene = cls(lead["medium"], list(_pieces(prompt[lead.end() :])))
            if scene.pieces:
                scene.pieces[0].joiner = " of "
            return scene
        pieces = list(_pieces(prompt))
        first = pieces[0] if pieces else None
        if (
            first
            and not first.link
            and first.text[:2].lower() in ("a ", "an")
            and role(first.text) == "medium"
        ):
            return cls(first.text, pieces[1:])
        return cls("", pieces)

    def render(self) -> str:
        """The prompt as one line."""
        text = self.medium
        for piece in self.pieces:
            text += (piece.joiner if text else "") + str(piece)
        return re.sub(r"\s+", " ", text).strip(" ,")

    # ------------------------------------------------------------------ finding

    def main(self) -> Piece | None:
        """The main subject: the first noun phrase that is neither a scene nor a look."""
        return next(
            (piece for piece in self.pieces if not piece.link and role(piece.text) is None), None
        )

    def find(self, target: str) -> Piece | None:
        """The piece that a user means by a noun phrase: by its words, else by the kind of thing."""
        wanted = stems(target)
        head = head_of(target)
        if not wanted:
            return None
        matches = [piece for piece in self.pieces if head in piece.stems()]
        if matches:
            return max(matches, key=lambda piece: len(wanted & piece.stems()))
        return None

    def alike(self, phrase: str) -> Piece | None:
        """The first piece that names the same kind of thing (an animal, a vehicle, a building)."""
        kind = category(phrase)
        if kind in (None, "colour", "quality"):
            return None
        return next((piece for piece in self.pieces if category(piece.text) == kind), None)

    # ------------------------------------------------------------------ changing

    def add(self, text: str) -> None:
        """Add noun phrases or linked phrases; what is there already is refined, not repeated."""
        for group in _groups(Scene.parse(text)):
            first = group[0]
            if first.link:
                first.link = first.link[:1].lower() + first.link[1:]
            elif first.text.split(" ")[0].lower() in DETERMINERS:
                first.text = first.text[:1].lower() + first.text[1:]
            self._add_group(group)

    def _add_group(self, group: list[Piece]) -> None:
        head = group[0]
        rest = group[1:]
        if not head.link and not rest:
            twin = self.find(head.text) if len(words(head.text)) > 1 else None
            number = next(iter(words(head.text)), "")
            further = re.match(
                r"(?:another|(?:\w+ )?more|a second)\b", head.text, re.IGNORECASE
            ) or ((number in NUMBERS or number.isdigit()) and twin and twin.text != head.text)
            if twin and not further:
                if stems(head.text) - twin.stems():
                    twin.text = head.text
                return
        if any(str(piece) == str(head) for piece in self.pieces) and not rest:
            return
        if head.link:
            head.joiner = " "
            place = self._end_of_first_clause()
            if place == 0 and not self.medium:
                head.joiner = ", "
        else:
            head.joiner = " of " if self.medium and not self.pieces else ", "
            place = self._end_of_content()
        if place == 0 and self.pieces:
            self.pieces[0].joiner = ", "
        self.pieces[place:place] = group

    def attach(self, anchor: Piece | None, text: str) -> None:
        """Put a phrase right behind the piece it belongs to."""
        if anchor is None:
            self.add(text)
            return
        place = self.pieces.index(anchor) + 1
        group = list(_pieces(text))
        if group and not any(str(piece) == text for piece in self.pieces):
            group[0].joiner = " "
            self.pieces[place:place] = group

    def _end_of_first_clause(self) -> int:
        for index, piece in enumerate(self.pieces):
            if (index and piece.joiner == ", ") or piece.role() in (
                "medium",
                "style",
                "palette",
                "quality",
            ):
                return index
        return len(self.pieces)

    def _end_of_content(self) -> int:
        place = len(self.pieces)
        while place > 0 and self.pieces[place - 1].role() in (
            "medium",
            "style",
            "palette",
            "quality",
        ):
            place -= 1
        return place

    def remove(self, piece: Piece) -> None:
        """Take a piece out, and let the rest close up around the gap."""
        index = self.pieces.index(piece)
        after = self.pieces[index + 1] if index + 1 < len(self.pieces) else None
        participle, _, preposition = piece.link.partition(" ")
        if preposition and _is_participle(participle) and index:
            piece.link, piece.text = participle, ""
            return
        del self.pieces[index]
        if after is None:
            return
        agent = not piece.link or category(piece.text) in ("person", "animal")
        acts = agent and _is_participle(after.link.split(" ")[0])
        if index and acts and after.joiner == " ":
            del self.pieces[index]
        elif after.joiner in (" and ", " & ") and not after.link:
            after.joiner, after.link = piece.joiner, piece.link
        elif index == 0 or not piece.link:
            after.joiner = piece.joiner
            if index == 0 and after.joiner == " of " and after.link:
                after.link = ""
            if index == 0 and after.link and not _is_participle(after.link.split()[0]):
                after.link = ""
            elif index == 0 and after.link:
                self.remove(after)

    def replace(self, piece: Piece, text: str) -> None:
        """Put another noun phrase in a piece's place; number and adjectives stay if none are given."""
        old, new = piece.text.split(), text.split()
        kept: list[str] = []
        for word in old:
            if word.lower() in DETERMINERS and not kept:
                kept.append(word)
            else:
                break
        bare_noun = bool(new) and new[0].lower() not in DETERMINERS
        if bare_noun and kept:
            if singular(new[-1].lower()) != new[-1].lower() and kept[0].lower() in ("a", "an"):
                kept = []
            new = [*kept, *new]
        if (
            bare_noun
            and kept
            and kept[0].lower() in PLURAL_DETERMINERS
            and new[: len(kept)] == kept
            and new[-1].isalpha()
        ):
            new[-1] = plural(new[-1].lower())
        described = [
            word
            for word, following in zip(old, [*old[1:], ""], strict=True)
            if is_adjective(word.lower()) and f"{word} {following}".lower() not in COMPOUNDS
        ]
        if (
            described
            and old
            and described[-1] != old[-1]
            and not any(is_adjective(w.lower()) for w in new[:-1])
        ):
            place = 1 if new and new[0].lower() in DETERMINERS else 0
            new[place:place] = described
        piece.text = with_article(" ".join(new))

    def count(self, piece: Piece, number: str) -> None:
        """Put another number before a piece's noun, which becomes a plural or a singular."""
        old = piece.text.split()
        while old and (old[0].lower() in DETERMINERS or old[0].isdigit()):
            del old[0]
        if old[:1] == ["of"]:
            del old[0]
        if not old:
            return
        number = {"a single": "one", "1": "one"}.get(number, number)
        noun = old[-1]
        one = singular(noun.lower()) if number == "one" else plural(noun.lower())
        old[-1] = noun if one == noun.lower() else one
        piece.text = " ".join([number, *old])

    def describe(self, piece: Piece, adjective: str) -> None:
        """Give a piece an adjective, in the place of an earlier one of its group."""
        group = adjective_group(adjective)
        old = piece.text.split()
        # "a car, bright red" has the colour in a piece of its own, with no noun behind it.
        bare = all(is_adjective(word) or word in SHADES for word in words(piece.text))
        keep: list[str] = []
        for index, word in enumerate(old):
            pair = f"{word} {old[index + 1]}".lower() if index + 1 < len(old) else ""
            in_group = word.lower() in group or ("blue" in group and is_colour(word.lower()))
            if in_group and (bare or index + 1 < len(old)) and pair not in COMPOUNDS:
                if "blue" in group and keep and keep[-1].lower() in SHADES:
                    keep.pop()
                if index + 1 < len(old) and old[index + 1].lower() == "and":
                    old[index + 1] = ""
                continue
            if word:
                keep.append(word)
        place = 0
        while place < len(keep) - 1 and keep[place].lower() in DETERMINERS:
            place += 1
        if "blue" in group:
            while place < len(keep) - 1 and is_adjective(keep[place].lower()):
                place += 1
        keep.insert(place, adjective)
        piece.text = with_article(" ".join(keep))

    def forget(self, kind: str) -> None:
        """Drop what plays a role (the time of day, the weather), wherever it stands."""
        for piece in [piece for piece in self.pieces if piece.role() == kind]:
            if piece in self.pieces:
                self.remove(piece)
        pattern = {"time": _TIME, "season": _SEASON, "weather": _WEATHER}.get(kind)
        if pattern is None:
            return
        for piece in self.pieces:
            parts = piece.text.split()
            if len(parts) > 1:
                kept = [
                    word
                    for index, word in enumerate(parts)
                    if index == len(parts) - 1
                    or word.lower() in DETERMINERS
                    or not pattern.fullmatch(word.replace("’", "'").removesuffix("'s"))
                ]
                if len(kept) < len(parts):
                    piece.text = with_article(" ".join(kept))


def adjective_group(adjective: str) -> frozenset[str]:
    """The adjectives that exclude this one; all colours exclude each other."""
    last = adjective.lower().split()[-1] if adjective.split() else ""
    if is_colour(last):
        return frozenset({"blue", last})
    return next((group for group in ADJECTIVE_GROUPS if last in group), frozenset({last}))


def head_of(phrase: str) -> str:
    """The noun that a phrase is about, in the singular."""
    text = re.split(
        r"\s+(?:of|in|on|at|with|from|behind|near|under)\s+", phrase.strip(), maxsplit=1
    )[0]
    found = words(text)
    return singular(found[-1]) if found else ""


def _is_participle(word: str) -> bool:
    lowered = word.lower()
    return lowered in PARTICIPLES or (
        lowered.endswith("ing") and len(lowered) > 4 and lowered not in NOT_PARTICIPLES
    )


_STYLE_LINK = Pattern(r"in the (?:style|manner) of ", re.IGNORECASE)
_GROUND = Pattern(
    r"in (?:the )?(?:background|foreground|distance|middle|cent(?:re|er)|corner|front of)\b|on top of\b",
    re.IGNORECASE,
)


def _pieces(text: str) -> Iterator[Piece]:
    for number, part in enumerate(re.split(r"\s*,\s*", text)):
        if part:
            yield from _part(part, "" if number == 0 else ", ")


def _part(text: str, joiner: str) -> Iterator[Piece]:
    tokens = text.split()
    link: list[str] = []
    content: list[str] = []
    style = False
    index = 0

    def previous() -> str:
        return content[-1].lower() if content else ""

    while index < len(tokens):
        token = tokens[index]
        lowered = token.lower()
        following = " ".join(tokens[index : index + 5])
        after = tokens[index + 1].lower() if index + 1 < len(tokens) else ""
        if match := _STYLE_LINK.match(following):
            if content or link:
                yield Piece(joiner, " ".join(link), " ".join(content))
                joiner = " "
            link, content, style = following[: match.end()].split(), [], True
            index += len(link)
            continue
        if match := _GROUND.match(following):
            size = len(match.group().split())
            if match.group().lower() in ("in front of", "on top of"):
                if content or link:
                    yield Piece(joiner, " ".join(link), " ".join(content))
                    joiner = " "
                link, content, style = tokens[index : index + size], [], False
            else:
                content += tokens[index : index + size]
            index += size
            continue
        linking = lowered in PREPOSITIONS or (
            _is_participle(lowered)
            and (content or after in DETERMINERS)
            and previous() not in DETERMINERS
            and not is_adjective(previous())
        )
        if linking and not (style and lowered == "by"):
            if not content and (not link or style is False):
                link.append(token)
            else:
                yield Piece(joiner, " ".join(link), " ".join(content))
                joiner, link, content, style = " ", [token], [], False
        elif (
            lowered in ("and", "&")
            and content
            and after
            and not style
            and not is_adjective(previous())
            and index + 1 < len(tokens)
        ):
            yield Piece(joiner, " ".join(link), " ".join(content))
            joiner, link, content = f" {token} ", [], []
        else:
            content.append(token)
        index += 1
    if content or link:
        yield Piece(joiner, " ".join(link), " ".join(content))


def _groups(scene: Scene) -> Iterator[list[Piece]]:
    """The pieces of a text by clause: those that a space or "and" joins stay together."""
    group: list[Piece] = []
    if scene.medium:
        first = scene.pieces[0] if scene.pieces else None
        lead = Piece("", "", scene.medium)
        if first is not None and first.joiner == " of ":
            lead.text = f"{scene.medium} of {first.text}"
            group.append(lead)
            rest = scene.pieces[1:]
        else:
            group.append(lead)
            rest = scene.pieces
    else:
        rest = scene.pieces
    for piece in rest:
        if piece.joiner == ", " and group:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group
