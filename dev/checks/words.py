"""One word for one thing, in the names that code gives.

Prose may say picture; names say image, as those of A1111, OpenAI and S3 do, so that whoever looks
for one finds all of them. The name of a test is a sentence, and that is prose.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

FOLDERS = ("layers/robotchat/src", "functions", "dev", "benchmarks", "tests")

_PACKAGE = "layers/robotchat/src/robotchat"
KEPT: Mapping[str, tuple[str, ...]] = {
    # Fields of stored jobs, of the configuration, and of what pull workers announce.
    "picture": ("jobs/job.py",),
    "reference_pictures": ("art/checkpoints.py", "art/capabilities.py"),
    # An argument of Settings, which programs give.
    "label_pictures": ("settings.py",),
    # Earlier names of Drawing.images, Drawing.extra_images and DrawnImage, which programs use.
    "pictures": ("art/results.py",),
    "extra_pictures": ("art/results.py",),
    "Picture": ("art/results.py", "__init__.py"),
}
"""Names that others know, and the modules that may define them; all may read them."""

_OTHER_WORD = re.compile("pictur", re.IGNORECASE)


def names_say_image(root: Path) -> list[str]:
    """No name says picture, but those that are kept."""
    wrong = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            place = path.relative_to(root)
            if _OTHER_WORD.search(place.stem):
                wrong.append(f"{place}: the module's name says picture, where names say image.")
            for line, name, read in _names(ast.parse(path.read_text("utf-8"))):
                homes = [Path(_PACKAGE, home) for home in KEPT.get(name, ())]
                if place not in homes and not (homes and read):
                    wrong.append(f"{place}:{line}: {name} says picture, where names say image.")
    return wrong


def _names(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Names in a tree that say picture: their lines, and whether there something's field is read
    or an argument given by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            continue
        read = isinstance(node, ast.keyword) or (
            isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
        )
        for _, value in ast.iter_fields(node):
            for name in value if isinstance(value, list) else [value]:
                if not isinstance(name, str) or name.startswith("test_"):
                    continue
                if _OTHER_WORD.search(name):
                    yield getattr(node, "lineno", 1), name, read
