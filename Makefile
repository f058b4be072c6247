# On Windows, or without make: python tools/bootstrap.py demo (or test, or prove).
PYTHON ?= python3

.PHONY: demo test prove

demo: ## Render a project, train and evaluate it in demo/
	@$(PYTHON) tools/bootstrap.py demo

test: ## Run the test suite
	@$(PYTHON) tools/bootstrap.py test

prove: ## Run the deeper tier; then plant defects, one at a time, and see which test notices each
	@$(PYTHON) tools/bootstrap.py prove
