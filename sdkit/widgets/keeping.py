"""A recorded run's name, and the button that deletes it after a question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as W
from markupsafe import Markup

from ..runs import Busy, RunRow
from .descriptions import line
from .parts import Words, beside, styled


class Keeping:
    """Names one run and deletes it. What is done is on disk when the callbacks are called.

    Args:
        noted: is called when the run has another name.
        deleted: is called with the run that is gone.
        failed: is told of an error.
    """

    def __init__(
        self, noted: Callable[[], None], deleted: Callable[[RunRow], None], failed: Callable[[Exception | str], None]
    ) -> None:
        self.noted, self.deleted, self.failed = noted, deleted, failed
        self.row: RunRow | None = None
        self.note = W.Text(
            description="name or note", continuous_update=False, layout=W.Layout(width="min(100%, 460px)"),
            style={"description_width": "initial"},
        )  # fmt: skip
        self.delete = W.Button(description="Delete run", tooltip="its folder; its experiment can be trained again")
        self.asks = Words()
        self.yes = W.Button(description="Delete it", button_style="danger")
        self.no = W.Button(description="Keep it")
        self.question = beside(self.asks, self.yes, self.no)
        self.box = W.VBox([beside(self.note, self.delete), self.question])
        styled(note=self.note, delete=self.delete, question=self.question, delete_it=self.yes, keep_it=self.no)
        self.note.observe(self._on_note, "value")
        self.delete.on_click(lambda _: self._ask(True))
        self.no.on_click(lambda _: self._ask(False))
        self.yes.on_click(lambda _: self._on_yes())
        self.show(None)

    def show(self, row: RunRow | None) -> None:
        """The run that is chosen now; a question about another one is taken back.

        Args:
            row: None where none is chosen.
        """
        if row is None or self.row is None or row.run.key != self.row.run.key:
            self._ask(False)
        self.row = row
        self.note.value = row.note if row else ""
        self.note.disabled = self.delete.disabled = row is None or not row.run.folder.exists()  # of a record

    def _on_note(self, change: Any) -> None:
        if self.row is None or change.new == self.row.note:
            return
        try:
            self.row.run.write_note(change.new)
            self.noted()
        except Exception as error:
            self.failed(error)

    def _ask(self, asked: bool) -> None:
        self.question.layout.display = "" if asked else "none"
        if asked and self.row is not None:
            said = Markup("Delete run <code>{}</code> ({})? Its experiment can be trained again.")
            self.asks.value = said.format(self.row.run.key, line(self.row))

    def _on_yes(self) -> None:
        row = self.row
        self._ask(False)
        if row is None:
            return
        try:
            if row.run.is_busy():
                raise Busy(f"run {row.run.key} is being trained: stop that training first, then delete it")
            row.run.delete()
            self.deleted(row)
        except Exception as error:
            self.failed(error)
