"""The application that the commands are added to."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A portrait and a voice become a talking video.",
)
train = typer.Typer(no_args_is_help=True, help="Train models of your own.")
app.add_typer(train, name="train")


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"talkinghead {version('talkinghead')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A portrait and a voice become a talking video."""
