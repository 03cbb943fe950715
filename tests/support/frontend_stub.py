"""The files of comfyui-frontend-package behind a small server that knows this pack's nodes and plays back
recorded outputs.

Nothing runs: a queued prompt is kept in ``prompts`` and answered with the outputs set for its nodes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from urllib.parse import parse_qs, urlparse

ROOT = Path(__file__).resolve().parents[2]
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
ANSWERS = {  # what the page asks for and this pack does not care about
    "/users": {"storage": "server", "migrated": True},
    "/system_stats": {
        "system": {"os": "linux", "comfyui_version": "0.33.0", "python_version": "3", "argv": []},
        "devices": [],
    },
    "/queue": {"queue_running": [], "queue_pending": []},
    "/features": {},
    "/history": {},
    "/jobs": {"jobs": [], "pagination": {"offset": 0, "limit": 0, "total": 0, "has_more": False}},
    "/workflow_templates": {},
    "/global_subgraphs": {},
    "/node_replacements": {},
}


def static_folder() -> Path:
    """Where the package keeps the page."""
    return (
        Path(str(distribution("comfyui-frontend-package").locate_file("comfyui_frontend_package"))) / "static"
    )


class FrontendStub:
    """files: folder that /view serves.  outputs: node type -> what the run sends for it."""

    def __init__(self, files: Path, outputs: dict[str, dict], settings: dict) -> None:
        self.files, self.outputs, self.settings, self.prompts = files, outputs, dict(settings), []
        self.socket = None
        stub, page = self, static_folder()
        golden = (
            ROOT / "tests" / "nodes" / "object_info.json",
            Path(__file__).with_name("core_object_info.json"),
        )
        nodes = {
            key: info for path in golden for key, info in json.loads(path.read_text(encoding="utf-8")).items()
        }
        words = {
            path.name: {f.stem: json.loads(f.read_text(encoding="utf-8")) for f in path.glob("*.json")}
            for path in (ROOT / "locales").iterdir()
        }
        web = ROOT / "web"
        scripts = [
            f"/extensions/PersonaTalk/{path.relative_to(web).as_posix()}"
            for path in sorted(web.rglob("*.js"))
        ]

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                address = urlparse(self.path)
                path = address.path.removeprefix("/api")
                if path == "/ws":
                    self.listen()
                elif path == "/object_info":
                    self.say(nodes)
                elif path == "/extensions":
                    self.say(scripts)
                elif path == "/i18n":
                    self.say(words)
                elif path == "/settings":
                    self.say(stub.settings)
                elif path in ANSWERS:
                    self.say(ANSWERS[path])
                elif path == "/view":
                    self.send_file(stub.files / parse_qs(address.query)["filename"][0])
                elif path.startswith("/extensions/PersonaTalk/"):
                    self.send_file(web / path.removeprefix("/extensions/PersonaTalk/"))
                elif (page / path.lstrip("/")).is_file():
                    self.send_file(page / path.lstrip("/"))
                elif path == "/":
                    self.send_file(page / "index.html")
                elif path.startswith(
                    ("/userdata", "/v2/userdata", "/models", "/experiment", "/embeddings", "/assets", "/tags")
                ):
                    self.say([])
                else:
                    self.say({}, 404)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
                path = urlparse(self.path).path.removeprefix("/api")
                if path != "/prompt":
                    self.say({})
                    return
                number = f"run-{len(stub.prompts)}"
                stub.prompts.append(body["prompt"])
                self.say({"prompt_id": number, "number": len(stub.prompts), "node_errors": {}})
                threading.Timer(0.3, stub.play, [number, body["prompt"]]).start()

            def say(self, content: object, code: int = 200) -> None:
                self.send(json.dumps(content).encode(), "application/json", code)

            def send_file(self, path: Path) -> None:
                kind = (
                    "text/javascript"
                    if path.suffix in (".js", ".mjs")
                    else mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                )
                if path.is_file():
                    self.send(path.read_bytes(), kind)
                else:
                    self.send(b"", kind, 404)

            def send(self, data: bytes, kind: str, code: int = 200) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def listen(self) -> None:
                key = base64.b64encode(
                    hashlib.sha1(self.headers["Sec-WebSocket-Key"].encode() + MAGIC).digest()
                ).decode()
                self.wfile.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                )
                self.wfile.write(f"Sec-WebSocket-Accept: {key}\r\n\r\n".encode())
                stub.socket = self.wfile
                stub.tell("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "stub"})
                while self.rfile.read(1):  # until the page goes away
                    pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def tell(self, kind: str, data: dict) -> None:
        text = json.dumps({"type": kind, "data": data}).encode()
        size = (
            bytes([len(text)])
            if len(text) < 126
            else b"\x7e" + struct.pack(">H", len(text))
            if len(text) < 65536
            else b"\x7f" + struct.pack(">Q", len(text))
        )
        self.socket.write(b"\x81" + size + text)
        self.socket.flush()

    def play(self, number: str, prompt: dict) -> None:
        self.tell("execution_start", {"prompt_id": number})
        for key, node in prompt.items():
            self.tell("executing", {"node": key, "display_node": key, "prompt_id": number})
            if node["class_type"] in self.outputs:
                self.tell(
                    "executed",
                    {
                        "node": key,
                        "display_node": key,
                        "output": self.outputs[node["class_type"]],
                        "prompt_id": number,
                    },
                )
        self.tell("execution_success", {"prompt_id": number})
        self.tell("executing", {"node": None, "prompt_id": number})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
