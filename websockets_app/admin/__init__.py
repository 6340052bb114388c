"""The pages of the admin: they display rows, and call the operations that others can call too."""

from .client import ClientAdmin
from .endpoint import EndpointAdmin
from .event import EventAdmin
from .minute import MinuteAdmin
from .node import NodeAdmin
from .outbox import OutboxMessageAdmin
from .session import SessionAdmin

__all__ = [
    "ClientAdmin",
    "EndpointAdmin",
    "EventAdmin",
    "MinuteAdmin",
    "NodeAdmin",
    "OutboxMessageAdmin",
    "SessionAdmin",
]
