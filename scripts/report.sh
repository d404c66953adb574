# Runs suites one after another and keeps the score. Sourced by ./test, which feeds it suites; it feeds the terminal.
#
# A suite is a name and a command. A failed suite never stops the ones after it: whoever runs the tests wants to see
# everything that is wrong at once.
# shellcheck shell=bash

passed=0
failed=0
skipped=0
summary=""
suite_pid=""

# heading TEXT: a line the eye finds while scrolling, with the seconds since the start.
heading() {
  printf '\n==== [%4d s] %s\n' "$SECONDS" "$1"
}

# score WORD NAME SECONDS [WHY]: one line of the summary.
score() {
  summary+=$(printf '  %-7s %5d s  %s%s' "$1" "$3" "$2" "${4:+: $4}")$'\n'
}

# suite NAME COMMAND...: runs the command in a process group of its own, so that stopping the tests stops all of it.
# The command runs in a subshell with `set -e` on: a suite written as a function ends at its first failing line.
suite() {
  local name=$1 began=$SECONDS code=0
  shift
  heading "$name"
  set -m
  "$@" </dev/null &
  suite_pid=$!
  set +m
  wait "$suite_pid" || code=$?
  suite_pid=""
  judge "$name" "$began" "$code"
}

# step NAME COMMAND...: like a suite, but in this very shell, for a command that sets variables for the suites after it.
step() {
  local name=$1 began=$SECONDS code=0
  shift
  heading "$name"
  "$@" || code=$?
  judge "$name" "$began" "$code"
}

# judge NAME BEGAN CODE: counts what ended. Always true, so that the next suite runs.
judge() {
  if (($3 == 0)); then
    passed=$((passed + 1))
    score passed "$1" $((SECONDS - $2))
  else
    failed=$((failed + 1))
    score FAILED "$1" $((SECONDS - $2)) "exit code $3"
    echo "FAILED: $1 (exit code $3)"
  fi
}

# skip NAME WHY: a suite that cannot run here. With CI=true that is a failure: a green run must mean everything ran.
skip() {
  heading "$1"
  echo "not run: $2"
  if in_ci; then
    failed=$((failed + 1))
    score FAILED "$1" 0 "$2 (nothing may be skipped when CI=true)"
  else
    skipped=$((skipped + 1))
    score skipped "$1" 0 "$2"
  fi
}

in_ci() {
  [[ ${CI:-} == true || ${CI:-} == 1 ]]
}

# stop_suite: ends the running suite and everything it started. Called when the tests are interrupted.
stop_suite() {
  [[ -n $suite_pid ]] || return 0
  kill -TERM -- "-$suite_pid" 2>/dev/null || true
  wait "$suite_pid" 2>/dev/null || true
  suite_pid=""
}

# print_summary: a line a suite, then the totals alone on a line for programs to read. False when a suite failed.
print_summary() {
  heading "summary"
  printf '%s' "$summary"
  echo "$passed passed, $failed failed, $skipped skipped"
  ((failed == 0))
}
