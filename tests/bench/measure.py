"""Runs the proxies in turn under the same load and prints CPU-µs a request, from /proc, with ratios."""
import argparse
import contextlib
import datetime
import glob
import http.server
import os
import platform
import re
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
TARGET = os.path.join(HERE, "../../target")
PAGE = os.path.join(HERE, "../../docs/performance.md")
BACKEND = 9301
TOLLGATE, HAPROXY, NGINX, ENVOY = "Tollgate", "HAProxy", "nginx", "Envoy"
PORTS = {TOLLGATE: 9300, HAPROXY: 9302, NGINX: 9303, ENVOY: 9304}
ORDER = "/orders/7?expand=items"
# Path, and of which file the tokens are: one of them again and again, or each in turn.
WORKS = {
    "plain proxy": ("/plain" + ORDER, None, False),
    "policies": ("/api" + ORDER, None, False),
    "policies, a token seen before": ("/jwt" + ORDER, "rs256", False),
    "policies, RS256": ("/jwt" + ORDER, "rs256", True),
    "policies, ES256": ("/jwt" + ORDER, "es256", True),
}
# nginx checks no tokens.
BY_ALL = ("plain proxy", "policies")
# One thread of work each: Tollgate and HAProxy have one, nginx one worker, Envoy one worker besides its main thread.
COMMANDS = {
    TOLLGATE: [f"{TARGET}/release/tollgate", "dev", "--quiet", "--config", f"{HERE}/tollgate.yaml", "--listen", "127.0.0.1:9300"],
    HAPROXY: ["haproxy", "-db", "-f", f"{HERE}/haproxy.cfg"],
    NGINX: ["nginx", "-p", f"{TARGET}/nginx", "-c", f"{HERE}/nginx.conf", "-g", "daemon off;"],
    ENVOY: [f"{TARGET}/peers/bin/envoy", "-c", f"{HERE}/envoy.yaml", "--concurrency", "1", "-l", "critical", "--use-dynamic-base-id"],
}
VERSIONS = {
    TOLLGATE: [f"{TARGET}/release/tollgate", "--version"],
    HAPROXY: ["haproxy", "-v"],
    NGINX: ["nginx", "-v"],
    ENVOY: [f"{TARGET}/peers/bin/envoy", "--version"],
}


@contextlib.contextmanager
def running(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ready(name):
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORTS[name]}/plain/x", timeout=1).read()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{name} does not answer on port {PORTS[name]}")


def works(name):
    return {work: what for work, what in WORKS.items() if name != NGINX or work in BY_ALL}


def first_token(file):
    with open(f"{TARGET}/bench/{file}.txt") as tokens:
        return tokens.readline().strip()


def fields_of(file):
    return {"cookie": "a=b"} | ({"authorization": f"Bearer {first_token(file)}"} if file else {})


def ask(name, path, fields):
    request = urllib.request.Request(f"http://127.0.0.1:{PORTS[name]}{path}", headers=fields)
    with urllib.request.urlopen(request, timeout=2) as answer:
        return answer.status, answer.headers, answer.read()


class Recorder(http.server.BaseHTTPRequestHandler):
    """Stands where the backend will be and takes down what reaches it."""
    seen = []

    def do_GET(self):
        self.seen.append((self.path, self.headers))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def recording():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", BACKEND), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def same_work_behind(name):
    """Every proxy sends on what the others do: path, fields set and removed, and whom it speaks for."""
    for work, (path, file, _) in works(name).items():
        ask(name, path, fields_of(file))
        behind, fields = Recorder.seen[-1]
        seen = (behind, fields["x-tenant"], fields["cookie"], fields["authorization"])
        due = (path, None, "a=b", None) if work == "plain proxy" else (ORDER, "acme", None, None)
        if seen != due or not fields["x-forwarded-for"]:
            raise SystemExit(f"{name}, {work}: behind it came {seen}, for {fields['x-forwarded-for']}")
        if file:
            refuses_all_but_the_right_token(name, path, file)


def refuses_all_but_the_right_token(name, path, file):
    head, claims, signature = first_token(file).split(".")
    other = "A" if signature[10] != "A" else "B"
    for token in (None, f"{head}.{claims}.{signature[:10]}{other}{signature[11:]}", f"{head}.{claims}."):
        try:
            ask(name, path, {"authorization": f"Bearer {token}"} if token else {})
        except urllib.error.HTTPError as refused:
            if refused.code == 401:
                continue
        raise SystemExit(f"{name}, {file}: let in with the token {token}")


def same_work_before(name):
    """Every proxy answers what the others do. nginx cannot do without a `server` of its own."""
    for work, (path, file, _) in works(name).items():
        status, fields, content = ask(name, path, fields_of(file))
        seen = (status, len(content), fields["x-frame-options"], fields["server"] == "backend")
        due = (200, 104) + ((None, name != NGINX) if work == "plain proxy" else ("DENY", False))
        if seen != due:
            raise SystemExit(f"{name}, {work}: the client sees {seen}, not {due}")


