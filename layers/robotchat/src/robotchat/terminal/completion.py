"""What bash, zsh and fish complete of the command line, made from its parser.

source <(robotchat completion bash)      # zsh: the same with zsh
robotchat completion fish | source
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")

_BASH = """\
_robotchat() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" path="" word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
{paths}            *) ;;
        esac
    done
    local words=""
    case "$path" in
{words}    esac
    COMPREPLY=($(compgen -W "$words" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -F _robotchat robotchat
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion of a command line for a shell; zsh takes bash's."""
    found = dict(_commands(parser))
    if shell == "fish":
        return "".join(_fish(found))
    paths = "".join(
        f"            {_quoted(' ' + path)}) path={_quoted(' ' + path)} ;;\n"
        for path in found
        if path
    )
    words = "".join(
        f"        {_quoted(' ' + path if path else '')}) words={_quoted(' '.join(_words(at)))} ;;\n"
        for path, at in found.items()
    )
    text = _BASH.format(paths=paths, words=words)
    return f"autoload -U +X bashcompinit && bashcompinit\n{text}" if shell == "zsh" else text


def _commands(
    parser: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command by its words: the program itself, ``keys``, ``keys create`` ..."""
    yield path, parser
    for name, inner in _subcommands(parser).items():
        yield from _commands(inner, f"{path} {name}".strip())


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from _subcommands(parser)
    for action in parser._actions:
        yield from action.option_strings
        if not action.option_strings and not _subcommands(parser):
            yield from (str(choice) for choice in action.choices or ())


def _fish(found: dict[str, argparse.ArgumentParser]) -> Iterator[str]:
    for path, parser in found.items():
        parts = path.split()
        seen = "; and ".join(f"__fish_seen_subcommand_from {part}" for part in parts)
        condition = seen or "__fish_use_subcommand"
        for name in _subcommands(parser):
            yield f"complete -c robotchat -n {_quoted(condition)} -a {name}\n"
        for action in parser._actions:
            said = f" -d {_quoted(action.help)}" if action.help else ""
            for option in action.option_strings:
                kind = "l" if option.startswith("--") else "s"
                name = option.lstrip("-")
                yield f"complete -c robotchat -n {_quoted(condition)} -{kind} {name}{said}\n"
            if not action.option_strings and action.choices and not _subcommands(parser):
                for choice in action.choices:
                    yield f"complete -c robotchat -n {_quoted(condition)} -a {choice}\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "'\\''") + "'"
