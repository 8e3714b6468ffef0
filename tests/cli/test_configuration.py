"""Options from a file, all of them printed, and what the environment has that is no option."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import Start, echoes, options_given, refused
from server_process import PATIENCE
from serving import unix_path as unix_path

from trioecho.cli.configuration import strangers
from trioecho.cli.serve import main


def written(folder: Path, text: str) -> str:
    """The path of a file with this text."""
    path = folder / "trioecho.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def printed(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What --print-config prints."""
    done = subprocess.run(
        [sys.executable, "-m", "trioecho", *arguments, "--print-config"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=env,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_option_config(start_server: Start, tmp_path: Path) -> None:
    """What is typed wins, then the environment, then the file; its names are those of the long options."""
    path = written(
        tmp_path,
        'host = ["127.0.0.1", "127.0.0.2"]\npath = "/file"\nroot-path = "/file"\nlog-format = "json"\nport = 1\n'
        "max-connections = 7  # a number\nproxy-protocol = false\n",
    )
    server = start_server(
        *("--path", "/typed"), env={"TRIOECHO_CONFIG": path, "TRIOECHO_ROOT_PATH": "/environment"}
    )
    assert echoes(f"ws://127.0.0.2:{server.port}/environment/typed") == "hello"
    assert server.wait_for_log("peer closed").startswith("{")


def test_every_kind_of_value_is_what_it_would_be_when_typed(tmp_path: Path) -> None:
    """Strings, numbers, true and false, one of what may be given more than once, and several."""
    path = written(
        tmp_path,
        'trusted-proxy = "10.0.0.0/8"\nproxy-protocol = true\nallowed-origin = ["self", "https://client.com"]\n'
        'idle-timeout = 1.5\nmax-memory = "10%"\nkeep-alive-interval = 30\nlimit-per-address = "connections=5"\n',
    )
    assert options_given("--config", path) == options_given(
        *("--trusted-proxy", "10.0.0.0/8", "--proxy-protocol", "--allowed-origin", "self"),
        *("--allowed-origin", "https://client.com", "--idle-timeout", "1.5", "--max-memory", "10%"),
        *("--keep-alive-interval", "30", "--limit-per-address", "connections=5"),
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prt = 5", "--config: {} has 'prt', which is no option: did you mean port?"),
        ("max_memory = 5", "--config: {} has 'max_memory', which is no option: did you mean max-memory?"),
        ("qqq = 5", "--config: {} has 'qqq', which is no option: --help lists the options"),
        ("config = 'x'", "--config: {} has 'config', which is no option: --help lists the options"),
        ("[server]\nport = 5", "--config: {} has a table [server]; options stand at its top, such as port = 8080"),
        ("port = true", "--config: {} has port = True; write a string or a number"),
        ("faults = 1", "--config: {} has faults = 1; write true or false"),
        ("host = [1979-05-27]", '--config: {} has host = [datetime.date(1979, 5, 27)]; write a string or an array'
         ' of them, ["a", "b"]'),
        ("port = 99999", "--port (from {}): '99999' does not fit: write a whole number from 0 to 65535"),
        ("port = ", "--config: {} is no TOML: Invalid value (at end of document)"),
    ],
)  # fmt: skip
def test_a_file_that_will_not_do_is_told_in_one_line(tmp_path: Path, text: str, sentence: str) -> None:
    """Which file, what is in it, and what would be right."""
    path = written(tmp_path, text)
    assert refused("--config", path) == (2, sentence.replace("{}", path))


def test_a_file_that_cannot_be_read_is_the_machines_fault(tmp_path: Path) -> None:
    """Exit status 3, as for a certificate."""
    path = str(tmp_path / "nothing")
    assert refused("--config", path) == (3, f"cannot read {path}: No such file or directory")


def test_option_print_config(tmp_path: Path) -> None:
    """Each option once, with where it comes from; what is a default is a comment."""
    path = written(tmp_path, 'port = 8080\nlog-level = "debug"\nhost = ["::1"]')
    text = printed("--config", path, "--log-level", "error", env={"TRIOECHO_MAX_CONNECTIONS": "5"})
    lines = text.splitlines()
    assert f'port = 8080  # "{path}"' in lines
    assert f'host = ["::1"]  # "{path}"' in lines
    assert 'log-level = "error"  # command line' in lines
    assert "max-connections = 5  # TRIOECHO_MAX_CONNECTIONS" in lines
    assert "# keep-alive-interval = 120  # default" in lines
    assert "# unix  # default: none" in lines
    names = re.findall(r"^(?:# )?([a-z-]+)(?: =|  #)", text, re.MULTILINE)
    told = {option.removeprefix("--") for param in main.params for option in param.opts}
    assert sorted(names) == sorted(told - {"version", "config", "print-config"})


def test_what_may_hold_a_password_is_not_printed() -> None:
    """Whoever asks for help shows what is printed."""
    text = printed("--hub", env={"TRIOECHO_REDIS": "redis://:s3cret@127.0.0.1"})
    assert "s3cret" not in text
    assert "# redis  # TRIOECHO_REDIS; not shown: it may hold a password" in text.splitlines()


def test_what_is_printed_is_a_file_that_says_the_same(tmp_path: Path) -> None:
    """Whatever signs are in it, and although some options are refused beside others that are given."""
    arguments = (
        *("--path", "/ü", "--unix", "@x", "--unix", "@y", "--max-memory", "50%", "--faults"),
        *(
            "--allowed-origin",
            "self",
            "--allowed-origin",
            "null",
            "--tls-cert",
            'a"b\\\x7f.pem',
            "--idle-timeout",
            "1e3",
        ),
    )
    first = printed(*arguments)
    again = printed("--config", written(tmp_path, first))
    assert tomllib.loads(again) == tomllib.loads(first) != {}
    assert tomllib.loads(first)["tls-cert"] == 'a"b\\\x7f.pem'


def test_a_variable_of_kubernetes_is_ignored_with_a_warning(start_server: Start, unix_path: str) -> None:
    """A service called trioecho sets TRIOECHO_PORT and others in every container; one more is only misspelt."""
    server = start_server(
        command=("-m", "trioecho", "--unix", unix_path),
        env={
            "TRIOECHO_PORT": "tcp://10.0.0.1:5000",
            "TRIOECHO_PORT_5000_TCP_ADDR": "10.0.0.1",
            "TRIOECHO_SERVICE_HOST": "10.0.0.1",
            "TRIOECHO_LOG_LEVLE": "debug",
        },
    )
    # A port that was given would be listened at, too.
    assert server.banner == f"trioecho serves unix:{unix_path} (Ctrl-C stops it)\n"
    assert "TRIOECHO_PORT and 2 variables more" in server.wait_for_log("Kubernetes")
    assert server.wait_for_log("TRIOECHO_LOG_LEVLE").endswith("did you mean TRIOECHO_LOG_LEVEL?")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRIOECHO_PORT", "8080", None),
        ("TRIOECHO_CONFIG", "x.toml", None),
        ("TRIOECHO_HOTS", "", None),
        ("OTHER_PORT", "tcp://10.0.0.1:5000", None),
        ("TRIOECHO_PORT", "udp://[2001:db8::1]:5000", "Kubernetes"),
        ("TRIOECHO_SERVICE_PORT", "5000", "Kubernetes"),
        ("TRIOECHO_SERVICE_PORT_HTTP", "5000", "Kubernetes"),
        ("TRIOECHO_METRICS_SERVICE_HOST", "10.0.0.2", "Kubernetes"),
        ("TRIOECHO_METRICS_PORT_9090_TCP_PROTO", "tcp", "Kubernetes"),
        (
            "TRIOECHO_QQQ",
            "1",
            "TRIOECHO_QQQ in the environment is no option and is ignored: --help lists the options",
        ),
        ("TRIOECHO_PRINT_CONFIG", "1", "is no option"),
    ],
)
def test_what_is_strange_in_the_environment(name: str, value: str, words: str | None) -> None:
    """What is no option's, but for variables that are empty or somebody else's."""
    sentences = strangers({name: value}, main.params)
    assert [words in sentence for sentence in sentences if words] == ([] if words is None else [True])
    assert bool(sentences) == (words is not None)
