"""Hosts for tests: network namespaces on one machine, joined by virtual cables.

Each has an address of its own on a network that ends in this machine; to the library
processes in two of them are on two hosts. Making them takes root and iproute2.

Containers for tests are the other way round: processes, names and files of their own,
and the network of all, so that to the library they are on one host.
"""

import os
import shutil
import subprocess
import uuid


def unavailable():
    """Why hosts cannot be made here, or None."""
    if shutil.which("ip") is None:
        return "the program ip is missing: install iproute2"
    name = f"pyaccel-probe-{os.getpid()}"
    made = _ip("netns", "add", name, check=False)
    if made.returncode != 0:
        return f"no network namespace can be made: {made.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


class Hosts:
    """`count` hosts on a bridge; gone when `close` returns."""

    def __init__(self, count):
        tag = uuid.uuid4().hex[:6]
        self._bridge = f"pab{tag}"
        self.names = [f"pyaccel-{tag}-{i}" for i in range(count)]
        self.addresses = [f"10.213.{int(tag[:2], 16)}.{i + 1}" for i in range(count)]
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
            _ip("link", "set", self._bridge, "up")
            for i, name in enumerate(self.names):
                self._add(name, f"pa{tag}{i}", self.addresses[i])
        except BaseException:
            self.close()
            raise

    def _add(self, name, cable, address):
        _ip("netns", "add", name)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", cable, "master", self._bridge, "up")
        inside = ("-n", name)
        _ip(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "link", "set", "lo", "up")

    def command(self, index, command):
        """A command as it runs on host `index`."""
        return ["ip", "netns", "exec", self.names[index], *command]

    def close(self):
        """Takes the hosts away; their cables go with them."""
        for name in self.names:
            _ip("netns", "delete", name, check=False)
        _ip("link", "delete", self._bridge, check=False)


def no_containers():
    """Why containers cannot be made here, or None."""
    if shutil.which("unshare") is None:
        return "the program unshare is missing: install util-linux"
    made = _run(container("probe", ["true"]))
    return f"no container can be made: {made.stderr}" if made.returncode else None


def container(name, command):
    """A command as it runs in a container with a host name of its own."""
    apart = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    named = f'echo {name} > /proc/sys/kernel/hostname; exec "$@"'
    return [*apart, "--uts", "--ipc", "sh", "-c", named, "sh", *command]


def _ip(*arguments, check=True):
    return _run(["ip", *arguments], check)


def _run(command, check=False):
    return subprocess.run(
        command, capture_output=True, text=True, check=check, timeout=30
    )
