"""Applies registrations and deregistrations. Source: state store specification, section 2."""

from fsm.commands.refusal import Refusal
from fsm.store import catalog
from fsm.store.store import Batch
from structs.catalog import DeregisterCommand, RegisterCommand
from structs.cluster import Empty

DONE = Empty()


def register(batch: Batch, command: RegisterCommand) -> Empty | Refusal:
    """Store a node, perhaps a service of it and checks, all or nothing."""
    complaint = catalog.complaint(batch, command)
    if complaint:
        return Refusal(text=complaint)
    catalog.register(batch, command)
    return DONE


def deregister(batch: Batch, command: DeregisterCommand) -> Empty:
    """Remove a service, else a check, else a node; what is not there is no error."""
    catalog.deregister(batch, command)
    return DONE
