# Finds the programs the suites need, and installs the missing ones where that is possible (root on Debian or Ubuntu).
# Sourced by ./test. Without root nothing is installed: each suite that cannot run says what to install.
# shellcheck shell=bash

# The first release that has everything the browser tests use.
readonly NODE_MAJOR_MIN=20

# Daemons live in sbin, which is not in every user's PATH; Postgres keeps its own out of PATH on Debian.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/opt/homebrew/sbin

have() {
  command -v "$1" >/dev/null 2>&1
}

# postgres_bin: the folder of the newest Postgres, or nothing.
postgres_bin() {
  local found="" folder
  for folder in /usr/lib/postgresql/*/bin /opt/homebrew/opt/postgresql*/bin /usr/pgsql-*/bin; do
    [[ -x $folder/initdb && -x $folder/postgres ]] && found+="$folder"$'\n'
  done
  if [[ -n $found ]]; then
    sort -V <<<"${found%$'\n'}" | tail -n 1
  elif have initdb && have postgres; then
    dirname "$(command -v initdb)"
  fi
}

# browser_bin: a Chromium or Chrome, or nothing. CHROMIUM names another one.
browser_bin() {
  local name
  for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
    if [[ -n $name ]] && have "$name"; then
      command -v "$name"
      return
    fi
  done
}

# node_ready: npm is there and Node.js is new enough.
node_ready() {
  have npm && have node && (($(node --version | sed 's/^v\([0-9]*\).*/\1/') >= NODE_MAJOR_MIN))
}

# python_yaml: a Python that reads YAML and TOML, or nothing. /usr/bin/python3 is the one that distribution packages
# serve; it may stand behind another python3 in PATH.
python_yaml() {
  local python
  for python in python3 /usr/bin/python3; do
    if have "$python" && "$python" -c 'import tomllib, yaml' >/dev/null 2>&1; then
      command -v "$python"
      return
    fi
  done
}

# missing_packages: Debian's names of what is not here. $1 = quick: only what cargo itself needs.
missing_packages() {
  have cc || echo build-essential
  [[ ${1:-} == quick ]] && return
  [[ -n $(postgres_bin) ]] || echo postgresql
  have mosquitto || echo mosquitto
  have mosquitto_pub || echo mosquitto-clients
  [[ -n $(browser_bin) ]] || echo chromium
  compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || echo libfaketime
  have node || echo nodejs
  have npm || echo npm
  [[ -n $(python_yaml) ]] || echo python3-yaml
  python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
  have curl || echo curl
}

# install_missing [quick]: never fatal; what is still missing afterwards shows in the suites that need it.
install_missing() {
  local packages
  packages=$(missing_packages "${1:-}" | tr '\n' ' ')
  packages=${packages% }
  [[ -n $packages ]] || return 0
  heading "missing packages: $packages"
  if ((EUID != 0)) || ! have apt-get; then
    echo "not root on Debian or Ubuntu, so nothing is installed. To run every suite:"
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $packages"
    return 0
  fi
  # shellcheck disable=SC2086 # a list of package names
  apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages ||
    echo "apt-get failed; the suites that need these packages say so below"
}

# npm_packages: the exact versions of package-lock.json, fetched again only when that file changed.
npm_packages() {
  [[ node_modules/.package-lock.json -nt package-lock.json ]] || npm ci --no-audit --no-fund
}
