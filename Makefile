# Every verb is start.py's, so that Windows needs no make: `py start.py figures`.
PYTHON ?= python3

.PHONY: figures test lab doctor setup lint bench docs course wheelhouse clean
figures: ; @$(PYTHON) start.py figures
test:    ; @$(PYTHON) start.py test
lab:     ; @$(PYTHON) start.py lab
doctor:  ; @$(PYTHON) start.py doctor
setup:   ; @$(PYTHON) start.py setup
lint:    ; @$(PYTHON) start.py lint
bench:   ; @$(PYTHON) start.py bench
docs:    ; @$(PYTHON) start.py docs
course:  ; @$(PYTHON) start.py course
wheelhouse: ; @$(PYTHON) start.py wheelhouse
clean:   ; @$(PYTHON) start.py clean
