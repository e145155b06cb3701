"""Messages between client, server and ranks: pickles with a length before each."""

import pickle
import socket
import struct
import time

_LENGTH = struct.Struct("<Q")
_READ_BYTES = 1 << 20


class Channel:
    """One end of a stream socket that carries whole Python values.

    Reading never waits for the rest of a message that the other side has begun:
    a process stopped in the middle of sending must not stop the reader too.
    """

    def __init__(self, sock):
        self._sock = sock
        self._buffer = bytearray()

    def fileno(self):
        return self._sock.fileno()

    def close(self):
        self._sock.close()

    def send(self, message, timeout=60.0):
        """Send one value; TimeoutError when the other side does not read it."""
        body = pickle.dumps(message, protocol=5)
        self._sock.settimeout(timeout)
        self._sock.sendall(_LENGTH.pack(len(body)) + body)

    def read_ready(self):
        """All messages complete by now; call when the socket is readable.

        Raises EOFError when the other side is gone.
        """
        self._sock.settimeout(None)
        try:
            data = self._sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError("the other side closed its end")
        self._buffer += data
        messages = []
        while (message := self._take()) is not None:
            messages.append(message[0])
        return messages

    def receive(self, timeout=None):
        """Wait for one message; TimeoutError or EOFError when none comes."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (message := self._take()) is None:
            left = None if deadline is None else max(0.001, deadline - time.monotonic())
            self._sock.settimeout(left)
            try:
                data = self._sock.recv(_READ_BYTES)
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError("the other side closed its end")
            self._buffer += data
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"no whole message within {timeout} s")
        return message[0]

    def _take(self):
        """The first message of the buffer in a tuple, or None if it is not whole."""
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + length
        if len(self._buffer) < end:
            return None
        message = pickle.loads(memoryview(self._buffer)[_LENGTH.size : end].tobytes())
        del self._buffer[:end]
        return (message,)


def channel_pair():
    """Two connected channels, both close-on-exec."""
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(left), Channel(right)
