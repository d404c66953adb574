# Starts the Postgres and the Mosquitto that the tests use, on free loopback ports, with all their files in one temporary
# folder, and stops them. Sourced by ./test. Nothing of a server that already runs on this machine is touched.
#
# As root both run as an unprivileged user: Postgres refuses root, and a broker needs no rights either.
# shellcheck shell=bash

# How long a service may take to answer, in tenths of a second. Postgres needs 1 to 2 s on a slow disk.
readonly SERVICE_START_TENTHS=300
# How long it may take to stop before it is killed, in tenths of a second.
readonly SERVICE_STOP_TENTHS=100
# Another program may take the port between the look and the start; more than a few times is no coincidence.
readonly PORT_ATTEMPTS=5

service_folder=""
service_pids=""

# The words before a command that must not run as root. setpriv also sends a signal when this script dies, even by
# kill -9, so that no server is left behind. Each of them replaces itself by the command, so that $! is its process.
as_user=(env)

# choose_user: fills as_user. False when we are root and cannot become anybody else.
choose_user() {
  local user=nobody
  if ((EUID != 0)); then
    if have setpriv; then as_user=(setpriv --pdeathsig INT --); fi
  elif have setpriv; then
    if id -u postgres >/dev/null 2>&1; then user=postgres; fi
    as_user=(setpriv --reuid "$(id -u "$user")" --regid "$(id -g "$user")" --clear-groups --pdeathsig INT --)
  else
    echo "root without setpriv (package util-linux): cannot start a server as an unprivileged user"
    return 1
  fi
}

# make_service_folder: readable by the unprivileged user, also when TMPDIR belongs to root alone.
make_service_folder() {
  local parent
  for parent in "${TMPDIR:-/tmp}" /tmp; do
    service_folder=$(mktemp -d "$parent/rollcall-test.XXXXXX") || continue
    chmod 755 "$service_folder"
    if "${as_user[@]}" test -x "$service_folder"; then return 0; fi
    rm -rf "$service_folder"
  done
  service_folder=""
  echo "no temporary folder that an unprivileged user can enter; set TMPDIR"
  return 1
}

# private_folder NAME: a folder that only the unprivileged user reads.
private_folder() {
  mkdir -m 700 "$service_folder/$1" || return
  give "$service_folder/$1"
}

# give FILE [-R]: hands it to the unprivileged user.
give() {
  if ((EUID == 0)); then
    chown ${2:+"$2"} "$("${as_user[@]}" id -u):$("${as_user[@]}" id -g)" "$1"
  fi
}

# free_port: below the range the kernel hands out by itself on Linux (32768 and up).
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  echo "$port"
}

# await_service PID CONDITION...: true as soon as the condition holds, false when the process ends or time is up.
await_service() {
  local pid=$1 waited=0
  shift
  while kill -0 "$pid" 2>/dev/null && ((waited < SERVICE_START_TENTHS)); do
    if "$@" 2>/dev/null; then
      # The port might have answered for somebody else while ours was dying of "address in use".
      kill -0 "$pid" 2>/dev/null
      return
    fi
    sleep 0.1 # poll: the condition above, until the limit
    waited=$((waited + 1))
  done
  return 1
}

# start_postgres: a new cluster; exports ROLLCALL_TEST_POSTGRES with a superuser, so that each test makes its database.
start_postgres() {
  local bin data log port pid password attempt
  bin=$(postgres_bin)
  data="$service_folder/postgres/data" log="$service_folder/postgres.log"
  password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  private_folder postgres || return
  (umask 077 && printf '%s\n' "$password" >"$service_folder/postgres/password") || return
  give "$service_folder/postgres/password" || return
  if ! "${as_user[@]}" "$bin/initdb" --pgdata="$data" --username=rollcall --pwfile="$service_folder/postgres/password" \
    --auth=scram-sha-256 --encoding=UTF8 --no-locale --no-sync >"$log" 2>&1; then
    tail -n 20 "$log"
    return 1
  fi
  for ((attempt = 0; attempt < PORT_ATTEMPTS; attempt++)); do
    port=$(free_port)
    # Durability is off for speed: tests kill Rollcall, never this server. No Unix socket: its path may be too long.
    "${as_user[@]}" "$bin/postgres" -D "$data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
      -c max_connections=200 -c fsync=off -c synchronous_commit=off -c full_page_writes=off >>"$log" 2>&1 </dev/null &
    pid=$!
    if await_service "$pid" postgres_ready "$data/postmaster.pid"; then
      service_pids="$pid $service_pids"
      export ROLLCALL_TEST_POSTGRES="postgres://rollcall:$password@127.0.0.1:$port/postgres"
      echo "postgres $("$bin/postgres" --version | awk '{print $3}') on 127.0.0.1:$port"
      return 0
    fi
    end_process "$pid"
  done
  tail -n 20 "$log"
  return 1
}

# postgres_ready FILE: Postgres writes its own readiness into line 8 of its pid file.
postgres_ready() {
  [[ $(sed -n 8p "$1") == ready* ]]
}

# start_mosquitto: one anonymous loopback listener without queue limits (the defaults drop what does not fit in 20 in
# flight and 1,000 waiting); exports ROLLCALL_TEST_MOSQUITTO and MOSQUITTO_BIN, the program, for tests that kill a broker.
start_mosquitto() {
  local log="$service_folder/mosquitto.log" port pid attempt
  MOSQUITTO_BIN=$(command -v mosquitto)
  export MOSQUITTO_BIN
  private_folder mosquitto || return
  for ((attempt = 0; attempt < PORT_ATTEMPTS; attempt++)); do
    port=$(free_port)
    cat >"$service_folder/mosquitto.conf" <<CONF
listener $port 127.0.0.1
allow_anonymous true
persistence true
persistence_location $service_folder/mosquitto/
max_inflight_messages 2000
max_queued_messages 0
set_tcp_nodelay true
log_dest stderr
CONF
    "${as_user[@]}" "$MOSQUITTO_BIN" -c "$service_folder/mosquitto.conf" >>"$log" 2>&1 </dev/null &
    pid=$!
    if await_service "$pid" port_answers "$port"; then
      service_pids="$pid $service_pids"
      export ROLLCALL_TEST_MOSQUITTO="mqtt://127.0.0.1:$port"
      echo "$("$MOSQUITTO_BIN" -h | head -n 1) on 127.0.0.1:$port"
      return 0
    fi
    end_process "$pid"
  done
  tail -n 20 "$log"
  return 1
}

port_answers() {
  (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# end_process PID: asks, waits, then kills. SIGINT is Postgres's fast shutdown and ends Mosquitto as well.
end_process() {
  local pid=$1 waited=0
  kill -INT "$pid" 2>/dev/null || return 0
  while kill -0 "$pid" 2>/dev/null; do
    if ((waited++ == SERVICE_STOP_TENTHS)); then
      kill -KILL "$pid" 2>/dev/null || true
    fi
    sleep 0.1 # poll: the process is gone, or was killed above
  done
}

# stop_services: by process id, only what this script started, then its files.
stop_services() {
  local pid
  for pid in $service_pids; do
    end_process "$pid"
  done
  service_pids=""
  [[ -z $service_folder ]] || rm -rf "$service_folder"
  service_folder=""
}
