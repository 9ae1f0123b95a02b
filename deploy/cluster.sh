#!/usr/bin/env bash
# Runs main_pc and pc2 as one cluster on this machine, joined with the commands that two machines need, and prints a tour. Ctrl-C ends both.
# CLUSTER_DIR (build/cluster) holds their configurations and state; what it holds is used again. CLUSTER_TOUR=once ends after the tour.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/${MODELOPS_BIN:-bin/modelops}
dir=${CLUSTER_DIR:-$PWD/build/cluster}

configure() { # HOST and the first of its ports
	mkdir -p "$dir/$1"
	cat >"$dir/$1/cluster.yaml" <<-YAML
		host: $1
		data_dir: state
		server: {zmq_port: 0, rest_port: $2, grpc_port: $(($2 + 1)), nats_port: $(($2 + 2))}
		cluster: {port: $(($2 + 3)), actors_port: $(($2 + 4))}
		resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}
		models:
		  declare:
		    tiny: {runtime: embedded, path: "$PWD/testdata/model/tiny.gguf"}
		    tiny_$1: {runtime: embedded, path: "$PWD/testdata/model/tiny.gguf"}
	YAML
}
at() { local host=$1; shift; "$bin" "$@" --config "$dir/$host/cluster.yaml"; }
serve() { # HOST and what serve needs to join
	local host=$1; shift
	at "$host" serve "$@" >"$dir/$host/log" 2>&1 &
	pids+=($!)
	for _ in $(seq 600); do
		at "$host" version >/dev/null 2>&1 && at "$host" ps >/dev/null 2>&1 && return
		kill -0 "${pids[-1]}" 2>/dev/null || break
		sleep 0.1
	done
	tail -20 "$dir/$host/log"
	echo "$host didn't start, see $dir/$host/log" >&2
	exit 1
}
stop() { trap - EXIT INT TERM; [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true; wait; }
show() { # prints a command as one types it, and what it answers
	local host=$1; shift
	printf '\n$ modelops %s --config %s\n' "$*" "${dir#"$PWD"/}/$host/cluster.yaml"
	at "$host" "$@" || echo "(exit code $?)"
}

pids=()
trap stop EXIT
trap 'exit 0' INT TERM
configure main_pc 8400
configure pc2 8500
[ -e "$dir/main_pc/state/cluster" ] || show main_pc cluster init
serve main_pc
if [ -e "$dir/pc2/state/cluster" ]; then
	serve pc2
else
	show main_pc cluster invite --json | tee "$dir/invitation"
	token=$(sed -n 's/.*"token": *"\([^"]*\)".*/\1/p' "$dir/invitation")
	rm -f "$dir/invitation"
	printf '\n$ modelops serve --join 127.0.0.1:8403 --token ... --config %s\n' "${dir#"$PWD"/}/pc2/cluster.yaml"
	serve pc2 --join 127.0.0.1:8403 --token "$token"
fi
for _ in $(seq 300); do
	[ "$(at main_pc cluster | grep -c alive)" -ge 2 ] && break
	sleep 0.1
done

show main_pc cluster
show main_pc infer tiny_pc2 "What is the capital of France?" # main_pc answers with a model that only pc2 has
show pc2 infer tiny_main_pc "What is the capital of France?"
show main_pc ps
show pc2 gpus
show pc2 why tiny_pc2
cat <<TOUR

Both hosts are up. In another terminal, try:

  bin/modelops cluster --config ${dir#"$PWD"/}/pc2/cluster.yaml       # the cluster as pc2 sees it
  curl -s localhost:8400/v1/models                                   # the models of both, from either: 8400 is main_pc, 8500 is pc2
  kill -9 ${pids[1]}                                                      # pc2 dies: main_pc serves on, and loads what it is asked for
  bin/modelops serve --config ${dir#"$PWD"/}/pc2/cluster.yaml         # it returns
  bin/modelops journal tail --config ${dir#"$PWD"/}/main_pc/cluster.yaml

Their logs are ${dir#"$PWD"/}/main_pc/log and pc2/log. Ctrl-C ends both.
TOUR
[ "${CLUSTER_TOUR:-}" = once ] || while kill -0 "${pids[0]}" 2>/dev/null; do wait -n || true; done
