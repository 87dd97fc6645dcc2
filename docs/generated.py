"""Pages of the site that are made from the package: its commands, and its public names."""

import importlib
import inspect
import pkgutil
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

import virolbi
from virolbi.cli import app


def write_commands(path: Path) -> None:
    """Write the page of all commands with their arguments and options.

    Parameters
    ----------
    path : Path
        Markdown file to write.
    """
    group = typer.main.get_command(app)
    parts = ["# Commands\n", "`virolbi COMMAND --help` prints the same.\n", f"{group.epilog}\n"]
    for name, command in group.commands.items():
        arguments = [part for part in command.params if part.param_type_name == "argument"]
        options = [part for part in command.params if part.param_type_name == "option"]
        usage = " ".join(
            ["virolbi", name, *(_placeholder(part) for part in arguments), "[options]"]
        )
        parts += [f"## {name}\n", f"{inspect.cleandoc(command.help)}\n", f"```text\n{usage}\n```\n"]
        parts += ["```console", *_examples(command), "```\n"]
        for title, group in (("Arguments", arguments), ("Options", options)):
            if group:
                parts += [f"**{title}**\n", *map(_definition, group)]
    path.write_text("\n".join(parts))


def _placeholder(part: Any) -> str:
    """Return an argument as the usage line shows it."""
    return part.name.upper() + ("..." if part.nargs == -1 else "")


def _examples(command: Any) -> list[str]:
    """Return the examples at the end of a command's help, as lines of a shell."""
    lines = command.epilog.splitlines()
    return [f"$ {line.strip()}" for line in lines if line.startswith("  ")]


def _definition(part: Any) -> str:
    """Return an argument or option with its help as an entry of a definition list."""
    names = [part.name.upper()] if part.param_type_name == "argument" else part.opts
    text = part.help or ""
    default = part.default
    if default not in (None, False, ()) and part.show_default is not False and not part.required:
        text += f" Default: {part.show_default if isinstance(part.show_default, str) else default}."
    titles = ", ".join(f"`{name}`" for name in [*names, *part.secondary_opts])
    return f"{titles}\n: {text}\n"


def write_api(folder: Path) -> None:
    """Write one page for the package and each public package, which list their public names.

    Parameters
    ----------
    folder : Path
        Folder for the pages, whose index is api.rst.
    """
    shutil.rmtree(folder / "generated", ignore_errors=True)  # pages of names that are gone
    packages = ["virolbi"] + [
        f"virolbi.{info.name}"
        for info in pkgutil.iter_modules(virolbi.__path__)
        if info.ispkg and not info.name.startswith("_") and info.name != "cli"
    ]
    lines = ["API", "===", "", "All public names, by package.", ""]
    for package in packages:
        (folder / f"{package}.rst").write_text(_package_page(package))
        lines += [f":doc:`{package}`", f"   {_first_line(importlib.import_module(package))}", ""]
    lines += [".. toctree::", "   :hidden:", "", *(f"   {package}" for package in packages)]
    (folder / "api.rst").write_text("\n".join(lines) + "\n")


def _first_line(module: ModuleType) -> str:
    """Return what a package is about."""
    return (module.__doc__ or "").splitlines()[0]


def _package_page(package: str) -> str:
    """Return the page of a package."""
    module = importlib.import_module(package)
    documented, others = [], []
    shared = [] if package == "virolbi" else sorted({*module.__all__} & {*virolbi.__all__})
    for name in sorted({*module.__all__} - {*shared}, key=str.lower):
        value = getattr(module, name)
        has_page = inspect.isfunction(value) or (inspect.isclass(value) and bool(value.__doc__))
        (documented if has_page else others).append(name)
    lines = [package, "=" * len(package), "", _first_line(module), ""]
    lines += [f".. currentmodule:: {package}", "", ".. autosummary::", "   :toctree: generated", ""]
    lines += [f"   {name}" for name in documented]
    if shared:
        lines += [
            "",
            "Described with ``virolbi``: " + ", ".join(f":obj:`virolbi.{n}`" for n in shared) + ".",
        ]
    if others:
        lines += ["", "Constants and types: " + ", ".join(f"``{name}``" for name in others) + "."]
    return "\n".join(lines) + "\n"
