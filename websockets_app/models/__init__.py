"""The tables: descriptors that the admin owns, and what nodes know, which nodes own."""

from .client import Client
from .drain import Drain
from .endpoint import Endpoint, EndpointGroup
from .event import Event
from .load_error import LoadError
from .minute import Minute
from .node import Node
from .outbox import OutboxMessage
from .runtime import ClientRuntime
from .session import Session
from .shared import SharedMember, SharedValue

__all__ = [
    "Client",
    "ClientRuntime",
    "Drain",
    "Endpoint",
    "EndpointGroup",
    "Event",
    "LoadError",
    "Minute",
    "Node",
    "OutboxMessage",
    "Session",
    "SharedMember",
    "SharedValue",
]
