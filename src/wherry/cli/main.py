"""Where the programs `wherry` and `xdmsh` begin, and where errors become a line on standard error and an exit code.

Imports nothing but the standard library before a command runs: the engine's worker processes load this module too.
A plain `copy`, and the version, do without Typer, which takes longer than a small copy.
"""

from __future__ import annotations

import gc
import os
import sys

from wherry import __version__
from wherry.model.errors import WherryError

DEBUG = "--debug"
NO_COLOR = "--no-color"


def main() -> None:
    """The program `wherry`."""
    _open_standard_streams()
    # Most of what a start makes stays: to look through it for cycles again and again takes a sixth of the time.
    gc.set_threshold(20_000, 20, 20)
    if sys.argv[1:2] == ["copy"]:
        _load_copy()
    code = call(sys.argv[1:])
    # What is left goes with the process: nobody need look through it for cycles.
    gc.freeze()
    sys.exit(code)


def xdmsh() -> None:
    """The program `xdmsh`: the agent's admin shell."""
    sys.exit(call(["agent", "shell", *sys.argv[1:]]))


def call(arguments: list[str]) -> int:
    """Run one command; the exit code.  `--debug` and `--no-color` may stand anywhere."""
    arguments, switches = _switches(arguments)
    debug = DEBUG in switches or bool(os.environ.get("WHERRY_DEBUG"))
    if NO_COLOR in switches:
        os.environ["NO_COLOR"] = "1"
    if debug:
        _log_requests()
    try:
        return _run(arguments)
    except WherryError as error:
        return _tell(error, debug=debug)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as trouble:
        where = f"{trouble.filename}: " if trouble.filename else ""
        return _tell(WherryError(f"{where}{trouble.strerror or trouble}"), debug=debug)


def _load_copy() -> None:
    """Import what a copy needs.  It stays: to look through it for cycles meanwhile takes a tenth of the start."""
    gc.disable()
    try:
        from wherry.cli import copy_run
        from wherry.engine import copy
    except KeyboardInterrupt:
        sys.exit(130)
    del copy_run, copy
    gc.freeze()
    gc.enable()


def _open_standard_streams() -> None:
    """Where whoever starts us has closed one of them, nothing else may get its number, and nobody may trip over it."""
    while (missing := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(missing, True)
    os.close(missing)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as we live
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _switches(arguments: list[str]) -> tuple[list[str], set[str]]:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    switches = {word for word in arguments[:end] if word in (DEBUG, NO_COLOR)}
    return [word for word in arguments[:end] if word not in switches] + arguments[end:], switches


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"wherry {__version__}")
        return 0
    if arguments[:1] == ["copy"]:
        try:
            from wherry.cli import copy_run

            code = copy_run.quick(arguments[1:])
        except KeyboardInterrupt:
            # As Typer does for all other commands.
            return 130
        if code is not None:
            return code
    from wherry.cli.program import app

    try:
        app(arguments, prog_name="wherry")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _tell(error: WherryError, *, debug: bool) -> int:
    from wherry.cli import exits
    from wherry.model.text import printable, without_secrets

    line, remedy = exits.describe(error)
    if debug:
        import traceback

        print(without_secrets("".join(traceback.format_exception(error))), file=sys.stderr, end="")
    print(printable(without_secrets(line)), file=sys.stderr)
    if remedy:
        print(f"  {printable(remedy)}", file=sys.stderr)
    return int(exits.of_error(error))


def _log_requests() -> None:
    """Each request of this program as a line on standard error, with secrets blanked."""
    import logging

    from wherry.model.text import without_secrets

    class Blanked(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return without_secrets(super().format(record))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Blanked("%(asctime)s %(name)s %(message)s"))
    log = logging.getLogger("httpx")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


if __name__ == "__main__":
    main()
