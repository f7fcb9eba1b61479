#!/bin/sh
# Builds every fuzz target and runs each over its corpus for SECONDS seconds (60 without). What a run finds beside
# the committed corpus stays in .build/fuzz/found. Exits non-zero on a crash, a hang or a leak; the input that led to it is
# then in .build/fuzz/crashes, and runs alone as: .build/fuzz/release/TARGET FILE
#
#   Tests/Fuzz/run.sh [SECONDS] [TARGET...]
set -eu
cd "$(dirname "$0")"

# Not below here: the formatter's check walks all of Tests.
scratch=$(cd ../.. && pwd)/.build/fuzz

seconds=${1:-60}
case $seconds in
  '' | *[!0-9]*)
    echo "usage: $0 [SECONDS] [TARGET...]" >&2
    exit 2
    ;;
esac
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- FuzzScanner FuzzJSON FuzzEncodings FuzzCompression FuzzSampler FuzzDecision FuzzLedger FuzzCommitPoint FuzzStats FuzzRecording FuzzAnonymiser

# Two --sanitize flags would silently lose the coverage that guides libFuzzer.
swift build -c release --scratch-path "$scratch" --sanitize fuzzer -Xswiftc -sanitize=fuzzer,address

# Swift's own backtraces make a crash hang.
export SWIFT_BACKTRACE=enable=no

# Globals live to the end by design, and the leak checker does not see through the tagged references in them.
leaks=$scratch/leaks.txt
echo 'leak:threading_impl::once_slow' >"$leaks"
export LSAN_OPTIONS="suppressions=$leaks:print_suppressions=0"
status=0
for target in "$@"; do
  found=$scratch/found/$target
  mkdir -p "$found" "$scratch"/crashes
  "$scratch"/release/"$target" -max_total_time="$seconds" -max_len=2048 -timeout=60 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$scratch/crashes/$target-" "$found" "Corpus/$target" || status=1
done
exit $status
