"""Run a module's `main()` without waiting for its imports: python -m workflow.scripts.forked MODULE [ARGUMENT...]

While a workflow runs, a server for each such module has imported torch or pandas once; each job is a fork of it. Where there is no
server (on another machine, in another environment, by hand) the same command imports the module itself.

The command hands its words, folder, environment, input and output to the fork, waits for it, and ends with its exit code. If the command
is terminated or killed, so is the fork. Ctrl-C reaches both, because both are in Snakemake's process group. A server ends when its
standard input is closed, so with the process that started it, and then waits for its forks.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

SERVERS = "SIBP_FORK_SERVERS"  # the environment that they belong to, and the folder of their sockets
SERVE = "--serve"

started: list["subprocess.Popen[bytes]"] = []  # their standard input is closed when this process ends


def start(modules: Iterable[str]) -> None:
    """Start a server for each module; they end with this process. Where the system has no such sockets, none is started."""
    try:
        folder = tempfile.mkdtemp(prefix="sibp-")
        for module in modules:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(Path(folder, module)))
                listener.listen(128)  # from here on commands wait for the server
                command = [sys.executable, "-m", "workflow.scripts.forked", SERVE, module, str(listener.fileno())]
                server = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[listener.fileno()],
                )
                started.append(server)
    except (AttributeError, OSError):
        return
    os.environ[SERVERS] = json.dumps([sys.prefix, folder])


def main() -> None:
    if sys.argv[1] == SERVE:
        return Server(sys.argv[2], socket.socket(fileno=int(sys.argv[3]))).serve()
    del sys.argv[0]
    code = run_in_fork(sys.argv[0], sys.argv[1:])
    sys.exit(run_here(sys.argv[0]) if code is None else code)


def run_here(module: str) -> int | None:
    """Import a module and call its `main()`, which reads `sys.argv`."""
    return importlib.import_module(module).main()


def run_in_fork(module: str, words: list[str]) -> int | None:
    """Have a fork of a module's server run `main()`.

    Returns:
        its exit code, or None if there is no server.
    """
    prefix, folder = json.loads(os.environ.get(SERVERS, '["", ""]'))
    if prefix != sys.prefix:
        return None
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(Path(folder, module)))
    except OSError:
        return None
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: connection.shutdown(socket.SHUT_WR))  # to the server this looks like our death
    message = json.dumps({"words": words, "folder": os.getcwd(), "environment": dict(os.environ)}).encode()
    socket.send_fds(connection, [struct.pack("!I", len(message))], [0, 1, 2])
    connection.sendall(message)
    answer = connection.recv(4)
    if not answer:
        sys.exit(f"the server of {module} was killed")
    (code,) = struct.unpack("!i", answer)
    return code if code >= 0 else 128 - code


def close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Server:
    """Forks of one process that has imported a module.

    Args:
        module: whose `main()` the forks run.
        listener: the socket to which commands connect.
    """

    def __init__(self, module: str, listener: socket.socket) -> None:
        self.module, self.listener, self.path = module, listener, Path(listener.getsockname())
        self.is_loaded = False
        self.forks: dict[int, socket.socket] = {}  # by process id: who waits for it
        self.selector = selectors.DefaultSelector()
        self.deaths, self.wakeup = socket.socketpair()
        for end in (self.deaths, self.wakeup):
            end.setblocking(False)
        signal.set_wakeup_fd(self.wakeup.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> None:
        """Serve until standard input is closed and the last fork has ended."""
        self.selector.register(sys.stdin, selectors.EVENT_READ, self.close)
        self.selector.register(self.listener, selectors.EVENT_READ, self.accept)
        self.selector.register(self.deaths, selectors.EVENT_READ, self.reap)
        while self.listener.fileno() >= 0 or self.forks:
            for key, _ in self.selector.select():
                key.data()

    def close(self) -> None:
        """Take no more requests."""
        self.selector.unregister(sys.stdin)
        self.selector.unregister(self.listener)
        self.listener.close()
        self.path.unlink()
        with suppress(OSError):  # another server's socket is still there
            self.path.parent.rmdir()

    def accept(self) -> None:
        """Take one request and fork for it."""
        connection, _ = self.listener.accept()
        descriptors: list[int] = []
        try:
            head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
            request = json.loads(connection.makefile("rb").read(*struct.unpack("!I", head)))
        except (OSError, ValueError, struct.error):  # killed before it had asked
            close(descriptors)
            return connection.close()
        self.load()
        fork = os.fork()
        if not fork:
            self.run(connection, descriptors, request)
        close(descriptors)
        self.forks[fork] = connection
        self.selector.register(connection, selectors.EVENT_READ, lambda: self.terminate(fork))

    def load(self) -> None:
        """Import, once, the module, and by its `preload()` what its `main()` imports; what cannot be imported, the fork complains about."""
        if self.is_loaded:
            return
        with suppress(Exception):
            getattr(importlib.import_module(self.module), "preload", lambda: None)()
        gc.freeze()
        self.is_loaded = True

    def run(self, connection: socket.socket, descriptors: list[int], request: dict[str, Any]) -> NoReturn:
        """Be the process of a request."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for end in (connection, self.listener, self.deaths, self.wakeup, self.selector, *self.forks.values()):
            end.close()
        for descriptor, standard in zip(descriptors, range(3), strict=True):
            os.dup2(descriptor, standard)
            os.close(descriptor)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = [self.module, *request["words"]]
        sys.exit(run_here(self.module))

    def terminate(self, fork: int) -> None:
        """Terminate the fork of a command that was terminated or killed."""
        if fork in self.forks:
            self.selector.unregister(self.forks[fork])
            os.kill(fork, signal.SIGTERM)

    def reap(self) -> None:
        """Tell the commands whose forks have ended."""
        with suppress(BlockingIOError):
            self.deaths.recv(4096)
        for fork in list(self.forks):
            ended, status = os.waitpid(fork, os.WNOHANG)
            if ended:
                connection = self.forks.pop(fork)
                with suppress(KeyError):  # its command was terminated
                    self.selector.unregister(connection)
                with suppress(OSError):
                    connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
                connection.close()


if __name__ == "__main__":
    main()
