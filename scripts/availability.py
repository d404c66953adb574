#!/usr/bin/env python3
"""Availability of recorded vehicles, straight from their heartbeats: what Rollcall's REST has to answer.

Standard library only, and written from the rule, not from the product: it knows no transitions. A vehicle is
  never_seen  before its first heartbeat,
  online      at every millisecond for which a heartbeat came within the timeout before it (a silence of exactly the
              timeout is still online, and offline begins a timeout after the last heartbeat),
  unobserved  at every other millisecond within a --blind interval,
  offline     else.
Used by tests/it/trace_availability.rs. Prints vehicle_id,online_ms,offline_ms,unobserved_ms,never_seen_ms.

    scripts/availability.py replay.csv --timeout-ms 60000 --from-ms A --to-ms B [--blind-ms C-D ...]
"""
import argparse
import csv


def union(intervals):
    """Disjoint intervals in order that cover the same instants."""
    merged = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return merged


def within(intervals, begin, end):
    """How much of [begin, end) the disjoint intervals cover."""
    return sum(max(0, min(b, end) - max(a, begin)) for a, b in intervals)


def both(one, other):
    """What two lists of disjoint intervals have in common."""
    return [[max(a, c), min(b, d)] for a, b in one for c, d in other if max(a, c) < min(b, d)]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("replay")
    arguments.add_argument("--timeout-ms", type=int, required=True)
    arguments.add_argument("--from-ms", type=int, required=True)
    arguments.add_argument("--to-ms", type=int, required=True)
    arguments.add_argument("--blind-ms", action="append", default=[])
    given = arguments.parse_args()
    begin, end = given.from_ms, given.to_ms
    beats = {}
    with open(given.replay, newline="") as file:
        for row in csv.DictReader(file):
            beats.setdefault(row["vehicle_id"], []).append(int(row["arrival_ms"]))
    blind = union([int(part) for part in interval.split("-")] for interval in given.blind_ms)
    print("vehicle_id,online_ms,offline_ms,unobserved_ms,never_seen_ms")
    for vehicle in sorted(beats):
        alive = union([beat, beat + given.timeout_ms] for beat in beats[vehicle])
        seen = max(begin, min(end, min(beats[vehicle])))
        online = within(alive, begin, end)
        deaf = within(blind, seen, end) - within(both(alive, blind), seen, end)
        offline = end - seen - online - deaf
        print(f"{vehicle},{online},{offline},{deaf},{seen - begin}")


if __name__ == "__main__":
    main()
