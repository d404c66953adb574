"""Reads every YAML, TOML and JSON file, and checks that the container files fit the repository.

Run by ./test from the root of the repository; exits 1 and names each fault as file: fault.
"""

import json
import pathlib
import re
import sys
import tomllib

import yaml

FOLDERS = (".", ".github/workflows", "config", "config/mosquitto", "config/prometheus", "simulator", "migrations")
PARSERS = {
    ".yml": yaml.safe_load,
    ".yaml": yaml.safe_load,
    ".toml": tomllib.loads,
    ".json": json.loads,
}
# Made by scripts/production-secrets.sh, and ignored by git.
MADE_BY_OPERATOR = ("./config/mosquitto/passwd", "./config/mosquitto/acl")

faults = []


def fault(path, text):
    faults.append(f"{path}: {text}")


def parse_all():
    """Every file is well-formed; the number of files read, so that reading none shows."""
    count = 0
    for path in sorted(p for folder in FOLDERS for p in pathlib.Path(folder).glob("*") if p.suffix in PARSERS):
        try:
            PARSERS[path.suffix](path.read_text(encoding="utf-8"))
            count += 1
        except (ValueError, yaml.YAMLError) as error:
            fault(path, f"does not parse: {error}")
    return count


def check_compose(path):
    """What a service names exists, every port is on loopback, and everything restarts and is watched."""
    compose = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, service in compose["services"].items():
        if not ("image" in service or "build" in service):
            fault(path, f"{name} has neither image nor build")
        if "restart" not in service:
            fault(path, f"{name} has no restart policy")
        if "healthcheck" not in service and "build" not in service:
            fault(path, f"{name} has no health check")
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                fault(path, f"{name} publishes {port} beyond loopback")
        for secret in service.get("secrets", []):
            if secret not in compose.get("secrets", {}):
                fault(path, f"{name} uses the undeclared secret {secret}")
        for variable, value in (service.get("environment") or {}).items():
            if variable.endswith("_FILE") and value.removeprefix("/run/secrets/") not in service.get("secrets", []):
                fault(path, f"{name}: {variable} names {value}, which the service does not get")
        for other in service.get("depends_on", {}):
            if other not in compose["services"]:
                fault(path, f"{name} depends on the unknown service {other}")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith("."):
                if source not in compose.get("volumes", {}):
                    fault(path, f"{name} uses the undeclared volume {source}")
            elif source not in MADE_BY_OPERATOR and not pathlib.Path(source).exists():
                fault(path, f"{name} mounts {source}, which does not exist")


def check_dockerfile(path):
    """What is copied exists and is let in; the result runs as an ordinary user and is watched."""
    allowed = {line[1:] for line in pathlib.Path(".dockerignore").read_text().splitlines() if line.startswith("!")}
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    stages, last = set(), ""
    for line in text.splitlines():
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0] == "FROM":
            last = ""
            if "AS" in words:
                stages.add(words[words.index("AS") + 1])
        if words[0] == "COPY" and words[1].startswith("--from="):
            if words[1].removeprefix("--from=") not in stages:
                fault(path, f"copies from an unknown stage: {line}")
        elif words[0] == "COPY":
            for source in words[1:-1]:
                if not pathlib.Path(source).exists():
                    fault(path, f"copies {source}, which does not exist")
                if source.split("/")[0] not in allowed:
                    fault(path, f"copies {source}, which .dockerignore keeps out")
        last += line + "\n"
    if not re.search(r"^USER (?!root\b|0\b)\S", last, re.MULTILINE):
        fault(path, "the last stage runs as root")
    if "\nHEALTHCHECK " not in last:
        fault(path, "the last stage has no health check")


def check_prometheus(path):
    for rules in yaml.safe_load(path.read_text(encoding="utf-8")).get("rule_files", []):
        rule_path = path.parent / rules
        if not rule_path.exists():
            fault(path, f"names {rules}, which does not exist")
            continue
        for group in yaml.safe_load(rule_path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                if not {"alert", "expr", "annotations"} <= rule.keys():
                    fault(rule_path, f"an alert without name, condition or advice: {rule}")


count = parse_all()
check_compose(pathlib.Path("docker-compose.yml"))
check_dockerfile(pathlib.Path("Dockerfile"))
check_prometheus(pathlib.Path("config/prometheus/prometheus.yml"))
print("\n".join(faults) or f"{count} files parse; the container files fit the repository")
sys.exit(1 if faults else 0)
