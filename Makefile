# On Windows, or without make: python tools/bootstrap.py demo (or test).
PYTHON ?= python3

.PHONY: demo test

demo: ## Render a project, train and evaluate it in demo/
	@$(PYTHON) tools/bootstrap.py demo

test: ## Run the whole test suite
	@$(PYTHON) tools/bootstrap.py test
