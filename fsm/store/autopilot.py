"""The configuration of autopilot: one row. Source: state store specification, sections 9 and 14.

| table            | key       | value                                     |
| ---------------- | --------- | ----------------------------------------- |
| autopilot-config | `config`  | encoded `AutopilotConfig`, 16-byte hash   |
"""

from msgspec.structs import replace

from base.codec import decode, encode
from fsm.digest import DIGEST_BYTES
from fsm.store.store import Batch, View
from fsm.store.tables import AUTOPILOT
from structs.autopilot import AutopilotConfig

KEY = b"config"


def of_row(row: bytes) -> AutopilotConfig:
    """Return the stored row as the record."""
    return decode(AutopilotConfig, memoryview(row)[:-DIGEST_BYTES])


def get(view: View) -> AutopilotConfig | None:
    """Return the configuration, or None before the first leader has written one."""
    row = view.get(AUTOPILOT, KEY)
    return of_row(row) if row is not None else None


def put(batch: Batch, config: AutopilotConfig) -> None:
    """Store the configuration, unless it is the same already."""
    old = get(batch)
    if old is not None and replace(config, create_index=old.create_index, modify_index=old.modify_index) == old:
        return
    create_index = old.create_index if old is not None else batch.index
    row = replace(config, create_index=create_index, modify_index=batch.index)
    batch.write(AUTOPILOT, KEY, encode(row), batch.get(AUTOPILOT, KEY))
    batch.touched_keys[AUTOPILOT.name][KEY] = None
