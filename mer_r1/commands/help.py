"""How the help of a command is laid out: a usage of what must be given, and choices that fit on a line."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

MOST_OPTIONS = 5  # that a usage names one by one
_WIDEST_CHOICES = 45


class Help(argparse.HelpFormatter):
    """argparse's layout, but long lists of options stand below the usage alone, and long choices in the help's text."""

    def add_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], groups: Iterable[Any], prefix: str | None = None
    ) -> None:
        actions, groups = [*actions], [*groups]
        one_of = {id(action) for group in groups if group.required for action in group._group_actions}
        optional = [a for a in actions if a.option_strings and not a.required and id(a) not in one_of]
        if len(optional) > MOST_OPTIONS:
            left_out = {id(action) for action in optional}
            short = argparse.Action(["options"], "options", nargs=0)
            actions = [short, *(action for action in actions if id(action) not in left_out)]
            groups = [group for group in groups if group.required]
        super().add_usage(usage, actions, groups, prefix)

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Any:
        if _is_long(action):
            return lambda size: (default_metavar,) * size
        return super()._metavar_formatter(action, default_metavar)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = super()._get_help_string(action)
        return f"{text}: {', '.join(map(str, action.choices or ()))}" if _is_long(action) else text


def _is_long(action: argparse.Action) -> bool:
    """Whether choices take more room than a line has. A list of commands has lines of its own."""
    if action.choices is None or action.metavar is not None or action.nargs == argparse.PARSER:
        return False
    return len(",".join(map(str, action.choices))) > _WIDEST_CHOICES
