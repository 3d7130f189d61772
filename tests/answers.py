"""Whether what was built for Lambda gives the golden answers of events/answers. Python alone; needs no AWS.

    answers.py serve PROGRAM...   hands the sample events to PROGRAM as the Lambda Runtime API does, buffered and streamed
    answers.py compare NAME       compares the Lambda answer on standard input
"""
import base64
import http.server
import json
import os
import pathlib
import queue
import re
import ssl
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATIENCE = 60  # seconds: an emulated processor is slow
# A table that does not answer: the sample events served here ask none, and `local` limits go on without.
NO_TABLE = {"TOLLGATE_DYNAMODB_ENDPOINT": "http://127.0.0.1:1", "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}


def read(name):
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def fields(answer):
    """Its header fields, by value or, as REST APIs and some load balancers have them, by a list of values."""
    return answer.get("headers") or answer["multiValueHeaders"]


def alone():
    """The events whose answer is the gateway's own: no upstream (via) and no table (ratelimit) has a part in it."""
    names = sorted(path.stem for path in (ROOT / "events").glob("*.json"))
    return [name for name in names if not {"via", "ratelimit"} & set(fields(read(f"answers/{name}")))]


def parts(answer):
    """What a client would see of an answer, however it is put in JSON."""
    body = answer.get("body", "").encode()
    body = base64.b64decode(body) if answer.get("isBase64Encoded") else body
    headers = dict(fields(answer))
    if "ratelimit" in headers:  # the seconds to the window's end
        headers["ratelimit"] = re.sub(r";t=\d+", "", headers["ratelimit"])
    return {"status": answer["statusCode"], "headers": headers, "cookies": answer.get("cookies", []), "body": body}


def compare(name, got):
    expected, got = parts(read(f"answers/{name}")), parts(got)
    shown = expected["headers"].get("x-request-id")
    if "…" in (shown or ()):  # the invocation's, where the event has no id of its own
        id_of = got["headers"].get("x-request-id") or ""
        own = id_of if isinstance(id_of, str) else id_of[0]
        got["headers"]["x-request-id"] = shown
        got["body"] = got["body"].replace(f'"{own}"'.encode(), '"…"'.encode())
    if got != expected:
        sys.exit(f"{name}: expected {expected}\n{' ' * len(name)}       got {got}")


class Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def content(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return content


class RuntimeApi(Connection):
    def do_GET(self):
        number, event = self.server.events.get()
        self.reply(200, json.dumps(event).encode(), lambda_runtime_aws_request_id=f"i-{number}",
                   lambda_runtime_deadline_ms=str(int(time.time() * 1000) + PATIENCE * 1000))

    def do_POST(self):
        content, kind = self.content(), self.path.rsplit("/", 1)[-1]
        self.reply(202)
        streamed = self.headers.get("lambda-runtime-function-response-mode") == "streaming"
        self.server.answers.put((kind, streamed, content))


class Upstream(Connection):
    def do_GET(self):
        self.reply(200, f"{self.path.partition('?')[0]} over {self.connection.version()}".encode(), content_type="text/plain")


def listen(handler, tls=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # connections break when the program is stopped; a lost answer is told as such
    server.events, server.answers = queue.Queue(), queue.Queue()
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def certificate(folder):
    """A certificate for 127.0.0.1 with its key, in one file that is also the root to trust."""
    pem = folder / "upstream.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=upstream", "-addext", "basicConstraints=critical,CA:FALSE",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out", folder / "cert.pem"],
                   check=True, stderr=subprocess.DEVNULL)
    with pem.open("a") as file:
        file.write((folder / "cert.pem").read_text())
    return pem


def next_answer(api, program):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            kind, streamed, content = api.answers.get(timeout=0.2)
        except queue.Empty:
            if program.poll() is not None:
                sys.exit(f"{program.args} ended with {program.returncode}")
            continue
        if kind != "response":
            sys.exit(f"{program.args} told an error: {content.decode(errors='replace')}")
        if streamed:
            prelude, _, body = content.partition(b"\0" * 8)
            return {**json.loads(prelude), "body": base64.b64encode(body).decode(), "isBase64Encoded": True}
        return json.loads(content)
    sys.exit(f"{program.args} gave no answer within {PATIENCE} s")


def serve(command):
    names = alone()
    with tempfile.TemporaryDirectory() as folder:
        pem = certificate(pathlib.Path(folder))
        upstream = listen(Upstream, tls=pem)
        for mode in ("buffered", "stream"):
            api = listen(RuntimeApi)
            environment = {**NO_TABLE, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}", "TOLLGATE_LOG": "off",
                           "TOLLGATE_CONFIG": "infra/gateway.yaml", "TOLLGATE_RESPONSE_MODE": mode, "PATH": os.environ["PATH"],
                           "SSL_CERT_FILE": str(pem), "ORDERS_URL": f"https://127.0.0.1:{upstream.server_port}"}
            program = subprocess.Popen(command, cwd=ROOT, env=environment)
            try:
                for number, name in enumerate(names):
                    api.events.put((number, read(name)))
                    compare(name, next_answer(api, program))
                # No golden answer, but what else would show that TLS works on this processor?
                api.events.put((len(names), read("orders-list")))
                answer = parts(next_answer(api, program))
                if (answer["status"], answer["body"]) != (200, b"/recent over TLSv1.3"):
                    sys.exit(f"orders-list over TLS: {answer}")
            finally:
                program.kill()
                program.wait()
    print(f"{len(names)} answers as events/answers has them and one over TLS, buffered and streamed: {', '.join(names)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", _, *_]:
            serve(sys.argv[2:])
        case ["compare", name]:
            compare(name, json.load(sys.stdin))
        case _:
            sys.exit(__doc__)
