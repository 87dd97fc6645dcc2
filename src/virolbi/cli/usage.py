"""Commands whose usage errors say what is missing, and which command was meant."""

from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

MEANT = {"auto": "'denoise', or 'smooth --sparsity auto'"}  # names that are no commands


class Command(TyperCommand):
    """A command whose usage errors name the right argument, and commands with another option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments of the command.

        Parameters
        ----------
        ctx : click.Context
            Context of the command.
        args : list of str
            Arguments and options; they are taken from the list.

        Returns
        -------
        list of str
            Arguments that are left.

        Raises
        ------
        click.UsageError
            If they are not those of the command.
        """
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            self._blame_last(ctx, given, error)
        except Exception as error:  # typer does not export the error of unknown options
            self._name_related(ctx, error)

    def _blame_last(self, ctx: Any, given: list[str], error: typer.BadParameter) -> NoReturn:
        """Raise an error, about the last argument if a single one was given of several.

        The parser takes that one for the last argument, and misses those before it.
        """
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        if len(arguments) > 1 and error.param is arguments[0] and arguments[0].nargs == -1:
            values, _, _ = self.make_parser(ctx).parse_args(args=given)
            if isinstance(values.get(str(arguments[-1].name)), str):
                error.param = arguments[-1]  # type: ignore[assignment]
        raise error

    def _name_related(self, ctx: Any, error: Exception) -> NoReturn:
        """Raise an error; that of an unknown option names similar commands that have it."""
        option = getattr(error, "option_name", None)
        if option is not None and ctx.parent is not None:
            commands = ctx.parent.command.commands.values()
            names = [
                f"virolbi {command.name}"
                for command in commands
                if _arguments(command) == _arguments(self)
                and any(option in param.opts for param in command.params)
            ]
            if names:
                meant = f", which is an option of '{' and '.join(names)}'"
                error.message += meant  # type: ignore[attr-defined]
        raise error


def _arguments(command: Any) -> list[str]:
    """Return the names of the arguments of a command."""
    return [param.name for param in command.params if param.param_type_name == "argument"]


class Group(TyperGroup):
    """The group of all commands, which names the command that was meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that arguments name.

        Parameters
        ----------
        ctx : click.Context
            Context of the group.
        args : list of str
            Name of the command, and its arguments.

        Returns
        -------
        tuple
            Name, command, and arguments.

        Raises
        ------
        click.UsageError
            If there is no such command.
        """
        if args[0] in MEANT and not ctx.resilient_parsing:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {MEANT[args[0]]}?")
        return super().resolve_command(ctx, args)
