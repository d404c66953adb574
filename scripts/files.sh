# Checks the files that no compiler reads: scripts, YAML, TOML, the container files and the broker's configuration.
# Sourced by ./test.
# shellcheck shell=bash

files() {
  suite "scripts" check_scripts
  if [[ -n $(python_yaml) ]]; then
    suite "configuration files" "$(python_yaml)" scripts/check_files.py
  else
    skip "configuration files" "needs Python 3.11 or newer with PyYAML (package python3-yaml)"
  fi
  if have mosquitto && have mosquitto_pub && have mosquitto_passwd; then
    suite "broker configuration" check_broker
  else
    skip "broker configuration" "needs the packages mosquitto and mosquitto-clients"
  fi
}

# check_scripts: they parse; and shellcheck finds nothing, where it is installed.
check_scripts() {
  local script
  for script in test .ci/run scripts/*.sh; do
    bash -n "$script"
  done
  if have shellcheck; then
    shellcheck -x test .ci/run
  fi
  echo "scripts parse"
}

# check_broker: starts Mosquitto with the shipped configuration, with only its paths and its port replaced, and tries its
# doors.
check_broker() {
  local folder="$service_folder/shipped" port pid code=0
  private_folder shipped
  port=$(free_port)
  sed -e "s|/mosquitto/config|$folder|; s|/mosquitto/data|$folder|; s|^listener .*|listener $port 127.0.0.1|" \
    config/mosquitto/mosquitto.conf >"$folder/mosquitto.conf"
  cp config/mosquitto/acl.example "$folder/acl"
  mosquitto_passwd -c -b "$folder/passwd" rollcall rollcall-password
  mosquitto_passwd -b "$folder/passwd" acme acme-password
  give "$folder" -R
  "${as_user[@]}" "$(command -v mosquitto)" -c "$folder/mosquitto.conf" >"$folder/log" 2>&1 &
  pid=$!
  if await_service "$pid" port_answers "$port"; then
    try_doors "$port" || code=$?
  else
    echo "the broker did not start"
    code=1
  fi
  end_process "$pid"
  ((code == 0)) || cat "$folder/log"
  return "$code"
}

# try_doors PORT: nobody without a password; a customer on its own vehicles only; Rollcall hears all heartbeats. Retained
# messages, so that nothing depends on who was first.
try_doors() {
  local at=(-h 127.0.0.1 -p "$1") heard
  if mosquitto_pub "${at[@]}" -t fleet/acme/truck-1/heartbeat -n 2>/dev/null; then
    echo "a client without a password was let in"
    return 1
  fi
  mosquitto_pub "${at[@]}" -u acme -P acme-password -q 1 -r -t fleet/acme/truck-1/heartbeat -m '{}' || return
  mosquitto_pub "${at[@]}" -u acme -P acme-password -q 1 -r -t fleet/acme/truck-1/status -m '{}' || return
  mosquitto_pub "${at[@]}" -u acme -P acme-password -q 1 -r -t fleet/other/truck-1/heartbeat -m '{}' || return
  heard=$(mosquitto_sub "${at[@]}" -u rollcall -P rollcall-password -q 1 -t 'fleet/#' -W 2 -F '%t' 2>/dev/null || true)
  echo "heard by rollcall: $heard"
  [[ $heard == "fleet/acme/truck-1/heartbeat" ]]
}
