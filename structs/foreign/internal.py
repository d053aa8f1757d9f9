"""Nodes with everything on them. Source: RPC wire format, sections 5 and 9."""

from structs.catalog import Node, NodeDumpReply, NodeDumpRequest, NodeInfo
from structs.foreign.catalog import CHECKS, NODE_REQUEST, NODE_SERVICE, NODE_SOURCE_PARTS
from structs.foreign.fields import TEXT, TEXT_MAP, Field, Flat, Table, filled, list_of
from structs.foreign.options import QUERY_META, QUERY_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.service_summary import ServiceSummaryReply, summaries_of

DUMP_REQUEST = Table(NodeDumpRequest, *NODE_SOURCE_PARTS, Flat("options", QUERY_OPTIONS))
NODE_OF_DUMP = Table(
    Node,
    Field("ID", "node_id", TEXT),
    Field("Node", "node", TEXT),
    Field("Address", "address", TEXT),
    Field("TaggedAddresses", "tagged_addresses", TEXT_MAP),
    Field("Meta", "meta", TEXT_MAP),
)
NODE_INFO = Table(
    NodeInfo,
    Flat("node", NODE_OF_DUMP),
    Field("Services", "services", filled(list_of(NODE_SERVICE.shape), list)),
    Field("Checks", "checks", CHECKS),
)
DUMP_REPLY = Table(
    NodeDumpReply, Field("Dump", "nodes", filled(list_of(NODE_INFO.shape), list)), Flat("meta", QUERY_META)
)

ROWS = (
    ForeignMethod(name="Internal.NodeInfo", method="Internal.NodeInfo", request=NODE_REQUEST, reply=DUMP_REPLY.shape,
                  reply_record=NodeDumpReply),
    ForeignMethod(name="Internal.NodeDump", method="Internal.NodeDump", request=DUMP_REQUEST, reply=DUMP_REPLY.shape,
                  reply_record=NodeDumpReply),
)  # fmt: skip


def _summarised(reply: NodeDumpReply, request: NodeDumpRequest) -> ServiceSummaryReply:
    return ServiceSummaryReply(services=summaries_of(reply.nodes), meta=reply.meta)


ASKED = (
    ForeignMethod(name="Internal.NodeDump", method="Internal.ServiceSummary", request=DUMP_REQUEST,
                  reply=DUMP_REPLY.shape, reply_record=NodeDumpReply, hears=_summarised),
)  # fmt: skip
"""Only for calls of ours: foreign servers sum up nothing that we could ask for."""
