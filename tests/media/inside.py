"""A server of this machine that nobody may reach."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from threading import Thread

DATA = bytes(range(256)) * 5


class Inside:
    """A server of this machine that nobody may reach: it counts who does, and answers as its path says."""

    def __init__(self) -> None:
        self.hits = 0
        self.heads: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.hits += 1
                Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(4096)
                if not piece:
                    return
                head += piece
            self.heads.append(head.decode())
            path = head.split()[1].decode().strip("/")
            ok = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(DATA)
            moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n"
            answers = {
                "missing": b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
                "broken": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
                "partial": b"HTTP/1.1 206 Partial\r\nContent-Length: 3\r\n\r\nabc",
                "packed": ok + b"Content-Encoding: gzip\r\n\r\n" + DATA,
                "page": ok + b"Content-Type: text/html; charset=utf-8\r\n\r\n" + DATA,
                "typed": ok + b"Content-Type: Image/PNG\r\n\r\n" + DATA,
                "here": moved % b"/good",
                "round": moved % b"/round",
                "file": moved % b"file:///etc/passwd",
                "nowhere": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
                "elsewhere": moved % b"http://169.254.169.254/latest/meta-data/",
                "nonsense": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
                "short": b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + DATA,
                "rude": b"SSH-2.0-OpenSSH_9.6\r\n",
                "long": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
                "many": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
                "interim": b"HTTP/1.1 103 Early\r\n\r\n" * 50,
                "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "smuggled": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
            }
            if path == "silent":
                time.sleep(3)
            elif path == "trickle":
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)
            elif path == "stall":
                connection.sendall(ok + b"\r\n" + DATA[:100])
                time.sleep(3)
            elif path == "endless":
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while True:
                    connection.sendall(DATA)
            else:
                connection.sendall(answers.get(path, ok + b"\r\n" + DATA))
