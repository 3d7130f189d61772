"""Runs the proxies in turn under the same load and prints CPU-µs a request, from /proc, with ratios."""
import argparse
import glob
import re
import statistics
import subprocess
import time
import urllib.request

TOLLGATE, HAPROXY = "tollgate", "haproxy"
PORTS = {TOLLGATE: 9300, HAPROXY: 9302}
PATHS = {"plain proxy": "/plain/orders/7?expand=items", "policies": "/api/orders/7?expand=items"}


def start(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def ready(port):
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/plain/x", timeout=1).read()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


def same_work(port):
    """Both do what the policies say, as far as the client sees it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{PATHS['policies']}", timeout=1) as answer:
        seen = (answer.status, answer.headers["x-frame-options"], answer.headers["server"], len(answer.read()))
        if seen != (200, "DENY", None, 104):
            raise SystemExit(f"port {port} answers {seen}")


def cpu_ns(pid):
    """Time on a processor of every thread, in nanoseconds."""
    return sum(int(open(path).read().split()[0]) for path in glob.glob(f"/proc/{pid}/task/*/schedstat"))


def pss_mb(pid):
    text = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M).group(1)) / 1024


def load(port, path, seconds, connections):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-H", "cookie: a=b", f"http://127.0.0.1:{port}{path}"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", out).group(1))
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors", out)
    if errors:
        raise SystemExit(f"errors under load on port {port}:\n{out}")
    return requests


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args()
    processes = [start(["target/release/backend", "9301"])]
    pids = {}
    for name, command in {
        TOLLGATE: ["target/release/tollgate", "dev", "--quiet", "--config", "tests/bench/tollgate.yaml", "--listen", "127.0.0.1:9300"],
        HAPROXY: ["haproxy", "-db", "-f", "tests/bench/haproxy.cfg"],
    }.items():
        processes.append(start(command))
        pids[name] = processes[-1].pid
    try:
        for port in PORTS.values():
            ready(port)
            same_work(port)
        for work, path in PATHS.items():
            measured = {name: [] for name in PORTS}
            ratios = []
            for name in PORTS:
                load(PORTS[name], path, 1, given.connections)
            for turn in range(given.rounds):
                pair = {}
                for name in sorted(PORTS, reverse=bool(turn % 2)):
                    before = cpu_ns(pids[name])
                    requests = load(PORTS[name], path, given.seconds, given.connections)
                    pair[name] = (cpu_ns(pids[name]) - before) / requests / 1000
                    measured[name].append(pair[name])
                ratios.append(pair[TOLLGATE] / pair[HAPROXY])
            for name, values in measured.items():
                low, mid, high = statistics.quantiles(values, n=4)
                print(f"{work:12} {name:9} {mid:6.1f} CPU-µs a request (quartiles {low:.1f} to {high:.1f})")
            low, mid, high = statistics.quantiles(ratios, n=4)
            print(f"{work:12} tollgate / haproxy: {mid:.2f} (quartiles {low:.2f} to {high:.2f})", flush=True)
        print(f"memory of tollgate after that: {pss_mb(pids[TOLLGATE]):.1f} MB (Pss)")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(5)


if __name__ == "__main__":
    main()
