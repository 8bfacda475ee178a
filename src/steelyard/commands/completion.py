"""`steelyard completion`: the script that lets a shell complete the command."""

from __future__ import annotations

import argparse

from steelyard.commands import print_json

BASH = """\
_steelyard() {
    local at word last="" colon="" line="$COMP_LINE" words=()
    for ((at = 0; at <= COMP_CWORD; at++)); do  # bash cuts words at colons, which names of weights have
        word="${COMP_WORDS[at]}"
        if [[ $at -gt 0 && $line != [[:space:]]* && ( $word == :* || $last == *: ) ]]; then
            words[${#words[@]} - 1]+="$word"
        else
            words+=("$word")
        fi
        line="${line#*"$word"}"
        last="$word"
    done
    word="${words[${#words[@]} - 1]}"
    [[ $COMP_WORDBREAKS == *:* ]] && colon="${word%"${word##*:}"}"
    COMPREPLY=()
    while IFS= read -r word; do
        COMPREPLY+=("${word#"$colon"}")
    done < <("${COMP_WORDS[0]}" completion --line "${words[@]:1}" 2> /dev/null)
    compopt -o filenames 2> /dev/null
    case "${COMPREPLY[0]}" in *[./]) compopt -o nospace 2> /dev/null ;; esac
}
complete -F _steelyard steelyard
"""
ZSH = """\
#compdef steelyard
_steelyard() {
    local -a found
    found=("${(@f)$("${words[1]}" completion --line "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    compadd -S '' -- ${(M)found:#*[./]}
    compadd -- ${found:#*[./]}
}
compdef _steelyard steelyard
"""
FISH = """\
complete -c steelyard -f -a '(set -l line (commandline -opc) (commandline -ct); \
command $line[1] completion --line $line[2..-1] 2> /dev/null)'
"""
SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def run(args: argparse.Namespace) -> None:
    """Print a script with which a shell completes commands, options, their choices, files and names of weights.

    For bash put eval "$(steelyard completion bash)" into ~/.bashrc; for zsh, after compinit, eval "$(steelyard completion zsh)"
    into ~/.zshrc; for fish run steelyard completion fish > ~/.config/fish/completions/steelyard.fish. The names are those of
    the file on the line, which is listed, as by steelyard ls, and never run.

    steelyard completion bash
    """
    if args.line is not None:
        from steelyard.completing import candidates

        print("".join(f"{each}\n" for each in candidates(args.line, *args.commands)), end="")
    elif args.json:
        print_json({"shell": args.shell, "script": SHELLS[args.shell]})
    else:
        print(SHELLS[args.shell], end="")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the shell, and the words of the line that a script passes."""
    parser.add_argument(
        "shell", choices=SHELLS, nargs="?", default="bash", metavar="SHELL", help="bash (the default), zsh or fish"
    )
    parser.add_argument("--line", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
