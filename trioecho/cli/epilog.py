"""What ``--help`` says below the options: the environment, examples, the faults, and exit statuses."""

from __future__ import annotations

import trioecho.faults

EPILOG = """\b
Environment:
  Every option can also be set as TRIOECHO_ and its name; several values are
  separated by spaces. What is typed wins, and a file of --config comes last.
    TRIOECHO_PORT=8080 TRIOECHO_LOG_FORMAT=json python -m trioecho
    TRIOECHO_ALLOWED_ORIGIN="https://client.com https://www.client.com"

\b
Examples:
  Any free port; the first line of the output tells which:
    python -m trioecho --port 0
  On every address, for the pages of one site only:
    python -m trioecho --host 0.0.0.0 --allowed-origin https://client.com
  For its own page only, which no other page can imitate:
    python -m trioecho --allowed-origin self --allowed-host 127.0.0.1
  Behind a proxy on this machine, which is in the group of the directory:
    python -m trioecho --unix /run/trioecho/socket --unix-mode 660
  With TLS, https and wss:
    python -m trioecho --tls-cert cert.pem --tls-key key.pem
  Behind a proxy that cuts connections idle for 60 seconds:
    python -m trioecho --keep-alive-interval 30
  Behind a proxy on this machine that tells who its clients are:
    python -m trioecho --trusted-proxy 127.0.0.1 --limit-per-address on
  For clients on slow networks, whose messages hold no secrets:
    python -m trioecho --compression deflate
  A chat for SignalR's clients, with a page, of several servers on one Redis:
    TRIOECHO_REDIS=redis://127.0.0.1 python -m trioecho --hub --port 0
  For the tests of a client, started by a program, a server that misbehaves:
    python -m trioecho --faults --port 0 --ready-json --exit-on-eof

\b
Faults:
{faults}
\b
Exit status:
  0 stopped by a signal or the end of input
  1 crash, 2 bad option, 3 could not start
""".replace("{faults}", trioecho.faults.as_text())
