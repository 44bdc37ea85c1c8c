"""The variables that a template declares: what may be declared, and the data that its words get, with fallbacks in it.

Words are rendered by `control.rendering`, which knows nothing of this: a variable needs no declaration.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mta.errors import InvalidInput, Unprocessable
from mta.model import Defaults, Variable
from mta.protocol.mailboxes import parse_mailboxes

STRING, NUMBER = "string", "number"
MAX_VARIABLES: Final = 50
MAX_FALLBACK: Final = 2000  # characters
MAX_NUMBER: Final = 2**53  # above it JSON's numbers are not exact everywhere
MAX_REPLY_TO: Final = 50
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")


def check_defaults(defaults: Defaults) -> None:
    """Raises InvalidInput."""
    if defaults.author:
        _check_addresses("from", [defaults.author])
    if len(defaults.reply_to) > MAX_REPLY_TO:
        raise InvalidInput(f"reply_to has at most {MAX_REPLY_TO} addresses.", field="reply_to")
    _check_addresses("reply_to", defaults.reply_to)
    _check_variables(defaults.variables)


def _check_addresses(field: str, given: Sequence[str]) -> None:
    for text in given:
        found = parse_mailboxes(text)
        if found.problem or len(found.mailboxes) != 1:
            raise InvalidInput(f"{field}: {found.problem or 'One address is wanted.'}", field=field)


def _check_variables(variables: Sequence[Variable]) -> None:
    if len(variables) > MAX_VARIABLES:
        raise InvalidInput(f"A template declares at most {MAX_VARIABLES} variables.", field="variables")
    seen = set[str]()
    for index, each in enumerate(variables):
        place = f"variables[{index}]"
        if not _KEY.fullmatch(each.key):
            raise InvalidInput(
                f'"{each.key[:60]}" is no name of a variable: use up to 50 letters, digits and "_", and no digit first.',
                field=f"{place}.key",
            )
        if each.key in seen:
            raise InvalidInput(f"The variable {each.key} is declared twice.", field=f"{place}.key")
        seen.add(each.key)
        if each.type not in (STRING, NUMBER):
            raise InvalidInput(f'The variable {each.key} is a "string" or a "number".', field=f"{place}.type")
        if each.fallback is not None and not _fits(each, each.fallback):
            raise InvalidInput(f"The fallback of {each.key} is no {each.type}.", field=f"{place}.fallback_value")
        if isinstance(each.fallback, str) and len(each.fallback) > MAX_FALLBACK:
            raise InvalidInput(
                f"The fallback of {each.key} has more than {MAX_FALLBACK} characters.", field=f"{place}.fallback_value"
            )


def filled(variables: Sequence[Variable], data: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The data with fallbacks where it says nothing, and the variables that neither says anything of.

    Raises Unprocessable (`template_variable_invalid`) where a value is not of its variable's type.
    """
    values, missing = dict(data), list[str]()
    for each in variables:
        value = data.get(each.key)
        if value is None:
            value = each.fallback
        if value is None:
            missing.append(each.key)
            values.pop(each.key, None)
            continue
        if not _fits(each, value):
            raise Unprocessable(
                f"The variable {each.key} is a {each.type}, and its value is not.",
                code="template_variable_invalid",
                field=each.key,
            )
        values[each.key] = value
    return values, tuple(missing)


def _fits(variable: Variable, value: object) -> bool:
    if variable.type == STRING:
        return isinstance(value, str)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and abs(value) <= MAX_NUMBER  # type: ignore[arg-type]
