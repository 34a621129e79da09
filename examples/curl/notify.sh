#!/bin/sh
# Tells somebody something through the daemon of this machine, and waits until it was delivered.
#
#   notify.sh bob "main is red"
#   notify.sh @backend "main is red"
#
# The daemon's REST interface must be on: claudemesh daemon rest on
# CLAUDEMESH_REST_URL and CLAUDEMESH_REST_TOKEN_FILE name another place than the usual one.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: notify.sh <to> <text>" >&2
	exit 3
fi
url=${CLAUDEMESH_REST_URL:-http://127.0.0.1:7902/api/v1}
file=${CLAUDEMESH_REST_TOKEN_FILE:-${CLAUDEMESH_CONFIG_DIR:-$HOME/.claudemesh}/rest-token}

# text becomes a JSON string: backslashes, quotes, tabs and line ends are escaped, other control characters left out.
json() {
	printf %s "$1" | tr -d '\000-\010\013-\037' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' |
		awk '{ printf "%s%s", sep, $0; sep = "\\n" }'
}

# The token goes to curl through a pipe: arguments can be seen by every user of the machine.
answer=$(printf 'header = "Authorization: Bearer %s"\n' "$(cat "$file")" |
	curl -sS --fail-with-body -K - \
		-d "{\"to\":\"$(json "$1")\",\"body\":\"$(json "$2")\",\"wait_ms\":10000}" \
		"$url/messages") || {
	echo "notify.sh: not sent: $answer" >&2
	exit 1
}
printf '%s\n' "$answer" | sed -n 's/.*"state":"\([a-z]*\)".*"priority".*/\1/p'
