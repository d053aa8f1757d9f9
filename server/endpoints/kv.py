"""KVS.*: keys and values. Source: state store specification, sections 3 and 4; HTTP API, section 4."""

from acl import access
from base.errors import Refused
from fsm.commands.registry import KVS, Refusal, encode_command
from fsm.store import kv
from server.endpoints.registry import Call, Kind, Query, method
from structs.kv import (
    KVApplyReply,
    KVApplyRequest,
    KVGetReply,
    KVGetRequest,
    KVKeysReply,
    KVKeysRequest,
    KVListReply,
    KVListRequest,
    KVVerb,
    check_write,
)


@method("KVS.Get", request=KVGetRequest, reply=KVGetReply, access=access.key_read("key"), kind=Kind.READ)
def get(query: Query, request: KVGetRequest) -> KVGetReply:
    """One key; its own index if it exists, the tables' index if it does not."""
    if query.watch_set is not None:
        query.watch_set.key("kvs", request.key)
    entry, index = kv.get(query.view, request.key)
    return KVGetReply(entry=entry, meta=query.meta(index))


@method("KVS.List", request=KVListRequest, reply=KVListReply, access=access.key_list("prefix"), kind=Kind.READ)
def list_entries(query: Query, request: KVListRequest) -> KVListReply:
    """Every entry under a prefix."""
    if query.watch_set is not None:
        query.watch_set.prefix("kvs", request.prefix)
    entries, index = kv.list_entries(query.view, request.prefix)
    return KVListReply(entries=entries, meta=query.meta(index))


@method("KVS.ListKeys", request=KVKeysRequest, reply=KVKeysReply, access=access.key_list("prefix"), kind=Kind.READ)
def list_keys(query: Query, request: KVKeysRequest) -> KVKeysReply:
    """Keys under a prefix, folded at a separator."""
    if query.watch_set is not None:
        query.watch_set.prefix("kvs", request.prefix)
    keys, index = kv.list_keys(query.view, request.prefix, request.separator)
    return KVKeysReply(keys=keys, meta=query.meta(index))


@method(
    "KVS.Apply", request=KVApplyRequest, reply=KVApplyReply, access=access.key_write("command.key"), kind=Kind.WRITE
)
async def apply(call: Call, request: KVApplyRequest) -> KVApplyReply:
    """One write, applied before it is answered."""
    services = call.services
    command = request.command
    check_write(command, value_bytes_max=services.config.kv_value_bytes_max)
    if command.verb is KVVerb.LOCK:
        await know_lost_locks(call)
        sessions = services.sessions
        if not sessions.may_lock(command.key) or sessions.is_held_by_other(command.key, command.session):
            return KVApplyReply(ok=False)
    result = await services.raft.propose(encode_command(KVS, command), timeout_s=services.config.write_timeout_s)
    if type(result) is Refusal:
        raise Refused(result.text)
    assert isinstance(result, KVApplyReply)
    return result


async def know_lost_locks(call: Call) -> None:
    """Return once this server, as the leader, has applied everything of the leaders before it; raises NoLeader."""
    services = call.services
    if not services.raft.lease_valid():
        await services.raft.confirm_leadership(timeout_s=services.config.rpc_hold_timeout_s)
