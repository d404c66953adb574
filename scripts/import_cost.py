#!/usr/bin/env python3
"""What an import of 100,000 vehicles costs: the figures of docs/registry.md. Standard library only.

Starts the program on an EMPTY store, sends the same CSV three times (a dry run, all new, the same again) and prints how
long each took, how much work of the processors that was, and how much the process grew. It leaves the vehicles in the
store.

    scripts/import_cost.py target/release/rollcall sqlite:/tmp/empty/rollcall.db
    scripts/import_cost.py target/release/rollcall postgres://user:password@host/empty
"""
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

VEHICLES = 100_000


def file_of_vehicles():
    lines = ["customer,vehicle,name,registration,vin,tags,offline_after_ms"]
    for n in range(VEHICLES):
        lines.append(f"c{n % 20},TRK-{n:06},Truck {n},AB-{n},VIN{n:014},long haul;north,")
    return "\n".join(lines).encode() + b"\n"


def ask(url, body=None):
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "text/csv"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def memory_mib(pid, name):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(name))


def work_s(pid):
    """Seconds of processor time: what hardly changes with the load of the machine."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    program, store = os.path.abspath(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as folder:
        measure([program, "--http", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0", "--store", store], folder)


def measure(command, folder):
    # No address: what a developer has set for his own service is not meant here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROLLCALL__")}
    service = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, cwd=folder)
    try:
        ready = service.stdout.readline()
        url = "http://" + ready.split("http=")[1].split()[0] + "/api/v1/vehicles"
        if ask(url)["total"]:
            sys.exit("the store is not empty")
        print(f"{ready.split('store=')[1].split()[0]}, load {os.getloadavg()[0]:.1f}")
        rows, before = file_of_vehicles(), memory_mib(service.pid, "VmRSS")
        for name, query in [("dry run", "?dry_run=true"), ("all new", ""), ("the same again", "")]:
            begun, worked = time.monotonic(), work_s(service.pid)
            counts = ask(f"{url}/import{query}", rows)
            while not query and ask(f"{url}?limit=1")["total"] < VEHICLES:
                time.sleep(0.01)
            took, worked = time.monotonic() - begun, work_s(service.pid) - worked
            counted = {word: counts[word] for word in ("created", "updated", "unchanged")}
            print(f"{name:15} {took:5.1f} s, {worked:5.1f} s of work  {counted}")
        print(f"memory {before:.0f} MiB before, at most {memory_mib(service.pid, 'VmHWM'):.0f} MiB")
    finally:
        service.terminate()
        service.wait()


main()
