"""pyruntime completion: what a shell needs to complete command lines, made from the tables that parse them."""

import sys

from pyruntime.base.errors import UsageError
from pyruntime.cli.options import GLOBAL_OPTIONS, HELP
from pyruntime.verbs import SUMMARIES, VERBS
from pyruntime.verbs.interface import Arguments, GlobalOptions, Option, write_output

USAGE = "bash|zsh|fish"
OPTIONS: tuple[Option, ...] = ()

_BASH = """\
_pyruntime() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} verb= index
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
            {valued}) ((index++)) ;;
            -*) ;;
            *) verb=${{COMP_WORDS[index]}}; break ;;
        esac
    done
    case $verb in
{cases}
        *) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;
    esac
    if [[ -n $verb && $word != -* && " {with_id} " == *" $verb "* ]]; then
        COMPREPLY=($(compgen -W "$(pyruntime list --quiet 2>/dev/null)" -- "$word"))
    fi
}}
complete -o default -F _pyruntime pyruntime
"""


def run(arguments: Arguments, _options: GlobalOptions) -> int:
    writers = {"bash": bash, "zsh": zsh, "fish": fish}
    shell = arguments.positional[0]
    if shell not in writers:
        raise UsageError(f"no completion for {shell}", hint="use bash, zsh or fish")
    write_output(writers[shell]())
    return 0


def bash() -> str:
    """A script to be sourced by bash."""
    cases = "\n".join(
        f'        {verb}) COMPREPLY=($(compgen -W "{" ".join(_flags(_options(verb)))}" -- "$word")) ;;'
        for verb in VERBS
    )
    return _BASH.format(
        valued="|".join(flag for option in GLOBAL_OPTIONS if option.value for flag in _flags((option,))),
        cases=cases,
        words=" ".join([*VERBS, *_flags(GLOBAL_OPTIONS)]),
        with_id=" ".join(verb for verb in VERBS if _takes_id(verb)),
    )


def zsh() -> str:
    """A script to be sourced by zsh, which reads bash's."""
    return f"autoload -U +X bashcompinit && bashcompinit\n{bash()}"


def fish() -> str:
    """A script to be sourced by fish."""
    lines = ["complete -c pyruntime -f"]
    lines += [_fish_option("__fish_use_subcommand", option) for option in GLOBAL_OPTIONS if not option.hidden]
    for verb, summary in SUMMARIES.items():
        lines.append(f"complete -c pyruntime -n __fish_use_subcommand -a {verb} -d {_quoted(summary)}")
        condition = _quoted(f"__fish_seen_subcommand_from {verb}")
        if _takes_id(verb):
            lines.append(f"complete -c pyruntime -n {condition} -a '(pyruntime list --quiet 2>/dev/null)'")
        lines += [_fish_option(condition, option) for option in _options(verb)]
    return "\n".join(lines) + "\n"


def _fish_option(condition: str, option: Option) -> str:
    names = " ".join(f"-{'s' if len(name) == 1 else 'l'} {name}" for name in option.names)
    value = " -r -F" if option.value else ""
    return f"complete -c pyruntime -n {condition} {names}{value} -d {_quoted(option.help)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _takes_id(verb: str) -> bool:
    return VERBS[verb][1] > 0 and verb not in ("create", "run", "restore", "completion")


def _options(verb: str) -> tuple[Option, ...]:
    name = VERBS[verb][0]
    __import__(name)
    return tuple(option for option in (*sys.modules[name].OPTIONS, HELP) if not option.hidden)


def _flags(options: tuple[Option, ...]) -> list[str]:
    return [
        f"{'-' if len(name) == 1 else '--'}{name}"
        for option in options
        if not option.hidden
        for name in option.names
    ]
