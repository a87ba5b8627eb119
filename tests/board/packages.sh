# shellcheck shell=bash disable=SC2154
# Debian packages of another machine, without a package manager for it: sourced by run.
#
# A guest needs a kernel with vivid and gpio-sim, which only Debian's forky has, and a root file system with systemd. Both
# are fetched and unpacked, never configured by the packages' own scripts: that would run a foreign machine's programs
# under emulation for ten minutes. What those scripts would have done and a test needs is a dozen lines below.

# fetch SUITE ARCH FOLDER PACKAGE...: downloads the packages and all that they depend on into FOLDER/debs.
fetch() {
    local suite=$1 arch=$2 folder=$3 mirror apt
    shift 3
    mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
    mirror=${mirror:-http://deb.debian.org/debian}
    mkdir -p "$folder"/apt/{lists/partial,etc/apt.conf.d,etc/preferences.d} "$folder"/debs/partial
    : >"$folder/apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$folder/apt/sources.list"
    apt=(apt-get -qq -o "Dir::Etc=$folder/apt/etc" -o "Dir::Etc::SourceList=$folder/apt/sources.list"
        -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$folder/apt/lists"
        -o "Dir::State::status=$folder/apt/status" -o "Dir::Cache=$folder/apt" -o "Dir::Cache::Archives=$folder/debs"
        -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o APT::Sandbox::User=root
        -o Acquire::Languages=none -o APT::Install-Recommends=0)
    "${apt[@]}" update
    "${apt[@]}" install --download-only --yes "$@" >/dev/null
}

# kernel ARCH: the newest kernel that Debian has, at $cache/kernel-ARCH with vmlinuz and lib/modules.
kernel() {
    local arch=$1 folder=$cache/kernel-$1 version deb
    [ -e "$folder/.complete" ] && return
    say "fetching the kernel for $arch"
    rm -rf "$folder"
    fetch forky "$arch" "$folder" "linux-image-$arch" busybox-static
    for deb in "$folder"/debs/{linux,busybox}*.deb; do dpkg-deb -x "$deb" "$folder"; done
    [ -e "$folder/lib" ] || ln -s usr/lib "$folder/lib"
    version=$(ls "$folder/lib/modules")
    depmod -b "$folder" "$version"
    cp "$(ls "$folder/boot/vmlinuz-$version" "$folder/usr/lib/modules/$version/vmlinuz" 2>/dev/null | head -n 1)" \
        "$folder/vmlinuz"
    rm -rf "$folder/debs" "$folder/apt"
    touch "$folder/.complete"
}

# modules ARCH NAME...: the files of kernel modules and of those that they need, in the order to load them.
modules() {
    local folder=$cache/kernel-$1 version name
    shift
    version=$(ls "$folder/lib/modules")
    for name in "$@"; do
        modprobe -d "$folder" -S "$version" --show-depends "$name" 2>/dev/null | awk '$1 == "insmod" { print $2 }'
    done | awk '!seen[$0]++'
}

# initrd ARCH FILE INIT MODULES [FILE:PLACE...]: an initial file system that runs INIT, with modules for it to load and
# further files.
initrd() {
    local arch=$1 file=$2 init=$3 names=$4 folder module name
    shift 4
    folder=$(mktemp -d)
    mkdir -p "$folder"/{bin,dev,proc,sys,root,modules}
    cp "$cache/kernel-$arch"/usr/bin/busybox "$folder/bin/"
    ln -s busybox "$folder/bin/sh"
    # shellcheck disable=SC2086
    for module in $(modules "$arch" $names); do
        name=$(basename "$module" .xz)
        case $module in
        *.xz) xz -dc "$module" >"$folder/modules/$name" ;;
        *) cp "$module" "$folder/modules/$name" ;;
        esac
        echo "$name" >>"$folder/modules/list"
    done
    for name in "$@"; do install -D "${name%%:*}" "$folder/${name#*:}"; done
    cp "$init" "$folder/init"
    chmod +x "$folder/init"
    (cd "$folder" && find . | cpio -o -H newc --quiet | gzip -1) >"$file"
    rm -rf "$folder"
}

# root ARCH: a root file system with systemd at $cache/root-ARCH.
root() {
    local arch=$1 folder=$cache/root-$1 deb
    [ -e "$folder/.complete" ] && return
    say "fetching a root file system for $arch"
    rm -rf "$folder"
    fetch trixie "$arch" "$folder.packages" base-files base-passwd bash coreutils dash diffutils dpkg findutils \
        gpgv- grep gzip kmod libc-bin login- mawk mount passwd procps sed sysvinit-utils systemd systemd-sysv tar udev \
        util-linux v4l-utils
    mkdir -p "$folder"
    for deb in "$folder.packages"/debs/*.deb; do
        dpkg-deb -x "$deb" "$folder"
    done
    mkdir -p "$folder/var/lib/dpkg/info"
    for deb in "$folder.packages"/debs/*.deb; do
        dpkg-deb -f "$deb" | sed '/^Package:/a Status: install ok installed'
        echo
    done >"$folder/var/lib/dpkg/status"
    rm -rf "$folder.packages"
    cp "$folder/usr/share/base-passwd/passwd.master" "$folder/etc/passwd"
    cp "$folder/usr/share/base-passwd/group.master" "$folder/etc/group"
    ln -sf mawk "$folder/usr/bin/awk"
    systemd-sysusers --root="$folder"
    echo board >"$folder/etc/hostname"
    : >"$folder/etc/machine-id"
    echo '/dev/vda / ext4 defaults 0 1' >"$folder/etc/fstab"
    # A test wants no log-in, no network and no clock of its own.
    local unit
    for unit in getty.target console-getty.service systemd-networkd.service systemd-resolved.service \
        systemd-timesyncd.service fstrim.timer dpkg-db-backup.timer; do
        ln -sf /dev/null "$folder/etc/systemd/system/$unit"
    done
    touch "$folder/.complete"
}
