"""What a large export costs the process that also watches the fleet: memory, and how fast it still answers.

    python3 scripts/export_cost.py target/release/rollcall heartbeats csv 5000000

fills a SQLite store in a temporary folder with so many rows of 1,000 vehicles, starts the service on it, asks GET
/vehicles for ten seconds as often as it answers, orders the export and goes on asking until it is finished. Prints the
rows a second, by how much the memory of the process grew at most (VmRSS, looked at ten times a second), and the median
and 99th percentile of the answers before and during. Then it orders the same twice more: once it kills the process half
way (-9), starts it again and looks whether there is one file with every row in the end; once it cancels half way, and says
how long that took. With postgres:// as the fifth argument, on an empty database there (needs psql).
"""

import http.client
import json
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

VEHICLES = 1000
CUSTOMER = "acme"
BEFORE_S = 10
EVIDENCE = json.dumps(
    {"last_seen_ms": 1, "deadline_ms": 2, "offline_after_ms": 90000, "policy_source": "default",
     "position": {"lat": 53.5, "lon": -2.25, "at_ms": 1, "speed_kmh": 48.3, "heading_deg": 90.0}}
)


def fill(kind, rows, begin, series, sqlite):
    """The statements that fill the tables; `series` is SQL for a table s with a column n from 0 on."""
    vehicle = f"'bus ' || (1000 + n % {VEHICLES})"
    each = f"n / {VEHICLES}"
    yes, no = ("1", "0") if sqlite else ("true", "false")
    fleet = f"""
        INSERT INTO customer (customer) VALUES ('{CUSTOMER}');
        {series(VEHICLES, f"INSERT INTO vehicle (customer, vehicle, status, seq)",
                f"'{CUSTOMER}', {vehicle}, 'offline', {rows // VEHICLES + 1}")};"""
    if kind == "transitions":
        row = f"'{CUSTOMER}', {vehicle}, 1 + {each}, 'online', 'offline', {begin} + n, {begin} + n, 'silence', '{EVIDENCE}'"
        return fleet + series(rows, "INSERT INTO transition", row) + ";"
    columns = ("customer, vehicle, at_ms, id, arrived_ms, backlog, seq, lat, lon, speed_kmh, heading_deg, battery_pct, "
               "odometer_km, ignition, metrics")
    row = (f"'{CUSTOMER}', {vehicle}, {begin} + n, n, {begin} + n + 40, {no}, {each}, 53.5 + n * 1e-7, -2.25, n % 90, "
           f"n % 360, 81.5, 12000.5 + {each}, {yes}, '[[\"rpm\",1500.0]]'")
    return fleet + series(rows, f"INSERT INTO heartbeat ({columns})", row) + ";"


def fill_sqlite(path, kind, rows, begin):
    def series(count, insert, row):
        return (f"{insert} WITH RECURSIVE s (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1}) "
                f"SELECT {row} FROM s")

    with sqlite3.connect(path) as store:
        store.executescript("PRAGMA synchronous = off; BEGIN;" + fill(kind, rows, begin, series, True) + "COMMIT;")
    store.close()


def fill_postgres(url, kind, rows, begin):
    def series(count, insert, row):
        return f"{insert} SELECT {row} FROM generate_series(0, {count - 1}) AS s (n)"

    days = f"ARRAY(SELECT generate_series({begin}::bigint, {begin + rows} + 86400000, 86400000))"
    partitions = {"transitions": f"SELECT add_transition_months({days});", "heartbeats": f"SELECT add_heartbeat_days({days});"}
    sql = partitions[kind] + fill(kind, rows, begin, series, False) + "ANALYZE;"
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", url], input=sql, text=True, check=True, stdout=subprocess.DEVNULL)


class Service:
    def __init__(self, binary, store, folder):
        command = [binary, "serve", "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--store", store]
        command += ["--offline-after", "1h"]
        self.again = (binary, store, folder)
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        self.address = self.process.stdout.readline().split("http=")[1].split()[0]

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")

    def running(self):
        connection = http.client.HTTPConnection(self.address, timeout=60)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return int(next(line for line in lines if line.startswith("rollcall_exports_running ")).split()[1])

    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])


