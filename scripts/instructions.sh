#!/usr/bin/env bash
# Instructions of one heartbeat's decoding and of its step through the state machine, counted by valgrind: the same on
# every machine and under any load, so a change shows that no clock could. Needs the package valgrind.
#
#   scripts/instructions.sh [STEP ...]     steps: decode step board-update frame-columns-100 frame-json-100
#
# Each step is run 1,000 and 3,000 times; the difference is that of 2,000 steps, without the start of the program.
set -euo pipefail

unset CDPATH
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

cargo build --quiet --release -p bench --example hot
target=$(cargo metadata --no-deps --format-version 1 | sed -n 's|.*"target_directory":"\([^"]*\)".*|\1|p')

# counted STEP TIMES: instructions of the whole program.
counted() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$target/release/examples/hot" "$1" "$2" 2>&1 |
    sed -n 's/.*Collected *: *\([0-9]*\).*/\1/p'
}

[[ $# -gt 0 ]] || set -- decode step
for step in "$@"; do
  few=$(counted "$step" 1000)
  many=$(counted "$step" 3000)
  echo "$step: $(((many - few) / 2000)) instructions"
done
