"""The entry point: runs a command, and turns errors into one line and an exit code."""

import sys

try:
    import json
    import os

    import click

    import koclip_consistency.screen.commands  # noqa: F401  (registers them)
    from consistency.errors import ConsistencyError, is_out_of_memory
    from koclip_consistency.screen.app import FAILED, INTERRUPTED, TERMINATED, Terminated, app
except KeyboardInterrupt:
    print("Error: interrupted before anything began", file=sys.stderr)
    sys.exit(130)


def main() -> None:
    """Run a command; every error a user can cause is one line and an exit code."""
    try:
        app.main(standalone_mode=False)
    except ConsistencyError as error:
        _fail(str(error), error.exit_code)
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(f"{error.format_message().rstrip('.')}{where}", error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        cause = error.__cause__ or error  # click wraps it
        how = "".join(f" with {option}" for option in getattr(cause, "__notes__", [])[-1:])
        what, code = ("terminated", TERMINATED) if isinstance(cause, Terminated) else ("interrupted", INTERRUPTED)
        _fail(f"{what}; what is finished is kept: run it again{how}", code)
    except BrokenPipeError:  # `... --json | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'a file'}", FAILED)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _fail("out of memory: use a smaller --batch-size, or fewer rows", FAILED)


def _fail(message: str, code: int) -> None:
    """One line on stderr; under --json also one JSON value on stdout."""
    from consistency.text import visible

    line = visible(" ".join(message.split()))
    if "--json" in sys.argv[1:]:
        click.echo(json.dumps({"error": line, "exit_code": code}, ensure_ascii=False))
    click.echo(f"Error: {line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
