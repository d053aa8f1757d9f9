"""Operator.*: the Raft configuration and autopilot. Source: RPC wire format, sections 5 and 9."""

from structs.autopilot import (
    AutopilotConfig,
    AutopilotGetRequest,
    AutopilotSetReply,
    AutopilotSetRequest,
    ServerHealth,
    ServerHealthReply,
    ServerHealthRequest,
)
from structs.cluster import (
    Empty,
    MemberStatus,
    Peer,
    RaftConfigurationReply,
    RaftConfigurationRequest,
    RaftServer,
    RemovePeerRequest,
)
from structs.foreign.fields import (
    DURATION,
    FLAG,
    MOMENT,
    SIGNED,
    TEXT,
    UNSIGNED,
    Absent,
    Constant,
    Field,
    Flat,
    Shape,
    Table,
    filled,
    integer,
    list_of,
)
from structs.foreign.options import NOTHING, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod

PEER = Table(Peer, Field("ID", "server_id", TEXT), Field("Node", "name", TEXT), Field("Address", "address", TEXT))
RAFT_SERVER = Table(
    RaftServer,
    Flat("peer", PEER),
    Field("Leader", "leader", FLAG),
    Field("ProtocolVersion", "protocol", TEXT),
    Field("Voter", "voter", FLAG),
    Absent("last_index", 0),
)
CONFIGURATION = Table(RaftConfigurationRequest, Flat("options", QUERY_OPTIONS))
CONFIGURATION_REPLY = Table(
    RaftConfigurationReply,
    Field("Servers", "servers", filled(list_of(RAFT_SERVER.shape), list)),
    Field("Index", "index", UNSIGNED),
)
REMOVE_BY_ADDRESS = Table(
    RemovePeerRequest, Field("Address", "address", TEXT), Constant("ID", ""), Flat("options", WRITE_OPTIONS)
)
REMOVE_BY_ID = Table(
    RemovePeerRequest, Constant("Address", ""), Field("ID", "server_id", TEXT), Flat("options", WRITE_OPTIONS)
)

AUTOPILOT_CONFIG = Table(
    AutopilotConfig,
    Field("CleanupDeadServers", "cleanup_dead_servers", FLAG),
    Field("LastContactThreshold", "last_contact_threshold_ns", DURATION),
    Field("MaxTrailingLogs", "max_trailing_logs", UNSIGNED),
    Field("ServerStabilizationTime", "server_stabilization_time_ns", DURATION),
    Field("RedundancyZoneTag", "redundancy_zone_tag", TEXT),
    Field("DisableUpgradeMigration", "disable_upgrade_migration", FLAG),
    Field("UpgradeVersionTag", "upgrade_version_tag", TEXT),
    Field("CreateIndex", "create_index", UNSIGNED),
    Field("ModifyIndex", "modify_index", UNSIGNED),
)
AUTOPILOT_GET = Table(AutopilotGetRequest, Flat("options", QUERY_OPTIONS))
AUTOPILOT_SET = Table(
    AutopilotSetRequest,
    Flat("options", WRITE_OPTIONS),
    Field("Config", "config", AUTOPILOT_CONFIG.shape),
    Field("CAS", "cas", FLAG),
)
AUTOPILOT_SET_REPLY = Shape(lambda value: AutopilotSetReply(ok=FLAG.decode(value)), lambda reply: reply.ok)

_STATUS_NUMBER = integer(min(MemberStatus), max(MemberStatus))
SERF_STATUS = Shape(lambda value: MemberStatus(_STATUS_NUMBER.decode(value)), int)
SERVER_HEALTH = Table(
    ServerHealth,
    Field("ID", "server_id", TEXT),
    Field("Name", "name", TEXT),
    Field("Address", "address", TEXT),
    Field("SerfStatus", "serf_status", SERF_STATUS),
    Field("Version", "version", TEXT),
    Field("Leader", "leader", FLAG),
    Field("LastContact", "last_contact_ns", DURATION),
    Field("LastTerm", "last_term", UNSIGNED),
    Field("LastIndex", "last_index", UNSIGNED),
    Field("Healthy", "healthy", FLAG),
    Field("Voter", "voter", FLAG),
    Field("StableSince", "stable_since_unix_s", MOMENT),
)
SERVER_HEALTH_REQUEST = Table(ServerHealthRequest, Flat("options", QUERY_OPTIONS))
SERVER_HEALTH_REPLY = Table(
    ServerHealthReply,
    Field("Healthy", "healthy", FLAG),
    Field("FailureTolerance", "failure_tolerance", SIGNED),
    Field("Servers", "servers", list_of(SERVER_HEALTH.shape)),
)

ROWS = (
    ForeignMethod(name="Operator.RaftGetConfiguration", method="Operator.RaftGetConfiguration", request=CONFIGURATION,
                  reply=CONFIGURATION_REPLY.shape, reply_record=RaftConfigurationReply),
    ForeignMethod(name="Operator.RaftRemovePeerByID", method="Operator.RaftRemovePeer", request=REMOVE_BY_ID,
                  reply=NOTHING.shape, reply_record=Empty, fits=lambda request: bool(request.server_id)),
    ForeignMethod(name="Operator.RaftRemovePeerByAddress", method="Operator.RaftRemovePeer",
                  request=REMOVE_BY_ADDRESS, reply=NOTHING.shape, reply_record=Empty),
    ForeignMethod(name="Operator.AutopilotGetConfiguration", method="Operator.AutopilotGetConfiguration",
                  request=AUTOPILOT_GET, reply=AUTOPILOT_CONFIG.shape, reply_record=AutopilotConfig),
    ForeignMethod(name="Operator.AutopilotSetConfiguration", method="Operator.AutopilotSetConfiguration",
                  request=AUTOPILOT_SET, reply=AUTOPILOT_SET_REPLY, reply_record=AutopilotSetReply),
    ForeignMethod(name="Operator.ServerHealth", method="Operator.ServerHealth", request=SERVER_HEALTH_REQUEST,
                  reply=SERVER_HEALTH_REPLY.shape, reply_record=ServerHealthReply),
)  # fmt: skip
