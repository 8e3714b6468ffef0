"""The client of curl_cffi, which is libcurl's."""

from __future__ import annotations

import time

from curl_cffi import CurlError
from curl_cffi.requests import Session
from curl_cffi.requests.exceptions import RequestException
from curl_cffi.requests.websockets import WebSocket, WebSocketTimeout
from jobs import PIECE, TIMEOUT, Job, Told, jobs


def talk(ws: WebSocket, job: Job, told: Told, deadline: float) -> None:
    for text in job.say:
        ws.send_str(text, timeout=deadline - time.monotonic())
    while told.accepted < job.flood:
        ws.send_bytes(bytes(PIECE), timeout=deadline - time.monotonic())
        told.accepted += PIECE
    # Only `recv_str` looks whether a text is UTF-8, and it takes nothing else.
    receive = ws.recv if "/big" in job.url else ws.recv_str
    while True:
        message = receive(timeout=deadline - time.monotonic())
        if told.hear(message[0] if isinstance(message, tuple) else message) == job.close_after:
            ws.close(timeout=TIMEOUT)
            return


def main() -> None:
    with Session() as session:
        for job, told in jobs():
            told.subprotocol = None
            deadline = time.monotonic() + job.patience
            try:
                headers = {"Sec-WebSocket-Protocol": ", ".join(job.subprotocols)} if job.subprotocols else {}
                ws = session.ws_connect(job.url, headers=headers, timeout=TIMEOUT)
            except (CurlError, RequestException) as error:
                told.fail(error)
                response = getattr(error, "response", None)
                told.status = getattr(response, "status_code", None) or None
                continue
            told.opened = True
            try:
                talk(ws, job, told, deadline)
            except WebSocketTimeout:
                told.ended = False
            except (CurlError, RequestException) as error:
                told.fail(error)
            told.code, told.reason = ws.close_code, ws.close_reason or ""
            ws.terminate()


main()
