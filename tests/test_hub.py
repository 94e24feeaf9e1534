"""Tickets on a hub: a stand-in that keeps repositories in a folder, and no network."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from helpers import ROOT, refused
from ticket_helpers import random_ticket

from supermask_jax import cli, tickets
from supermask_jax.errors import UserError
from supermask_jax.tickets.hub import model_card


def test_a_ticket_goes_to_the_hub_and_comes_back(hub):
    ticket = random_ticket()._replace(license="MIT")
    assert tickets.push_to_hub(ticket, "me/mine", private=True) == "hf://me/mine"
    assert (hub / "me/mine/private").read_text() == "True"
    loaded = tickets.load_ticket("hf://me/mine")
    assert tickets.digest(loaded) == tickets.digest(ticket) and loaded.license == "MIT"
    shutil.copytree(hub / "me/mine", hub / "me/mine@v1")
    assert tickets.load_ticket("hf://me/mine@v1").license == "MIT"
    with pytest.raises(UserError, match="cannot get a ticket from hf://me/yours: .*404"):
        tickets.load_ticket("hf://me/yours")
    with pytest.raises(UserError, match="cannot push to mine: .*OWNER/NAME") as error:
        tickets.push_to_hub(ticket, "mine")
    assert "\n" not in str(error.value)


def test_the_card_is_read_by_people_and_by_the_hub():
    ticket = tickets.load_ticket("fcn-sparse")
    text = model_card(ticket, "me/fcn")
    _, head, body = text.split("---\n", 2)
    told = dict(line.split(": ", 1) for line in head.splitlines())
    assert told["license"] == "apache-2.0" and told["datasets"] == "[mnist]"
    assert told["tags"] == "[supermask, jax, image-classification, signed]"
    assert "| `dense1/kernel` | 784 x 300 | 0.92% |" in body
    assert 'load_ticket("hf://me/fcn")' in body and "98.03" in body
    assert "license" not in model_card(random_ticket(), "me/x").split("---")[1]


def test_the_licence_is_on_every_card_and_in_the_file(tmp_path):
    ticket = random_ticket()
    assert "not stated" in ticket._repr_html_()
    tickets.save_ticket(tmp_path / "a", ticket._replace(license="CC-BY-4.0"))
    loaded = tickets.load_ticket(tmp_path / "a")
    assert "CC-BY-4.0" in loaded._repr_html_()
    # A ticket without one is the file that it was before.
    tickets.save_ticket(tmp_path / "b", ticket)
    assert tickets.load_ticket(tmp_path / "b").license == ""
    assert tickets.load_ticket("fcn-sparse").license == "Apache-2.0"
    assert "Apache" in (ROOT / "LICENSE").read_text()


def test_the_command_pushes(hub, capsys):
    argv = ["export", "--ticket=fcn-sparse", "--hub=me/fcn", "--license=MIT"]
    assert cli.main(argv) == 0
    assert capsys.readouterr().out == "hf://me/fcn: pushed\n"
    assert tickets.load_ticket("hf://me/fcn").license == "MIT"
    assert "fcn, a ticket of signed" in Path(hub, "me/fcn/README.md").read_text()
    assert cli.main([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hub"]["file"] == "hf://me/fcn"


def test_without_the_library_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    said = refused(capsys, "inspect", "hf://me/mine")
    assert "pip install 'supermask-jax[hub]'" in said
