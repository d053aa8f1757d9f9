"""The counters that blocking queries compare. Source: state store specification, sections 2 and 3.

| query                        | index                                                                        |
| ---------------------------- | ---------------------------------------------------------------------------- |
| kv get, key exists           | its ModifyIndex                                                              |
| kv get, key absent           | max(kvs, tombstones), at least 1                                             |
| kv list or keys of a prefix  | max ModifyIndex under it and of tombstones under it; 0: max(kvs, tombstones) |
| kv list or keys of all       | max(kvs, tombstones), at least 1                                             |
| nodes                        | nodes                                                                        |
| services of a node           | max(nodes, services), whether the node exists or not                         |
| checks of a node             | checks                                                                       |
| checks in a state            | checks; of nodes with certain metadata: max(nodes, checks)                   |
| coordinates                  | coordinates                                                                  |
| sessions: one, of a node,    | sessions                                                                     |
| all                          |                                                                              |
| prepared queries             | prepared-queries                                                             |
| services                     | services; of nodes with certain metadata, or filtered: max(nodes, services)  |
| instances of a service       | service.<name>; where it has none: max(nodes, services)                      |
| the same with their checks   | service.<name>; where it has none: max(nodes, services, checks)              |
| checks of a service          | checks; of nodes with certain metadata: as instances with their checks       |
| nodes with everything        | max(nodes, services, checks)                                                 |

An index of 0 would mean "don't block" when it comes back, so none is ever given out.
"""

from fsm.store.store import View

INDEX_MIN = 1


def of_tables(view: View, *names: str) -> int:
    """Return the highest counter among `names`, at least 1."""
    return max(INDEX_MIN, *(view.index_row(name) for name in names))
