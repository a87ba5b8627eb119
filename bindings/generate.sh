#!/bin/sh
# Writes v4l2-sys-mit/src/bits64.rs and bits32.rs anew from the kernel's videodev2.h. Only for whoever changes them:
# a build of rejectd needs neither this script nor libclang.
#
# Needs libclang (Debian: libclang-dev), the headers of both widths (Debian: libc6-dev-arm64-cross and
# libc6-dev-armhf-cross, which bring linux-libc-dev-*-cross) and bindgen 0.72.1 (cargo install bindgen-cli --version
# 0.72.1 --locked). Both widths must come from the same version of the kernel's headers.
set -eu
cd "$(dirname "$0")/v4l2-sys-mit"
header=$(mktemp --suffix=.h)
trap 'rm -f "$header"' EXIT
echo '#include <linux/videodev2.h>' > "$header"

# The codecs' control identifiers and menus are half of the header and no business of a camera.
generate() {
    bindgen "$header" -o "src/$1" --rust-target 1.82 --rust-edition 2021 \
        --allowlist-item '(v4l2|V4L2)_.*|timeval|time_t' \
        --blocklist-item 'V4L2_CID_.*|v4l2_(mpeg|av1)_.*|V4L2_(AV1|FWHT|H264|HEVC|MPEG|MPEG2|VP8|VP9)_.*' \
        -- "--target=$2" -isystem "/usr/$2/include"
}
generate bits64.rs aarch64-linux-gnu
generate bits32.rs arm-linux-gnueabihf
wc -l src/bits64.rs src/bits32.rs
