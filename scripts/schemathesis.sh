# Asks the built service everything its own description (/api/v1/openapi.json) allows and forbids, by schemathesis: no
# answer may be a 5xx, and none may be undocumented or of another form. Sourced by ./test, which built ROLLCALL_BIN before.
# shellcheck shell=bash

# Raise it together with a look at what its new checks find.
readonly SCHEMATHESIS_VERSION=4.32.5
# Longest run of one mode, in seconds; it usually takes half a minute.
readonly SCHEMATHESIS_SECONDS_MAX=120

# interface BIN: both modes; skipped where schemathesis cannot be had.
interface() {
  local target="${1%/*/*}"
  if ! install_schemathesis "$target/schemathesis" >"$target/schemathesis.log" 2>&1; then
    skip "interface" "needs Python 3 with venv, and schemathesis $SCHEMATHESIS_VERSION from PyPI"
    return
  fi
  suite "interface" ask_in_both_modes "$1" "$target/schemathesis"
}

# ask_in_both_modes BIN FOLDER: at the same time, for each of them keeps one processor busy for about a minute.
ask_in_both_modes() {
  local log="$2-open.log" other code=0
  (ask_everything "$1" "$2" open) >"$log" 2>&1 &
  other=$!
  (ask_everything "$1" "$2" keys) || code=$?
  wait "$other" || code=$?
  heading "interface, nobody is asked for a key"
  cat "$log"
  return "$code"
}

# install_schemathesis FOLDER: in a virtual environment of its own, once.
install_schemathesis() {
  "$1/bin/schemathesis" --version 2>/dev/null | grep -qF "$SCHEMATHESIS_VERSION" && return
  python3 -m venv "$1" && "$1/bin/pip" install --quiet "schemathesis==$SCHEMATHESIS_VERSION"
}

# ask_everything BIN FOLDER open|keys: on a store of its own, with one vehicle to find; by an admin's key in keys mode.
ask_everything() {
  local bin=$1 tool="$2/bin/schemathesis" mode=$3 folder pid place key="" code=0
  folder=$(mktemp -d)
  # What a developer has set for his own service is not meant here.
  unset "${!ROLLCALL__@}"
  export ROLLCALL__AUTH__MODE=$mode ROLLCALL__STORE__URL="sqlite:$folder/rollcall.db"
  [[ $mode != keys ]] || key=$("$bin" key create --name interface --scopes admin 2>/dev/null)
  "$bin" serve --http 127.0.0.1:0 --mqtt-listen 127.0.0.1:0 >"$folder/out" 2>"$folder/err" &
  pid=$!
  place=$(ready_place "$folder/out" "$pid") || code=$?
  if ((code == 0)); then
    curl --silent --show-error --fail --output /dev/null --header "Authorization: Bearer $key" --json \
      '{"customer":"acme","vehicle":"TRK-1","lat":52.5,"lon":13.4}' "http://$place/api/v1/heartbeats" || code=$?
  fi
  if ((code == 0)); then
    cd "$folder" # it keeps notes where it runs
    # The stream of statistics never ends, and it would read on for ever: tests/it/stats_stream.rs asks that one.
    timeout "$SCHEMATHESIS_SECONDS_MAX" "$tool" run "http://$place/api/v1/openapi.json" --no-color --max-examples 25 \
      --exclude-path /api/v1/stats/stream \
      --header "Authorization: Bearer $key" \
      --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance ||
      code=$?
  fi
  kill -TERM "$pid" 2>/dev/null && wait "$pid" || true
  ((code == 0)) || tail -n 40 "$folder/err"
  rm -rf "$folder"
  return "$code"
}

# ready_place FILE PID: the address in the ready line, once it is there.
ready_place() {
  local place
  for _ in {1..300}; do
    place=$(sed -n 's/^ready http=\([^ ]*\) .*/\1/p' "$1")
    [[ -z $place ]] || break
    kill -0 "$2" 2>/dev/null || break
    sleep 0.1
  done
  [[ -n $place ]] && echo "$place"
}
