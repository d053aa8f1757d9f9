"""Every command on one page: its words, arguments, flags, help, and where its handler is.

Handlers are named, not imported: `mesh kv get` loads what reads a key and nothing else.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from mesh.cli.flags import Flag, FlagKind

if TYPE_CHECKING:
    from mesh.cli.context import Context

SWITCH, TEXT, NUMBER, TEXTS = FlagKind.SWITCH, FlagKind.TEXT, FlagKind.NUMBER, FlagKind.TEXTS

CLIENT_FLAGS = (
    Flag("http-addr", TEXT, "Address of the agent, default 127.0.0.1:8500.", environment="CONSUL_HTTP_ADDR"),
    Flag("token", TEXT, "Token to send.", environment="CONSUL_HTTP_TOKEN"),
    Flag("token-file", TEXT, "File that holds the token.", environment="CONSUL_HTTP_TOKEN_FILE"),
    Flag("ca-file", TEXT, "Certificate authority of the agent, PEM.", environment="CONSUL_CACERT"),
    Flag("ca-path", TEXT, "Folder of such files.", environment="CONSUL_CAPATH"),
    Flag("client-cert", TEXT, "Own certificate, PEM.", environment="CONSUL_CLIENT_CERT"),
    Flag("client-key", TEXT, "Key of that certificate, PEM.", environment="CONSUL_CLIENT_KEY"),
    Flag("tls-server-name", TEXT, "Name in the agent's certificate.", environment="CONSUL_TLS_SERVER_NAME"),
)
SERVER_FLAGS = (
    Flag("datacenter", TEXT, "Datacenter to ask; default: the agent's."),
    Flag("stale", SWITCH, "Let any server answer, not the leader only."),
)


class Command:
    """One command. `target` is `module:function`; `client` and `server` add the flags of everything that talks HTTP."""

    __slots__ = ("arguments", "flags", "help", "path", "summary", "target")

    def __init__(
        self,
        path: str,
        target: str,
        summary: str,
        *,
        arguments: str = "",
        details: str = "",
        flags: tuple[Flag, ...] = (),
        client: bool = False,
        server: bool = False,
    ) -> None:
        self.path = path
        self.target = target
        self.summary = summary
        self.arguments = arguments
        self.help = details
        self.flags = (*flags, *(CLIENT_FLAGS if client else ()), *(SERVER_FLAGS if server else ()))

    def handler(self) -> "Callable[[Context], int]":
        """Import and return what carries the command out."""
        module, _, function = self.target.partition(":")
        found: Callable[[Context], int] = getattr(import_module(module), function)
        return found

    def usage(self) -> str:
        """The help of this command."""
        lines = [f"Usage: mesh {self.path} [options] {self.arguments}".rstrip(), "", f"  {self.summary}"]
        if self.help:
            lines += ["", *(f"  {line}".rstrip() for line in self.help.splitlines())]
        if self.flags:
            lines += ["", "Options:", ""]
            for flag in self.flags:
                value = f"=<{flag.kind.value.split(',')[0]}>" if flag.kind.value else ""
                variable = f" Or {flag.environment}." if flag.environment else ""
                lines += [f"  -{flag.name}{value}", f"     {flag.doc}{variable}"]
        return "\n".join(lines)


_CAS = (
    Flag("cas", SWITCH, "Only if the entry's index is that of -modify-index."),
    Flag("modify-index", NUMBER, "The index for -cas; 0: only if there is no entry."),
)
_DATA = "DATA is a text, @FILE, or - for standard input."

_ALL = (
    Command("agent", "mesh.cli.agent:agent", "Run an agent or, with -server, a server", arguments="[agent flags]"),
    Command("catalog datacenters", "mesh.cli.catalog:datacenters", "List the datacenters", client=True, server=True),
    Command(
        "catalog nodes",
        "mesh.cli.catalog:nodes",
        "List the nodes",
        flags=(
            Flag("detailed", SWITCH, "Print tagged addresses and meta data too."),
            Flag("near", TEXT, "Nearest to this node first; _agent: the agent's own."),
            Flag("node-meta", TEXTS, "Only nodes with this key=value."),
            Flag("service", TEXT, "Only nodes with an instance of this service."),
        ),
        client=True,
        server=True,
    ),
    Command(
        "catalog services",
        "mesh.cli.catalog:services",
        "List the services",
        flags=(
            Flag("node", TEXT, "Only those of this node."),
            Flag("node-meta", TEXTS, "Only those on nodes with this key=value."),
            Flag("tags", SWITCH, "Print tags too."),
        ),
        client=True,
        server=True,
    ),
    Command(
        "event",
        "mesh.cli.event:event",
        "Send an event to the agents",
        arguments="[PAYLOAD]",
        details="Filters are regular expressions: only agents where they match take the event.",
        flags=(
            Flag("name", TEXT, "Name of the event."),
            Flag("node", TEXT, "Filter of node names."),
            Flag("service", TEXT, "Filter of services on the node."),
            Flag("tag", TEXT, "Filter of the service's tags; needs -service."),
        ),
        client=True,
        server=True,
    ),
    Command(
        "exec",
        "mesh.cli.exec:exec_",
        "Run a command on agents that allow it",
        arguments="COMMAND... | -",
        details="Filters are regular expressions. With - a script is read from standard input.",
        flags=(
            Flag("node", TEXT, "Filter of node names."),
            Flag("service", TEXT, "Filter of services on the node."),
            Flag("tag", TEXT, "Filter of the service's tags; needs -service."),
            Flag("prefix", TEXT, "Where the job is kept, default _rexec."),
            Flag("shell", SWITCH, "Run it by a shell, which is the default; =false to run it as it is."),
            Flag("wait", TEXT, "For how long nobody may be heard of until it ends, default 2s."),
            Flag("wait-repl", TEXT, "How long the job is given to spread, default 200ms."),
            Flag("verbose", SWITCH, "Say on stderr what happens."),
        ),
        client=True,
        server=True,
    ),
    Command(
        "force-leave",
        "mesh.cli.join:force_leave",
        "Turn a failed member into one that left",
        arguments="NODE",
        flags=(Flag("prune", SWITCH, "Forget it at once."),),
        client=True,
    ),
    Command("info", "mesh.cli.info:info", "Print what an agent says about itself", client=True),
    Command(
        "join",
        "mesh.cli.join:join",
        "Make the agent join a cluster",
        arguments="ADDRESS...",
        flags=(Flag("wan", SWITCH, "Join a server to the servers of all datacenters."),),
        client=True,
    ),
    Command("keygen", "mesh.cli.keygen:keygen", "Make a key for gossip encryption"),
    Command(
        "keyring",
        "mesh.cli.keyring:keyring",
        "Look after the keys of gossip encryption",
        details="Exactly one of -list, -install, -use and -remove. The agent must be a server's.",
        flags=(
            Flag("list", SWITCH, "List the keys and how many nodes have each."),
            Flag("install", TEXT, "Give this key to all nodes."),
            Flag("use", TEXT, "Make this installed key the one that is sent with."),
            Flag("remove", TEXT, "Take this key away; not the one that is sent with."),
            Flag("relay-factor", NUMBER, "How many nodes answers are sent through besides, 0 to 5."),
        ),
        client=True,
    ),
    Command(
        "kv delete",
        "mesh.cli.kv:delete",
        "Remove a key, or all keys with a prefix",
        arguments="KEY_OR_PREFIX",
        flags=(Flag("recurse", SWITCH, "Remove every key that starts with it."), *_CAS),
        client=True,
        server=True,
    ),
    Command(
        "kv export",
        "mesh.cli.kv:export",
        "Print keys and values as JSON",
        arguments="[PREFIX]",
        client=True,
        server=True,
    ),
    Command(
        "kv get",
        "mesh.cli.kv:get",
        "Print the value of a key, or list keys",
        arguments="[KEY_OR_PREFIX]",
        flags=(
            Flag("base64", SWITCH, "Print values in base64."),
            Flag("detailed", SWITCH, "Print indexes, flags and session too."),
            Flag("keys", SWITCH, "Print keys that start with it, folded at the separator."),
            Flag("recurse", SWITCH, "Print every key that starts with it, with its value."),
            Flag("separator", TEXT, "Where -keys folds, default /."),
        ),
        client=True,
        server=True,
    ),
    Command(
        "kv import",
        "mesh.cli.kv:import_",
        "Write keys and values that export printed",
        arguments="DATA",
        details=_DATA,
        flags=(Flag("prefix", TEXT, "Put it before every key."),),
        client=True,
        server=True,
    ),
    Command(
        "kv put",
        "mesh.cli.kv:put",
        "Write a key",
        arguments="KEY [DATA]",
        details=_DATA,
        flags=(
            Flag("acquire", SWITCH, "Lock the key for -session."),
            Flag("release", SWITCH, "Unlock the key of -session."),
            Flag("session", TEXT, "Session id for -acquire and -release."),
            Flag("flags", NUMBER, "A number to keep with the value."),
            Flag("base64", SWITCH, "DATA is base64."),
            *_CAS,
        ),
        client=True,
        server=True,
    ),
    Command("leave", "mesh.cli.join:leave", "Make the agent leave its cluster and end", client=True),
    Command(
        "lock",
        "mesh.cli.lock:lock",
        "Run a program while a lock is held",
        arguments="PREFIX COMMAND...",
        details="The lock is advisory: see the manual on fencing. The program sees CONSUL_LOCK_HELD=true. It goes on "
        "without the lock where mesh itself is killed by SIGKILL.",
        flags=(
            Flag("n", NUMBER, "How many may hold it at a time, default 1."),
            Flag("timeout", TEXT, "How long to wait for it, default for ever."),
            Flag("try", TEXT, "The same under its old name."),
            Flag("name", TEXT, "Name of the session."),
            Flag("child-exit-code", SWITCH, "Exit with 2 where the program failed."),
            Flag("pass-stdin", SWITCH, "Let the program read standard input."),
            Flag("shell", SWITCH, "Run it by a shell, which is the default; =false to run it as it is."),
            Flag("monitor-retry", NUMBER, "How many looks at the lock may fail in a row, default 3."),
            Flag("verbose", SWITCH, "Say on stderr what happens."),
        ),
        client=True,
        server=True,
    ),
    Command(
        "maint",
        "mesh.cli.maint:maint",
        "Take the node or a service out of service, or list what is",
        flags=(
            Flag("enable", SWITCH, "Take it out."),
            Flag("disable", SWITCH, "Take it back."),
            Flag("reason", TEXT, "Why."),
            Flag("service", TEXT, "Id of the service; else the whole node."),
        ),
        client=True,
    ),
    Command(
        "members",
        "mesh.cli.members:members",
        "List the members of the cluster",
        flags=(
            Flag("detailed", SWITCH, "Print tags."),
            Flag("wan", SWITCH, "Members of the WAN: servers of all datacenters."),
            Flag("status", TEXT, "Only where the status matches this regular expression."),
            Flag("segment", TEXT, "Only this segment."),
        ),
        client=True,
    ),
    Command(
        "operator autopilot get-config",
        "mesh.cli.autopilot:get_config",
        "Print how servers are looked after",
        client=True,
        server=True,
    ),
    Command(
        "operator autopilot set-config",
        "mesh.cli.autopilot:set_config",
        "Change how servers are looked after",
        details="What no flag names stays as it is.",
        flags=(
            Flag("cleanup-dead-servers", SWITCH, "Remove dead servers when new ones come; =false to switch off."),
            Flag("last-contact-threshold", TEXT, "How long a healthy server may not hear of the leader."),
            Flag("max-trailing-logs", NUMBER, "How many entries a healthy server may be behind."),
            Flag("server-stabilization-time", TEXT, "How long a new server must be healthy before it votes."),
            Flag("redundancy-zone-tag", TEXT, "Kept, has no effect."),
            Flag("disable-upgrade-migration", SWITCH, "Kept, has no effect."),
            Flag("upgrade-version-tag", TEXT, "Kept, has no effect."),
        ),
        client=True,
        server=True,
    ),
    Command(
        "operator autopilot state",
        "mesh.cli.autopilot:state",
        "Print how the servers do",
        client=True,
        server=True,
    ),
    Command("operator raft list-peers", "mesh.cli.operator:list_peers", "List the servers", client=True, server=True),
    Command(
        "operator raft remove-peer",
        "mesh.cli.operator:remove_peer",
        "Remove a server",
        flags=(Flag("id", TEXT, "Its id."), Flag("address", TEXT, "Its RPC address.")),
        client=True,
        server=True,
    ),
    Command(
        "operator raft transfer-leader",
        "mesh.cli.operator:transfer_leader",
        "Make another server lead",
        flags=(Flag("id", TEXT, "Its id; default: the most caught-up."),),
        client=True,
        server=True,
    ),
    Command("reload", "mesh.cli.reload:reload", "Make the agent read its configuration again", client=True),
    Command(
        "rtt",
        "mesh.cli.rtt:rtt",
        "Estimate the round trip between two nodes",
        arguments="NODE [NODE]",
        details="Without a second node: to the agent's own. With -wan nodes are servers, named NODE.DATACENTER.",
        flags=(Flag("wan", SWITCH, "Between servers of all datacenters."),),
        client=True,
    ),
    Command(
        "services deregister",
        "mesh.cli.services:deregister",
        "Take services away from the agent",
        arguments="[FILE...]",
        flags=(Flag("id", TEXT, "Id of the service."),),
        client=True,
    ),
    Command(
        "services register",
        "mesh.cli.services:register",
        "Give services to the agent",
        arguments="[FILE...]",
        details="Files are JSON or HCL, as an agent's configuration has services.",
        flags=(
            Flag("id", TEXT, "Id, default the name."),
            Flag("name", TEXT, "Name."),
            Flag("address", TEXT, "Address, default the node's."),
            Flag("port", NUMBER, "Port."),
            Flag("tag", TEXTS, "Tag."),
            Flag("meta", TEXTS, "Metadata, key=value."),
            Flag("kind", TEXT, "Kind, such as connect-proxy."),
        ),
        client=True,
    ),
    Command("snapshot inspect", "mesh.cli.snapshot:inspect", "Verify and describe an archive", arguments="FILE"),
    Command(
        "snapshot restore",
        "mesh.cli.snapshot:restore",
        "Replace the state of the cluster by an archive",
        arguments="FILE",
        client=True,
        server=True,
    ),
    Command(
        "snapshot save",
        "mesh.cli.snapshot:save",
        "Write the state of the cluster to an archive",
        arguments="FILE",
        client=True,
        server=True,
    ),
    Command(
        "tls ca create",
        "mesh.cli.tls:ca_create",
        "Make a certificate authority in this folder",
        flags=(
            Flag("days", NUMBER, "Days it is valid, default 1825."),
            Flag("domain", TEXT, "Domain of the cluster, default consul."),
            Flag("name-constraint", SWITCH, "Valid for names of the domain and localhost only."),
            Flag("additional-name-constraint", TEXTS, "Another name it is valid for."),
        ),
    ),
    Command(
        "tls cert create",
        "mesh.cli.tls:cert_create",
        "Make a certificate signed by the authority in this folder",
        flags=(
            Flag("server", SWITCH, "For a server."),
            Flag("client", SWITCH, "For an agent."),
            Flag("ca", TEXT, "Certificate of the authority, default #DOMAIN#-agent-ca.pem."),
            Flag("key", TEXT, "Key of the authority, default #DOMAIN#-agent-ca-key.pem."),
            Flag("days", NUMBER, "Days it is valid, default 365."),
            Flag("dc", TEXT, "Datacenter, default dc1."),
            Flag("domain", TEXT, "Domain of the cluster, default consul."),
            Flag("additional-dnsname", TEXTS, "Another name."),
            Flag("additional-ipaddress", TEXTS, "Another IP address."),
        ),
    ),
    Command(
        "validate",
        "mesh.cli.validate:validate",
        "Check configuration files",
        arguments="FILE_OR_DIRECTORY...",
        flags=(
            Flag("quiet", SWITCH, "Print nothing if they are valid."),
            Flag("config-format", TEXT, "json or hcl, whatever the names say."),
        ),
    ),
    Command("version", "mesh.cli.version:version", "Print the version"),
    Command(
        "monitor",
        "mesh.cli.monitor:monitor",
        "Print the agent's log as it is written",
        flags=(
            Flag("log-level", TEXT, "TRACE, DEBUG, INFO (default), WARN or ERR, whatever the agent's own is."),
            Flag("log-json", SWITCH, "Print lines as JSON."),
        ),
        client=True,
    ),
    Command(
        "debug",
        "mesh.cli.debug:debug",
        "Collect what helps to find out what is wrong, in one archive",
        details="Configuration without secrets, members, machine, metrics, tasks and the log, for some minutes.",
        flags=(
            Flag("duration", TEXT, "How long, default 2m; 1s to 1h."),
            Flag("interval", TEXT, "How often metrics are taken, default 30s; at least 1s."),
            Flag("output", TEXT, "Name of the archive without .tar.gz, default consul-debug-<time>."),
            Flag("capture", TEXTS, "Only this: agent, host, members, metrics, logs or tasks; may be repeated."),
        ),
        client=True,
    ),
    Command(
        "watch",
        "mesh.cli.watch:watch",
        "Print what a view shows, or run a program at each change",
        arguments="[COMMAND...]",
        details="The program gets the view as JSON on standard input and its index as CONSUL_INDEX.",
        flags=(
            Flag("type", TEXT, "key, keyprefix, services, nodes, service, checks or event."),
            Flag("key", TEXT, "The key."),
            Flag("prefix", TEXT, "The prefix of keys."),
            Flag("service", TEXT, "The service, also of checks."),
            Flag("tag", TEXT, "Only instances with this tag."),
            Flag("passingonly", SWITCH, "Only instances that pass all checks."),
            Flag("state", TEXT, "Only checks that stand like this, default any."),
            Flag("name", TEXT, "Only events of this name."),
            Flag("shell", SWITCH, "Run it by a shell, which is the default; =false to run it as it is."),
        ),
        client=True,
        server=True,
    ),
)

COMMANDS: dict[str, Command] = {command.path: command for command in _ALL}

assert len(COMMANDS) == len(_ALL), "a command is listed twice"

GROUPS: dict[str, str] = {
    "catalog": "List what is registered",
    "kv": "Read and write keys",
    "operator": "Look after the consensus group",
    "operator autopilot": "Look after the servers",
    "operator raft": "Look after the consensus group",
    "services": "Give the agent services, or take them away",
    "snapshot": "Save, restore and inspect archives of the state",
    "tls": "Make certificates for servers and agents",
    "tls ca": "Make a certificate authority",
    "tls cert": "Make certificates",
}
"""Words that begin several commands."""

assert {path.rsplit(" ", depth)[0] for path in COMMANDS for depth in range(1, path.count(" ") + 1)} == set(GROUPS)
