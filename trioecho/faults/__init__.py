"""A server that misbehaves on request, for everyone who tests a WebSocket client.

    python -m trioecho --faults

    trioecho.run({"/ws": trioecho.echo, **trioecho.faults.routes()})

Each path is one fault, a row of `FAULTS`, and takes query parameters: `/close/4001?after=3`, `/reset`, `/silent`,
`/badframe/utf8`. `/faults` lists them all, as a page and as JSON. `/seen` tells what the server saw of each connection;
give one a name with `?id=mine` and ask for `/seen/mine`.

Example:

    import trioecho.faults

    paths = {fault.path: fault for fault in trioecho.faults.FAULTS}
    drop: trioecho.faults.Fault = paths["/drop"]
    assert drop.usage == "/drop?after=&delay="
    assert drop.does in trioecho.faults.as_markdown()
    assert drop.usage in trioecho.faults.as_text()
    routes = trioecho.faults.routes()
"""

from trioecho.faults.routes import routes
from trioecho.faults.seen import Seen, SeenConnection
from trioecho.faults.table import FAULTS, Fault, as_markdown, as_text

__all__ = ["FAULTS", "Fault", "Seen", "SeenConnection", "as_markdown", "as_text", "routes"]
