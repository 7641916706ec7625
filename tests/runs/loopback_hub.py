"""A server on this machine that speaks as much of the Hugging Face hub's protocol as its client needs for models."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_test"
LARGE = 1000  # bytes; larger files go through the protocol of Git LFS


class LoopbackHub:
    """Repositories by name: revision → path → content. What was asked for is in `asked`.

    Uploads whose path holds the second part of `fault` fail with the status in the first; 0 closes the connection.
    """

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.address = ""
        self.fault: tuple[int, str] | None = None

    def commit(self, name: str, lines: list[dict[str, Any]]) -> str:
        """Apply the lines of a commit; return its id."""
        files = dict(self.files[name])
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.files[name] = files
        number = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[name][number] = files
        return number

    def at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return (commit, files) of a revision, None if there is none."""
        commits = self.commits.get(name, {})
        if name in self.commits and not commits and revision == "main":
            return "0" * 40, {}  # the hub makes a first commit itself
        number = next(reversed(commits), "") if revision == "main" else revision
        return (number, commits[number]) if number in commits else None


@contextmanager
def serving() -> Iterator[LoopbackHub]:
    """Serve an empty hub on a free port of this machine."""
    hub = LoopbackHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *unused: object) -> None: ...

        def answer(self, content: object = b"", status: int = 200, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_POST(self) -> None:
            if self.failed():
                return None
            path, body = urlsplit(self.path).path, self.body()
            hub.asked.append(f"POST {path}")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer({"error": "Invalid credentials"}, 401)
            if path == "/api/repos/create":
                given = json.loads(body)
                name = f"{given['organization']}/{given['name']}" if given.get("organization") else given["name"]
                hub.files.setdefault(name, {})
                hub.commits.setdefault(name, {})
                hub.private.setdefault(name, given.get("visibility") == "private" or bool(given.get("private")))
                return self.answer({"url": f"{hub.address}/{name}", "name": name})
            if path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            name = "/".join(path.removeprefix("/api/models/").split("/")[:2])
            if "/preupload/" in path:
                files = [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["size"] > LARGE else "regular",
                        "shouldIgnore": False,
                    }
                    for file in json.loads(body)["files"]
                ]
                return self.answer({"files": files})
            if path.endswith("/info/lfs/objects/batch"):
                objects = [
                    {**each, "actions": {"upload": {"href": f"{hub.address}/large/{each['oid']}"}}}
                    for each in json.loads(body)["objects"]
                ]
                return self.answer({"transfer": "basic", "objects": objects})
            number = hub.commit(name, [json.loads(line) for line in body.splitlines()])
            url = f"{hub.address}/{name}/commit/{number}"
            return self.answer({"success": True, "commitOid": number, "commitUrl": url})

        def failed(self) -> bool:
            status, part = hub.fault or (0, "")
            if not part or part not in self.path:
                return False
            self.body()
            if status:
                self.answer({"error": "refused"}, status)
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            return True

        def do_PUT(self) -> None:
            if self.failed():
                return
            content = self.body()
            oid = self.path.rsplit("/", 1)[1]
            assert hashlib.sha256(content).hexdigest() == oid
            hub.large[oid] = content
            self.answer()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            api = path.startswith("/api/models/")
            parts = path.removeprefix("/api/models").strip("/").split("/")
            parts += ["revision", "main"][max(0, len(parts) - 2) :]
            name, kind, revision, inside = "/".join(parts[:2]), parts[2], parts[3], "/".join(parts[4:])
            is_hidden = hub.private.get(name) and self.headers.get("Authorization") != f"Bearer {TOKEN}"
            found = None if is_hidden else hub.at(name, revision)
            if found is None:
                code = "RevisionNotFound" if name in hub.files and not is_hidden else "RepoNotFound"
                return self.answer({"error": "not found"}, 404, X_Error_Code=code)
            number, files = found
            if api and kind == "revision":
                siblings = [{"rfilename": file} for file in files]
                private = hub.private.get(name, False)
                return self.answer({"id": name, "sha": number, "siblings": siblings, "tags": [], "private": private})
            if api:
                entries = [
                    {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for file, content in files.items()
                ]
                return self.answer(entries)
            content = files[inside]
            return self.answer(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=number)

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