def answers(service, until):
    """How long each answer of the fleet's first page takes, seconds, one after the other."""
    connection, times = http.client.HTTPConnection(service.address, timeout=60), []
    while not until():
        began = time.monotonic()
        connection.request("GET", "/api/v1/vehicles?limit=100")
        connection.getresponse().read()
        times.append(time.monotonic() - began)
    return sorted(times)


def percentile(times, share):
    return f"{times[int(share * (len(times) - 1))] * 1000:.1f} ms"


def main():
    binary, kind, form, rows = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    binary = str(pathlib.Path(binary).resolve())
    folder = tempfile.TemporaryDirectory()
    path = f"{folder.name}/rollcall.db"
    store = sys.argv[5] if len(sys.argv) > 5 else f"sqlite:{path}"
    begin = int(time.time() * 1000) - rows - 86_400_000
    subprocess.run([binary, "migrate", "--store", store], check=True)
    (fill_postgres if store != f"sqlite:{path}" else fill_sqlite)(store.removeprefix("sqlite:"), kind, rows, begin)
    service = Service(binary, store, folder.name)
    order = {"kind": kind, "format": form, "customer": CUSTOMER, "from": begin, "to": begin + rows}
    try:
        measure(service, order, rows)
        service = kill_half_way(service, order, rows, pathlib.Path(folder.name))
        cancel_half_way(service, order)
    finally:
        service.process.terminate()
        service.process.wait()


def measure(service, order, rows):
    end = time.monotonic() + BEFORE_S
    before = answers(service, lambda: time.monotonic() > end)
    began, rss = time.monotonic(), service.rss_kib()
    status, export = service.ask("POST", "/api/v1/exports", order)
    assert status == 202, export
    peak, state, seen = rss, export, []

    def follow():
        nonlocal peak, state
        while state["state"] in ("NOT_STARTED", "STARTED"):
            peak = max(peak, service.rss_kib())
            if len(seen) % 10 == 0:
                state = service.ask("GET", f"/api/v1/exports/{export['id']}")[1]
            seen.append(1)
            time.sleep(0.1)

    follower = threading.Thread(target=follow)
    follower.start()
    during = answers(service, lambda: not follower.is_alive())
    took = time.monotonic() - began
    assert state["state"] == "FINISHED" and state["rows"] == rows, state
    print(f"{order['kind']} as {order['format']}: {rows} rows, {state['bytes']} bytes in {took:.0f} s, {rows / took:.0f} rows/s")
    print(f"memory: {rss / 1024:.1f} MiB before, {(peak - rss) / 1024:.1f} MiB more at most")
    for name, times in (("before", before), ("during", during)):
        print(f"GET /vehicles {name}: {len(times)} answers, median {percentile(times, 0.5)}, p99 {percentile(times, 0.99)}")


def half_way(service, order):
    """Orders, and waits until half of it is done; answers where it can be followed."""
    status, export = service.ask("POST", "/api/v1/exports", order)
    assert status == 202, export
    place = f"/api/v1/exports/{export['id']}"
    while export["progress"] < 0.5:
        assert export["state"] in ("NOT_STARTED", "STARTED"), export
        time.sleep(0.05)
        export = service.ask("GET", place)[1]
    return place, export


def kill_half_way(service, order, rows, folder):
    there = set(folder.rglob("*.*"))
    place, export = half_way(service, order)
    service.process.kill()
    service.process.wait()
    killed_at, service = export["rows"], Service(*service.again)
    while (export := service.ask("GET", place)[1])["state"] in ("NOT_STARTED", "STARTED"):
        time.sleep(0.2)
    form = order["format"].split(".")[-1]
    files = [path for path in folder.rglob(f"*.{form}*") if path not in there]
    assert export["state"] == "FINISHED" and export["rows"] == rows and len(files) == 1, (export, files)
    print(f"killed with -9 at row {killed_at}: {export['state']} after {export['attempts']} tries, {export['rows']} rows, one file")
    return service


def cancel_half_way(service, order):
    place, export = half_way(service, order)
    began = time.monotonic()
    assert service.ask("DELETE", place)[0] == 204
    while service.running():
        time.sleep(0.01)
    took, state = time.monotonic() - began, service.ask("GET", place)[1]["state"]
    assert state == "CANCELLED", state
    print(f"cancelled at row {export['rows']}: nobody worked on it after {took:.2f} s")


main()
