"""Tickets on the Hugging Face Hub: a repository holds the file of one, and a card made from it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from supermask_jax.errors import UserError, one_line
from supermask_jax.tickets import card, file
from supermask_jax.tickets.ticket import Ticket

FILE = "ticket.safetensors"


def push_to_hub(
    ticket: Ticket, repo: str, *, private: bool = False, token: str | None = None
) -> str:
    """Puts a ticket and its card into a repository, which is made if it is not there.

    Args:
      ticket: it; ``ticket._replace(license="...")`` states a licence.
      repo: ``OWNER/NAME``.
      private: whether a new repository is.
      token: of an account; default: the one that ``hf auth login`` has saved.

    Returns:
      What `load_ticket` takes: ``hf://OWNER/NAME``.

    Raises:
      UserError: huggingface_hub is not installed, or the Hub refuses.
    """
    hub = _library()
    try:
        api = hub.HfApi(token=token)
        api.create_repo(repo, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            file.save_ticket(Path(folder, FILE), ticket)
            Path(folder, "README.md").write_text(model_card(ticket, repo), encoding="utf-8")
            api.upload_folder(
                repo_id=repo, folder_path=folder, commit_message="A ticket of supermask_jax"
            )
    except UserError:
        raise
    except Exception as error:  # Of the network, of the account, of the name.
        raise UserError(f"cannot push to {repo}: {one_line(error)}") from error
    return f"hf://{repo}"


def download(place: str) -> Path:
    """Returns the file of a ticket, ``hf://OWNER/NAME`` or ``hf://OWNER/NAME@REVISION``.

    Raises:
      UserError: huggingface_hub is not installed, or there is no such ticket.
    """
    repo, _, revision = place.removeprefix("hf://").partition("@")
    hub = _library()
    try:
        return Path(hub.hf_hub_download(repo, FILE, revision=revision or None))
    except Exception as error:
        raise UserError(f"cannot get a ticket from {place}: {one_line(error)}") from error


def model_card(ticket: Ticket, repo: str) -> str:
    """Returns the card of a ticket in Markdown, with the metadata that the Hub reads."""
    data = ticket.accuracy.get("data", ticket.config.get("data", {}).get("name"))
    head = {
        "library_name": "supermask-jax",
        "tags": ["supermask", "jax", "image-classification", *filter(None, [ticket.method])],
        **({"license": ticket.license.lower()} if ticket.license else {}),
        **({"datasets": [data]} if data in _ON_THE_HUB else {}),
    }
    lines = ["---", *(f"{key}: {_yaml(value)}" for key, value in head.items()), "---", ""]
    model = ticket.model.get("name", "network")
    lines += [f"# {model}, a ticket of {ticket.method or 'supermask_jax'}", ""]
    lines += ["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in card.about(ticket).items()), ""]
    lines += ["| layer | shape | density |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {' x '.join(map(str, layer.shape))} | {layer.density:.2%} |"
        for name, layer in ticket.layers.items()
    ]
    return "\n".join([*lines, "", _USE.format(repo=repo, usage=card.usage(ticket))])


# Names of data sets that are the same there.
_ON_THE_HUB = ("mnist", "fashion_mnist", "cifar10", "cifar100")

_USE = """\
```python
# pip install 'supermask-jax[hub]'
from supermask_jax import tickets

ticket = tickets.load_ticket("hf://{repo}")  # checked against its digest
{usage}
```
"""


def _yaml(value: str | list[str]) -> str:
    return value if isinstance(value, str) else f"[{', '.join(value)}]"


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError("pip install 'supermask-jax[hub]' to use the Hub") from error
    return huggingface_hub
