"""The contract that every contender keeps.

A contender is a program that listens on 127.0.0.1 at a port the kernel chooses, prints that port as its first line when
it is ready, and echoes until it is ended. It echoes every WebSocket message at `/ws` whole and in order, without
compression, with its library's own keep-alive defaults, and takes messages up to `MAX_MESSAGE_SIZE`. Started with
`--certificate FILE` it speaks TLS with the key and chain in that PEM file; started with `--deflate` it agrees on
permessage-deflate and compresses every message, however short, with `WINDOW_BITS`, `LEVEL` and `MEMORY_LEVEL` as far as
its library lets these be set.

Those for broadcasts send every message that comes on any connection whole and in order to all connections, also to the
one that it came on, instead of echoing it, and speak no TLS.
"""

import ssl
import sys

HOST = "127.0.0.1"

#: Bytes. The largest load sends 1 MB; twice that leaves no library at its limit (most default to 1 MiB exactly).
MAX_MESSAGE_SIZE = 2 * 2**20

#: zlib's parameters, and whether to use them.
WINDOW_BITS, LEVEL, MEMORY_LEVEL = 12, 6, 5
DEFLATE = "--deflate" in sys.argv


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
