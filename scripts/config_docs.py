#!/usr/bin/env python3
"""Print docs/operating/configuration.md from the table of options; with --write, write it."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "operating" / "configuration.md"
sys.path.insert(0, str(ROOT))

from agent.config.option import Kind, Option, Reader, Status  # noqa: E402
from agent.config.options import OPTIONS, RENAMED  # noqa: E402

INTRODUCTION = """# Configuration

<!-- Made by scripts/config_docs.py from agent/config/options.py. Do not edit. -->

Every option is a key of a configuration file, and many are flags too. Files are JSON or HCL (version 1 of the
language); key names, nesting and meaning are those of Consul, so its files can be used as they are.

## Sources and their order

Later ones override earlier ones; lists are appended, maps are merged:

1. the defaults below, and with `-dev` those of development;
2. flags whose value is a list or a map, such as `-retry-join`;
3. `-config-file` and `-config-dir`, in the order of the command line (a directory stands for its `*.json` and `*.hcl`
   by name, without its subdirectories; `-config-format` says what files with other names hold);
4. all other flags;
5. `-hcl`, a fragment of a file on the command line.

Flags are written `-x value`, `-x=value` or `--x=value`; switches `-x` or `-x=false`. A key that does not exist, a value
of the wrong type and options that contradict one another stop the start, each with its place:

    server.json: ports.htttp: invalid config key

`mesh validate FILE...` says the same without starting anything. `mesh-server` implies `server = true`; `mesh-agent`
with `server = true` becomes a server. Durations are texts such as `"10s"`, `"1m30s"`, `"200ms"`.

Addresses (`bind_addr`, `advertise_addr`, `client_addr`, `retry_join`, ...) may hold templates: `{{ GetPrivateIP }}`,
`{{ GetPublicIP }}`, `{{ GetInterfaceIP "eth0" }}`, and the same with a final `s` for all addresses. Other templates are
refused. Without `bind_addr` and `advertise_addr` a node tells others its only private IPv4 address; if it has none or
several, one must be given.

SIGHUP reads everything again; the options marked *yes* below change at once, others need a restart.

## Development mode

`-dev` starts one server that keeps nothing: `server`, log level DEBUG, bound to 127.0.0.1, indented JSON, and it forms
its own cluster at once.
"""


def main() -> int:
    """Print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())
    return 0


def page() -> str:
    """Return the whole page."""
    used = [option for option in OPTIONS if option.status is Status.USED]
    later = [option for option in OPTIONS if option.status is Status.LATER]
    parts = [
        INTRODUCTION,
        "## Options\n",
        *_table(used),
        "\n## Known, without effect yet\n",
        "These are checked, and setting one is a warning at the start. Where it matters, the note says what happens",
        "instead.\n",
        *_later_table(later),
        "\n## Older names\n",
        "| name | means |",
        "| --- | --- |",
        *(f"| `{old}` | `{new}` |" for old, new in sorted(RENAMED.items())),
    ]
    return "\n".join(parts) + "\n"


def _table(options: list[Option]) -> list[str]:
    lines = ["| key | flag | default | reload | |", "| --- | --- | --- | --- | --- |"]
    for option in sorted(options, key=lambda option: option.path):
        reload = "yes" if option.reloadable else ""
        lines.append(f"| `{option.path}` | {_flag(option)} | {_default(option)} | {reload} | {_doc(option)} |")
    return lines


def _later_table(options: list[Option]) -> list[str]:
    lines = ["| key | flag | default | |", "| --- | --- | --- | --- |"]
    for option in sorted(options, key=lambda option: option.path):
        note = f" *Now: {option.caution}.*" if option.caution else ""
        lines.append(f"| `{option.path}` | {_flag(option)} | {_default(option)} | {_doc(option)}{note} |")
    return lines


def _flag(option: Option) -> str:
    return f"`-{option.flag}`" if option.flag else ""


def _default(option: Option) -> str:
    if option.default is None or option.default in ("", [], {}):
        return ""
    if option.kind is Kind.BOOL:
        return f"`{str(option.default).lower()}`"
    return f"`{option.default}`"


def _doc(option: Option) -> str:
    whom = {Reader.SERVER: " Servers only.", Reader.AGENT: " Agents only.", Reader.BOTH: ""}[option.reader]
    return option.doc.replace("|", "\\|") + whom


if __name__ == "__main__":
    sys.exit(main())
