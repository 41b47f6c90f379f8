#!/usr/bin/env bash
# Formatting, clippy, the docs, and all tests: bash tests/run.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# The programs that the tests run, each with the Debian package that has it.
needed="
ffmpeg nginx:nginx-light curl openssl
promtool:prometheus redis-server
chromium chromedriver:chromium-driver node:nodejs npm
"

# Debian keeps servers where an ordinary user's PATH does not look.
PATH="$PATH:/usr/local/sbin:/usr/sbin"
missing=()
for entry in $needed; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "The tests need the Debian packages: ${missing[*]}" >&2
        exit 1
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
if ! command -v cargo >/dev/null; then
    echo "The tests need Rust: cargo is not to be found" >&2
    exit 1
fi

# The players that the pages use: they have to be there when the binary is built.
if ! npm ls --prefix www >/dev/null 2>&1 && ! npm ci --prefix www --no-audit --no-fund --silent --fetch-retries=1; then
    echo "The npm registry gave no players: FLV, TS and hls.js are not tested in the browser" >&2
fi

cargo fmt --check
cargo clippy --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
node --test tests/www/*.test.mjs
cargo build
# Tests mostly wait: for timeouts, for frames in real time. Three for each core keep it busy.
RUST_TEST_THREADS=$((3 * $(nproc))) cargo test
