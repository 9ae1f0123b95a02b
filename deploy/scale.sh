#!/usr/bin/env bash
# Runs 2, 4 and 8 hosts as one cluster on this machine, and writes what each costs the others into the table of docs/scaling.md: at rest, and while each host loads and
# unloads a model once a second. SCALE_HOSTS="2 4" runs fewer, SCALE_SECONDS (20) is how long each measurement takes. It needs ss of iproute2.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/${MODELOPS_BIN:-bin/modelops}
seconds=${SCALE_SECONDS:-20}
base=${SCALE_PORT:-9300}
page=docs/scaling.md
dir=$(mktemp -d)
pids=()
stop() { trap - EXIT INT TERM; [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true; wait; rm -rf "$dir"; }
trap stop EXIT
trap 'exit 1' INT TERM

configure() { # HOST's number, and how many there are
	local i=$1 j at=$((base + 10 * $1))
	mkdir -p "$dir/host$i"
	{
		cat <<-YAML
			host: host$i
			data_dir: state
			server: {zmq_port: 0, rest_port: $at, grpc_port: $((at + 1)), nats_port: $((at + 2))}
			resources: {devices: [{id: gpu0, kind: simulated, capacity_mb: 24000}]}
			models: {declare: {tiny$i: {runtime: embedded, path: "$PWD/testdata/model/tiny.gguf"}}}
			cluster:
			  port: $((at + 3))
			  actors_port: $((at + 4))
			  peers:
		YAML
		for j in $(seq "$2"); do
			[ "$j" = "$i" ] || echo "    - {host: host$j, address: 127.0.0.1:$((base + 10 * j + 3))}"
		done
	} >"$dir/host$i/cluster.yaml"
}
at() { local i=$1; shift; "$bin" "$@" --config "$dir/host$i/cluster.yaml"; }
await() { # what it waits for, then a command
	local what=$1; shift
	for _ in $(seq 1800); do "$@" && return; sleep 0.2; done
	echo "$what: not within six minutes; the logs:" >&2
	tail -5 "$dir"/host*/log >&2
	exit 1
}
heard() { [ "$(at 1 cluster 2>/dev/null | grep -c alive)" -ge "$1" ]; }

# sums of all hosts: bytes and data segments that their connections among them have sent, CPU ticks, resident KiB, decisions
sums() {
	local n=$1 i sent ticks=0 rss=0 decisions
	sent=$(ss -tinHO state established "( sport >= :$((base + 10)) and sport <= :$((base + 10 * n + 9)) ) or ( dport >= :$((base + 10)) and dport <= :$((base + 10 * n + 9)) )" | awk -v base="$base" -v n="$n" '
		function port(a) { sub(/.*:/, "", a); return a + 0 }
		function ours(p) { return p >= base + 10 && p <= base + 10 * n + 9 && p % 10 >= 3 && p % 10 <= 4 }
		ours(port($3)) || ours(port($4)) { for (i = 5; i <= NF; i++) { if ($i ~ /^bytes_sent:/) { sub(/.*:/, "", $i); b += $i } if ($i ~ /^data_segs_out:/) { sub(/.*:/, "", $i); s += $i } } }
		END { printf "%d %d", b, s }')
	for i in "${pids[@]}"; do
		ticks=$((ticks + $(awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$i/stat")))
		rss=$((rss + $(awk '/^VmRSS/ { print $2 }' "/proc/$i/status")))
	done
	decisions=$(at 1 cluster --json | grep -oE '"sequence": *"?[0-9]+' | grep -oE '[0-9]+$' | awk '{ d += $1 } END { print d + 0 }')
	echo "$sent $ticks $rss $decisions $(date +%s%N)"
}
row() { # how many hosts, what they do, sums before and after
	awk -v n="$1" -v does="$2" -v hz="$(getconf CLK_TCK)" -v a="$3" -v b="$4" 'BEGIN {
		split(a, x, " "); split(b, y, " "); s = (y[6] - x[6]) / 1e9
		printf "| %d | %s | %.0f | %.1f | %.2f | %.1f | %.0f |\n", n, does, (y[2] - x[2]) / s / n, (y[1] - x[1]) / s / n / 1024, (y[5] - x[5]) / s / n, (y[3] - x[3]) / hz / s / n * 100, y[4] / n / 1024 }'
}
works() { # each host loads and unloads its model
	local i=$1 end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ]; do
		at "$i" load "tiny$i" >/dev/null 2>&1 || true
		at "$i" unload "tiny$i" >/dev/null 2>&1 || true
		sleep 1
	done
}

rows=""
for n in ${SCALE_HOSTS:-2 4 8}; do
	pids=()
	for i in $(seq "$n"); do configure "$i" "$n"; done
	for i in $(seq "$n"); do
		"$bin" serve --config "$dir/host$i/cluster.yaml" >"$dir/host$i/log" 2>&1 &
		pids+=($!)
	done
	await "$n hosts hear each other" heard "$n"
	sleep 3
	before=$(sums "$n"); sleep "$seconds"; after=$(sums "$n")
	rows+=$(row "$n" rest "$before" "$after")$'\n'
	before=$(sums "$n")
	workers=()
	for i in $(seq "$n"); do works "$i" & workers+=($!); done
	wait "${workers[@]}"
	after=$(sums "$n")
	rows+=$(row "$n" loads "$before" "$after")$'\n'
	kill "${pids[@]}"
	wait "${pids[@]}" || true
	rm -rf "${dir:?}"/host*
done
pids=()
printf '%s' "$rows"
{
	sed '/<!-- scale:begin -->/q' "$page"
	printf '\nMeasured on %s: %s, %s processors, load average %s, %s.\n\n' "$(date -u +%F)" "$(awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo)" "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" "$("$bin" version 2>/dev/null | head -1)"
	printf '| hosts | they | data segments/s sent by a host | KiB/s sent by a host | decisions/s of a host | %% of a processor for a host | MiB resident for a host |\n| --- | --- | --- | --- | --- | --- | --- |\n%s\n' "$rows"
	sed -n '/<!-- scale:end -->/,$p' "$page"
} >"$dir/page"
cp "$dir/page" "$page"
