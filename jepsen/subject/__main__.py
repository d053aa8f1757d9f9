"""`python -m jepsen.subject mesh-server|mesh-agent <options>`: the product's own program, with what the environment
says broken. Without any of the variables it is exactly the product; options and exit codes pass through.

    MESH_SUBJECT_PAGE    the control page (`page.py`): the disk obeys it
    MESH_SUBJECT_LOSSY   anything: what was not synced dies with the process
    MESH_SUBJECT_SEED    decides what of it reaches the disk all the same
    MESH_BREAK           a mutant of `mutants.py`
"""

import os
import sys
from collections.abc import Callable

import agent.main
import server.main
from jepsen.subject.disk import disk_from
from jepsen.subject.mutants import BREAK_VARIABLE, MUTANTS
from jepsen.subject.patching import replace_name

PROGRAMS = {"mesh-server": server.main, "mesh-agent": agent.main}
EXIT_USAGE = 2


def main(argv: list[str]) -> int:
    """Break what is to be broken and become the program; returns only if there is none of that name."""
    if not argv or argv[0] not in PROGRAMS:
        print(f"usage: python -m jepsen.subject {'|'.join(PROGRAMS)} [options]", file=sys.stderr)
        return EXIT_USAGE
    program = PROGRAMS[argv[0]]
    name = os.environ.get(BREAK_VARIABLE)
    leaks = True
    if name:
        if name not in MUTANTS:
            print(f"no mutant is called {name!r}: {', '.join(MUTANTS)}", file=sys.stderr)
            return EXIT_USAGE
        mutant = MUTANTS[name]
        mutant.apply()
        leaks = mutant.leaks
        print(f"==> broken on purpose: {name}: {mutant.what}", file=sys.stderr, flush=True)
    disk = disk_from(os.environ, leaks=leaks)
    if disk is not None:
        replace_name(program, "RealDisk", lambda: disk)
    start: Callable[[list[str]], None] = program.main
    start(argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
