"""Make the steps of a run again up to the one that failed, without writing anything: `tinyllm replay`."""

from __future__ import annotations

import hashlib

from ..config import replace
from ..data import read_text
from ..errors import ConfigError, NonFinite
from . import failure
from .run import check_same, make_trainer, prepare
from .store import Store


def replay(run: str) -> tuple[str, bool]:
    """What happens this time, in words, and whether the same step fails at the same place. Raises ConfigError if the
    run has not failed, CheckpointError if it has no checkpoint or its text has changed.
    """
    note = failure.read(run)
    if note is None:
        raise ConfigError(f"{run} holds no {failure.NAME}: no step of this run has failed, there is nothing to replay")
    start = Store(run).newest()
    config = replace(start.config, training__out=run)
    text = read_text(config.data.text)
    check_same(config, start, hashlib.sha256(text.encode("utf-8")).hexdigest())
    trainer = make_trainer(config, prepare(config, text, start, start), start)
    trainer.model.train()
    try:
        while trainer.step < note["step"]:
            trainer.train_step()
    except NonFinite as error:
        same = all(note.get(key) == getattr(error, key) for key in ("step", "phase", "op", "where"))
        return f"{error}\n{'as before' if same else 'before it was: ' + str(note.get('message'))}", same
    return f"steps {start.step + 1} to {note['step']} came through this time; before: {note.get('message')}", False
