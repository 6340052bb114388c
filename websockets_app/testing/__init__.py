"""What a site's tests use: talk to a handler alone, or to an endpoint without a server.

`Conversation` and `AsyncConversation` run the callbacks of a handler; they need no server, no row
and no database. `EndpointCommunicator` opens an endpoint as a browser would, through the ASGI
application with everything its row says. `websockets_app.testing.pytest_plugin` has fixtures of
both.
"""

from .arrivals import Closed
from .asgi import AsgiConnection
from .communicator import Answer, EndpointCommunicator
from .conversation import AsyncConversation, ConversationOptions
from .recording import inline_recording
from .sync import Conversation

__all__ = [
    "Answer",
    "AsgiConnection",
    "AsyncConversation",
    "Closed",
    "Conversation",
    "ConversationOptions",
    "EndpointCommunicator",
    "inline_recording",
]
