"""A real ComfyUI server in a child process, spoken to over HTTP and websocket with the standard library
only."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
START_SECONDS, RUN_SECONDS = 600, 900


class Refused(Exception):
    """POST /prompt answered with an error; ``answer`` is its JSON."""

    def __init__(self, answer: dict) -> None:
        super().__init__(json.dumps(answer)[:600])
        self.answer = answer


class WebSocket:
    """Just enough of RFC 6455 to listen: JSON messages as dicts, binary ones (previews) as bytes."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=RUN_SECONDS)
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        )
        self._socket.sendall(
            f"{request}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._stream = self._socket.makefile("rb")
        status = self._stream.readline()
        if b"101" not in status:
            raise ConnectionError(f"no websocket: {status!r}")
        while self._stream.readline() not in (b"\r\n", b""):
            pass

    def receive(self) -> dict | bytes:
        data, opcode = b"", 0
        while True:
            first, second = self._stream.read(2)
            length = second & 127
            if length > 125:
                length = struct.unpack(
                    ">H" if length == 126 else ">Q", self._stream.read(2 if length == 126 else 8)
                )[0]
            payload = self._stream.read(length)
            kind = first & 15
            if kind == 9:  # ping
                self._socket.sendall(bytes([0x8A, 0x80 | len(payload)]) + b"\0\0\0\0" + payload)
                continue
            if kind == 8:
                raise ConnectionError("the server closed the websocket")
            data, opcode = data + payload, kind or opcode  # a continuation frame has no kind of its own
            if first & 128:
                return json.loads(data) if opcode == 1 else data

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


class Run:
    """What one queued prompt did. messages in order; previews: how many pictures came; executed: nodes that
    really ran."""

    def __init__(self, prompt_id: str) -> None:
        self.prompt_id, self.messages, self.previews = prompt_id, [], 0

    def of(self, kind: str) -> list[dict]:
        return [message["data"] for message in self.messages if message["type"] == kind]

    @property
    def ended(self) -> str:
        return self.messages[-1]["type"]

    @property
    def executed(self) -> list[str]:
        return [data["node"] for data in self.of("executing") if data.get("node")]

    @property
    def outputs(self) -> dict[str, dict]:
        return {data["node"]: data["output"] for data in self.of("executed")}

    @property
    def error(self) -> str:
        return "".join(data["exception_message"] for data in self.of("execution_error"))


class ComfyServer:
    """main.py of a checkout with this pack as its only custom node."""

    def __init__(self, checkout: Path, base: Path, python: str = sys.executable) -> None:
        self.base, self.client = base, uuid.uuid4().hex
        for folder in ("custom_nodes", "models", "input", "output", "temp", "user"):
            (base / folder).mkdir(parents=True, exist_ok=True)
        (base / "custom_nodes" / "PersonaTalk").symlink_to(PACK, target_is_directory=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        arguments = [
            "--cpu",
            "--listen",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--base-directory",
            str(base),
        ]
        arguments += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
        self.log = (base / "server.log").open("wb")
        self.process = subprocess.Popen(
            [python, "main.py", *arguments], cwd=checkout, stdout=self.log, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.get("/system_stats")
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"ComfyUI did not start:\n{self.log_text()[-3000:]}") from None
                time.sleep(0.5)
        self.socket = WebSocket("127.0.0.1", self.port, f"/ws?clientId={self.client}")

    def cpu_seconds(self) -> float:
        """Seconds of computing the server has done so far; real time where the system does not say."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_text(self) -> str:
        return (self.base / "server.log").read_text(errors="replace")

    def get(self, path: str):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def post(self, path: str, body: dict):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise Refused(json.loads(error.read())) from None

    def run(self, prompt: dict, on_message=None) -> Run:
        """Queue a prompt and listen until it ends, one way or another."""
        run = Run(self.post("/prompt", {"prompt": prompt, "client_id": self.client})["prompt_id"])
        while True:
            message = self.socket.receive()
            if isinstance(message, bytes):
                run.previews += 1
                continue
            if message["data"].get("prompt_id") != run.prompt_id:
                continue
            run.messages.append(message)
            if on_message:
                on_message(message)
            if message["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                return run

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()
