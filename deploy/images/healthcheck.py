"""`python -I -S healthcheck.py PORT PATH`: exits with 0 when http://127.0.0.1:PORT/PATH answers 200 within two seconds.

The check runs every few seconds in every container, so it imports only sockets.
"""

import socket
import sys

TIMEOUT_SECONDS = 2


def main() -> int:
    port, path = int(sys.argv[1]), sys.argv[2]
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(4096):
                answer += chunk
    except OSError as error:
        print(f"{path}: {error}")
        return 1
    head, _, body = answer.partition(b"\r\n\r\n")
    print(body.decode(errors="replace")[:200])
    return 0 if b" 200 " in head.split(b"\r\n", 1)[0] else 1


sys.exit(main())
