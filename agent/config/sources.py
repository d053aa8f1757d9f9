"""Flags and files -> ordered sources of checked values. All complaints are collected, each with its place.

Source: agent specification, section 2. Order, later overrides: list-valued flags, files in command-line order, scalar
flags, `-hcl` fragments. (Defaults come before all of them; `load.py` puts them there.)
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from agent.config.option import Kind, Option, Status
from agent.config.options import BY_FLAG, BY_PATH, RENAMED, SECTIONS
from agent.config.values import WrongValue, checked, from_text
from base import hcl
from base.errors import ConfigInvalid, InvalidRequest

FILE_BYTES_MAX = 4 << 20
"""One configuration file. Far above what people write; a wrong path must not fill memory."""
FILES_MAX = 1000

LISTS = (Kind.TEXTS, Kind.TEXT_MAP, Kind.ROWS)
FORMATS = ("json", "hcl")


class Source(msgspec.Struct):
    """Checked values by path, from one place; `places` says where each was written."""

    values: dict[str, object]
    places: dict[str, str]

    def put(self, path: str, value: object, place: str) -> None:
        """Set one value, appending to a list and merging into a map that is already here."""
        old = self.values.get(path)
        if old is not None and BY_PATH[path].kind in LISTS:
            value = joined(old, value)
        self.values[path] = value
        self.places[path] = place


class CommandLine(msgspec.Struct):
    """Arguments taken apart, nothing read yet."""

    values: list[tuple[Option, str]]
    files: list[str]
    fragments: list[str]
    format: str = ""
    dev: bool = False
    help: bool = False
    version: bool = False


def joined(old: object, new: object) -> object:
    """A later list is appended to an earlier one, a later map merged over an earlier one."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **new}
    assert isinstance(old, list)
    assert isinstance(new, list)
    return [*old, *new]


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Take `-x`, `--x`, `-x=v` and `-x v` apart; raises ConfigInvalid naming the argument."""
    line = CommandLine(values=[], files=[], fragments=[])
    position = 0
    while position < len(argv):
        argument = argv[position]
        position += 1
        if not argument.startswith("-") or argument in ("-", "--"):
            raise ConfigInvalid(f"unexpected argument {argument!r}: every setting is a flag, as in -data-dir=PATH")
        name, has_value, text = argument.lstrip("-").partition("=")
        if _is_switch(name):
            text = text if has_value else "true"
        elif not has_value:
            if name not in BY_FLAG and name not in _CONFIG_FLAGS:
                raise ConfigInvalid(f"-{name}: unknown flag")
            if position >= len(argv):
                raise ConfigInvalid(f"-{name}: needs a value")
            text = argv[position]
            position += 1
        _take(line, name, text)
    return line


_CONFIG_FLAGS = ("config-file", "config-dir", "config-format", "hcl")
_SWITCHES = ("dev", "help", "h", "version", "v")


def _is_switch(name: str) -> bool:
    option = BY_FLAG.get(name)
    return name in _SWITCHES or (option is not None and option.kind is Kind.BOOL)


def _take(line: CommandLine, name: str, text: str) -> None:
    if name in ("config-file", "config-dir"):
        line.files.append(text)
    elif name == "hcl":
        line.fragments.append(text)
    elif name == "config-format":
        if text not in FORMATS:
            raise ConfigInvalid(f"-config-format: expected json or hcl, found {text!r}")
        line.format = text
    elif name in _SWITCHES:
        if text not in ("true", "false"):
            raise ConfigInvalid(f"-{name}: expected true or false, found {text!r}")
        attribute = {"h": "help", "v": "version"}.get(name, name)
        setattr(line, attribute, text == "true")
    elif name in BY_FLAG:
        line.values.append((BY_FLAG[name], text))
    else:
        raise ConfigInvalid(f"-{name}: unknown flag")


def sources_of(line: CommandLine, complaints: list[str], warnings: list[str]) -> list[Source]:
    """Read everything the command line names, in order of precedence, weakest first."""
    lists = Source({}, {})
    scalars = Source({}, {})
    for option, text in line.values:
        target = lists if option.kind in LISTS else scalars
        if option.status is Status.LATER:
            warnings.append(f"-{option.flag}: {option.warning()}")
        try:
            target.put(option.path, from_text(option, text), f"-{option.flag}")
        except WrongValue as error:
            complaints.append(f"-{option.flag}: {error}")
    files = []
    for name in line.files:
        for path in _files_at(Path(name), line.format, complaints):
            parsed = _read(path, line.format, complaints)
            if parsed is not None:
                files.append(tree_source(parsed, str(path), complaints, warnings))
    fragments = []
    for text in line.fragments:
        parsed = _parse(text, "hcl", "-hcl", complaints)
        if parsed is not None:
            fragments.append(tree_source(parsed, "-hcl", complaints, warnings))
    return [lists, *files, scalars, *fragments]


def _files_at(path: Path, forced: str, complaints: list[str]) -> list[Path]:
    """The files that one -config-file or -config-dir means: itself, or *.json and *.hcl in it, by name."""
    try:
        if not path.is_dir():
            if forced or path.suffix in (".json", ".hcl"):
                return [path]
            complaints.append(f"{path}: the name must end in .json or .hcl, or -config-format must be given")
            return []
        found = sorted(entry for entry in path.iterdir() if entry.is_file())
    except OSError as error:
        complaints.append(f"{path}: {error.strerror}")
        return []
    wanted = [entry for entry in found if forced or entry.suffix in (".json", ".hcl")]
    if len(wanted) > FILES_MAX:
        complaints.append(f"{path}: more than {FILES_MAX} configuration files")
        return []
    return wanted


def _read(path: Path, forced: str, complaints: list[str]) -> dict[str, object] | None:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            complaints.append(f"{path}: larger than {FILE_BYTES_MAX} bytes")
            return None
        text = data.decode("utf-8-sig")
    except OSError as error:
        complaints.append(f"{path}: {error.strerror}")
        return None
    except UnicodeDecodeError as error:
        complaints.append(f"{path}: not UTF-8 at byte {error.start}")
        return None
    return _parse(text, forced or path.suffix[1:], str(path), complaints)


def _parse(text: str, format_: str, place: str, complaints: list[str]) -> dict[str, object] | None:
    try:
        if format_ == "hcl":
            return hcl.parse(text)
        value = json.loads(text, object_pairs_hook=_no_duplicates) if text.strip() else {}
    except RecursionError:
        complaints.append(f"{place}: nested too deeply")
        return None
    except (ValueError, InvalidRequest) as error:
        complaints.append(f"{place}: {error}")
        return None
    if not isinstance(value, dict):
        complaints.append(f"{place}: expected a JSON object")
        return None
    return value


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"duplicate key {key!r}")
            seen.add(key)
    return result


def tree_source(tree: dict[str, object], place: str, complaints: list[str], warnings: list[str]) -> Source:
    """Flatten a parsed file; unknown keys and wrong types become complaints with their place.

    Files that serve old and new releases write a key under its old and its new name: the new one counts.
    """
    source = Source({}, {})
    names: dict[str, str] = {}
    for path, value in _leaves(tree, "", place, complaints):
        known = RENAMED.get(path, path)
        option = BY_PATH[known]
        if value is None:
            continue  # JSON null, as other tools write for "not set"
        if option.kind not in LISTS:
            other = names.get(known)
            if other == path:
                complaints.append(f"{place}: {path}: set twice")
                continue
            if other is not None:
                kept, dropped = (path, other) if path == known else (other, path)
                warnings.append(f"{place}: {dropped}: has no effect beside {kept}, its newer name")
                if kept == other:
                    continue
            names[known] = path
        try:
            source.put(known, checked(option, value), f"{place}: {path}")
        except WrongValue as error:
            complaints.append(f"{place}: {path}: {error}")
            continue
        if option.status is Status.LATER:
            warnings.append(f"{place}: {path}: {option.warning()}")
    return source


def _leaves(tree: dict[str, object], prefix: str, place: str, complaints: list[str]) -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        path = prefix + key
        if path in BY_PATH or path in RENAMED:
            yield path, value
        elif path not in SECTIONS:
            complaints.append(f"{place}: {path}: invalid config key")
        elif value is None:
            continue
        else:
            # A block may be written several times, and JSON writers wrap blocks in lists: [{...}].
            blocks = value if isinstance(value, list) else [value]
            for block in blocks:
                if isinstance(block, dict):
                    yield from _leaves(block, path + ".", place, complaints)
                else:
                    complaints.append(f"{place}: {path}: expected a map, found {type(block).__name__}")
