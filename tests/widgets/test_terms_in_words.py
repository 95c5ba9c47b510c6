"""What stands under a picture of a loss: every term of every method in symbols and words."""

from __future__ import annotations

import pytest
from tiny import build, second_step

from sdkit.methods import METHODS
from sdkit.widgets.terms import SEED, TASK, explained, term


@pytest.mark.parametrize("name", SEED)
def test_every_term_of_the_five_papers_has_its_formula_equation_and_name(name):
    model, method, data = build(name)
    out, batch, progress = second_step(model, method, data)
    terms = method.terms(model, out, batch, progress)
    assert {*terms} - {"task"} == {*SEED[name]} - {"task"}
    for said in terms:
        about = term(said, name)
        assert about == TASK or (about.formula and "paper 00" in about.where and about.words), said


@pytest.mark.parametrize("name", METHODS)
def test_a_term_of_any_other_method_is_said_by_its_docstring(name):
    about = term("anything", name)
    assert about.words and not about.words.startswith("L = ")


def test_in_a_sum_of_methods_each_term_is_its_own_methods():
    assert "Zhang" in term("kd", "byot+dsr").where and "Eq. 11" in term("sr", "byot+dsr").where
    assert "Zhang" in term("byot kd", "byot+self-guidance").where
    assert "Zheng" in term("self-guidance kd", "byot+self-guidance").where
    assert term("task", "drg+dsr") == TASK


def test_a_name_cannot_become_markup():
    line = explained(["task", "<img src=x>"], "drg")
    assert "<img" not in line and "&lt;img src=x&gt;" in line and 'title="' in line
