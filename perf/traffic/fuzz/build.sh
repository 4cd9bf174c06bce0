#!/bin/sh
# Builds the tester's loops with their fuzzer: build.sh OUTPUT. Run it as `OUTPUT -max_total_time=20`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:?"usage: build.sh OUTPUT"}
# -fno-sanitize=alignment: DPDK's own inline functions read packet headers unaligned; ours go through memcpy.
# shellcheck disable=SC2046
exec clang -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API \
	-fsanitize=address,undefined,fuzzer -fno-sanitize=alignment -fno-sanitize-recover=all \
	$(pkg-config --cflags libdpdk) "$here"/../*.c "$here"/*.c "$here"/../../../crypto/cryptodev/job.c $(pkg-config --libs libdpdk) -lrte_net_ring -lIPSec_MB -o "$output"
