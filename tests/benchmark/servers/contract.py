"""The contract that every contender keeps.

A contender is a program that listens on 127.0.0.1 at a port the kernel chooses, prints that port as its first line when
it is ready, and echoes until it is ended. It echoes every WebSocket message at `/ws` whole and in order, without
compression, with its library's own keep-alive defaults, and takes messages up to `MAX_MESSAGE_SIZE`. Started with
`--certificate FILE` it speaks TLS with the key and chain in that PEM file; started with `--deflate` it agrees on
permessage-deflate and compresses every message, however short, with `WINDOW_BITS`, `LEVEL` and `MEMORY_LEVEL` as far as
its library lets these be set. Started with `--log` it writes its library's log, INFO and above, to stderr. Started with
`--http FOLDER` it also answers plain HTTP, if its library does: a GET of `/files/NAME` with the file of that name in
FOLDER, and a POST to `/bodies` with nothing, once it has read the body. `--budget BYTES` is what it may hold in memory
for all its clients, if its library has such a limit.

Those for broadcasts send every message that comes on any connection whole and in order to all connections, also to the
one that it came on, instead of echoing it, and speak no TLS.

Those for hubs have at `/ws` one that can be reached without a negotiation, with the methods `Echo`, which returns the
text that it is given, and `Say`, which sends it to all, as a call of `said`. The load generator sends none of the hub
protocol's own pings, so they neither send nor await any for `SILENCE`; the WebSocket's keep-alive stays as it is.
"""

import logging
import ssl
import sys
from pathlib import Path

HOST = "127.0.0.1"

#: Bytes. The largest load sends 1 MB; twice that leaves no library at its limit (most default to 1 MiB exactly).
MAX_MESSAGE_SIZE = 2 * 2**20

#: Seconds. Longer than any load.
SILENCE = 3600.0

#: zlib's parameters, and whether to use them.
WINDOW_BITS, LEVEL, MEMORY_LEVEL = 12, 6, 5
DEFLATE = "--deflate" in sys.argv

#: Whether to write the library's log, and the folder to serve by plain HTTP, if any.
LOG = "--log" in sys.argv
FOLDER = Path(sys.argv[sys.argv.index("--http") + 1]) if "--http" in sys.argv else None

#: Bytes; None: the library's own choice.
BUDGET = int(sys.argv[sys.argv.index("--budget") + 1]) if "--budget" in sys.argv else None


def log_to_stderr() -> None:
    """Write the library's log to stderr if the command line says so."""
    if LOG:
        logging.basicConfig(level=logging.INFO)


def announce(port: int) -> None:
    """Say that the contender is ready on `port`."""
    print(port, flush=True)


def tls_from_arguments() -> ssl.SSLContext | None:
    """The server's TLS context if the command line has `--certificate FILE`, else None."""
    if "--certificate" not in sys.argv:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[sys.argv.index("--certificate") + 1])
    return context
