"""The id of a data directory: a UUID, made once. Source: servers specification, section 10."""

import uuid
from pathlib import PurePath

from base.chance import uuid_from_system
from base.disk import Disk, write_atomically
from base.errors import ConfigInvalid, DataDamaged

FILE_NAME = "node-id"


def read_or_make(disk: Disk, folder: PurePath, *, configured: str) -> str:
    """Return the node id: of the configuration, or of the file, or a new one, which is durable afterwards.

    Raises ConfigInvalid where the configuration contradicts the file, DataDamaged for a file that holds no id.
    """
    path = folder / FILE_NAME
    if disk.exists(path):
        text = disk.read(path).decode("ascii", "replace").strip()
        if not _is_uuid(text):
            raise DataDamaged(f"{path} does not hold a node id: restore it, or remove it to become a new node")
        if configured and configured.lower() != text.lower():
            raise ConfigInvalid(f"node_id is {configured}, but {path} says {text}: a data directory keeps its id")
        return text.lower()
    made = configured.lower() or uuid_from_system()
    write_atomically(disk, path, (made + "\n").encode())
    return made


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
