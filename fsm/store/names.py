"""Sans-IO. Keys made of names that users chose: lower case, joined so that no name can pretend to be two of them.

A name may hold any character, so the one that joins names stands in a key for nothing else:

| character of a name | in a key  |
| ------------------- | --------- |
| U+0000              | 01 01     |
| U+0001              | 01 02     |
| any other           | as it is  |

The order of keys is the order of names, character by character.
"""

JOINT = "\x00"
JOINT_BYTES = JOINT.encode()
_ESCAPES = str.maketrans({"\x00": "\x01\x01", "\x01": "\x01\x02"})


def lower(name: str) -> str:
    """Return the form of a name in which look-ups compare it.

    Character by character, as the system we are compatible with does it: a whole text would turn a final sigma into
    another letter than the same sigma in the middle.
    """
    return name.lower() if name.isascii() else "".join(map(str.lower, name))


def escaped(name: str) -> str:
    """Return `name` as it stands in a key, case kept."""
    return name.translate(_ESCAPES) if "\x00" in name or "\x01" in name else name


def key(*names: str) -> bytes:
    """Return the key of what these names name together, in any case of theirs."""
    joined = JOINT.join(names)
    if joined.isascii() and "\x01" not in joined and joined.count(JOINT) == len(names) - 1:
        return joined.lower().encode()
    # Half of a surrogate pair can be asked for but is never stored: the look-up finds nothing.
    return JOINT.join([escaped(lower(name)) for name in names]).encode(errors="surrogatepass")


def under(*names: str) -> bytes:
    """Return what all keys begin with whose first names are these."""
    return key(*names) + JOINT_BYTES
