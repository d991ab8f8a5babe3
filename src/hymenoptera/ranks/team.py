"""How the processes of a run speak to each other outside the computation.

Process 0, the leader, composes the config, prepares what is prepared once, and alone prints and
writes. Each of the others keeps a connection to it as long as the run lasts: over it comes what
to do, and when it closes, either side knows at once that the other is gone. (A collective
operation may take half an hour to find that out.)
"""

import json
import logging
import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from torch.distributed import TCPStore  # type: ignore[attr-defined] # it is documented there

from hymenoptera.errors import HymenopteraError, RunError, in_one_line
from hymenoptera.ranks.layout import Layout

log = logging.getLogger(__name__)

ARRIVAL_S = 300.0
"""How long the processes of a run wait for each other at its beginning."""
GRACE_S = 10.0
"""How long the leader's own thread may take to notice that a process is lost."""
Message = dict[str, Any]


class LostProcess(RunError):  # noqa: N818
    """A process of the run failed, was killed, or its machine was lost."""


class Team:
    """The processes of a run, as one of them sees them; alone, where there is one.

    Attributes:
        layout: this process's place.
        environment: where Lightning reads it; None where it is alone.
        say: prints a line for the user.
        when_stuck: called with the reason, where a process is lost and the leader's own thread
            does not notice; the process ends after it.
    """

    def __init__(
        self, layout: Layout | None = None, environment: ClusterEnvironment | None = None
    ) -> None:
        self.layout = layout or Layout()
        self.environment = environment
        self.say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: T201
        self.when_stuck: Callable[[str], None] = lambda reason: None
        self.store: TCPStore | None = None  # lives as long as the processes need it
        self._peers: dict[Connection, int] = {}  # of the leader; to 0, of the others
        self._names: dict[int, str] = {}
        self._inbox: queue.Queue[Message] = queue.Queue()
        self._ready = threading.Semaphore(0)
        self._failure: str | None = None
        self._failed = threading.Event()
        self._noticed = threading.Event()  # the computation has stopped, and this thread knows
        self._released = threading.Event()  # from here on no process is missed
        self._status: int | None = None
        self._ended = threading.Event()

    @property
    def is_leader(self) -> bool:
        """Whether this process prints and writes."""
        return self.layout.rank == 0

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.layout.world_size

    def tell(self, what: Message) -> None:
        """Send all others what `hear` returns to them."""
        self._send({"kind": "told", "what": what})

    def hear(self) -> Message:
        """Wait for what the leader tells."""
        what: Message = self._inbox.get()["what"]
        return what

    def assemble(self) -> None:
        """Wait until every process is ready to compute; the others say that they are.

        Raises:
            LostProcess: one of them cannot.
        """
        if not self.is_leader:
            self._send({"kind": "ready"})
            return
        for _ in range(self.size - 1):
            while not self._ready.acquire(timeout=0.2):
                if self._failed.is_set():
                    raise LostProcess(self._failure)

    def reason(self, error: Exception) -> Exception:
        """What really happened, where an error may say no more than that a process is gone."""
        self._noticed.set()
        if self.size == 1 or isinstance(error, HymenopteraError) or not is_lost_peer(error):
            return error
        if self._failed.wait(timeout=5):
            return LostProcess(self._failure)
        return LostProcess(f"the processes lost each other: {in_one_line(error)}")

    def release(self) -> None:
        """The computation is over: a process that ends now is not missed."""
        self._released.set()

    def end(self, status: int) -> None:
        """Have the others end with a status; the leader is about to."""
        self._released.set()
        self._send({"kind": "end", "status": status})

    def report(self, error: BaseException) -> None:
        """Tell the leader why this process cannot go on."""
        if is_lost_peer(error):
            return  # the leader knows better
        text = in_one_line(error) if isinstance(error, Exception) else type(error).__name__
        trace = "".join(traceback.format_exception(error))
        self._send({"kind": "failed", "text": text, "trace": trace})

    def part(self) -> int:
        """Wait for the leader's end; return the status to end with."""
        self._released.set()
        self._ended.wait()
        return self._status or 0

    def _send(self, message: Message) -> None:
        data = json.dumps(message).encode()
        for peer in list(self._peers):
            try:
                peer.send_bytes(data)
            except OSError:
                continue  # gone: whoever reads from it finds out

    # The leader's side

    def admit(self, door: socket.socket, token: str) -> None:
        """Wait for all others to come, then watch over them.

        Raises:
            RunError: some did not come.
        """
        deadline = time.monotonic() + ARRIVAL_S
        while len(self._peers) < self.size - 1:
            door.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                connected, _ = door.accept()
            except TimeoutError as error:
                missing = self.size - 1 - len(self._peers)
                raise RunError(
                    f"{missing} of {self.size} processes did not come within {ARRIVAL_S:.0f} s. "
                    f"{self.layout.launcher} must start all of them (with SLURM: srun python "
                    f"train.py ...), and their machines must reach this one."
                ) from error
            peer = _peer(connected)
            try:
                hello = json.loads(peer.recv_bytes(4096)) if peer.poll(10) else {}
            except (EOFError, OSError, ValueError):
                hello = {}
            if hello.get("token") != token:  # nobody of ours
                peer.close()
                continue
            self._peers[peer] = hello["rank"]
            self._names[hello["rank"]] = f"process {hello['rank']} of {self.size}" + (
                f" on {hello['host']}" if self.layout.node_count > 1 else ""
            )
        door.close()
        threading.Thread(target=self._watch, name="team", daemon=True).start()

    def _watch(self) -> None:
        peers = dict(self._peers)
        while peers:
            for peer in wait(list(peers)):
                assert isinstance(peer, Connection)
                rank = peers[peer]
                try:
                    message: Message = json.loads(peer.recv_bytes())
                except (EOFError, OSError):
                    del peers[peer]
                    message = {
                        "kind": "failed",
                        "text": "ended without a word: it was killed, ran out of memory, or its "
                        "machine was lost",
                    }
                if message["kind"] == "ready":
                    self._ready.release()
                elif not self._released.is_set() and self._failure is None:
                    log.debug("%s:\n%s", self._names[rank], message.get("trace", ""))
                    self._failure = f"{self._names[rank]} {_predicate(message['text'])}"
                    self._failed.set()
                    timer = threading.Timer(GRACE_S, self._end_if_stuck)
                    timer.daemon = True  # the leader may end before
                    timer.start()

    def _end_if_stuck(self) -> None:
        if self._noticed.is_set() or self._released.is_set():
            return
        try:
            self.when_stuck(str(self._failure))
        finally:
            self.end(1)
            self.say(f"The run failed: {self._failure}")
            os._exit(1)

    # The others' side

    def join(self, host: str, port: int, token: str) -> None:
        """Connect to the leader and listen to it."""
        connected = socket.create_connection((host, port), timeout=30)
        connected.settimeout(None)
        peer = _peer(connected)
        self._peers[peer] = 0
        self._send({"rank": self.layout.rank, "token": token, "host": socket.gethostname()})
        threading.Thread(target=self._listen, args=(peer,), name="team", daemon=True).start()

    def _listen(self, leader: Connection) -> None:
        while True:
            try:
                message: Message = json.loads(leader.recv_bytes())
            except (EOFError, OSError):
                if self.layout.rank == 1:
                    self.say(
                        f"The run ended: process 0 of {self.size} was killed, ran out of memory, "
                        f"or its machine was lost. Go on with resume=RUN."
                    )
                os._exit(1)
            if message["kind"] == "told":
                self._inbox.put(message)
                continue
            self._status = message["status"]
            if not self._released.is_set():
                time.sleep(1)  # on its way out by itself, most likely
            if not self._released.is_set():
                os._exit(message["status"])
            self._ended.set()
            return


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error of the computation only says that another process is gone."""
    text = str(error)
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError)
        and any(word in text for word in ("gloo", "NCCL", "TCPStore", "onnection reset by peer"))
    )


def _predicate(text: str) -> str:
    return text if text.startswith("ended without") else f"failed: {text}"


def _peer(connected: socket.socket) -> Connection:
    """A connection whose end is noticed within 20 s, even where the other machine vanishes."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):  # macOS names the first one otherwise
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    connected.setblocking(True)
    return Connection(connected.detach())
