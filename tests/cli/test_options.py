"""The options that are declared: each in the environment, each with a sentence and a heading."""

from __future__ import annotations

import click
import pytest

from trioecho.cli.faults import fault_options
from trioecho.cli.metrics import metrics_options
from trioecho.cli.options import serving_options, starting_options
from trioecho.cli.parameters import Option
from trioecho.cli.serve import main


def declared(*decorators):
    @click.command
    def command(**given): ...

    for decorate in decorators:
        decorate(command.callback)
    return {param.name: param for param in command.callback.__click_params__}


@pytest.mark.parametrize("options", [serving_options, starting_options, metrics_options, fault_options])
def test_an_option_that_is_declared_is_an_option_of_the_program(options):
    program = {param.name: param for param in main.params}

    assert declared(options)
    assert declared(options).keys() <= program.keys()


def test_each_has_a_heading_and_a_sentence():
    for name, param in declared(serving_options, starting_options, metrics_options, fault_options).items():
        assert isinstance(param, Option), name
        assert param.section, name
        assert param.help.endswith("."), name


def test_they_stand_in_help_in_the_order_in_which_they_are_declared():
    text = main.get_help(click.Context(main))
    headings = [
        "Where:",
        "Who may connect:",
        "Time limits:",
        "Size limits:",
        "TLS:",
        "Metrics (Prometheus):",
        "Faults, for tests of clients:",
    ]

    assert [text.index(heading) for heading in headings] == sorted(
        text.index(heading) for heading in headings
    )
