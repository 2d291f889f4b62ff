"""A stand-in for a Weights & Biases server: the few queries that a run, a sync and a sweep need, on loopback.

It keeps what it was sent, so that a test asserts what would have reached a real server::

    with FakeServer() as server:
        subprocess.run([...], env={**os.environ, **server.environment()})
    assert server.runs["abc"].history[-1]["val/loss"] < 1
"""

import gzip
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import yaml

ENTITY = "tester"
SWEEP = "sweep1"


@dataclass
class Run:
    """What the server holds of one run."""

    config: dict[str, Any] = field(default_factory=dict)
    sweep: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    exitcode: int | None = None


@dataclass
class FakeServer:
    """Serves in a thread between ``__enter__`` and ``__exit__``.

    Attributes:
        trials: how many runs an agent is told to start.
        runs: by run id.
        artifacts: the inputs of CreateArtifact, metadata decoded, with ``committed``.
        uploads: body of each uploaded file by its name; artifact files below ``artifact/``.
        sweep_config: the YAML text of the sweep.
        bodies: every request body, to look for what must not have been sent.
        unknown: names of queries that this server does not know.
    """

    trials: int = 3
    runs: dict[str, Run] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    sweep_config: str = ""
    started: int = 0
    bodies: list[bytes] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def __enter__(self) -> "FakeServer":
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.state = self
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """What a process needs in order to talk to this server, and to nothing else."""
        key = "0123456789abcdef" * 2 + "01234567"  # 40 characters, as a key has; it opens nothing
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": key,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_CONFIG_DIR": str(home),
            "WANDB_CACHE_DIR": str(home),
            "WANDB_DATA_DIR": str(home),
            "NETRC": str(home / "netrc"),
        }

    def answer(self, query: str, v: dict[str, Any]) -> dict[str, Any] | None:
        """The data of a GraphQL query, by its name; None when it is not known."""
        project = {"id": "project", "name": v.get("project") or v.get("projectName"), "entity": _named(ENTITY)}
        match query:
            case "Viewer":
                viewer = {"id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}"}
                return {"viewer": {**viewer, "teams": {"edges": []}}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "OrganizationCoreWeaveOrganizationID":
                return {"entity": {"organization": None}}
            case "RunResumeStatus":
                return {"model": {**project, "bucket": None}}
            case "UpsertBucket":
                run = self.runs.setdefault(v["name"], Run())
                run.config |= {k: e["value"] for k, e in json.loads(v["config"] or "{}").items()}
                run.sweep = v["sweep"] or run.sweep
                bucket = {"id": v["name"], "name": v["name"], "displayName": v["displayName"] or v["name"]}
                bucket |= {"description": None, "config": "{}", "sweepName": run.sweep, "historyLineCount": 0}
                return {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
            case "CreateRunFiles":
                self.runs[v["run"]].files |= set(v["files"])
                files = [{"name": name, "uploadUrl": f"{self.url}/upload/{v['run']}/{name}"} for name in v["files"]]
                return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":
                given = v["input"]
                name = f"artifact{len(self.artifacts)}"
                self.artifacts[name] = {**given, "metadata": json.loads(given["metadata"] or "{}"), "committed": False}
                artifact = {"id": name, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
                return {"createArtifact": {"artifact": artifact}}
            case "CreateArtifactManifest":
                file = {"id": "f", "uploadUrl": f"{self.url}/upload/{v['artifactID']}.json", "uploadHeaders": []}
                return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}
            case "CreateArtifactFiles":
                edges = [{"node": self._artifact_file(file)} for file in v["input"]["artifactFiles"]]
                return {"createArtifactFiles": {"files": {"edges": edges}}}
            case "CommitArtifact":
                self.artifacts[v["artifactID"]]["committed"] = True
                return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": "d"}}}
            case "UpsertSweep":
                self.sweep_config = v["config"]
                return {"upsertSweep": {"sweep": {"name": SWEEP, "project": project}, "configValidationWarnings": []}}
            case "SweepWithRuns":
                sweep = {"id": SWEEP, "name": SWEEP, "state": "RUNNING", "config": self.sweep_config}
                return {"project": {"sweep": {**sweep, "runs": {"edges": []}}}}
            case "CreateAgent":
                return {"createAgent": {"agent": {"id": "agent"}}}
            case "Heartbeat":
                busy = v["runState"] != "{}"
                return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(self._commands(busy))}}
        return None

    def _artifact_file(self, file: dict[str, Any]) -> dict[str, Any]:
        name = f"artifact/{file['name']}"
        node = {"storagePath": name, "uploadUrl": f"{self.url}/upload/{name}", "uploadHeaders": []}
        return {**node, "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}}

    def _commands(self, busy: bool) -> list[dict[str, Any]]:
        """One run at a time, then the end; the i-th trial takes the i-th value of each parameter, in turn."""
        if busy:
            return []
        if self.started == self.trials:
            return [{"id": "end", "type": "exit"}]
        parameters = yaml.safe_load(self.sweep_config)["parameters"]
        values = {name: {"value": _value(space, self.started)} for name, space in parameters.items()}
        self.started += 1
        return [{"id": "run", "type": "run", "run_id": f"trial{self.started}", "program": "", "args": values}]

    def stream(self, run: Run, sent: dict[str, Any]) -> None:
        """Take a message of the file stream: lines of the history, the summary, the exit status."""
        files = sent.get("files") or {}
        run.history += [json.loads(line) for line in files.get("wandb-history.jsonl", {}).get("content", [])]
        for line in files.get("wandb-summary.json", {}).get("content", []):
            run.summary |= json.loads(line)
        run.exitcode = sent.get("exitcode", run.exitcode)


def _named(name: str) -> dict[str, str]:
    return {"id": name, "name": name}


def _value(space: dict[str, Any], index: int) -> Any:
    """The index-th trial's value: of a list in turn, of a range one end and then the other."""
    choices = space.get("values") or [space["value"]] if "min" not in space else [space["min"], space["max"]]
    return choices[index % len(choices)]


class _Server(ThreadingHTTPServer):
    state: FakeServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients drop idle connections when they end; that is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        state, body = cast(_Server, self.server).state, self._body()
        if self.path == "/graphql":
            request = json.loads(body)
            name = re.findall(r"(?:query|mutation)\s+(\w+)", request["query"])[0]
            data = state.answer(name, request.get("variables") or {})
            if data is None:
                state.unknown.append(name)
                return self._reply({"errors": [{"message": f"the fake server does not know {name}"}]})
            return self._reply({"data": data})
        if self.path.endswith("/file_stream"):
            state.stream(state.runs[self.path.split("/")[-2]], json.loads(body))
        self._reply({})

    def do_PUT(self) -> None:
        cast(_Server, self.server).state.uploads[unquote(self.path).removeprefix("/upload/")] = self._body()
        self._reply({})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        cast(_Server, self.server).state.bodies.append(body)
        return body

    def _reply(self, content: dict[str, Any]) -> None:
        payload = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
