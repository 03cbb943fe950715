"""A stand-in for the Hub on 127.0.0.1: the requests that huggingface_hub really makes to download and to
publish."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest


class StandInHub:
    """Repositories in memory. commits[repo_id][commit] maps file names to bytes; requests lists (method,
    path, range)."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.created: list[dict] = []
        self.large_objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.cut_after: int | None = (
            None  # the next download of a large file breaks off after this many bytes
        )
        self.status: int | None = None  # every answer has this status instead
        self.hides_commit = False  # answers like a hotel's login page: 200, but no commit
        stand_in = self

        class Handler(_Handler):
            hub = stand_in

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def add(self, repo_id: str, files: dict[str, bytes]) -> str:
        """Commit files and return the commit's hash."""
        commit = hashlib.sha1(
            repr((repo_id, len(self.commits.get(repo_id, {})), sorted(files))).encode()
        ).hexdigest()
        self.commits.setdefault(repo_id, {})[commit] = dict(files)
        return commit

    def downloads(self, file: str) -> list[str | None]:
        """The Range header of every GET of a file, None where it had none."""
        return [
            range_ for method, path, range_ in self.requests if method == "GET" and path.endswith(f"/{file}")
        ]

    def stop(self) -> None:
        """Close the port; later requests are refused."""
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: StandInHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _note(self) -> str:
        path = urlsplit(self.path).path
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        return path

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Connection": "close",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_HEAD(self) -> None:
        self._resolve()

    def do_GET(self) -> None:
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/main", urlsplit(self.path).path)
        if info:  # older clients ask whether the repository uses Xet
            return self._json({"id": info[1], "xetEnabled": False})
        return self._resolve()

    def _resolve(self) -> None:
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._note())
        if self.hub.status:
            return self._answer(self.hub.status)
        if not match or match[1] not in self.hub.commits:
            return self._answer(
                401 if match else 404,
                headers={"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"},
            )
        repo_id, commit, file = match.groups()
        files = self.hub.commits[repo_id].get(commit)
        if files is None:
            return self._answer(
                404, headers={"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}
            )
        if file not in files:
            return self._answer(404, headers={"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        content = files[file]
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        if not self.hub.hides_commit:
            headers["X-Repo-Commit"] = commit
        if self.command == "HEAD":
            return self._answer(200, headers={**headers, "Content-Length": str(len(content))})
        return self._send_file(content, headers)

    def _send_file(self, content: bytes, headers: dict[str, str]) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        cut = self.hub.cut_after
        if cut is None or len(content) <= cut:
            return self._answer(206 if asked else 200, content[start:], headers)
        self.hub.cut_after = None
        return self._answer(200, content[:cut], {**headers, "Content-Length": str(len(content))})

    def do_POST(self) -> None:
        path, body = self._note(), self._body()
        if self.hub.status:
            return self._answer(self.hub.status, b"{}")
        if path == "/api/repos/create":
            wish = json.loads(body)
            self.hub.created.append(wish)
            repo_id = f"{wish['organization']}/{wish['name']}"
            self.hub.commits.setdefault(repo_id, {})
            return self._json({"url": f"{self.hub.endpoint}/{repo_id}"})
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if "/preupload/" in path:
            files = [f["path"] for f in json.loads(body)["files"]]
            return self._json(
                {"files": [{"path": f, "uploadMode": _mode(f), "shouldIgnore": False} for f in files]}
            )
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**o, "actions": {"upload": {"href": f"{self.hub.endpoint}/large/{o['oid']}"}}}
                for o in json.loads(body)["objects"]
            ]
            return self._json({"transfer": "basic", "objects": objects})
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path)
        if match:
            return self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        return self._answer(404)

    def _commit(self, repo_id: str, lines: list[dict]) -> None:
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large_objects[value["oid"]]
        commit = self.hub.add(repo_id, files)
        return self._json(
            {"commitUrl": f"{self.hub.endpoint}/{repo_id}/commit/{commit}", "commitOid": commit}
        )

    def do_PUT(self) -> None:
        body = self._read_chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self._body()
        oid = self._note().rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            return self._answer(400)
        self.hub.large_objects[oid] = body
        return self._answer(200)

    def _read_chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data


def _mode(file: str) -> str:
    return "lfs" if file.endswith((".safetensors", ".task")) else "regular"


@pytest.fixture
def stand_in_hub(monkeypatch):
    """A running stand-in; the client is told to go online, by plain HTTP, without a proxy."""
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    # what is kept of a file when its download breaks off
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = StandInHub()
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    for module in (constants, file_download):  # older clients keep a second copy
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    yield hub
    hub.stop()


@pytest.fixture
def weights_folder(tmp_path):
    """A small but whole folder of weights: two checkpoints, a task bundle, a model card and a manifest."""
    import zipfile

    import torch

    from personatalk_core.weights.checkpoint import save_checkpoint
    from personatalk_core.weights.manifest import write_manifest

    folder = tmp_path / "weights"
    for name, width in (("face_model", 400), ("renderer", 300)):
        tensors = {"weight": torch.arange(width * 100.0).reshape(width, 100)}
        save_checkpoint(
            folder / f"{name}.safetensors", tensors, kind=name, config={"width": width}, licence="Apache-2.0"
        )
    with zipfile.ZipFile(folder / "face_landmarker.task", "w") as bundle:
        bundle.writestr("face_detector.tflite", b"not a real model")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# A model card\n")
    write_manifest(folder)
    return folder
