"""Raw TCP echo on bare epoll: no protocol, no library. Against it the load generator shows its own ceiling."""

import select
import socket

from contract import HOST, announce

CHUNK = 64 * 1024


def main() -> None:
    """Serve until ended."""
    listener = socket.create_server((HOST, 0), backlog=1024)
    announce(listener.getsockname()[1])
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    unsent: dict[int, bytes] = {}
    while True:
        for fd, event in epoll.poll():
            if fd == listener.fileno():
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = connection
                epoll.register(connection, select.EPOLLIN)
                continue
            connection = connections[fd]
            try:
                # While bytes wait to go out nothing more is read: the one buffer per connection stays one chunk.
                data = unsent.pop(fd) if event & select.EPOLLOUT else connection.recv(CHUNK)
            except OSError:
                data = b""
            if not data:
                del connections[fd]
                connection.close()
                continue
            try:
                sent = connection.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                continue  # the next event on it reads its end
            if sent < len(data):
                unsent[fd] = data[sent:]
                epoll.modify(fd, select.EPOLLOUT)
            elif event & select.EPOLLOUT:
                epoll.modify(fd, select.EPOLLIN)


main()
