"""docs/cli.md: what every verb's --help says.

    python3 tests/tools/cli_reference.py PROGRAM > docs/cli.md
"""
import subprocess
import sys

VERBS = ["compile", "inspect", "train", "eval", "export", "simulate"]


def help_text(program, *arguments):
    out = subprocess.run([program, *arguments, "--help"], capture_output=True, text=True, check=True).stdout
    return "\n".join(line.rstrip() for line in out.strip().splitlines())


def reference(program):
    parts = [
        "# Command line\n\nGenerated from `--help` by `tests/tools/cli_reference.py`; a test compares the two.\n",
        f"```\n{help_text(program)}\n```\n",
    ]
    parts += [f"## {verb}\n\n```\n{help_text(program, verb)}\n```\n" for verb in VERBS]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference(sys.argv[1]))
