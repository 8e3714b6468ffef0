"""A server that misbehaves on request, for everyone who tests a WebSocket client.

    python -m trioecho --faults

    trioecho.run({"/ws": trioecho.echo, **trioecho.faults.routes()})

Each path is one fault, told by query parameters: `/close/4001?after=3`, `/reset`, `/silent`, `/badframe/utf8`.
`/faults` lists them all, as a page and as JSON. `/seen` tells what the server saw of each connection; give one a name
with `?id=mine` and ask for `/seen/mine`.
"""

from trioecho.faults.routes import routes
from trioecho.faults.seen import Seen, SeenConnection
from trioecho.faults.table import FAULTS, Fault, as_markdown, as_text

__all__ = ["FAULTS", "Fault", "Seen", "SeenConnection", "as_markdown", "as_text", "routes"]
