"""From a file and the environment to checked `Settings`, before anything else of the daemon starts.

Three layers: the defaults, the file over them, the environment over both (`--dev` lies between file and environment).
All mistakes are collected and told at once, each with its line or variable.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from config import check, lines
from config.settings import Section, Settings
from mta.errors import ConfigError

SYSTEM_FILE = Path("/etc/posthouse/posthouse.toml")
DEV_DIR = Path("dev")  # in the working directory
PREFIX = "POSTHOUSE_"

_DEV_UNDER: dict[str, Any] = {"hostname": "localhost", "data_dir": str(DEV_DIR)}  # the file may say otherwise
_DEV_OVER: dict[str, Any] = {  # what --dev promises, whatever the file says
    "listeners": [
        {"role": "submission", "address": "127.0.0.1:2587", "tls": "starttls"},
        {"role": "inbound", "address": "127.0.0.1:2525", "tls": "starttls"},
    ],
    "api": {"address": "127.0.0.1:8025"},
    "outbound": {"capture": True},
    "webhooks": {"allow_private": True},
}
_EXPECTED = {str: "a text in quotes", bool: "true or false", Path: "a path in quotes"}
_S = TypeVar("_S", bound=Section)


def load(path: Path | None, env: Mapping[str, str], *, dev: bool = False, files: bool = False) -> Settings:
    """The settings of `path` (None: what POSTHOUSE_CONFIG names, else the usual place if it exists, else defaults).

    Raises ConfigError, whose message has a line `where: key: what is wrong and the way out` for each mistake and whose
    details hold them as `problems`. With `files`, what the daemon needs of the file system is looked at too.
    """
    path = config_file(path, env, dev=dev)
    origins: dict[str, str] = {}
    table = _read(path, origins) if path else {}
    if dev:
        table = _merge(_merge(_DEV_UNDER, table), _DEV_OVER)
    wrong: list[tuple[str, str]] = []
    _overlay(table, env, origins, wrong)
    settings = build(Settings, table, "", wrong)
    if settings is not None and not wrong:
        wrong = [*check.problems(settings), *(check.file_problems(settings) if files else [])]
    if settings is None or wrong:
        raise _error(wrong, str(path) if path else "defaults", origins)
    return _complete(settings, env)


def config_file(path: Path | None, env: Mapping[str, str], *, dev: bool = False) -> Path | None:
    """The file that holds: the one given, the one of POSTHOUSE_CONFIG, the usual one if it exists, or none."""
    if path or env.get("POSTHOUSE_CONFIG"):
        return path or Path(env["POSTHOUSE_CONFIG"])
    usual = DEV_DIR / "posthouse.toml" if dev else SYSTEM_FILE
    return usual if usual.is_file() else None


def _read(path: Path, origins: dict[str, str]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. `posthouse init` writes one.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from error
    origins.update({key: f"{path}:{number}" for number, key, _ in lines.keys(text)})
    return table


def _error(wrong: list[tuple[str, str]], source: str, origins: Mapping[str, str]) -> ConfigError:
    told = [f"{_origin(key, origins, source)}: {key}: {text}" for key, text in wrong]
    return ConfigError("\n".join(told), field=wrong[0][0], details={"problems": told})


def _origin(key: str, origins: Mapping[str, str], source: str) -> str:
    while key:
        if key in origins:
            return origins[key]
        key = re.sub(r"(?:^|\.)[^.\[]*$|\[\d+\]$", "", key)
    return source


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


# --- the environment ---


def _overlay(
    table: dict[str, Any], env: Mapping[str, str], origins: dict[str, str], wrong: list[tuple[str, str]]
) -> None:
    """Lay POSTHOUSE_A__B over table["a"]["b"].

    A name without `__` that is no key is left alone: Kubernetes sets POSTHOUSE_PORT and the like for a service.
    """
    for variable in sorted(name for name in env if name.startswith(PREFIX) and name != "POSTHOUSE_CONFIG"):
        names, raw = variable.removeprefix(PREFIX).lower().split("__"), env[variable]
        kind = _leaf(names)
        if kind is None and variable.endswith("_FILE") and (inner := _leaf([*names[:-1], names[-1][:-5]])):
            names[-1], kind = names[-1][:-5], inner
            try:
                raw = Path(raw).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                wrong.append((".".join(names), f"the file of {variable} cannot be read: {error}."))
        if kind is None and len(names) == 1:
            continue
        origins[".".join(names)] = f"environment variable {variable}"
        _put(table, names, _value(kind, raw))


def _leaf(names: list[str]) -> Any:
    """The type of the setting with this path, or None."""
    kind: Any = Settings
    for name in names:
        if not (isinstance(kind, type) and issubclass(kind, Section)):
            return None
        kind = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}.get(name)
    return kind


def _value(kind: Any, raw: str) -> Any:
    base = getattr(kind, "__origin__", kind) if hasattr(kind, "__metadata__") else kind
    if base in (str, Path, None) or get_origin(base) is Literal:
        return raw
    try:
        parsed = tomllib.loads(f"value = {raw}")
        if set(parsed) == {"value"}:
            return parsed["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:
        return json.loads(raw)
    except ValueError:
        return raw  # not even that: told as a value of the wrong type


def _put(table: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        inner = table.get(name)
        table[name] = dict(inner) if isinstance(inner, dict) else {}
        table = table[name]
    table[names[-1]] = value


# --- types ---

# Settings that did nothing and are gone. Files that `posthouse init` wrote name them, and an upgrade must still start.
RETIRED: Final = frozenset(
    f"limits.{name}" for name in ("line_bytes", "command_bytes", "auth_command_bytes", "mime_depth", "mime_parts")
)


def build(kind: type[_S], table: Any, at: str, wrong: list[tuple[str, str]], base: _S | None = None) -> _S | None:
    """The section, or None where there is a mistake, which is added to `wrong`.

    What the table leaves out is as in `base`, else the default of the key.
    """
    if not isinstance(table, dict):
        wrong.append((at, f"{_shown(table)} is not a table."))
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    before, values = len(wrong), {}
    for name, value in table.items():
        key = f"{at}.{name}" if at else name
        if name in fields:
            values[name] = _convert(fields[name], value, key, wrong)
        elif key not in RETIRED:
            wrong.append((key, f"There is no such setting{_did_you_mean(name, fields)}"))
    for name, field in fields.items():
        if field.required and name not in table and base is None:
            wrong.append((at, f"`{name}` is missing."))
    if len(wrong) > before:
        return None
    return msgspec.structs.replace(base, **values) if base is not None else kind(**values)


def _convert(field: FieldInfo, value: Any, key: str, wrong: list[tuple[str, str]]) -> Any:
    kind = field.type
    if isinstance(kind, type) and issubclass(kind, Section):
        return build(kind, value, key, wrong, field.default)
    inner = get_args(kind)[0] if get_origin(kind) is tuple else None
    if isinstance(inner, type) and issubclass(inner, Section):
        if not isinstance(value, list):
            wrong.append((key, f"{_shown(value)} is not a list of tables; write [[{key}]]."))
            return None
        return tuple(build(inner, item, f"{key}[{index}]", wrong) for index, item in enumerate(value))
    try:
        return msgspec.convert(value, kind, dec_hook=_path)
    except msgspec.ValidationError:
        wrong.append((key, _not_a(kind, value)))
        return None


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise msgspec.ValidationError(f"{value!r} is not {_EXPECTED[Path]}")


def _not_a(kind: Any, value: Any) -> str:
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        one_of = ", ".join(f'"{choice}"' for choice in choices)
        return f"{_shown(value)} is none of {one_of}{_did_you_mean(str(value), choices)}"
    for meta in getattr(kind, "__metadata__", ()):
        return f"{_shown(value)} is not {meta.description}."
    return f"{_shown(value)} is not {_EXPECTED[kind]}."


def _did_you_mean(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else "."


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


# --- what is left empty ---


def _complete(settings: Settings, env: Mapping[str, str]) -> Settings:
    hostname = settings.hostname or socket.gethostname().lower()
    return msgspec.structs.replace(
        settings,
        hostname=hostname,
        bounce_domain=settings.bounce_domain or hostname,
        secret_key_file=settings.secret_key_file or str(_secret_key_file(settings, env)),
        api=msgspec.structs.replace(
            settings.api, public_url=(settings.api.public_url or f"http://{settings.api.address}").rstrip("/")
        ),
    )


def _secret_key_file(settings: Settings, env: Mapping[str, str]) -> Path:
    credential = Path(env.get("CREDENTIALS_DIRECTORY", "")) / "posthouse.key"
    if env.get("CREDENTIALS_DIRECTORY") and os.access(credential, os.R_OK):
        return credential
    return settings.data_dir / "secret.key"
