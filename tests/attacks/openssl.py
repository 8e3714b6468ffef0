"""TLS by OpenSSL's own functions, for what Python's `ssl` does not offer: KeyUpdates (RFC 8446, section 4.6.3)."""

import ctypes
import ctypes.util
import select
import socket

from target import AttackError

#: The key update that asks the other side for one in return, and what SSL_get_error says of an operation that waits.
UPDATE_REQUESTED = 1
WANTS = {2: select.EPOLLIN, 3: select.EPOLLOUT}

#: Seconds that a connection may take to open.
PATIENCE = 10.0


class TlsError(Exception):
    """A connection has ended, or takes too long; the message says which."""


class OpenSsl:
    """The library, and the context of clients that trust everybody. Raises AttackError if it is not there."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("ssl") or "libssl.so.3"
        try:
            self._library = ctypes.CDLL(name)
        except OSError as failure:
            raise AttackError(f"OpenSSL cannot be loaded: {failure}") from None
        for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(self._library, function).restype = ctypes.c_void_p
        self._context = self.call("SSL_CTX_new", ctypes.c_void_p(self.call("TLS_client_method")))
        if not self._context:
            raise AttackError("OpenSSL has no context for clients")

    def call(self, function: str, *arguments: object) -> int:
        """The library's `function` of `arguments`."""
        result: int = getattr(self._library, function)(*arguments)
        return result

    def connect(self, sock: socket.socket) -> "TlsConnection":
        """TLS on `sock`, which has a timeout, and is left without one. Raises TlsError."""
        return TlsConnection(
            self, ctypes.c_void_p(self.call("SSL_new", ctypes.c_void_p(self._context))), sock
        )


class TlsConnection:
    """A connection; only OpenSSL may use its socket. What the server sends is read and thrown away."""

    def __init__(self, library: OpenSsl, ssl: ctypes.c_void_p, sock: socket.socket) -> None:
        self.socket = sock
        self._library = library
        self._ssl = ssl
        self._room = ctypes.create_string_buffer(16 * 1024)
        sock.setblocking(False)
        library.call("SSL_set_fd", ssl, sock.fileno())
        library.call("SSL_set_connect_state", ssl)
        try:
            self.patiently("SSL_do_handshake")
        except TlsError:
            self.close()
            raise

    def attempt(self, function: str, *arguments: object) -> tuple[int, int]:
        """What a function returns, and the event of epoll that it waits for, if any. Raises TlsError at the end."""
        self._library.call("ERR_clear_error")
        result = self._library.call(function, self._ssl, *arguments)
        if result > 0:
            return result, 0
        wants = WANTS.get(self._library.call("SSL_get_error", self._ssl, result))
        if wants is None:
            raise TlsError(f"{function}: the server has ended the connection")
        return 0, wants

    def patiently(self, function: str, *arguments: object) -> int:
        """The same, once it is done, which takes at most `PATIENCE` for each step."""
        while True:
            result, wants = self.attempt(function, *arguments)
            if not wants:
                return result
            poll = select.poll()
            poll.register(self.socket, wants)
            if not poll.poll(PATIENCE * 1000):
                raise TlsError(f"{function} took more than {PATIENCE:g} s")

    def request(self, data: bytes) -> bytes:
        """Send `data`, and return the first bytes of the answer."""
        self.patiently("SSL_write", data, len(data))
        length = self.patiently("SSL_read", self._room, len(self._room))
        return self._room.raw[:length]

    def drain(self) -> None:
        """Take what has come; KeyUpdates are no data, but need to be taken as well."""
        while not self.attempt("SSL_read", self._room, len(self._room))[1]:
            pass

    def update_keys(self) -> bool:
        """Change the keys, and ask for other keys in return; False where there is no room to send that now."""
        self._library.call("SSL_key_update", self._ssl, UPDATE_REQUESTED)
        return not self.attempt("SSL_do_handshake")[1]

    def close(self) -> None:
        """Close the socket, and give back the memory."""
        self.socket.close()
        self._library.call("SSL_free", self._ssl)
