#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the fast path with its fuzzer: build.sh OUTPUT. Run it as `OUTPUT -max_total_time=20 pipeline/fuzz/corpus`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:?"usage: build.sh OUTPUT"}
# -fno-sanitize=alignment: DPDK's own inline functions read packet headers unaligned; ours go through memcpy.
# --wrap: nic.c has something happen between two stages, wire.c poisons what is dropped.
# shellcheck disable=SC2046
exec clang -g -O1 -fno-omit-frame-pointer -Wall -Wextra -Werror -DALLOW_EXPERIMENTAL_API \
	-fsanitize=address,undefined,fuzzer -fno-sanitize=alignment -fno-sanitize-recover=all \
	$(pkg-config --cflags libdpdk) "$here"/../*.c "$here"/*.c "$here"/../../crypto/cryptodev/gcm.c "$here"/../../crypto/cryptodev/job.c $(pkg-config --libs libdpdk) -lrte_net_ring -lIPSec_MB \
	-Wl,--wrap=sp_inline_admit,--wrap=sp_drop -o "$output"
