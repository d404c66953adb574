#!/usr/bin/env bash
# Makes the secrets that docker-compose.yml wants, once: random passwords under secrets/, Mosquitto's password file and
# its access list. What exists is kept, so running it again is harmless. It prints no secret.
#
#   scripts/production-secrets.sh [CUSTOMER...]     and a broker user for each customer, its password in secrets/
set -euo pipefail
unset CDPATH
cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
umask 077

# password FILE: 192 random bits as text that needs no escaping in a URL. The file itself is readable because the
# container's user, not ours, reads it; the folder around it is closed.
password() {
  [[ -s $1 ]] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$1"
  chmod 644 "$1"
}

# broker_user NAME FILE: adds or updates one user, by Mosquitto's own tool or by its image.
broker_user() {
  local folder=config/mosquitto
  touch "$folder/passwd"
  if command -v mosquitto_passwd >/dev/null; then
    mosquitto_passwd -b "$folder/passwd" "$1" "$(<"$2")"
  else
    docker run --rm -v "$PWD/$folder:/m" eclipse-mosquitto:2 mosquitto_passwd -b /m/passwd "$1" "$(<"$2")"
  fi
}

mkdir -p secrets
password secrets/postgres_password
password secrets/mqtt_password
printf 'postgres://rollcall:%s@postgres:5432/rollcall' "$(<secrets/postgres_password)" >secrets/store_url
chmod 644 secrets/store_url

[[ -e config/mosquitto/acl ]] || cp config/mosquitto/acl.example config/mosquitto/acl
broker_user rollcall secrets/mqtt_password
for customer in "$@"; do
  password "secrets/customer_$customer"
  broker_user "$customer" "secrets/customer_$customer"
done

# Mosquitto's container reads both as user 1883 and refuses to start when it cannot.
if ((EUID == 0)); then
  chown 1883 config/mosquitto/passwd config/mosquitto/acl
  chmod 600 config/mosquitto/passwd config/mosquitto/acl
else
  chmod 644 config/mosquitto/passwd config/mosquitto/acl
fi
echo "secrets/ and config/mosquitto/{passwd,acl} are ready"
