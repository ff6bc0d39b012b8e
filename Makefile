types:
	@link=$$(mktemp -d) && ln -s "$(CURDIR)" $$link/weft && cd $$link \
	&& mypy --config-file weft/pyproject.toml -p weft \
	&& mypy --config-file weft/pyproject.toml weft/tests/*.py; status=$$?; rm -r $$link; exit $$status