def processes(pid):
    """A process and those under it."""
    below = " ".join(open(path).read() for path in glob.glob(f"/proc/{pid}/task/*/children")).split()
    return [pid, *(one for child in below for one in processes(child))]


def cpu_ns(pid):
    """Time on a processor of every thread of a proxy, in nanoseconds."""
    tasks = (path for one in processes(pid) for path in glob.glob(f"/proc/{one}/task/*/schedstat"))
    return sum(int(open(path).read().split()[0]) for path in tasks)


def pss_mb(pid):
    texts = (open(f"/proc/{one}/smaps_rollup").read() for one in processes(pid))
    return sum(int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1)) for text in texts) / 1024


def load(name, what, seconds, connections):
    """Requests answered; none may fail."""
    path, file, each = what
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{PORTS[name]}{path}"]
    if each:
        command += ["-s", f"{HERE}/tokens.lua", "--", f"{TARGET}/bench/{file}.txt"]
    else:
        command += [part for field, value in fields_of(file).items() for part in ("-H", f"{field}: {value}")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if re.search(r"Non-2xx or 3xx responses|Socket errors", out):
        raise SystemExit(f"{name} under load:\n{out}")
    return int(re.search(r"(\d+) requests in", out).group(1))


def measure(pids, what, given):
    """CPU-µs a request of every proxy, round by round: all of them in each, the other way round in every second."""
    measured = {name: [] for name in pids}
    for name in pids:
        load(name, what, 1, given.connections)
    for turn in range(given.rounds):
        for name in sorted(pids, reverse=bool(turn % 2)):
            before = cpu_ns(pids[name])
            requests = load(name, what, given.seconds, given.connections)
            measured[name].append((cpu_ns(pids[name]) - before) / requests / 1000)
    return measured


def quartiles(values, digits):
    low, mid, high = statistics.quantiles(values, n=4)
    return f"{mid:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def ratio(measured, name):
    """Tollgate's CPU over a peer's: the median and the quartiles of the ratios within a round."""
    return quartiles([ours / its for ours, its in zip(measured[TOLLGATE], measured[name])], 2)


def show(work, measured):
    for name, values in measured.items():
        over = "" if name == TOLLGATE else f"   Tollgate / {name} {ratio(measured, name)}"
        print(f"{work:30} {name:9} {quartiles(values, 1):22} CPU-µs a request{over}", flush=True)


def version(name):
    done = subprocess.run(VERSIONS[name], capture_output=True, text=True, check=True)
    return re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr).group()


def table(results, memory):
    """The results in Markdown."""
    lines = ["| work | | CPU-µs | Tollgate takes |", "| --- | --- | --- | --- |"]
    for work, measured in results.items():
        for name, values in measured.items():
            taken = "" if name == TOLLGATE else f"{ratio(measured, name)} times"
            lines.append(f"| {work if name == TOLLGATE else ''} | {name} | {quartiles(values, 1)} | {taken} |")
    sizes = ", ".join(f"{name} {version(name)}: {mb:.0f}" for name, mb in memory.items())
    return "\n".join([*lines, "", f"Memory in MB: {sizes}."])


def write(given, results, memory):
    """Puts the table between the markers of docs/performance.md."""
    when = datetime.date.today().strftime("%-d %B %Y")
    machine = f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[2]:.0f}"
    head = f"Measured on {when} ({machine}): {given.rounds} rounds of {given.seconds} s, {given.connections} connections."
    text = open(PAGE).read()
    before, _, rest = text.partition("<!-- table -->\n")
    _, mark, after = rest.partition("<!-- end of table -->")
    if not mark:
        raise SystemExit("docs/performance.md has lost its markers")
    with open(PAGE, "w") as page:
        page.write(f"{before}<!-- table -->\n{head}\n\n{table(results, memory)}\n{mark}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--peers", nargs="*", default=[HAPROXY, NGINX, ENVOY], choices=[HAPROXY, NGINX, ENVOY])
    parser.add_argument("--markdown", action="store_true", help="also write the table of docs/performance.md")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        names = [TOLLGATE, *given.peers]
        with recording():
            pids = {name: stack.enter_context(running(COMMANDS[name])) for name in names}
            for name in names:
                ready(name)
                same_work_behind(name)
        stack.enter_context(running([f"{TARGET}/release/backend", str(BACKEND)]))
        for name in names:
            ready(name)
            same_work_before(name)
        results = {}
        for work, what in WORKS.items():
            results[work] = measure({name: pid for name, pid in pids.items() if work in works(name)}, what, given)
            show(work, results[work])
        memory = {name: pss_mb(pid) for name, pid in pids.items()}
        print("memory, MB (Pss):", ", ".join(f"{name} {mb:.1f}" for name, mb in memory.items()))
        if given.markdown:
            write(given, results, memory)


if __name__ == "__main__":
    main()
