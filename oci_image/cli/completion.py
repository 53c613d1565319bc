"""What a shell needs to complete command lines, made from the parsers themselves."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")
_IMAGES = frozenset({"IMAGE", "SOURCE"})  # what a verb calls an argument that names an image of the store
_NAMES = "oci-image list --format '{name}' 2>/dev/null"

# Bash takes ':' for the end of a word, names of images do not: the word is read from the whole line, and what
# stands before its last ':' is taken from the answers again.
_BASH = """\
_oci_image() {{
    local line=${{COMP_LINE:0:COMP_POINT}} verb= index word
    word=${{line##*[[:space:]]}}
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
            -*) ;;
            *) verb=${{COMP_WORDS[index]}}; break ;;
        esac
    done
    case $verb in
{cases}
        *) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;
    esac
    if [[ -n $verb && $word != -* && " {with_image} " == *" $verb "* ]]; then
        COMPREPLY+=($(compgen -W "$({names})" -- "$word"))
    fi
    if [[ $word == *:* ]]; then
        COMPREPLY=("${{COMPREPLY[@]#"${{word%"${{word##*:}}"}}"}}")
    fi
}}
complete -o default -F _oci_image oci-image
"""


def completion_script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The script that `shell` (one of SHELLS) reads to complete the command line of `parser`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](parser)


def _bash(parser: argparse.ArgumentParser) -> str:
    verbs = _verbs(parser)
    cases = "\n".join(
        f'        {name}) COMPREPLY=($(compgen -W "{" ".join(_words(verb))}" -- "$word")) ;;'
        for name, verb in verbs.items()
    )
    return _BASH.format(
        cases=cases,
        words=" ".join([*verbs, *_flags(parser)]),
        with_image=" ".join(name for name, verb in verbs.items() if _takes_image(verb)),
        names=_NAMES,
    )


def _zsh(parser: argparse.ArgumentParser) -> str:
    return f"autoload -U +X bashcompinit && bashcompinit\n{_bash(parser)}"


def _fish(parser: argparse.ArgumentParser) -> str:
    lines = [
        _fish_option("__fish_use_subcommand", option) for option in _actions(parser) if option.option_strings
    ]
    for name, verb in _verbs(parser).items():
        about = _quoted(verb.description.partition("\n")[0] if verb.description else "")
        lines.append(f"complete -c oci-image -f -n __fish_use_subcommand -a {name} -d {about}")
        condition = _quoted(f"__fish_seen_subcommand_from {name}")
        if _takes_image(verb):
            lines.append(f'complete -c oci-image -n {condition} -a "({_NAMES})"')
        for option in _actions(verb):
            if option.option_strings:
                lines.append(_fish_option(condition, option))
            elif option.choices:
                lines.append(f"complete -c oci-image -f -n {condition} -a '{' '.join(option.choices)}'")
    return "\n".join(lines) + "\n"


def _fish_option(condition: str, option: argparse.Action) -> str:
    names = " ".join(
        f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}" for text in option.option_strings
    )
    value = (
        ""
        if option.nargs == 0
        else f" -x -a '{' '.join(map(str, option.choices))}'"
        if option.choices
        else " -r"
    )
    return f"complete -c oci-image -n {condition} {names}{value} -d {_quoted((option.help or '').replace('%%', '%'))}"


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # noqa: SLF001 - argparse has no other way to ask for them


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(dict(action.choices) for action in _actions(parser) if isinstance(action.choices, dict))


def _words(verb: argparse.ArgumentParser) -> list[str]:
    """Options, and the words that an argument may be."""
    choices = [
        str(choice)
        for action in _actions(verb)
        if not action.option_strings and action.choices
        for choice in action.choices
    ]
    return [*_flags(verb), *choices]


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [text for action in _actions(parser) for text in action.option_strings]


def _takes_image(verb: argparse.ArgumentParser) -> bool:
    return any(action.metavar in _IMAGES for action in _actions(verb) if not action.option_strings)
